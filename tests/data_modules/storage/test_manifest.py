"""What is written is read back, whatever happens in between."""

import os
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from data_modules.storage.manifest import (
    ManifestEntry,
    Stamp,
    append,
    describes,
    key,
    read,
    sampled,
    stamp,
    write,
)
from data_modules.video.decode import VideoInfo

INFO = VideoInfo(300, 29.97002997002997, 10.01001001001001, 240, 427, "vp9", 3)
GOOD = ManifestEntry("train/a.mp4", "ok", "", Stamp(1234, 1700000000), INFO)
ODD = ManifestEntry(
    'b, "c"/ü \udcff.avi', "bad", 'frame 3: "concealed", twice', Stamp(1, 2)
)
GONE = ManifestEntry("/elsewhere/d.mp4", "missing", "no such file")


def test_it_reads_back_what_was_written_sorted_by_path(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write(path, [GOOD, ODD, GONE])
    assert read(path) == {entry.path: entry for entry in (GOOD, ODD, GONE)}
    assert list(read(path)) == sorted([GOOD.path, ODD.path, GONE.path])
    assert path.read_text("utf-8", "surrogateescape").startswith(
        "path,status,num_frames,fps,duration,height,width"
    )
    assert os.listdir(tmp_path) == ["manifest.csv"]


def test_no_manifest_knows_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "manifest.csv") == {}


def test_a_reason_of_several_lines_becomes_one(tmp_path: Path) -> None:
    append(tmp_path / "m.csv", GONE._replace(reason="not\nthere\tat all"))
    assert read(tmp_path / "m.csv")[GONE.path].reason == "not there at all"


def test_an_added_line_overrides_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write(path, [GOOD, ODD])
    hung = GOOD._replace(status="hung", reason="no answer in 60 s", info=None)
    append(path, hung)
    assert read(path) == {hung.path: hung, ODD.path: ODD}


@pytest.mark.parametrize("lost", range(1, 40))
def test_a_line_that_was_cut_costs_nothing_else(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "manifest.csv"
    append(path, GOOD)
    append(path, ODD)
    path.write_bytes(path.read_bytes()[:-lost])
    append(path, GONE)
    found = read(path)
    assert found[GOOD.path] == GOOD
    assert found[GONE.path] == GONE
    assert set(found) <= {GOOD.path, ODD.path, GONE.path}


def test_several_add_lines_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write(path, [])
    added = [GOOD._replace(path=f"{n}.mp4", reason="long " * n) for n in range(500)]
    with ThreadPool(8) as pool:  # each opens the file for itself, as processes do
        pool.starmap(append, [(path, entry) for entry in added], chunksize=1)
    assert set(read(path)) == {entry.path for entry in added}


@pytest.mark.parametrize("content", ["", "path,label\na.mp4,3\n", "\x00\x01"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(
        ValueError,
        match=r"m\.csv: is no manifest with the columns path,status,num_frames",
    ):
        read(tmp_path / "m.csv")


def test_writing_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write(path, [GOOD])

    def entries() -> Iterator[ManifestEntry]:
        yield ODD
        raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        write(path, entries())
    assert read(path) == {GOOD.path: GOOD}
    assert os.listdir(tmp_path) == ["manifest.csv"]


def test_a_place_that_cannot_be_written_is_told_with_the_way_out(
    tmp_path: Path,
) -> None:
    for put in (lambda path: append(path, GOOD), lambda path: write(path, [GOOD])):
        with pytest.raises(
            OSError,
            match=r"nowhere/m\.csv: the manifest cannot be written: No such .* --output FILE",
        ):
            put(tmp_path / "nowhere" / "m.csv")


def test_a_key_is_relative_inside_the_root_and_whole_outside() -> None:
    assert (
        key(Path("/data/set/train/a b.mp4"), Path("/data/set")) == "train/a b.mp4"
    )
    assert key(Path("/data/other/a.mp4"), Path("/data/set")) == "/data/other/a.mp4"
    assert key(Path("set/train/a.mp4"), Path("set")) == "train/a.mp4"
    assert (
        key(Path("/data/set/../other/a.mp4"), Path("/data/set"))
        == "/data/other/a.mp4"
    )
    assert (
        key(Path("/data/set/lists/../train/a.mp4"), Path("/data/set"))
        == "train/a.mp4"
    )


def test_a_stamp_notices_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"12345")
    os.utime(file, (1e9, 1e9 + 0.7))
    assert stamp(file) == Stamp(5, 10**9)
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "1.jpg").write_bytes(b"123")
    (frames / "2.jpg").write_bytes(b"45")
    os.utime(frames, (1e9, 1e9))
    assert stamp(frames) == Stamp(5, 10**9)
    assert stamp(tmp_path / "none") is None


def test_an_entry_is_of_the_file_of_its_sample(tmp_path: Path) -> None:
    """A file that was replaced by another one of the same size within the second."""
    file = tmp_path / "a.mp4"
    file.write_bytes(b"12345")
    os.utime(file, (1e9, 1e9))
    entry = ManifestEntry("a.mp4", "bad", "cut short", sampled(stamp(file), file))
    append(tmp_path / "m.csv", entry)
    assert describes(read(tmp_path / "m.csv")["a.mp4"], file)
    file.write_bytes(b"12346")
    os.utime(file, (1e9, 1e9))
    assert not describes(entry, file)
    assert describes(
        entry._replace(status="hung", stamp=stamp(file)), file
    )  # of which no sample is taken
    file.unlink()
    assert not describes(entry, file)
    assert not describes(ManifestEntry("a.mp4", "missing"), file)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    now = stamp(tmp_path / "a.mp4")
    assert sampled(now, tmp_path / "a.mp4") == now


@pytest.mark.parametrize(
    "field", ["x" * 200_000, "nan", "inf", "-1", "9" * 5000, "", "1e400", "\0"]
)
def test_a_line_of_a_stranger_counts_as_not_there(
    tmp_path: Path, field: str
) -> None:
    write(tmp_path / "m.csv", [GOOD])
    assert GOOD.info is not None
    line = (tmp_path / "m.csv").read_text().splitlines()[1].split(",")
    line[2] = field  # the number of frames
    with (tmp_path / "m.csv").open("a") as file:
        file.write(",".join(["other", *line[1:]]) + "\n")
    assert read(tmp_path / "m.csv") == {GOOD.path: GOOD}
