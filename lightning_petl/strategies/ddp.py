"""How one training runs on many devices."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from data_modules import compat as compat  # before lightning, which imports torchvision

# isort: split
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import (
    DDPStrategy,
    ModelParallelStrategy,
    Strategy,
    StrategyRegistry,
)
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.checkpoints.checksums import checksums
from lightning_petl.checkpoints.trainable_state import (
    gather_shards,
    load_optimizer,
    load_trainable,
    trainable_buffers,
    trainable_keys,
)
from lightning_petl.distributed.collectives import (
    broadcast_tensors,
    gather_objects,
    own_rank,
)
from lightning_petl.distributed.traffic import gathered_bytes, gradient_bytes


class Replicated(DDPStrategy):
    """DDP (Li et al., 2020) over what trains: ``g = mean over ranks of g_rank``; nothing frozen ever travels.

    Every rank loads the trunk itself, and checksums of all that is frozen are compared. Parameters that the model
    declares unreachable have no gradient, so no rank waits for one. Each rank keeps statistics of its own in a
    BatchNorm that trains; those of the first rank are evaluated and saved. The graph is static, but where gradients
    accumulate: torch 2.13 then fails in the first pass, which sends nothing.

    Attributes:
        gradient_bytes: of the gradients that this rank has sent so far.

    Args:
        process_group_backend: ``nccl`` or ``gloo``. None: what the devices need.
        timeout: how long a rank waits for the others; NCCL notices a lost machine only then.

    Raises:
        ValueError: ranks hold different frozen weights, or a parameter that trains gets no gradient.
    """

    def __init__(
        self,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=10),
    ) -> None:
        super().__init__(
            process_group_backend=process_group_backend,
            timeout=timeout,
            find_unused_parameters=False,
            gradient_as_bucket_view=True,
        )
        self.gradient_bytes = 0
        self._complete = False

    @property
    def _task(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    @override
    def model_to_device(self) -> None:
        super().model_to_device()
        _require_equal(checksums(self._task))
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # pyright: ignore[reportPrivateUsage]
            self._task, _stays_at_home(self._task)
        )

    @override
    def configure_ddp(self) -> None:
        self._ddp_kwargs["static_graph"] = (
            self._task.trainer.accumulate_grad_batches == 1
        )
        super().configure_ddp()
        replica = cast(DistributedDataParallel, self.model)
        replica.broadcast_buffers = False  # as an argument it is deprecated, and would leave them as they are at start
        replica.register_comm_hook(
            None, lambda state, bucket: self._send(bucket)
        )  # torch looks at annotations
        self._complete = False

    @override
    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: LightningModule | nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        output = super().optimizer_step(optimizer, closure, model, **kwargs)
        if not self._complete:
            _require_gradients(self._task)
            self._complete = True
        return output

    @override
    def on_validation_start(self) -> None:
        broadcast_tensors(trainable_buffers(self._task))

    @override
    def reduce(
        self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean"
    ) -> Tensor:
        return super().reduce(_countable(tensor), group, reduce_op)

    def _send(self, bucket: dist.GradBucket) -> Any:  # pyright: ignore[reportPrivateImportUsage]
        self.gradient_bytes += bucket.buffer().nbytes
        return allreduce_hook(cast(dist.ProcessGroup, dist.group.WORLD), bucket)


# so it is what several devices get where no strategy is named
StrategyRegistry.register("ddp", Replicated, "DDP over what trains", override=True)


class Sharded(ModelParallelStrategy):
    """FSDP2: every rank keeps its share of all parameters, gradients and moments, and sees other clips.

    The model shards itself in ``configure_model``
    (:func:`~lightning_petl.distributed.sharding.shard`). A checkpoint is the one file that
    a single process writes: what trains, whole, gathered on the first rank, so that any
    number of ranks
    under any strategy goes on from it. BatchNorms are those of :class:`Replicated`.

    Attributes:
        gathered_bytes: of the weights that were whole on this rank in training passes so far, once for each gathering.
        gradient_bytes: of the gradients that this rank has given to be reduced so far.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)
        self.gathered_bytes = self.gradient_bytes = 0
        self._pass_bytes, self._update_bytes = 0, 0

    @override
    def setup_environment(self) -> None:
        self._data_parallel_size = (
            self.num_nodes * self.num_processes
        )  # Lightning's own default: one group a node
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
        self._pass_bytes = gathered_bytes(self._task, self.world_size)
        self._update_bytes = gradient_bytes(
            self._task, self.world_size, _unreachable(self._task)
        )

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        self.gathered_bytes += self._pass_bytes
        return super().training_step(*args, **kwargs)

    @override
    def optimizer_step(self, *args: Any, **kwargs: Any) -> Any:
        self.gradient_bytes += self._update_bytes
        return super().optimizer_step(*args, **kwargs)

    @override
    def reduce(
        self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean"
    ) -> Tensor:
        return super().reduce(_countable(tensor), group, reduce_op)

    @override
    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._sharded_again(super().validation_step(*args, **kwargs))

    @override
    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._sharded_again(super().test_step(*args, **kwargs))

    @override
    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        return self._sharded_again(super().predict_step(*args, **kwargs))

    def _sharded_again(self, output: Any) -> Any:
        """Keep only this rank's share once more: no backward pass follows, which would do it."""
        self._sharded.reshard()
        return output

    @override
    def on_validation_start(self) -> None:
        broadcast_tensors(trainable_buffers(self._task))

    @override
    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._task.state_dict()

    @override
    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return getattr(
            optimizer, "optimizer", optimizer
        ).state_dict()  # Lightning may have wrapped it

    @override
    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: Any,
        storage_options: Any | None = None,
    ) -> None:
        super().save_checkpoint(gather_shards(checkpoint), filepath, storage_options)

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
        for optimizer, state in zip(
            self.optimizers, checkpoint["optimizer_states"], strict=True
        ):
            load_optimizer(optimizer, state)


# by a name of its own: as an object, Lightning would refuse it the gradient scaler of 16-mixed
StrategyRegistry.register("sharded", Sharded, "FSDP2, block by block")

_NAMES = {"auto": "auto", "ddp": "ddp", "fsdp": "sharded"}
_PATHS = {f"{cls.__module__}.{cls.__name__}" for cls in (Replicated, Sharded)}


def chosen(strategy: str | Strategy) -> str | Strategy:
    """What a Trainer takes for a user's word: ``ddp`` is :class:`Replicated`, ``fsdp`` is :class:`Sharded`.

    Args:
        strategy: one of these names in any case, ``auto``, or an object or a class path of these classes.

    Raises:
        ValueError: anything else; FSDP1 and DeepSpeed among it.
    """
    if isinstance(strategy, (Replicated, Sharded)) or strategy in _PATHS:
        return strategy
    name = strategy if isinstance(strategy, str) else type(strategy).__name__
    if name.lower() not in _NAMES:
        raise ValueError(
            f"trainer.strategy {name}: use fsdp, which is FSDP2, ddp or auto; FSDP1, DeepSpeed and Lightning's own "
            "wrapping are not supported, for they cannot keep frozen and trained weights apart"
        )
    return _NAMES[name.lower()]


def _countable(value: Any) -> Any:
    """A number in float32: Lightning's mean over ranks of a count of clips would lose its fraction."""
    return (
        value.float()
        if isinstance(value, Tensor) and not value.is_floating_point()
        else value
    )


def _stays_at_home(module: LightningModule) -> list[str]:
    """Parameters and buffers that no rank sends: what is frozen, and what gets no gradient."""
    names = {name for name, p in module.named_parameters() if not p.requires_grad}
    names |= {name for name, _ in module.named_buffers()} - trainable_keys(module)
    names |= _unreachable(module)
    return sorted(
        names | {f".{name}" for name in names if "." not in name}
    )  # DDP puts a dot behind the root's name ""


def _unreachable(module: LightningModule) -> set[str]:
    return cast(set[str], getattr(module, "unreachable", set[str]()))


def _require_equal(sums: dict[str, int]) -> None:
    """Raise ``ValueError`` where another rank holds other frozen tensors."""
    for rank, other in enumerate(gather_objects(sums)):
        names = [
            name
            for name in sums.keys() | other.keys()
            if sums.get(name) != other.get(name)
        ]
        if names:
            raise ValueError(
                f"rank {rank} holds other frozen weights than rank {own_rank()}: {len(names)} tensor(s), "
                f"{min(names)} among them; give all ranks the same file in backbone.weights and the same seed"
            )


def _require_gradients(module: LightningModule) -> None:
    """Raise ``ValueError`` where a parameter that trains got no gradient: the ranks would wait for it."""
    excused = _unreachable(module)
    names = [
        n
        for n, p in module.named_parameters()
        if p.requires_grad and p.grad is None and n not in excused
    ]
    if names:
        owners = cast(dict[str, str], getattr(module, "owners", {}))
        shown = ", ".join(
            f"{name} of {owners.get(name, 'nobody')}" for name in names[:5]
        )
        raise ValueError(
            f"the ranks wait for gradients that never come: {len(names)} trainable tensor(s) got none in the first "
            f"update: {shown}; choose other blocks, or declare them unreachable in the method"
        )
