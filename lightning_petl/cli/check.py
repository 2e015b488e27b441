"""``check``: read the whole configuration of ``fit`` and print it. Nothing is built."""

from typing import cast

from typing_extensions import override

from lightning_petl.cli import config_files, config_text
from lightning_petl.cli.artifact_option import with_artifact
from lightning_petl.cli.lightning import PetlCLI, run_cli
from lightning_petl.cli.silenced import plainly_told


def run(argv: list[str]) -> int:
    """Run ``check``."""
    config_files.check(argv)
    with plainly_told():
        run_cli(CheckCLI, with_artifact(["fit", *argv[1:]]))
    return 0


class CheckCLI(PetlCLI):
    """``check``: reads the whole configuration of ``fit`` and prints it; a wrong one is told. Builds nothing."""

    runs_here = False

    @override
    def instantiate_classes(self) -> None:
        """Only print: required values that are missing are told by the parser, unlike with ``--print_config``."""
        print(
            config_text.dumped(
                self._parser(self.subcommand), self.config[cast(str, self.subcommand)]
            )
        )

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is built, so nothing runs."""
