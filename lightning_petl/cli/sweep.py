"""Train every combination of a grid on this machine, or queue them on a cluster (``sweep``)."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lightning_petl.cli import read_configurations
from lightning_petl.cli.grid_options import (
    add_config,
    add_runs,
    config_files,
    refuse_ours,
    varied,
)
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.grids.points import points
from lightning_petl.sweep.order import SweepOrder, Tested

if TYPE_CHECKING:
    from lightning_petl.sweep.scores import ValidationScore

_SITE = "--slurm"
_COMPARE = "compare"
# what sweep itself says to fit, and where that comes from
_OURS = {"--run_folder": "runs and name", "--name": "name"}
# what only makes sense where the members train on this machine
_LOCAL = ("--jobs", "--bank", "--test", "--retry")
_MORE = (
    "Options of fit follow after --. With --slurm FILE the members are an array of jobs, "
    "with the options of submit."
)


def run(argv: list[str]) -> int:
    """Run ``sweep``."""
    if _is_for_cluster(argv):
        return _queue(argv[1:])
    order = parse(argv)
    # Imported late: it needs torch, and --help and a wrong option do not.
    from lightning_petl.sweep.run import sweep

    return sweep(order, _Tools())


def _own(argv: Sequence[str]) -> list[str]:
    """Return the options before ``--``, without values."""
    found: list[str] = []
    for word in argv:
        if word == "--":
            break
        found.append(word.partition("=")[0])
    return found


def _is_for_cluster(argv: Sequence[str]) -> bool:
    return _SITE in _own(argv)


def _queue(argv: list[str]) -> int:
    """Queue the members as the array that ``submit`` makes."""
    # Imported late: most sweeps train on this machine.
    from lightning_petl.cli import submit as queue
    from lightning_petl.slurm.submit import submit

    for option in _own(argv):
        if option in _LOCAL:
            raise ValueError(
                f"sweep: {option} is for members that train on this machine; with "
                f"{_SITE} the queue decides when each of them runs: leave it out"
            )
    order = queue.parse(argv, command="sweep", axes="grid")
    return submit(order, read_configurations.configurations)


def parse(argv: list[str]) -> SweepOrder:
    """Read the command line of ``sweep``; what follows ``--`` is for ``fit``.

    Raises:
        ValueError: an option is unknown, malformed or missing, or one for ``fit`` is decided by ``sweep``.
    """
    # argparse would take what stands behind -- for arguments without an option.
    options = argv[1:]
    end = options.index("--") if "--" in options else len(options)
    fit = options[end + 1 :]
    try:
        given = vars(_parser().parse_args(options[:end]))
    except ValueError as error:
        raise ValueError(f"sweep: {error}{_for_fit(str(error))}") from None
    refuse_ours(fit, _OURS, command="sweep")
    grid = varied(given["grid"], given["seeds"], option="grid", ours=_OURS)
    return SweepOrder(
        folder=_folder(given["runs"], given["name"]),
        config=_files(given["config"]),
        fit=fit,
        grid=grid,
        points=points(grid, "grid"),
        seeds=given["seeds"] is not None,
        jobs=given["jobs"],
        tested=given["test"],
        bank=given["bank"],
        retry=given["retry"],
        dry_run=given["dry_run"],
        again=shlex.join(["lightning-petl", *argv]),
    )


def _for_fit(message: str) -> str:
    """Return a hint for an option of ``fit`` that stands before ``--``."""
    if "no option --" in message and "." in message:
        return "; an option of fit, as --trainer.max_epochs=5, stands behind --"
    return ""


def _parser() -> CommandParser:
    parser = CommandParser("sweep", _MORE)
    _add_members(parser)
    _add_ways(parser)
    return parser


def _add_members(parser: CommandParser) -> None:
    """Add the options that say what is trained, and where it lies."""
    add_config(parser)
    parser.add_argument(
        "--grid",
        type=str,
        action="append",
        help="KEY=VALUE,VALUE with a KEY of fit; may be repeated. "
        "There is a member for each combination.",
    )
    parser.add_argument(
        "--seeds",
        type=str | None,
        default=None,
        help="One member for each, as 0,1,2; initial values and data follow.",
    )
    parser.add_argument(
        "--name",
        type=str,
        default="sweep",
        help="The members are RUNS/NAME/KEY=VALUE,...; the same command goes on there.",
    )
    add_runs(parser)


def _add_ways(parser: CommandParser) -> None:
    """Add the options that say how the members are trained."""
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="Members that train side by side; they share the processors, "
        "and each has a GPU of its own where there are several.",
    )
    parser.add_argument(
        "--bank",
        action="store_true",
        help="Train members that share trunk, data and Trainer behind one pass of the trunk.",
    )
    parser.add_argument(
        "--test",
        type=Tested,
        default="all",
        help="Which members are tested: " + ", ".join(get_args(Tested)) + ".",
    )
    parser.add_argument(
        "--retry",
        action="store_true",
        help="Try members again that have failed three times.",
    )
    parser.add_argument(
        _SITE,
        type=str | None,
        default=None,
        help="YAML file of a cluster, as slurm/gpu: queue an array there, with the options of submit.",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Read all configurations, print what would be trained, and write nothing.",
    )


def _folder(runs: str, name: str) -> Path:
    if not name or name.startswith(".") or "/" in name:
        raise ValueError(
            f"name {name!r} is to name a folder in {runs}; "
            "give one without a slash, and --runs for another place"
        )
    return Path(runs, name)


def _files(names: Sequence[str] | None) -> list[Path]:
    if not names:
        raise ValueError(
            "sweep: config is not given (-c FILE), which says what trains"
        )
    return config_files(names)


class _Tools:
    """Do for a sweep what only the command line can."""

    def read(self, lines: list[list[str]], *, built: bool = False) -> list[str]:
        """Return the whole configuration of each command line of ``fit`` as YAML."""
        return read_configurations.configurations(lines, built=built)

    def environment(self) -> dict[str, str]:
        """Return the variables of a process of this program."""
        return read_configurations.environment()

    def score(self, run: Path) -> "ValidationScore | None":
        """Return the score of the best checkpoint of a run; None where it has none."""
        from lightning_petl.cli.evaluation import best_checkpoint
        from lightning_petl.sweep.scores import ValidationScore

        try:
            chosen = best_checkpoint(run)
        except ValueError:
            # Its test will tell that the best checkpoint is gone or damaged.
            return None
        if chosen.monitor is None or chosen.score is None:
            return None
        return ValidationScore(chosen.monitor, chosen.score)

    def compare(self, runs: Sequence[Path], output: Path) -> int:
        """Compare tested runs, and return the exit code."""
        words: list[str] = []
        for run in runs:
            # One that begins with a dash would be read as an option.
            text = str(run)
            words.append(f"./{text}" if text.startswith("-") else text)
        argv = [_COMPARE, *words, "--output", str(output)]
        # Imported late: it draws pictures.
        from lightning_petl.cli.compare import run as compare

        return compare(argv)
