"""The adapter artefact: the folder that is shared, without a byte of the frozen trunk."""

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from safetensors.torch import load_file
from safetensors.torch import save as serialise

from lightning_petl.adapters import Adapter
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoint import State, Trunk, gathered, load_trainable, trainable_state, write_whole
from lightning_petl.heads import HeadRecipe, LinearHead
from lightning_petl.parallel import is_first_rank
from lightning_petl.tasks.classification import VideoClassifier

SCHEMA = 1
CONFIG, WEIGHTS, LABELS = "adapter_config.json", "adapter_model.safetensors", "labels.json"


class Trained(NamedTuple):
    """A stack on a trunk, a head, and what was trained of both, named as in a ``VideoClassifier``."""

    backbone: VideoViT
    adapters: Sequence[Adapter]
    head: HeadRecipe
    labels: Sequence[str]
    weights: State


def save(folder: Path, model: VideoClassifier, protocol: Mapping[str, Any]) -> None:
    """:func:`write` what was trained in ``model``."""
    state = trainable_state(model)
    write(folder, Trained(model.backbone, model.adapters, model.head_recipe, model.labels, state), protocol)


def write(folder: Path, trained: Trained, protocol: Mapping[str, Any]) -> None:
    """Write stack, trainable weights, head, labels, preprocessing, sampling protocol and the trunk's hash.

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
        "preprocessing": {
            "mean": trained.backbone.pixel_mean.flatten().tolist(),
            "std": trained.backbone.pixel_std.flatten().tolist(),
        },
        "protocol": dict(protocol),
    }
    whole = gathered(dict(trained.weights))
    if not is_first_rank():
        return
    weights = {key: value.detach().cpu().contiguous() for key, value in whole.items()}
    write_whole(folder / WEIGHTS, serialise(weights, {"format": "pt"}))
    write_whole(folder / LABELS, json.dumps(list(trained.labels), indent=1, ensure_ascii=False).encode())
    write_whole(folder / CONFIG, json.dumps(config, indent=1).encode())


def load(folder: Path, *, weights: str | None = None, allow_other_trunk: bool = False) -> VideoClassifier:
    """Rebuild the model of an artefact on its trunk, in eval.

    Args:
        folder: what :func:`save` wrote.
        weights: where the trunk's weights come from; None: from where they came in training.
        allow_other_trunk: accept a trunk with other weights than those it was trained on.

    Raises:
        FileNotFoundError: not an artefact.
        ValueError: another schema, another trunk, or weights of another stack.
    """
    config, labels = read_config(folder), read_labels(folder)
    trunk: dict[str, Any] = dict(config["backbone"])
    del trunk["weights_hash"]
    trunk["weights"] = weights or trunk["weights"]
    backbone = VideoViT(**trunk)
    adapters = [decode(entry) for entry in config["adapters"]]
    model = VideoClassifier(backbone, adapters, labels, head=_decode_head(config["head"]))
    restore(folder, model, allow_other_trunk=allow_other_trunk)
    return model.eval()


def restore(folder: Path, model: VideoClassifier, *, allow_other_trunk: bool = False) -> None:
    """Load an artefact's trained state into a model of the same stack and labels.

    Raises:
        FileNotFoundError: not an artefact.
        ValueError: another schema, another trunk, other labels, or weights of another stack.
    """
    trunk = read_config(folder)["backbone"]
    if not allow_other_trunk:
        Trunk(trunk["name"], trunk["weights_hash"]).require(model.trunk)
    if list(model.labels) != read_labels(folder):
        raise ValueError(f"{folder} was trained on {len(read_labels(folder))} other labels: see its {LABELS}")
    load_trainable(model, load_file(folder / WEIGHTS))


def configuration(folder: Path) -> dict[str, Any]:
    """The artefact as configuration of the command line: its model, and its protocol for videos without annotation.

    Errors as in :func:`load`.
    """
    config = read_config(folder)
    linked = {"weights_hash", "image_size", "num_frames"}  # the last two come with the data
    trunk = {key: value for key, value in config["backbone"].items() if key not in linked}
    model = {"backbone": trunk, "adapters": config["adapters"], "head": config["head"]}
    sampling = dict(config["protocol"]["sampling"])
    data = {
        "labels": read_labels(folder),
        "sampling": {"class_path": sampling.pop("name"), "init_args": sampling},
        "image_size": config["protocol"]["image_size"],
        "views": config["protocol"]["views"],
        "eval_crop": config["protocol"]["crop"],
    }
    return {
        "model": {"class_path": "VideoClassifier", "init_args": model},
        "data": {"class_path": "VideoFiles", "init_args": data},
    }


def read_labels(folder: Path) -> list[str]:
    """Class names by index."""
    return json.loads((folder / LABELS).read_text("utf-8"))


def read_config(folder: Path) -> dict[str, Any]:
    """The artefact's ``adapter_config.json``. Errors as in :func:`load`."""
    missing = [name for name in (CONFIG, WEIGHTS, LABELS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is not an adapter artefact: it has no {', '.join(missing)}")
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    if config.get("schema") != SCHEMA:
        raise ValueError(f"{folder / CONFIG} has schema {config.get('schema')!r}; this version reads {SCHEMA}")
    return config


def encode(adapter: Adapter) -> dict[str, Any]:
    """A method as ``{"class_path", "init_args"}`` in JSON types; methods inside it likewise."""
    values = {field.name: getattr(adapter, field.name) for field in fields(cast(Any, adapter))}
    return _named(adapter, {name: encode(v) if isinstance(v, Adapter) else v for name, v in values.items()})


def decode(entry: Mapping[str, Any]) -> Adapter:
    """The method that :func:`encode` wrote.

    Raises:
        ValueError: the class is no method, or is not installed here.
    """
    return cast(Adapter, _built(entry, Adapter))


def _named(recipe: object, arguments: dict[str, Any]) -> dict[str, Any]:
    kind = type(recipe)
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _built(entry: Mapping[str, Any], base: type) -> object:
    module, _, name = entry["class_path"].rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the artefact uses {entry['class_path']}, which is not installed here") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        what = "a method" if base is Adapter else "a head"
        raise ValueError(f"the artefact names {entry['class_path']} as {what}, which it is not")
    defaults = {field.name: field.default for field in fields(cast(Any, kind))}
    return kind(**{key: _argument(value, defaults.get(key, MISSING)) for key, value in entry["init_args"].items()})


def _encode_head(head: HeadRecipe) -> dict[str, Any]:
    """The arguments of a linear head; any other head as :func:`encode` has methods."""
    arguments = asdict(cast(Any, head))
    return arguments if type(head) is LinearHead else _named(head, arguments)


def _decode_head(entry: Mapping[str, Any]) -> HeadRecipe:
    return cast(HeadRecipe, _built(entry, HeadRecipe)) if "class_path" in entry else LinearHead(**entry)


def _argument(value: Any, default: Any) -> Any:
    if isinstance(value, Mapping) and "class_path" in value:
        return decode(cast(Mapping[str, Any], value))
    return tuple(value) if isinstance(default, tuple) else value  # JSON has no tuples


def _describe_trunk(vit: VideoViT) -> dict[str, Any]:
    return {
        "name": vit.name,
        "weights": vit.weights,
        "weights_hash": vit.weights_hash,
        "image_size": vit.image_size[0],
        "num_frames": vit.grid.frames,
        "depth": vit.depth,
        "readout": vit.readout,
        "frozen_dtype": vit.frozen_dtype,
    }
