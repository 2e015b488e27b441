"""Divide a configuration into what is compared, what must be equal for that, and what is neither.

Names are short: ``model.init_args.adapters[0].init_args.rank`` of a stack with LoRA is ``adapters.LoRA.rank``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

Flat = dict[str, Any]
"""Values by short name."""

UNKNOWN = "unknown"
"""In the place of what an older run has not written; it is never equal to a value."""

SEEDS = ("seed_everything", "data.seed")

# Where things are and how fast they are made; no result depends on them.
_OF_DATA = (
    "root", "num_workers", "transforms_on", "cache", "predict_path", "files", "batch_size", "seed", "labels",
    "sampling.num_frames", "views", "image_size",
)  # fmt: skip
_FOR_TRAINING = ("train_transform", "augmentations", "mixing", "num_sample")
_FOR_EVALUATION = ("eval_crop",)

# of the Trainer: settings that change which clips are seen, or how often
_OF_TRAINER = (
    "max_steps", "min_epochs", "min_steps", "max_time", "limit_train_batches", "limit_test_batches",
    "overfit_batches", "fast_dev_run",
)  # fmt: skip
_DEFAULTS = {"max_steps": -1, "overfit_batches": 0.0, "fast_dev_run": False}

# of the model: told by other keys of the protocol, or no choice of the user's
_OF_MODEL = (
    "backbone.name", "backbone.weights", "backbone.depth", "backbone.image_size", "backbone.num_frames",
    "backbone.deferred", "backbone", "labels", "members", "grid", "optim.global_batch",
)  # fmt: skip

# what a user may call a key, and what it is called here
ALIASES = {
    "method": "adapters",
    "data.views": "views",
    "data.sampling.num_frames": "frames",
    "data.num_frames": "frames",
    "data.image_size": "image_size",
    "data.class_path": "data",
    "trainer.max_epochs": "epochs",
    "trainer.precision": "precision",
    "trainer.gradient_clip_val": "clip_norm",
    "optim.global_batch": "batch",
    "backbone.depth": "blocks",
    "checkpoint.monitor": "weights",
}


class Divided(NamedTuple):
    """Hold a configuration by what its values are for.

    Attributes:
        settings: of the method; runs that differ in them are different rows.
        training: of the protocol, decided by the training.
        testing: of the protocol, decided by the test.
        seed: of the run.
    """

    settings: Flat
    training: Flat
    testing: Flat
    seed: str


def canonical(key: str) -> str:
    """Return the short name of a key that a user gives.

    >>> canonical("model.init_args.optim.lr"), canonical("method"), canonical("data.views")
    ('optim.lr', 'adapters', 'views')
    """
    short = ".".join(part for part in key.split(".") if part != "init_args")
    short = short.removeprefix("model.")
    return ALIASES.get(short, short)


def flat(value: Any, key: str = "") -> Flat:
    """Return the leaves of a configuration by short name; a class is a leaf, and its options lie below it.

    >>> lora = {"class_path": "LoRA", "init_args": {"rank": 8}}
    >>> flat({"adapters": [lora], "optim": {"lr": 0.1}})
    {'adapters': 'LoRA', 'adapters.LoRA.rank': 8, 'optim.lr': 0.1}
    """
    if isinstance(value, Mapping):
        return _flat_mapping(cast(Mapping[str, Any], value), key)
    if isinstance(value, list | tuple):
        return _flat_list(cast(Sequence[Any], value), key)
    return {key: value}


def _flat_mapping(value: Mapping[str, Any], key: str) -> Flat:
    found: Flat = {}
    inner = value
    if "class_path" in value:
        found[key] = _class_name(value)
        inner = value.get("init_args") or {}
    elif not value:
        return {key: {}}
    for name, item in inner.items():
        found |= flat(item, f"{key}.{name}" if key else str(name))
    return found


def _flat_list(value: Sequence[Any], key: str) -> Flat:
    classes: list[Mapping[str, Any]] = []
    for item in value:
        if isinstance(item, Mapping) and "class_path" in item:
            classes.append(cast(Mapping[str, Any], item))
    if len(classes) < len(value) or not value:
        return {key: "none" if key == "adapters" else list(value)}
    names: list[str] = []
    found: Flat = {}
    for item in classes:
        name = _class_name(item)
        names.append(name)
        # a stack may hold a method twice
        place = name if names.count(name) == 1 else f"{name}_{names.count(name)}"
        below = flat(item.get("init_args") or {}, f"{key}.{place}")
        below.pop(f"{key}.{place}", None)
        found |= below
    return {key: "+".join(names)} | found


def _class_name(value: Mapping[str, Any]) -> str:
    return str(value["class_path"]).rpartition(".")[2]


def divided(training: Mapping[str, Any], testing: Mapping[str, Any]) -> Divided:
    """Divide the configuration of a training, and of the test of what was trained.

    A key that nobody here knows is part of the protocol where it is of the data, and a setting of the method where it
    is of the model: the first separates runs, the second names them, and neither is passed over.

    Args:
        training: as ``config.yaml`` has it; empty where it is not known.
        testing: likewise.
    """
    trained = flat(training)
    tested = flat(testing)
    model = trained if trained else tested
    return Divided(
        _settings(model),
        _of_training(trained, tested),
        _of_testing(tested),
        _seed(model),
    )


def _seed(config: Flat) -> str:
    own = config.get("data.seed")
    seed = str(config.get("seed_everything", UNKNOWN))
    return seed if own is None else f"{seed}, data {own}"


def _settings(config: Flat) -> Flat:
    found: Flat = {}
    for key, value in config.items():
        if key.startswith("model.") and key[len("model.") :] not in _OF_MODEL:
            if not key.startswith(("model.members.", "model.grid.")):
                found[key.removeprefix("model.")] = value
        elif key == "trainer.callbacks" or key.startswith("trainer.callbacks."):
            found[key.removeprefix("trainer.")] = value
    # the same setting, which a member of a bank has by this name
    if "trainer.gradient_clip_val" in config:
        found["clip_norm"] = config["trainer.gradient_clip_val"]
        kind = config.get("trainer.gradient_clip_algorithm")
        if kind not in (None, "norm"):
            found["clip_by"] = kind
    return found


def _of_training(trained: Flat, tested: Flat) -> Flat:
    found: Flat = {"epochs": trained.get("trainer.max_epochs", UNKNOWN)}
    found["weights"] = _selection(trained)
    for key in _OF_TRAINER:
        if key != "limit_test_batches":
            value = trained.get(f"trainer.{key}")
            if value != _DEFAULTS.get(key):
                found[f"trainer.{key}"] = value
    for key, value in _data_keys(trained).items():
        if _is_of(key, _FOR_TRAINING):
            found[f"data.{key}"] = value
        elif _is_of(key, _FOR_EVALUATION):
            continue
        elif tested.get(f"data.{key}") != value:
            # as a subset that training alone had
            found[f"train data.{key}"] = value
    return found


def _selection(trained: Flat) -> str:
    if not trained:
        return UNKNOWN
    monitor = trained.get("checkpoint.monitor")
    # where nothing is validated, nothing is the best
    if trained.get("trainer.limit_val_batches") == 0:
        return "last"
    return f"best {monitor}" if monitor else "last"


def _of_testing(tested: Flat) -> Flat:
    found: Flat = {
        "data": tested.get("data", UNKNOWN),
        "frames": tested.get("data.sampling.num_frames", UNKNOWN),
        "views": tested.get("data.views", UNKNOWN),
        "image_size": tested.get("data.image_size", UNKNOWN),
    }
    for key, value in _data_keys(tested).items():
        if not _is_of(key, _FOR_TRAINING):
            found[f"data.{key}"] = value
    limit = tested.get("trainer.limit_test_batches")
    if limit is not None:
        found["trainer.limit_test_batches"] = limit
    return found


def _data_keys(config: Flat) -> Flat:
    found: Flat = {}
    for key, value in config.items():
        short = key.removeprefix("data.")
        if short != key and not _is_of(short, _OF_DATA):
            found[short] = value
    return _without_idle(found)


def _without_idle(data: Flat) -> Flat:
    """Return the keys of a data set without options of a subset that have no effect, which older runs do not have.

    >>> _without_idle({"shots": None, "classes": "all", "base_classes": "first_half", "subset_seed": 0})
    {'shots': None}
    """
    found = dict(data)
    limited = found.get("shots") is not None or found.get("percent") is not None
    if found.get("classes") == "all":
        found.pop("classes")
        found.pop("base_classes", None)
    if not limited and found.get("base_classes") != "random_half":
        found.pop("subset_seed", None)
    return found


def _is_of(key: str, names: Sequence[str]) -> bool:
    """Return whether a key is one of the names, or lies below one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)
