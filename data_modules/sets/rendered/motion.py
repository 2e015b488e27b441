"""Small video data sets whose classes cannot be told without the order of frames.

Six motions in three opposite pairs; a clip played backwards is a clip of the opposite
class. Shapes, textures and backgrounds of ``validation.json`` never appear in
``train.json``. The files have Something-Something-v2's format and are real encoded
videos: ``labels.json``, ``train.json``, ``validation.json``, ``videos/<id>.mp4``.

Of two kinds of scenes, in ``torus`` no single frame says anything about the class,
wherever it stands in the clip (:mod:`data_modules.sets.rendered.torus_scene`). In
``easy``, the set of the first releases, an object begins at the side that its class
names, so that the first frame alone tells a class from its opposite.

    python -m data_modules.sets.rendered.motion ROOT [--num-train 480] [--num-test 240] [--seed 0] [--scenes torus]
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

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
from data_modules.sets.rendered.torus_scene import TORUS_MOTIONS, draw_torus_scene
from data_modules.video.encode import write_video

FRAMES: Final = 24
FPS: Final = 12  # so that a clip lasts 2 s
SIZE: Final = 64  # pixels, square frames
_SPLITS: dict[str, Cast] = {"train": TRAIN_CAST, "validation": TEST_CAST}
_RECORD = "render.json"
_QP: Final = 22  # of H.264, where frames are encoded one by one
# records of it name no scenes: that release had no others
_FIRST_SCENES: Final = "easy"
SceneKind = Literal["torus", "easy"]
CLASSES: dict[SceneKind, tuple[Motion, ...]] = {
    "torus": TORUS_MOTIONS,
    "easy": MOTIONS,
}


@runtime_checkable
class PlannedClip(Protocol):
    """Describe one clip before it is drawn."""

    @property
    def clip_id(self) -> str:
        """Return the name of the file."""
        ...

    @property
    def single_frames(self) -> bool:
        """Return whether each frame is encoded without a look at the others."""
        ...

    def draw(self) -> Scene:
        """Draw the clip's frames, with the words for its object."""
        ...


class ClipPlan(NamedTuple):
    """Hold all that a clip of the data set depends on."""

    clip_id: str
    split: str
    number: int
    seed: int
    scenes: SceneKind = "torus"

    @property
    def motion(self) -> Motion:
        """Return the class; classes take turns, so that a split is balanced to one clip."""
        motions = CLASSES[self.scenes]
        return motions[self.number % len(motions)]

    @property
    def single_frames(self) -> bool:
        """Return whether each frame is encoded without a look at the others.

        A frame that is encoded as a difference keeps traces of the frames before, and
        would tell where things came from.
        """
        return self.scenes == "torus"

    def draw(self) -> Scene:
        """Draw the clip's frames, with the words for its object."""
        split = list(_SPLITS).index(self.split)
        rng = np.random.default_rng([self.seed, split, self.number])
        cast = _SPLITS[self.split]
        draw = draw_torus_scene if self.scenes == "torus" else draw_scene
        return draw(self.motion, cast, rng, frames=FRAMES, size=SIZE)

    def annotation(self, thing: str) -> dict[str, Any]:
        """Return the clip's entry in Something-Something's annotation file."""
        template = self.motion.template
        label = template.replace("[something]", thing)
        return {
            "id": self.clip_id,
            "label": label,
            "template": template,
            "placeholders": [thing],
        }


def render(
    root: str | Path,
    num_train: int = 480,
    num_test: int = 240,
    seed: int = 0,
    scenes: SceneKind = "torus",
) -> Path:
    """Draw and encode the data set under ``root``, and return ``root``.

    There is one process for each CPU. A finished data set is left as it is, an
    interrupted one is completed. The same arguments give the same annotations and, with
    the same FFmpeg, the same bytes.

    Raises:
        ValueError: for fewer clips than classes, or a folder that holds another data set.
    """
    root = Path(root)
    request: dict[str, int | str] = {
        "num_train": num_train,
        "num_test": num_test,
        "seed": seed,
        "frames": FRAMES,
        "size": SIZE,
    }
    if scenes != _FIRST_SCENES:
        request["scenes"] = scenes
    classes = len(CLASSES[scenes])
    if min(num_train, num_test) < classes:
        raise ValueError(
            f"num_train={num_train}, num_test={num_test}: each class needs a "
            f"clip, {classes} up"
        )
    plans = _plans(num_train, num_test, seed, scenes)
    return rendered(root, request, partial(_render_all, root, plans))


def rendered(
    root: Path, request: Mapping[str, int | str], render_all: Callable[[], None]
) -> Path:
    """Render what is requested unless it is there, and return ``root``.

    Raises:
        ValueError: ``root`` holds another data set.
    """
    if not _begun(root, request):
        (root / "videos").mkdir(parents=True, exist_ok=True)
        _write_json(root / _RECORD, {**request, "finished": False})
    if not json.loads((root / _RECORD).read_text())["finished"]:
        render_all()
        _write_json(root / _RECORD, {**request, "finished": True})
    return root


def _begun(root: Path, request: Mapping[str, int | str]) -> bool:
    """Tell whether ``root`` holds this data set, finished or not."""
    if not (root / _RECORD).exists():
        return False
    found = json.loads((root / _RECORD).read_text())
    found.pop("finished", None)
    # whole, not key by key: what a record leaves out is a difference, too
    if found != request:
        raise ValueError(
            f"{root} holds the motion data set {found}, not {dict(request)}: name "
            "another folder or empty it"
        )
    return True


def _plans(
    num_train: int, num_test: int, seed: int, scenes: SceneKind
) -> list[ClipPlan]:
    plans = list[ClipPlan]()
    for split, count in (("train", num_train), ("validation", num_test)):
        for number in range(count):
            # names count on from one split to the other, from 1
            clip_id = str(len(plans) + 1)
            plans.append(ClipPlan(clip_id, split, number, seed, scenes))
    return plans


def _render_all(root: Path, plans: Sequence[ClipPlan]) -> None:
    things = write_clips(root, plans)
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in _SPLITS}
    for plan, thing in zip(plans, things, strict=True):
        entries[plan.split].append(plan.annotation(thing))
    for split in _SPLITS:
        _write_json(root / f"{split}.json", entries[split])
    labels = dict[str, str]()
    for index, motion in enumerate(CLASSES[plans[0].scenes]):
        labels[_plain(motion.template)] = str(index)
    _write_json(root / "labels.json", labels)


def write_clips(root: Path, plans: Sequence[PlannedClip]) -> list[str]:
    """Draw and encode the clips that are not there, in one process for each CPU.

    Returns:
        The words for the object of each clip.
    """
    things = _things(root, plans)
    return list(track(things, total=len(plans), description="Rendering clips"))


def _things(root: Path, plans: Sequence[PlannedClip]) -> Iterator[str]:
    # fork after torch may deadlock
    spawn = get_context("spawn")
    with ProcessPoolExecutor(cpus(), mp_context=spawn) as pool:
        yield from pool.map(partial(_render_one, root), plans, chunksize=8)


def _render_one(root: Path, plan: PlannedClip) -> str:
    """Draw a clip, encode it unless it is there, and return the words for its object."""
    scene = plan.draw()
    path = root / "videos" / f"{plan.clip_id}.mp4"
    if not path.exists():
        if plan.single_frames:
            write_video(path, scene.video, FPS, gop=1, qp=_QP)
        else:
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
    parser.add_argument("--scenes", choices=list(CLASSES), default="torus")
    try:
        print(render(**vars(parser.parse_args(argv))))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
