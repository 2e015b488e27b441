"""Axis letters and array types used in every signature.

``b`` clips, ``v`` views, ``t`` frames, ``n`` tokens of a frame, ``d`` trunk width, ``h`` ``w`` patch rows and
columns (or pixels of a frame), ``c`` colour channels, ``k`` classes, ``p`` prompts, ``r`` rank or bottleneck,
``q`` sentences (queries), ``l`` words of a sentence, ``e`` width of the space that text and video share.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

Clip = UInt8[Tensor, "b t c h w"]
Video = UInt8[Tensor, "b v t c h w"]
Tokens = Float[Tensor, "bt n d"]
Feature = Float[Tensor, "b d"]
Frames = Float[Tensor, "b t d"]
Logits = Float[Tensor, "b k"]
Labels = Int64[Tensor, " b"]


class Grid(NamedTuple):
    """Where the patches sit in tokens ``"(b t) n d"``: ``prefix`` rows, then ``height * width`` patches.

    Rows behind the patches are shallow prompts.
    """

    frames: int
    height: int
    width: int
    prefix: int

    @property
    def patches(self) -> slice:
        """The rows of the token axis that hold patches."""
        return slice(self.prefix, self.prefix + self.height * self.width)


class Words(NamedTuple):
    """Sentences in the space that text and video share; ``mask`` marks the words from start token to end token."""

    tokens: Float[Tensor, "q l e"]
    mask: Bool[Tensor, "q l"]
    sentence: Float[Tensor, "q e"]
