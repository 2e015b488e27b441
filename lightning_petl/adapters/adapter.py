"""The one-method interface of every method, and how a stack of them is attached."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import ClassVar, cast

from torch import nn

from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.vit import VideoViT


class Adapter(ABC):
    """A method: a frozen dataclass of hyper-parameters that can attach itself to a trunk."""

    alone: ClassVar[bool] = False
    """It means nothing beside other methods (linear probe, full fine-tuning)."""
    commutes: ClassVar[bool] = True
    """Its place in the stack does not change the output."""
    reads_text: ClassVar[bool] = False
    """It works on a text tower too."""

    @abstractmethod
    def attach(self, vit: VideoViT) -> None:
        """Add this method's modules to the trunk, or let some of its parameters train."""

    def parts(self) -> Sequence["Adapter"]:
        """The methods that it is composed of."""
        return [self]

    @property
    def name(self) -> str:
        """The name under which its modules and parameters are listed."""
        return type(self).__name__


class Unfreezing(Adapter):
    """A method that adds nothing and lets existing parameters of the trunk train."""

    @abstractmethod
    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        """The trunk's parameters that train."""

    def attach(self, vit: Encoder) -> None:
        for parameter in self.parameters(cast(VideoViT, vit)):
            parameter.requires_grad_(True)


def attach(encoder: Encoder, adapters: Sequence[Adapter]) -> None:
    """Attach a stack in order and record in ``encoder.owners`` who owns each trainable parameter.

    Raises:
        ValueError: a method that stands alone is stacked, one stands there twice with the same settings, one adds
            nothing to the others, or one does not read text.
    """
    _refuse_twice(adapters)
    parts = [part for adapter in adapters for part in adapter.parts()]
    vit = cast(
        VideoViT, encoder
    )  # what needs no more than an Encoder says so by ``reads_text``
    if not isinstance(encoder, VideoViT):
        _refuse_of_images(encoder, parts)
    _refuse_meaningless(vit, parts)
    for part in parts:
        part.attach(vit)
        new = {
            name: part.name
            for name, p in vit.named_parameters()
            if p.requires_grad and name not in vit.owners
        }
        if not new and not part.alone:
            raise ValueError(
                f"{part} attaches to nothing in {vit.name!r}: it would train no parameter"
            )
        vit.owners |= new
    vit.cast_frozen()


def _refuse_of_images(encoder: Encoder, parts: Sequence[Adapter]) -> None:
    for part in parts:
        if not part.reads_text:
            raise ValueError(
                f"{part.name} works on frames; the text tower {encoder.name!r} takes LoRA or BitFit"
            )


def _refuse_twice(adapters: Sequence[Adapter]) -> None:
    """Equal settings mean a file that was named twice; with other settings a method may come twice."""
    for number, adapter in enumerate(adapters):
        if adapter in adapters[:number]:
            raise ValueError(
                f"{adapter.name} is in the stack twice with the same settings, as where a file of configs/adapters is "
                f"named twice: {adapter}; remove one, or let them differ in a setting, such as blocks"
            )


def _refuse_meaningless(encoder: Encoder, parts: Sequence[Adapter]) -> None:
    alone = [part.name for part in parts if part.alone]
    if alone and len(parts) > 1:
        raise ValueError(
            f"{alone[0]} stands alone; in this stack it meets {', '.join(p.name for p in parts)}"
        )
    vit = cast(VideoViT, encoder)
    for inner, outer in permutations(
        [part for part in parts if isinstance(part, Unfreezing)], 2
    ):
        swallowed = {id(p) for p in inner.parameters(vit)}
        # BitFit of q alone adds a vector and trains none of the trunk's own parameters
        if swallowed and swallowed <= {id(p) for p in outer.parameters(vit)}:
            raise ValueError(
                f"{outer.name} already trains all that {inner.name} would: remove {inner.name}"
            )


def require_positive(**values: int | float) -> None:
    """Raise ``ValueError`` for the first value that is not above zero."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} {value} must be above zero")


def require_distinct(**choices: Sequence[str]) -> None:
    """Raise ``ValueError`` for the first choice that names something twice: it would be attached twice."""
    for name, values in choices.items():
        if len(set(values)) < len(values):
            raise ValueError(f"{name} {', '.join(values)} name one twice")
