"""Pictures to change, and Pillow to change them."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate


def video_of(frames: int = 3, height: int = 48, width: int = 48) -> torch.Tensor:
    """Smooth colors, noise on them, and a frame that does not fill the range."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(frames, 3, 5, 6, generator=generator) * 300 - 20
    noise = torch.randn(frames, 3, height, width, generator=generator) * 8
    video = (
        interpolate(coarse, size=(height, width), mode="bilinear") + noise
    ).clamp(0, 255)
    video[0] = video[0] / 2 + 40
    return video.to(torch.uint8)


def by_pillow(
    change: Callable[[Image.Image], Image.Image], video: torch.Tensor
) -> torch.Tensor:
    """Each frame through Pillow."""
    frames = [
        change(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in video
    ]
    return torch.stack(
        [torch.from_numpy(np.array(frame)).permute(2, 0, 1) for frame in frames]
    )


def apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Levels between two clips."""
    return (a.int() - b.int()).abs()
