"""A small video data set whose classes cannot be told without the order of frames.

Six motions in three opposite pairs; a clip played backwards is a clip of the opposite class. Shapes, textures
and backgrounds of ``validation.json`` never appear in ``train.json``. The files have Something-Something-v2's
format and are real encoded videos: ``labels.json``, ``train.json``, ``validation.json``, ``videos/<id>.mp4``.

    python -m data_modules.sets.rendered.motion ROOT [--num-train 480] [--num-test 240] [--seed 0]
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from rich.progress import track

from data_modules.io.atomic import atomic_write
from data_modules.io.progress import cpus
from data_modules.sets.rendered.motion_scene import (
    MOTIONS,
    TEST_CAST,
    TRAIN_CAST,
    Cast,
    Motion,
    Scene,
    draw_scene,
)
from data_modules.video.encode import write_video

FRAMES, FPS, SIZE = 24, 12, 64  # 2 s; square frames, pixels
_SPLITS: dict[str, Cast] = {"train": TRAIN_CAST, "validation": TEST_CAST}
_RECORD = "render.json"


@runtime_checkable
class PlannedClip(Protocol):
    """One clip before it is drawn."""

    @property
    def clip_id(self) -> str:
        """Name of the file."""
        ...

    def draw(self) -> Scene:
        """The clip's frames and the words for its object."""
        ...


class ClipPlan(NamedTuple):
    """One clip before it is drawn; ``draw`` depends on nothing else."""

    clip_id: str
    split: str
    number: int
    seed: int

    @property
    def motion(self) -> Motion:
        """Classes take turns, so that a split is balanced to one clip."""
        return MOTIONS[self.number % len(MOTIONS)]

    def draw(self) -> Scene:
        """The clip's frames and the words for its object."""
        rng = np.random.default_rng(
            [self.seed, list(_SPLITS).index(self.split), self.number]
        )
        return draw_scene(
            self.motion, _SPLITS[self.split], rng, frames=FRAMES, size=SIZE
        )

    def annotation(self, thing: str) -> dict[str, Any]:
        """The clip's entry in Something-Something's annotation file."""
        template = self.motion.template
        label = template.replace("[something]", thing)
        return {
            "id": self.clip_id,
            "label": label,
            "template": template,
            "placeholders": [thing],
        }


def render(
    root: str | Path, num_train: int = 480, num_test: int = 240, seed: int = 0
) -> Path:
    """Draw and encode the data set under ``root``, in one process per CPU, and return ``root``.

    A finished data set is left as it is, an interrupted one is completed. The same arguments give the same
    annotations and, with the same FFmpeg, the same bytes.

    Raises:
        ValueError: for fewer clips than classes, or a folder that holds another data set.
    """
    root = Path(root)
    request = {
        "num_train": num_train,
        "num_test": num_test,
        "seed": seed,
        "frames": FRAMES,
        "size": SIZE,
    }
    if min(num_train, num_test) < len(MOTIONS):
        raise ValueError(
            f"num_train={num_train}, num_test={num_test}: each class needs a "
            f"clip, {len(MOTIONS)} up"
        )
    return rendered(
        root, request, partial(_render_all, root, num_train, num_test, seed)
    )


def rendered(
    root: Path, request: Mapping[str, int], render_all: Callable[[], None]
) -> Path:
    """Render what is requested unless it is there; ValueError where ``root`` holds another data set."""
    if not _begun(root, request):
        (root / "videos").mkdir(parents=True, exist_ok=True)
        _write_json(root / _RECORD, {**request, "finished": False})
    if not json.loads((root / _RECORD).read_text())["finished"]:
        render_all()
        _write_json(root / _RECORD, {**request, "finished": True})
    return root


def _begun(root: Path, request: Mapping[str, int]) -> bool:
    if not (root / _RECORD).exists():
        return False
    found = {key: json.loads((root / _RECORD).read_text()).get(key) for key in request}
    if found != request:
        raise ValueError(
            f"{root} holds the motion data set {found}, not {dict(request)}: name "
            "another folder or empty it"
        )
    return True


def _render_all(root: Path, num_train: int, num_test: int, seed: int) -> None:
    plans = [ClipPlan(str(n + 1), "train", n, seed) for n in range(num_train)]
    plans += [
        ClipPlan(str(num_train + n + 1), "validation", n, seed) for n in range(num_test)
    ]
    things = write_clips(root, plans)
    for split in _SPLITS:
        entries = [
            p.annotation(t)
            for p, t in zip(plans, things, strict=True)
            if p.split == split
        ]
        _write_json(root / f"{split}.json", entries)
    labels = {
        _plain(motion.template): str(index) for index, motion in enumerate(MOTIONS)
    }
    _write_json(root / "labels.json", labels)


def write_clips(root: Path, plans: Sequence[PlannedClip]) -> list[str]:
    """Draw and encode the clips that are not there, in one process per CPU; the words for the object of each."""
    return list(
        track(_things(root, plans), total=len(plans), description="Rendering clips")
    )


def _things(root: Path, plans: Sequence[PlannedClip]) -> Iterator[str]:
    with ProcessPoolExecutor(
        cpus(), mp_context=get_context("spawn")
    ) as pool:  # fork after torch may deadlock
        yield from pool.map(partial(_render_one, root), plans, chunksize=8)


def _render_one(root: Path, plan: PlannedClip) -> str:
    scene, path = plan.draw(), root / "videos" / f"{plan.clip_id}.mp4"
    if not path.exists():
        write_video(path, scene.video, FPS)
    return scene.thing


def _plain(template: str) -> str:
    return template.replace("[", "").replace("]", "")


def _write_json(path: Path, content: object) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=1))


def main(argv: Sequence[str] | None = None) -> None:
    """Render from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_modules.sets.rendered.motion",
        description="Render the motion data set.",
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--num-train", type=int, default=480)
    parser.add_argument("--num-test", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    try:
        print(render(**vars(parser.parse_args(argv))))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
