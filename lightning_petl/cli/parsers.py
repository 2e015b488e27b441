"""Build the parser of a command that is not a training: options with types, defaults, and one-line errors."""

from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from typing_extensions import override

from lightning_petl.cli.commands import COMMANDS
from lightning_petl.cli.parser_reports import Known, explained


class CommandParser(ArgumentParser):
    """Parse the options of one command; a wrong one is a ValueError of one sentence.

    Args:
        command: its name in :data:`~lightning_petl.cli.commands.COMMANDS`.
        more: sentences for the help page, behind what the command does.
    """

    def __init__(self, command: str, more: str = "", **options: Any) -> None:
        does = COMMANDS[command].does if command in COMMANDS else command
        super().__init__(
            prog=f"lightning-petl {command}",
            description=f"{does[0].upper()}{does[1:]}. {more}".strip(),
            exit_on_error=False,
            allow_abbrev=False,
            **options,
        )

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the parser's report as one sentence, with options of a near spelling."""
        told = explained(message, Known(options=self._names))
        raise ValueError(f"{told}; {self.prog} --help says more") from None

    def _names(self) -> list[str]:
        # Private in argparse, which offers no other list of its options.
        names: list[str] = []
        for action in self._actions:
            names += [option.lstrip("-") for option in action.option_strings]
        return names
