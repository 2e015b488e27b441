"""The parts of the benchmark; each measures one thing and adds its table and its goals to the report."""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import Int64

from data_modules.sampling.schemes import DenseSampling, SegmentSampling
from data_modules.storage.transcode import Profile, transcode
from data_modules.video.decode import open_video
from experiments.benchmarks.data import files, loaders, measure
from experiments.benchmarks.data.bench import Bench, tasks
from experiments.benchmarks.data.contenders import (
    ALL,
    DECORD,
    RGB,
    TORCHCODEC,
    YUV,
    our_views,
)
from experiments.benchmarks.data.decode_only import DecodeOnly
from experiments.benchmarks.data.measure import Times, ratio
from experiments.benchmarks.data.report import Goal, Report
from experiments.benchmarks.grid import Grid

DECODE_ONLY = "decoding alone, same packets"

# encoding -> reader of ours -> task -> least ratio to (decord, torchcodec)
GOALS = {
    "K400 interval 12": {
        YUV: {"TSN-8": (1.95, 1.35), "dense-16": (1.75, 1.3)},
        RGB: {"TSN-8": (1.9, 1.35)},
    },
    "K400 interval 250": {
        YUV: {"TSN-8": (1.55, 1.3), "dense-16": (1.5, 1.3)},
        RGB: {"TSN-8": (1.45, 1.2)},
    },
    "SSv2 VP9": {
        YUV: {"TSN-8": (1.35, 1.2), "dense-16": (1.6, 1.4)},
        RGB: {"TSN-8": (1.25, 1.05)},
    },
}
INGESTED_GOALS = {"K400": 8.0, "SSv2": 3.5}  # times decord on the source, TSN-8
DECODE_SHARE, VIEWS_GOAL, DELIVERED_GOAL = 0.94, 7.0, 1.75


def one_worker(bench: Bench, report: Report) -> None:
    """Everybody on the same frames of the same files, one process, one thread."""
    columns: dict[str, Times] = {}
    for footage in bench.footages:
        for encoding in footage.encodings:
            paths = bench.paths(footage, encoding)
            readers = bench.readers(footage, paths)
            for task, sampling in tasks(footage):
                repeats = bench.draws(paths, sampling)
                alone = DecodeOnly([item for items in repeats for item in items])
                tick = bench.ticks(
                    f"{encoding.name}, {task}", bench.repeats * len(paths)
                )
                times = measure.interleaved(
                    {**readers, DECODE_ONLY: alone}, repeats, tick
                )
                columns[f"{encoding.name}, {task}"] = times
                report.goals.extend(_task_goals(encoding.name, task, times))
    rows = [one.name for one in ALL] + [DECODE_ONLY]
    report.grids.append(
        _comparison(
            "CPU ms a clip (x decord), one worker", rows, columns, bench.missing
        )
    )


def _task_goals(encoding: str, task: str, times: Times) -> Iterator[Goal]:
    for ours, by_task in GOALS[encoding].items():
        for theirs, least in zip(
            (DECORD, TORCHCODEC), by_task.get(task, ()), strict=False
        ):
            what = f"{encoding}, {task}: {ours.name}, against {theirs.name}"
            yield Goal(what, least, ratio(times, theirs.name, ours.name))
    what = f"{encoding}, {task}: part of {YUV.name} that is {DECODE_ONLY}"
    yield Goal(what, DECODE_SHARE, ratio(times, DECODE_ONLY, YUV.name))


def _comparison(
    title: str, rows: list[str], columns: dict[str, Times], missing: dict[str, str]
) -> Grid:
    def cell(times: Times, row: str) -> str:
        times_decord = ratio(times, DECORD.name, row)
        against = "" if times_decord is None else f" ({times_decord:.2f}x)"
        return (
            f"{median(times[row]):.1f}{against}"
            if times.get(row)
            else "wrong frames"
        )

    def line(row: str) -> list[str]:
        if row in missing:
            return [row, *["not available"] * len(columns)]
        return [row, *(cell(times, row) for times in columns.values())]

    return Grid(title, ["reader", *columns], [line(row) for row in rows])


def test_views(bench: Bench, report: Report) -> None:
    """5 x 3 views of dense-16: the union of frames decoded once, against every view read by itself."""
    footage, rows = bench.footages[0], []
    for encoding in footage.encodings:
        paths = bench.paths(footage, encoding)[: max(2, bench.clips // 3)]
        views = [
            (path, DenseSampling(16, 4).test(bench.length(path), 5))
            for path in paths
        ]
        tick = bench.ticks(
            f"{encoding.name}, 5x3 views", bench.repeats * len(paths)
        )
        times = measure.interleaved(
            _view_readers(bench, footage), [views] * bench.repeats, tick
        )
        for name in (YUV.name, RGB.name):
            report.goals.append(Goal(f"{encoding.name}, 5x3 views: {name}, against decord view by view", VIEWS_GOAL,
                                     ratio(times, DECORD.name, name)))  # fmt: skip
        rows.append(
            [
                encoding.name,
                *(_ms(times, name) for name in (YUV.name, RGB.name, DECORD.name)),
            ]
        )
    header = [
        "clips",
        f"{YUV.name}, all three crops",
        "ours, 15 views RGB 224",
        "decord, view by view",
    ]
    report.grids.append(
        Grid("CPU ms a video, 5x3 test views of 16 frames", header, rows)
    )


def _view_readers(
    bench: Bench, footage: files.Footage
) -> dict[str, Callable[[Path, Any], Any]]:
    def planes(path: Path, indices: Int64[np.ndarray, "v t"]) -> Any:
        with open_video(path) as video:
            return video.planes(indices.ravel())

    readers: dict[str, Callable[[Path, Any], Any]] = {
        YUV.name: planes, RGB.name: lambda path, indices: our_views(path, indices, 3)}  # fmt: skip
    if DECORD.name not in bench.missing:
        read = DECORD.make(
            footage.height, footage.width
        )  # it crops the centre three times: the cost is the same
        readers[DECORD.name] = lambda path, indices: [
            read(path, view) for view in indices for _ in range(3)
        ]
    return readers


def ingested(bench: Bench, report: Report) -> None:
    """What ``lightning-petl data ingest`` makes of the files, against decord on what it was made from."""
    columns: dict[str, Times] = {}
    for footage in bench.footages:
        source = footage.encodings[-1]
        originals = bench.paths(footage, source)
        copies, decibels = _copies(bench, originals)
        bench.readers(footage, copies)
        for task, sampling in tasks(footage):
            repeats = bench.draws(originals, sampling)
            tick = bench.ticks(
                f"{source.name} ingested, {task}", bench.repeats * len(copies)
            )
            times = measure.interleaved(
                _ingested_readers(bench, footage, copies), repeats, tick
            )
            columns[f"{source.name}, {task}"] = times
            if task == "TSN-8":
                what = f"{source.name}, {task}: {YUV.name} on ingested files, against decord on the source"
                report.goals.append(
                    Goal(
                        what,
                        INGESTED_GOALS[footage.name],
                        ratio(times, DECORD.name, YUV.name),
                    )
                )
        sizes = [
            sum(path.stat().st_size for path in paths)
            for paths in (copies, originals)
        ]
        report.notes.append(
            f"{source.name} ingested: {sizes[0] / sizes[1]:.2f} times the bytes, {decibels:.1f} dB"
        )
    rows = [
        YUV.name,
        RGB.name,
        f"{DECORD.name}, ingested",
        f"{TORCHCODEC.name}, ingested",
        DECORD.name,
    ]
    title = (
        "CPU ms a clip on ingested files (x decord on the source, the last line)"
    )
    report.grids.append(_comparison(title, rows, columns, bench.missing))


def _copies(bench: Bench, originals: list[Path]) -> tuple[list[Path], float]:
    """The ingested files, made where they are missing, and their mean PSNR."""
    folder = originals[0].parent.with_name(
        f"{originals[0].parent.name}_ingested_{files.digest(transcode)}"
    )
    folder.mkdir(exist_ok=True)
    tick = bench.ticks(f"ingesting {originals[0].parent.name}", len(originals))
    copies = [folder / f"{original.stem}.mp4" for original in originals]
    for original, copy in zip(originals, copies, strict=True):
        note = copy.with_suffix(".psnr")
        if not note.exists():
            note.write_text(
                f"{transcode(original, copy, Profile(psnr_floor=25)).psnr}"
            )
        tick()
    return copies, sum(
        float(copy.with_suffix(".psnr").read_text()) for copy in copies
    ) / len(copies)


def _ingested_readers(
    bench: Bench, footage: files.Footage, copies: list[Path]
) -> dict[str, Callable[[Path, Any], Any]]:
    """By name; each is given the original's path."""
    able = [
        one
        for one in (YUV, RGB, DECORD, TORCHCODEC)
        if one.name not in bench.missing
    ]
    by_original = {copy.stem: copy for copy in copies}

    def on_copy(read: Callable[[Path, Any], Any]) -> Callable[[Path, Any], Any]:
        return lambda path, indices: read(by_original[path.stem], indices)

    made = {one.name: one.make(footage.height, footage.width) for one in able}
    ours = (YUV.name, RGB.name)
    readers = {
        name if name in ours else f"{name}, ingested": on_copy(read)
        for name, read in made.items()
    }
    return readers | {
        name: read for name, read in made.items() if name == DECORD.name
    }


def delivered(bench: Bench, report: Report) -> None:
    """Batches of 8 clips from worker processes, by the wall clock: the machine should be idle."""
    footage, columns = bench.footages[0], {}
    encoding = footage.encodings[0]
    paths = bench.paths(footage, encoding) * (2 if bench.clips < 12 else 8)
    tick = bench.ticks(f"{encoding.name}, batches from workers", 1)
    others = [one for one in (DECORD, TORCHCODEC) if one.name not in bench.missing]
    num_frames = [bench.length(path).num_frames for path in paths]
    size = (footage.height, footage.width)
    made = {
        f"{one.name}, {count} worker{'s' * (count > 1)}": loaders.ours(
            paths, count, where
        )
        for one, where in ((YUV, "device"), (RGB, "worker"))
        for count in (1, 2)
    } | {
        f"{one.name}, 2 workers": loaders.theirs(
            loaders.Files(paths, num_frames, one, size), 2
        )
        for one in others
    }
    columns = loaders.wall(made, len(paths), bench.repeats)
    tick()
    theirs = f"{DECORD.name}, 2 workers"
    for one in (RGB, YUV):
        what = f"{encoding.name}, TSN-8, batches by 2 workers: {one.name}, against DataLoader + decord (wall)"
        report.goals.append(
            Goal(
                what,
                DELIVERED_GOAL,
                ratio(columns, theirs, f"{one.name}, 2 workers"),
            )
        )
    rows = [
        [name, f"{1000 / median(times):.1f}", _times(columns, theirs, name)]
        for name, times in columns.items()
    ]
    header = ["loader", "clips/s", "x decord"]
    report.grids.append(
        Grid(f"Batches of 8 clips, {encoding.name}, TSN-8 (wall)", header, rows)
    )


def memory(bench: Bench, report: Report) -> None:
    """Resident memory and threads while many clips are read."""
    pairs = [
        (footage, path)
        for footage in bench.footages
        for path in bench.paths(footage, footage.encodings[0])
    ]
    readers = {
        footage.name: [
            one.make(footage.height, footage.width) for one in (YUV, RGB)
        ]
        for footage, _ in pairs
    }
    generator, tick = (
        np.random.default_rng(0),
        bench.ticks("memory", bench.memory_clips),
    )

    def calls() -> Iterator[Callable[[], None]]:
        for index in range(bench.memory_clips):
            footage, path = pairs[index % len(pairs)]
            read = readers[footage.name][index // len(pairs) % 2]
            indices = SegmentSampling(8).train(bench.length(path), generator)
            yield lambda read=read, path=path, indices=indices: (
                read(path, indices),
                tick(),
            )

    mib, threads = measure.growth(calls(), warm=min(200, bench.memory_clips // 2))
    report.notes.append(
        f"resident memory over {bench.memory_clips} clips of ours: {mib:+.1f} MiB, {threads:+d} threads"
    )


def _ms(times: Times, name: str) -> str:
    return f"{median(times[name]):.0f}" if times.get(name) else "not available"


def _times(times: Times, slower: str, faster: str) -> str:
    value = ratio(times, slower, faster)
    return "not available" if value is None else f"{value:.2f}"
