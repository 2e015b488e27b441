"""Find the classes of a data set that become each other when a clip is mirrored, left to right.

"Pushing something from left to right"    <->    "Pushing something from right to left"
"turn_left"                               <->    "TurnRight"
"clockwise"                               <->    "counterclockwise"
"""

import re
import string
from collections.abc import Mapping, Sequence

_ENDINGS = ("", "ward", "wards", "hand", "handed", "most", "side", "sided")


def _opposites() -> dict[str, str]:
    """Return word -> word in the mirror."""
    pairs = [(f"left{ending}", f"right{ending}") for ending in _ENDINGS]
    pairs += [("clockwise", "counterclockwise"), ("cw", "ccw")]
    found: dict[str, str] = {}
    for word, other in pairs:
        found[word] = other
        found[other] = word
    return found


_OPPOSITE = _opposites()
_SAME_CASE = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
# These stay the same in the mirror.
_BOTH_SIDES = "left (?:and |or )?right|right (?:and |or )?left"
# These name no side: Something-Something has "pulling it right out".
_NO_SIDE = "right (?:out|away|after|before|now|angle)|left (?:over|behind|alone)"
_SIDED = re.compile(rf"\b(?:{_BOTH_SIDES}|{_NO_SIDE}|{'|'.join(_OPPOSITE)})\b")


def mirrored_labels(labels: Sequence[str]) -> dict[int, int]:
    """Return class index -> class index of the mirror image, for classes whose names say a side or a turn.

    Case, underscores and hyphens do not matter. A class whose mirror image is not among the labels is left out here and
    named by :func:`unmirrored_labels`.

    Example: of "turn left", "turn right" and "stand" it is {0: 1, 1: 0}.
    """
    exact: dict[str, int] = {}
    spelled: dict[str, int] = {}
    for number, label in enumerate(labels):
        exact[label] = number
        spelled.setdefault(_spelled(label), number)  # the first of equals
    images = [_mirror_image(label, exact, spelled) for label in labels]
    found: dict[int, int] = {}
    for number, other in enumerate(images):
        # Both must name each other, or a class would have two mirror images.
        if other is not None and other != number and images[other] == number:
            found[number] = other
    return found


def unmirrored_labels(labels: Sequence[str]) -> list[str]:
    """Return the classes whose names say a side or a turn, but whose mirror images are no classes."""
    mirrored = mirrored_labels(labels)
    found: list[str] = []
    for number, label in enumerate(labels):
        if number not in mirrored and _other_side(label) != _spelled(label):
            found.append(label)
    return found


def _mirror_image(
    label: str, exact: Mapping[str, int], spelled: Mapping[str, int]
) -> int | None:
    """Return the class of the mirror image; None where there is none or the name says no side.

    Args:
        label: the name of a class.
        exact: the classes by their names.
        spelled: the classes by their spelled names.
    """
    # The exact name goes first: classes may differ in nothing but case or underscores.
    swapped = re.sub(
        r"\b([Ll]eft|[Rr]ight)\b", lambda word: _SAME_CASE[word[0]], label
    )
    if swapped != label and swapped in exact:
        return exact[swapped]
    name = _spelled(label)
    other = _other_side(label)
    if name == other:  # "turnleft" says a side only if there is a "turnright"
        other = re.sub("left|right", lambda part: _OPPOSITE[part[0]], name)
    if name == other:
        other = _other_letter(name, spelled)
    return spelled.get(other) if other != name else None


def _other_letter(name: str, spelled: Mapping[str, int]) -> str:
    """Return the name with l and r exchanged: "swipe r" of "swipe l", but none of the letters of an alphabet."""
    for letter in string.ascii_lowercase:
        if letter in "lr":
            continue
        other = re.sub(r"\b[lr]\b", letter, name)
        # Where there is a "swipe a", too, the letters name no sides.
        if other != name and other in spelled:
            return name
    return re.sub(
        r"\b[lr]\b", lambda letter: "r" if letter[0] == "l" else "l", name
    )


def _other_side(label: str) -> str:
    """Return the spelled name with left and right exchanged, and the turns."""
    return _SIDED.sub(
        lambda found: _OPPOSITE.get(found[0], found[0]), _spelled(label)
    )


def _spelled(label: str) -> str:
    """Return the words of a name in small letters: "TurnLeft_2" is "turn left 2"."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).casefold()
    whole = re.sub(r"(counter|anti)[\s_-]*clockwise", "counterclockwise", parted)
    return " ".join(re.findall(r"[^\W\d_]+|\d+", whole))
