"""``python -m experiments.benchmarks.bank.run``: what a step of a bank costs, beside steps of runs of their own.

Real training steps under a Trainer, on clips in memory. All contenders take turns, several times; seconds are process
CPU time of one thread, and the median of a contender's steps counts.
"""

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from data_modules.batch import VideoBatch
from lightning_petl.adapters import LinearProbe, MAdapter, Side4Video
from lightning_petl.backbones import VideoViT
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier

LABELS = [f"class {number}" for number in range(174)]
GRID = {
    "optim.lr": [1e-4, 1e-3, 1e-2, 1e-1],
    "optim.weight_decay": [0.0, 0.01, 0.1, 0.4],
}
MOST = {"readers": 1.1, "heads": 1.2}


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of the trunk, the side networks, the clips and the measurement."""

    trunk: str = "vit_small_patch16_224"
    depth: int = 12
    widths: tuple[int, int, int] = (192, 320, 256)
    pixels: int = 112
    frames: int = 8
    clips: int = 4
    rounds: int = 7
    steps: int = 2


QUICK = Size(
    trunk="vit_tiny_patch16_224",
    depth=2,
    widths=(64, 64, 64),
    pixels=32,
    frames=2,
    clips=2,
    rounds=2,
    steps=1,
)


class Clock(Callback):
    """Process seconds of each step but the first of a fit."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self._start = time.process_time()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx > 0:
            self.seconds.append(time.process_time() - self._start)


def members(size: Size) -> dict[str, Member]:
    """Four readers of different kind and width."""
    light, full, fusion = size.widths
    return {
        "linear": Member(),
        "Side4Video light": Member(adapters=[Side4Video(width=light, taps="odd")]),
        "Side4Video": Member(adapters=[Side4Video(width=full)]),
        "M-adapter": Member(adapters=[MAdapter(width=fusion)]),
    }


def contenders(size: Size) -> dict[str, LightningModule]:
    """Each member alone, all in a bank, and a bank of sixteen heads."""
    models: dict[str, LightningModule] = {
        name: VideoClassifier(
            trunk(size), member.adapters or [LinearProbe()], LABELS
        )
        for name, member in members(size).items()
    }
    names = {
        name.replace(" ", "_"): member for name, member in members(size).items()
    }
    return models | {
        "bank of these": Bank(trunk(size), names, LABELS),
        "bank of 16 linear heads": Bank(
            trunk(size), {"linear": Member()}, LABELS, grid=GRID
        ),
    }


def trunk(size: Size) -> VideoViT:
    """A trunk without pretrained weights: they do not change what it costs."""
    return VideoViT(
        size.trunk,
        weights="random",
        image_size=size.pixels,
        num_frames=size.frames,
        depth=size.depth,
    )


def measure(size: Size) -> dict[str, float]:
    """Median seconds of a step by contender, and of the trunk's pass alone."""
    batch = clips(size)
    models, bare = contenders(size), trunk(size)
    turns: dict[str, Callable[[], list[float]]] = {
        name: _fitting(model, batch, size) for name, model in models.items()
    }
    turns["the trunk's pass"] = lambda: _passing(bare, batch, size)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in track(range(size.rounds), "rounds"):
        for name, turn in turns.items():
            seconds[name] += turn()
    return {name: statistics.median(values) for name, values in seconds.items()}


def clips(size: Size) -> VideoBatch:
    """Noise."""
    shape = (size.clips, 1, size.frames, 3, size.pixels, size.pixels)
    video = torch.randint(0, 256, shape, dtype=torch.uint8)
    return VideoBatch(
        video,
        torch.arange(size.clips),
        [str(number) for number in range(size.clips)],
    )


def _fitting(
    model: LightningModule, batch: VideoBatch, size: Size
) -> Callable[[], list[float]]:
    def fit() -> list[float]:
        clock = Clock()
        trainer = Trainer(
            accelerator="cpu", max_steps=size.steps + 1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, callbacks=[clock],
            use_distributed_sampler=False,
        )  # fmt: skip
        loader = DataLoader([batch] * (size.steps + 1), batch_size=None)  # pyright: ignore[reportArgumentType]
        trainer.fit(model, loader, loader)
        return clock.seconds

    return fit


def _passing(vit: VideoViT, batch: VideoBatch, size: Size) -> list[float]:
    seconds: list[float] = []
    for _ in range(size.steps + 1):
        start = time.process_time()
        with torch.no_grad():
            vit(batch.video[:, 0])
        seconds.append(time.process_time() - start)
    return seconds[1:]


def page(seconds: dict[str, float], size: Size) -> str:
    """The table and the two ratios, as Markdown."""
    alone = [seconds[name] for name in members(size)]
    base = seconds["the trunk's pass"]
    bound = base + sum(single - base for single in alone)
    bank, heads = seconds["bank of these"], seconds["bank of 16 linear heads"]
    return "\n".join(
        [
            "| a step of | ms of process time |",
            "|---|---:|",
            *(
                f"| {name} | {1000 * value:.0f} |"
                for name, value in seconds.items()
            ),
            "",
            f"- Bank of {len(alone)} readers / (trunk + sum of what each adds): **{bank / bound:.3f}** (at most "
            f"{MOST['readers']}); / sum of {len(alone)} runs: {bank / sum(alone):.2f}.",
            f"- Bank of 16 linear heads / one linear head: **{heads / seconds['linear']:.3f}** (at most "
            f"{MOST['heads']}).",
            "",
            f"{size.trunk}, {size.depth} blocks, {size.clips} clips of {size.frames} frames, {size.pixels} px, "
            f"{size.rounds} rounds of {size.steps} steps; torch {torch.__version__}, {time.strftime('%Y-%m-%d')}.",
            "",
        ]
    )


def main(options: argparse.Namespace) -> int:
    """Measure, print and write; a goal that is missed is reported, and no error."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings(
        "ignore",
        message=".*does not have many workers|Found .* in eval mode|.*LeafSpec",
    )
    size = QUICK if options.quick else Size(rounds=options.rounds)
    text = page(measure(size), size)
    Console().print(text, markup=False)
    if options.output is not None:
        options.output.write_text(text)
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument(
        "--rounds", type=int, default=Size.rounds, help="turns of every contender"
    )
    found.add_argument(
        "--output", type=Path, default=None, help="file for the table"
    )
    found.add_argument(
        "--quick",
        action="store_true",
        help="a tiny trunk: shows that everything runs",
    )
    return found


if __name__ == "__main__":
    raise SystemExit(main(parser().parse_args()))
