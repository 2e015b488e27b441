"""Frames whose content tells them apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

WriteVideo = Callable[..., Path]


def grey_frames(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i is flat grey at 4 i + 20, so that its rank can be read off any decoded picture."""
    levels = (20 + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(
        levels[:, None, None, None], (count, height, width, 3)
    ).copy()


def noise_frames(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Smooth moving noise, other in every frame."""
    coarse = np.random.default_rng(0).integers(
        0, 256, (count, 4, 6, 3), dtype=np.uint8
    )
    return coarse.repeat(height // 4, axis=1).repeat(width // 6, axis=2)
