"""Who may import whom. The layers of the project are a law, and this is its text."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("lightning_petl", "data_modules")
    for path in (ROOT / package).rglob("*.py")
)
MODULES = [
    ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in FILES
]

# module pattern -> what it must not import (patterns of whole module names), exceptions first
LAWS: dict[str, tuple[str, str]] = {
    "only the towers' package knows timm and open_clip": (
        r"(?!lightning_petl\.backbones).*",
        r"(timm|open_clip)\b.*",
    ),
    "only four files touch the codec": (
        r"(?!data_modules\.video\.(demux|track|picture|encode)$).*",
        r"av\b.*",
    ),
    "data knows nothing of models": (r"data_modules.*", r"lightning_petl.*"),
    "models know of data the batch, torchvision's repair and how files of others are read": (
        r"lightning_petl(?!\.(cli|artefact_cli|names|doctor\.(decoding|drill))$).*",
        r"data_modules(?!\.(batch|compat|config_files|config_text|names|untrusted)\b).*",
    ),
    "the trunk knows no method and no task": (
        r"lightning_petl\.backbones.*",
        r"lightning_petl\.(?!backbones\b|shapes\b).*",
    ),
    "a method knows the trunk, shapes, shared layers and the interface": (
        r"lightning_petl\.adapters\.(?!multi_tunev$).*",
        r"lightning_petl(?!\.(backbones|shapes)\b|\.adapters\.(adapter|layers)\b).*",
    ),
    "the composition may know its parts": (
        r"lightning_petl\.adapters\.multi_tunev",
        r"lightning_petl\.(?!backbones\b|shapes\b|adapters\.).*",
    ),
    "mathematics is plain PyTorch": (
        r"lightning_petl\.(backbones|adapters|shapes|heads|memory|metrics|optim|parallel|similarity|contrastive|ranking).*",
        r"(lightning|pytorch_lightning|jsonargparse|omegaconf)\b.*",
    ),
    "one Lightning": (r".*", r"pytorch_lightning\b.*"),
    "tests and experiments are not imported": (r".*", r"(tests|experiments)\b.*"),
}


def _imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports, at any depth of its code; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("law", LAWS)
def test_import_law(law: str) -> None:
    who, whom = LAWS[law]
    broken = [
        f"{module} imports {name}"
        for path, module in zip(FILES, MODULES, strict=True)
        if re.fullmatch(who, module)
        for name in _imports(path)
        if re.fullmatch(whom, name) and not name.startswith(f"{module}.")
    ]
    assert not broken


@pytest.mark.parametrize(
    ("law", "module", "name", "forbidden"),
    [
        (
            "only the towers' package knows timm and open_clip",
            "lightning_petl.adapters.vpt",
            "timm",
            True,
        ),
        (
            "only the towers' package knows timm and open_clip",
            "lightning_petl.tasks.x",
            "open_clip.CLIP",
            True,
        ),
        (
            "only the towers' package knows timm and open_clip",
            "lightning_petl.backbones.vit",
            "timm",
            False,
        ),
        ("only four files touch the codec", "data_modules.loading.dataset", "av", True),
        (
            "only four files touch the codec",
            "data_modules.loading.dataset",
            "average",
            False,
        ),
        ("only four files touch the codec", "data_modules.video.decode", "av", True),
        (
            "only four files touch the codec",
            "data_modules.video.demux",
            "av.container",
            False,
        ),
        (
            "models know of data the batch, torchvision's repair and how files of others are read",
            "lightning_petl.tasks.x",
            "data_modules.video.decode.f",
            True,
        ),
        (
            "models know of data the batch, torchvision's repair and how files of others are read",
            "lightning_petl.cli.lightning",
            "data_modules.video.decode.f",
            False,
        ),
        (
            "models know of data the batch, torchvision's repair and how files of others are read",
            "lightning_petl.x",
            "data_modules.batch.VideoBatch",
            False,
        ),
        (
            "the trunk knows no method and no task",
            "lightning_petl.backbones.vit",
            "lightning_petl.adapters.attach",
            True,
        ),
        (
            "a method knows the trunk, shapes, shared layers and the interface",
            "lightning_petl.adapters.vpt",
            "lightning_petl.adapters.lora.LoRA",
            True,
        ),
        (
            "a method knows the trunk, shapes, shared layers and the interface",
            "lightning_petl.adapters.vpt",
            "lightning_petl.adapters.adapter.Adapter",
            False,
        ),
        (
            "mathematics is plain PyTorch",
            "lightning_petl.adapters.vpt",
            "lightning.pytorch",
            True,
        ),
        (
            "mathematics is plain PyTorch",
            "lightning_petl.adapters.vpt",
            "lightning_petl.shapes",
            False,
        ),
    ],
)
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
