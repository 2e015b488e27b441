"""What a text tower can read as a caption."""

import re
import unicodedata
from typing import Literal, NamedTuple

Script = Literal["latin", "any"]
MAX_WORDS, MAX_CHARACTERS = (
    1_000,
    10_000,
)  # the longest text towers read some hundred tokens
_HALF = re.compile("[\ud800-\udfff]")


class WrittenCaption(NamedTuple):
    """What a file says of a video, and in which line of it; 0 where it is not one of lines."""

    caption: object
    line: int = 0


def fault(caption: object, script: Script) -> str:
    """What is wrong with a caption, as the end of a sentence; empty where nothing is.

    It is text of at least one visible character, and of no more than 1,000 words and 10,000 characters. ``latin``: no
    more than half of its letters are of another script; accents, digits, punctuation and emoji are of none.
    """
    if not isinstance(caption, str):
        return f"is {caption!r:.60}, expected text"
    if not any(unicodedata.category(character)[0] in "LNPS" for character in caption):
        return (
            "is empty"
            if not caption.strip()
            else f"is empty: nothing of {caption[:20]!a} can be seen"
        )
    if (words := len(caption.split())) > MAX_WORDS or len(caption) > MAX_CHARACTERS:
        return (
            f"has {words:,} words, {len(caption):,} characters; more than "
            f"{MAX_WORDS:,} or {MAX_CHARACTERS:,} are no "
            "caption: is a quote left open, or is this the text of something else?"
        )
    if _HALF.search(caption):
        return f"holds half a character: {caption!a:.60}"
    if script == "latin" and (word := _first_foreign_word(caption)):
        return (
            f"is not in Latin letters, beginning with {word[:40]!r}, and the "
            "usual text towers know English: take "
            "captions in it, or data.script=any with a text tower that reads others"
        )
    return ""


def _first_foreign_word(caption: str) -> str:
    """The first word with a letter of another script than Latin, where more than half of all letters are."""
    if caption.isascii():
        return ""
    plain = unicodedata.normalize(
        "NFKC", caption
    )  # wide and mathematical letters are Latin, too
    foreign = [character for character in plain if _is_foreign(character)]
    if 2 * len(foreign) <= sum(map(str.isalpha, plain)):
        return ""
    return next(word for word in plain.split() if any(map(_is_foreign, word)))


def _is_foreign(character: str) -> bool:
    return character.isalpha() and not unicodedata.name(character, "").startswith(
        "LATIN"
    )
