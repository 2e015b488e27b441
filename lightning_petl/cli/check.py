"""Read the whole configuration of ``fit`` and print it; nothing is built (``check``)."""

from typing import cast

from typing_extensions import override

from lightning_petl.cli import config_files, config_text
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import PetlCLI, run_cli


def run(argv: list[str]) -> int:
    """Run ``check``."""
    with config_files.checked(argv):
        run_cli(CheckCLI, with_artifact(["fit", *argv[1:]]))
    return 0


class CheckCLI(PetlCLI):
    """Read the whole configuration of ``fit`` and print it, or refuse a wrong one; build nothing."""

    # A login node has other devices than the nodes that train.
    runs_here = False

    @override
    def instantiate_classes(self) -> None:
        """Print the configuration; with ``--print_config`` required values that are missing would go unnoticed."""
        config = self.config[cast(str, self.subcommand)]
        print(config_text.dumped(self._parser(self.subcommand), config))

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Run nothing, for nothing is built."""
