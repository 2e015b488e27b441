"""``make bench-cache``: a training step from cached features beside the same step live, for Side4Video and heads.

Live and cached steps take turns, so both see the same machine; what counts is process CPU time, of one thread. The live
step has its pixels ready and pays nothing for decoding; the cached one pays for reading, checking and restoring its
features.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from data_modules import compat as compat  # before timm, which imports torchvision

# isort: split
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from data_modules.features.dataset import FeatureDataset, SplitLayout
from data_modules.features.shards import FeatureRow, num_bytes, pack, unpack, write
from data_modules.loading.collate import Collate
from data_modules.sample import Clip
from lightning_petl.adapters import (
    Adapter,
    AttentiveProbe,
    LinearProbe,
    LoRA,
    Side4Video,
    attach,
)
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.prefix import features_from, prefix

CLASSES, KEPT = 174, "bf16"
PART_OF_BOUND, HEADS = 0.8, 10.0


class Trunk(NamedTuple):
    """A trunk and the clips that it sees."""

    name: str = "vit_base_patch16_clip_quickgelu_224.openai"
    image_size: int = 224
    depth: int | None = None
    frames: int = 8

    def build(self, adapter: Adapter | None) -> VideoViT:
        """With random weights: they cost what trained ones cost."""
        options = {
            "image_size": self.image_size,
            "depth": self.depth,
            "num_frames": self.frames,
        }
        vit = VideoViT(self.name, weights="random", **options)
        if adapter is not None:
            attach(vit, [adapter])
        return vit

    def bound(self, adapter: Adapter) -> float | None:
        """(kept + 3 rest) / (3 rest) in multiply-adds of a clip; None where no matrix is left but the head's."""
        with torch.device("meta"):
            vit = self.build(adapter)
        video = torch.empty(
            2,
            self.frames,
            3,
            self.image_size,
            self.image_size,
            dtype=torch.uint8,
            device="meta",
        )
        parts = prefix(vit, video)
        with FlopCounterMode(display=False) as whole:
            vit(video)
        with FlopCounterMode(display=False) as rest:
            features_from(vit, parts)
        kept, rest = (
            whole.get_total_flops() - rest.get_total_flops(),
            3 * rest.get_total_flops(),
        )
        return (kept + rest) / rest if rest else None


class Result(NamedTuple):
    """One stack: seconds of the two steps, median over repeats, and what they should be.

    Attributes:
        live: CPU seconds a clip.
        cached: CPU seconds a clip, reading included.
        reading: of these, what reading, checking and restoring takes.
        bytes: of the kept features of a clip.
        bound: (kept + 3 rest) / (3 rest) in multiply-adds: the kept part runs forward, the rest also backward.
    """

    live: float
    cached: float
    reading: float
    bytes: int
    bound: float | None

    @property
    def gain(self) -> float:
        """How many times as many clips a CPU second."""
        return self.live / self.cached

    @property
    def goal(self) -> float:
        """Four fifths of the bound, or ten times."""
        return HEADS if self.bound is None else PART_OF_BOUND * self.bound


STACKS: dict[str, Adapter] = {
    "Side4Video light": Side4Video(width=192, taps="odd"),
    "Side4Video full": Side4Video(width=320),
    "linear probe": LinearProbe(),
    "attentive probe": AttentiveProbe(blocks=0),
    "LoRA in the last block": LoRA(blocks="last 1"),
}
QUICK: dict[str, Adapter] = {
    "Side4Video light": Side4Video(width=64, taps="odd"),
    "linear probe": LinearProbe(),
    "LoRA in the last block": LoRA(rank=2, blocks="last 1"),
}


def measure(
    trunk: Trunk, adapter: Adapter, *, clips: int, repeats: int, folder: Path
) -> Result:
    """Time live and cached steps in turn, after one of each that warms up."""
    torch.manual_seed(0)
    vit = trunk.build(adapter)
    head = nn.Linear(vit.feature_dim, CLASSES)
    trained = [
        p for module in (vit, head) for p in module.parameters() if p.requires_grad
    ]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    vit.train()
    video = torch.randint(
        0,
        256,
        (clips, trunk.frames, 3, trunk.image_size, trunk.image_size),
        dtype=torch.uint8,
    )
    label = torch.randint(0, CLASSES, (clips,))
    dataset, dtypes, size = _cache(vit, video, folder)

    def step(features: Callable[[], Tensor]) -> None:
        optimizer.zero_grad()
        cross_entropy(head(features()), label).backward()
        optimizer.step()

    def read() -> Mapping[str, Tensor]:
        batch = Collate()([dataset[n] for n in range(clips)])
        return {
            name: part[:, 0] for name, part in unpack(batch.video, dtypes).items()
        }

    runs = {
        "live": lambda: step(lambda: vit(video)),
        "cached": lambda: step(lambda: features_from(vit, read())),
    }
    runs["reading"] = read
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            times[name].append(_seconds(run) / clips)
    live, cached, reading = (
        median(times[name][1:]) for name in ("live", "cached", "reading")
    )
    return Result(live, cached, reading, size, trunk.bound(adapter))


def _cache(
    vit: VideoViT, video: Tensor, folder: Path
) -> tuple[FeatureDataset, dict[str, str], int]:
    parts = prefix(vit, video)
    packed = pack({name: values[:, None] for name, values in parts.items()}, KEPT)
    rows = [
        FeatureRow({name: values[n] for name, values in packed.items()}, (0,), n)
        for n in range(len(video))
    ]
    path = folder / "bench-00000.safetensors"
    write(path, rows)
    names = [Clip(str(n), Path(), 0) for n in range(len(video))]
    dtypes = {
        name: str(values.dtype).removeprefix("torch.")
        for name, values in parts.items()
    }
    dataset = FeatureDataset(
        [path], SplitLayout(len(video), 1, len(video)), names, None
    )
    return dataset, dtypes, num_bytes(rows[0].parts)


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main(options: argparse.Namespace) -> int:
    """Measure, print and write; a goal that is missed is reported, and no error."""
    torch.set_num_threads(1)
    trunk = Trunk("vit_tiny_patch16_224", 32, 4, 4) if options.quick else Trunk()
    stacks, repeats = (QUICK, 2) if options.quick else (STACKS, options.repeats)
    results: dict[str, Result] = {}
    for name, adapter in track(stacks.items(), "Timing", total=len(stacks)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results[name] = measure(
                trunk,
                adapter,
                clips=options.clips,
                repeats=repeats,
                folder=Path(folder),
            )
    Console().print(_table(results))
    options.results.mkdir(parents=True, exist_ok=True)
    page = options.results / f"{time.strftime('%Y-%m-%d')}.md"
    page.write_text(_page(trunk, options.clips, repeats, results))
    print(f"written: {page}")
    return 0


HEADER = [
    "stack",
    "live, s a clip",
    "cached",
    "of it reading",
    "MB a clip",
    "gain",
    "bound",
    "goal",
    "reached",
]


def _cells(name: str, result: Result) -> list[str]:
    times = [
        f"{value:.4g}" for value in (result.live, result.cached, result.reading)
    ]
    bound = "" if result.bound is None else f"{result.bound:.2f}"
    reached = "yes" if result.gain >= result.goal else "NO"
    return [
        name,
        *times,
        f"{result.bytes / 1e6:.3g}",
        f"{result.gain:.2f}",
        bound,
        f"{result.goal:.2f}",
        reached,
    ]


def _table(results: Mapping[str, Result]) -> Table:
    table = Table(*HEADER, title="Cached beside live training, CPU seconds")
    for name, result in results.items():
        table.add_row(*_cells(name, result))
    return table


def _page(
    trunk: Trunk, clips: int, repeats: int, results: Mapping[str, Result]
) -> str:
    rows = [
        HEADER,
        ["---"] * len(HEADER),
        *(_cells(name, result) for name, result in results.items()),
    ]
    setting = (
        f"{trunk.name}, {trunk.frames} frames of {trunk.image_size} px, batches of {clips} clips, features in {KEPT}, "
        f"median of {repeats} steps of each, process CPU time, one thread, torch {torch.__version__}."
    )
    return "\n".join(
        [
            "# Cached beside live training",
            "",
            setting,
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
        ]
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--clips", type=int, default=4, help="of a batch")
    found.add_argument(
        "--repeats", type=int, default=3, help="steps of each kind that are timed"
    )
    found.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="where the features are kept meanwhile",
    )
    found.add_argument(
        "--results",
        type=Path,
        default=Path("runs/bench-cache"),
        help="folder of the page of results",
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="a tiny trunk: shows that everything runs",
    )
    return found


if __name__ == "__main__":
    raise SystemExit(main(parser().parse_args()))
