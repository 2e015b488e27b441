"""The demo: its rows are members of its bank, its protocol is one, its table and picture show what was measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from data_modules.sets.rendered.motion import render
from experiments.demo import picture
from experiments.demo.run import (
    HERE,
    ROWS,
    RUNS,
    Demo,
    clips_of,
    record_of,
    report,
    table,
)
from tests.rendering import in_this_process

SCORES = {name: 0.9 - 0.15 * number for number, name in enumerate(ROWS)}


def configuration(name: str) -> Any:
    return yaml.safe_load((HERE / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with in_this_process():
        return render(tmp_path_factory.mktemp("torus"), num_train=6, num_test=6)


def record(score: float) -> dict[str, Any]:
    return {
        "metrics": {"test/top1": score},
        "parameters": {"head": 2310, "AttentiveProbe": 1000},
        "macs": 2_540_000_000,
    }


def write_records(folder: Path) -> None:
    for name, (run, member) in ROWS.items():
        place = folder / run / "version_0"
        (place / "artifact").mkdir(parents=True, exist_ok=True)
        place = place / "members" / member if member else place
        place.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record(SCORES[name]))
        (place / "testing.json").write_text(text)


def test_every_row_is_trained() -> None:
    members = configuration("probes")["model"]["init_args"]["members"]
    assert set(ROWS.values()) == {
        ("multi_tunev", ""),
        *(("probes", member) for member in members),
    }
    assert {run for run, _ in ROWS.values()} == set(RUNS)


def test_all_rows_have_one_protocol() -> None:
    """The bank's grid has one value an axis, and they are those of Multi-TuneV."""
    own = configuration("multi_tunev")["model"]
    shared: dict[str, Any] = {"optim": {"schedule": {}}, "head": {}}
    for path, values in configuration("probes")["model"]["init_args"][
        "grid"
    ].items():
        (value,) = values
        place = shared
        *folders, key = path.split(".")
        for folder in folders:
            place = place[folder]
        place[key] = value
    assert shared == {"optim": own["optim"], "head": own["head"]}


def test_the_report_reads_the_data_set_of_the_protocol() -> None:
    settings = configuration("demo")["data"]
    data = clips_of(Path("nowhere"))
    assert settings["class_path"] == type(data).__name__
    frames = settings["init_args"]["sampling"]["init_args"]["num_frames"]
    assert data.num_frames == frames
    assert data.image_size == settings["init_args"]["image_size"]


def test_the_table_has_what_the_tests_wrote_down(tmp_path: Path) -> None:
    write_records(tmp_path)
    found = {name: record_of(tmp_path, *place) for name, place in ROWS.items()}
    console = Console(record=True, width=120)
    console.print(table(found, "seed 0"))
    lines = console.export_text().splitlines()
    for name, score in SCORES.items():
        (line,) = [line for line in lines if f" {name} " in line]
        assert [part.strip() for part in line.split("│")[2:5]] == [
            f"{score:.3f}",
            "3,310",
            "2.54",
        ]


def test_the_report_ends_with_where_it_wrote_and_what_comes_next(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path)
    report(Demo(tmp_path, data, Path("trunk.safetensors"), 0, 1), 240.0)
    printed = capsys.readouterr().out
    assert f"4.0 min in all; everything is in {tmp_path}" in printed
    for line in ("picture:", "TensorBoard:", "artifact:", "use it:"):
        assert f"\n{line}" in printed
    assert (tmp_path / "demo.png").stat().st_size < 300_000
    assert "seed 0, 6 test clips" in printed


def test_the_picture_has_a_clip_of_each_class_and_a_bar_of_each_row(
    data: Path, tmp_path: Path
) -> None:
    found = clips_of(data)
    path = picture.draw(
        found.clips("test"), found.labels, SCORES, tmp_path / "demo.png"
    )
    pixels = np.array(Image.open(path).convert("RGB")).astype(int)
    left = picture.MARGIN + picture.NAMES
    for number in range(6):
        top = picture.MARGIN + number * picture.ROW
        shown = pixels[top : top + picture.SIDE, left : left + picture.SIDE]
        assert (shown.min(-1) < 250).mean() > 0.5
    blue = (np.abs(pixels - picture.BLUE).max(-1) < 12).sum(1)
    top = picture.MARGIN + 6 * picture.ROW + picture.BAR
    full = picture.STRIP - 4 * picture.TEXT
    for number, score in enumerate(SCORES.values()):
        middle = top + number * picture.BAR + 8
        assert blue[middle] == pytest.approx(score * full, abs=4)
