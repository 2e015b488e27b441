"""Transforms that make a worker process fail, once a flag is raised."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import get_worker_info

from data_modules.transforms.crops import Recipe, TrainCrop


@dataclass(frozen=True)
class FailingCrop(TrainCrop):
    """In a worker, the process that takes ``flag`` away ends by ``kill``, or sleeps where that is 0."""

    flag: str = ""
    kill: int = signal.SIGKILL

    def draw(self, height: int, width: int, size: int, generator: np.random.Generator) -> Recipe:
        """Fail, or draw."""
        if get_worker_info() is not None and _taken(Path(self.flag)):
            if self.kill:
                os.kill(os.getpid(), self.kill)
            time.sleep(600)
        return super().draw(height, width, size, generator)


def _taken(flag: Path) -> bool:
    try:
        flag.unlink()
    except FileNotFoundError:
        return False
    return True
