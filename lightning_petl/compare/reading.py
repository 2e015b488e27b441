"""Read all that a comparison needs to know of a run, whatever release has written it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lightning_petl.compare.events import logged, median
from lightning_petl.compare.folders import (
    ConfigReader,
    RunPlace,
    WrittenRecords,
    known,
)
from lightning_petl.compare.keys import UNKNOWN, Flat, divided, flat
from lightning_petl.compare.older import OlderFacts, older_facts
from lightning_petl.compare.protocol import protocol_of
from lightning_petl.compare.scores import RunScores, read_scores

# what the test rounds to float32, and this program does not
_ROUNDING = 1e-5


class RunCost(NamedTuple):
    """Hold what a run costs; None stands for what is not known.

    Attributes:
        parameters: that train, the head among them.
        head: those of the head.
        macs: multiply-accumulates of the forward pass of one view.
        memory_mib: peak memory of the training, MiB, of the rank with the most.
        clips_per_s: of the training, all ranks together; the median over epochs.
        hardware: of the training.
    """

    parameters: int | None
    head: int | None
    macs: int | None
    memory_mib: float | None
    clips_per_s: float | None
    hardware: str


class ComparedRun(NamedTuple):
    """Hold one run, or one member of a bank.

    Attributes:
        place: where it lies.
        seed: of the training.
        settings: of the method, by short name.
        protocol: what must be equal, by short name.
        scores: of each clip or caption.
        logged: metrics that the test has logged.
        cost: what it costs.
        labels: class names by index; none where they are not known.
        notes: sentences that the reader of a comparison must know.
        identity: of the training and the member; empty where the run has none.
    """

    place: RunPlace
    seed: str
    settings: Flat
    protocol: Flat
    scores: RunScores
    logged: Mapping[str, float]
    cost: RunCost
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    identity: str

    @property
    def name(self) -> str:
        """Return the folder as the user has it."""
        return str(self.place.folder)


def read_run(place: RunPlace, read: ConfigReader) -> ComparedRun:
    """Read a run.

    Raises:
        ValueError: a file of it is damaged.
    """
    scores = read_scores(place.scores)
    told = known(place, read)
    older = older_facts(place)
    parts = divided(told.training_config, told.testing_config)
    settings = parts.settings
    seed = parts.seed
    of_member = _settings_of_member(told, older)
    if of_member is not None:
        settings = settings | of_member
        readout = settings.pop("readout", None)
        if readout is not None:
            # in the place of the trunk's, as a run of its own would have it
            settings["backbone.readout"] = readout
        own = told.testing.get("seed", of_member.get("seed"))
        settings.pop("seed", None)
        seed = seed if own is None else str(own)
    metrics = _logged(place, told)
    notes = [*_disagreements(scores, metrics), *_warnings(scores, told)]
    return ComparedRun(
        place,
        seed,
        settings,
        protocol_of(place, told, parts, older, scores),
        scores,
        metrics,
        _cost(place, told, older),
        tuple(told.testing.get("labels") or older.labels),
        tuple(notes),
        _identity(place, told),
    )


def _settings_of_member(told: WrittenRecords, older: OlderFacts) -> Flat | None:
    """Return the settings of a member of a bank; None of what is none."""
    written = told.testing.get("settings")
    if written is not None:
        return flat(written)
    return older.settings


def _identity(place: RunPlace, told: WrittenRecords) -> str:
    run = told.training.get("run") or (told.testing.get("run") or {}).get("id")
    return f"{run}/{place.member}" if run else ""


def _logged(place: RunPlace, told: WrittenRecords) -> dict[str, float]:
    """Return the metrics that the test has logged, without ``test/`` in front."""
    found: dict[str, float] = {}
    written = told.testing.get("metrics")
    if written is None:
        # an older test has them in its events alone
        prefix = f"{place.member}/" if place.member else ""
        written = {}
        for name in ("top1", "top5", "mean_class", "t2v/R1", "t2v/R5", "t2v/R10"):
            for value in logged(place.tested, f"{prefix}test/{name}")[-1:]:
                written[f"test/{name}"] = value
    for name, value in written.items():
        found[str(name).removeprefix("test/")] = float(value)
    return found


def _disagreements(scores: RunScores, metrics: Mapping[str, float]) -> list[str]:
    """Return a sentence on each metric that the scores do not give as the test logged it."""
    prefix = "t2v/" if scores.is_retrieval else ""
    told: list[str] = []
    for name, value in scores.metrics().items():
        said = metrics.get(f"{prefix}{name}")
        if said is not None and abs(said - value) > _ROUNDING * max(1, abs(said)):
            told.append(
                f"its scores give {name} {value:.6g}, and its test logged {said:.6g}"
            )
    if prefix + scores.main not in metrics:
        told.append(
            "what its test logged is not known, so its scores are unchecked"
        )
    return told


def _warnings(scores: RunScores, told: WrittenRecords) -> list[str]:
    warnings: list[str] = []
    if scores.faults:
        kind = "captions" if scores.is_retrieval else "clips"
        warnings.append(
            f"{scores.faults} {kind} count as wrong: videos without result"
        )
    if told.training and not told.training.get("finished"):
        warnings.append("its training did not come to its end")
    tested = told.testing.get("run")
    if tested and told.training:
        now = told.training.get("updates")
        if now != tested.get("updates"):
            warnings.append(
                f"it was tested after {tested.get('updates')} updates and has {now} now: test it again"
            )
    return warnings


def _cost(place: RunPlace, told: WrittenRecords, older: OlderFacts) -> RunCost:
    owners: Mapping[str, Any] | None = told.testing.get("parameters")
    parameters = older.parameters
    head = older.head
    if owners is not None:
        parameters = sum(owners.values())
        head = owners.get("head", 0)
    memory: list[float] = []
    speed: list[float] = []
    # the members of a bank share one pass, so that none has a cost of its own
    if place.trained is not None and not place.member:
        memory = logged(place.trained, "cost/peak_memory_mib")
        speed = logged(place.trained, "cost/clips_per_s")
    return RunCost(
        parameters,
        head,
        told.testing.get("macs"),
        max(memory, default=None),
        median(speed),
        str(told.training.get("hardware", UNKNOWN)),
    )
