"""Names of files and classes in texts that something else reads: a terminal, a table, CSV, JSON.

The name of a file is any bytes without a slash. Python holds those that are no UTF-8 as lone surrogates (PEP 383),
which a strict encoder refuses.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from rich.text import Text

ENCODING: Final = "utf-8"
ERRORS: Final = "surrogateescape"
"""With these a text file keeps every name byte for byte."""

_ENDS_OF_LINES = re.compile(
    "[\x7f-\x9f\u2028\u2029]"
)  # and controls, which JSON need not escape
_DIRECTIONS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def visible(name: str) -> str:
    r"""The name in one line that shows what is in it and steers no terminal.

    Controls, ends of lines, marks that turn the direction of writing, and bytes that are no UTF-8 are written as Python
    writes them: a line break as ``\n``, the byte 233 as ``\xe9``. All else stays, emoji with their joiners too.
    """
    return "".join(map(_visible, name))


def cell(name: str) -> Text:
    """The name for a table or line of rich, which else takes [x] for markup and :dog: for an emoji."""
    return Text(visible(name), overflow="fold")


def to_json(value: Any, **options: Any) -> bytes:
    """JSON in UTF-8, in one line if there is no ``indent``; ``json.loads`` gives every name back.

    Letters stay readable. What is no character, or ends a line for some readers, is escaped.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    text = _ENDS_OF_LINES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text.encode(
        "utf-8", "backslashreplace"
    )  # which writes a surrogate as JSON does


def to_csv(rows: Iterable[Iterable[object]]) -> bytes:
    r"""Rows of values in CSV, a line a row; the module ``csv`` gives every name back.

    Its own writer quotes a carriage return only where that ends the lines.
    """
    text = io.StringIO(newline="")
    for row in rows:
        line = io.StringIO(newline="")
        csv.writer(line, lineterminator="\r\n").writerow(row)
        text.write(line.getvalue().removesuffix("\r\n") + "\n")
    return text.getvalue().encode(ENCODING, ERRORS)


def _visible(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    kind = unicodedata.category(character)
    if kind in ("Cc", "Cs", "Zl", "Zp") or character in _DIRECTIONS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
