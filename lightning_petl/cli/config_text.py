r"""Write configurations as text that the parser reads back as they are, whatever their names hold.

The parser is jsonargparse in the mode ``omegaconf+``: it reads YAML, then replaces ``${...}`` in every text, more than
once. ``\${`` stands for the characters ``${``, as in OmegaConf. While the parser is at work a mark stands between the
two, so that it replaces nothing there, and before each byte of a file name that is no UTF-8, which YAML cannot hold.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import yaml
from jsonargparse import (
    ArgumentParser,
    Namespace,
    get_loader,
    set_dumper,
    set_loader,
    set_parsing_settings,
)

# Private members of jsonargparse 4.49: its own loader of the mode omegaconf+ makes the
# paths of ${...} relative to their key, and a loader of ours has to do the same.
from jsonargparse._common import get_parsing_setting
from jsonargparse._optionals import omegaconf_absolute_to_relative_paths

from lightning_petl.artifacts.published_names import (
    current_name,
    short_name,
    with_current_options,
)
from lightning_petl.cli import bases
from lightning_petl.cli.list_options import emptied_first

MODE: Final = "omegaconf+"
_MARK = "\U0010fffd"  # for private use, and used by nobody
# From a byte that is no UTF-8, which Python has as U+DC80 to U+DCFF, to a character for
# private use, which YAML may hold.
_PRIVATE = 0xE000
_BYTES = _PRIVATE - 0xDC00
_OPENING = re.compile(r"(\\*)\$\{")
_HIDDEN_BYTE = re.compile(_MARK + "([\ue080-\ue0ff])")
_BYTE = re.compile("[\udc80-\udcff]")
# How YAML has such a byte in double quotes; an even number of backslashes before it are
# characters of their own.
_WRITTEN_BYTE = re.compile(r"(?<!\\)((?:\\\\)*)\\u[dD][cC]([89a-fA-F][0-9a-fA-F])")
# What PyYAML would write plain and jsonargparse read as a number, or a reader change.
_CHANGED = re.compile("^[-+.0-9]|[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_OLD_KEY = "artefact"  # until 0.1.0.dev1
_NEW_KEY = "artifact"


def prepare() -> None:
    """Make the parsers of this program read what :func:`as_yaml` writes."""
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    set_loader(MODE, _load, (yaml.YAMLError,))
    set_dumper("yaml", _dump)


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    r"""Return what the arguments say, with ``\${`` as ``${``.

    Raises:
        ArgumentError: the parser refuses them.
    """
    arguments: list[str] = []
    argv = emptied_first(argv)
    for before, word in zip(("", *argv), argv, strict=False):
        # The name of a file may hold anything and stays as it is.
        arguments.append(word if before in bases.OPTIONS else _argument(word))
    return _each(parser.parse_args(arguments), _shown)


def plain(
    parser: ArgumentParser, config: Namespace, **options: Any
) -> dict[str, Any]:
    """Return a configuration as the parser would dump it, in JSON types.

    Args:
        parser: of ``config``.
        config: from :func:`parse`.
        options: of the parser's ``dump``.
    """
    marked = _each(config, _hidden)
    text = parser.dump(marked, format="yaml", skip_none=False, **options)
    return _each(yaml.safe_load(text), _shown)


def dumped(parser: ArgumentParser, config: Namespace) -> str:
    """Return :func:`plain` as text that reads back as ``config``."""
    return as_yaml(plain(parser, config))


def as_yaml(value: Any) -> str:
    """Return ``value``, of JSON types, in YAML that the parser reads as the same value."""
    return _dump(_each(value, _escaped))


def _dump(value: Any) -> str:
    return yaml.dump(
        _with_short_names(value),
        Dumper=_Dumper,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=True,
    )


def readable(text: str) -> str:
    r"""Return YAML with a mark in the place of each ``\uDCE9`` and the like, which libyaml refuses."""
    return _hidden_bytes(_WRITTEN_BYTE.sub(_hidden_written_byte, text))


def _hidden_written_byte(match: re.Match[str]) -> str:
    return match[1] + _MARK + chr(_PRIVATE + int(match[2], 16))


def read(text: str) -> Any:
    """Return what :func:`as_yaml` was given; classes of earlier releases have the names of now.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    value = _each(yaml.safe_load(readable(text)), _unescaped)
    return _each(_current(value), _shown)


def _load(text: str) -> Any:
    """Load a file or a value of an option, in the place of jsonargparse's own loader."""
    value = _each(get_loader("yaml")(readable(text)), _unescaped)
    # What it is built on has been put before it on the command line.
    value = bases.without(_current(value))
    if value is None and text.startswith("#") and "\n" not in text:
        # The name of a file, which YAML takes for a comment.
        return readable(text)
    relative = get_parsing_setting("omegaconf_absolute_to_relative_paths")
    if relative and isinstance(value, dict):
        return omegaconf_absolute_to_relative_paths(cast(dict[str, Any], value))
    return value


def _argument(argument: str) -> str:
    is_file = argument.startswith(tuple(f"{name}=" for name in bases.OPTIONS))
    if is_file:
        return argument
    option, equals, value = argument.rpartition("=")
    argument = f"{option}{equals}{current_name(value)}"
    return _unescaped(_hidden_bytes(argument))


def _current(value: Any) -> Any:
    """Return a configuration of an earlier release with the names and keys of now."""
    value = with_current_options(_each(value, current_name))
    if isinstance(value, dict) and _OLD_KEY in value:
        found = cast(dict[str, Any], value)
        found[_NEW_KEY] = found.pop(_OLD_KEY)
        return found
    return value


def _with_short_names(value: Any) -> Any:
    """Return a configuration in which each class of ours has its short name, as published files have it."""
    if isinstance(value, Mapping):
        shown: dict[Any, Any] = {}
        for key, item in cast(Mapping[Any, Any], value).items():
            shown[key] = _with_short_names(item)
        if isinstance(shown.get("class_path"), str):
            shown["class_path"] = short_name(shown["class_path"])
        return shown
    if isinstance(value, list):
        return [_with_short_names(item) for item in cast(list[Any], value)]
    return value


def _escaped(text: str) -> str:
    r"""Return a text with ``${`` as ``\${``; backslashes before it are doubled."""
    return _OPENING.sub(lambda match: match[1] * 2 + "\\${", text)


def _unescaped(text: str) -> str:
    r"""Return a text with ``${`` and a mark in it for ``\${``; ``${`` alone stays, for the parser to replace."""

    def one(match: re.Match[str]) -> str:
        pairs, odd = divmod(len(match[1]), 2)
        return "\\" * pairs + f"${_MARK}{{" if odd else match[0]

    return _OPENING.sub(one, text)


def _hidden(text: str) -> str:
    """Return a text with marks in every ``${`` and before every byte that is no UTF-8."""
    return _hidden_bytes(text.replace("${", f"${_MARK}{{"))


def _hidden_bytes(text: str) -> str:
    return _BYTE.sub(lambda match: _MARK + chr(ord(match[0]) + _BYTES), text)


def _shown(text: str) -> str:
    """Return a text without marks: what :func:`_hidden` was given."""
    if _MARK not in text:
        return text
    text = _HIDDEN_BYTE.sub(lambda match: chr(ord(match[1]) - _BYTES), text)
    return text.replace(f"${_MARK}{{", "${")


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with every text in it changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Namespace):
        # By vars: jsonargparse's own assignment takes a dot in a key for a level.
        changed = Namespace()
        for key, item in vars(value).items():
            vars(changed)[key] = _each(item, change)
        return changed
    if isinstance(value, Mapping):
        found: dict[Any, Any] = {}
        for key, item in cast(Mapping[Any, Any], value).items():
            found[_each(key, change)] = _each(item, change)
        return found
    if isinstance(value, list):
        return [_each(item, change) for item in cast(list[Any], value)]
    return value


class _Dumper(yaml.SafeDumper):
    """Put in double quotes what other styles or readers change.

    These are texts that begin like a number, of which jsonargparse knows more than YAML 1.1, and texts with ends of
    lines of any kind.
    """


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _CHANGED.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
