"""An average of the weights over the updates, which is what is evaluated and shared."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from typing_extensions import override

from lightning_petl.checkpoints.trainable_state import State, trainable_state
from lightning_petl.distributed.sharding import local, local_shard


class EMA(Callback):
    """Exponential moving average of what trains: ``a = d a + (1 - d) w`` with ``d = min(decay, (1 + n) / (10 + n))``.

    ``n`` counts the averages from 1, ``a`` starts as ``w`` before the first update. Statistics of BatchNorms that train
    are copied; nothing frozen is held twice. Validation, test, prediction and artefacts use ``a``, the optimiser goes
    on with ``w``. A checkpoint holds ``w`` as its state and ``a`` in the state of this callback: name it in ``test``
    and ``predict``, too. It comes before callbacks that save.

    Args:
        decay: largest d, 0 to 1 (0.9999 of Tan and Le, 2019, remembers the last ten thousand averages).
        every_n_steps: optimiser updates from one average to the next.

    Raises:
        ValueError: a decay outside [0, 1), or steps below one.
    """

    def __init__(self, decay: float = 0.9999, *, every_n_steps: int = 1) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA.decay: expected 0 <= decay < 1, got {decay}")
        if every_n_steps < 1:
            raise ValueError(
                f"EMA.every_n_steps: expected at least 1, got {every_n_steps}"
            )
        self.decay, self.every_n_steps = decay, every_n_steps
        self._average: State = {}
        self._loaded: Mapping[str, Tensor] = {}
        self._updates, self._step, self._in_use = 0, 0, False

    @contextmanager
    def in_use(self, module: LightningModule) -> Generator[None]:
        """Within it, ``module`` holds the averages."""
        before = self._in_use
        self._use(module, True)
        try:
            yield
        finally:
            self._use(module, before)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(pl_module)
        self._step = trainer.global_step

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step == self._step:  # a pass that only accumulates
            return
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            self._update(pl_module)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._use(pl_module, True)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._use(pl_module, False)

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._use(pl_module, False)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"average": dict(self._average), "updates": self._updates}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._average, self._loaded, self._updates = (
            {},
            state_dict["average"],
            state_dict["updates"],
        )

    def _begin(self, module: LightningModule) -> None:
        """Start from what was loaded, else from the weights as they are."""
        if not self._average:
            own = trainable_state(module)
            starts = {
                name: local_shard(self._loaded.get(name, value), value)
                for name, value in own.items()
            }
            self._average = {
                name: starts[name].to(value.device, copy=True)
                for name, value in own.items()
            }
            self._loaded = {}

    def _update(self, module: LightningModule) -> None:
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        own, parameters = trainable_state(module), dict(module.named_parameters())
        averaged = [name for name in own if name in parameters]
        get_ema_multi_avg_fn(decay)(
            [local(self._average[name]) for name in averaged],
            [local(own[name]) for name in averaged],
            0,
        )
        for name in own.keys() - parameters.keys():
            self._average[name].copy_(own[name])

    @torch.no_grad()
    def _use(self, module: LightningModule, wanted: bool) -> None:
        """Exchange weights and averages, in place, where ``module`` does not hold the wanted ones."""
        if self._in_use == wanted:
            return
        self._begin(module)
        for name, value in trainable_state(module).items():
            weight, average = local(value), local(self._average[name])
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
        self._in_use = wanted


def evaluated_state(checkpoint: Mapping[str, Any]) -> State:
    """What a checkpoint has for evaluation: the averages where it holds any, else the weights."""
    average = checkpoint.get("callbacks", {}).get(EMA.__qualname__, {}).get("average")
    return dict(average or checkpoint["state_dict"])


@contextmanager
def averaged(trainer: Trainer, module: LightningModule) -> Generator[None]:
    """Within it, ``module`` holds the weights to evaluate and to share: averages, where ``trainer`` keeps any."""
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]  # set by name
    with ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, EMA):
                stack.enter_context(callback.in_use(module))
        yield
