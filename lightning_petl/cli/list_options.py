"""Empty a list of classes before a later file or option replaces it.

Without this, jsonargparse 4.53 lets an item of the new list keep the options of the item that stood in its place:
``--model.adapters=[AdaptFormer]`` behind an ST-Adapter of bottleneck 384 would have bottleneck 384, and not its own 64.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from lightning_petl.cli.bases import OPTIONS

_LISTS = ("adapters", "augmentations", "callbacks")
# With a "+" it appends and replaces nothing.
_OPTION = re.compile(rf"(--[\w.]*\b({'|'.join(_LISTS)}))(\+?)(?:=(.*))?", re.DOTALL)


def emptied_first(argv: Sequence[str]) -> list[str]:
    """Return a command line in which a list that is given again is emptied before.

    ``["fit", "-c", "a.yaml", "--model.adapters=[LoRA]"]``, where ``a.yaml`` has adapters too, becomes
    ``["fit", "-c", "a.yaml", "--model.adapters=[]", "--model.adapters=[LoRA]"]``.
    """
    words: list[str] = []
    given = set[str]()
    for index, word in enumerate(argv):
        following = argv[index + 1] if index + 1 < len(argv) else ""
        option, equals, value = word.partition("=")
        if option in OPTIONS:
            content = _content(value if equals else following)
            words += _emptied(content, given)
            given.update(_lists_of(content))
        elif found := _OPTION.fullmatch(word):
            key, name, plus, items = found.groups()
            is_whole = not plus and (items or following).startswith("[")
            if is_whole and name in given:
                words.append(f"{key}=[]")
            given.add(name)
        words.append(word)
    return words


def _content(file: str) -> dict[str, Any]:
    """Return what a file or a text holds; nothing where its reader will refuse it."""
    try:
        text = file if file.startswith("{") else Path(file).read_text("utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return cast(dict[str, Any], content) if isinstance(content, dict) else {}


def _emptied(content: Mapping[str, Any], given: set[str]) -> list[str]:
    """Return the option that empties those lists of a file that were given before it."""
    empty = _without_items(content, given)
    return [f"--config={json.dumps(empty)}"] if empty else []


def _without_items(content: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
    """Return the sections of a file that hold such lists, with their classes and empty lists alone."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if key in given and isinstance(value, list):
            found[key] = []
        elif isinstance(value, Mapping):
            inner = _without_items(cast(Mapping[str, Any], value), given)
            if inner:
                found[key] = inner
    # Of another class the list may be no argument.
    if found and "class_path" in content:
        found["class_path"] = content["class_path"]
    return found


def _lists_of(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        name = key.removesuffix("+")
        if name in _LISTS:
            yield name
        elif isinstance(value, Mapping):
            yield from _lists_of(cast(Mapping[str, Any], value))
