"""Count what a recipe trains and computes, on tensors without memory: no data, no weights, no GPU."""

from collections.abc import Sequence
from typing import NamedTuple

from typing_extensions import override

from lightning_petl.cli.lightning import run_cli
from lightning_petl.cli.shipped_configs import with_paths
from lightning_petl.cli.summary import SummaryCLI
from lightning_petl.cost.forward import operations_of_clip

# What a recipe leaves to the machine, and what no count depends on.
_ANYWHERE = [
    "--trainer.devices=1",
    "--trainer.num_nodes=1",
    "--seed_everything=false",
    "--model.backbone.frozen_dtype=float32",
    "--model.backbone.deferred=false",
]


class RecipeCost(NamedTuple):
    """Hold what was counted of a recipe.

    Attributes:
        parameters: that train, head included; of a bank, those of one member.
        operations: multiply-accumulates of trunk and method for one view of a video.
        views: frames x clips x crops of a test, as ``8x1x3``.
    """

    parameters: int
    operations: int
    views: str


def count_recipe(name: str, options: Sequence[str] = ()) -> RecipeCost:
    """Build the model of a recipe without memory and count.

    Args:
        name: as ``st_adapter/ssv2_clip_b16``, or a file.
        options: further words of its command line.
    """
    words = ["fit", "-c", name, *_ANYWHERE, *options]
    return run_cli(_CountCLI, with_paths(words)).cost


class _CountCLI(SummaryCLI):
    """Read what ``fit`` is given, and count instead of training."""

    cost: RecipeCost

    @override
    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        model = self._get(self.config, "model")
        if "grid" in model.init_args:
            # The members of a grid differ in how they are trained; one is counted.
            model.init_args.grid = None

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        trained = 0
        for parameter in self._task.parameters():
            if parameter.requires_grad:
                trained += parameter.numel()
        data = self._get(self.config, "data").init_args
        frames = data.sampling.init_args.num_frames
        operations = operations_of_clip(self._task.backbone)
        self.cost = RecipeCost(trained, operations, f"{frames}x{data.views}")
