"""A file is whole or not there, whatever ends its writing."""

from pathlib import Path

import pytest

from data_modules.io.atomic import atomic_write


def test_the_file_appears_at_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path, "a rename across file systems is a copy"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_what_was_there_outlives_a_stop(
    stop: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(stop):
        _stopped_amid(path, stop)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    (tmp_path / ".partial-a.csv").write_text("much longer than new")
    with atomic_write(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.csv"):
        pass


def _stopped_amid(path: Path, stop: type[BaseException]) -> None:
    with atomic_write(path) as partial:
        partial.write_text("ne")
        raise stop
