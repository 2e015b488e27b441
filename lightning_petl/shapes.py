"""Axis letters and array types used in every signature.

``b`` clips, ``v`` views, ``t`` frames, ``n`` tokens of a frame, ``p`` patches of a frame or prompts, ``d`` trunk width,
``h`` ``w`` patch rows and columns (or pixels of a frame), ``c`` color channels, ``k`` classes, ``r`` rank or
bottleneck, ``q`` sentences (queries) or vectors that a reader answers, ``l`` words of a sentence, ``s`` width of
what a reader answers, ``e`` width of the space that text and video share.
"""

from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

ClipPixels = UInt8[Tensor, "b t c h w"]
Video = UInt8[Tensor, "b v t c h w"]
Pixels = Float[Tensor, "b t c h w"]
Tokens = Float[Tensor, "bt n d"]
Feature = Float[Tensor, "b d"]
Answer = Float[Tensor, "b *q s"]
Frames = Float[Tensor, "b t d"]
Logits = Float[Tensor, "b k"]
Labels = Int64[Tensor, " b"]


class Grid(NamedTuple):
    """Own the layout of tokens: which row belongs to which patch of which frame of which clip.

    In this layout a sequence is one frame. Two clips of 2 frames, each of one class token ``C`` and 1 x 3 patches
    ``p``, with ``frames=2, height=1, width=3, prefix=1``::

        axis 0 (b t)   0 (clip 0, frame 0)   1 (clip 0, frame 1)   2 (clip 1, frame 0)   3 (clip 1, frame 1)
        axis 1 (n)     C p p p               C p p p               C p p p               C p p p

    Rows behind the patches are shallow prompts. Methods rearrange tokens through this class alone, so that a trunk
    with one sequence a clip needs another grid and no other method.

    Attributes:
        frames: of a clip.
        height: rows of patches.
        width: columns of patches.
        prefix: class token and registers in front of the patches.
    """

    frames: int
    height: int
    width: int
    prefix: int

    @property
    def patches(self) -> slice:
        """Return the rows of axis 1 that hold patches."""
        return slice(self.prefix, self.prefix + self.height * self.width)

    def of(self, video: Shaped[Tensor, "b t *rest"]) -> "Grid":
        """Return the grid of clips that may have another number of frames."""
        return self._replace(frames=video.shape[1])

    def to_clip(self, x: Shaped[Tensor, "bt *rest"]) -> Shaped[Tensor, "b t *rest"]:
        """Give clips and their frames an axis each."""
        return x.unflatten(0, (-1, self.frames))

    def from_clip(
        self, x: Shaped[Tensor, "b t *rest"]
    ) -> Shaped[Tensor, "bt *rest"]:
        """Undo :meth:`to_clip`."""
        return x.flatten(0, 1)

    def frames_of(self, x: Tokens) -> Float[Tensor, "bn t d"]:
        """Return a sequence over time for every row: what stands at one place in all frames of a clip."""
        return rearrange(x, "(b t) n d -> (b n) t d", t=self.frames)

    def from_frames(self, x: Float[Tensor, "bn t d"], like: Tokens) -> Tokens:
        """Undo :meth:`frames_of`; ``like`` has as many rows as the result."""
        return rearrange(x, "(b n) t d -> (b t) n d", n=like.shape[1])

    def to_volume(
        self, patches: Float[Tensor, "bt p d"]
    ) -> Float[Tensor, "b d t h w"]:
        """Return patches as the volume that a 3-D convolution takes."""
        axes = {"t": self.frames, "h": self.height, "w": self.width}
        return rearrange(patches, "(b t) (h w) d -> b d t h w", **axes)

    def from_volume(self, x: Float[Tensor, "b d t h w"]) -> Float[Tensor, "bt p d"]:
        """Undo :meth:`to_volume`."""
        return rearrange(x, "b d t h w -> (b t) (h w) d")

    def pad(self, patches: Float[Tensor, "bt p d"], like: Tokens) -> Tokens:
        """Return as many rows as ``like`` has, with zeros where there is no patch."""
        behind = like.shape[1] - self.patches.stop
        return F.pad(patches, (0, 0, self.prefix, behind))


class Words(NamedTuple):
    """Hold sentences in the space that text and video share.

    Attributes:
        tokens: one vector a word.
        mask: true from the start token to the end token, false in the filling.
        sentence: the vector that stands for the whole sentence.
    """

    tokens: Float[Tensor, "q l e"]
    mask: Bool[Tensor, "q l"]
    sentence: Float[Tensor, "q e"]
