"""Write files that are complete or absent, whatever ends the process."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Generator[Path]:
    """Yield a temporary name beside ``path`` to write to, and rename that file to ``path`` at the end.

    Where the block fails, the temporary file is deleted and a previous ``path`` is untouched. A process
    that is killed leaves ``.partial-<name>``, which the next one that writes the file replaces. Two
    processes must not write the same file at the same time.

    Args:
        path: of the file.
        durable: it survives a power cut, too. Waiting for the disk takes about 10 ms a file, which
            thousands of videos that can be made again do not need.
    """
    # in the same folder, because a rename to another file system would be a copy
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        if durable:
            # before the rename: a power cut could else leave the new name with an empty file
            _sync(partial)
        partial.replace(path)
        if durable:
            # without this a power cut could undo the rename
            _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a durable file by :func:`atomic_write`, and create its folder where that is missing.

    Raises:
        OSError: it could not be written; nothing is left behind and a previous file is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, durable=True) as partial:
            partial.write_bytes(content)
    except OSError as error:
        kept = "nothing was written"
        if path.exists():
            kept = "the previous file is untouched"
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"could not write {path}: {reason}; {kept}"
        ) from error


def _sync(path: Path) -> None:
    """Wait until the disk holds the content of a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
