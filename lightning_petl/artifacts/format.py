"""The format of an adapter artifact: what is written of a trained model, and what is read of it before it is built.

An artifact may come from anybody. Nothing here runs code that it names, or reads a file outside its folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

from safetensors.torch import save as serialize
from torch import Tensor

from data_modules.io.atomic import write_whole
from data_modules.io.names import to_json
from lightning_petl.adapters import Adapter
from lightning_petl.artifacts.files import (
    CONFIG,
    LABELS,
    SCHEMA,
    SHA256,
    WEIGHTS,
    Contents,
    checksums,
)
from lightning_petl.artifacts.recipes import Packages, build, decode, encode
from lightning_petl.backbones.readout import Readout
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.backbones.weights.open_clip import PREFIX, published_tags
from lightning_petl.checkpoints.trainable_state import State, gather_shards
from lightning_petl.distributed.collectives import is_first_rank
from lightning_petl.heads.linear import HeadRecipe, LinearHead

LOCAL_FILE = "file"
"""In the place of a trunk's ``weights`` that came from a file: whoever loads the artifact says where theirs is."""


class Trained(NamedTuple):
    """Hold a stack on a trunk, a head, and what was trained of both, named as in a ``VideoClassifier``.

    ``readout`` is what the head reads of the trunk, where that is not the trunk's own; None: it is.
    """

    backbone: VideoViT
    adapters: Sequence[Adapter]
    head: HeadRecipe
    labels: Sequence[str]
    weights: State
    readout: Readout | None = None


def write(folder: Path, trained: Trained, protocol: Mapping[str, Any]) -> None:
    """Write stack, trainable weights, head, labels, preprocessing, sampling protocol, the trunk's hash, checksums.

    All ranks must call it; the first one writes.

    Args:
        folder: created; files in it are replaced whole.
        trained: what was trained.
        protocol: how the data module looks at a video, in JSON types.

    Raises:
        OSError: a file could not be written.
    """
    config = {
        "schema": SCHEMA,
        "backbone": _describe_trunk(trained.backbone, trained.readout),
        "adapters": [encode(adapter) for adapter in trained.adapters],
        "head": _encode_head(trained.head),
        "preprocessing": describe_pixels(trained.backbone),
        "protocol": dict(protocol),
    }
    whole = gather_shards(dict(trained.weights))
    if not is_first_rank():
        return
    weights: dict[str, Tensor] = {}
    for key, value in whole.items():
        # safetensors writes the memory as it lies
        weights[key] = value.detach().cpu().contiguous()
    write_whole(folder / WEIGHTS, serialize(weights, {"format": "pt"}))
    write_whole(folder / LABELS, to_json(list(trained.labels), indent=1))
    # tuples become lists, as when it is read: the checksum is of that text
    config = json.loads(json.dumps(config))
    config[SHA256] = checksums(folder, config)
    # last: a folder without it is no artifact, so half of one is never read
    write_whole(folder / CONFIG, to_json(config, indent=1))


def refuse_local_file(weights: str, folder: Path) -> None:
    """Refuse a trunk of which the artifact only says that its weights came from a file.

    Raises:
        ValueError: so it is: an artifact may not choose the file.
    """
    if weights == LOCAL_FILE:
        raise ValueError(
            f"{folder / CONFIG}: its trunk's weights came from a local file, and an artifact does not choose which "
            "file of yours is read: add --model.backbone.weights=FILE (in Python, load(..., weights=FILE))"
        )


def decode_head(entry: Mapping[str, Any], allow: Packages) -> HeadRecipe:
    """Build the head that :func:`write` wrote.

    Raises:
        ValueError: the class is not known, or its arguments are not those of the class.
    """
    if "class_path" in entry:
        return decode(entry, HeadRecipe, allow=allow)
    return build(LinearHead, entry)


def trunk_arguments(
    contents: Contents, *, weights: str | None = None
) -> dict[str, Any]:
    """Return the arguments of ``VideoViT``.

    Without ``weights`` they are those that the artifact names, which are never a file of the reader's disk.
    """
    trunk: dict[str, Any] = dict(contents.config["backbone"])
    del trunk["weights_hash"]
    trunk["weights"] = weights or _published(trunk["name"], trunk["weights"])
    return trunk


def describe_pixels(vit: VideoViT) -> dict[str, list[float]]:
    """Return mean and std of the pixels, 0 to 1, by channel."""
    return {
        "mean": vit.pixel_mean.flatten().tolist(),
        "std": vit.pixel_std.flatten().tolist(),
    }


def _describe_trunk(vit: VideoViT, readout: Readout | None) -> dict[str, Any]:
    return {
        "name": vit.name,
        "weights": _published(vit.name, vit.weights),
        "weights_hash": vit.weights_hash,
        "image_size": vit.image_size[0],
        "num_frames": vit.grid.frames,
        "depth": vit.depth,
        "readout": readout or vit.readout,
        "frozen_dtype": vit.frozen_dtype,
    }


def _encode_head(head: HeadRecipe) -> dict[str, Any]:
    """Return the arguments of a linear head; any other head as :func:`encode` has methods."""
    return asdict(cast(Any, head)) if type(head) is LinearHead else encode(head)


def _published(name: str, weights: str) -> str:
    """Return ``hub``, ``random`` or a tag of open_clip as it is, and anything else as ``file``."""
    if weights in ("hub", "random"):
        return weights
    is_tag = name.startswith(PREFIX) and weights in published_tags(name)
    return weights if is_tag else LOCAL_FILE
