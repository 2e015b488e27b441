"""The adapter artifact: the folder that is shared, without a byte of the frozen trunk.

An artifact may come from anybody. Loading one runs no code that it names, reads no file outside its folder, and builds
nothing before its numbers were compared with the weights that it brings.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors.torch import save as serialise

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
    read,
)
from lightning_petl.artifacts.recipes import Packages, build, decode, encode
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.backbones.weights.open_clip import PREFIX, published_tags
from lightning_petl.checkpoints.trainable_state import (
    State,
    Trunk,
    check_trainable,
    gathered,
    load_trainable,
    trainable_state,
    write_whole,
)
from lightning_petl.distributed.collectives import is_first_rank
from lightning_petl.heads.linear import HeadRecipe, LinearHead
from lightning_petl.tasks.classification import VideoClassifier

LOCAL_FILE = "file"
"""In the place of a trunk's ``weights`` that came from a file: whoever loads the artifact says where theirs is."""


class Trained(NamedTuple):
    """A stack on a trunk, a head, and what was trained of both, named as in a ``VideoClassifier``."""

    backbone: VideoViT
    adapters: Sequence[Adapter]
    head: HeadRecipe
    labels: Sequence[str]
    weights: State


class Recipe(NamedTuple):
    """How the model of an artifact is built on a trunk."""

    adapters: list[Adapter]
    head: HeadRecipe


def save(folder: Path, model: VideoClassifier, protocol: Mapping[str, Any]) -> None:
    """:func:`write` what was trained in ``model``."""
    write(folder, trained(model, trainable_state(model)), protocol)


def trained(model: VideoClassifier, state: State) -> Trained:
    """The stack of ``model`` with the weights of ``state``, which may come from a checkpoint."""
    return Trained(
        model.backbone, model.adapters, model.head_recipe, model.labels, state
    )


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
        "backbone": _describe_trunk(trained.backbone),
        "adapters": [encode(adapter) for adapter in trained.adapters],
        "head": _encode_head(trained.head),
        "preprocessing": _describe_pixels(trained.backbone),
        "protocol": dict(protocol),
    }
    whole = gathered(dict(trained.weights))
    if not is_first_rank():
        return
    weights = {key: value.detach().cpu().contiguous() for key, value in whole.items()}
    write_whole(folder / WEIGHTS, serialise(weights, {"format": "pt"}))
    write_whole(folder / LABELS, to_json(list(trained.labels), indent=1))
    config = json.loads(json.dumps(config))  # tuples become lists, as when it is read
    write_whole(
        folder / CONFIG, to_json(config | {SHA256: checksums(folder, config)}, indent=1)
    )


def load(
    folder: Path,
    *,
    weights: str | None = None,
    allow_other_trunk: bool = False,
    allow: Packages = (),
) -> VideoClassifier:
    """Rebuild the model of an artifact on its trunk, in eval.

    Args:
        folder: what :func:`save` wrote.
        weights: where the trunk's weights come from; None: from the hub, if they came from there in training.
        allow_other_trunk: accept a trunk with other weights than those it was trained on.
        allow: packages of your own, from which the artifact may name a class that is not imported yet.

    Raises:
        FileNotFoundError: not an artifact.
        ValueError: damaged, another schema, another trunk, weights of another stack, a class that is not known, or a
            trunk from a file that is not given.
    """
    contents = read(folder)
    recipe = _recipe(contents, allow)
    trunk = _trunk_arguments(contents, weights=weights)
    if weights is None:
        require_weights(trunk["weights"], folder)
    model = VideoClassifier(
        VideoViT(**trunk), recipe.adapters, contents.labels, head=recipe.head
    )
    _restore(contents, model, allow_other_trunk=allow_other_trunk)
    return model.eval()


def restore(
    folder: Path, model: VideoClassifier, *, allow_other_trunk: bool = False
) -> None:
    """Load an artifact's trained state into a model of the same stack and labels.

    Raises:
        FileNotFoundError: not an artifact.
        ValueError: damaged, another schema, another trunk, other labels, or weights of another stack.
    """
    _restore(read(folder), model, allow_other_trunk=allow_other_trunk)


def _restore(
    contents: Contents, model: VideoClassifier, *, allow_other_trunk: bool
) -> None:
    trunk, folder = contents.config["backbone"], contents.folder
    if not allow_other_trunk:
        Trunk(trunk["name"], trunk["weights_hash"]).require(model.trunk)
        if contents.config["preprocessing"] != _describe_pixels(model.backbone):
            raise ValueError(
                f"{folder / CONFIG}: preprocessing is not that of the trunk {trunk['name']!r}"
            )
    if list(model.labels) != contents.labels:
        raise ValueError(
            f"{folder} was trained on {len(contents.labels)} other labels: see its {LABELS}"
        )
    check_trainable(model, contents.described())
    load_trainable(model, contents.weights())


def configuration(folder: Path, *, allow: Packages = ()) -> dict[str, Any]:
    """Return the artifact as configuration of the command line: its model, and its protocol for videos.

    All of it was read with :func:`load`'s care, but for the protocol, which is the data module's. Its trunk's
    ``weights`` are not there where they are to be given by the user.

    Errors as in :func:`load`.
    """
    contents = read(folder)
    _recipe(contents, allow)
    linked = {"image_size", "num_frames"}  # they come with the data
    trunk = {
        key: value
        for key, value in _trunk_arguments(contents).items()
        if key not in linked
    }
    model = {
        "backbone": trunk,
        "adapters": contents.config["adapters"],
        "head": contents.config["head"],
    }
    return {
        "model": {"class_path": "VideoClassifier", "init_args": model},
        "labels": contents.labels,
        "protocol": contents.config["protocol"],
    }


def read_labels(folder: Path) -> list[str]:
    """Return class names by index. Errors as in :func:`load`."""
    return read(folder).labels


def read_config(folder: Path) -> dict[str, Any]:
    """Return the artifact's ``adapter_config.json``. Errors as in :func:`load`."""
    return read(folder).config


def require_weights(weights: str, folder: Path) -> None:
    """Refuse a trunk of which the artifact only says that its weights came from a file.

    Raises:
        ValueError: so it is: an artifact may not choose the file.
    """
    if weights == LOCAL_FILE:
        raise ValueError(
            f"{folder / CONFIG}: its trunk's weights came from a local file, and an artefact does not choose which "
            "file of yours is read: add --model.backbone.weights=FILE (in Python, load(..., weights=FILE))"
        )


def _recipe(contents: Contents, allow: Packages) -> Recipe:
    """Decode stack and head, and compare what they would train with the weights, all without memory."""
    config, path = contents.config, contents.folder / CONFIG
    try:
        _refuse_large_numbers(contents)
        adapters = [decode(entry, Adapter, allow=allow) for entry in config["adapters"]]
        recipe = Recipe(adapters, _decode_head(config["head"], allow))
        with torch.random.fork_rng([]), torch.device("meta"):
            trunk = VideoViT(**_trunk_arguments(contents, weights="random"))
            model = VideoClassifier(
                trunk, recipe.adapters, contents.labels, head=recipe.head
            )
        check_trainable(model, contents.described())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # numbers that fit no model end in anything
        reason = str(error).strip().partition("\n")[0][:200]
        raise ValueError(
            f"{path}: this model cannot be built ({type(error).__name__}: {reason})"
        ) from error
    return recipe


def _refuse_large_numbers(contents: Contents) -> None:
    """Compare whole numbers of stack and head with the weights: a loop over blocks ends, whatever a file says.

    Raises:
        ValueError: one is larger than 256, than any side of any tensor, and than the number of tensors.
    """
    sides = [side for info in contents.tensors.values() for side in info.shape]
    most = max(256, len(contents.tensors), *sides)
    for number in _numbers([contents.config["adapters"], contents.config["head"]]):
        if abs(number) > most:
            raise ValueError(
                f"the number {number:.6g} is larger than anything in {WEIGHTS}"
            )


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(cast(Mapping[str, Any], value).values())
    if isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def _encode_head(head: HeadRecipe) -> dict[str, Any]:
    """The arguments of a linear head; any other head as :func:`encode` has methods."""
    return asdict(cast(Any, head)) if type(head) is LinearHead else encode(head)


def _decode_head(entry: Mapping[str, Any], allow: Packages) -> HeadRecipe:
    return (
        decode(entry, HeadRecipe, allow=allow)
        if "class_path" in entry
        else build(LinearHead, entry)
    )


def _trunk_arguments(
    contents: Contents, *, weights: str | None = None
) -> dict[str, Any]:
    """Those of ``VideoViT``; where ``weights`` are not given, they are as the artifact says, and never name a file."""
    trunk: dict[str, Any] = dict(contents.config["backbone"])
    del trunk["weights_hash"]
    trunk["weights"] = weights or _published(trunk["name"], trunk["weights"])
    return trunk


def _describe_trunk(vit: VideoViT) -> dict[str, Any]:
    return {
        "name": vit.name,
        "weights": _published(vit.name, vit.weights),
        "weights_hash": vit.weights_hash,
        "image_size": vit.image_size[0],
        "num_frames": vit.grid.frames,
        "depth": vit.depth,
        "readout": vit.readout,
        "frozen_dtype": vit.frozen_dtype,
    }


def _published(name: str, weights: str) -> str:
    """Return ``hub``, ``random`` or a tag of open_clip as it is, and anything else as ``file``."""
    if weights in ("hub", "random"):
        return weights
    return (
        weights
        if name.startswith(PREFIX) and weights in published_tags(name)
        else LOCAL_FILE
    )


def _describe_pixels(vit: VideoViT) -> dict[str, list[float]]:
    return {
        "mean": vit.pixel_mean.flatten().tolist(),
        "std": vit.pixel_std.flatten().tolist(),
    }
