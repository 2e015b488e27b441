"""Read the YAML files of a command line ahead of the parser, which names neither file nor line of what is wrong.

A key is compared in short: ``data.init_args.root`` and ``data.root`` are the same, and so are ``adapters+`` and
``adapters``.
"""

import argparse
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lightning_petl.cli import config_text
from lightning_petl.cli.silenced import plainly_told

_SUFFIXES = (".yaml", ".yml")
_STANDARD = "tag:yaml.org,2002:"
# Types of data. Another one, as !!python/object, would run code in an unsafe loader.
_KINDS = {
    "str",
    "int",
    "float",
    "bool",
    "null",
    "map",
    "seq",
    "timestamp",
    "merge",
    "value",
    "binary",
}
_SECTIONS = ("model", "data", "trainer")
# the fast one where libyaml is installed
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@contextmanager
def checked(argv: list[str]) -> Generator[None]:
    """Refuse what :func:`check` refuses, then run the block with warnings told plainly."""
    check(argv)
    with plainly_told():
        yield


def check(argv: list[str]) -> None:
    """Read every YAML file that a command line names, and those that they name.

    Raises:
        ValueError: a file is missing, empty, not UTF-8 or not YAML, has a key twice, or is no mapping; with its name,
            the line and what is wrong there.
    """
    for path in _files(argv):
        _mapping(path)


def where(argv: list[str], key: str) -> str | None:
    """Return ``"FILE, line N"`` of the last file that has a key; None where a flag gives it, or nothing does.

    Example: ``where(["fit", "-c", "my.yaml"], "model.optim.lr")`` is ``"my.yaml, line 7"``.
    """
    key = _short(key)
    # A flag overrides the files, wherever it stands.
    if _is_flag(argv, key):
        return None
    # The last file overrides those before it.
    for path in reversed(list(_files(argv))):
        line = _last_line(_mapping(path), key)
        if line is not None:
            return f"{path}, line {line}"
    return None


def _is_flag(argv: list[str], key: str) -> bool:
    for word in argv:
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("--") and _short(name) == key:
            return True
    return False


def _last_line(node: yaml.Node, key: str) -> int | None:
    found: int | None = None
    for name, line in _keys(node):
        if _short(name) == key:
            found = line
    return found


def _files(argv: list[str]) -> Iterator[Path]:
    """Yield the files after ``-c`` and ``--config``, each after the files that it names itself.

    Raises:
        ValueError: as :func:`check`.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", nargs="?", default=[])
    for name in parser.parse_known_args(argv)[0].config:
        # The parser tells where no name is given; a brace begins JSON, which is no file.
        if name is None or name.lstrip().startswith("{"):
            continue
        if not name:
            raise ValueError("config: the name of a YAML file is empty")
        yield from _with_parts(Path(name))


def _with_parts(path: Path) -> Iterator[Path]:
    """Yield a file after the files that its values name, relative to its folder."""
    for text in _texts(_mapping(path)):
        part = path.parent / text
        if part.suffix in _SUFFIXES and part.is_file():
            yield from _with_parts(part)
    yield path


def _mapping(path: Path) -> yaml.MappingNode:
    """Return a file as YAML nodes, which know their lines.

    Raises:
        ValueError: as :func:`check`.
    """
    text = _text(path)
    try:
        node = yaml.compose(config_text.readable(text), Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"{path}, line {line}: the character "
            f"{error.character!r} may not stand in YAML"
        ) from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(_syntax(path, text, error)) from error
    if node is None:
        raise ValueError(
            f"{path} is empty: a configuration has keys such as model, data and trainer"
        )
    if not isinstance(node, yaml.MappingNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise ValueError(
            f"{path}, line {_line(node)}: it holds {what}, but a "
            "configuration is a mapping with keys such as model:, "
            "data: and trainer:"
        )
    _check_nodes(path, node)
    _check_sections(path, node)
    return node


def _text(path: Path) -> str:
    if path.is_dir():
        raise ValueError(
            f"config: {path} is a folder; give one of its YAML files{_of_folder(path)}"
        )
    if not path.is_file():
        raise ValueError(f"config: there is no file {path}{_near(path)}")
    data = path.read_bytes()
    if b"\0" in data:
        raise ValueError(f"config: {path} is no YAML file: it holds binary data")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: the byte 0x{data[error.start]:02x} "
            "is not UTF-8; save the file as UTF-8"
        ) from error


def _of_folder(path: Path) -> str:
    """Return a hint to the first YAML files of a folder."""
    files = [file for file in path.rglob("*") if file.suffix in _SUFFIXES]
    names = sorted(file.name for file in files)
    return f", as {', '.join(names[:5])}" if names else "; it has none"


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    names = [file.name for file in folder.iterdir()]
    near = get_close_matches(path.name, names, n=3)
    if not near:
        return f" in {folder.resolve()}"
    return f"; near: {', '.join(str(folder / name) for name in near)}"


def _syntax(path: Path, text: str, error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong and in which line.

    YAML notices some faults only at the end of the file; then it is the line where the wrong
    value began.
    """
    lines = text.splitlines()
    marks = list[yaml.Mark]()
    for mark in (error.problem_mark, error.context_mark):
        if mark is not None:
            marks.append(mark)
    # A mark behind the last line is the end of the file.
    number = next((mark.line for mark in marks if mark.line < len(lines)), 0)
    written = lines[number] if lines else ""
    place = f"{path}, line {number + 1}"
    if re.match(r" *\t", written):
        return f"{place}: it is indented with a tab; YAML takes spaces alone"
    context = ""
    if error.context and len(marks) > 1:
        context = f"{error.context} of line {marks[-1].line + 1}: "
    hint = ""
    if "block mapping" in str(error.context) or "mapping values" in str(
        error.problem
    ):
        hint = (
            "; see whether its indentation is that of the "
            "lines above, and whether each key has its colon"
        )
    return f"{place}: {context}{error.problem} at {written.strip()!r}{hint}"


def _check_nodes(path: Path, node: yaml.Node) -> None:
    """Refuse a key that comes twice, of which YAML would take the second, and a type that is none of data.

    Raises:
        ValueError: there is one, at any depth.
    """
    kind = node.tag.removeprefix(_STANDARD)
    if kind not in _KINDS:
        raise ValueError(
            f"{path}, line {_line(node)}: the type "
            f"{node.tag!r} may not stand in a configuration"
        )
    if isinstance(node, yaml.MappingNode):
        _check_mapping(path, node)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_nodes(path, item)


def _check_mapping(path: Path, node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, value in node.value:
        # A list or a mapping as a key has no name; its line tells it from others.
        is_text = isinstance(key, yaml.ScalarNode)
        name = key.value if is_text else f"line {_line(key)}"
        # "<<" merges another mapping and may come more than once.
        if name in lines and name != "<<":
            raise ValueError(
                f"{path}, line {_line(key)}: the key {name!r} is "
                f"there already, in line {lines[name]}; keep one"
            )
        lines[name] = _line(key)
        _check_nodes(path, value)


def _check_sections(path: Path, node: yaml.MappingNode) -> None:
    for key, value in node.value:
        if key.value in _SECTIONS and value.tag == f"{_STANDARD}null":
            raise ValueError(
                f"{path}, line {_line(key)}: {key.value!r} "
                "holds nothing: give it a value, or leave it out"
            )


def _keys(node: yaml.Node, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield each dotted key with its line, counted from 1; the items of a list have the key of the list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{name}.{key.value}" if name else str(key.value)
            yield inner, _line(key)
            yield from _keys(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _keys(item, name)


def _texts(node: yaml.Node) -> Iterator[str]:
    """Yield all values that are neither a list nor a mapping."""
    if isinstance(node, yaml.ScalarNode):
        yield node.value
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _texts(item)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _texts(value)


def _short(key: str) -> str:
    return ".".join(
        part.rstrip("+") for part in key.split(".") if part != "init_args"
    )


def _line(node: yaml.Node) -> int:
    # YAML counts lines from 0, editors from 1.
    return node.start_mark.line + 1
