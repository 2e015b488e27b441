from pathlib import Path

import pytest

from data_modules.sample import Clip
from data_modules.sets.annotations import annotation
from data_modules.sets.annotations.annotation import ListedClip


def entries(*pairs: tuple[str, str]) -> list[ListedClip]:
    return [ListedClip(name, Path(f"{name}.mp4"), label) for name, label in pairs]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        (["1", "0"], ["cat", "dog"], [1, 0]),
        (["7", "3"], ["7", "3"], [0, 1]),  # no numbers of two classes: names
        (["1", "0"], ["0", "1", "2"], [1, 0]),  # both mean the same
        (["2", "run"], ["run", "walk", "2"], [2, 0]),
    ],
)
def test_labels_are_names_or_numbers(
    labels: list[str], names: list[str], numbers: list[int]
):
    listed = entries(*((f"v{n}", label) for n, label in enumerate(labels)))
    assert annotation.clips(Path("list"), listed, names) == [
        Clip(f"v{n}", Path(f"v{n}.mp4"), number) for n, number in enumerate(numbers)
    ]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "list: the list is empty"),
        (
            [("a", "0"), ("b", "0"), ("a", "0")],
            "list: clip a is listed twice or more",
        ),
        (
            [("a", "0"), ("a", "1")],
            "list: clip a is listed twice or more, with the labels '0' and '1'",
        ),
        (
            [("a", "2")],
            "list: clip a has label '2', not among the 2 of the data set; labels are all names, such as",
        ),
        ([("a", "-1")], "list: clip a has label '-1'"),
        ([("a", "Cat")], "list: clip a has label 'Cat'"),
        (
            [("a", "cat"), ("b", "1")],
            "list: clip b has label '1', not among the 2",
        ),  # not by name and by number
        ([("a", "1"), ("b", "cat")], "list: clip a has label '1', not among the 2"),
    ],
)
def test_wrong_entries(listed: list[tuple[str, str]], message: str):
    with pytest.raises(ValueError, match=message):
        annotation.clips(Path("list"), entries(*listed), ["cat", "dog"])


def test_numbers_that_are_names_of_other_classes():
    with pytest.raises(
        ValueError,
        match="list: label '0' is the name of class 1 and the number of class '1'",
    ):
        annotation.clips(Path("list"), entries(("a", "0"), ("b", "1")), ["1", "0"])


def test_lines_are_named():
    listed = [
        ListedClip("a", Path("x"), "0", 3),
        ListedClip("b", Path("y"), "2", 4),
        ListedClip("a", Path("x"), "0", 9),
    ]
    with pytest.raises(ValueError, match="list: clip a is listed in lines 3 and 9"):
        annotation.clips(Path("list"), listed, ["cat", "dog"])
    with pytest.raises(ValueError, match="list, line 4: clip b has label '2'"):
        annotation.clips(Path("list"), listed[:2], ["cat", "dog"])


@pytest.mark.parametrize(
    "text",
    [
        "a b.mp4,3\nc.mp4,4\n",
        "a b.mp4;3\nc.mp4;4",
        "a b.mp4\t3\r\nc.mp4\t4\r\n",
        '\ufeff"a b.mp4" 3\n\n c.mp4  4 \n',
    ],
    ids=["comma", "semicolon", "tab", "space"],
)
def test_rows_in_any_delimiter(tmp_path: Path, text: str):
    (tmp_path / "list").write_text(text, "utf-8")
    assert annotation.read_rows(tmp_path / "list", "path label") == [
        ["a b.mp4", "3"],
        ["c.mp4", "4"],
    ]


def test_a_semicolon_leaves_commas_in_labels(tmp_path: Path):
    (tmp_path / "list").write_text(
        "7;Putting something, something and something on the table\n"
    )
    assert annotation.read_rows(tmp_path / "list", "id label", separator=";") == [
        ["7", "Putting something, something and something on the table"]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "list: the list is empty"),
        (b"\n \n", "list: the list is empty"),
        (
            b"a 1\nb\n",
            "list, line 2 'b': expected 'path label' in each line, all of one form",
        ),
        (
            b"a 1\nb 1 2\n",
            "list, line 2 'b 1 2': expected 'path label' in each line",
        ),
        (b"a 1\nb \xe9\n", "list, line 2: is not UTF-8 text"),
    ],
)
def test_wrong_rows(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        annotation.read_rows(tmp_path / "list", "path label")


def test_tables(tmp_path: Path):
    (tmp_path / "list").write_text("label,id\ncat,1\n")
    assert annotation.read_table(tmp_path / "list", "id", "label") == [
        {"label": "cat", "id": "1"}
    ]
    with pytest.raises(
        ValueError, match="list, line 1: the header 'label,id' has no column split"
    ):
        annotation.read_table(tmp_path / "list", "id", "split")
    (tmp_path / "list").write_text("label,id\ncat,1\ndog\n")
    with pytest.raises(
        ValueError,
        match="list, line 3 'dog': expected 2 columns as in line 1, 'label,id', got 1",
    ):
        annotation.read_table(tmp_path / "list", "id", "label")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "id,label,start,end",
            "line 1: the header 'id,label,start,end' has columns that are not known: start, end; known",
        ),
        (
            "id,label,",
            "line 1: the header 'id,label,' has columns that are not known: one without a name;",
        ),
        ("id,label,id", "line 1: the header 'id,label,id' has a column twice"),
        ("ID,label", "line 1: the header 'ID,label' has no column id"),
    ],
)
def test_headers_that_are_not_known(tmp_path: Path, header: str, message: str):
    (tmp_path / "list").write_text(f"{header}\n")
    with pytest.raises(ValueError, match=message):
        annotation.read_table(tmp_path / "list", "id", "label", others=("split",))


def test_columns_that_may_be_there(tmp_path: Path):
    (tmp_path / "list").write_text("split,id\r\ntrain,1\r\n\r\n")
    assert annotation.read_table(tmp_path / "list", "id", others=("split",)) == [
        {"split": "train", "id": "1"}
    ]


def test_one_form_for_all_lines(tmp_path: Path):
    (tmp_path / "list").write_text("a/x 1\na/y\n")
    with pytest.raises(
        ValueError,
        match="line 2 'a/y': expected 'video' or 'video number' in each line, all of one",
    ):
        annotation.read_rows(
            tmp_path / "list", "video", "video number", separator=" "
        )
    (tmp_path / "list").write_text("a/x \na/y\n")
    assert annotation.read_rows(
        tmp_path / "list", "video", "video number", separator=" "
    ) == [["a/x"], ["a/y"]]


def test_no_file(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no annotation file .*a\.csv nor b\.csv, c\.csv beside it",
    ):
        annotation.find(tmp_path, "a.csv", "b.csv", "c.csv")
