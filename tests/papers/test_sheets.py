"""The sheets of published recipes: they are read or told, their pages are of today, their files are named."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_petl.cli import bases
from lightning_petl.cli.shipped_configs import recipe_names, shipped_file
from lightning_petl.papers.page import readme
from lightning_petl.papers.published import Figure
from lightning_petl.papers.sheet import read_sheet

ROOT = Path(__file__).parents[2]
read = cache(read_sheet)
SHEETS = sorted(ROOT.glob("experiments/*/recipes.yaml"))
by_folder = {"ids": lambda path: path.parent.name}


@pytest.mark.parametrize("sheet", SHEETS, **by_folder)
def test_the_page_is_that_of_the_sheet(sheet: Path) -> None:
    """`make recipes` writes it."""
    page = sheet.parent / "README.md"
    assert page.read_text("utf-8") == readme(sheet.parent.name, read(sheet)), (
        "run make recipes"
    )


@pytest.mark.parametrize("sheet", SHEETS, **by_folder)
def test_every_recipe_of_a_folder_has_a_row(sheet: Path) -> None:
    runs = read(sheet).runs
    files = {file.stem for file in sheet.parent.glob("*.yaml")} - {"recipes"}
    assert files == {run.recipe for run in runs}
    commands = [(run.recipe, *run.options) for run in runs]
    assert len(set(commands)) == len(commands), "a row twice"


@pytest.mark.parametrize("sheet", SHEETS, **by_folder)
def test_every_row_says_what_it_can(sheet: Path) -> None:
    for run in read(sheet).runs:
        frames, clips, crops = map(int, run.views.split("x"))
        assert min(frames, clips, crops) >= 1
        # a number is compared with what we count, or the sheet says why not
        for figure in (run.parameters, run.gmacs):
            if figure is not None:
                figure.agrees(1.0)
        assert run.score is None or run.place != "none", run.name


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_made_of_shipped_configurations(name: str) -> None:
    file = ROOT / f"experiments/{name}.yaml"
    text = file.read_text("utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    shipped = ROOT / "lightning_petl"
    for base in bases.of(file, shipped_file):
        assert base.is_relative_to(shipped), base
    assert yaml.safe_load(text)["configs"]


@pytest.mark.parametrize(
    ("says", "counted", "tolerance", "agrees"),
    [
        ("7.42 M", 7_417_744, 0.0, True),
        ("7.42 M", 7_425_001, 0.0, False),
        ("7 M", 7_243_950, 0.0, True),
        ("20 M", 19_123_374, 0.0, False),
        ("152 G", 151.62e9, 0.005, True),
        ("152 G", 150.9e9, 0.005, False),
        ("455 G for 3 views", 151.62e9, 0.005, True),
        ("455 G for 3 views", 152.8e9, 0.005, False),
        ("0.18 T for 6 views", 175.7e9, 0.005, False),
        ("0.18 T", 175.7e9, 0.005, True),
    ],
)
def test_a_count_agrees_where_it_rounds_to_the_published_number(
    says: str, counted: float, tolerance: float, agrees: bool
) -> None:
    figure = Figure(says=says, evidence="read")
    assert figure.agrees(counted, tolerance) == agrees


def test_a_number_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'about 7' is no number with a unit"):
        Figure(says="about 7", evidence="read").agrees(7)


ELEMENT = {"published": "unknown", "differs": "ours"}
ELEMENTS = (
    "optimizer", "decay", "sampling", "augmentation", "views", "readout", "precision"
)  # fmt: skip
SMALL: dict[str, Any] = {
    "title": "A",
    "cite": "B",
    "about": "C",
    "protocols": {"p": {"evidence": "none", **dict.fromkeys(ELEMENTS, ELEMENT)}},
    "runs": [
        {
            "name": "one",
            "recipe": "mine",
            "protocol": "p",
            "place": "none",
            "views": "8x1x3",
        }
    ],
}


def changed(**keys: Any) -> dict[str, Any]:
    return {**SMALL, "runs": [{**SMALL["runs"][0], **keys}]}


def test_a_small_sheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(SMALL))
    (run,) = read_sheet(tmp_path / "recipes.yaml").runs
    assert (run.name, run.options, run.score) == ("one", [], None)
    assert run.status.startswith("not run")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (changed(protocol="q"), "names the protocol 'q'; there are p"),
        (changed(recipe="other"), "names other, and there is no such file"),
        (changed(score={"says": "1", "evidence": "guessed"}), "guessed"),
        (changed(colour="red"), "colour"),
        ({"title": "A", "runs": []}, "cite"),
        ({"title": "A"}, "it has no list of runs"),
        ({**SMALL, "runs": ["one"]}, "one"),
        ([], "no mapping"),
    ],
)
def test_a_wrong_sheet_is_told_with_its_name(
    content: object, told: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("")
    file = tmp_path / "recipes.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"recipes\.yaml") as refused:
        read_sheet(file)
    assert told in str(refused.value)


def test_a_sheet_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    file = tmp_path / "recipes.yaml"
    file.write_text("title: [")
    with pytest.raises(ValueError, match=r"recipes\.yaml is no YAML"):
        read_sheet(file)
