"""Networks beside the trunk, and how they are run while the trunk computes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.backbones.children import Extension
from lightning_petl.shapes import Answer, Grid, Pixels, Tokens

FrameAnswers = Float[Tensor, "b t s"]


class Reader(nn.Module, ABC):
    """Read the trunk from beside: see the frames, then the tokens behind each tapped block, then answer.

    What it has computed so far goes from :meth:`begin` through ``taps[index](tokens, state)`` to :meth:`end`, block
    by block; a reader itself holds nothing of a clip.

    Attributes:
        taps: by the index of a block, what computes the next state from the tokens behind it and the state before.
        feature_dim: width of a vector that it answers.
        queries: how many vectors it answers of a clip, as ``"b q d"``; None: one, as ``"b d"``.
        reads_pixels: false where the tapped tokens are enough; :meth:`begin` may then get frames of no pixels.
    """

    taps: nn.ModuleDict | Mapping[str, Callable[[Tokens, Any], Any]]
    feature_dim: int
    queries: int | None = None
    reads_pixels: bool = True

    @abstractmethod
    def begin(self, video: Pixels, grid: Grid) -> Any:
        """Return the first state of clips."""

    @abstractmethod
    def end(self, state: Any) -> Answer:
        """Return the answer for each clip."""

    def frames(self, state: Any, grid: Grid) -> FrameAnswers:
        """Return an answer for every frame; here the same for all frames of a clip.

        Raises:
            ValueError: a clip has several vectors, and none of them is one of a frame.
        """
        if self.queries is not None:
            raise ValueError(
                f"{type(self).__name__} answers {self.queries} vectors a clip and none of "
                "a frame: give it a method frames"
            )
        return repeat(self.end(state), "b s -> b t s", t=grid.frames)

    @property
    def unreachable(self) -> Iterable[nn.Parameter]:
        """Return its parameters without any path to its answer."""
        return ()

    @property
    def recomputed(self) -> list[nn.Module]:
        """Return its modules that the backward pass computes again."""
        return []


class Readers(Extension):
    """Run the readers beside a trunk, by name; their answers are averaged."""

    def all(self) -> list[Reader]:
        """Return the readers in the order of their names in the stack."""
        return cast(list[Reader], list(self.values()))

    def add(self, name: str, reader: Reader) -> None:
        """Add a reader under ``name``.

        Raises:
            ValueError: the others' answers have another width or another number of vectors.
        """
        others = ", ".join(self)
        for other in self.all():
            if reader.feature_dim != other.feature_dim:
                raise ValueError(
                    f"readers are averaged: {name} of width {reader.feature_dim} cannot "
                    f"stand beside {others} of width {other.feature_dim}"
                )
            if reader.queries != other.queries:
                raise ValueError(
                    f"readers are averaged: {name} answers {reader.queries or 1} vectors "
                    f"a clip and cannot stand beside {others}, with {other.queries or 1}"
                )
        self.insert(name, reader)

    @property
    def tapped(self) -> set[int]:
        """Return the indices of the blocks that any reader taps."""
        indices = set[int]()
        for reader in self.all():
            indices |= {int(index) for index in reader.taps}
        return indices

    @property
    def reads_pixels(self) -> bool:
        """Return whether any reader needs the frames beside the tapped tokens."""
        return any(reader.reads_pixels for reader in self.all())

    def begin(self, video: Pixels, grid: Grid) -> list[Any]:
        """Return the first state of each reader."""
        return [reader.begin(video, grid) for reader in self.all()]

    def read(self, index: int, x: Tokens, states: list[Any]) -> None:
        """Hand the tokens behind block ``index`` to the readers that tap it.

        Their entries of ``states`` are replaced.
        """
        key = str(index)
        for number, reader in enumerate(self.all()):
            if key in reader.taps:
                states[number] = reader.taps[key](x, states[number])

    def end(self, states: list[Any]) -> Answer:
        """Return the mean of the answers, in float32."""
        answers = [
            reader.end(state)
            for reader, state in zip(self.all(), states, strict=True)
        ]
        return torch.stack(answers).mean(0).float()

    def frames(self, states: list[Any], grid: Grid) -> dict[str, FrameAnswers]:
        """Return the answer of each reader for every frame, by its name, in float32."""
        answers: dict[str, FrameAnswers] = {}
        for name, reader, state in zip(self, self.all(), states, strict=True):
            answers[name] = reader.frames(state, grid).float()
        return answers
