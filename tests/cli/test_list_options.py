"""A list of methods that is given again is a new list: no item keeps options of the one that stood in its place."""

from pathlib import Path

import pytest
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli.list_options import emptied_first

WIDE = {"adapters": [{"class_path": "STAdapter", "init_args": {"bottleneck": 384}}]}
NARROW = "--model.adapters=[AdaptFormer]"


def file(folder: Path, name: str, **model: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"model": model}))
    return str(path)


@pytest.mark.parametrize(
    "again",
    [
        [NARROW],
        ["--model.init_args.adapters=[AdaptFormer]"],
        ["--model.adapters", "[AdaptFormer]"],
        ["-c", "own"],
        ["--config=own"],
        ["-c", "long"],
    ],
    ids=" ".join,
)
def test_options_are_the_methods_own(
    again: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "own": file(tmp_path, "own", adapters=["AdaptFormer"]),
        "long": file(
            tmp_path,
            "long",
            class_path="VideoClassifier",
            init_args={"adapters": ["AdaptFormer"]},
        ),
    }
    words = [
        word.replace("own", files["own"]) if word.endswith("own") else word
        for word in again
    ]
    words = [files.get(word, word) for word in words]
    first = ["-c", file(tmp_path, "wide", **WIDE)]
    shipped = ["-c", "backbone/clip_b16", "-c", "data/folder", "--data.root=x"]
    assert main(["check", *shipped, *first, *words]) == 0
    (adapter,) = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"][
        "adapters"
    ]
    assert adapter["class_path"] == "AdaptFormer"
    assert adapter["init_args"]["bottleneck"] == 64


def test_what_is_given_once_or_appended_stays_as_it_is(tmp_path: Path) -> None:
    wide = file(tmp_path, "wide", **WIDE)
    appended = file(tmp_path, "more", **{"adapters+": ["LoRA"]})
    for words in (
        ["fit", "-c", wide],
        ["fit", "-c", appended, "-c", appended],
        ["fit", "-c", wide, "--model.adapters+=LoRA"],
        ["fit", "-c", wide, "--model.adapters.bottleneck=8"],
        ["fit", "-c", wide, "--trainer.callbacks=[EMA]"],
        ["fit", "-c", "not there.yaml", "--name=adapters"],
    ):
        assert emptied_first(words) == words


def test_the_list_is_emptied_right_before(tmp_path: Path) -> None:
    wide = file(tmp_path, "wide", **WIDE)
    assert emptied_first(["fit", "-c", wide, "--name=x", NARROW]) == [
        "fit",
        "-c",
        wide,
        "--name=x",
        "--model.adapters=[]",
        NARROW,
    ]
    empty = '--config={"model": {"adapters": []}}'
    assert emptied_first(["fit", "-c", wide, "-c", wide]) == [
        "fit", "-c", wide, empty, "-c", wide
    ]  # fmt: skip
    after_more = ["fit", "--model.adapters+=LoRA", NARROW]
    assert emptied_first(after_more)[2] == "--model.adapters=[]"
