"""How dense the code is: ``python -m tests.density``; with ``--fail`` the exit code is 1 above a limit.

Dense code takes a second reading. The limits are near what well-read projects of the field have.
"""

import argparse
import ast
import io
import sys
import tokenize
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("lightning_petl", "data_modules")
# figure -> (limit, whether the value may be at most or must be at least that)
LIMITS = {
    "packed tuple assignments in 1,000 lines": (2.0, "at most"),
    "nested comprehensions in 1,000 lines": (0.5, "at most"),
    "comprehensions in 1,000 lines": (18.0, "at most"),
    "characters of a code line": (40.0, "at most"),
    "comments at 100 code lines": (4.0, "at least"),
}
WORST = 10  # files that are named for a figure that fails
# Comments that speak to a tool, not to a reader.
DIRECTIVES = ("pyright", "noqa", "isort", "type:", "fmt")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Hold what was counted in one file, or in several.

    Attributes:
        lines: all lines, also empty ones.
        code: lines that are neither empty nor a comment nor part of a docstring.
        characters: of the code lines, with their indentation.
        comments: on a line of their own or behind code, without directives to tools.
        packed: assignments of a tuple to a tuple, ``a, b = c, d``.
        comprehensions: of lists, sets and dicts, and generator expressions.
        nested: comprehensions with two ``for`` or with another one inside.
    """

    lines: int = 0
    code: int = 0
    characters: int = 0
    comments: int = 0
    packed: int = 0
    comprehensions: int = 0
    nested: int = 0

    def figures(self) -> dict[str, float]:
        """Return the value of each of ``LIMITS``."""
        thousand = max(self.lines, 1) / 1000
        code = max(self.code, 1)
        values = (
            self.packed / thousand,
            self.nested / thousand,
            self.comprehensions / thousand,
            self.characters / code,
            100 * self.comments / code,
        )
        return dict(zip(LIMITS, values, strict=True))

    def __add__(self, other: "Counts") -> "Counts":
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
        }
        return Counts(**sums)


def counts(text: str) -> Counts:
    """Count in the text of one file."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    code = _code_lines(text, nodes)
    comprehensions = [node for node in nodes if isinstance(node, COMPREHENSIONS)]
    return Counts(
        lines=len(text.splitlines()),
        code=len(code),
        characters=sum(len(line.rstrip()) for line in code),
        comments=_comments(text),
        packed=sum(_is_packed(node) for node in nodes),
        comprehensions=len(comprehensions),
        nested=sum(_is_nested(node) for node in comprehensions),
    )


def fails(figure: str, value: float) -> bool:
    """Return whether a value is beyond the limit of its figure."""
    limit, kind = LIMITS[figure]
    return value > limit if kind == "at most" else value < limit


def main(argv: list[str] | None = None) -> int:
    """Print the figures of the packages, and the worst files of those that fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.density")
    parser.add_argument(
        "--fail", action="store_true", help="exit with 1 above a limit"
    )
    given = parser.parse_args(argv)
    files = _files()
    figures = sum(files.values(), Counts()).figures()
    for figure, value in figures.items():
        limit, kind = LIMITS[figure]
        state = "FAILS" if fails(figure, value) else "holds"
        print(f"{figure:42}{value:6.1f}  {kind} {limit:4.1f}  {state}")
    failing = [figure for figure, value in figures.items() if fails(figure, value)]
    for figure in failing:
        print(f"\n{figure}, the worst {WORST} files:")
        for path, value in _worst(files, figure):
            print(f"{value:8.1f}  {path}")
    return int(given.fail and bool(failing))


def _files() -> dict[Path, Counts]:
    """Return what was counted in each file of the packages."""
    found: dict[Path, Counts] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[path.relative_to(ROOT)] = counts(path.read_text("utf-8"))
    return found


def _worst(files: dict[Path, Counts], figure: str) -> list[tuple[Path, float]]:
    """Return the files that are farthest beyond the limit of a figure, the long ones before the short ones."""
    limit = LIMITS[figure][0]
    excess: dict[Path, float] = {}
    for path, one in files.items():
        excess[path] = abs(one.figures()[figure] - limit) * one.lines
    beyond = [
        path for path, one in files.items() if fails(figure, one.figures()[figure])
    ]
    worst = sorted(beyond, key=lambda path: excess[path], reverse=True)[:WORST]
    return [(path, files[path].figures()[figure]) for path in worst]


def _code_lines(text: str, nodes: list[ast.AST]) -> list[str]:
    documented = set[int]()
    for node in nodes:
        if _is_docstring(node):
            documented.update(range(node.lineno, node.end_lineno + 1))
    lines = list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and number not in documented:
            lines.append(line)
    return lines


def _is_docstring(node: ast.AST) -> bool:
    """Return whether it is a text that stands alone; those behind attributes are docstrings, too."""
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return alone and isinstance(node.value.value, str)


def _comments(text: str) -> int:
    number = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        said = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and not said.startswith(DIRECTIVES):
            number += 1
    return number


def _is_packed(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) for target in node.targets)


def _is_nested(node: ast.AST) -> bool:
    inner = [other for other in ast.walk(node) if isinstance(other, COMPREHENSIONS)]
    return len(node.generators) > 1 or len(inner) > 1


if __name__ == "__main__":
    sys.exit(main())
