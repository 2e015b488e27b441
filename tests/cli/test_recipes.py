"""Published recipes: what they train and compute is what papers publish, and each runs on files of its data set."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lightning_petl.__main__ import main
from lightning_petl.cli import recipes, shipped_configs
from lightning_petl.cli.recipe_costs import RecipeCost, count_recipe
from lightning_petl.papers.published import OPERATIONS
from lightning_petl.papers.sheet import PublishedRun, read_sheet
from tests import caption_layouts, layouts
from tests.layouts import TINY
from tests.pairs import announce

Row = tuple[str, PublishedRun]
ROWS: list[Row] = [
    (paper, run)
    for paper in recipes.papers()
    for run in read_sheet(shipped_configs.PAPERS / paper / "recipes.yaml").runs
]
# Of each paper one row is counted at once; of every kind of task one trains at once.
COUNTED = {paper: run.name for paper, run in reversed(ROWS)}
STEPPED = ["st_adapter/ssv2_clip_b16", "side4video/msrvtt_1ka_clip_b32"]
# Options change frames, widths and methods, which have tests of their own: a row a file.
FILES: list[Row] = list(
    {(paper, run.recipe): (paper, run) for paper, run in ROWS[::-1]}.values()
)


def slow_but(fast: Callable[[Row], bool], rows: list[Row] = ROWS) -> list[object]:
    """All rows as parameters; those that are not fast are slow."""
    found = list[object]()
    for row in rows:
        paper, run = row
        marks = () if fast(row) else (pytest.mark.slow,)
        found.append(
            pytest.param(paper, run, id=f"{paper}-{run.name}", marks=marks)
        )
    return found


@cache
def cost(recipe: str, options: tuple[str, ...]) -> RecipeCost:
    return count_recipe(recipe, options)


@pytest.mark.parametrize(
    ("paper", "run"), slow_but(lambda row: COUNTED[row[0]] == row[1].name)
)
def test_counts_are_the_published_ones(paper: str, run: PublishedRun) -> None:
    found = cost(f"{paper}/{run.recipe}", tuple(run.options))
    assert found.views == run.views
    if run.count is not None:
        assert found.parameters == run.count
    if run.parameters is not None:
        agrees = run.parameters.agrees(found.parameters)
        assert agrees != bool(run.parameters.other), found.parameters
    if run.gmacs is not None:
        agrees = run.gmacs.agrees(found.operations, OPERATIONS)
        assert agrees != bool(run.gmacs.other), found.operations


def data_set(paper: str, run: PublishedRun) -> str:
    """The file of configs/data that a recipe takes last."""
    words = shipped_configs.with_paths(["fit", "-c", f"{paper}/{run.recipe}"])
    return re.findall(r"configs/data/(\w+)\.yaml", " ".join(words))[-1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The root of a tiny data set in the layout of the published one."""
    base = tmp_path_factory.mktemp("data")
    announce(tmp_path_factory.mktemp("toys"))

    @cache
    def laid_out(name: str) -> Path:
        captioned = name in caption_layouts.LAYOUTS
        writer = caption_layouts if captioned else layouts
        return writer.lay_out(name, base / name)

    return laid_out


@pytest.mark.parametrize(
    ("paper", "run"),
    slow_but(lambda row: f"{row[0]}/{row[1].recipe}" in STEPPED, FILES),
)
def test_trains_two_steps(
    paper: str, run: PublishedRun, root: Callable[[str], Path], tmp_path: Path
) -> None:
    name = data_set(paper, run)
    toy = "open_clip:toy-quickgelu" if name in caption_layouts.LAYOUTS else ""
    # of options that are given twice the last one counts
    argv = [
        "fit", "-c", f"{paper}/{run.recipe}", *run.options,
        f"--model.backbone.name={toy or 'vit_tiny_patch16_224'}",
        "--model.backbone.weights=random", f"--model.backbone.depth={2 if toy else 4}",
        "--model.backbone.frozen_dtype=float32", f"--data.root={root(name)}",
        "--data.image_size=64", "--data.batch_size=2", "--data.num_workers=0",
        *TINY.get(name, []), "--trainer.accelerator=cpu", "--trainer.precision=32-true",
        "--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--checkpoint.monitor=null",
        "--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}",
    ]  # fmt: skip
    if paper != "attentive_probe":
        argv.append("--model.optim.global_batch=2")
    assert main(argv) == 0
    (version,) = tmp_path.glob("version_0")
    assert (version / "checkpoints/last.ckpt").is_file()
    assert "configs:" not in (version / "config.yaml").read_text("utf-8")


def test_every_recipe_reads_the_layout_of_its_data_set() -> None:
    for paper, run in ROWS:
        name = data_set(paper, run)
        assert name in layouts.LAYOUTS or name in caption_layouts.LAYOUTS
        assert run.recipe.startswith(f"{name}_"), (
            "its name begins with the data set"
        )


def test_the_command_prints_counted_beside_published(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lightning_petl.cli.recipe_costs.count_recipe",
        lambda name, options: RecipeCost(1_234_567, 152_400_000_000, "8x3x1"),
    )
    assert main(["recipes", "--paper", "st_adapter"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    # 80 columns, as where no terminal says more
    assert max(len(line) for line in lines if "│" in line) <= 80
    first = next(i for i, line in enumerate(lines) if "6. K400, 12x384, 8" in line)
    published, counted = (
        [cell.strip() for cell in line.split("│")[2:-1]]
        for line in lines[first : first + 2]
    )
    assert published == ["top-1", "7.42 M (quoted)", "152 G (quoted)"]
    assert counted == ["82.2 (read)", "1,234,567 *", "152.4"]
    command = "  7. st_adapter/k400_clip_b16 --data.sampling.num_frames=32\n"
    assert command in out
    assert "waits for the EPIC-Kitchens-100 data set" in out
    assert "fit -c st_adapter/ssv2_clip_b16 --data.init_args.root=FOLDER" in out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--paper", "st_adaptr"], "'st_adaptr'; near: st_adapter, "),
        (["--paper", "zzz"], "'zzz'; near: "),
        (["--paper="], "no paper is named ''"),
        (["--papers", "x"], "--help says more"),
        (["st_adapter"], "st_adapter"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", *argv]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert err.count("\n") == 1
    assert not out


def test_an_installation_without_recipes_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recipes, "PAPERS", tmp_path)
    assert main(["recipes"]) == 2
    err = capsys.readouterr().err
    assert "has lost its recipes" in err
    assert err.count("\n") == 1


def test_a_recipe_has_a_short_name_as_configurations_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(shipped_configs.PAPERS / "st_adapter/k400_clip_b16.yaml")
    for text in (
        "st_adapter/k400_clip_b16",
        "experiments/st_adapter/k400_clip_b16.yaml",
    ):
        assert shipped_configs.found(text) == file
    with pytest.raises(ValueError, match="no shipped configuration"):
        shipped_configs.shipped_file("st_adapter/recipes")
    with pytest.raises(ValueError, match="near: st_adapter/k400_clip_b16"):
        shipped_configs.found("st_adapter/k400_clip_b1")
