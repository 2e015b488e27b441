"""Build the optimizer of a training, and relate its learning rate to the size of a batch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from lightning_petl.optim.groups import WeightDecayRule, parameter_groups
from lightning_petl.optim.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Configure how the trainable parameters are updated.

    Args:
        algorithm: AdamW (Loshchilov and Hutter 2019) or SGD with momentum.
        lr: learning rate, for the whole global batch.
        weight_decay: decoupled for AdamW, added to the gradient for SGD.
        decay: which parameters decay: ``none``; ``no_bias``, all but vectors (biases, norm scales); ``all``.
        lr_factor: learning-rate factor of an owner, as in ``{head: 10}``; owners are the adapters and ``head``.
        betas: AdamW's.
        momentum: SGD's.
        schedule: warm-up and decay of the learning rate.
        global_batch: clips per optimizer update over all ranks; gradients are accumulated to reach it.
            None: ranks times micro batch.
        lr_per: if given, lr is meant for a global batch of this many clips and scales linearly with it.

    Raises:
        ValueError: a value outside its range.
    """

    algorithm: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-2
    decay: WeightDecayRule = "no_bias"
    lr_factor: Mapping[str, float] = field(default_factory=dict[str, float])
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    schedule: Schedule = field(default_factory=Schedule)
    global_batch: int | None = None
    lr_per: int | None = None

    def __post_init__(self) -> None:
        _require_positive(
            lr=self.lr, global_batch=self.global_batch, lr_per=self.lr_per
        )
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
        """Return the learning rate for updates of ``global_batch`` clips.

        It is ``lr``, or with ``lr_per`` it is ``lr * global_batch / lr_per`` (the linear rule of Goyal et al., 2017).
        """
        if self.lr_per is None:
            return self.lr
        return self.lr * global_batch / self.lr_per

    def optimizer(
        self,
        parameters: Mapping[str, nn.Parameter],
        owners: Mapping[str, str],
        rate: float,
    ) -> Optimizer:
        """Build the optimizer over the trainable ``parameters``, one group per owner and decay.

        Args:
            parameters: all parameters by name; frozen ones are left out.
            owners: owner of each trainable parameter by name.
            rate: learning rate before owner factors.

        Raises:
            ValueError: nothing trains, a parameter has no owner, or a factor is that of no owner.
        """
        groups = parameter_groups(parameters, owners, self.decay)
        known = sorted({group["owner"] for group in groups})
        _require_known_owners(self.lr_factor, known)
        for group in groups:
            group["lr"] = rate * self.lr_factor.get(group["owner"], 1.0)
            group["weight_decay"] = self.weight_decay * group.pop("decays")
        if self.algorithm == "sgd":
            return SGD(groups, lr=rate, momentum=self.momentum)
        return AdamW(groups, lr=rate, betas=self.betas)


def accumulation(global_batch: int | None, *, ranks: int, micro: int) -> int:
    """Return the micro batches per optimizer update: ``global_batch / (ranks * micro)``, or 1 without a global batch.

    Args:
        global_batch: clips per update over all ranks.
        ranks: how many processes train.
        micro: clips per forward pass of one rank.

    Raises:
        ValueError: it is not a whole number.
    """
    if global_batch is None:
        return 1
    clips_a_pass = ranks * micro
    if global_batch % clips_a_pass:
        raise ValueError(
            f"global_batch {global_batch} is not a multiple of {clips_a_pass} clips per pass "
            f"({ranks} rank(s) x batch_size {micro}); choose a batch_size that divides {global_batch / ranks:g}"
        )
    return global_batch // clips_a_pass


def _require_known_owners(factors: Mapping[str, float], known: list[str]) -> None:
    unknown = sorted(set(factors) - set(known))
    if not unknown:
        return
    rest = dict(factors)
    for owner in unknown:
        del rest[owner]
    raise ValueError(
        f"lr_factor names {', '.join(unknown)}, which own no trainable parameter; owners: {known}; leave the "
        f"others out: --model.optim.lr_factor='{json.dumps(rest)}'"
    )


def _require_positive(**values: float | int | None) -> None:
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}")
