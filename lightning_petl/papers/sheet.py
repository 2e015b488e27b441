"""Read the sheet of a paper: what was published about each recipe of its folder, and how we know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from lightning_petl.papers.published import Figure

NOT_RUN = "not run: data set not available here"


@dataclass(frozen=True, kw_only=True)
class Element:
    """Describe one element of a recipe.

    Args:
        published: what the paper or its code does; ``unknown`` where nothing public says it.
        differs: what is done here in another way, or is taken where nothing is known; empty: as published.
    """

    published: str
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Describe how a paper trains and tests on a data set, element by element.

    Args:
        evidence: from where it is known.
        optimizer: algorithm, learning rate, batch, length and schedule.
        decay: which parameters decay, and how much.
        sampling: which frames a clip shows.
        augmentation: what training does to a clip.
        views: frames, clips and crops of a test, and how scores are averaged.
        readout: from tokens to scores.
        precision: numbers in which the published code computes.
    """

    evidence: str
    optimizer: Element
    decay: Element
    sampling: Element
    augmentation: Element
    views: Element
    readout: Element
    precision: Element


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """Describe one row of a paper's table, or a control that we put beside it.

    Args:
        name: of the row, as ``24x384, 8 frames``.
        recipe: file in the folder, without ``.yaml``.
        options: what its command line has beside the file.
        protocol: key of :class:`PaperSheet`'s protocols.
        place: table and row of the paper, or the file of its code; ``none`` of a control.
        views: frames x clips x crops of a test, as ``8x1x3``.
        metric: what ``score`` is.
        score: the published result.
        parameters: the published number of trained parameters.
        count: trained parameters by the closed form of the paper or ours, the head included.
        gmacs: published multiply-accumulates of a view in thousand millions, or of several: ``455 for 3 views``.
        memory: published memory of training.
        differs: what is known to differ beside the elements of the protocol.
        status: when and where it was run here.
    """

    name: str
    recipe: str
    protocol: str
    place: str
    views: str
    options: list[str] = field(default_factory=list[str])
    metric: str = "top-1"
    score: Figure | None = None
    parameters: Figure | None = None
    count: int | None = None
    gmacs: Figure | None = None
    memory: Figure | None = None
    differs: list[str] = field(default_factory=list[str])
    status: str = NOT_RUN


@dataclass(frozen=True, kw_only=True)
class WaitingRun:
    """Describe a published row without a recipe here.

    Args:
        name: of the row.
        published: its numbers, and how they are known.
        waits_for: what this package lacks.
    """

    name: str
    published: str
    waits_for: str


@dataclass(frozen=True, kw_only=True)
class PaperSheet:
    """Hold all that ``recipes.yaml`` says of a paper.

    Args:
        title: name of the method and title of the paper.
        cite: authors, venue, year, arXiv number.
        code: where its code is; empty: no code is public.
        about: what a reader must know first, such as that widths are a reconstruction.
        protocols: by key.
        runs: in the order of the table.
        waiting: what has no recipe here yet.
    """

    title: str
    cite: str
    about: str
    protocols: dict[str, Protocol]
    runs: list[PublishedRun]
    code: str = ""
    waiting: list[WaitingRun] = field(default_factory=list[WaitingRun])


def read_sheet(file: Path) -> PaperSheet:
    """Read ``recipes.yaml``.

    Raises:
        ValueError: it is no YAML, has an unknown or a missing key or a value of another type, or a row names a
            protocol or a file that is not there.
    """
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: it holds no mapping of title, runs and so on")
    sheet = _sheet(file, cast(Mapping[str, Any], content))
    for run in sheet.runs:
        if run.protocol not in sheet.protocols:
            raise ValueError(
                f"{file}: row {run.name!r} names the protocol "
                f"{run.protocol!r}; there are {', '.join(sheet.protocols)}"
            )
        if not (file.parent / f"{run.recipe}.yaml").is_file():
            raise ValueError(
                f"{file}: row {run.name!r} names {run.recipe}, "
                "and there is no such file beside it"
            )
    return sheet


def _sheet(file: Path, content: Mapping[str, Any]) -> PaperSheet:
    # One by one: the parser takes three times as long for a list of rows.
    rows = content.get("runs")
    if not isinstance(rows, list):
        raise ValueError(f"{file}: it has no list of runs")
    runs: list[PublishedRun] = []
    for row in cast(list[Any], rows):
        runs.append(_parsed(file, PublishedRun, row))
    sheet = _parsed(file, PaperSheet, {**content, "runs": []})
    return replace(sheet, runs=runs)


_Kind = TypeVar("_Kind", PaperSheet, PublishedRun)


def _parsed(file: Path, kind: type[_Kind], value: Any) -> _Kind:
    parser = _parser(kind)
    try:
        parsed = parser.parse_object({"value": value})
    except ArgumentError as error:
        raise ValueError(f"{file}: {error}") from error
    return parser.instantiate_classes(parsed)["value"]


@cache
def _parser(kind: type) -> ArgumentParser:
    """Build a parser, which takes longer than it takes to read with it."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "value")
    return parser
