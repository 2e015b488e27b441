"""List the commands: the one table that the help page, the README's table and the tests read."""

from difflib import get_close_matches
from typing import NamedTuple


class Command(NamedTuple):
    """Describe one command.

    Attributes:
        does: what it does, in one line.
        module: the file below ``lightning_petl.cli`` whose ``run(argv) -> int`` is called.
            ``argv`` is the whole command line, and the result is the exit code.
    """

    does: str
    module: str


COMMANDS: dict[str, Command] = {
    "fit": Command("train adapters, validate after each epoch", "lightning"),
    "validate": Command("one pass over the validation clips", "lightning"),
    "test": Command(
        "accuracy over the test clips; writes the logits of each view", "lightning"
    ),
    "predict": Command(
        "the five most probable classes of a video or of each video in a folder",
        "lightning",
    ),
    "compare": Command(
        "tables and pictures of tested runs: seeds, paired differences, costs, protocols",
        "compare",
    ),
    "export": Command(
        "write the adapter artifact of a checkpoint "
        "(--run_folder or --ckpt_path, --output)",
        "export",
    ),
    "check": Command(
        "read the whole configuration of fit and print it; nothing is built",
        "check",
    ),
    "summary": Command(
        "parameters, operations, memory and traffic of a training before it is queued",
        "summary",
    ),
    "configs": Command(
        "list, show or copy the configurations that the package ships", "configs"
    ),
    "recipes": Command(
        "published recipes: their numbers, and parameters and operations counted here",
        "recipes",
    ),
    "data index": Command(
        "probe every file of a data set once, and write what was found to a manifest",
        "data",
    ),
    "data ingest": Command(
        "copy a data set once into files or tar shards that decode fast, all verified",
        "data",
    ),
    "cache build": Command(
        "run the frozen trunk once over a data set and keep what it computed",
        "cache",
    ),
    "cache knn": Command(
        "classify clips by their nearest neighbors in a cache, without training",
        "knn",
    ),
    "doctor": Command(
        "check what training needs of this machine, or with --slurm of a cluster",
        "doctor",
    ),
    "submit": Command(
        "queue a training on a SLURM cluster, with its code and configuration as now",
        "submit",
    ),
    "sweep": Command(
        "train every combination of a grid here or on a cluster, and compare them",
        "sweep",
    ),
    "status": Command(
        "table of the submitted jobs: state, time, restarts, last step, run folder",
        "jobs",
    ),
    "cancel": Command(
        "end a submitted job, a task of an array, or all jobs of a name", "jobs"
    ),
    "logs": Command("what a submitted job has written", "jobs"),
}

# what users of other programs type
_MEANT = {
    "train": "fit",
    "val": "validate",
    "eval": "test",
    "evaluate": "test",
    "infer": "predict",
    "help": "--help",
}


def named(argv: list[str]) -> str | None:
    """Return the name of the command that a command line begins with, or None.

    >>> named(["data", "index", "-c", "my.yaml"])
    'data index'
    """
    # Two words first, so that a command of one word does not hide those of its group.
    for length in (2, 1):
        name = " ".join(argv[:length])
        if name in COMMANDS:
            return name
    return None


def help_page(group: str = "") -> str:
    """Return the help page of the program, or of the commands that begin with ``group``."""
    prefix = f"{group} " if group else ""
    names = [name for name in COMMANDS if name.startswith(prefix)]
    # two spaces between the columns
    width = max(map(len, names)) + 2
    lines = [f"  {name:{width}}{COMMANDS[name].does}" for name in names]
    return "\n".join(
        [
            f"usage: lightning-petl {prefix}<command> "
            "[--config FILE.yaml ...] [--key=value ...]",
            "",
            "commands:",
            *lines,
            "",
            f"lightning-petl {prefix}<command> --help "
            "lists its options with types and defaults;",
            "--print_config prints the whole configuration of a training.",
        ]
    )


def is_group(word: str) -> bool:
    """Return whether commands of two words begin with this one, as ``data``."""
    return any(name.startswith(f"{word} ") for name in COMMANDS)


def unknown(argv: list[str]) -> str:
    """Return a sentence on a command line that begins with no command."""
    word = argv[0]
    if is_group(word):
        members = _members(word)
        there = "there is" if len(members) == 1 else "there are"
        return f"{word}: no command {argv[1]!r}; {there}: {', '.join(members)}"
    later = [other for other in argv[1:] if other in COMMANDS]
    # Programs of other kinds take options before the command.
    if word.startswith("-") and later:
        return f"the command comes first: lightning-petl {later[0]} {word} ..."
    return (
        f"there is no command {word!r}; {_near(word)}; "
        "lightning-petl --help says what each does"
    )


def _members(group: str) -> list[str]:
    """Return the second words of the commands of a group."""
    members: list[str] = []
    for name in COMMANDS:
        first, _, second = name.partition(" ")
        if second and first == group:
            members.append(second)
    return members


def _near(word: str) -> str:
    meant = _MEANT.get(word.lower())
    near = [meant] if meant else get_close_matches(word.lower(), COMMANDS, n=2)
    if near:
        return f"near: {', '.join(near)}"
    return f"there are {', '.join(COMMANDS)}"
