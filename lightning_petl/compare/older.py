"""Find out of artifacts, checkpoints and TensorBoard what older runs have not written anywhere else."""

import ast
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from data_modules.io.untrusted import read_json, tensors_of
from lightning_petl.artifacts.files import CONFIG, LABELS, WEIGHTS
from lightning_petl.artifacts.published_names import current_name, current_options
from lightning_petl.compare.folders import RunPlace
from lightning_petl.compare.keys import Flat
from lightning_petl.runs.folder import CHECKPOINTS, content

_MOST_BYTES = 1 << 22
# "artefact" until 0.1.0.dev1
_ARTIFACTS = ("artifact", "artefact", "artifact_last", "artefact_last")
_HPARAMS = "hparams.yaml"
# BatchNorm's statistics lie beside the parameters
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class OlderFacts(NamedTuple):
    """Hold what was found; None and empty stand for nothing.

    Attributes:
        trunk: name and hash of the trunk.
        labels: class names by index.
        parameters: that train.
        head: those of the head.
        settings: of a member of a bank.
    """

    trunk: tuple[str, str] | None = None
    labels: tuple[str, ...] = ()
    parameters: int | None = None
    head: int | None = None
    settings: Flat | None = None


def older_facts(place: RunPlace) -> OlderFacts:
    """Return what the artifacts of a run say, else what its checkpoints say."""
    trained = place.trained
    if trained is None:
        return OlderFacts()
    folder = trained / "members" / place.member if place.member else trained
    settings = _hparams(folder / _HPARAMS) if place.member else None
    for name in _ARTIFACTS:
        if (folder / name / CONFIG).is_file():
            return _of_artifact(folder / name)._replace(settings=settings)
    facts = _of_checkpoint(trained)
    if place.member:
        # a checkpoint of a bank holds the weights of all members
        facts = facts._replace(parameters=None, head=None)
    return facts._replace(settings=settings)


def _of_artifact(folder: Path) -> OlderFacts:
    trunk = read_json(folder / CONFIG, most=_MOST_BYTES)["backbone"]
    labels = read_json(folder / LABELS, most=_MOST_BYTES)
    sizes: dict[str, int] = {}
    for name, info in tensors_of(folder / WEIGHTS).items():
        sizes[name] = math.prod(info.shape)
    return OlderFacts(
        (trunk["name"], trunk["weights_hash"]),
        tuple(labels),
        _total(sizes, ""),
        _total(sizes, "head."),
    )


def _of_checkpoint(run: Path) -> OlderFacts:
    for path in sorted((run / CHECKPOINTS).glob("*.ckpt")):
        state = content(path)
        # one that cannot be read says nothing, and the next one may
        if isinstance(state, dict) and "trunk" in state:
            sizes: dict[str, int] = {}
            for name, tensor in state["state_dict"].items():
                sizes[name] = tensor.numel()
            name, digest = state["trunk"]
            labels = tuple(state.get("labels", ()))
            return OlderFacts(
                (name, digest), labels, _total(sizes, ""), _total(sizes, "head.")
            )
    return OlderFacts()


def _total(sizes: Mapping[str, int], prefix: str) -> int:
    total = 0
    for name, size in sizes.items():
        if name.startswith(prefix) and not name.endswith(_BUFFERS):
            total += size
    return total


def _hparams(path: Path) -> Flat | None:
    """Return the settings that TensorBoard's table has of a member, in the types that a configuration has."""
    if not path.is_file():
        return None
    written = yaml.safe_load(path.read_text("utf-8"))
    if not isinstance(written, dict):
        return None
    # the only head that a member may have
    found: Flat = {"head": "LinearHead"}
    for key, value in cast(dict[str, Any], written).items():
        found[_current(key)] = _value(value)
    return found


def _current(key: str) -> str:
    """Return a key with the names of now: ``adapters.MAdapter.lean`` is ``adapters.MAdapter.save_memory``."""
    parts = key.split(".")
    if len(parts) < 3 or parts[0] != "adapters":
        return key
    name = current_name(parts[1])
    option = next(iter(current_options(name, {parts[2]: None})))
    return ".".join(["adapters", name, option, *parts[3:]])


def _value(value: Any) -> Any:
    """Return a value that was written as text: ``"(0.9, 0.999)"`` is a list, ``"None"`` is None."""
    if not isinstance(value, str):
        return value
    try:
        read = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return list(read) if isinstance(read, tuple) else read
