"""``cache build``: run the frozen trunk once over a data set and keep what it computed."""

from dataclasses import fields
from typing import cast

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from typing_extensions import override

from data_modules.commands.build_cache import Storage, build
from data_modules.loading.data_module import VideoDataModule
from lightning_petl.backbones import VideoViT, prefix
from lightning_petl.cli import config_files
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import WithoutLogs, run_cli
from lightning_petl.cli.silenced import plainly_told
from lightning_petl.tasks.classification import VideoClassifier


def run(argv: list[str]) -> int:
    """Run ``cache build``; return 0, or 75 where a signal stopped it."""
    config_files.check(argv)
    with plainly_told():
        return run_cli(CacheCLI, with_artifact(["fit", *argv[2:]])).exit_code


class CacheCLI(WithoutLogs):
    """``cache build``: what ``fit`` is given, and how the features of its frozen trunk are kept."""

    exit_code = 0

    @override
    def _takes_features(self, config: Namespace) -> bool:
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
        backbone = (
            cast(VideoClassifier, self.model)
            .to(self.trainer.strategy.root_device)
            .backbone
        )
        parts = self._parts(backbone)
        storage = Storage(
            **{
                field.name: self._get(self.config_init, field.name)
                for field in fields(Storage)
            }
        )
        self.exit_code = build(
            cast(VideoDataModule, self.datamodule),
            lambda clips: prefix.prefix(
                backbone, clips.to(backbone.pixel_mean.device), parts
            ),
            trunk=prefix.identity(backbone, parts),
            storage=storage,
        )

    def _parts(self, backbone: VideoViT) -> list[str]:
        parts = self._get(self.config_init, "parts") or prefix.needed(backbone)
        unknown = [name for name in parts if name not in prefix.offered(backbone)]
        if unknown:
            raise ValueError(
                f"parts: nothing frozen is named {', '.join(unknown)}; there are {', '.join(prefix.offered(backbone))}"
            )
        return parts
