import codecs
from pathlib import Path

import pytest

from data_modules.sets.annotations.text_file import read_text, text_lines

TEXT = "a.mp4,día\nb.mp4,夜\n"
LINES = [(1, "a.mp4,día"), (2, "b.mp4,夜")]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.strip().encode(),
        TEXT.replace("\n", " \t\n").encode(),
    ],
    ids=[
        "plain",
        "mark",
        "utf-16-le",
        "utf-16-be",
        "windows",
        "old mac",
        "no last line end",
        "trailing blanks",
    ],
)
def test_text_of_any_system(tmp_path: Path, data: bytes):
    (tmp_path / "list").write_bytes(data)
    assert text_lines(tmp_path / "list") == LINES


def test_lines_keep_their_numbers(tmp_path: Path):
    (tmp_path / "list").write_text("\n  \na\n\nb\n")
    assert text_lines(tmp_path / "list") == [(3, "a"), (5, "b")]


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x1c", "\x0b", "\u00a0"])
def test_a_sign_in_a_name_ends_no_line(tmp_path: Path, sign: str):
    (tmp_path / "list").write_text(f"a{sign}b\n{sign}c\n", "utf-8")
    assert text_lines(tmp_path / "list") == [(1, f"a{sign}b"), (2, f"{sign}c")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "list: the list is empty"),
        (b"\n \r\n\t", "list: the list is empty"),
        (codecs.BOM_UTF8, "list: the list is empty"),
        (b"a\nb\nc\xe9\n", "list, line 3: is not UTF-8 text"),
        (b"\xff\xfea", "list, line 1: is not UTF-16 text"),
        ("a\nb".encode("utf-16-le"), "list, line 1: holds a zero byte"),
        (b"a\nb\0", "list, line 2: holds a zero byte"),
        (
            b"a\n" + codecs.BOM_UTF8 + b"b\n",
            "list, line 2: holds a byte order mark within the file",
        ),
    ],
)
def test_what_is_no_text(tmp_path: Path, data: bytes, message: str):
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        text_lines(tmp_path / "list")


def test_what_is_read_is_what_was_written(tmp_path: Path):
    (tmp_path / "list").write_bytes(b'a,"b\r\nc"\r\n')
    assert read_text(tmp_path / "list") == 'a,"b\r\nc"\r\n'
