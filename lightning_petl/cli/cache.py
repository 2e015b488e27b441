"""Run the frozen trunk once over a data set and keep what it computed (``cache build``)."""

from dataclasses import fields
from typing import Any, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor
from typing_extensions import override

from data_modules.commands.build_cache import Storage, build
from data_modules.loading.data_module import VideoDataModule
from lightning_petl.backbones import VideoViT, prefix
from lightning_petl.cli import config_files
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import WithoutLogs, run_cli
from lightning_petl.shapes import ClipPixels
from lightning_petl.tasks.classification import VideoClassifier


def run(argv: list[str]) -> int:
    """Run ``cache build``; return 0, or 130 where it was interrupted."""
    # It reads the configuration of fit: the trunk and the data are those of a training.
    with config_files.checked(argv):
        return run_cli(CacheCLI, with_artifact(["fit", *argv[2:]])).exit_code


class CacheCLI(WithoutLogs):
    """Read what ``fit`` is given, and write the features of its frozen trunk.

    Attributes:
        exit_code: of the command, once it has run.
    """

    exit_code = 0

    @override
    def _takes_features(self, config: Namespace) -> bool:
        # Whether or not the configuration names a cache already.
        return True

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Storage)
        parser.add_argument(
            "--parts",
            type=list[str] | None,
            default=None,
            help="What is kept: pixels, embedding, block.<index> and feature; what the stack needs where not given.",
        )

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Build in the place of training."""
        model = cast(VideoClassifier, self.model)
        # The Trainer moves a model only when it runs one.
        backbone = model.to(self.trainer.strategy.root_device).backbone
        parts = self._parts(backbone)

        def compute(clips: ClipPixels) -> dict[str, Tensor]:
            clips = clips.to(backbone.pixel_mean.device)
            return prefix.prefix(backbone, clips, parts)

        self.exit_code = build(
            cast(VideoDataModule, self.datamodule),
            compute,
            trunk=prefix.identity(backbone, parts),
            storage=self._storage(),
        )

    def _storage(self) -> Storage:
        options: dict[str, Any] = {}
        for field in fields(Storage):
            options[field.name] = self._get(self.config_init, field.name)
        return Storage(**options)

    def _parts(self, backbone: VideoViT) -> list[str]:
        """Return the names of what is kept.

        Raises:
            ValueError: one of them is no frozen part of the trunk.
        """
        parts = self._get(self.config_init, "parts") or prefix.needed(backbone)
        offered = prefix.offered(backbone)
        unknown = [name for name in parts if name not in offered]
        if unknown:
            raise ValueError(
                "parts: nothing frozen is named "
                f"{', '.join(unknown)}; there are {', '.join(offered)}"
            )
        return parts
