"""Words for what the parser of configurations reports: which key is wrong, why, and what would be valid.

jsonargparse tells of every alternative that it tried, over many lines, with dumps of whole configurations. What is kept
of it is the path of the key and the reason.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import cast

from omegaconf.errors import OmegaConfBaseException

from lightning_petl.strategies.precision import PRECISIONS

_PACKAGES = ("lightning_petl", "data_modules")
# Lines about alternatives that nobody meant, and dumps.
_NOISE = re.compile(
    r"^(-\s*)?(Does not validate against|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>"
    r"|Expected a path but|Problem with given class_path|Unable to load config|Subclass types expect one of"
    r"|a class path \(str\)|a dict with)"
)
_KEY = re.compile(r'Parser key "([^"]+)":')
_OPTION = re.compile(
    r"class_path '(?P<path>[\w.]+)':\s+(Option '(?P<option>[^']+)' is not accepted|unrecognized arguments: --"
    r"(?P<argument>[\w.]+).*|Group '(?P<group>[\w.]+)' does not accept option '(?P<member>[^']+)')"
)
_EXPECTED = re.compile(
    r"Expected a (<class '(?P<type>\w+)'>|typing\.Literal\[(?P<choices>.*?)\])(\. Got value: (?P<got>.*))?"
)
_GIVEN = re.compile(r"\n\s*Given value: (.{1,80})$")
_IMPORT = re.compile(
    r"class_path '(?P<path>[\w.]+)':\s+No module named '(?P<module>[\w.]+)'"
)
_LISTED = 20  # names of classes in one message
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
}
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
    """What would be valid on this command line.

    Attributes:
        classes: names of the classes that may be the value of a key; of all where the key is ``""``.
        options: names of all options, as ``trainer.max_epochs``.
        where: file and line of a key, None where no file has it.
    """

    classes: Callable[[str], list[str]] = _no_names
    options: Callable[[], list[str]] = _no_names
    where: Callable[[str], str | None] = _nowhere


def explained(report: str, known: Known) -> str:
    """Return one sentence for jsonargparse's report; it begins with file and line, if the key stands in a file."""
    if report.startswith("unrecognized arguments: "):
        return _unrecognized(
            report.removeprefix("unrecognized arguments: ").split(), known
        )
    if found := re.fullmatch(
        r"Subcommand '\w+' does not accept option '(.+)'", report.strip()
    ):
        return _with_place(
            found[1],
            f"there is no option {found[1]!r}{_near(found[1], known.options())}",
            known,
        )
    if found := re.fullmatch(
        r"Option '(.+)' is not accepted before subcommand '(\w+)'", report.strip()
    ):
        return f"the command comes first: lightning-petl {found[2]} --config FILE ..."
    if found := re.match(r"the following arguments are required: (.+)", report):
        return _not_given(found[1].split(", "), [])
    keys = _path(_KEY.findall(report))
    option = _OPTION.search(report)
    report = _OPTION.sub(partial(_no_option, keys=keys, known=known), report)
    reasons = list(_reasons(report, keys, known))
    message = "; ".join(dict.fromkeys(reasons))
    if keys == ["trainer.precision"]:  # its type has names that we refuse
        message = f"choose one of {', '.join(PRECISIONS)}"
    if not keys:
        return message
    key = ".".join(keys)
    return _with_place(
        f"{key}.{_name(option)}" if option else key, f"{key}: {message}", known
    )


def unresolved(error: OmegaConfBaseException, known: Known) -> str:
    """Return one sentence for ``${...}`` that cannot be replaced."""
    key = str(error.full_key or "").split(".", 1)[-1]  # without the name of the command
    message = re.sub(r"'\.+", "'", str(error).splitlines()[0])
    return _with_place(
        key, f"{key}: {message}; a text that holds '${{' is written with '\\${{'", known
    )


def _path(keys: list[str]) -> list[str]:
    """The keys from the outermost to the innermost; some reports name one twice."""
    return [
        key for number, key in enumerate(keys) if number == 0 or key != keys[number - 1]
    ]


def _with_place(key: str, message: str, known: Known) -> str:
    place = known.where(key)
    return f"{place}: {message}" if place else message


def _reasons(report: str, keys: list[str], known: Known) -> Iterable[str]:
    """The lines that say what is wrong, in our words."""
    given = _GIVEN.search(report)
    got = given[1] if given else None
    expected: list[str] = []
    report = _IMPORT.sub(_no_module, report)
    unreadable = re.search(r"Unable to load config '(.*)'", report)
    if unreadable:
        yield _no_settings(unreadable[1], keys, known)
    for line in report.splitlines():
        reason = re.sub(
            r'.*Parser key "[^"]+":\s*', "", line.strip().removeprefix("- ")
        )
        if not reason or _NOISE.match(reason):
            continue
        if found := _EXPECTED.fullmatch(reason):
            expected.append(
                _TYPES.get(
                    found["type"] or "", found["type"] or f"one of {found['choices']}"
                )
            )
            got = found["got"] or got
            continue
        yield _rewritten(reason, keys, known)
    if expected:
        as_list = (
            f", which is written [{got}]"
            if expected == ["a list"] and re.fullmatch(r"[\w.]+", got or "")
            else ""
        )
        yield (
            f"expected {' or '.join(dict.fromkeys(expected))}"
            + (f", got {got}" if got else "")
            + as_list
        )


def _rewritten(reason: str, keys: list[str], known: Known) -> str:
    if found := re.match(r"the following arguments are required: (.+)", reason):
        return _not_given(found[1].split(", "), keys)
    if found := re.match(r"Expected a dot import path string: (\S+)", reason):
        return _no_class(found[1], keys, known)
    if found := re.match(r"Not a valid subclass of (\w+)", reason):
        return (
            "expected the name of a class, or a mapping with class_path and init_args"
        )
    if re.match(r"Expected an instantiatable class, but .* is abstract", reason):
        return f"its settings are given, but not its class ({_WAYS.get(keys[-1], 'class_path')})"
    return reason


def _unrecognized(words: list[str], known: Known) -> str:
    """Name the options that nobody knows with near ones; values that stand behind them are not repeated."""
    unknown = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not unknown:
        video = (
            f", and a video as --data.predict_path={words[0]}"
            if Path(words[0]).suffix
            else ""
        )
        return (
            f"{' '.join(words)} is no option: settings are given as --KEY=VALUE{video}"
        )
    options = known.options()
    told = [
        f"there is no option {word}{_near(word.lstrip('-'), options, prefix='--')}"
        for word in unknown
    ]
    return "; ".join(told)


def _near(name: str, options: list[str], prefix: str = "") -> str:
    """Options that are spelled alike, or end alike: ``max_epochs`` finds ``trainer.max_epochs``."""
    name = name.replace("-", "_").replace("init_args.", "")
    last = name.rpartition(".")[2]
    same_end = [option for option in options if option.rpartition(".")[2] == last]
    ends = {option.rpartition(".")[2]: option for option in reversed(options)}
    alike = get_close_matches(name, options, n=2, cutoff=0.75)
    alike_end = [
        ends[end] for end in get_close_matches(last, list(ends), n=2, cutoff=0.7)
    ]
    alike_end += [
        option
        for end, option in ends.items()
        if len(last) > 3 and last in end.split("_")
    ]
    found = list(dict.fromkeys([*same_end, *alike, *alike_end]))[:3]
    return f"; near: {', '.join(prefix + option for option in found)}" if found else ""


def _name(match: re.Match[str]) -> str:
    """The option that a class does not have, below the class."""
    return match["option"] or match["argument"] or f"{match['group']}.{match['member']}"


def _no_option(match: re.Match[str], keys: list[str], known: Known) -> str:
    """The report's class, the option that nobody knows, and those that stand in its place."""
    key = _name(match)
    module, _, owner = match["path"].rpartition(".")
    options = options_of(getattr(sys.modules[module], owner))
    outer, last = key.split(".")[:-1], key.rpartition(".")[2]
    for part in outer:
        if not is_dataclass(options.get(part)):
            last = part
            break
        owner, options = part, options_of(cast(type, options[part]))
    near = get_close_matches(last, [*options, "init_args"], n=3)
    elsewhere = [
        option
        for option in known.options()
        if option.startswith(keys[0]) and option.endswith(f".{last}")
    ]
    near += elsewhere[: 0 if near else 3]
    spelled = f"; near: {', '.join(near)}" if near else ""
    return f"class_path '{match['path']}':\nOption {key!r} is not accepted{spelled}; {owner} has {', '.join(options)}"


def options_of(cls: type) -> dict[str, object]:
    """Return the named arguments of a class and their types, with those that it passes on to its bases."""
    own = [base for base in cls.__mro__ if base.__module__.startswith(_PACKAGES)] or [
        cls
    ]
    parameters = [
        p
        for base in own
        if "__init__" in vars(base)
        for p in inspect.signature(base).parameters.values()
    ]
    return {p.name: p.annotation for p in parameters if p.kind is not p.VAR_KEYWORD}


def _no_settings(given: str, keys: list[str], known: Known) -> str:
    """A word where a group of settings is expected."""
    below = ".".join(keys) + "."
    members = [
        option.removeprefix(below)
        for option in known.options()
        if option.startswith(below)
    ]
    names = [member for member in members if "." not in member]
    has = f"; it has {', '.join(names)}" if names else ""
    return f"expected a mapping of its settings, or a YAML file that exists, got {given}{has}"


def _no_module(match: re.Match[str]) -> str:
    """A class of the user's whose package cannot be imported."""
    return (
        f"class_path '{match['path']}':\n{match['path']} cannot be imported: there is no module {match['module']} in "
        f"{Path.cwd()} or among what is installed"
    )


def _not_given(names: list[str], keys: list[str]) -> str:
    told: list[str] = []
    for name in names:
        key = name.rpartition(".")[2]  # the name of the command stands before a section
        way = _WAYS.get(key, "--" + ".".join([*keys, key]))
        told.append(f"{key} ({way})")
    return f"not given: {', '.join(told)}"


def _no_class(name: str, keys: list[str], known: Known) -> str:
    names = known.classes(keys[-1].rpartition(".")[2] if keys else "")
    spelled = {valid.lower(): valid for valid in names}
    near = [spelled[match] for match in get_close_matches(name.lower(), spelled, n=3)]
    listed = ", ".join(names) if len(names) <= _LISTED else "see the documentation"
    valid = (
        f"near: {', '.join(near)}"
        if near
        else f"known: {listed}, or the dotted path of a class of your own"
    )
    return f"{name!r} is no known class; {valid}"
