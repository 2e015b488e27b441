"""How one training runs on many devices."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from data_modules import compat as compat  # before lightning, which imports torchvision

# isort: split
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.checkpoint import gathered, load_optimizer, load_trainable, trainable_buffers
from lightning_petl.parallel import broadcast


class Sharded(ModelParallelStrategy):
    """FSDP2: every rank keeps its share of all parameters, gradients and moments, and sees other clips.

    The model shards itself in ``configure_model`` (:func:`~lightning_petl.parallel.shard`). A checkpoint is the one
    file that a single process writes: what trains, whole, gathered on the first rank, so that any number of ranks
    under any strategy goes on from it. Statistics of BatchNorms are the first rank's, as under DDP.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)
        self._buffers: list[Tensor] = []

    @override
    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's own default: one group a node
        super().setup_environment()

    @override
    def setup(self, trainer: Trainer) -> None:
        super().setup(trainer)
        self._buffers = trainable_buffers(self._task)

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
    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        output = super().validation_step(*args, **kwargs)
        self._sharded.reshard()  # no backward pass follows, which would do it
        return output

    @override
    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        output = super().test_step(*args, **kwargs)
        self._sharded.reshard()
        return output

    @override
    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        output = super().predict_step(*args, **kwargs)
        self._sharded.reshard()
        return output

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        broadcast(self._buffers)

    @override
    def on_validation_start(self) -> None:
        broadcast(self._buffers)

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._task.state_dict()

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return getattr(optimizer, "optimizer", optimizer).state_dict()  # Lightning may have wrapped it

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        super().save_checkpoint(gathered(checkpoint), filepath, storage_options)

    # The rest is as in a single process: every rank reads the file and takes its share.

    @property
    @override
    def restore_checkpoint_after_setup(self) -> bool:
        return False

    @property
    @override
    def lightning_restore_optimizer(self) -> bool:
        return True

    @override
    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    @override
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        load_trainable(self._task, checkpoint["state_dict"])

    @override
    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            load_optimizer(optimizer, state)
