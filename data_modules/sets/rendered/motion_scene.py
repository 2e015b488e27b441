"""Procedural scenes: a textured shape on a path over a textured background.

A scene is a pure function of its ``Cast`` (which kinds may appear), its motion and a
random generator. Lengths are in frame widths, the origin is the upper left corner, x
runs to the right and y down; colors are RGB, 0-1.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

Plane = Float[np.ndarray, "..."]
Field = Callable[[Plane, Plane], Plane]

COLORS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "orange": (0.95, 0.55, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.10, 0.65, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.55, 0.15, 0.70),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
}


class Trajectory(NamedTuple):
    """Hold where an object is in each frame.

    Center and radius are in frame widths, the angle in radians.
    """

    x: Float[np.ndarray, " t"]
    y: Float[np.ndarray, " t"]
    radius: Float[np.ndarray, " t"]
    angle: Float[np.ndarray, " t"]


class Cast(NamedTuple):
    """Hold the names of the kinds that may appear in a scene."""

    shapes: tuple[str, ...]
    textures: tuple[str, ...]
    backgrounds: tuple[str, ...]


class Motion(NamedTuple):
    """Hold one class: its axis (x, y or depth), direction in time and words."""

    axis: str
    backwards: bool
    template: str


MOTIONS = (
    Motion("x", False, "Moving [something] from left to right"),
    Motion("x", True, "Moving [something] from right to left"),
    Motion("y", False, "Moving [something] down"),
    Motion("y", True, "Moving [something] up"),
    Motion("depth", False, "Moving [something] towards the camera"),
    Motion("depth", True, "Moving [something] away from the camera"),
)
TRAIN_CAST = Cast(
    ("disc", "square", "triangle", "ring", "bar"),
    ("plain", "striped", "checked"),
    ("clouds", "slope", "planks"),
)
TEST_CAST = Cast(
    ("star", "cross", "hexagon", "crescent", "half-disc"),
    ("dotted", "wavy", "banded"),
    ("marble", "tiles", "gravel"),
)


def _halfplanes(u: Plane, v: Plane, corners: int) -> Plane:
    """Return the largest coordinate along the normals of a regular polygon's sides."""
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.max([u * np.sin(a) + v * np.cos(a) for a in angles], axis=0)


def _triangle(u: Plane, v: Plane) -> Plane:
    return _halfplanes(u, v, 3) - 0.55


def _box(u: Plane, v: Plane, width: float, height: float) -> Plane:
    return np.maximum(np.abs(u) - width, np.abs(v) - height)


# Signed distance to the outline in radii of the object, negative inside.
SHAPES: Mapping[str, Field] = {
    "disc": lambda u, v: np.hypot(u, v) - 0.9,
    "square": lambda u, v: _box(u, v, 0.8, 0.8),
    "triangle": _triangle,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.7) - 0.27,
    "bar": lambda u, v: _box(u, v, 1.0, 0.4),
    "star": lambda u, v: np.minimum(_triangle(u, v), _triangle(u, -v)),
    "cross": lambda u, v: np.minimum(_box(u, v, 1.0, 0.35), _box(u, v, 0.35, 1.0)),
    "hexagon": lambda u, v: _halfplanes(u, v, 6) - 0.85,
    "crescent": lambda u, v: np.maximum(
        np.hypot(u, v) - 1.0, 0.75 - np.hypot(u - 0.55, v)
    ),
    "half-disc": lambda u, v: np.maximum(np.hypot(u, v + 0.4) - 1.0, -v - 0.4),
}

# Share of the second color, 0-1, over the object's own coordinates.
TEXTURES: Mapping[str, Field] = {
    "plain": lambda u, v: np.zeros_like(u),
    "striped": lambda u, v: edge(np.sin(7 * v)),
    "checked": lambda u, v: edge(np.sin(5 * u) * np.sin(5 * v)),
    "dotted": lambda u, v: edge(np.cos(7 * u) + np.cos(7 * v) - 0.8),
    "wavy": lambda u, v: edge(np.sin(6 * v + 2 * np.sin(4 * u))),
    "banded": lambda u, v: edge(np.sin(9 * np.hypot(u, v))),
}


def edge(level: Plane) -> Plane:
    """Return 0 below level -1/8, 1 above 1/8, and a ramp between them."""
    return np.clip(4 * level + 0.5, 0, 1)


def noise(
    rng: np.random.Generator, size: int, cells: int, *, wrap: bool = False
) -> Float[np.ndarray, "h w"]:
    """Return values 0-1 at the corners of ``cells`` x ``cells`` cells.

    Between the corners are cosine ramps. With ``wrap``, opposite borders fit.
    """
    place = np.linspace(0, cells, size, endpoint=False)
    low = place.astype(int)
    ramp = (1 - np.cos(np.pi * (place - low))) / 2
    weight = np.zeros((size, cells + 1))
    pixel = np.arange(size)
    weight[pixel, low] = 1 - ramp
    weight[pixel, low + 1] = ramp
    corners = rng.random((cells + 1, cells + 1))
    if wrap:
        corners[-1] = corners[0]
        corners[:, -1] = corners[:, 0]
    return weight @ corners @ weight.T


def _turned(rng: np.random.Generator, size: int) -> tuple[Plane, Plane]:
    """Return pixel coordinates in frame widths, turned by a random angle."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    return u, v


def _background(
    kind: str, rng: np.random.Generator, size: int
) -> Float[np.ndarray, "h w"]:
    """Return the share of the second background color, 0-1."""
    u, v = _turned(rng, size)
    match kind:
        case "clouds":
            return 0.7 * noise(rng, size, 4) + 0.3 * noise(rng, size, 11)
        case "slope":
            return np.clip(u + 0.5 + 0.2 * (noise(rng, size, 16) - 0.5), 0, 1)
        case "planks":
            return 0.6 * edge(np.sin(22 * u)) + 0.4 * noise(rng, size, 8)
        case "marble":
            return 0.5 + 0.5 * np.sin(14 * u + 7 * noise(rng, size, 5))
        case "tiles":
            return np.maximum(
                edge(np.cos(24 * u) - 0.8), edge(np.cos(24 * v) - 0.8)
            )
        case _:
            return edge(noise(rng, size, 20) - 0.5)


def draw_trajectory(
    motion: Motion, rng: np.random.Generator, frames: int
) -> Trajectory:
    """Draw a path of one class.

    A backward class is the same draw with the frames reversed, so that where and how
    large the object is in a single frame, or in the frames as a set, says nothing about
    the direction::

        frame       0     1     2     3
        forward     .o..  .o..  ..o.  ...o
        backward    ...o  ..o.  .o..  .o..
    """
    pace = np.linspace(0, 1, frames) ** np.exp(rng.uniform(-0.3, 0.3))
    along = rng.uniform(0.0, 0.2) + pace * rng.uniform(0.6, 0.8)
    across = rng.uniform(0.3, 0.7) + (pace - 0.5) * rng.uniform(-0.2, 0.2)
    angle = rng.uniform(0, 2 * np.pi) + pace * rng.uniform(-1.5, 1.5)
    near = rng.uniform(0.3, 0.42)
    far = rng.uniform(0.06, 0.1)
    if motion.axis == "depth":
        drift = rng.uniform(0.4, 0.6) + (pace - 0.5) * rng.uniform(-0.2, 0.2)
        path = Trajectory(drift, across, far * (near / far) ** pace, angle)
    else:
        radius = np.full(frames, rng.uniform(0.13, 0.2))
        if motion.axis == "x":
            path = Trajectory(along, across, radius, angle)
        else:
            path = Trajectory(across, along, radius, angle)
    if motion.backwards:
        return Trajectory(*(column[::-1] for column in path))
    return path


class Appearance(NamedTuple):
    """Hold what an object and what is behind it look like, by name."""

    shape: str
    texture: str
    background: str
    first: str
    second: str

    @property
    def words(self) -> str:
        """Return the object in words, such as ``a red and blue striped disc``."""
        words = self.first
        if self.texture != "plain":
            words = f"{self.first} and {self.second} {self.texture}"
        article = "an" if words[0] in "aeiou" else "a"
        return f"{article} {words} {self.shape}"


class Scene(NamedTuple):
    """Hold a drawn clip, RGB 0-255, and the words for its object."""

    video: UInt8[np.ndarray, "t h w 3"]
    thing: str


def draw_scene(
    motion: Motion, cast: Cast, rng: np.random.Generator, *, frames: int, size: int
) -> Scene:
    """Draw one clip of ``frames`` square frames of ``size`` pixels, RGB 0-255."""
    appearance = choose_appearance(cast, rng)
    return draw_appearance(motion, appearance, rng, frames=frames, size=size)


def choose_appearance(cast: Cast, rng: np.random.Generator) -> Appearance:
    """Draw a kind of each, and two colors."""
    kinds = [str(rng.choice(names)) for names in cast]
    colors = map(str, rng.choice(list(COLORS), 2, replace=False))
    return Appearance(*kinds, *colors)


def draw_appearance(
    motion: Motion,
    appearance: Appearance,
    rng: np.random.Generator,
    *,
    frames: int,
    size: int,
) -> Scene:
    """Draw one clip as :func:`draw_scene` does, of an appearance that is given."""
    # the order of draws is part of the data set: another one gives other videos
    background = _background(appearance.background, rng, size)
    behind = two_tone(background, *rng.uniform(0.2, 0.8, (2, 3)))
    path = draw_trajectory(motion, rng, frames)
    video = paint(behind, appearance, object_coordinates(path, size))
    return Scene(to_bytes(video), appearance.words)


class ObjectCoordinates(NamedTuple):
    """Hold pixels "t h w" in the object's own turned axes.

    Attributes:
        u: to the right, in radii of the object.
        v: downwards, in radii of the object.
        pixels: of a radius, "t 1 1".
    """

    u: Plane
    v: Plane
    pixels: Plane


def object_coordinates(
    path: Trajectory, size: int, *, wrap: bool = False
) -> ObjectCoordinates:
    """Return where each pixel lies as the object sees it.

    Args:
        path: of the object.
        size: of a frame, pixels.
        wrap: what leaves the frame comes back on the other side, so that no pixel is
            more than half a frame away along an axis.
    """
    x0, y0, radius, angle = (column[:, None, None] for column in path)
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    right = x - x0
    down = y - y0
    if wrap:
        right = (right + 0.5) % 1 - 0.5
        down = (down + 0.5) % 1 - 0.5
    dx = right / radius
    dy = down / radius
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    return ObjectCoordinates(u, v, radius * size)


def paint(
    behind: Plane, appearance: Appearance, where: ObjectCoordinates
) -> Float[np.ndarray, "t h w 3"]:
    """Return an object in front of what is behind it, RGB 0-1."""
    # an antialiased outline: a ramp one pixel wide
    distance = SHAPES[appearance.shape](where.u, where.v) * where.pixels
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    texture = TEXTURES[appearance.texture](where.u, where.v)
    first = np.array(COLORS[appearance.first])
    second = np.array(COLORS[appearance.second])
    return cover * two_tone(texture, first, second) + (1 - cover) * behind


def to_bytes(video: Float[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Return RGB 0-1 as RGB 0-255."""
    return (255 * video + 0.5).astype(np.uint8)


def two_tone(share: Plane, first: Plane, second: Plane) -> Plane:
    """Return the first color, with a share of the second one, 0-1."""
    return first + share[..., None] * (second - first)
