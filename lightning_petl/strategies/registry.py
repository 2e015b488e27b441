"""Find the strategy that a user's word means, and register ours with Lightning."""

from typing import Literal

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch.strategies import Strategy, StrategyRegistry

from lightning_petl.strategies.ddp import TrainableDDP
from lightning_petl.strategies.fsdp import FSDP2

StrategyKind = Literal["auto", "ddp", "fsdp"]

# under Lightning's own word, so that several devices get it where no strategy is named
StrategyRegistry.register(
    "ddp", TrainableDDP, "DDP over what trains", override=True
)

# under a word of its own: Lightning's fsdp is FSDP1. Not as an object, because Lightning 2.6 then refuses
# the gradient scaler of 16-mixed.
StrategyRegistry.register("sharded", FSDP2, "FSDP2, block by block")

_LIGHTNINGS: dict[StrategyKind, str] = {
    "auto": "auto",
    "ddp": "ddp",
    "fsdp": "sharded",
}
_KINDS: dict[type[Strategy], StrategyKind] = {TrainableDDP: "ddp", FSDP2: "fsdp"}
_PATHS: dict[str, StrategyKind] = {
    f"{cls.__module__}.{cls.__name__}": kind for cls, kind in _KINDS.items()
}
_WORDS: dict[str, StrategyKind] = {"auto": "auto", "ddp": "ddp", "fsdp": "fsdp"}


def resolve_strategy(strategy: str | Strategy) -> str | Strategy:
    """Return what a Trainer takes for a user's word, as ``sharded`` for ``fsdp``.

    Args:
        strategy: ``auto``, ``ddp`` or ``fsdp`` in any case, or an object or a class path of
            :class:`~lightning_petl.strategies.ddp.TrainableDDP` or
            :class:`~lightning_petl.strategies.fsdp.FSDP2`, which is returned as it is.

    Raises:
        ValueError: anything else; FSDP1 and DeepSpeed among it.
    """
    kind = kind_of_strategy(strategy)
    if isinstance(strategy, Strategy) or strategy in _PATHS:
        return strategy
    return _LIGHTNINGS[kind]


def kind_of_strategy(strategy: str | Strategy) -> StrategyKind:
    """Return which of the three a strategy is.

    Args:
        strategy: as :func:`resolve_strategy`.

    Raises:
        ValueError: it is none of them.
    """
    kind: StrategyKind | None
    if isinstance(strategy, Strategy):
        name = type(strategy).__name__
        kind = next(
            (k for cls, k in _KINDS.items() if isinstance(strategy, cls)), None
        )
    else:
        name = strategy
        kind = _PATHS.get(name) or _WORDS.get(name.lower())
    if kind is not None:
        return kind
    raise ValueError(
        f"trainer.strategy {name}: use fsdp, which is FSDP2, ddp or auto; FSDP1, DeepSpeed and Lightning's own "
        "wrapping are not supported, for they cannot keep frozen and trained weights apart"
    )
