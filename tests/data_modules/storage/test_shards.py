"""An ingested copy finds its clips, is plain tar, and says what is wrong with it."""

import hashlib
import math
import os
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest

from data_modules.storage.content import content_of
from data_modules.storage.copy_index import (
    CopyEntry,
    CopyStatus,
    of_others,
    parse,
    read_index,
    write_index,
)
from data_modules.storage.ingested import IngestedCopy
from data_modules.storage.shards import check, shard_places, write_shard
from data_modules.video.source import Source

CONTENTS = {
    "a/1.mp4": b"one" * 500,
    "a/2.webm": b"",
    "b/3, 4\u00e9.mp4": bytes(range(256)) * 2,
}


def entry(path: str, content: bytes, **changed: object) -> CopyEntry:
    digest = hashlib.sha256(content).hexdigest()
    whole = CopyEntry(
        path,
        path,
        0,
        len(content),
        3,
        digest,
        "copied",
        "",
        math.inf,
        len(content),
        1.5,
    )
    return whole._replace(**changed)


def written(
    folder: Path, contents: dict[str, bytes]
) -> tuple[list[CopyEntry], list[Path]]:
    files = [folder / path for path in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return [entry(path, content) for path, content in contents.items()], files


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A copy of one shard."""
    entries, files = written(tmp_path / "originals", CONTENTS)
    (tmp_path / "copy").mkdir()
    write_index(
        tmp_path / "copy",
        write_shard(tmp_path / "copy" / "shard-00000.tar", entries, files),
    )
    return tmp_path / "copy"


def test_a_clip_in_a_shard_is_its_bytes(shards: Path) -> None:
    storage = IngestedCopy(shards)
    assert len(storage) == 3
    for path, content in CONTENTS.items():
        assert path in storage
        source = storage.source(path)
        assert source.path == shards / "shard-00000.tar"
        assert source.size == len(content)
        assert (
            source.path.read_bytes()[source.start : source.start + source.size]
            == content
        )


def test_a_clip_in_a_file_is_that_file(tmp_path: Path) -> None:
    entries, _ = written(tmp_path, CONTENTS)
    write_index(tmp_path, entries)
    assert IngestedCopy(tmp_path).source("a/1.mp4") == Source(tmp_path / "a/1.mp4")


def test_only_what_was_encoded_counts_as_compared(tmp_path: Path) -> None:
    entries, _ = written(tmp_path, CONTENTS)
    for status in get_args(CopyStatus):
        write_index(tmp_path, [entry._replace(status=status) for entry in entries])
        expected = entries[0].size if status == "encoded" else None
        assert IngestedCopy(tmp_path).source(entries[0].path).verified == expected


def test_shards_are_plain_tar(shards: Path, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["tar", "tf", shards / "shard-00000.tar"], capture_output=True, check=True
    )
    assert listed.stdout.splitlines()[:2] == [b"a/1.mp4", b"a/2.webm"]
    assert not listed.stderr
    subprocess.run(
        ["tar", "xf", shards / "shard-00000.tar", "-C", tmp_path], check=True
    )
    assert {path: (tmp_path / path).read_bytes() for path in CONTENTS} == CONTENTS


def test_long_names_keep_their_places(tmp_path: Path) -> None:
    contents = {
        f"{'folder/' * 40}{'n' * 150}{index}.mp4": bytes([index]) * 700
        for index in range(3)
    }
    entries, files = written(tmp_path / "originals", contents)
    path = tmp_path / "shard.tar"
    for placed, content in zip(
        write_shard(path, entries, files), contents.values(), strict=True
    ):
        assert (
            path.read_bytes()[placed.start : placed.start + placed.size] == content
        )


def test_the_same_clips_give_the_same_shard(tmp_path: Path) -> None:
    entries, files = written(tmp_path, CONTENTS)
    first = write_shard(tmp_path / "1.tar", entries, files)
    files[0].touch()
    second = write_shard(tmp_path / "2.tar", entries, files)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    assert [placed.start for placed in first] == [placed.start for placed in second]


def test_the_index_comes_back(tmp_path: Path) -> None:
    strange = entry(
        'caf\udce9, "x".avi',
        b"x",
        reason='says "no", twice',
        psnr=41.25,
        status="kept",
        start=512,
    )
    write_index(tmp_path, [strange, entry("b", b"")])
    assert list(read_index(tmp_path)) == [strange, entry("b", b"")]


def test_another_data_set_is_told(shards: Path) -> None:
    assert "c/9.mp4" not in IngestedCopy(shards)
    with pytest.raises(
        ValueError,
        match=r"index\.csv: has no clip 'c/9\.mp4' among its 3, such as 'a/1\.mp4'",
    ):
        IngestedCopy(shards).source("c/9.mp4")


def test_a_missing_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"index\.csv: no such file; run `lightning-petl data ingest`",
    ):
        IngestedCopy(tmp_path)


def test_a_missing_shard_is_told(shards: Path) -> None:
    (shards / "shard-00000.tar").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"shard-00000\.tar: the shard is missing"
    ):
        IngestedCopy(shards)


def test_a_short_shard_is_told(shards: Path) -> None:
    path = shards / "shard-00000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(
        ValueError,
        match=r"shard-00000\.tar: the shard has 3000 bytes, and its last clip ends at \d+",
    ):
        IngestedCopy(shards)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", r"index\.csv, line 1: expected the columns path,file,"),
        ("", "expected the columns"),
    ],
)
def test_a_file_that_is_no_index_is_told(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        IngestedCopy(tmp_path)


@pytest.mark.parametrize("line", ["a,b,0", "a,a,0,x,3,0,copied,,inf,3,1"])
def test_a_damaged_line_of_the_index_is_told(tmp_path: Path, line: str) -> None:
    write_index(tmp_path, [entry("a", b"")])
    with (tmp_path / "index.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"index\.csv, line 3: "):
        IngestedCopy(tmp_path)


def test_changed_bytes_are_told(shards: Path) -> None:
    last = list(read_index(shards))[-1]
    check(shards / last.file, last)
    data = bytearray((shards / last.file).read_bytes())
    data[last.start + last.size - 1] ^= 1
    (shards / last.file).write_bytes(data)
    with pytest.raises(
        ValueError,
        match=r"shard-00000\.tar: the bytes of b/3, 4é\.mp4, 512 from \d+, are not those",
    ):
        check(shards / last.file, last)
    with pytest.raises(
        FileNotFoundError, match=r"gone\.tar: is missing; it holds b/3"
    ):
        check(shards / "gone.tar", last)


def test_a_shard_of_changed_files_is_not_written(tmp_path: Path) -> None:
    entries, files = written(tmp_path, CONTENTS)
    files[0].write_bytes(b"two" * 500)
    with pytest.raises(ValueError, match=r"the bytes of a/1\.mp4"):
        write_shard(tmp_path / "shard.tar", entries, files)
    assert not (tmp_path / "shard.tar").exists()


def test_a_shard_of_other_clips_is_told(shards: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"shard-00000\.tar: does not hold the 1 clips that it should",
    ):
        shard_places(
            shards / "shard-00000.tar", [entry("a/1.mp4", CONTENTS["a/1.mp4"])]
        )


def test_too_few_values_are_no_entry() -> None:
    with pytest.raises(ValueError, match="expected 12 values, got 2"):
        parse(["a", "b"])


OUTSIDE: dict[str, Any] = {
    "up": {"file": "../secret.mp4"},
    "up from below": {"file": "a/../../secret.mp4"},
    "absolute": {"file": "/etc/passwd"},
    "none": {"file": ""},
    "a link": {"file": "link.mp4"},
    "below a link": {"file": "linked/secret.mp4"},
    "a shard that is a link": {"file": "link.mp4", "start": 512},
    "a negative start": {"start": -1},
    "a negative size": {"size": -5},
    "an end beyond the shard": {"file": "shard.tar", "start": 10**15},
    "a size beyond the shard": {"file": "shard.tar", "start": 512, "size": 10**18},
    "a status": {"status": "trusted"},
    "a long text": {"reason": "x" * 200_000},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_of_a_stranger_leads_nowhere(tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    (copy / "a").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (copy / "shard.tar").write_bytes(bytes(2048))
    (copy / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (copy / "linked").symlink_to(tmp_path)
    good = entry("a/1.mp4", b"one")
    write_index(copy, [good._replace(**OUTSIDE[name])])
    with pytest.raises(ValueError, match=re.escape(str(copy))):
        IngestedCopy(copy).source("a/1.mp4")


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    entries, _ = written(tmp_path, CONTENTS)
    (tmp_path / "a/1.mp4").rename(tmp_path / "elsewhere.mp4")
    (tmp_path / "a/1.mp4").symlink_to("../elsewhere.mp4")
    write_index(tmp_path, entries)
    assert IngestedCopy(tmp_path).source("a/1.mp4") == Source(tmp_path / "a/1.mp4")


def test_a_number_beyond_the_file_is_not_allocated(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    with pytest.raises(ValueError, match="is shorter than a in it"):
        check(tmp_path / "a", entry("a", b"one", size=10**15))


def test_originals_at_hand_are_compared(tmp_path: Path) -> None:
    """Of three originals one was replaced, one is gone, and one is as it was, but of another time."""
    entries, files = written(tmp_path / "originals", CONTENTS)
    copy = tmp_path / "copy"
    copy.mkdir()
    noted = [
        each._replace(original=content_of(file))
        for each, file in zip(entries, files, strict=True)
    ]
    write_index(copy, noted)
    originals = dict(zip(CONTENTS, files, strict=True))
    storage = IngestedCopy(copy)
    files[1].unlink()
    os.utime(files[0], (1, 1))
    storage.require_originals(originals)
    files[2].write_bytes(bytes(512))
    with pytest.raises(
        ValueError,
        match=rf"{copy}: 1 of 2 originals are not those that were copied: b/3, 4.\.mp4; run",
    ):
        storage.require_originals(originals)
    storage.require_originals(
        {name: tmp_path / "nowhere" / name for name in CONTENTS}
    )
    assert [each.path for each in of_others(noted, originals)] == [
        "a/2.webm",
        "b/3, 4\u00e9.mp4",
    ]


def test_an_index_of_an_earlier_version_knows_no_originals(tmp_path: Path) -> None:
    entries, files = written(tmp_path, CONTENTS)
    write_index(tmp_path, entries)
    lines = (tmp_path / "index.csv").read_text().splitlines()
    assert lines[0].endswith(",original")
    old = [line.removesuffix("original").removesuffix(",") for line in lines]
    (tmp_path / "index.csv").write_text("\n".join(old) + "\n")
    assert list(read_index(tmp_path)) == entries
    IngestedCopy(tmp_path).require_originals(
        dict(zip(CONTENTS, files, strict=True))
    )
