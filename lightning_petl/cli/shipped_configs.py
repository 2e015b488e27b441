"""Find the configurations and recipes that the package ships, by names such as ``adapters/lora``."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

import lightning_petl
from lightning_petl.cli import bases

# In a checkout this is a link to the top-level folder `configs`; in a wheel it is a copy.
FOLDER = Path(lightning_petl.__file__).parent / "configs"
# A link and a copy like it: a folder with a SHEET holds the recipes of a paper.
PAPERS = Path(lightning_petl.__file__).parent / "experiments"
SHEET = "recipes.yaml"
SUFFIX = ".yaml"

_SITE = "--slurm"  # an option of these; `doctor` has a flag of that name
_WITH_SITE = (["submit"], ["sweep"])
# What cannot be a name stays for the reader of YAML files, which tells what is wrong.
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")
_ALL = "lightning-petl configs list and lightning-petl recipes show all"


def with_paths(argv: list[str]) -> list[str]:
    """Return a command line in which paths stand for the names of shipped configurations.

    ``["fit", "-c", "adapters/lora"]`` becomes ``["fit", "-c", "/.../configs/adapters/lora.yaml"]``. The files that a
    configuration is built on stand before it, each after a ``-c`` of its own. ``submit`` and
    ``sweep`` hand their files to ``fit``, which does so.

    Raises:
        ValueError: a name fits no file, or more than one.
    """
    hands_on = argv[:1] in _WITH_SITE
    options = (*bases.OPTIONS, _SITE) if hands_on else bases.OPTIONS
    words = list[str]()
    for before, word in zip(["", *argv], argv, strict=False):
        option, equals, value = word.partition("=")
        # The fit that it is handed on to finds what a file is built on; twice
        # would append its methods twice.
        if hands_on and before in options:
            words.append(found(word))
        elif hands_on and equals and option in options:
            words.append(f"{option}={found(value)}")
        elif before in options:
            *parts, file = _with_bases(found(word))
            for part in parts:
                words += [part, before]
            words.append(file)
        elif equals and option in options:
            words += [f"{option}={file}" for file in _with_bases(found(value))]
        else:
            words.append(word)
    return words


def _with_bases(file: str) -> list[str]:
    """Return a configuration behind the files that it is built on.

    Raises:
        ValueError: a file says wrongly what it is built on.
    """
    return [*map(str, bases.of(Path(file), shipped_file)), file]


def found(text: str) -> str:
    """Return the path of a file of the user's or of a shipped configuration.

    The path of a file that exists is returned as it is; ``.yaml`` and the folder of a shipped one may be left out.

    Args:
        text: what stands after ``--config``.

    Raises:
        ValueError: it fits no file, or more than one.
    """
    # A folder may have the name of a configuration: data/ssv2 is where the videos of data/ssv2.yaml lie.
    if Path(text).is_file() or not _NAME.fullmatch(text):
        return text
    own = [Path(f"{text}{SUFFIX}")] if Path(f"{text}{SUFFIX}").is_file() else []
    shipped = _matches(text)
    if len(own) + len(shipped) > 1:
        raise ValueError(_told_apart(text, own, shipped))
    if own or shipped:
        return str(*own, *shipped)
    is_yaml = text.endswith((SUFFIX, ".yml")) and Path(text).parent.is_dir()
    if is_yaml or Path(text).is_dir():
        # The reader of YAML files tells which files of that folder are near.
        return text
    raise ValueError(
        f"config: there is neither a file {text} nor a shipped "
        f"configuration of that name{_near(text)}; {_ALL}"
    )


def names() -> list[str]:
    """Return the names of all shipped configurations, as ``adapters/lora``, sorted.

    Raises:
        ValueError: the installation holds none.
    """
    files = sorted(FOLDER.glob(f"*/*{SUFFIX}"))
    if not files:
        raise ValueError(
            "configs: this installation of lightning_petl has "
            f"lost its configurations: {FOLDER} holds none; "
            "install it again"
        )
    return [_name(file) for file in files]


def recipe_names() -> list[str]:
    """Return the names of all shipped recipes, as ``st_adapter/ssv2_clip_b16``, sorted."""
    found = list[str]()
    for sheet in sorted(PAPERS.glob(f"*/{SHEET}")):
        for file in sorted(sheet.parent.glob(f"*{SUFFIX}")):
            if file != sheet:
                found.append(f"{sheet.parent.name}/{file.stem}")
    return found


def shipped_file(text: str) -> Path:
    """Return the file of a shipped configuration or recipe.

    Raises:
        ValueError: the name fits none, or more than one.
    """
    shipped = _matches(text)
    if not shipped:
        raise ValueError(
            f"configs: no shipped configuration is named {text!r}{_near(text)}; {_ALL}"
        )
    if len(shipped) > 1:
        raise ValueError(_told_apart(text, [], shipped))
    return shipped[0]


def _matches(text: str) -> list[Path]:
    """Return the shipped files that a name may mean.

    It may be ``lora``, ``adapters/lora``, ``adapters/lora.yaml`` or ``configs/adapters/lora.yaml``, the path of one in
    a checkout. ``lora.yaml`` is a file in the current folder, and nothing else.
    """
    short = _short(text)
    found = list[Path]()
    for file in _files():
        name = _name(file)
        last = name.rpartition("/")[2]
        if short == name or text == last:
            found.append(file)
    return found


def _short(text: str) -> str:
    """Return a name without the folder of a checkout before it and the suffix behind it."""
    for folder in (FOLDER, PAPERS):
        text = text.removeprefix(f"{folder.name}/")
    return text.removesuffix(SUFFIX)


def _files() -> Iterator[Path]:
    for name in names():
        yield FOLDER / f"{name}{SUFFIX}"
    for name in recipe_names():
        yield PAPERS / f"{name}{SUFFIX}"


def _name(file: Path) -> str:
    """Return the name of a shipped file: that of its folder, and its own."""
    return f"{file.parent.name}/{file.stem}"


def _told_apart(text: str, own: list[Path], shipped: list[Path]) -> str:
    """Say which files a name may mean, each as the user can name it alone."""
    ways = [f"the file {file}" for file in own]
    ways += [f"the shipped {_alone(file)}" for file in shipped]
    return f"config: {text!r} may be {' or '.join(ways)}; write which one"


def _alone(file: Path) -> str:
    """Return the name of a shipped configuration, or its path where a user's file has that name."""
    name = _name(file)
    return str(file) if Path(f"{name}{SUFFIX}").exists() else name


def _near(text: str) -> str:
    """Return ``"; near: adapters/lora"`` for a name with a typing mistake, or nothing."""
    by_spelling: dict[str, str] = {}
    for name in names():
        by_spelling[name.rpartition("/")[2]] = name
        by_spelling[name] = name
    for name in recipe_names():
        by_spelling[name] = name
    near = get_close_matches(_short(text), by_spelling, n=3)
    # Both spellings of one may be near.
    told = dict.fromkeys(by_spelling[spelling] for spelling in near)
    return f"; near: {', '.join(told)}" if told else ""
