"""Names of classes, from a file of names or from the labels of a list."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from data_modules.sets.annotations.text_file import read_text, split_lines

NUMBER = re.compile("0|[1-9][0-9]*")  # 007 is a name
_NEARLY_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_SEVERAL = re.compile(r"[\[(]?\d+(\s*[,;|\s]\s*\d+)+[\])]?")  # "1 3", "[1, 3]"
_HEADERS = frozenset(
    {"label", "labels", "class", "classes", "class_name", "label_name", "name", "names"}
)


def read_names(path: Path) -> list[str]:
    """A class a line, in the order of their numbers.

    Raises:
        ValueError: no name, a blank line between names, a name twice, a header, or lines that begin with their numbers.
    """
    names = [
        line.strip(" \t") for line in split_lines(read_text(path).rstrip("\r\n \t"))
    ]
    if not any(names):
        raise ValueError(f"{path}: the list is empty")
    if "" in names:
        raise ValueError(
            f"{path}, line {names.index('') + 1}: is blank, which leaves the "
            "numbers of the classes below it in doubt; "
            "expected a name in each line, in the order of their numbers"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: names the class {name!r} {count} times")
    if names[0].lower() in _HEADERS:
        raise ValueError(
            f"{path}, line 1 {names[0]!r}: looks like a header, and would be the "
            "class 0; remove it"
        )
    if len(names) > 2 and (_are_numbered(names) or _are_numbered(names[1:])):
        raise ValueError(
            f"{path}, line 2 {names[1]!r}: expected a name alone in each line, in "
            "the order of their numbers from 0, "
            "without numbers and without a header"
        )
    return names


def require_names(path: Path, labels: Sequence[str], classes: Sequence[str]) -> None:
    """ValueError where labels are numbers and the classes are names in an order that no file gives."""
    numbers = [
        label for label in labels if NUMBER.fullmatch(label) and label not in classes
    ]
    if numbers and not all(map(NUMBER.fullmatch, classes)):
        raise ValueError(
            f"{path}: the label {numbers[0]!r} is a number, and the labels of "
            "training are names, such as "
            f"{classes[0]!r}, in no order that is known; write names here, too, "
            "or give the name of each class in a "
            "file with a name a line: names=FILE"
        )


def _are_numbered(names: Sequence[str]) -> bool:
    """Whether each line is a number and a name, with the numbers 0, 1, 2 or 1, 2, 3."""
    first = [re.split("[ \t,;:]+", name, maxsplit=1) for name in names]
    numbers = [parts[0] for parts in first if len(parts) == 2]
    return any(
        numbers == [str(start + n) for n in range(len(names))] for start in (0, 1)
    )


def classes_of(path: Path, labels: Sequence[str]) -> list[str]:
    """The classes that the labels of a list of training stand for.

    Labels that are all numbers are those of the classes: ``2, 0, 2`` are of the classes 0, 1 and 2. Any others are
    names, numbered in sorted order. Numbers without a video are warned of.

    Raises:
        ValueError: several labels of a video; numbers of which fewer than a tenth have a video, which may be names such
            as years; or labels that are numbers but not of a class, such as -1 and 1.0.
    """
    found = set(labels)
    several = next(filter(_SEVERAL.fullmatch, labels), None)
    if several:
        raise ValueError(
            f"{path}: {several!r} looks like several labels; one label of each "
            "video is read"
        )
    numbers = {int(label) for label in found if NUMBER.fullmatch(label)}
    if len(numbers) < len(found):
        wrong = sorted(label for label in found if not NUMBER.fullmatch(label))[0]
        if all(map(_NEARLY_NUMBER.fullmatch, found)) and not all(
            label.isdecimal() for label in found
        ):
            raise ValueError(
                f"{path}: {wrong!r} is no number of a class; expected whole "
                "numbers from 0 on, or names"
            )
        return sorted(found)
    last = max(numbers)
    if last + 1 > 10 * len(numbers):
        raise ValueError(
            f"{path}: the labels are the numbers up to {last}, and only "
            f"{len(numbers)} of them have a video; if "
            "they are names, write each with a letter, and if they number "
            "classes, give the name of each class in a "
            "file with a name a line: names=FILE"
        )
    absent = [number for number in range(last) if number not in numbers]
    if absent:
        shown = ", ".join(map(str, absent[:10])) + (", ..." if len(absent) > 10 else "")
        rank_zero_warn(
            f"{path}: the labels are the numbers up to {last}, and {len(absent)} "
            f"classes have no video: {shown}"
        )
    return [str(number) for number in range(last + 1)]
