"""Note of which videos the features of a cache were computed: a line for each clip of a split, in their order."""

from collections.abc import Sequence
from pathlib import Path

from data_modules.io.atomic import atomic_write
from data_modules.io.untrusted import inside
from data_modules.storage.content import Content, Place, changed, describe_changed

_LONGEST = 200  # bytes of a line


def file_of(folder: Path, split: str) -> Path:
    """Return the file that holds the contents of a split."""
    return inside(folder, f"contents-{split}.txt")


def write(folder: Path, split: str, contents: Sequence[Content | None]) -> None:
    """Write the contents of a split, whole or not at all; an empty line stands for what could not be read."""
    text = "".join(f"{entry or ''}\n" for entry in contents)
    with atomic_write(file_of(folder, split)) as partial:
        partial.write_text(text, "ascii")


def read(folder: Path, split: str, clips: int) -> list[Content | None]:
    """Return what :func:`write` wrote of so many clips; nothing is known of any where the file says no such thing."""
    path = file_of(folder, split)
    nothing: list[Content | None] = [None] * clips
    # A file that is too long is not read: it may not be ours, and larger than memory.
    if not path.is_file() or path.stat().st_size > clips * _LONGEST:
        return nothing
    lines = path.read_text("ascii", "replace").splitlines()
    return list(map(_entry, lines)) if len(lines) == clips else nothing


def stale(
    folder: Path, split: str, places: Sequence[Place], *, verify: bool = False
) -> list[int]:
    """Return the numbers of the clips whose videos are not those of which the features were computed."""
    return changed(places, read(folder, split, len(places)), verify=verify)


def complaint(
    folder: Path, split: str, numbers: Sequence[int], names: Sequence[str]
) -> str:
    """Return a sentence about clips whose features are those of other videos."""
    what = f"videos of the {split} split"
    sentence = describe_changed(numbers, names, what, "the cache was built from")
    return f"{folder}: {sentence}"


def _entry(line: str) -> Content | None:
    try:
        return Content.parse(line)
    except ValueError:
        return None
