"""Which of the listed videos are on disk."""

import os
from collections.abc import Sequence
from pathlib import Path

from data_modules.dataset import Clip


def present(clips: Sequence[Clip], split: str, *, leave_out: bool) -> tuple[list[Clip], str]:
    """The clips whose file or folder of frames exists, and a sentence that lists and counts the others, if any.

    Each folder is read once: asking for a hundred thousand files one by one takes minutes on a network disk.

    Raises:
        FileNotFoundError: something is missing and may not be left out, or everything is.
    """
    names = {folder: _names(folder) for folder in {Path(clip.path).parent for clip in clips}}
    found = [clip for clip in clips if Path(clip.path).name in names[Path(clip.path).parent]]
    if len(found) == len(clips):
        return found, ""
    there = set(found)
    absent = [str(clip.path) for clip in clips if clip not in there]
    first = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    sentence = f"{len(absent)} of the {len(clips)} videos of the {split} split are missing: {first}"
    if leave_out and found:
        return found, f"{sentence}; they are left out"
    raise FileNotFoundError(
        f"{sentence}; `lightning-petl data index` lists them all"
        + ("; missing=leave_out goes on without them" if found else "")
    )


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()
