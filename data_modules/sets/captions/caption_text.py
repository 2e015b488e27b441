"""What a text tower can read as a caption."""

import re
import unicodedata
from typing import Final, Literal, NamedTuple

Script = Literal["latin", "any"]
# the longest text towers read some hundred tokens; more is rather a whole file that an
# open quote joined
MAX_WORDS: Final = 1_000
MAX_CHARACTERS: Final = 10_000
_HALF = re.compile("[\ud800-\udfff]")  # of a pair of UTF-16
_VISIBLE = "LNPS"  # Unicode's letters, numbers, punctuation and symbols


class WrittenCaption(NamedTuple):
    """Hold what a file says of a video, and in which line of it.

    The line is 0 where the file is not one of lines.
    """

    caption: object
    line: int = 0


def fault(caption: object, script: Script) -> str:
    """Return what is wrong with a caption, as the end of a sentence.

    It is empty where nothing is. A caption is text of at least one visible character,
    and of no more than 1,000 words and 10,000 characters. ``latin``: no more than half
    of its letters are of another script; accents, digits, punctuation and emoji are of
    none.
    """
    if not isinstance(caption, str):
        return f"is {caption!r:.60}, expected text"
    if not any(map(_is_visible, caption)):
        if not caption.strip():
            return "is empty"
        return f"is empty: nothing of {caption[:20]!a} can be seen"
    words = len(caption.split())
    if words > MAX_WORDS or len(caption) > MAX_CHARACTERS:
        return (
            f"has {words:,} words, {len(caption):,} characters; more than {MAX_WORDS:,} "
            f"or {MAX_CHARACTERS:,} are no caption: is a quote left open, or is this the "
            "text of something else?"
        )
    if _HALF.search(caption):
        return f"holds half a character: {caption!a:.60}"
    foreign = _first_foreign_word(caption) if script == "latin" else ""
    if foreign:
        return (
            f"is not in Latin letters, beginning with {foreign[:40]!r}, and the usual "
            "text towers know English: take captions in it, or data.script=any with a "
            "text tower that reads others"
        )
    return ""


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in _VISIBLE


def _first_foreign_word(caption: str) -> str:
    """Return the first word with a letter of another script than Latin.

    It is empty unless more than half of all letters are of others.
    """
    if caption.isascii():  # nearly all are; the rest is slow
        return ""
    # wide and mathematical letters are Latin, too
    plain = unicodedata.normalize("NFKC", caption)
    foreign = sum(map(_is_foreign, plain))
    if 2 * foreign <= sum(map(str.isalpha, plain)):
        return ""
    return next(word for word in plain.split() if any(map(_is_foreign, word)))


def _is_foreign(character: str) -> bool:
    if not character.isalpha():
        return False
    return not unicodedata.name(character, "").startswith("LATIN")
