"""Frames that cost a codec what hand-held footage costs: a shaking camera over overlapping textured shapes.

The pictures are dead leaves (Lee, Mumford and Huang, IJCV 41, 2001): opaque discs with a power law of radii, the
model of natural images that has their edges, occlusions and spectrum. A clip has cuts, things that move on their
own, and sensor noise. Everything is drawn from one generator.
"""

import itertools

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

_CANVAS = 640  # side, pixels
_LEAVES = 3000
_NOISE = 1.7  # standard deviation of the sensor, of 255


def draw_clip(
    generator: np.random.Generator,
    num_frames: int,
    height: int,
    width: int,
    fps: float,
) -> UInt8[np.ndarray, "t h w 3"]:
    """RGB 0-255; a new scene begins about every six seconds."""
    cuts = generator.random(num_frames) < 1 / (6 * fps)
    cuts[0] = True
    starts = [*np.flatnonzero(cuts), num_frames]
    shots = [
        _shot(generator, int(end - start), height, width, fps)
        for start, end in itertools.pairwise(starts)
    ]
    return np.concatenate(shots)


def _shot(
    generator: np.random.Generator,
    num_frames: int,
    height: int,
    width: int,
    fps: float,
) -> UInt8[np.ndarray, "t h w 3"]:
    scene, thing = _leaves(generator), _leaves(generator)
    camera = _camera(generator, num_frames, height / width, fps)
    places = [_wander(generator, num_frames, fps, 0.3, 0.6) for _ in range(4)]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for index in range(num_frames):
        frame = _look(scene, camera[index], height, width)
        for x, y in (places[:2], places[2:]):
            frame = _put(frame, thing, x[index], y[index])
        noise = generator.standard_normal((height, width), np.float32) * _NOISE
        frames[index] = (frame.permute(1, 2, 0).numpy() + noise[..., None]).clip(
            0, 255
        )
    return frames


def _leaves(generator: np.random.Generator) -> Float[Tensor, "3 s s"]:
    """Discs with radii between 4 and 160 pixels and density r^-3, each with its own color and grain."""
    picture = np.full((_CANVAS, _CANVAS, 3), 128, np.float32)
    grain = _grain(generator)
    radii = 1 / np.sqrt(generator.uniform(1 / 160**2, 1 / 4**2, _LEAVES))
    for radius in radii:
        x, y = generator.uniform(0, _CANVAS, 2)
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        part = picture[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.ogrid[
            top : top + part.shape[0], left : left + part.shape[1]
        ]
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        color = generator.uniform(20, 235) + generator.normal(0, 20, 3)
        texture = grain[
            top : top + part.shape[0], left : left + part.shape[1]
        ] * generator.uniform(0, 25)
        part[inside] = (color + texture[..., None])[inside]
    return torch.from_numpy(picture).permute(2, 0, 1).clamp(0, 255)


def _grain(generator: np.random.Generator) -> Float[np.ndarray, "s s"]:
    """Noise with the spectrum 1/f of natural textures, variance 1."""
    frequency = np.hypot(
        np.fft.fftfreq(_CANVAS)[:, None], np.fft.rfftfreq(_CANVAS)[None]
    )
    spectrum = np.fft.rfft2(
        generator.standard_normal((_CANVAS, _CANVAS))
    ) / np.maximum(frequency, 1 / _CANVAS)
    noise = np.fft.irfft2(spectrum, (_CANVAS, _CANVAS))
    return noise / noise.std()


def _wander(
    generator: np.random.Generator,
    num_frames: int,
    fps: float,
    hertz: float,
    reach: float,
) -> Float[np.ndarray, " t"]:
    """A smooth path around 0: three oscillations up to ``hertz``, each at most ``reach`` / 3 wide."""
    seconds = np.arange(num_frames) / fps
    waves = zip(
        generator.uniform(0.1, 1, 3) * hertz,
        generator.uniform(0, 2 * np.pi, 3),
        strict=True,
    )
    return sum(
        (
            reach / 3 * np.sin(2 * np.pi * rate * seconds + phase)
            for rate, phase in waves
        ),
        np.zeros(num_frames),
    )


def _camera(
    generator: np.random.Generator, num_frames: int, aspect: float, fps: float
) -> Float[np.ndarray, "t 2 3"]:
    """Slow pan, zoom and roll with a hand's shake, as affine maps of the frame onto the canvas."""
    pan = [
        _wander(generator, num_frames, fps, 0.15, 0.4)
        + _wander(generator, num_frames, fps, 3, 0.01)
        for _ in "xy"
    ]
    zoom = 0.5 * np.exp(_wander(generator, num_frames, fps, 0.2, 0.15))
    roll = _wander(generator, num_frames, fps, 0.5, 0.03)
    cosine, sine = zoom * np.cos(roll), zoom * np.sin(roll)
    rows = [cosine, -aspect * sine, pan[0], sine, aspect * cosine, pan[1]]
    return np.stack(rows, axis=-1).reshape(num_frames, 2, 3)


def _look(
    picture: Float[Tensor, "3 s s"],
    place: Float[np.ndarray, "2 3"],
    height: int,
    width: int,
) -> Float[Tensor, "3 h w"]:
    grid = affine_grid(
        torch.from_numpy(place.astype(np.float32))[None],
        [1, 3, height, width],
        align_corners=False,
    )
    return grid_sample(
        picture[None], grid, padding_mode="reflection", align_corners=False
    )[0]


def _put(
    frame: Float[Tensor, "3 h w"], thing: Float[Tensor, "3 s s"], x: float, y: float
) -> Float[Tensor, "3 h w"]:
    """A disc of ``thing``, a sixth of the frame high, centred at (x, y) in half frames from the middle."""
    height, width = frame.shape[-2:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    dy, dx = rows - (1 + y) / 2 * height, columns - (1 + x) / 2 * width
    cover = (height / 12 - torch.hypot(dx, dy.expand(height, width)) + 0.5).clamp(
        0, 1
    )
    look = np.array([[0.4, 0, 0], [0, 0.4, 0]])
    moved = torch.roll(
        _look(thing, look, height, width),
        (round(y * height / 2), round(x * width / 2)),
        (1, 2),
    )
    return cover * moved + (1 - cover) * frame
