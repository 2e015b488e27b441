"""Files that are there whole or not at all."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """A temporary name beside ``path`` to write to. It becomes ``path`` at the end, and is deleted where that fails.

    A process that is killed leaves ``.partial-<name>``, which the next one that writes the file replaces. Two
    processes must not write the same file at the same time.
    """
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
