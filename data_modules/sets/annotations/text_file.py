"""Text files as users have them: with or without a byte order mark, with the line ends of any system."""

import codecs
import re
from pathlib import Path

from data_modules.io import names

_MARKS = (
    (codecs.BOM_UTF8, "UTF-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16"),
)
_LINE_END = re.compile(
    "\r\n|\r|\n"
)  # str.splitlines also parts at signs that a name may hold, such as U+2028


def read_text(path: Path, *, any_bytes: bool = False) -> str:
    """The content of a text file in UTF-8, or in UTF-16 with a byte order mark.

    Args:
        path: the file.
        any_bytes: keep bytes that are no UTF-8 as lone surrogates (PEP 383), because names of files may hold them.

    Raises:
        ValueError: another encoding, or a zero byte or a second byte order mark within; says in which line.
    """
    data = path.read_bytes()
    name, encoding = next(
        ((name, codec) for mark, name, codec in _MARKS if data.startswith(mark)),
        ("UTF-8", "utf-8"),
    )
    try:
        text = data.decode(
            encoding, names.ERRORS if any_bytes and name == "UTF-8" else "strict"
        )
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: is not {name} text: {error}; save the file as UTF-8"
        ) from error
    for sign, meaning in (
        ("\0", "a zero byte"),
        ("\ufeff", "a byte order mark within the file"),
    ):
        if sign in text:
            line = len(split_lines(text[: text.index(sign)]))
            raise ValueError(
                f"{path}, line {line}: holds {meaning}; save the file as one UTF-8 text"
            )
    return text


def split_lines(text: str) -> list[str]:
    """Lines as any system ends them: with a line feed, a carriage return, or both."""
    return _LINE_END.split(text)


def text_lines(path: Path) -> list[tuple[int, str]]:
    """The number of each line that is not blank, from 1, and its text without the blanks around it.

    Raises:
        ValueError: no such line, or what :func:`read_text` refuses.
    """
    lines = [
        (number, line.strip(" \t"))
        for number, line in enumerate(split_lines(read_text(path)), 1)
    ]
    found = [(number, line) for number, line in lines if line]
    if not found:
        raise ValueError(f"{path}: the list is empty")
    return found
