"""Classify clips by their nearest neighbors in a cache of features, without a training (``cache knn``)."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from rich.console import Console
from rich.table import Table
from torch.nn.functional import normalize

from data_modules.features.cache import read_index
from data_modules.features.pooled import PooledFeatures, read_pooled
from data_modules.io.atomic import write_whole
from data_modules.io.names import cell, visible
from data_modules.io.progress import progress
from data_modules.sample import Split
from lightning_petl.cli.parsers import CommandParser
from lightning_petl.metrics.neighbors import NeighborScores, neighbor_scores

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
_EVALUATED: tuple[Split, ...] = ("val", "test")
_COLUMNS = ("split", "clips", "k", "top1", "top5")


class Asked(NamedTuple):
    """Hold what the command line asks for.

    Attributes:
        folder: of the cache.
        ks: numbers of neighbors.
        temperature: of the votes' weights.
        output: the CSV.
    """

    folder: Path
    ks: list[int]
    temperature: float
    output: Path


class SplitScores(NamedTuple):
    """Hold the scores of a split, for each number of neighbors."""

    split: Split
    clips: int
    scores: list[NeighborScores]


def run(argv: list[str]) -> int:
    """Run ``cache knn FOLDER``."""
    asked = _asked(argv[2:])
    console = Console(highlight=False)
    layout = read_index(asked.folder).layout
    splits: list[Split] = [split for split in _EVALUATED if split in layout]
    _require_splits(asked.folder, list(layout), splits)
    known = _read(asked.folder, "train", layout["train"].clips, console)
    known = _readable(known, console)
    ks = _ks(asked.ks, known, console)
    found: list[SplitScores] = []
    for split in splits:
        clips = layout[split].clips
        features = _read(asked.folder, split, clips, console)
        scores = _scores(known, features, ks, asked.temperature, console)
        found.append(SplitScores(split, clips, scores))
    console.print(_table(found, known))
    write_whole(asked.output, _csv(found).encode())
    console.print(cell(f"written to {asked.output}"), soft_wrap=True)
    return 0


def _asked(argv: list[str]) -> Asked:
    parser = CommandParser(
        "cache knn",
        "The k clips of training with the largest cosine vote with weight exp(cosine / temperature), as in DINO.",
    )
    parser.add_argument(
        "folder", type=str, help="what cache build wrote, with the pooled feature"
    )
    parser.add_argument(
        "--k", type=list[int], default=list(KS), help="numbers of neighbors"
    )
    parser.add_argument(
        "--temperature", type=float, default=TEMPERATURE, help="above 0"
    )
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="the CSV that is written; knn.csv in the folder where not given",
    )
    given = parser.parse_args(argv)
    folder = Path(given.folder)
    wrong = [k for k in given.k if k < 1]
    if wrong or not given.k:
        raise ValueError(f"k: expected numbers from 1 on, got {given.k}")
    # written so that it refuses what is no number, too
    if not given.temperature > 0:
        raise ValueError(
            f"temperature: expected a number above 0, got {given.temperature}"
        )
    output = Path(given.output) if given.output else folder / "knn.csv"
    ks = sorted(set(given.k))
    return Asked(folder, ks, given.temperature, output)


def _require_splits(
    folder: Path, held: Sequence[str], evaluated: Sequence[str]
) -> None:
    """Raise ``ValueError`` unless there are clips that vote and clips that are classified."""
    if "train" in held and evaluated:
        return
    missing = "val or test" if "train" in held else "train"
    raise ValueError(
        f"{folder}: holds no {missing} split, and neighbors of training classify "
        "clips of val or test; build it with --splits=[train,val]"
    )


def _read(
    folder: Path, split: Split, clips: int, console: Console
) -> PooledFeatures:
    with progress("clips", console=console) as shown:
        bar = shown.add_task(f"Reading {split}", total=clips)
        return read_pooled(folder, split, lambda: shown.advance(bar))


def _readable(known: PooledFeatures, console: Console) -> PooledFeatures:
    """Return the clips of training that could be read; a clip that stands in for another one would vote twice."""
    left_out = int((~known.readable).sum())
    if left_out:
        console.print(f"{left_out} clip(s) of training could not be read; left out")
    rows = known.readable
    return PooledFeatures(known.features[rows], known.labels[rows], rows[rows])


def _ks(
    wanted: Sequence[int], known: PooledFeatures, console: Console
) -> list[int]:
    """Return the numbers of neighbors that training has; ValueError where it has none of them."""
    voters = known.labels.numel()
    ks = [k for k in wanted if k <= voters]
    if not ks:
        raise ValueError(
            f"k: training has {voters} clips, fewer than {min(wanted)} neighbors; "
            f"give --k=[{max(voters, 1)}] or less"
        )
    if len(ks) < len(wanted):
        more = ", ".join(str(k) for k in wanted if k > voters)
        console.print(f"training has {voters} clips: no k of {more}")
    return ks


def _scores(
    known: PooledFeatures,
    asked: PooledFeatures,
    ks: Sequence[int],
    temperature: float,
    console: Console,
) -> list[NeighborScores]:
    """Return the scores of a split; clips that could not be read count as wrong."""
    # several views of a clip are one: the mean of their directions
    features = normalize(asked.features, dim=-1).mean(1)[asked.readable]
    labels = asked.labels[:, 0][asked.readable]
    with progress("clips", console=console) as shown:
        bar = shown.add_task("Comparing", total=len(labels))
        scores = neighbor_scores(
            known.features.flatten(0, 1),
            known.labels.flatten(),
            features,
            labels,
            ks=ks,
            temperature=temperature,
            advance=lambda clips: shown.advance(bar, clips),
        )
    share = len(labels) / len(asked.labels)
    if share < 1:
        lost = len(asked.labels) - len(labels)
        console.print(f"{lost} clip(s) could not be read and count as wrong")
    counted: list[NeighborScores] = []
    for score in scores:
        counted.append(
            NeighborScores(score.k, score.top1 * share, score.top5 * share)
        )
    return counted


def _rows(found: Sequence[SplitScores]) -> list[list[str]]:
    rows: list[list[str]] = []
    for split in found:
        for score in split.scores:
            accuracies = [f"{score.top1:.4f}", f"{score.top5:.4f}"]
            rows.append([split.split, str(split.clips), str(score.k), *accuracies])
    return rows


def _table(found: Sequence[SplitScores], known: PooledFeatures) -> Table:
    title = f"Nearest of {known.labels.numel()} clips of training"
    table = Table(*_COLUMNS, title=title)
    for row in _rows(found):
        table.add_row(*map(visible, row))
    return table


def _csv(found: Sequence[SplitScores]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_rows(found))
    return text.getvalue()
