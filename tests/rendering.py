"""Render the motion data sets in this process: starting one costs more than the few clips of a test."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from data_modules.sets.rendered import motion, motion_captions
from data_modules.sets.rendered.motion_captions import CaptionPlan
from data_modules.sets.rendered.motion_scene import MOTIONS


class OneThread(ThreadPoolExecutor):
    """Stand in for a pool of processes."""

    def __init__(self, workers: int, mp_context: Any) -> None:
        super().__init__(1)


def in_this_process() -> AbstractContextManager[object]:
    """Return a context in which clips are drawn and encoded without other processes."""
    return patch.object(motion, "ProcessPoolExecutor", OneThread)


def render_two_objects(root: Path, seed: int = 0) -> None:
    """Write the motion data set in sentences, with one drawn object of training and one of test.

    In its six motions each stands under the names of all objects of its split: a clip of both splits would be told.
    """

    def copies(root: Path, plans: Sequence[CaptionPlan]) -> None:
        for test in (False, True):
            of_split = [plan for plan in plans if plan.is_test == test]
            drawn = of_split[: len(MOTIONS)]
            motion.write_clips(root, drawn)
            for number, plan in enumerate(of_split[len(drawn) :]):
                same = drawn[number % len(drawn)]
                path = root / "videos" / f"{same.clip_id}.mp4"
                shutil.copy(path, path.with_stem(plan.clip_id))

    with in_this_process(), patch.object(motion_captions, "write_clips", copies):
        motion_captions.render(root, repeats=1, seed=seed)
