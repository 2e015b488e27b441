"""Find out which folders of runs a user means, and where what is known of each of them lies."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import Any, NamedTuple, cast

from data_modules.io.untrusted import read_json
from lightning_petl.callbacks.outputs.predictions import MEMBERS
from lightning_petl.callbacks.outputs.run_record import (
    FORMAT,
    MOST_BYTES,
    TESTING,
    TRAINING,
)
from lightning_petl.compare.scores import scores_file
from lightning_petl.runs.folder import CHECKPOINTS, CONFIG, RECORD
from lightning_petl.runs.test_results import TEST_CONFIG

ConfigReader = Callable[[str], Any]
"""Turns the text of a ``config.yaml`` of any release into dictionaries and lists."""

# what must be known of a file of anybody before it is read
_KINDS: dict[str, tuple[type, ...]] = {
    "run": (str, dict, NoneType),
    "data": (dict,),
    "trunk": (dict,),
    "labels": (list,),
    "metrics": (dict,),
    "parameters": (dict,),
    "settings": (dict,),
    "macs": (int, NoneType),
    "batch": (int,),
    "passes": (int,),
    "seed": (int, NoneType),
}
_LISTED = 5  # runs below a folder that is none


class RunPlace(NamedTuple):
    """Say where one result lies, and what else is known of it.

    Attributes:
        scores: the file of the scores.
        member: of a bank; empty where the run is none.
        tested: the folder of the test, which may be that of the training.
        trained: the folder of the training; None where it is not found.
    """

    scores: Path
    member: str
    tested: Path
    trained: Path | None

    @property
    def folder(self) -> Path:
        """Return the folder that holds the scores."""
        return self.scores.parent


class WrittenRecords(NamedTuple):
    """Hold what was written of a run beside its scores; a dictionary is empty where there is no such file.

    Attributes:
        training_config: the configuration of the training.
        testing_config: that of the test.
        training: ``training.json``.
        testing: ``testing.json``.
    """

    training_config: Mapping[str, Any]
    testing_config: Mapping[str, Any]
    training: Mapping[str, Any]
    testing: Mapping[str, Any]


def places(folder: Path, read: ConfigReader) -> list[RunPlace]:
    """Return the results in a folder: one of a run, of a test or of a member, and all members of a bank.

    Raises:
        ValueError: it is no run, or no test has written scores of it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"compare: there is no folder {folder}; give those of runs"
        )
    file = scores_file(folder)
    if file is not None:
        return [_place(file, read)]
    found: list[RunPlace] = []
    for member in sorted(folder.glob(f"{MEMBERS}/*")):
        of_member = scores_file(member)
        if of_member is not None:
            found.append(_place(of_member, read))
    if found:
        return found
    raise ValueError(_why_none(folder))


def _place(scores: Path, read: ConfigReader) -> RunPlace:
    folder = scores.parent
    owner = _bank_of(folder) or folder
    member = "" if owner == folder else folder.absolute().name
    trained = owner if _has_trained(owner) else _run_of_test(owner, read)
    return RunPlace(scores, member, owner, trained)


def _bank_of(folder: Path) -> Path | None:
    """Return the folder of the bank of whose member this is the folder; None of any other folder."""
    whole = folder.absolute()
    if whole.parent.name != MEMBERS:
        return None
    return Path(os.path.relpath(whole.parent.parent))


def _has_trained(folder: Path) -> bool:
    names = (RECORD, TRAINING, CHECKPOINTS)
    return any((folder / name).exists() for name in names)


def _run_of_test(folder: Path, read: ConfigReader) -> Path | None:
    """Return the folder of the run whose checkpoint was tested, where it can be found and is still that run."""
    config = _config(folder / CONFIG, read)
    checkpoint = config.get("ckpt_path")
    if not checkpoint:
        return None
    run = Path(str(checkpoint)).parent.parent
    if not _has_trained(run):
        return None
    told = _record(folder / TESTING).get("run") or {}
    own = _record(run / TRAINING).get("run")
    # another run may have its place by now
    return None if told and own and told.get("id") != own else run


def known(place: RunPlace, read: ConfigReader) -> WrittenRecords:
    """Read what was written of a run.

    Raises:
        ValueError: a file is damaged, or of a later release.
    """
    trained = place.trained
    testing_config = place.tested / CONFIG
    if (place.tested / TEST_CONFIG).is_file():
        testing_config = place.tested / TEST_CONFIG
    return WrittenRecords(
        _config(trained / CONFIG, read) if trained else {},
        _config(testing_config, read),
        _record(trained / TRAINING) if trained else {},
        _record(place.folder / TESTING),
    )


def _config(path: Path, read: ConfigReader) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = read(path.read_text("utf-8"))
    except Exception as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    return cast(dict[str, Any], config) if isinstance(config, dict) else {}


def _record(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    record = read_json(path, most=MOST_BYTES)
    if not isinstance(record, dict):
        raise ValueError(f"{path}: is not what a run writes there; test it again")
    found = cast(dict[str, Any], record)
    if found.get("format") != FORMAT:
        raise ValueError(
            f"{path}: has format {found.get('format')}, and this program knows {FORMAT}; compare with the release "
            "that wrote it"
        )
    for key, kinds in _KINDS.items():
        if key in found and not isinstance(found[key], kinds):
            raise ValueError(
                f"{path}: {key} is not what a run writes there; test it again"
            )
    return found


def _why_none(folder: Path) -> str:
    """Return a sentence on a folder without scores, with the way to them."""
    owner = _bank_of(folder) or folder
    if _has_trained(owner):
        return (
            f"compare: {folder} holds no scores of test clips; make them: lightning-petl test "
            f"--run_folder {quote(str(owner))}"
        )
    if (owner / CONFIG).is_file():
        return (
            f"compare: {folder} holds no scores of test clips: its command was no test, or did not end; give the "
            "folder of a training, tested by lightning-petl test --run_folder RUN"
        )
    below = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if below:
        shown = " ".join(quote(str(path)) for path in below[:_LISTED])
        more = " ..." if len(below) > _LISTED else ""
        return f"compare: {folder} is no run, but holds some; give these: {shown}{more}"
    return f"compare: {folder} is no run: it holds neither {CONFIG} nor scores of test clips"
