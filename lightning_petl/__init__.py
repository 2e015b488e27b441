"""Adapt frozen image backbones to video with few trained parameters.

``import lightning_petl as petl`` gives every name below, and imports torch when the first one
is used::

    model = petl.load("runs/default/version_0/artifact")
    model.predict("my_video.mp4")

    vit = petl.VideoViT("vit_base_patch16_224")
    petl.attach(vit, [petl.STAdapter(), petl.LoRA(rank=8)])

The methods are those that :mod:`lightning_petl.adapters` exports.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_petl.adapters import *  # noqa: F403
    from lightning_petl.api import Model as Model
    from lightning_petl.api import load as load
    from lightning_petl.backbones import VideoViT as VideoViT
    from lightning_petl.tasks.classification import (
        VideoClassifier as VideoClassifier,
    )

_PLACES = {
    "load": "lightning_petl.api",
    "Model": "lightning_petl.api",
    "VideoViT": "lightning_petl.backbones",
    "VideoClassifier": "lightning_petl.tasks.classification",
}
# Not listed by name: a new method is exported there alone.
_METHODS = "lightning_petl.adapters"
_EXPORTS = Path(__file__).parent / "adapters" / "__init__.py"


def __getattr__(name: str) -> Any:
    """Import a public name when it is used first (PEP 562)."""
    if name == "__all__":
        return sorted([*_PLACES, *import_module(_METHODS).__all__])
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if _may_be_method(name):
        methods = import_module(_METHODS)
        if name in methods.__all__:
            return getattr(methods, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _may_be_method(name: str) -> bool:
    """Return whether the file that exports the methods has a name, without importing it and torch."""
    # What Python itself asks for.
    if name.startswith("_"):
        return False
    # An installation may have no source files.
    if not _EXPORTS.is_file():
        return True
    # jsonargparse 4.49 asks every package above a class for that class: with torch,
    # submit --help would take seconds.
    return f'"{name}"' in _EXPORTS.read_text("utf-8")


def __dir__() -> list[str]:
    return __getattr__("__all__")
