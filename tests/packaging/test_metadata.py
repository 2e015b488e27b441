"""What the package says of itself, in the files that others read."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# imported name -> name on the package index, where they differ
INDEX = {"yaml": "PyYAML", "open_clip": "open_clip_torch"}
OPTIONAL = {"open_clip", "matplotlib"}  # extras, imported where they are needed


def test_the_package_page_has_no_relative_link_and_no_picture() -> None:
    page = (ROOT / PROJECT["readme"]).read_text("utf-8")
    assert not re.search(r"\]\(", page)


def test_the_metadata_name_no_address() -> None:
    assert "urls" not in PROJECT
    assert not re.search(
        r"https?://", (ROOT / PROJECT["readme"]).read_text("utf-8")
    )


def test_the_citation_agrees_with_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert (
        citation["title"] == f"{PROJECT['name']}: {_lower(PROJECT['description'])}"
    )


def test_each_third_package_that_is_imported_is_declared() -> None:
    declared = {_key(requirement) for requirement in PROJECT["dependencies"]}
    for name in _imported() - OPTIONAL:
        assert _key(INDEX.get(name, name)) in declared, name


def test_the_lowest_versions_are_those_of_the_floors() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text("utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if "==" in line)
    lowest = {_key(name): version for name, version in lowest.items()}
    extras = PROJECT["optional-dependencies"]
    for requirement in [
        *PROJECT["dependencies"],
        *(extras["retrieval"] + extras["plots"] + extras["test"]),
    ]:
        floor = re.search(r">=([\d.]+)", requirement)
        assert floor, requirement
        version = lowest[_key(requirement)]
        assert _numbers(version) == _numbers(floor[1]), requirement


def test_hooks_before_a_commit_run_what_the_check_runs() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    (repo,) = yaml.safe_load(text)["repos"]
    assert repo["repo"] == "local"  # another would be fetched
    hooks = {hook["id"]: hook["entry"] for hook in repo["hooks"]}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for entry in hooks.values():
        program = re.escape(Path(entry.split()[0]).name)
        assert re.search(rf"^\t\$\(BIN\)/{program} ", makefile, flags=re.MULTILINE)


def _imported() -> set[str]:
    """Return the names of the packages of others that ours import."""
    found = set[str]()
    for package in ("lightning_petl", "data_modules"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    found.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    found.add(str(node.module))
    tops = {name.partition(".")[0] for name in found}
    return tops - sys.stdlib_module_names - {"lightning_petl", "data_modules"}


def _key(requirement: str) -> str:
    """Return the name of a requirement as the index compares it."""
    return re.split(r"[\[<>=!; ]", requirement)[0].lower().replace("_", "-")


def _numbers(version: str) -> list[int]:
    """Return the numbers of a version without zeros at the end, of which 2.3 and 2.3.0 differ."""
    numbers = [int(part) for part in version.split(".")]
    while numbers[-1] == 0:
        numbers.pop()
    return numbers


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
