"""Names of any kind come back from every file that is written, and steer no terminal."""

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from data_modules.io.names import ENCODING, ERRORS, cell, to_csv, to_json, visible
from data_modules.storage import copy_index, manifest, shards
from data_modules.storage.manifest import ManifestEntry

NASTY = [
    "\U0001f600 happy", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "${x}", "\\${oc.env:HOME}", "'quoted'", '"twice"',
    "[red] team", "a [/x]", ":dog:", "Cat [dQw4w9WgXcQ]", "two\nlines", "car\rriage\r\nreturn", "tab\there", "=1+1",
    "# no comment", "a: b", "null", "true", "1e5", "007", "100%d", "back\\slash", "-x", "--help", " blank ", "a,b;c",
    "\x1b[31mred", "left\u202eright", "lines\u2028\x85and", os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe"),
]  # fmt: skip
LAW = settings(max_examples=150)


def names() -> st.SearchStrategy[str]:
    """Anything that a Linux file may be named, and the worst of it often."""
    files = (
        st.binary(min_size=1, max_size=20)
        .filter(lambda name: not set(name) & set(b"\0/"))
        .map(os.fsdecode)
    )
    return (
        st.sampled_from(NASTY)
        | files
        | st.text(
            st.characters(codec="utf-8", exclude_characters="\0/"),
            min_size=1,
            max_size=20,
        )
    )


@LAW
@given(st.lists(names(), min_size=1, max_size=4), names())
def test_csv_gives_them_back(clips: list[str], label: str) -> None:
    written = to_csv(
        [("clip_id", "rank", "label"), *((clip, 1, label) for clip in clips)]
    )
    read = list(
        csv.DictReader(io.StringIO(written.decode(ENCODING, ERRORS), newline=""))
    )
    assert [(row["clip_id"], row["label"]) for row in read] == [
        (clip, label) for clip in clips
    ]


@LAW
@given(names())
@example("\x85\u2028")
def test_json_gives_them_back_in_one_line(name: str) -> None:
    written = to_json({"clip_id": name})
    assert len(written.decode("utf-8").splitlines()) == 1
    assert json.loads(written) == {"clip_id": name}
    assert json.loads(to_json([name], indent=1)) == [name]


@LAW
@given(st.lists(names(), min_size=1, max_size=4, unique=True))
def test_a_manifest_gives_them_back(
    tmp_path_factory: pytest.TempPathFactory, found: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    entries = {
        name: ManifestEntry(name, "bad", "cut short", manifest.Stamp(1, 2))
        for name in found
    }
    manifest.write(folder / "whole.csv", entries.values())
    assert manifest.read(folder / "whole.csv") == entries
    for entry in entries.values():
        manifest.append(folder / "added.csv", entry)
    assert manifest.read(folder / "added.csv") == entries


@LAW
@given(st.lists(names(), min_size=1, max_size=3, unique=True))
def test_an_index_and_a_shard_give_them_back(
    tmp_path_factory: pytest.TempPathFactory, found: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    (folder / "content").write_bytes(b"x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # sha256 of x
    entries = [
        copy_index.CopyEntry(name, name, 0, 1, 1, digest, "kept", name, 1.0, 1, 1.0)
        for name in found
    ]
    placed = shards.write_shard(
        folder / "shard.tar", entries, [folder / "content"] * len(entries)
    )
    copy_index.write_index(folder, placed)
    assert [
        (entry.path, entry.reason) for entry in copy_index.read_index(folder)
    ] == [(name, name) for name in found]
    with tarfile.open(folder / "shard.tar") as shard:
        assert shard.getnames() == found


@LAW
@given(names())
def test_a_table_shows_them_whole_in_one_line(name: str) -> None:
    terminal, table = io.StringIO(), Table("video")
    table.add_row(cell(name))
    Console(file=terminal, width=200, color_system=None).print(table)
    row = terminal.getvalue().split("\n")[3]
    assert row.startswith("│ ")
    assert row.endswith(" │")
    assert row.strip("│").strip() == visible(name).strip()
    assert not set(row) & set(
        map(
            chr,
            [
                *range(32),
                *range(127, 160),
                *range(0x202A, 0x202F),
                *range(0xDC80, 0xDD00),
            ],
        )
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red] team :dog: a [/x]", "[red] team :dog: a [/x]"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\u202egpj", r"\u202egpj"),
        ("\U0001f469\u200d\U0001f467 é", "\U0001f469\u200d\U0001f467 é"),
    ],
)
def test_what_a_terminal_shows(name: str, shown: str) -> None:
    assert visible(name) == shown
    assert cell(name).plain == shown


def test_a_narrow_table_folds_and_leaves_nothing_out() -> None:
    terminal, table = io.StringIO(), Table("video", "class")
    table.add_row(cell("x" * 150), cell("a b c"))
    Console(file=terminal, width=60).print(table)
    assert terminal.getvalue().count("x") == 150


def test_a_manifest_with_a_cut_name_of_two_lines_loses_no_other(
    tmp_path: Path,
) -> None:
    path, good, last = (
        tmp_path / "m.csv",
        ManifestEntry("a.mp4", "bad", "cut"),
        ManifestEntry('b, "c".mp4', "bad", "cut"),
    )
    for entry in (good, ManifestEntry("two\nlines.mp4", "bad", "cut")):
        manifest.append(path, entry)
    whole = path.read_bytes()
    for lost in range(1, 35):
        path.write_bytes(whole[:-lost])
        manifest.append(path, last)
        assert {good.path: good, last.path: last}.items() <= manifest.read(
            path
        ).items()
