"""Build the classifier that an adapter artifact describes, on its frozen trunk.

An artifact may come from anybody. Loading one runs no code that it names, reads no file outside its folder, and builds
nothing before its numbers were compared with the weights that it brings.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from lightning_petl.adapters import Adapter
from lightning_petl.artifacts.files import CONFIG, WEIGHTS, Contents, read
from lightning_petl.artifacts.format import (
    decode_head,
    describe_pixels,
    refuse_local_file,
    trunk_arguments,
)
from lightning_petl.artifacts.recipes import Packages, decode
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import (
    check_trainable,
    load_trainable,
)
from lightning_petl.checkpoints.trunk_id import TrunkId
from lightning_petl.heads.linear import HeadRecipe
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.task import require_labels


class Recipe(NamedTuple):
    """Hold the stack and the head of an artifact, from which a model is built on a trunk."""

    adapters: list[Adapter]
    head: HeadRecipe


def load(
    folder: Path,
    *,
    weights: str | None = None,
    allow_other_trunk: bool = False,
    allow: Packages = (),
) -> VideoClassifier:
    """Rebuild the model of an artifact on its trunk, in eval.

    Args:
        folder: what :func:`~lightning_petl.artifacts.format.write` wrote.
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
    trunk = trunk_arguments(contents, weights=weights)
    if weights is None:
        refuse_local_file(trunk["weights"], folder)
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
    trunk = contents.config["backbone"]
    folder = contents.folder
    if not allow_other_trunk:
        TrunkId(trunk["name"], trunk["weights_hash"]).require(model.trunk)
        if contents.config["preprocessing"] != describe_pixels(model.backbone):
            raise ValueError(
                f"{folder / CONFIG}: preprocessing is not that of the trunk {trunk['name']!r}"
            )
    if not model.fits_any_labels:
        require_labels(contents.labels, model.labels, str(folder))
    check_trainable(model, contents.described())
    load_trainable(model, contents.weights())


def configuration(folder: Path, *, allow: Packages = ()) -> dict[str, Any]:
    """Return the artifact as configuration of the command line: its model, labels, and its protocol for videos.

    All of it was read with :func:`load`'s care, but for the protocol, which is the data module's. The trunk's
    ``weights`` are ``file`` where they are to be given by the user.

    Errors as in :func:`load`.
    """
    contents = read(folder)
    _recipe(contents, allow)
    trunk = trunk_arguments(contents)
    # these two come with the data, to which the command line links them
    for linked in ("image_size", "num_frames"):
        del trunk[linked]
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


def _recipe(contents: Contents, allow: Packages) -> Recipe:
    """Decode stack and head, and compare what they would train with the weights, all without memory."""
    config = contents.config
    path = contents.folder / CONFIG
    try:
        _refuse_large_numbers(contents)
        adapters = [
            decode(entry, Adapter, allow=allow) for entry in config["adapters"]
        ]
        recipe = Recipe(adapters, decode_head(config["head"], allow))
        # without drawing: the model that is kept is built by others, from their seed
        with torch.random.fork_rng([]), torch.device("meta"):
            trunk = VideoViT(**trunk_arguments(contents, weights="random"))
            model = VideoClassifier(
                trunk, recipe.adapters, contents.labels, head=recipe.head
            )
        check_trainable(model, contents.described())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:
        # numbers that fit no model end in anything
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
    most = max(256, len(contents.tensors))
    for info in contents.tensors.values():
        most = max(most, *info.shape, 0)
    config = contents.config
    for number in _numbers([config["adapters"], config["head"]]):
        if abs(number) > most:
            raise ValueError(
                f"the number {number:.6g} is larger than anything in {WEIGHTS}"
            )


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in a JSON value, at any depth."""
    if isinstance(value, Mapping):
        value = list(cast(Mapping[str, Any], value).values())
    if isinstance(value, list):
        for item in cast(list[Any], value):
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value
