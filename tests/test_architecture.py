"""Who may import whom. The layers of the project are a law, and this is its text."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("lightning_petl", "data_modules")
    for path in (ROOT / package).rglob("*.py")
)
MODULES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
}
"""Path from the root by name of the module."""

FLOORS: dict[str, tuple[str, ...]] = {
    "data_modules": (
        "compat",
        "data_modules",
        "io",
        "batch",
        "sampling",
        "transforms",
        "video",
        "sample",
        "storage",
        "features",
        "loading",
        "sets",
        "commands",
    ),
    "lightning_petl": (
        "shapes",
        "grids",
        "backbones",
        "adapters",
        "distributed",
        "heads",
        "losses",
        "metrics",
        "optim",
        "checkpoints",
        "artifacts",
        "strategies",
        "tasks",
        "runs",
        "cost",
        "callbacks",
        "compare",
        "slurm",
        "sweep",
        "doctor",
        "papers",
        "api",
        "lightning_petl",
        "cli",
        "__main__",
    ),
}
"""Packages and files of each package's root from the bottom up; its own name is its __init__.

A module may import from its own floor and from those below.
"""

# who -> whom it must not import, both patterns of whole module names; what the floors imply is not repeated
LAWS: dict[str, tuple[str, str]] = {
    "only the trunks' package knows timm and open_clip": (
        r"(?!lightning_petl\.backbones\b).*",
        r"(timm|open_clip)\b.*",
    ),
    "only four files touch the codec": (
        r"(?!data_modules\.video\.(demux|track|picture|encode)$).*",
        r"av\b.*",
    ),
    "data knows nothing of models": (r"data_modules.*", r"lightning_petl.*"),
    "models know of data the batch, torchvision's repair and how files are read": (
        r"lightning_petl(?!\.(api$|cli\.|doctor\.)).*",
        r"data_modules\.(?!(batch|compat|io)\b).*",
    ),
    "a method knows no other method": (
        r"lightning_petl\.adapters\.(?!multi_tunev$).*",
        r"lightning_petl\.adapters\.(?!(adapter|layers)\b).*",
    ),
    "mathematics is plain PyTorch": (
        r"lightning_petl\.(shapes|backbones|adapters|distributed|heads|losses|metrics|optim|cost)\b.*",
        r"(lightning|pytorch_lightning|jsonargparse|omegaconf)\b.*",
    ),
    "one Lightning": (r".*", r"pytorch_lightning\b.*"),
    "tests and experiments are not imported": (r".*", r"(tests|experiments)\b.*"),
}


@cache
def _imports(module: str) -> list[str]:
    """Return the names that a file imports, at any depth of its code.

    ``from a import b`` gives ``a.b``.
    """
    path, names = MODULES[module], list[str]()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the layer"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def _imported_modules(module: str, package: str) -> Iterator[str]:
    """Yield the modules of ``package`` that a file imports."""
    for name in _imports(module):
        if name.split(".")[0] != package:
            continue
        while name not in MODULES:
            name = name.rpartition(".")[0]
        yield name


def _floor(module: str, package: str) -> int:
    """Return the number of a module's floor, from 0; ValueError where it has none.

    For example, ``data_modules.io.names`` stands on the floor ``io``.
    """
    top, _, below = module.partition(".")
    return FLOORS[package].index(below.split(".")[0] or top)


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_climbs(package: str) -> None:
    climbs = []
    for module in _modules_of(package):
        floor = _floor(module, package)
        for imported in _imported_modules(module, package):
            if _floor(imported, package) > floor:
                climbs.append(f"{module} imports {imported}")
    assert not climbs


@pytest.mark.parametrize("package", FLOORS)
def test_every_floor_is_lived_on(package: str) -> None:
    """A floor that was moved away would hold for ever."""
    lived_on = {_floor(module, package) for module in _modules_of(package)}
    assert lived_on == set(range(len(FLOORS[package])))


@pytest.mark.parametrize("package", FLOORS)
def test_no_circle_of_folders(package: str) -> None:
    """Below a floor too: ``video`` imports ``video.headers``, which must not import it.

    A file of the package's root is a folder of its own.
    """
    below: dict[str, set[str]] = {}
    for module in _modules_of(package):
        names = {_folder(name) for name in _imported_modules(module, package)}
        below.setdefault(_folder(module), set()).update(names - {_folder(module)})
    TopologicalSorter(below).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", ["data_modules", "lightning_petl"])
def test_at_most_five_files_in_a_root(package: str) -> None:
    files = [path.name for path in (ROOT / package).glob("*.py")]
    assert len(files) <= 5, files


def _modules_of(package: str) -> list[str]:
    return [module for module in MODULES if module.split(".")[0] == package]


def _folder(module: str) -> str:
    path = MODULES[module]
    return str(path if len(path.parts) == 2 else path.parent)


@pytest.mark.parametrize("law", LAWS)
def test_import_law(law: str) -> None:
    who, whom = LAWS[law]
    broken = []
    for module in MODULES:
        if not re.fullmatch(who, module):
            continue
        for name in _imports(module):
            own = name.startswith(f"{module}.")
            if re.fullmatch(whom, name) and not own:
                broken.append(f"{module} imports {name}")
    assert not broken


TRUNKS = "only the trunks' package knows timm and open_clip"
CODEC = "only four files touch the codec"
DATA = "models know of data the batch, torchvision's repair and how files are read"
METHODS = "a method knows no other method"
MATHEMATICS = "mathematics is plain PyTorch"


@pytest.mark.parametrize(
    ("law", "module", "name", "forbidden"),
    [
        (TRUNKS, "lightning_petl.adapters.vpt", "timm", True),
        (TRUNKS, "lightning_petl.tasks.x", "open_clip.CLIP", True),
        (TRUNKS, "lightning_petl.backbones.vit", "timm", False),
        (CODEC, "data_modules.loading.dataset", "av", True),
        (CODEC, "data_modules.loading.dataset", "average", False),
        (CODEC, "data_modules.video.demux", "av.container", False),
        (DATA, "lightning_petl.tasks.x", "data_modules.video.decode.f", True),
        (DATA, "lightning_petl.tasks.x", "data_modules.sample.Clip", True),
        (DATA, "lightning_petl.cli.lightning", "data_modules.video.decode.f", False),
        (DATA, "lightning_petl.x", "data_modules.batch.VideoBatch", False),
        (METHODS, "lightning_petl.adapters.vpt", "lightning_petl.adapters.lora.LoRA", True),
        (METHODS, "lightning_petl.adapters.layers.dora", "lightning_petl.adapters.vpt.VPT", True),
        (METHODS, "lightning_petl.adapters.vpt", "lightning_petl.adapters.adapter.Adapter", False),
        (MATHEMATICS, "lightning_petl.adapters.vpt", "lightning.pytorch", True),
        (MATHEMATICS, "lightning_petl.losses.contrastive", "lightning.pytorch", True),
        (MATHEMATICS, "lightning_petl.adapters.vpt", "lightning_petl.shapes", False),
    ],
)  # fmt: skip
def test_the_laws_bite(law: str, module: str, name: str, forbidden: bool) -> None:
    """A pattern that matches nothing would hold for ever."""
    who, whom = LAWS[law]
    assert bool(re.fullmatch(who, module) and re.fullmatch(whom, name)) == forbidden


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            start = (
                node.body[1].lineno
                if ast.get_docstring(node) and len(node.body) > 1
                else node.body[0].lineno
            )
            assert (node.end_lineno or start) - start < 50, node.name


# words with which a phrase without a verb begins
NO_VERB = {
    "a", "all", "an", "as", "by", "each", "every", "how", "in", "no", "number", "of", "one", "owner", "so",
    "that", "the", "these", "this", "those", "what", "where", "whether", "which", "who", "with",
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_begin_with_a_verb(module: str) -> None:
    text = (ROOT / MODULES[module]).read_text(encoding="utf-8")
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = (ast.get_docstring(node) or "Return").split()[0]
            if first.lower() in NO_VERB or first.startswith("`"):
                found.append(f"{node.name}: {first}")
    assert not found


def test_a_public_type_name_has_one_meaning() -> None:
    defined: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                defined.setdefault(node.name, []).append(module)
            elif isinstance(node, ast.Assign) and isinstance(
                node.targets[0], ast.Name
            ):
                defined.setdefault(node.targets[0].id, []).append(module)
    types = {
        name: at for name, at in defined.items() if re.match("[A-Z][a-z]", name)
    }
    assert not {name: at for name, at in types.items() if len(at) > 1}


# They import torchvision, which data_modules.compat must have made importable before.
NEEDS_COMPAT = {"lightning", "timm", "torchmetrics", "torchvision", "open_clip"}


def _first_import(module: str, started: set[str]) -> str:
    """Return ``compat``, or the package that needs it, whichever comes first; empty where neither comes.

    Args:
        module: imported with the packages that it lies in.
        started: modules whose import has begun, which Python does not begin again.
    """
    for name in [*_parents(module), module]:
        if name in started:
            continue
        started.add(name)
        for imported in _top_level_imports(name):
            root = imported.split(".")[0]
            if root == "data_modules" or root in NEEDS_COMPAT:
                return "compat" if root == "data_modules" else root
            if root != "lightning_petl":
                continue
            while imported not in MODULES:
                imported = imported.rpartition(".")[0]
            if found := _first_import(imported, started):
                return found
    return ""


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _top_level_imports(module: str) -> Iterator[str]:
    for node in ast.parse((ROOT / MODULES[module]).read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", _modules_of("lightning_petl"))
def test_any_file_may_be_imported_first(module: str) -> None:
    assert _first_import(module, set()) in ("", "compat")
