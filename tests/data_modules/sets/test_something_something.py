import json
from pathlib import Path
from typing import Any

import pytest

from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.something_something import SomethingSomething

LABELS = {"Holding something": "1", "Pushing something from left to right": "0"}
TRAIN = [
    {
        "id": "34870",
        "label": "holding a cup",
        "template": "Holding [something]",
        "placeholders": ["a cup"],
    },
    {"id": "7", "template": "Pushing [something] from left to right"},
]
VALIDATION = [{"id": "9", "template": "Holding [something]"}]
VIDEOS = ("34870.webm", "7.mp4", "9.webm")


def lay_out(
    root: Path, prefix: str = "", videos: tuple[str, ...] = VIDEOS, **files: Any
) -> Path:
    contents = {
        "labels": LABELS,
        "train": TRAIN,
        "validation": VALIDATION,
        "test": [{"id": "1"}],
    } | files
    for name, content in contents.items():
        (root / f"{prefix}{name}.json").write_text(json.dumps(content))
    folder = root / "20bn-something-something-v2"
    folder.mkdir()
    for name in videos:
        (folder / name).touch()
    return root


def data_of(root: Path, **options: Any) -> SomethingSomething:
    return SomethingSomething(
        str(root), sampling=SegmentSampling(2), num_workers=0, **options
    )


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_official_files(tmp_path: Path, prefix: str):
    data = data_of(lay_out(tmp_path, prefix))
    assert data.labels == [
        "Pushing something from left to right",
        "Holding something",
    ]
    folder = tmp_path / "20bn-something-something-v2"
    assert data.clips("train") == [
        Clip("34870", folder / "34870.webm", 1),
        Clip("7", folder / "7.mp4", 0),
    ]
    assert (
        data.clips("val") == data.clips("test") == [Clip("9", folder / "9.webm", 1)]
    )


def test_videos_elsewhere(tmp_path: Path):
    root = tmp_path / "a"
    root.mkdir()
    (lay_out(root) / "20bn-something-something-v2").rename(tmp_path / "b")
    assert (
        data_of(root, videos=str(tmp_path / "b")).clips("val")[0].path
        == tmp_path / "b" / "9.webm"
    )
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of the 1 videos of the val split are missing: .*20bn-.*/9\.webm",
    ):
        data_of(root).setup("validate")


def test_missing_annotation(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError,
        match=r"something-something-v2-labels\.json nor labels\.json beside it",
    ):
        data_of(tmp_path)
    lay_out(tmp_path)
    (tmp_path / "train.json").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"v2-train\.json nor train\.json, train_videofolder\.txt, ",
    ):
        data_of(tmp_path).setup("fit")


def test_a_label_file_with_the_brackets_of_the_templates(tmp_path: Path):
    labels = {
        "Pushing [something] from left to right": 0,
        "Holding [something]": "1",
    }
    data = data_of(lay_out(tmp_path, labels=labels))
    assert data.labels == [
        "Pushing something from left to right",
        "Holding something",
    ]
    assert [clip.label for clip in data.clips("train")] == [1, 0]


@pytest.mark.parametrize(
    "labels",
    [{}, {"a": "1", "b": "2"}, {"a": "0", "b": "2"}, {"0": "a"}, ["a", "b"]],
)
def test_labels_must_number_the_classes(tmp_path: Path, labels: object):
    with pytest.raises(
        ValueError,
        match=r"labels\.json: expected {label: number} with the numbers 0, 1, 2",
    ):
        data_of(lay_out(tmp_path, labels=labels))


def test_empty_list(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"train\.json: expected a list that is not empty"
    ):
        data_of(lay_out(tmp_path, train=[])).setup("fit")


def test_a_list_without_labels(tmp_path: Path):
    with pytest.raises(
        ValueError,
        match=r"validation\.json: entry 0 is {\"id\": \"9\"}; expected at least id and template",
    ):
        data_of(lay_out(tmp_path, validation=[{"id": "9"}])).setup("validate")


def test_a_label_outside_the_map(tmp_path: Path):
    wrong = [*VALIDATION, {"id": "12", "template": "Eating [something]"}]
    with pytest.raises(
        ValueError,
        match=r"validation\.json: clip 12 has label 'Eating something', not among the 2",
    ):
        data_of(lay_out(tmp_path, validation=wrong)).setup("validate")


def test_an_id_twice(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"validation\.json: clip 9 is listed twice"
    ):
        data_of(lay_out(tmp_path, validation=[*VALIDATION, *VALIDATION])).setup(
            "validate"
        )


def test_missing_videos_are_counted_and_the_first_named(tmp_path: Path):
    many = [
        {"id": str(number), "template": "Holding [something]"}
        for number in range(100, 108)
    ]
    root = lay_out(tmp_path, train=TRAIN + many, videos=("7.mp4", "9.webm"))
    with pytest.raises(
        FileNotFoundError,
        match=r"9 of the 10 videos .* missing: .*/34870\.webm, .*/100.* \.\.\.",
    ):
        data_of(root).setup("fit")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"id": "1", ', r"train\.json: is not a JSON file"),
        ("", r"train\.json: is not a JSON file"),
        ("\xff", r"train\.json, line 1: is not UTF-8 text"),
        (
            '[{"id": "1", "template": "a", "template": "b"}]',
            r"train\.json: .* has the key 'template' twice",
        ),
    ],
)
def test_a_damaged_annotation_is_named(tmp_path: Path, content: str, message: str):
    lay_out(tmp_path)
    (tmp_path / "train.json").write_text(content, "latin-1")
    with pytest.raises(ValueError, match=message):
        data_of(tmp_path).setup("fit")
