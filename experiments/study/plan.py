"""Describe a study: which methods are trained, tuned and tested under one protocol."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

FILE = "study.yaml"
LR = "model.init_args.optim.lr"


@dataclass(frozen=True, kw_only=True)
class StudiedMethod:
    """Hold one method of a study.

    Attributes:
        name: of its folders, and in tables.
        adapters: its stack, as ``model.adapters`` has it, in JSON.
        learning_rates: that validation chooses from; those of the study where not given.
        bank: whether its learning rates may be tried behind one pass of the trunk.
        flags: more options of ``fit``, by key.
    """

    name: str
    adapters: str = "[]"
    learning_rates: Sequence[float] = ()
    bank: bool = False
    flags: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Hold a study.

    Attributes:
        title: in words.
        protocol: the file of all that is equal for every method, below the folder of the study.
        methods: what is compared.
        learning_rates: that validation chooses from, with the first seed.
        seeds: of the runs that are tested.
        tuning: options of ``fit`` while a learning rate is chosen, by key.
        testing: options of ``fit`` in the runs that are tested, by key.
        vary: one more key of ``fit`` with its values: each is trained with every seed.
        chosen_by: the folder of a study that has chosen the learning rates; nothing is tuned then.

    Raises:
        ValueError: two methods have one name, or fewer than two learning rates or no seed are given.
    """

    title: str
    protocol: str
    methods: Sequence[StudiedMethod]
    learning_rates: Sequence[float] = ()
    seeds: Sequence[int] = (0, 1, 2)
    tuning: Mapping[str, str | int | float] = field(default_factory=dict)
    testing: Mapping[str, str | int | float] = field(default_factory=dict)
    vary: Mapping[str, Sequence[int | float]] = field(default_factory=dict)
    chosen_by: str | None = None

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError(f"two methods have one name: {', '.join(names)}")
        if not self.seeds:
            raise ValueError("seeds: a study needs at least one")
        if self.chosen_by is not None:
            return
        for method in self.methods:
            if len(self.rates(method)) < 2:
                raise ValueError(
                    f"{method.name}: give two learning rates or more to choose from"
                )

    def rates(self, method: StudiedMethod) -> Sequence[float]:
        """Return the learning rates that are tried for a method."""
        return method.learning_rates or self.learning_rates


def _as_text(file: Path) -> Any:
    """Return the content of a study with each stack in JSON, so that no class is built of it here."""
    content = yaml.safe_load(file.read_text("utf-8"))
    for method in content.get("methods") or ():
        method["adapters"] = json.dumps(method.get("adapters", []))
    return content


def read(folder: Path) -> Study:
    """Read the study of a folder.

    Raises:
        ValueError: there is none, or a key or a value in it is wrong.
    """
    file = folder / FILE
    if not file.is_file():
        raise ValueError(f"{folder} holds no {FILE}: give the folder of a study")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Study, "study")
    try:
        given = parser.parse_object({"study": _as_text(file)})
        return parser.instantiate_classes(given)["study"]
    except ArgumentError as error:
        raise ValueError(f"{file}: {error}") from error
