"""Train on several devices with DDP (Li et al., 2020) over the parameters that train."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from data_modules import (
    compat as compat,
)  # before lightning, which imports torchvision

# isort: split
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from typing_extensions import override

from lightning_petl.checkpoints.checksums import checksums
from lightning_petl.checkpoints.trainable_state import (
    trainable_buffers,
    trainable_keys,
)
from lightning_petl.distributed.collectives import (
    broadcast_tensors,
    gather_objects,
    own_rank,
)
from lightning_petl.strategies.reduction import as_float, unreachable_of

_SHOWN = 5  # names in a message


class TrainableDDP(DDPStrategy):
    """Replicate the model on every device; reduce the gradients of what trains, ``g = mean over ranks of g_rank``.

    Every rank loads the trunk itself, and checksums of all that is frozen are compared. Nothing frozen is
    ever sent. Parameters that the model declares unreachable have no gradient, so no rank waits for one.
    Each rank keeps its own statistics in a BatchNorm that trains; those of rank 0 are evaluated and saved.

    Attributes:
        gradient_bytes: bytes of gradients that this rank has sent so far.

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
        self._gradients_checked = False

    @property
    def _task(self) -> LightningModule:
        assert self.lightning_module is not None
        return self.lightning_module

    @override
    def model_to_device(self) -> None:
        super().model_to_device()
        _require_same_frozen(checksums(self._task))
        # private in torch 2.13, and the only way to keep frozen tensors out of DDP's first broadcast
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # pyright: ignore[reportPrivateUsage]
            self._task, _never_sent(self._task)
        )

    @override
    def configure_ddp(self) -> None:
        # torch 2.13 fails in the first pass of a static graph where that pass only accumulates
        passes = self._task.trainer.accumulate_grad_batches
        self._ddp_kwargs["static_graph"] = passes == 1
        super().configure_ddp()
        replica = cast(DistributedDataParallel, self.model)
        # as an argument it is deprecated, and would also leave out the broadcast at the start
        replica.broadcast_buffers = False
        # a lambda has no annotations; torch 2.13 refuses a hook whose annotations are not those of its own
        replica.register_comm_hook(None, lambda state, bucket: self._send(bucket))
        self._gradients_checked = False

    @override
    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: LightningModule | nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        output = super().optimizer_step(optimizer, closure, model, **kwargs)
        if not self._gradients_checked:
            _require_gradients(self._task)
            self._gradients_checked = True
        return output

    @override
    def on_validation_start(self) -> None:
        # the statistics of BatchNorms differ from rank to rank, but all must evaluate the same model
        broadcast_tensors(trainable_buffers(self._task))

    @override
    def reduce(
        self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean"
    ) -> Tensor:
        return super().reduce(as_float(tensor), group, reduce_op)

    def _send(self, bucket: dist.GradBucket) -> Any:  # pyright: ignore[reportPrivateImportUsage]
        self.gradient_bytes += bucket.buffer().nbytes
        return allreduce_hook(cast(dist.ProcessGroup, dist.group.WORLD), bucket)


def _never_sent(module: LightningModule) -> list[str]:
    """Return the names of what is frozen or gets no gradient; DDP ignores these."""
    names = unreachable_of(module)
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            names.add(name)
    buffers = {name for name, _ in module.named_buffers()}
    names |= buffers - trainable_keys(module)
    # DDP joins the name of a module and that of its parameter by a dot, and the root's name is ""
    of_root = {f".{name}" for name in names if "." not in name}
    return sorted(names | of_root)


def _require_same_frozen(sums: dict[str, int]) -> None:
    """Compare the checksums of all ranks. All ranks must call it.

    Raises:
        ValueError: another rank holds other frozen tensors.
    """
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
    """Refuse parameters that train but got no gradient.

    Raises:
        ValueError: there is one, for whose gradient the ranks would wait.
    """
    excused = unreachable_of(module)
    names: list[str] = []
    for name, parameter in module.named_parameters():
        waited_for = parameter.requires_grad and name not in excused
        if waited_for and parameter.grad is None:
            names.append(name)
    if not names:
        return
    owners = cast(dict[str, str], getattr(module, "owners", {}))
    shown = ", ".join(
        f"{name} of {owners.get(name, 'nobody')}" for name in names[:_SHOWN]
    )
    raise ValueError(
        f"the ranks wait for gradients that never come: {len(names)} trainable tensor(s) got none in the first "
        f"update: {shown}; choose other blocks, or declare them unreachable in the method"
    )
