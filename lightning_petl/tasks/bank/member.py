"""Configure one member of a bank."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, cast

from lightning_petl.adapters import Adapter
from lightning_petl.artifacts.recipes import encode
from lightning_petl.backbones.readout import Readout
from lightning_petl.heads.linear import LinearHead
from lightning_petl.optim.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Member:
    """Configure a run that shares the trunk's pass with others: readers, head, and how they are trained.

    Args:
        adapters: readers (side networks, probes); several are averaged, none means the trunk's own feature.
        readout: how the trunk's own feature is read, where there are no readers. None: as the trunk's own ``readout``.
        head: recipe of the head.
        optim: how the parameters are updated.
        label_smoothing: of the training loss, 0 to 1 (Szegedy et al., 2016).
        clip_norm: largest norm of the member's gradient; None: any.
        seed: of its initial values and its dropout. None: both are those of a run of its own with this run's seed.

    Raises:
        ValueError: a ``clip_norm`` that is not above zero.
    """

    adapters: list[Adapter] = field(default_factory=list[Adapter])
    readout: Readout | None = None
    head: LinearHead = LinearHead()
    optim: OptimizerConfig = OptimizerConfig()
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm {self.clip_norm} must be above zero")


def settings(member: Member) -> dict[str, Any]:
    """Return its hyper-parameters by path, as in a grid; tuples and lists as text."""
    methods = "+".join(adapter.name for adapter in member.adapters)
    return {"adapters": methods or "none"} | dict(_leaves(member, ""))


def described(member: Member) -> dict[str, Any]:
    """Return a member in JSON types, with the keys of the model of a run of its own.

    A read-out of its own is among them, where it has one.
    """
    readout = {} if member.readout is None else {"readout": member.readout}
    return readout | {
        "adapters": [encode(adapter) for adapter in member.adapters],
        "head": encode(member.head),
        "optim": asdict(member.optim),
        "label_smoothing": member.label_smoothing,
        "clip_norm": member.clip_norm,
    }


def _leaves(recipe: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for part in fields(recipe):
        name = part.name
        value = getattr(recipe, name)
        if isinstance(value, list) and name == "adapters":
            for adapter in cast(list[Adapter], value):
                yield from _leaves(adapter, f"{prefix}adapters.{adapter.name}.")
        elif is_dataclass(value):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, int | float | str):
            yield prefix + name, value
        else:
            # TensorBoard's table of hyper-parameters takes numbers and text alone
            yield prefix + name, str(value)
