"""The motion data set in sentences: a colored shape that moves, drawn where it is not there yet.

Each combination of color, shape and motion has a caption of its own, such as "a red star moving from left to right".
In training there is a second one of the motion alone, "something moving from left to right": in a random batch few
objects appear twice, so that little else would ask how they move. The objects of test, a color and a shape together,
never appear in training, though each of their words does. Each moves in all six ways, so that no query is answered
without its last words. Backgrounds of test are new, too.
"""

import csv
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_modules.io.atomic import atomic_write
from data_modules.sets.captions.caption_list import CaptionList
from data_modules.sets.rendered.motion import FRAMES, rendered, write_clips
from data_modules.sets.rendered.motion_scene import (
    COLORS,
    MOTIONS,
    SHAPES,
    TEST_CAST,
    TRAIN_CAST,
    Appearance,
    Scene,
    draw_appearance,
)

SIZE = 96  # pixels; shapes are harder to tell than motions


class CaptionPlan(NamedTuple):
    """One clip before it is drawn: the numbers of its color, shape and motion, and which clip of these it is."""

    color: int
    shape: int
    motion: int
    number: int
    seed: int

    @property
    def clip_id(self) -> str:
        """Name of the file."""
        return "_".join(map(str, self[:4]))

    @property
    def is_test(self) -> bool:
        """A quarter of all objects: of each shape two colors, of each color two or three shapes."""
        return (self.color + self.shape) % 4 == 0

    @property
    def captions(self) -> list[str]:
        """What it shows; in training also how it moves."""
        things = [self._appearance("").words, *([] if self.is_test else ["something"])]
        return [
            MOTIONS[self.motion].template.replace(
                "Moving [something]", f"{thing} moving"
            )
            for thing in things
        ]

    def draw(self) -> Scene:
        """Its frames."""
        rng = np.random.default_rng([self.seed, *self[:4]])
        background = str(
            rng.choice((TEST_CAST if self.is_test else TRAIN_CAST).backgrounds)
        )
        return draw_appearance(
            MOTIONS[self.motion],
            self._appearance(background),
            rng,
            frames=FRAMES,
            size=SIZE,
        )

    def _appearance(self, background: str) -> Appearance:
        color = list(COLORS)[self.color]
        return Appearance(list(SHAPES)[self.shape], "plain", background, color, color)


def plans(repeats: int, seed: int) -> list[CaptionPlan]:
    """``repeats`` clips of each combination of training and one of each of test."""
    kinds = product(
        range(len(COLORS)), range(len(SHAPES)), range(len(MOTIONS)), range(repeats)
    )
    found = [CaptionPlan(*kind, seed) for kind in kinds]
    return [plan for plan in found if not plan.is_test or plan.number == 0]


class MotionCaptions(CaptionList):
    """60 objects are trained on and 20 tested, each in six motions. Test is validation.

    Args:
        root: the folder of the data set; rendered before training or evaluation unless it is complete.
        repeats: clips of each combination of training.
        render_seed: of what is drawn.
        kwargs: those of :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    def __init__(
        self, root: str, *, repeats: int = 2, render_seed: int = 0, **kwargs: Any
    ) -> None:
        self.repeats, self.render_seed = repeats, render_seed
        super().__init__(root, videos="videos", **kwargs)

    def prepare_data(self) -> None:
        """Render what is not there, in one process a machine; ValueError where another data set is in the folder."""
        render(self.root, self.repeats, self.render_seed)


def render(root: str | Path, repeats: int = 2, seed: int = 0) -> Path:
    """Draw and encode the data set under ``root``, as :func:`data_modules.sets.rendered.motion.render` does."""
    if repeats < 1:
        raise ValueError(f"repeats: expected 1 or more, got {repeats}")
    root, clips = Path(root), plans(repeats, seed)
    request = {"repeats": repeats, "seed": seed, "frames": FRAMES, "size": SIZE}
    return rendered(root, request, partial(_render_all, root, clips))


def _render_all(root: Path, clips: Sequence[CaptionPlan]) -> None:
    write_clips(root, clips)
    for name, test in (("train", False), ("val", True)):
        with (
            atomic_write(root / f"{name}.csv") as partial_file,
            partial_file.open("w", newline="") as file,
        ):
            rows = [
                (f"{p.clip_id}.mp4", caption)
                for p in clips
                if p.is_test == test
                for caption in p.captions
            ]
            csv.writer(file, lineterminator="\n").writerows(
                [("video", "caption"), *rows]
            )
