"""``lightning-petl``: the list of commands without importing torch, everything else in ``cli``."""

import sys

if sys.platform == "win32":
    # Before all other imports: they need signals and locks that Windows has not.
    sys.stderr.write(
        "lightning-petl: it needs Linux, and this is Windows; WSL 2 is a Linux. macOS is untested\n"
    )
    sys.exit(2)

import io
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from importlib.metadata import version

from lightning_petl.cli.shipped_configs import with_paths
from lightning_petl.cli.user_code import current_folder_importable
from lightning_petl.runs.signals import STOPPABLE, die_with_parent, stop_request

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ends

COMMANDS = {
    "fit": "train adapters, validate after each epoch",
    "validate": "one pass over the validation clips",
    "test": "accuracy over the test clips; writes the logits of each view",
    "predict": "the five most probable classes of a video or of each video in a folder",
    "export": "write the adapter artefact of a checkpoint (--run_folder or --ckpt_path, --output)",
    "data index": "probe every file of a data set once, and write what was found to a manifest",
    "data ingest": "copy a data set once into files or tar shards that decode fast, every copy verified",
    "summary": "parameters, operations, memory and traffic of a training before it is queued",
    "doctor": "check what training needs of this machine, or with --slurm of a cluster",
    "submit": "queue a training on a SLURM cluster, with its code and configuration as they are now",
    "status": "table of the submitted jobs: state, time, restarts, last step, run folder",
    "cancel": "end a submitted job, a task of an array, or all jobs of a name",
    "logs": "what a submitted job has written",
    "cache build": "run the frozen trunk once over a data set and keep what it computed, for --data.cache",
    "configs": "list, show or copy the configurations that the package ships",
}

_MEANT = {
    "train": "fit",
    "val": "validate",
    "eval": "test",
    "evaluate": "test",
    "infer": "predict",
    "help": "--help",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return 0, 1, 2 for a wrong value, which is told in one paragraph, 75 or 130 after signals.

    1 means that ``predict`` met videos that cannot be read, all others having their classes, or that a bug is shown.
    """
    own = argv is None
    if own and os.environ.get("LOCAL_RANK", "0") != "0":
        die_with_parent()  # rank zero, which started this one; srun and torchrun do so by themselves
    if own and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # as stderr: a name that is no text does not end a command
    argv = sys.argv[1:] if own else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] == "--version":
        print(f"lightning_petl {version('lightning_petl')}")
        return 0
    if argv[0] not in _first_words():
        print(f"lightning-petl: {_no_command(argv)}", file=sys.stderr)
        return 2
    if argv[0] == "configs":
        from lightning_petl.cli.shipped_configs import run

        return run(argv)
    try:
        argv = with_paths(argv)
    except ValueError as error:
        print(f"lightning-petl: {error}", file=sys.stderr)
        return 2
    try:
        with stop_request(kept=own) if argv[0] in STOPPABLE else nullcontext():
            with _ctrl_c_ends_at_once():
                if argv[0] in ("submit", "status", "cancel", "logs"):
                    from lightning_petl.cli.slurm import run
                elif argv[0] == "doctor":
                    from lightning_petl.cli.doctor import run
                else:
                    from lightning_petl.cli.lightning import (
                        run,  # importing torch takes seconds
                    )
            with current_folder_importable():
                return run(argv)
    except KeyboardInterrupt:
        return INTERRUPTED


@contextmanager
def _ctrl_c_ends_at_once() -> Generator[None]:
    """Where modules are imported: they catch a KeyboardInterrupt, or take it for a failed import."""
    handler = signal.getsignal(signal.SIGINT)
    if (
        handler is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield  # somebody else decides about Ctrl-C
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _help() -> str:
    commands = "\n".join(f"  {name:13}{what}" for name, what in COMMANDS.items())
    return (
        "usage: lightning-petl <command> [--config FILE.yaml ...] [--key.of.config=value ...]\n\n"
        f"commands:\n{commands}\n\n"
        "lightning-petl <command> --help lists its options; --print_config prints the whole configuration."
    )


def _first_words() -> set[str]:
    """What a command line may begin with; ``check`` is of ``submit``, which starts it itself."""
    return {name.split()[0] for name in COMMANDS} | {"check"}


def _no_command(argv: list[str]) -> str:
    """What is wrong with a command line that begins with none of the commands."""
    word = argv[0]
    later = [other for other in argv[1:] if other in _first_words()]
    if word.startswith("-") and later:
        return f"the command comes first: lightning-petl {later[0]} {word} ..."
    meant = (
        [_MEANT[word.lower()]]
        if word.lower() in _MEANT
        else get_close_matches(word.lower(), COMMANDS, n=2)
    )
    near = f"near: {', '.join(meant)}" if meant else f"there are {', '.join(COMMANDS)}"
    return f"there is no command {word!r}; {near}; lightning-petl --help says what each does"


if __name__ == "__main__":
    sys.exit(main())
