"""Compile a model by ``torch.compile``, block by block."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from lightning_petl.distributed.sharding import units


class CompileBlocks(Callback):
    """Compile each block, and each tap of a reader, in place; names in the state dict stay as they are.

    Blocks share their code, so that twelve are compiled once. A compiled LightningModule would rename all
    its keys. The first steps of each stage take seconds to minutes. On a CPU the default backend needs a
    C++ compiler.

    Args:
        backend: of ``torch.compile``.
        mode: of ``torch.compile``; None: its default.
        dynamic: whether sizes are symbols. None: those that change are.
    """

    def __init__(
        self,
        backend: str = "inductor",
        *,
        mode: str | None = None,
        dynamic: bool | None = None,
    ) -> None:
        self.options: dict[str, Any] = {
            "backend": backend,
            "mode": mode,
            "dynamic": dynamic,
        }

    @override
    def setup(
        self, trainer: Trainer, pl_module: LightningModule, stage: str
    ) -> None:
        for unit in units(pl_module):
            # private in torch 2.13, which has no public way to ask whether a module is compiled;
            # a second compile, in the setup of the next stage, would throw the first away
            if unit._compiled_call_impl is None:  # pyright: ignore[reportPrivateUsage]
                unit.compile(**self.options)
