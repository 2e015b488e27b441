"""The motion data set in sentences: a colored shape that moves.

It is drawn where it is not there yet. Each combination of color, shape and motion has a
caption of its own, such as "a red star moving from left to right". In training there is
a second one of the motion alone, "something moving from left to right": in a random
batch few objects appear twice, so that little else would ask how they move. The objects
of test, a color and a shape together, never appear in training, though each of their
words does. Each moves in all six ways, so that no query is answered without its last
words. Backgrounds of test are new, too.
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
    """Hold one clip before it is drawn.

    Attributes:
        color: number of its color.
        shape: number of its shape.
        motion: number of its motion.
        number: which clip of these three it is.
        seed: of all else that is drawn.
    """

    color: int
    shape: int
    motion: int
    number: int
    seed: int

    @property
    def clip_id(self) -> str:
        """Return the name of the file, such as ``0_3_2_1``."""
        return "_".join(map(str, self[:4]))

    @property
    def single_frames(self) -> bool:
        """Return False: frames are encoded as differences, as in the first release."""
        return False

    @property
    def is_test(self) -> bool:
        """Return whether its object is one of the quarter that is tested.

        These are of each shape two colors, of each color two or three shapes.
        """
        return (self.color + self.shape) % 4 == 0

    @property
    def captions(self) -> list[str]:
        """Return sentences on what it shows; in training also on how something moves."""
        things = [self._appearance("").words]
        if not self.is_test:
            things.append("something")
        template = MOTIONS[self.motion].template
        moving = template.removeprefix("Moving [something] ")
        return [f"{thing} moving {moving}" for thing in things]

    def draw(self) -> Scene:
        """Draw its frames."""
        rng = np.random.default_rng([self.seed, *self[:4]])
        cast = TEST_CAST if self.is_test else TRAIN_CAST
        background = str(rng.choice(cast.backgrounds))
        return draw_appearance(
            MOTIONS[self.motion],
            self._appearance(background),
            rng,
            frames=FRAMES,
            size=SIZE,
        )

    def _appearance(self, background: str) -> Appearance:
        color = list(COLORS)[self.color]
        shape = list(SHAPES)[self.shape]
        return Appearance(shape, "plain", background, color, color)


def plans(repeats: int, seed: int) -> list[CaptionPlan]:
    """Return ``repeats`` clips of each combination of training, and one of test."""
    kinds = product(
        range(len(COLORS)), range(len(SHAPES)), range(len(MOTIONS)), range(repeats)
    )
    found = list[CaptionPlan]()
    for kind in kinds:
        plan = CaptionPlan(*kind, seed)
        if not plan.is_test or plan.number == 0:
            found.append(plan)
    return found


class MotionCaptions(CaptionList):
    """Read 60 objects to train on and 20 to test, each in six motions.

    Test is validation.

    Args:
        root: the folder of the data set; rendered before training or evaluation unless
            it is complete.
        repeats: clips of each combination of training.
        render_seed: of what is drawn.
        kwargs: those of
            :class:`~data_modules.sets.captions.captioned_videos.CaptionedVideos`.
    """

    def __init__(
        self, root: str, *, repeats: int = 2, render_seed: int = 0, **kwargs: Any
    ) -> None:
        self.repeats = repeats
        self.render_seed = render_seed
        super().__init__(root, videos="videos", **kwargs)

    def prepare_data(self) -> None:
        """Render what is not there; Lightning calls it in one process a machine.

        Raises:
            ValueError: another data set is in the folder.
        """
        render(self.root, self.repeats, self.render_seed)


def render(root: str | Path, repeats: int = 2, seed: int = 0) -> Path:
    """Draw and encode the data set under ``root``, and return ``root``.

    Raises:
        ValueError: as of :func:`data_modules.sets.rendered.motion.render`.
    """
    if repeats < 1:
        raise ValueError(f"repeats: expected 1 or more, got {repeats}")
    root = Path(root)
    clips = plans(repeats, seed)
    request = {"repeats": repeats, "seed": seed, "frames": FRAMES, "size": SIZE}
    return rendered(root, request, partial(_render_all, root, clips))


def _render_all(root: Path, clips: Sequence[CaptionPlan]) -> None:
    write_clips(root, clips)
    for name, test in (("train", False), ("val", True)):
        rows = [("video", "caption")]
        for plan in clips:
            if plan.is_test == test:
                video = f"{plan.clip_id}.mp4"
                rows += [(video, caption) for caption in plan.captions]
        with (
            atomic_write(root / f"{name}.csv") as partial_file,
            partial_file.open("w", newline="") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows(rows)
