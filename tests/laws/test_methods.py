"""A method is its file, one export, a YAML and a row of the laws: nothing else in the project names it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lightning_petl import adapters
from lightning_petl.adapters import Adapter
from tests.laws.methods import KINDS, METHODS, REPRESENTATIVES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lightning_petl"
EXPORTED = [
    kind
    for kind in map(vars(adapters).get, adapters.__all__)
    if isinstance(kind, type) and kind is not Adapter
]
MAY_NAME_OTHERS = {
    # a composition names its parts
    "adapters/multi_tunev.py",
    # old files are read by the names that they hold
    "artifacts/published_names.py",
    # a drill trains some method
    "doctor/drill.py",
}

every_exported_method = pytest.mark.parametrize(
    "kind", EXPORTED, ids=[kind.__name__ for kind in EXPORTED]
)


@every_exported_method
def test_has_a_row_of_the_laws(kind: type[Adapter]) -> None:
    rows = {name for name, (method,) in METHODS.items() if type(method) is kind}
    assert rows, f"add a row for {kind.__name__} to tests/laws/methods.py"
    assert rows & {*REPRESENTATIVES}, (
        f"mark one of {sorted(rows)} as representative"
    )
    assert rows & {*KINDS}


def test_rows_are_of_exported_methods() -> None:
    assert {type(method) for (method,) in METHODS.values()} == {*EXPORTED}


@every_exported_method
def test_has_a_configuration(kind: type[Adapter]) -> None:
    text = "\n".join(
        path.read_text("utf-8")
        for path in (ROOT / "configs/adapters").glob("*.yaml")
    )
    assert re.search(rf"\b{kind.__name__}\b", re.sub("#.*", "", text))


@every_exported_method
def test_is_one_file_and_one_export(kind: type[Adapter]) -> None:
    own = Path(*kind.__module__.split(".")[1:]).with_suffix(".py")
    naming = {path for path in _files() if kind.__name__ in _named(path)}
    assert naming - MAY_NAME_OTHERS - {str(own)} == {"adapters/__init__.py"}


@every_exported_method
def test_shares_its_file_with_no_other_method(kind: type[Adapter]) -> None:
    same = [other for other in EXPORTED if other.__module__ == kind.__module__]
    assert same == [kind]


@cache
def _files() -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")]


@cache
def _named(path: str) -> frozenset[str]:
    """Return the names and texts in the code of a file, but for its docstrings and messages."""
    return frozenset(_names(ast.parse((PACKAGE / path).read_text("utf-8"))))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # a name alone: a sentence may speak of a method
            yield node.value
