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


class OneThread(ThreadPoolExecutor):
    """Stand in for a pool of processes."""

    def __init__(self, workers: int, mp_context: Any) -> None:
        super().__init__(1)


def in_this_process() -> AbstractContextManager[object]:
    """Return a context in which clips are drawn and encoded without other processes."""
    return patch.object(motion, "ProcessPoolExecutor", OneThread)


def render_one_caption(root: Path) -> None:
    """Write the motion data set in sentences with one drawn clip under the names of all 480."""

    def copies(root: Path, plans: Sequence[CaptionPlan]) -> None:
        motion.write_clips(root, plans[:1])
        first = root / "videos" / f"{plans[0].clip_id}.mp4"
        for plan in plans[1:]:
            shutil.copy(first, first.with_stem(plan.clip_id))

    with in_this_process(), patch.object(motion_captions, "write_clips", copies):
        motion_captions.render(root, repeats=1)
