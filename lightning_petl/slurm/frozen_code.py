"""Copy the code of a job into its folder: both packages, and the modules of the user's that it names."""

import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

PACKAGES = ("lightning_petl", "data_modules")
# In a checkout, `experiments` is a link to much that no job imports.
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "experiments")


def write_code(code: Path, configs: Sequence[Any], home: Path) -> None:
    """Copy what a training imports from here, so that later edits do not change a waiting job.

    Installed packages stay where they are. A module that a copied module imports in turn is
    copied only where it lies inside the same package.

    Args:
        code: the folder to fill; it comes first in the path of the job.
        configs: the whole configuration of each run.
        home: the folder in which the user's own modules lie.

    Raises:
        OSError: a file could not be copied.
    """
    for name in PACKAGES:
        shutil.copytree(_location(name), code / name, ignore=_IGNORED)
    for module in sorted(user_modules(configs)):
        package = home / module
        file = home / f"{module}.py"
        if (package / "__init__.py").is_file():
            shutil.copytree(package, code / module, ignore=_IGNORED)
        elif file.is_file():
            shutil.copyfile(file, code / file.name)


def user_modules(configs: Sequence[Any]) -> set[str]:
    """Return the first parts of the dotted class names that are not ours.

    >>> sorted(user_modules([{"class_path": "my_package.gates.Gate", "init_args": {}}]))
    ['my_package']
    """
    found = set[str]()
    for class_path in _class_paths(list(configs)):
        first, dot, _ = class_path.partition(".")
        if dot and first not in PACKAGES:
            found.add(first)
    return found


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _class_paths(item)
    elif isinstance(value, dict):
        mapping = cast(dict[str, Any], value)
        if isinstance(mapping.get("class_path"), str):
            yield mapping["class_path"]
        yield from _class_paths(list(mapping.values()))


def _location(package: str) -> Path:
    """Return the folder of a package without importing it."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])
