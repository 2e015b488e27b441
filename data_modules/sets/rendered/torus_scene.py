"""Scenes on a torus: what leaves the frame on one side comes back on the other.

An object moves over a drifting ground. All that changes in a clip is the state of a
frame: five numbers, each on a circle of length 1::

    0, 1   x and y of the object, frame widths      3, 4   x and y of the ground
    2      its angle, turns

``state of frame t = (start + move of frame t) modulo 1``. The start is uniform and
independent of the move, which alone knows the class. A uniform point on a circle plus
anything independent of it is uniform again. So the state of frame t alone has the same
distribution for every t and in every class: a single frame, wherever it stands in the
clip, says nothing about the class. The opposite class is the same draw with the frames
reversed, so that the frames as a set do not tell it either.
"""

from typing import Final

import numpy as np
from jaxtyping import Float

from data_modules.sets.rendered.motion_scene import (
    Cast,
    Motion,
    Plane,
    Scene,
    Trajectory,
    choose_appearance,
    edge,
    noise,
    object_coordinates,
    paint,
    to_bytes,
    two_tone,
)

FrameStates = Float[np.ndarray, "t 5"]

TORUS_MOTIONS = (
    Motion("x", False, "Moving [something] from left to right"),
    Motion("x", True, "Moving [something] from right to left"),
    Motion("y", False, "Moving [something] down"),
    Motion("y", True, "Moving [something] up"),
    Motion("circle", False, "Moving [something] in a circle clockwise"),
    Motion("circle", True, "Moving [something] in a circle counterclockwise"),
)

# columns of a state
OBJECT: Final = slice(0, 2)
OBJECT_ANGLE: Final = 2
GROUND: Final = slice(3, 5)
CIRCLES: Final = 5

_PAUSES = (3, 7)  # frames, the last one excluded


def draw_start(rng: np.random.Generator) -> Float[np.ndarray, " 5"]:
    """Draw what is added to every move of a clip: uniform, and blind to the class."""
    return rng.random(CIRCLES)


def draw_moves(
    motion: Motion, rng: np.random.Generator, frames: int
) -> FrameStates:
    """Draw how the state of each frame differs from the start, in any class.

    The camera drifts by up to 0.15 frame widths along each axis, and the ground and the
    object's path drift alike. The object itself goes 0.7 to 1.05
    frame widths, or three quarters of a circle to a whole one, turns a little, and
    stops for a while in every second clip. In 5 frames it goes less than half a frame
    width, beyond which its direction would have two readings.
    """
    way = _progress(rng, frames)
    moves = np.zeros((frames, CIRCLES))
    drift = np.linspace(0, 1, frames)[:, None] * rng.uniform(-0.15, 0.15, 2)
    for things in (OBJECT, GROUND):
        moves[:, things] = drift
    moves[:, OBJECT] += _own_path(motion.axis, way, rng)
    moves[:, OBJECT_ANGLE] = way * rng.uniform(-0.2, 0.2)
    # the start is added behind this: it stays uniform in both directions of time
    return moves[::-1] if motion.backwards else moves


def _progress(rng: np.random.Generator, frames: int) -> Float[np.ndarray, " t"]:
    """Return the share of its way that the object has made, 0 to 1."""
    steps = np.ones(frames - 1)
    # drawn in every clip, so that what is drawn later does not depend on the pause
    pause = int(rng.integers(*_PAUSES))
    first = int(rng.integers(0, frames - pause))
    if rng.random() < 0.5:
        steps[first : first + pause] = 0
    way = np.concatenate([[0.0], np.cumsum(steps)])
    return way / way[-1]


def _own_path(
    axis: str, way: Float[np.ndarray, " t"], rng: np.random.Generator
) -> Float[np.ndarray, "t 2"]:
    """Return x and y relative to the first frame, in frame widths."""
    along = way * rng.uniform(0.7, 1.05)
    across = way * rng.uniform(-0.1, 0.1)
    # all classes draw all numbers, so that opposite classes draw the same ones
    radius = rng.uniform(0.2, 0.26)
    # y runs down: a growing angle turns clockwise
    angle = 2 * np.pi * (rng.random() + way * rng.uniform(0.75, 1.0))
    if axis == "circle":
        return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    columns = [along, across] if axis == "x" else [across, along]
    return np.stack(columns, axis=1)


def draw_torus_scene(
    motion: Motion, cast: Cast, rng: np.random.Generator, *, frames: int, size: int
) -> Scene:
    """Draw one clip of ``frames`` square frames of ``size`` pixels, RGB 0-255."""
    start = draw_start(rng)
    moves = draw_moves(motion, rng, frames)
    return draw_states((start + moves) % 1, cast, rng, size=size)


def draw_states(
    states: FrameStates, cast: Cast, rng: np.random.Generator, *, size: int
) -> Scene:
    """Draw a clip of these states: each frame is a function of its own state.

    What things look like is drawn once for all frames.
    """
    moving = choose_appearance(cast, rng)
    radius = rng.uniform(0.13, 0.2)
    behind = _ground(moving.background, states[:, GROUND], rng, size)
    path = Trajectory(
        *states[:, OBJECT].T,
        radius=np.full(len(states), radius),
        angle=2 * np.pi * states[:, OBJECT_ANGLE],
    )
    where = object_coordinates(path, size, wrap=True)
    return Scene(to_bytes(paint(behind, moving, where)), moving.words)


def _ground(
    kind: str,
    places: Float[np.ndarray, "t 2"],
    rng: np.random.Generator,
    size: int,
) -> Float[np.ndarray, "t h w 3"]:
    """Return the ground at each place, RGB 0-1, moved by whole pixels."""
    share = _share_of_ground(kind, rng, size)
    whole = two_tone(share, *rng.uniform(0.2, 0.8, (2, 3)))
    moved = list[np.ndarray]()
    # whole pixels keep every ground as sharp as every other
    for x, y in np.rint(places * size).astype(int):
        moved.append(np.roll(whole, (y, x), axis=(0, 1)))
    return np.stack(moved)


def _share_of_ground(kind: str, rng: np.random.Generator, size: int) -> Plane:
    """Return the share of the second color, 0-1; opposite borders fit."""
    match kind:
        case "clouds":
            fine = noise(rng, size, 11, wrap=True)
            return 0.7 * noise(rng, size, 4, wrap=True) + 0.3 * fine
        case "slope":
            wave, _ = _waves(rng, size, 1.0)
            return 0.4 + 0.4 * np.sin(wave) + 0.2 * noise(rng, size, 16, wrap=True)
        case "planks":
            wave, _ = _waves(rng, size, 3.5)
            grain = noise(rng, size, 8, wrap=True)
            return 0.6 * edge(np.sin(wave)) + 0.4 * grain
        case "marble":
            wave, _ = _waves(rng, size, 2.2)
            bent = wave + 7 * noise(rng, size, 5, wrap=True)
            return 0.5 + 0.5 * np.sin(bent)
        case "tiles":
            wave, other = _waves(rng, size, 3.8)
            joints = np.maximum(np.cos(wave), np.cos(other))
            return edge(joints - 0.8)
        case _:
            return edge(noise(rng, size, 20, wrap=True) - 0.5)


def _waves(
    rng: np.random.Generator, size: int, number: float
) -> tuple[Plane, Plane]:
    """Return the phases of two waves at right angles, in radians.

    About so many fit into a frame; along each axis it is a whole number, so that
    opposite borders fit.
    """
    angle = rng.uniform(0, 2 * np.pi)
    right = np.rint(number * np.cos(angle))
    down = np.rint(number * np.sin(angle))
    y, x = np.mgrid[:size, :size] / size
    wave = 2 * np.pi * (right * x + down * y)
    other = 2 * np.pi * (right * y - down * x)
    return wave, other
