"""Compute learning rates over a training: a warm-up, then a cosine or a constant."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Factor = Callable[[int], float]
"""What a learning rate is multiplied with at update (or epoch) i."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Configure a linear warm-up and, after it, half a cosine.

    With update (or epoch) i of T and a warm-up of w of them, the learning rate is lr times
    ``(i + 1) / (w + 1)`` for i < w, then ``floor + (1 - floor) (1 + cos(pi (i - w) / (T - w))) / 2``.
    No update has rate zero during the warm-up, and none is spent twice at the top. With w = 3 and T = 7::

        i        0    1    2    3    4     5    6     7
        factor  1/4  2/4  3/4   1   0.85  0.5  0.15   0 (behind the last update)

    Args:
        warmup: length of the warm-up, in ``unit``.
        unit: ``epochs``, or ``fraction`` of the whole training.
        per: the rate changes after every optimizer ``step`` or every ``epoch``.
        floor: the last rate as a fraction of lr.
        decay: ``cosine``, or ``constant`` after the warm-up.

    Raises:
        ValueError: a negative warm-up, a warm-up of the whole training, or a floor outside 0 to 1.
    """

    warmup: float = 0.0
    unit: Literal["epochs", "fraction"] = "epochs"
    per: Literal["step", "epoch"] = "step"
    floor: float = 0.0
    # not the decay of weights (`decay` of OptimizerConfig): both keys are published
    decay: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        too_long = self.unit == "fraction" and self.warmup >= 1
        if self.warmup < 0 or too_long:
            raise ValueError(
                f"warmup must be >= 0, and below 1 as a fraction, got {self.warmup} {self.unit}"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(
                f"floor is a fraction of lr between 0 and 1, got {self.floor}"
            )

    def factor(self, steps: int, epochs: float) -> Factor:
        """Return the function from update (or epoch) i to what lr is multiplied with.

        A training that is shorter than its warm-up (a few steps of debugging) only rises.

        Args:
            steps: optimizer updates of the whole training.
            epochs: epochs of the whole training.
        """
        total = float(steps if self.per == "step" else epochs)
        updates_a_unit = total if self.unit == "fraction" else total / epochs
        warmup = self.warmup * updates_a_unit
        return lambda i: self._at(i, warmup, total)

    def _at(self, i: int, warmup: float, total: float) -> float:
        if i < warmup:
            return (i + 1) / (warmup + 1)
        if self.decay == "constant":
            return 1.0
        # a Trainer may go on behind T, where the cosine would rise again; a warm-up
        # of nearly all of T leaves less than one update, by which nothing is divided
        progress = min(1.0, (i - warmup) / max(total - warmup, 1.0))
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.floor + (1 - self.floor) * cosine


class ScheduledRates(LambdaLR):
    """Set learning rates ``lr * factor(i)`` of the schedule as it is now, also after a resume.

    A checkpoint holds the rates that its own schedule ended at: zero behind a finished cosine. The next update of a
    longer training would be made with these. So a resume takes from the checkpoint only how many updates (or epochs)
    are done, and computes the rates again. They are equal to the last bit where nothing was changed.

    Args:
        optimizer: the optimizer whose rates are set.
        factor: one function for all groups, or one for each.
        report: is called with a sentence where a resume goes on at other rates than its checkpoint holds.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Factor | list[Factor],
        report: Callable[[str], object] = print,
    ) -> None:
        self._report = report
        super().__init__(optimizer, factor)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of ``LambdaLR``."""
        state = super().state_dict()
        # LambdaLR takes every attribute; a method of the Trainer does not belong in a file
        del state["_report"]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the updates of ``state_dict``, and report where the rates are others than it holds."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["_step_count"]
        rates: list[float | Tensor] = []
        groups = self.optimizer.param_groups
        for group, base, factor in zip(
            groups, self.base_lrs, self.lr_lambdas, strict=True
        ):
            rate = base * factor(self.last_epoch)
            group["initial_lr"] = base
            group["lr"] = rate
            rates.append(rate)
        self._last_lr = rates
        if rates != state_dict["_last_lr"]:
            self._report(
                f"the learning rate goes on at {max(rates):g}, as this training's schedule has it; the checkpoint "
                f"ended at {max(state_dict['_last_lr']):g}"
            )
