"""Text files as users have them.

They come with or without a byte order mark, with the line ends of any system.
"""

import codecs
import re
from pathlib import Path

from data_modules.io import names

# first bytes of a file, name of the encoding, Python's codec
_MARKS = (
    (codecs.BOM_UTF8, "UTF-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16"),
)
# str.splitlines also parts at signs that a name may hold, such as U+2028
_LINE_END = re.compile("\r\n|\r|\n")
_REFUSED = {"\0": "a zero byte", "\ufeff": "a byte order mark within the file"}


def read_text(path: Path, *, any_bytes: bool = False) -> str:
    """Return the content of a text file.

    It is in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        path: the file.
        any_bytes: keep bytes that are no UTF-8 as lone surrogates (PEP 383), because
            names of files may hold them.

    Raises:
        ValueError: another encoding, or a zero byte or a second byte order mark within;
            says in which line.
    """
    data = path.read_bytes()
    name, codec = _encoding(data)
    errors = names.ERRORS if any_bytes and name == "UTF-8" else "strict"
    try:
        text = data.decode(codec, errors)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: is not {name} text: {error}; save the file as UTF-8"
        ) from error
    for sign, meaning in _REFUSED.items():
        if sign in text:
            line = len(split_lines(text[: text.index(sign)]))
            raise ValueError(
                f"{path}, line {line}: holds {meaning}; save the file as one UTF-8 text"
            )
    return text


def _encoding(data: bytes) -> tuple[str, str]:
    """Return the name of the encoding and Python's codec for it."""
    for mark, name, codec in _MARKS:
        if data.startswith(mark):
            return name, codec
    return "UTF-8", "utf-8"


def split_lines(text: str) -> list[str]:
    r"""Return lines as any system ends them: by a line feed, a carriage return, or both.

    >>> split_lines("a\r\nb\rc\n")
    ['a', 'b', 'c', '']
    """
    return _LINE_END.split(text)


def text_lines(path: Path) -> list[tuple[int, str]]:
    """Return the number and the text of each line that is not blank.

    Numbers count all lines from 1; blanks around a line are left out.

    Raises:
        ValueError: no such line, or what :func:`read_text` refuses.
    """
    found = list[tuple[int, str]]()
    for number, line in enumerate(split_lines(read_text(path)), 1):
        stripped = line.strip(" \t")
        if stripped:
            found.append((number, stripped))
    if not found:
        raise ValueError(f"{path}: the list is empty")
    return found
