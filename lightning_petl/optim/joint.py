"""Drive several optimizers as one."""

from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch.optim import Optimizer


class JointOptimizer(Optimizer):
    """Hold several optimizers as one: one loss, one backward pass, each with its own groups and rule.

    Its groups and its state are theirs, one behind the other, so that whatever takes an optimizer takes it::

        optimizers      a: [group 0, group 1]     b: [group 0]
        param_groups    [a's 0,   a's 1,             b's 0]

    Args:
        optimizers: by name; no parameter is in two of them.
        stopped: names of those that make no more steps; it may grow.
    """

    def __init__(
        self, optimizers: Mapping[str, Optimizer], stopped: Container[str] = ()
    ) -> None:
        self.optimizers = dict(optimizers)
        self.stopped = stopped
        groups: list[dict[str, Any]] = []
        for optimizer in optimizers.values():
            groups.extend(optimizer.param_groups)
        super().__init__(groups, {})
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of each optimizer that has not stopped; return the loss of ``closure``, if there is one."""
        # the Trainer's closure holds the backward pass, and an Optimizer's step may
        # be called where gradients are off
        with torch.enable_grad():
            loss = closure() if closure else None
        for name, optimizer in self.optimizers.items():
            if name not in self.stopped:
                optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of one optimizer with all these groups."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Give each optimizer its part of these groups, and the state of all.

        Optimizer makes new dictionaries for both, when it is built and when it loads; a
        learning rate that is set in one of them must be the one that a step reads.
        """
        groups = iter(self.param_groups)
        for optimizer in self.optimizers.values():
            optimizer.state = self.state
            optimizer.param_groups = [next(groups) for _ in optimizer.param_groups]
