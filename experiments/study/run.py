"""Run a study: choose a learning rate for each method, train with every seed, test, compare.

    python -m experiments.study.run experiments/motion [--jobs 2] [--methods lora,aim]

Each method is tuned with the same budget, on clips that no test sees. The same command
goes on where it was stopped. Tables, plots, the hardware and the minutes come to
``results`` in the folder of the study.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.demo.fetch_trunk import fetch_trunk
from experiments.study import results
from experiments.study.plan import LR, StudiedMethod, Study, read

_TUNING = "tuning"
_TESTED = "tested"
# exit code of a sweep that was stopped by a signal
_STOPPED = 75


class Desk(NamedTuple):
    """Hold where a study works, and how.

    Attributes:
        source: the folder of the study.
        runs: the folder of its runs.
        trunk: the file of the trunk's weights.
        jobs: runs side by side.
    """

    source: Path
    runs: Path
    trunk: Path
    jobs: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study; return 0, 2 for a wrong value, 75 where it was stopped, and 1 where a method failed."""
    given = _options(argv)
    try:
        study = read(given.study)
        methods = _wanted(study, given.methods)
        runs = given.runs or Path("runs", *given.study.parts[1:])
        desk = Desk(given.study, runs, fetch_trunk(), given.jobs)
        for number, method in enumerate(methods, start=1):
            print(f"== {method.name}, {number} of {len(methods)}", flush=True)
            run_method(study, method, desk)
        folder = compare(study, desk)
    except ValueError as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"study: {error}; the same command goes on", file=sys.stderr)
        return _STOPPED if error.returncode == _STOPPED else 1
    print(f"written to {folder}")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.study.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="folder that holds study.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--methods", help="names with commas; all where not given")
    parser.add_argument("--runs", type=Path, help="folder of the runs")
    return parser.parse_args(argv)


def _wanted(study: Study, names: str | None) -> Sequence[StudiedMethod]:
    """Return the methods of these names, in the order of the study.

    Raises:
        ValueError: a name is of no method.
    """
    known = {method.name: method for method in study.methods}
    wanted = names.split(",") if names else list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"no method {name!r}; there are {', '.join(known)}")
    return [known[name] for name in known if name in wanted]


def run_method(study: Study, method: StudiedMethod, desk: Desk) -> None:
    """Choose the learning rate of one method, then train and test it with every seed."""
    begin = time.monotonic()
    if study.chosen_by is None:
        tune(study, method, desk)
        rate = chosen_rate(desk.runs / _TUNING / method.name)
    else:
        rate = results.published_rate(desk.source / study.chosen_by, method.name)
    sweep(
        study,
        method,
        desk,
        _TESTED,
        [*_vary(study), "--seeds", ",".join(map(str, study.seeds))],
        {**study.testing, LR: rate},
    )
    results.note_minutes(desk.runs, method.name, (time.monotonic() - begin) / 60)


def _vary(study: Study) -> list[str]:
    found: list[str] = []
    for key, values in study.vary.items():
        found += ["--grid", f"{key}={','.join(map(str, values))}"]
    return found


def tune(study: Study, method: StudiedMethod, desk: Desk) -> None:
    """Train a method once with each learning rate, and test nothing."""
    rates = ",".join(map(str, study.rates(method)))
    options = [
        "--grid",
        f"{LR}={rates}",
        "--seeds",
        str(study.seeds[0]),
        "--test",
        "none",
    ]
    if method.bank:
        options.append("--bank")
    sweep(study, method, desk, _TUNING, options, study.tuning)


def sweep(
    study: Study,
    method: StudiedMethod,
    desk: Desk,
    stage: str,
    options: Sequence[str],
    flags: Mapping[str, str | int | float],
) -> None:
    """Call ``lightning-petl sweep`` for one method; a sweep that is finished takes seconds.

    Raises:
        subprocess.CalledProcessError: it failed, or was stopped.
    """
    command = [sys.executable, "-m", "lightning_petl", "sweep"]
    command += ["-c", str(desk.source / study.protocol), *options]
    command += ["--jobs", str(desk.jobs)]
    command += ["--runs", str(desk.runs / stage), "--name", method.name, "--"]
    own: dict[str, object] = {
        "model.init_args.backbone.init_args.weights": desk.trunk,
        "model.init_args.adapters": method.adapters,
    }
    for key, value in {**own, **method.flags, **flags}.items():
        command.append(f"--{key}={value}")
    subprocess.run(command, check=True)


def chosen_rate(folder: Path) -> float:
    """Return the learning rate with the best score of validation; of equal ones the first.

    Raises:
        ValueError: no run has a score.
    """
    best = results.best_row(results.rows_of(folder / "validation.csv"))
    if best is None:
        raise ValueError(f"{folder}: no learning rate has a score of validation")
    return float(best[LR])


def compare(study: Study, desk: Desk) -> Path:
    """Compare all tested runs, and write the results of the study; return their folder."""
    folder = desk.source / "results"
    files = sorted(desk.runs.glob(f"{_TESTED}/*/*/config.yaml"))
    runs = [str(file.parent) for file in files]
    command = [sys.executable, "-m", "lightning_petl", "compare", *runs]
    for key in study.vary:
        command += ["--by", f"method,{key}"]
    subprocess.run([*command, "--output", str(folder)], check=True)
    results.write(study, desk.runs, folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
