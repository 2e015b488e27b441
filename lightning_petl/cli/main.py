"""Run a command line: find the command, import its file, and turn what ends it into an exit code.

====  =======================================================================================
0     done
1     ``predict`` met videos that cannot be read, ``doctor`` found a fault, or a bug is shown
2     a wrong value, told in one paragraph
75    stopped by a signal or a lost worker; the same command goes on
130   stopped by Ctrl-C
====  =======================================================================================
"""

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.metadata import version

from lightning_petl.cli import commands
from lightning_petl.cli.old_options import with_current_flags
from lightning_petl.cli.shipped_configs import with_paths
from lightning_petl.cli.user_code import current_folder_last, require_own_packages
from lightning_petl.runs.signals import (
    STOPPABLE,
    die_with_parent,
    die_with_sweep,
    stop_request,
)

WRONG = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words behind the name of the program; None: those of this process, which
            then belongs to the command, with its signals and its output.
    """
    own = argv is None
    if own:
        _prepare_process()
    words = sys.argv[1:] if own else argv
    try:
        with current_folder_last():
            return _run(words, own=own)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:  # the end of --help, and of a predict with faults
        return int(stop.code or 0)


def _prepare_process() -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # Rank zero has started this one; srun and torchrun end their ranks themselves.
        die_with_parent()
    die_with_sweep()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does it: a name that is no text does not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(argv: list[str], *, own: bool) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(commands.help_page())
        return 0
    if argv[0] == "--version":
        print(f"lightning_petl {version('lightning_petl')}")
        return 0
    name = commands.named(argv)
    if name is not None:
        return _run_command(name, argv, own=own)
    if commands.is_group(argv[0]) and argv[1:2] in ([], ["-h"], ["--help"]):
        print(commands.help_page(argv[0]))
        return 0
    print(f"lightning-petl: {commands.unknown(argv)}", file=sys.stderr)
    return WRONG


def _run_command(name: str, argv: list[str], *, own: bool) -> int:
    listening = stop_request(kept=own) if name in STOPPABLE else nullcontext()
    with listening:
        try:
            require_own_packages()
            argv = with_paths(with_current_flags(argv))
            run = _imported(commands.COMMANDS[name].module)
            return run(argv)
        except Exception as error:
            # Imported late: it needs torch where the command does.
            from lightning_petl.cli.errors import tell

            return tell(error, argv)


def _imported(module: str) -> Callable[[list[str]], int]:
    """Return ``run`` of the file of a command; importing torch takes seconds."""
    with _ctrl_c_ends_at_once():
        return import_module(f"lightning_petl.cli.{module}").run


@contextmanager
def _ctrl_c_ends_at_once() -> Generator[None]:
    """End the process at Ctrl-C while modules are imported.

    They catch a KeyboardInterrupt, or take it for a failed import.
    """
    handler = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if handler is not signal.default_int_handler or not in_main_thread:
        yield  # somebody else decides about Ctrl-C
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
