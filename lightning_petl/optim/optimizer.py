"""Optimiser, parameter groups, learning-rate schedule and the arithmetic of batch sizes."""

import json
import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

DecayRule = Literal["none", "no_bias", "all"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, then half a cosine.

    With update (or epoch) i of T and a warm-up of w of them, the learning rate is lr times
    ``(i + 1) / (w + 1)`` for i < w, then ``floor + (1 - floor) (1 + cos(pi (i - w) / (T - w))) / 2``.
    No update has rate zero during the warm-up, and none is spent twice at the top.

    Args:
        warmup: length of the warm-up, in ``unit``.
        unit: ``epochs``, or ``fraction`` of the whole training.
        per: the rate changes after every optimiser ``step`` or every ``epoch``.
        floor: the last rate as a fraction of lr.
        decay: ``cosine``, or ``constant`` after the warm-up.
    """

    warmup: float = 0.0
    unit: Literal["epochs", "fraction"] = "epochs"
    per: Literal["step", "epoch"] = "step"
    floor: float = 0.0
    decay: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        if self.warmup < 0 or (self.unit == "fraction" and self.warmup >= 1):
            raise ValueError(
                f"warmup must be >= 0, and below 1 as a fraction, got {self.warmup} {self.unit}"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(
                f"floor is a fraction of lr between 0 and 1, got {self.floor}"
            )

    def factor(self, steps: int, epochs: float) -> Callable[[int], float]:
        """What lr is multiplied with at update (or epoch) i.

        A training that is shorter than its warm-up (a few steps of debugging) only rises.

        Args:
            steps: optimiser updates of the whole training.
            epochs: epochs of the whole training.
        """
        total = float(steps if self.per == "step" else epochs)
        warmup = self.warmup * (total if self.unit == "fraction" else total / epochs)
        return lambda i: self._at(i, warmup, total)

    def _at(self, i: int, warmup: float, total: float) -> float:
        if i < warmup:
            return (i + 1) / (warmup + 1)
        if self.decay == "constant":
            return 1.0
        progress = min(1.0, (i - warmup) / max(total - warmup, 1.0))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


class ScheduledRates(LambdaLR):
    """Learning rates ``lr * factor(i)`` of the schedule as it is now, also after a resume.

    A checkpoint holds the rates that its own schedule ended at: zero behind a finished cosine. The next update of a
    longer training would be made with these. So a resume takes from the checkpoint only how many updates (or epochs)
    are done, and computes the rates again. They are equal to the last bit where nothing was changed.

    Args:
        optimizer: whose rates.
        factor: of all groups, or one of each.
        told: is given a sentence where a resume goes on at other rates than its checkpoint holds.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Callable[[int], float] | list[Callable[[int], float]],
        told: Callable[[str], object] = print,
    ) -> None:
        self._told = told
        super().__init__(optimizer, factor)

    def state_dict(self) -> dict[str, Any]:
        """As of its base."""
        return {
            key: value for key, value in super().state_dict().items() if key != "_told"
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the updates of ``state_dict``, and tell where the rates are others than it holds."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["_step_count"]
        rates = [
            base * factor(self.last_epoch)
            for base, factor in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]
        for group, base, rate in zip(
            self.optimizer.param_groups, self.base_lrs, rates, strict=True
        ):
            group["initial_lr"] = base
            group["lr"] = rate
        self._last_lr = rates
        if rates != state_dict["_last_lr"]:
            self._told(
                f"the learning rate goes on at {max(rates):g}, as this training's schedule has it; the checkpoint "
                f"ended at {max(state_dict['_last_lr']):g}"
            )


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How the trainable parameters are updated.

    Args:
        algorithm: AdamW (Loshchilov and Hutter 2019) or SGD with momentum.
        lr: learning rate, for the whole global batch.
        weight_decay: decoupled for AdamW, added to the gradient for SGD.
        decay: which parameters decay: ``none``; ``no_bias``, all but vectors (biases, norm scales); ``all``.
        lr_factor: learning-rate factor of an owner, as in ``{head: 10}``; owners are the adapters and ``head``.
        betas: AdamW's.
        momentum: SGD's.
        schedule: warm-up and decay of the learning rate.
        global_batch: clips per optimiser update over all ranks; gradients are accumulated to reach it.
            None: ranks times micro batch.
        lr_per: if given, lr is meant for a global batch of this many clips and scales linearly with it.

    Raises:
        ValueError: a value outside its range.
    """

    algorithm: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    decay: DecayRule = "no_bias"
    lr_factor: Mapping[str, float] = field(default_factory=dict[str, float])
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    schedule: Schedule = field(default_factory=Schedule)
    global_batch: int | None = None
    lr_per: int | None = None

    def __post_init__(self) -> None:
        _positive(lr=self.lr, global_batch=self.global_batch, lr_per=self.lr_per)
        if self.weight_decay < 0:
            raise ValueError(
                f"weight_decay must not be negative, got {self.weight_decay}"
            )
        for owner, factor in self.lr_factor.items():
            if factor < 0:
                raise ValueError(
                    f"lr_factor of {owner!r} must not be negative, got {factor}"
                )

    def rate(self, global_batch: int) -> float:
        """Learning rate for updates of ``global_batch`` clips: ``lr``, or ``lr * global_batch / lr_per``."""
        return self.lr if self.lr_per is None else self.lr * global_batch / self.lr_per

    def optimizer(
        self,
        parameters: Mapping[str, nn.Parameter],
        owners: Mapping[str, str],
        rate: float,
    ) -> Optimizer:
        """The optimiser over the trainable ``parameters``, one group per owner and decay.

        Args:
            parameters: all parameters by name; frozen ones are left out.
            owners: owner of each trainable parameter by name.
            rate: learning rate before owner factors.
        """
        groups = parameter_groups(parameters, owners, self.decay)
        known = sorted({group["owner"] for group in groups})
        _known_owners(self.lr_factor, known)
        for group in groups:
            group["lr"] = rate * self.lr_factor.get(group["owner"], 1.0)
            group["weight_decay"] = self.weight_decay * group.pop("decays")
        if self.algorithm == "sgd":
            return SGD(groups, lr=rate, momentum=self.momentum)
        return AdamW(groups, lr=rate, betas=self.betas)


class Together(Optimizer):
    """Several optimisers as one: one loss, one backward pass, each with its own groups and rule.

    Its groups and its state are theirs, one behind the other, so that whatever takes an optimiser takes it.

    Args:
        optimizers: by name; no parameter is in two of them.
        stopped: names of those that make no more steps; it may grow.
    """

    def __init__(
        self, optimizers: Mapping[str, Optimizer], stopped: Container[str] = ()
    ) -> None:
        self.optimizers, self.stopped = dict(optimizers), stopped
        super().__init__(
            [
                group
                for optimizer in optimizers.values()
                for group in optimizer.param_groups
            ],
            {},
        )
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each that has not stopped."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for name, optimizer in self.optimizers.items():
            if name not in self.stopped:
                optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of any optimiser with all these groups."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        groups = iter(self.param_groups)
        for optimizer in self.optimizers.values():
            optimizer.state = self.state
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], owners: Mapping[str, str], decay: DecayRule
) -> list[dict[str, Any]]:
    """Trainable parameters by owner and decay: ``{"name", "owner", "decays", "params"}`` each.

    Raises:
        ValueError: nothing trains, or a trainable parameter has no owner.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in trainable(parameters.items()):
        owner, decays = _owner(name, owners), _decays(parameter, decay)
        key = f"{owner}/{'decay' if decays else 'no_decay'}"
        new = {
            "name": key,
            "owner": owner,
            "decays": decays,
            "params": list[nn.Parameter](),
        }
        groups.setdefault(key, new)["params"].append(parameter)
    if not groups:
        raise ValueError(
            "nothing trains: every parameter is frozen; add an adapter or a head"
        )
    return list(groups.values())


def trainable(
    named: Iterable[tuple[str, nn.Parameter]],
) -> Iterable[tuple[str, nn.Parameter]]:
    """Those of the named parameters that train."""
    return ((name, parameter) for name, parameter in named if parameter.requires_grad)


def accumulation(global_batch: int | None, *, ranks: int, micro: int) -> int:
    """Micro batches per optimiser update: ``global_batch / (ranks * micro)``.

    Raises:
        ValueError: it is not a whole number.
    """
    if global_batch is None:
        return 1
    if global_batch % (ranks * micro):
        raise ValueError(
            f"global_batch {global_batch} is not a multiple of {ranks * micro} clips per pass "
            f"({ranks} rank(s) x batch_size {micro}); choose a batch_size that divides {global_batch / ranks:g}"
        )
    return global_batch // (ranks * micro)


def _owner(name: str, owners: Mapping[str, str]) -> str:
    if name not in owners:
        raise ValueError(
            f"parameter {name!r} trains but belongs to no adapter and not to the head"
        )
    return owners[name]


def _decays(parameter: nn.Parameter, rule: DecayRule) -> bool:
    return rule == "all" or (rule == "no_bias" and parameter.ndim > 1)


def _known_owners(factors: Mapping[str, float], known: list[str]) -> None:
    unknown = sorted(set(factors) - set(known))
    if unknown:
        rest = json.dumps(
            {name: factor for name, factor in factors.items() if name in known}
        )
        raise ValueError(
            f"lr_factor names {', '.join(unknown)}, which own no trainable parameter; owners: {known}; leave the "
            f"others out: --model.optim.lr_factor='{rest}'"
        )


def _positive(**values: float | int | None) -> None:
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}")
