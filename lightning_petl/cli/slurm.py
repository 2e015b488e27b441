"""The commands on jobs, by name."""

import sys
from collections.abc import Callable

from lightning_petl.cli.jobs import cancel, logs, status
from lightning_petl.slurm.submit import submit

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "submit": submit,
    "status": status,
    "cancel": cancel,
    "logs": logs,
}


def run(argv: list[str]) -> int:
    """Run one command; its exit code, 2 for what is wrong, told in one paragraph."""
    try:
        return COMMANDS[argv[0]](argv[1:])
    except SystemExit as stop:  # of --help, and of argparse
        return int(stop.code or 0)
    except (ValueError, OSError) as error:
        print(f"lightning-petl: {error}", file=sys.stderr)
        return 2
