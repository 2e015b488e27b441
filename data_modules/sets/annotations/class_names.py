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
    {
        "label",
        "labels",
        "class",
        "classes",
        "class_name",
        "label_name",
        "name",
        "names",
    }
)
# fewer numbers than a tenth of the classes that they would make are rather names, such
# as years: 2019 and 2021 would make 2,022 classes
_SPARSE = 10


def read_names(path: Path) -> list[str]:
    """Return the classes of a file with a name a line, in the order of their numbers.

    Raises:
        ValueError: no name, a blank line between names, a name twice, a header, or
            lines that begin with their numbers.
    """
    text = read_text(path).rstrip("\r\n \t")
    names = [line.strip(" \t") for line in split_lines(text)]
    if not any(names):
        raise ValueError(f"{path}: the list is empty")
    if "" in names:
        line = names.index("") + 1
        raise ValueError(
            f"{path}, line {line}: is blank, which leaves the numbers of the classes "
            "below it in doubt; expected a name in each line, in the order of their "
            "numbers"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: names the class {name!r} {count} times")
    if names[0].lower() in _HEADERS:
        raise ValueError(
            f"{path}, line 1 {names[0]!r}: looks like a header, and would be the class "
            "0; remove it"
        )
    # of two lines it may be chance; the first line may be a header
    if len(names) > 2 and (_are_numbered(names) or _are_numbered(names[1:])):
        raise ValueError(
            f"{path}, line 2 {names[1]!r}: expected a name alone in each line, in the "
            "order of their numbers from 0, without numbers and without a header"
        )
    return names


def require_names(
    path: Path, labels: Sequence[str], classes: Sequence[str]
) -> None:
    """Refuse labels that are numbers where the classes are names of unknown order.

    Raises:
        ValueError: no file gives the order of the names.
    """
    others = set(labels) - set(classes)
    numbers = [
        label for label in labels if label in others and NUMBER.fullmatch(label)
    ]
    if numbers and not all(map(NUMBER.fullmatch, classes)):
        raise ValueError(
            f"{path}: the label {numbers[0]!r} is a number, and the labels of training "
            f"are names, such as {classes[0]!r}, in no order that is known; write "
            "names "
            "here, too, or give the name of each class in a file with a name a line: "
            "names=FILE"
        )


def _are_numbered(names: Sequence[str]) -> bool:
    """Tell whether each line is a number and a name, numbered from 0 or 1 on."""
    numbers = list[str]()
    for name in names:
        number, *rest = re.split("[ \t,;:]+", name, maxsplit=1)
        if rest:
            numbers.append(number)
    count = len(names)
    from_zero = list(map(str, range(count)))
    from_one = list(map(str, range(1, count + 1)))
    return numbers in (from_zero, from_one)


def classes_of(path: Path, labels: Sequence[str]) -> list[str]:
    """Return the classes that the labels of a list of training stand for.

    Labels that are all numbers are those of the classes: ``2, 0, 2`` are of the classes
    0, 1 and 2. Any others are names, numbered in sorted order. Numbers without a video
    are warned of.

    Raises:
        ValueError: several labels of a video; numbers of which fewer than a tenth have
            a video, which may be names such as years; or labels that are numbers but
            not of a class, such as -1 and 1.0.
    """
    several = next(filter(_SEVERAL.fullmatch, labels), None)
    if several:
        raise ValueError(
            f"{path}: {several!r} looks like several labels; one label of each "
            "video is "
            "read"
        )
    found = set(labels)
    names = sorted(label for label in found if not NUMBER.fullmatch(label))
    if names:
        # 007 is a name, but -1 and 1.0 are more likely wrong numbers
        nearly = all(map(_NEARLY_NUMBER.fullmatch, found))
        if nearly and not all(map(str.isdecimal, found)):
            raise ValueError(
                f"{path}: {names[0]!r} is no number of a class; expected whole numbers "
                "from 0 on, or names"
            )
        return sorted(found)
    return _numbered_classes(path, set(map(int, found)))


def _numbered_classes(path: Path, numbers: set[int]) -> list[str]:
    """Return the classes from 0 to the largest number; warn of those without a video.

    Raises:
        ValueError: few of them have one.
    """
    last = max(numbers)
    if last + 1 > _SPARSE * len(numbers):
        raise ValueError(
            f"{path}: the labels are the numbers up to {last}, and only {len(numbers)} "
            "of them have a video; if they are names, write each with a letter, and if "
            "they number classes, give the name of each class in a file with a name a "
            "line: names=FILE"
        )
    absent = sorted(set(range(last)) - numbers)
    if absent:
        shown = ", ".join(map(str, absent[:10])) + (
            ", ..." if len(absent) > 10 else ""
        )
        rank_zero_warn(
            f"{path}: the labels are the numbers up to {last}, and {len(absent)} "
            f"classes have no video: {shown}"
        )
    return list(map(str, range(last + 1)))
