"""Say what must be equal where two runs are compared: of each run, a value a key, or that it is unknown."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from lightning_petl.callbacks.outputs.member_runs import MONITOR
from lightning_petl.compare.folders import RunPlace, WrittenRecords
from lightning_petl.compare.keys import UNKNOWN, Divided, Flat
from lightning_petl.compare.older import OlderFacts
from lightning_petl.compare.scores import RunScores

UNTRAINED = "not trained"

# digits of a hash that are shown: enough to tell two of them apart
_SHOWN = 8


def protocol_of(
    place: RunPlace,
    told: WrittenRecords,
    parts: Divided,
    older: OlderFacts,
    scores: RunScores,
) -> Flat:
    """Return the protocol of a run by short name.

    Args:
        place: of the run.
        told: what was written of it.
        parts: of its configurations.
        older: what an older run has in its artifact.
        scores: of its test.
    """
    training = parts.training
    if not told.training_config and _is_untrained(told):
        training = {"epochs": 0, "weights": UNTRAINED}
    elif place.member:
        training = training | {"weights": _weights_of_member(told, training)}
    # in the order in which a reader asks for them
    looks = dict(parts.testing)
    found: Flat = {"task": _task(scores)}
    for key in ("data", "frames", "views", "image_size"):
        found[key] = looks.pop(key)
    return found | {
        "split": "test",
        "test_clips": _test_clips(scores),
        **_of_files(told, training),
        "trunk": _trunk(told, older),
        "blocks": _blocks(told),
        "epochs": training["epochs"],
        "batch": _batch(told, training),
        "weights": training["weights"],
        "precision": _precision(told),
        **looks,
        **training,
    }


def _weights_of_member(told: WrittenRecords, training: Flat) -> str:
    """Return which weights of a member were tested: its own best ones, or those of the bank's checkpoint."""
    weights = str(training["weights"])
    if told.testing.get("own_best"):
        # each member keeps its best, whatever checkpoints the bank keeps
        trainer = told.training_config.get("trainer") or {}
        return (
            "last" if trainer.get("limit_val_batches") == 0 else f"best {MONITOR}"
        )
    return weights if weights == "last" else f"{weights} of the bank"


def _task(scores: RunScores) -> str:
    return "retrieval" if scores.is_retrieval else "classification"


def _is_untrained(told: WrittenRecords) -> bool:
    return (
        bool(told.testing)
        and told.testing.get("checkpoint") is None
        and not (told.testing_config.get("artifact"))
    )


def _test_clips(scores: RunScores) -> str:
    """Return how many clips or captions were tested, and a hash of which and of their classes."""
    # of names and labels: the order of the file depends on the number of ranks
    text = json.dumps(scores.keys).encode()
    digest = hashlib.sha256(text).hexdigest()
    return f"{len(scores.keys)} ({digest[:_SHOWN]})"


def _of_files(told: WrittenRecords, training: Mapping[str, Any]) -> Flat:
    """Return which files were read, and what has decoded them."""
    tested: Mapping[str, Any] | None = told.testing.get("data")
    trained: Mapping[str, Any] | None = told.training.get("data")
    if training.get("weights") == UNTRAINED:
        decoder = _decoder(tested, told.testing_config)
        return {
            "train_clips": UNTRAINED,
            "manifest": _manifest(tested, tested),
            "decoder": decoder,
        }
    decoder = _decoder(tested, told.testing_config)
    of_training = _decoder(trained, told.training_config)
    if decoder != of_training:
        decoder = f"{decoder}; in training {of_training}"
    return {
        "train_clips": _clips(trained),
        "manifest": _manifest(trained, tested),
        "decoder": decoder,
    }


def _clips(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return UNKNOWN
    return f"{record['clips']} ({str(record['names'])[:_SHOWN]})"


def _manifest(
    trained: Mapping[str, Any] | None, tested: Mapping[str, Any] | None
) -> str:
    """Return the hashes of the manifest's lines of both splits; ``none`` where nobody has indexed the files."""
    if trained is None or tested is None:
        return UNKNOWN
    hashes = [
        str(record["manifest"] or "none")[:_SHOWN] for record in (trained, tested)
    ]
    if hashes == ["none", "none"]:
        return "none"
    return f"train {hashes[0]}, test {hashes[1]}"


def _decoder(record: Mapping[str, Any] | None, config: Mapping[str, Any]) -> str:
    if record is None:
        return UNKNOWN
    name = str(record["decoder"])
    if record.get("ingested"):
        name += ", of an ingested copy"
    data = config.get("data") or {}
    if (data.get("init_args") or {}).get("cache"):
        name += ", through a feature cache"
    return name


def _trunk(told: WrittenRecords, older: OlderFacts) -> str:
    record: Mapping[str, Any] = told.testing.get("trunk") or {}
    name = record.get("name")
    digest = record.get("weights_hash")
    if name is None and older.trunk is not None:
        name, digest = older.trunk
    if name is None:
        return UNKNOWN
    text = record.get("text")
    beside = f", text {text[:_SHOWN]}" if text else ""
    return f"{name} ({str(digest)[:_SHOWN]}){beside}"


def _blocks(told: WrittenRecords) -> Any:
    config = told.training_config or told.testing_config
    backbone = ((config.get("model") or {}).get("init_args") or {}).get("backbone")
    depth = ((backbone or {}).get("init_args") or {}).get("depth", UNKNOWN)
    return "all" if depth is None else depth


def _batch(told: WrittenRecords, training: Mapping[str, Any]) -> Any:
    """Return how many clips an update sees."""
    if training.get("weights") == UNTRAINED:
        return UNTRAINED
    if "batch" in told.training:
        batch = told.training["batch"]
        if told.training["task"] == "VideoTextRetrieval":
            # its loss compares the clips of one pass over all ranks
            passes = told.training.get("passes", 1)
            return f"{batch}, {batch // passes} in a loss" if passes > 1 else batch
        return batch
    model = (told.training_config.get("model") or {}).get("init_args") or {}
    asked = (model.get("optim") or {}).get("global_batch")
    return UNKNOWN if asked is None else asked


def _precision(told: WrittenRecords) -> str:
    """Return the precision of training and test."""
    # an older run says it in its configuration alone
    tested = str(told.testing.get("precision", _configured(told.testing_config)))
    if not told.training_config:
        return tested
    trained = told.training.get("precision", _configured(told.training_config))
    return tested if tested == trained else f"{trained}, tested in {tested}"


def _configured(config: Mapping[str, Any]) -> str:
    trainer = config.get("trainer")
    if not trainer:
        return UNKNOWN
    return str(trainer.get("precision") or "32-true")
