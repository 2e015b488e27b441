"""The one-method interface of every method, and how a stack of them is attached."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import chain, permutations
from typing import ClassVar, cast

from torch import nn

from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.vit import VideoViT


class Adapter(ABC):
    """Attach a method to a trunk: a frozen dataclass of its hyper-parameters.

    Example, of what a method says of itself::

        >>> import lightning_petl as petl
        >>> issubclass(petl.LoRA, petl.Adapter), petl.LoRA.reads_text, petl.LinearProbe.alone
        (True, True, True)
    """

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
        """Return the methods that it is composed of."""
        return [self]

    @property
    def name(self) -> str:
        """Return the name under which its modules and parameters are listed."""
        return type(self).__name__


class Unfreezing(Adapter):
    """Let existing parameters of the trunk train and add nothing."""

    @abstractmethod
    def parameters(self, vit: VideoViT) -> Iterable[nn.Parameter]:
        """Return the trunk's parameters that train."""

    def attach(self, vit: Encoder) -> None:
        for parameter in self.parameters(cast(VideoViT, vit)):
            parameter.requires_grad_(True)


def attach(encoder: Encoder, adapters: Sequence[Adapter]) -> None:
    """Attach a stack in order and record in ``encoder.owners`` who owns each trainable parameter.

    Raises:
        ValueError: a method that stands alone is stacked, one stands there twice with the same settings, one adds
            nothing to the others, or one does not read text.

    Example, of a stack::

        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> petl.attach(vit, [petl.LoRA(rank=2), petl.VPT(num_prompts=4)])
        >>> sorted(set(vit.owners.values()))
        ['LoRA', 'VPT']
    """
    _refuse_twice(adapters)
    parts = list(chain.from_iterable(adapter.parts() for adapter in adapters))
    # what needs no more than an Encoder says so by ``reads_text``
    vit = cast(VideoViT, encoder)
    if not isinstance(encoder, VideoViT):
        _refuse_of_images(encoder, parts)
    _refuse_meaningless(vit, parts)
    for part in parts:
        # one after the other, so that each parameter has the owner that brought it
        part.attach(vit)
        # what trains and had no owner before this method came
        new = dict[str, str]()
        for name, parameter in vit.named_parameters():
            if parameter.requires_grad and name not in vit.owners:
                new[name] = part.name
        if not new and not part.alone:
            raise ValueError(
                f"{part} attaches to nothing in {vit.name!r}: it would train no parameter"
            )
        vit.owners |= new
    # last: only now it is known what trains
    vit.cast_frozen()


def _refuse_of_images(encoder: Encoder, parts: Sequence[Adapter]) -> None:
    for part in parts:
        if not part.reads_text:
            raise ValueError(
                f"{part.name} works on frames; the text tower {encoder.name!r} takes LoRA or BitFit"
            )


def _refuse_twice(adapters: Sequence[Adapter]) -> None:
    """Refuse equal settings, which mean a file that was named twice; with other settings a method may come twice."""
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
    unfreezing = [part for part in parts if isinstance(part, Unfreezing)]
    for inner, outer in permutations(unfreezing, 2):
        swallowed = set(map(id, inner.parameters(vit)))
        # BitFit of q alone adds a vector and trains none of the trunk's own parameters
        if swallowed and swallowed <= set(map(id, outer.parameters(vit))):
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
