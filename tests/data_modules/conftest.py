import data_modules  # noqa: F401, I001  # first: makes torchvision importable

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_modules.video.encode import write_video
from tests.data_modules.videos import WriteVideo, grey_frames


@pytest.fixture
def write(tmp_path: Path) -> WriteVideo:
    """Writes grey or given frames to a new file."""

    def write(
        name: str = "clip.mp4",
        frames: np.ndarray | None = None,
        fps: float = 25,
        **options: object,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(
            path, grey_frames(30) if frames is None else frames, fps, **options
        )
        return path

    return write


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """A folder of tiny videos, a folder a class, as ``VideoFolder`` reads it."""

    def make(train: int = 15, val: int = 5, classes: int = 3) -> Path:
        root = tmp_path / "videos"
        for split, count in (("train", train), ("val", val)):
            for index in range(count):
                folder = root / split / f"class_{index % classes}"
                folder.mkdir(parents=True, exist_ok=True)
                level = index if split == "train" else train + index
                write_video(
                    folder / f"{index:03d}.mp4",
                    grey_frames(6, 16, 16) + np.uint8(level),
                    10,
                )
        return root

    return make
