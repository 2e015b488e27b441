"""Average the weights over the updates; evaluate and publish the average."""

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
    """Keep an exponential moving average ``a`` of the weights ``w`` that train.

    ``a = d a + (1 - d) w`` with ``d = min(decay, (1 + n) / (10 + n))``. ``n`` counts the averages from 1,
    and ``a`` starts as ``w`` before the first update. Statistics of BatchNorms that train are copied, not
    averaged. Nothing frozen is held twice. Validation, test, prediction and artifacts use ``a``; the
    optimizer goes on with ``w``. A checkpoint holds ``w`` as its state and ``a`` in the state of this
    callback: name it in ``test`` and ``predict``, too. It must come before callbacks that save.

    Args:
        decay: largest d. 0.9999 (Tan and Le, 2019) remembers about the last ten thousand averages.
        every_n_steps: updates of the optimizer from one average to the next.

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
        self.decay = decay
        self.every_n_steps = every_n_steps
        self._average: State = {}
        self._loaded: Mapping[str, Tensor] = {}
        self._updates = 0
        self._step = 0
        self._in_use = False

    @contextmanager
    def in_use(self, module: LightningModule) -> Generator[None]:
        """Let ``module`` hold the averages inside the block."""
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
        # equal after a pass that only accumulates
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every_n_steps == 0:
            self._update(pl_module)

    @override
    def on_validation_start(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
        self._use(pl_module, True)

    @override
    def on_validation_end(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> None:
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
        # the module is not on its device and not sharded yet; _begin takes this over when it is
        self._loaded = state_dict["average"]
        self._average = {}
        self._updates = state_dict["updates"]

    def _begin(self, module: LightningModule) -> None:
        """Start from what was loaded, else from the present weights."""
        if self._average:
            return
        for name, value in trainable_state(module).items():
            start = local_shard(self._loaded.get(name, value), value)
            self._average[name] = start.to(value.device, copy=True)
        self._loaded = {}

    def _update(self, module: LightningModule) -> None:
        self._updates += 1
        decay = min(self.decay, (1 + self._updates) / (10 + self._updates))
        parameters = dict(module.named_parameters())
        averages: list[Tensor] = []
        weights: list[Tensor] = []
        for name, value in trainable_state(module).items():
            if name in parameters:
                averages.append(local(self._average[name]))
                weights.append(local(value))
            else:
                self._average[name].copy_(value)
        # torch's function takes a count of updates, and does not use it
        get_ema_multi_avg_fn(decay)(averages, weights, 0)

    @torch.no_grad()
    def _use(self, module: LightningModule, wanted: bool) -> None:
        """Exchange weights and averages, in place, where ``module`` does not hold the wanted ones."""
        if self._in_use == wanted:
            return
        self._begin(module)
        for name, value in trainable_state(module).items():
            weight = local(value)
            average = local(self._average[name])
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
        self._in_use = wanted


def evaluated_state(checkpoint: Mapping[str, Any]) -> State:
    """Return what a checkpoint has for evaluation: the averages where it holds any, else the weights."""
    average = (
        checkpoint.get("callbacks", {}).get(EMA.__qualname__, {}).get("average")
    )
    return dict(average or checkpoint["state_dict"])


@contextmanager
def averaged(trainer: Trainer, module: LightningModule) -> Generator[None]:
    """Let ``module`` hold inside the block what is evaluated and published.

    These are the averages, where ``trainer`` has an :class:`EMA`, else the weights.
    """
    # Lightning 2.6 sets this attribute by its name, which pyright does not see
    callbacks: list[Callback] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    with ExitStack() as stack:
        for callback in callbacks:
            if isinstance(callback, EMA):
                stack.enter_context(callback.in_use(module))
        yield
