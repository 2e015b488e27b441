"""Train on several devices with FSDP2: each keeps a shard of every parameter."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from data_modules import (
    compat as compat,
)  # before lightning, which imports torchvision

# isort: split
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.checkpoints.trainable_state import (
    gather_shards,
    load_optimizer,
    load_trainable,
    trainable_buffers,
)
from lightning_petl.distributed.collectives import broadcast_tensors
from lightning_petl.distributed.traffic import gathered_bytes, gradient_bytes
from lightning_petl.strategies.reduction import as_float, unreachable_of


class FSDP2(ModelParallelStrategy):
    """Keep a shard of all parameters, gradients and moments on every rank; each rank sees other clips.

    The model shards itself in ``configure_model``
    (:func:`~lightning_petl.distributed.sharding.shard`). A checkpoint is the same one file that a single
    process writes: the trainable state, whole, gathered on rank 0. Any number of ranks under any strategy
    resumes from it. BatchNorms are treated as in
    :class:`~lightning_petl.strategies.ddp.TrainableDDP`.

    Attributes:
        gathered_bytes: bytes of weights that were gathered on this rank in training passes so far,
            counted once for each gathering.
        gradient_bytes: bytes of gradients that this rank has handed over for reduction so far.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)
        self.gathered_bytes = 0
        self.gradient_bytes = 0
        self._bytes_of_pass = 0
        self._bytes_of_update = 0

    @override
    def setup_environment(self) -> None:
        # Lightning 2.6 would shard over the ranks of one node only, and replicate over nodes
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def _sharded(self) -> FSDPModule:
        return cast(FSDPModule, self.lightning_module)

    @property
    def _task(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    @override
    @contextmanager
    def block_backward_sync(self) -> Generator[None]:
        """Keep gradients whole and unsent until the last pass of an accumulated update."""
        self._sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._sharded.set_requires_gradient_sync(True)

    @override
    def on_train_start(self) -> None:
        self._bytes_of_pass = gathered_bytes(self._task, self.world_size)
        self._bytes_of_update = gradient_bytes(
            self._task, self.world_size, unreachable_of(self._task)
        )

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.gathered_bytes += self._bytes_of_pass
        return super().training_step(*args, **kwargs)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> Any:
        self.gradient_bytes += self._bytes_of_update
        return super().optimizer_step(*args, **kwargs)

    @override
    def reduce(
        self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean"
    ) -> Tensor:
        return super().reduce(as_float(tensor), group, reduce_op)

    @override
    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._resharded(super().validation_step(*args, **kwargs))

    @override
    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._resharded(super().test_step(*args, **kwargs))

    @override
    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._resharded(super().predict_step(*args, **kwargs))

    def _resharded(self, output: Any) -> Any:
        """Free the gathered weights of the root unit, and return ``output``.

        In training the backward pass frees them; an evaluation has none.
        """
        self._sharded.reshard()
        return output

    @override
    def on_validation_start(self) -> None:
        # the statistics of BatchNorms differ from rank to rank, but all must evaluate the same model
        broadcast_tensors(trainable_buffers(self._task))

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._task.state_dict()

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        # Lightning may have wrapped it in a LightningOptimizer
        return getattr(optimizer, "optimizer", optimizer).state_dict()

    @override
    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: Any,
        storage_options: Any | None = None,
    ) -> None:
        super().save_checkpoint(
            gather_shards(checkpoint), filepath, storage_options
        )

    # Loading is that of a single process: every rank reads the file and takes its shards.

    @property
    @override
    def restore_checkpoint_after_setup(self) -> bool:
        return False

    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return True

    @override
    def load_checkpoint(
        self, checkpoint_path: Any, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(
            checkpoint_path, weights_only=weights_only
        )

    @override
    def load_model_state_dict(
        self, checkpoint: Mapping[str, Any], strict: bool = True
    ) -> None:
        load_trainable(self._task, checkpoint["state_dict"])

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        states = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            load_optimizer(optimizer, state)
