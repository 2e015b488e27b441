"""Write the members of a sweep as banks: members that share trunk, data and Trainer share the trunk's pass."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from lightning_petl.runs.config_diff import config_differences
from lightning_petl.sweep.order import SweepMember

ONE = "bank"
"""Folder of the bank, where there is one alone."""

_CLASSIFIER = "VideoClassifier"
_HEAD = "LinearHead"
_AVERAGE = "EMA"
_MONITOR = ("val/top1", "max")
# of a classifier, what a member of a bank has of its own
_OWN = ("adapters", "head", "optim", "label_smoothing")
_MOST_KEYS = 3  # in one message


def group(members: Sequence[SweepMember]) -> list[list[SweepMember]]:
    """Return members that can share a bank, together.

    Learning rates 0.1 and 0.01 with seeds 0 and 1 make two banks, one a seed: the seed decides
    which clips and frames a batch has, and a bank has one batch for all::

        lr=0.1,seed=0   lr=0.01,seed=0        lr=0.1,seed=1   lr=0.01,seed=1

    Raises:
        ValueError: a member cannot be in a bank, or no two can share one; with the keys that say so.
    """
    groups: dict[str, list[SweepMember]] = {}
    for member in members:
        _require_classifier(member)
        key = json.dumps(_shared(member.config), sort_keys=True)
        groups.setdefault(key, []).append(member)
    found = list(groups.values())
    if len(members) > 1 and len(found) == len(members):
        first = _shared(found[0][0].config)
        second = _shared(found[1][0].config)
        keys = [key for key, _, _ in config_differences(first, second)]
        raise ValueError(
            f"bank: no two members can share one, for they differ in {_listed(keys)}; members "
            "of a bank may differ in model.adapters (readers), model.backbone.readout, "
            "model.head, model.optim, model.label_smoothing and trainer.gradient_clip_val; leave --bank out"
        )
    return found


def names(groups: Sequence[Sequence[SweepMember]]) -> list[str]:
    """Return a folder name for each bank: the words that all its members have, where there are several banks.

    ``lr=0.1,seed=0`` and ``lr=0.01,seed=0`` make ``seed=0``.
    """
    if len(groups) == 1:
        return [ONE]
    found: list[str] = []
    for members in groups:
        words: list[str] = []
        for key, word in members[0].words.items():
            if all(member.words[key] == word for member in members):
                words.append(word)
        found.append(",".join(words) or ONE)
    # Files as values may make banks that no word tells apart.
    if len(set(found)) == len(found):
        return found
    return [f"{ONE}_{number}" for number in range(len(found))]


def configuration(members: Sequence[SweepMember]) -> dict[str, Any]:
    """Return the configuration of the bank of some members, which are called as in the sweep.

    Args:
        members: of one group.
    """
    shared = _shared(members[0].config)
    # What all share, told apart only to compare it.
    del shared["global_batch"]
    backbone = deepcopy(members[0].config["model"]["init_args"]["backbone"])
    readout = backbone["init_args"]["readout"]
    recipes: dict[str, Any] = {}
    for member in members:
        recipe = _recipe(member.config)
        # Readers answer in the place of the trunk's own read-out.
        if recipe["adapters"] or recipe["readout"] == readout:
            del recipe["readout"]
        recipes[member.name] = recipe
    shared["model"] = {
        "class_path": "Bank",
        "init_args": {"backbone": backbone, "members": recipes},
    }
    return shared


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a classifier's own part, as :class:`~lightning_petl.tasks.bank.member.Member` has it."""
    model = config["model"]["init_args"]
    recipe: dict[str, Any] = {}
    for key in _OWN:
        recipe[key] = deepcopy(model[key])
    # A member has no other kind of head, and so no name of its class.
    recipe["head"] = recipe["head"]["init_args"]
    recipe["readout"] = model["backbone"]["init_args"]["readout"]
    recipe["clip_norm"] = config["trainer"]["gradient_clip_val"]
    return recipe


def _shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what members of a bank may differ in."""
    shared = deepcopy(dict(config))
    model = shared["model"]["init_args"]
    shared["global_batch"] = model["optim"]["global_batch"]
    for key in _OWN:
        del model[key]
    del model["backbone"]["init_args"]["readout"]
    shared["trainer"]["gradient_clip_val"] = None
    # It names the folder of the member.
    del shared["run_folder"]
    return shared


def _require_classifier(member: SweepMember) -> None:
    """Refuse a configuration that has no equal in a bank.

    Raises:
        ValueError: with the key that says so.
    """
    config = member.config
    trainer = config["trainer"]
    checkpoint = config["checkpoint"]
    task = config["model"]["class_path"]
    if task != _CLASSIFIER:
        raise _refusal("model", task, f"a bank trains {_CLASSIFIER} alone")
    head = config["model"]["init_args"]["head"]["class_path"]
    if head != _HEAD:
        raise _refusal("model.head", head, f"members of a bank have {_HEAD}")
    algorithm = trainer["gradient_clip_algorithm"]
    if algorithm not in (None, "norm"):
        raise _refusal(
            "trainer.gradient_clip_algorithm", algorithm, "members clip norms"
        )
    for callback in trainer["callbacks"] or ():
        if callback["class_path"] != _AVERAGE:
            raise _refusal(
                "trainer.callbacks",
                callback["class_path"],
                "it would see the bank as one run",
            )
    if (checkpoint["monitor"], checkpoint["mode"]) != _MONITOR:
        raise _refusal(
            "checkpoint.monitor",
            checkpoint["monitor"],
            f"the best weights of a member are those of {_MONITOR[0]}",
        )
    for key in ("artifact", "ckpt_path"):
        if config.get(key) is not None:
            raise _refusal(key, config[key], "a bank begins with initial values")


def _refusal(key: str, value: object, why: str) -> ValueError:
    return ValueError(
        f"bank: {key} is {value}, and {why}; leave --bank out, "
        "so that each member is a run of its own"
    )


def _listed(keys: Sequence[str]) -> str:
    first = ", ".join(keys[:_MOST_KEYS])
    if len(keys) > _MOST_KEYS:
        return f"{first} and {len(keys) - _MOST_KEYS} more"
    return first
