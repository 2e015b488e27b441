"""Say in one sentence which key of a configuration is wrong, why, and what would be valid.

jsonargparse reports every alternative that it tried, over many lines, with dumps of whole configurations. The
sentence keeps the path of the key and the reason.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import cast

from omegaconf.errors import OmegaConfBaseException

from lightning_petl.strategies.precision import PRECISIONS

_PACKAGES = ("lightning_petl", "data_modules")
_OURS = tuple(f"module '{package}" for package in _PACKAGES)
# jsonargparse 4.49 gives its reports as text alone, so these patterns read the text. The
# tests of the command line fail where a release words a report differently.

# Lines about alternatives that nobody meant, and dumps.
_NOISE = re.compile(
    r"^(-\s*)?(Does not validate against|Subtypes:|Errors:|Given "
    r"value|Expected a <class 'NoneType'>"
    r"|Expected a path but|Problem with given class_path|Unable "
    r"to load config|Subclass types expect one of"
    r"|a class path \(str\)|a dict with)"
)
_KEY = re.compile(r'Parser key "([^"]+)":')
_OPTION = re.compile(
    r"class_path '(?P<path>[\w.]+)':\s+(Option '(?P<option>[^']+)' "
    r"is not accepted|unrecognized arguments: --"
    r"(?P<argument>[\w.]+).*|Group '(?P<group>[\w.]+)' "
    r"does not accept option '(?P<member>[^']+)')"
)
_EXPECTED = re.compile(
    r"Expected a (<class '(?P<type>\w+)'>|typing\.Literal\[(?P<choices>.*?)\])(\. "
    r"Got value: (?P<got>.*))?"
)
# how jsonargparse holds an option of a class until it is checked
_NESTED = re.compile(r"NestedArg\(key='[^']*', val='?(.*?)'?\)")
_GIVEN = re.compile(r"\n\s*Given value: (.{1,80})$")
_IMPORT = re.compile(
    r"class_path '(?P<path>[\w.]+)':\s+No module named '(?P<module>[\w.]+)'"
)
_UNRECOGNIZED = "unrecognized arguments: "
_NOT_ACCEPTED = re.compile(r"Subcommand '\w+' does not accept option '(.+)'")
_TOO_EARLY = re.compile(r"Option '.+' is not accepted before subcommand '(\w+)'")
_REQUIRED = re.compile(r"the following arguments are required: (.+)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (\S+)")
_NO_SUBCLASS = re.compile(r"Not a valid subclass of \w+")
_ABSTRACT = re.compile(r"Expected an instantiatable class, but .* is abstract")
_NO_MEMBER = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
_BESIDE = re.compile(r"'class_path': '[\w.]+', '(?!init_args'|dict_kwargs')(\w+)'")
_UNREADABLE = re.compile(r"Unable to load config '(.*)'")
_LISTED = 30  # class names in one message: more would fill the screen
# what a user of YAML calls the types of Python
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
}
# keys that are given in a shorter way than as --KEY=VALUE
_WAYS = {
    "data": "-c data/NAME, or --data CLASS",
    "backbone": "-c backbone/NAME",
    "adapters": "-c adapters/NAME, or --model.adapters+=CLASS",
    "output": "--output FOLDER",
}


def _no_names(key: str = "") -> list[str]:
    return []


def _nowhere(key: str) -> str | None:
    return None


@dataclass(frozen=True)
class Known:
    """Hold functions that find what would be valid on a command line; none is called before an error.

    Attributes:
        classes: returns the names of the classes that may be the value of a key; of all where the key is ``""``.
        options: returns the names of all options, as ``trainer.max_epochs``.
        where: returns file and line of a key, None where no file has it.
    """

    classes: Callable[[str], list[str]] = _no_names
    options: Callable[[], list[str]] = _no_names
    where: Callable[[str], str | None] = _nowhere


def explained(report: str, known: Known) -> str:
    """Return one sentence for jsonargparse's report; it begins with file and line, if the key stands in a file."""
    message = _about_options(report, known)
    return _about_value(report, known) if message is None else message


def _about_options(report: str, known: Known) -> str | None:
    """Return one sentence for a report on options that are unknown or missing; None for another report."""
    if report.startswith(_UNRECOGNIZED):
        words = report.removeprefix(_UNRECOGNIZED).split()
        return _unrecognized(words, known)
    if found := _NOT_ACCEPTED.fullmatch(report.strip()):
        key = found[1]
        near = _near(key, known.options())
        return _with_place(key, f"there is no option {key!r}{near}", known)
    if found := _TOO_EARLY.fullmatch(report.strip()):
        return (
            f"the command comes first: lightning-petl {found[1]} --config FILE ..."
        )
    if found := _REQUIRED.match(report):
        return _not_given(found[1].split(", "), [])
    return None


def _about_value(report: str, known: Known) -> str:
    keys = _path(_KEY.findall(report))
    option = _OPTION.search(report)
    no_option = partial(_no_option, keys=keys, known=known)
    report = _OPTION.sub(no_option, report)
    # Several alternatives of a union are often refused for the same reason.
    reasons = dict.fromkeys(_reasons(report, keys, known))
    message = "; ".join(reasons)
    if keys == ["trainer.precision"]:
        # Its type in Lightning 2.6 has names that we refuse.
        message = f"choose one of {', '.join(PRECISIONS)}"
    if not keys:
        return message
    key = ".".join(keys)
    place = f"{key}.{_name(option)}" if option else key
    return _with_place(place, f"{key}: {message}", known)


def unresolved(error: OmegaConfBaseException, known: Known) -> str:
    """Return one sentence for ``${...}`` that cannot be replaced."""
    # The name of the command comes first.
    key = str(error.full_key or "").split(".", 1)[-1]
    # The dots before a name are those of a relative path, which the user did not write.
    message = re.sub(r"'\.+", "'", str(error).splitlines()[0])
    hint = "a text that holds '${' is written with '\\${'"
    return _with_place(key, f"{key}: {message}; {hint}", known)


def _path(keys: list[str]) -> list[str]:
    """Return the keys from the outermost to the innermost; some reports name one twice."""
    path: list[str] = []
    for key in keys:
        if path[-1:] != [key]:
            path.append(key)
    return path


def _with_place(key: str, message: str, known: Known) -> str:
    place = known.where(key)
    return f"{place}: {message}" if place else message


def _reasons(report: str, keys: list[str], known: Known) -> Iterator[str]:
    """Yield a reason for each line that says what is wrong; the types that were expected come last, as one."""
    given = _GIVEN.search(report)
    got = given[1] if given else None
    expected: list[str] = []
    report = _IMPORT.sub(_no_module, report)
    if unreadable := _UNREADABLE.search(report):
        yield _no_settings(unreadable[1], keys, known)
    for line in report.splitlines():
        reason = _without_key(line)
        if not reason or _NOISE.match(reason):
            continue
        if _ABSTRACT.match(reason) and (beside := _BESIDE.search(report)):
            yield f"no key {beside[1]!r} beside class_path; near: init_args"
            continue
        found = _EXPECTED.fullmatch(reason)
        if found is None:
            yield _rewritten(reason, keys, known)
            continue
        expected.append(_type_of(found))
        got = found["got"] or got
    if expected:
        yield _not_of_type(expected, got and _NESTED.sub(r"\1", got))


def _without_key(line: str) -> str:
    text = line.strip().removeprefix("- ")
    return re.sub(r'.*Parser key "[^"]+":\s*', "", text)


def _type_of(found: re.Match[str]) -> str:
    kind = found["type"]
    if not kind:
        return f"one of {found['choices']}"
    return _TYPES.get(kind, kind)


def _not_of_type(expected: list[str], got: str | None) -> str:
    message = f"expected {' or '.join(dict.fromkeys(expected))}"
    if not got:
        return message
    message += f", got {got}"
    if expected == ["a list"] and re.fullmatch(r"[\w.]+", got):
        message += f", which is written [{got}]"
    return message


def _rewritten(reason: str, keys: list[str], known: Known) -> str:
    """Return a reason in words of ours, or as it is where it says enough."""
    if found := _REQUIRED.match(reason):
        return _not_given(found[1].split(", "), keys)
    if found := _NO_CLASS.match(reason):
        valid = _valid(found[1], keys, known)
        return f"{found[1]!r} is no known class; {valid}"
    if (found := _NO_MEMBER.match(reason)) and reason.startswith(_OURS):
        module, name = found.groups()
        valid = _valid(name, keys, known)
        return f"there is no {module}.{name}; classes of this program have short names; {valid}"
    if _NO_SUBCLASS.match(reason):
        return "expected the name of a class, or a mapping with class_path and init_args"
    if _ABSTRACT.match(reason):
        way = _WAYS.get(keys[-1], "class_path")
        return f"its settings are given, but not its class ({way})"
    return reason


def _unrecognized(words: list[str], known: Known) -> str:
    """Name the unknown options and near ones; values that stand behind an option are not repeated."""
    unknown: list[str] = []
    for word in words:
        if word.startswith("-"):
            unknown.append(word.partition("=")[0])
    if not unknown:
        return _no_options(words)
    options = known.options()
    told: list[str] = []
    for word in unknown:
        near = _near(word.lstrip("-"), options, prefix="--")
        told.append(f"there is no option {word}{near}")
    return "; ".join(told)


def _no_options(words: list[str]) -> str:
    message = f"{' '.join(words)} is no option: settings are given as --KEY=VALUE"
    # A name with a suffix is most likely the video that predict is meant to read.
    if Path(words[0]).suffix:
        message += f", and a video as --data.predict_path={words[0]}"
    return message


def _near(name: str, options: list[str], prefix: str = "") -> str:
    """Return a hint to options that are spelled alike, or end alike.

    ``max_epochs`` finds ``trainer.max_epochs``.
    """
    name = name.replace("-", "_").replace("init_args.", "")
    last = _last(name)
    ends: dict[str, str] = {}
    # From behind, so that the first of several options with one end is kept.
    for option in reversed(options):
        ends[_last(option)] = option
    found = [option for option in options if _last(option) == last]
    found += get_close_matches(name, options, n=2, cutoff=0.75)
    for end in get_close_matches(last, list(ends), n=2, cutoff=0.7):
        found.append(ends[end])
    found += _with_word(last, ends)
    shown = list(dict.fromkeys(found))[:3]
    if not shown:
        return ""
    return f"; near: {', '.join(prefix + option for option in shown)}"


def _with_word(word: str, ends: dict[str, str]) -> list[str]:
    """Return the options whose last name has ``word`` between its underscores."""
    # A shorter word, as lr or num, is part of too many names.
    if len(word) <= 3:
        return []
    return [option for end, option in ends.items() if word in end.split("_")]


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _name(match: re.Match[str]) -> str:
    """Return the option that a class does not have, as a key below that class."""
    return (
        match["option"]
        or match["argument"]
        or f"{match['group']}.{match['member']}"
    )


def _no_option(match: re.Match[str], keys: list[str], known: Known) -> str:
    """Return the class of a report, the option that it does not have, and the options that it has."""
    key = _name(match)
    module, _, owner = match["path"].rpartition(".")
    options = options_of(getattr(sys.modules[module], owner))
    *outer, last = key.split(".")
    for part in outer:
        if not is_dataclass(options.get(part)):
            # The class has no such group, so the group is what is wrong.
            last = part
            break
        owner = part
        options = options_of(cast(type, options[part]))
    near = get_close_matches(last, [*options, "init_args"], n=3)
    if not near:
        near = _elsewhere(last, keys[0], known)
    spelled = f"; near: {', '.join(near)}" if near else ""
    return (
        f"class_path '{match['path']}':\nOption {key!r} is not "
        f"accepted{spelled}; {owner} has {', '.join(options)}"
    )


def _elsewhere(name: str, group: str, known: Known) -> list[str]:
    """Return up to three options of that name in other places of a group."""
    found: list[str] = []
    for option in known.options():
        if option.startswith(group) and option.endswith(f".{name}"):
            found.append(option)
    return found[:3]


def options_of(cls: type) -> dict[str, object]:
    """Return the named arguments of a class and their types, with those that it passes on to its bases."""
    # A base of a library, as LightningModule, has arguments that no configuration gives.
    own = [base for base in cls.__mro__ if base.__module__.startswith(_PACKAGES)]
    options: dict[str, object] = {}
    for base in own or [cls]:
        if "__init__" in vars(base):
            options |= _named_arguments(base)
    return options


def _named_arguments(cls: type) -> dict[str, object]:
    named: dict[str, object] = {}
    for argument in inspect.signature(cls).parameters.values():
        if argument.kind is not argument.VAR_KEYWORD:
            named[argument.name] = argument.annotation
    return named


def _no_settings(given: str, keys: list[str], known: Known) -> str:
    """Return a sentence for a word that stands where a group of settings is expected."""
    below = ".".join(keys) + "."
    names: list[str] = []
    for option in known.options():
        name = option.removeprefix(below)
        if name != option and "." not in name:
            names.append(name)
    has = f"; it has {', '.join(names)}" if names else ""
    return (
        "expected a mapping of its settings, or "
        f"a YAML file that exists, got {given}{has}"
    )


def _no_module(match: re.Match[str]) -> str:
    """Return a sentence for a class of the user's whose package cannot be imported."""
    return (
        f"class_path '{match['path']}':\n{match['path']} cannot "
        f"be imported: there is no module {match['module']} in "
        f"{Path.cwd()} or among what is installed"
    )


def _not_given(names: list[str], keys: list[str]) -> str:
    told: list[str] = []
    for name in names:
        key = _last(name)  # the name of the command stands before a section
        way = _WAYS.get(key, "--" + ".".join([*keys, key]))
        told.append(f"{key} ({way})")
    return f"not given: {', '.join(told)}"


def _valid(name: str, keys: list[str], known: Known) -> str:
    """Return the names of classes that are near to one, or all of them."""
    names = known.classes(_last(keys[-1]) if keys else "")
    # Users write the name of a method as its paper does, in any case.
    spelled = {valid.lower(): valid for valid in names}
    near = get_close_matches(name.lower(), spelled, n=3)
    if near:
        return f"near: {', '.join(spelled[match] for match in near)}"
    listed = ", ".join(names) if len(names) <= _LISTED else "see the documentation"
    return f"known: {listed}, or the dotted path of a class of your own"
