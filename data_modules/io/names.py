"""Names of files and classes in texts that something else reads.

That is a terminal, a table, CSV or JSON. The name of a file is any bytes without a
slash. Python holds those that are no UTF-8 as lone surrogates (PEP 383), which a strict
encoder refuses.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.text import Text

ENCODING: Final = "utf-8"
ERRORS: Final = "surrogateescape"
"""With these a text file keeps every name byte for byte."""

# and controls, which JSON need not escape
_ENDS_OF_LINES = re.compile("[\x7f-\x9f\u2028\u2029]")
# marks that turn the direction of writing, so that a name looks like another one
_DIRECTIONS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def visible(name: str) -> str:
    r"""Return the name in one line that shows what is in it and steers no terminal.

    Controls, ends of lines, marks that turn the direction of writing, and bytes that
    are no UTF-8 are written as Python writes them: a line break as ``\n``, the byte 233
    as ``\xe9``. All else stays, emoji with their joiners too.

    >>> print(visible("a\nb"), visible("\udce9.mp4"))
    a\nb \xe9.mp4
    """
    return "".join(map(_visible, name))


def cell(name: str) -> Text:
    """Return the name for a table or line of rich.

    Plain text would be searched for markup such as [x] and emoji such as :dog:.
    """
    return Text(visible(name), overflow="fold")


def to_json(value: Any, **options: Any) -> bytes:
    """Return JSON in UTF-8, in one line if there is no ``indent``.

    ``json.loads`` gives every name back. Letters stay readable. What is no character,
    or ends a line for some readers, is escaped.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    text = _ENDS_OF_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    # which writes a surrogate as JSON does
    return text.encode("utf-8", "backslashreplace")


def to_csv(rows: Iterable[Iterable[object]]) -> bytes:
    r"""Return rows of values in CSV, a line a row.

    The module ``csv`` gives every name back.

    >>> to_csv([["name", "top1"], ["a,b", 0.5]])
    b'name,top1\n"a,b",0.5\n'
    """
    text = io.StringIO(newline="")
    for row in rows:
        # csv quotes a carriage return in a cell only where lines end with one
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\r\n").writerow(row)
        text.write(line.getvalue().removesuffix("\r\n") + "\n")
    return text.getvalue().encode(ENCODING, ERRORS)


def _visible(character: str) -> str:
    """Return the character, or its escape where it cannot be seen."""
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of PEP 383
        return f"\\x{number - 0xDC00:02x}"
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, quoted, and whether there are more.

    >>> first_names(["left", "right", "up"], most=2)
    "'left', 'right', ..."
    """
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown}, ..." if len(names) > most else shown
