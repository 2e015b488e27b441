"""Train, choose, test and compare: the order in which a sweep does what it was asked for."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from data_modules.io.atomic import write_whole
from lightning_petl.runs.folder import CONFIG
from lightning_petl.runs.lock import lock
from lightning_petl.runs.signals import PREEMPTED
from lightning_petl.runs.test_results import TEST_CONFIG
from lightning_petl.slurm.script import FROZEN, LOG
from lightning_petl.sweep.calls import CallRunner, CommandCall, program
from lightning_petl.sweep.devices import slots
from lightning_petl.sweep.manifest import (
    check_folder,
    check_members,
    write_manifest,
)
from lightning_petl.sweep.order import SweepMember, SweepOrder, Training
from lightning_petl.sweep.plan import SweepPlan, planned
from lightning_petl.sweep.scores import (
    RankedSetting,
    ValidationScore,
    of_bank,
    rank,
    write_scores,
)
from lightning_petl.sweep.screen import SweepScreen, settings_table
from lightning_petl.sweep.status import MOST_FAILURES, CallStatus, StatusFile
from lightning_petl.sweep.stopping import SweepStop, sweep_stop
from lightning_petl.sweep.tools import SweepTools

COMPARED = "compare"
"""Folder of the comparison, in that of the sweep."""

_FAILED = 1
_INTERRUPTED = 130  # Ctrl-C twice
_LOCK = ".sweep.lock"
_STATUS = "status.json"
_FIT = "fit"
_TEST = "test"
_TEST_LOG = "test_log.txt"


def sweep(order: SweepOrder, tools: SweepTools) -> int:
    """Train what is asked for, or go on with it, and return the exit code.

    Raises:
        ValueError: whatever can be known to be wrong before something trains.
    """
    check_folder(order)
    plan = planned(order, tools)
    check_members(order, plan.members)
    configs = [training.config for training in plan.trainings]
    environments = slots(min(order.jobs, len(configs)), configs)
    if order.dry_run:
        _show(plan)
        return 0
    order.folder.mkdir(parents=True, exist_ok=True)
    descriptor = lock(order.folder / _LOCK, order.folder, "--name")
    try:
        _write(order, plan)
        with sweep_stop() as stop:
            return _Sweep(order, tools, plan, environments, stop).run()
    finally:
        os.close(descriptor)


def _show(plan: SweepPlan) -> None:
    for training in plan.trainings:
        print(f"would train {training.folder}")
    print(
        f"{len(plan.members)} member(s) in {len(plan.trainings)} run(s) of fit; "
        "nothing is written"
    )


def _write(order: SweepOrder, plan: SweepPlan) -> None:
    # First: a folder without it would not be that of a sweep.
    write_manifest(order, plan.members)
    for training in plan.trainings:
        path = training.folder / FROZEN
        if not path.exists():
            write_whole(path, training.text.encode())


class _Sweep:
    """Hold a sweep while it runs."""

    def __init__(
        self,
        order: SweepOrder,
        tools: SweepTools,
        plan: SweepPlan,
        environments: Sequence[Mapping[str, str]],
        stop: SweepStop,
    ) -> None:
        self._order = order
        self._tools = tools
        self._members = plan.members
        self._trainings = plan.trainings
        self._environments = environments
        self._stop = stop
        self._status = StatusFile(order.folder / _STATUS)
        self._scores: dict[str, ValidationScore] = {}
        # names of the members that are to be compared
        self._wanted = set[str]()

    def run(self) -> int:
        """Train, choose, test and compare; return the exit code."""
        # All of them first: the setting is chosen before any test clip is looked at.
        self._call_all(_FIT, self._trainings, _fit)
        if self._stop.wanted:
            return self._interrupted()
        tested = self._tested(self._ranked())
        self._call_all(_TEST, tested, _test)
        if self._stop.wanted:
            return self._interrupted()
        compared = self._compare(tested)
        failed = self._tell_failures()
        return _FAILED if failed or compared else 0

    def _call_all(
        self,
        stage: str,
        trainings: Sequence[Training],
        call_of: Callable[[Training], CommandCall],
    ) -> None:
        """Run what is not done yet of a stage."""
        calls: list[tuple[CommandCall, CallStatus]] = []
        due: list[tuple[CommandCall, CallStatus]] = []
        for training in trainings:
            status = self._status.of(stage, training.name)
            pair = (call_of(training), status)
            calls.append(pair)
            if self._is_due(stage, training, status):
                status.state = "waiting"
                due.append(pair)
        # What a test says is told by the comparison.
        score = self._score_text if stage == _FIT else _no_text
        with SweepScreen(stage, calls, score) as screen:
            runner = CallRunner(
                self._environments,
                self._tools.environment(),
                self._stop,
                self._watcher(screen),
                screen.tick,
            )
            runner.run(due)

    def _is_due(self, stage: str, training: Training, status: CallStatus) -> bool:
        """Return whether a call is to be run; one that has failed too often is not."""
        written = CONFIG if stage == _FIT else TEST_CONFIG
        # Somebody may have deleted the folder of a run to have it anew.
        if status.state == "done" and (training.folder / written).is_file():
            return False
        if self._order.retry:
            status.failures = 0
        return not status.given_up

    def _watcher(
        self, screen: SweepScreen
    ) -> Callable[[CommandCall, CallStatus], None]:
        def changed(call: CommandCall, status: CallStatus) -> None:
            # First to the disk, so that what the screen says is true.
            self._status.save()
            screen.changed(call, status)

        return changed

    def _score_text(self, name: str) -> str:
        """Return the score of a training that is done, in words; of a bank, how many members have one."""
        scores: list[ValidationScore] = []
        for member in self._members:
            score = self._score(member) if member.training == name else None
            if score is not None:
                scores.append(score)
        if not scores:
            return ""
        if len(scores) > 1:
            return f"{len(scores)} members"
        return f"{scores[0].monitor} {scores[0].value:.4g}"

    def _score(self, member: SweepMember) -> ValidationScore | None:
        """Return the score of a member whose training is done."""
        if self._status.of(_FIT, member.training).state != "done":
            return None
        if member.name not in self._scores:
            if member.in_bank:
                run = self._order.folder / member.training
                self._scores.update(of_bank(run))
            elif score := self._tools.score(member.folder):
                self._scores[member.name] = score
        return self._scores.get(member.name)

    def _state(self, member: SweepMember) -> str:
        state = self._status.of(_FIT, member.training).state
        # A bank goes on without a member whose loss is no number.
        if state == "done" and member.in_bank and self._score(member) is None:
            return "failed"
        return state

    def _ranked(self) -> list[RankedSetting]:
        """Print the settings by what validation says of them, write all scores, and return the settings."""
        states: dict[str, str] = {}
        for member in self._members:
            self._score(member)
            states[member.name] = self._state(member)
        folder = self._order.folder
        path = write_scores(folder, self._members, self._scores, states)
        try:
            ranked = rank(self._members, self._scores)
        except ValueError as error:
            print(f"no setting is chosen: {error}; all scores: {path}")
            return []
        if ranked:
            monitor = next(iter(self._scores.values())).monitor
            Console().print(settings_table(monitor, ranked))
            print(f"chosen by validation: {ranked[0].name}; all scores: {path}")
        return ranked

    def _tested(self, ranked: Sequence[RankedSetting]) -> list[Training]:
        """Return the trainings to test."""
        wanted: set[str] = set()
        for member in self._members:
            # Where nothing could be ranked, nothing is chosen.
            chosen = bool(ranked) and member.setting == ranked[0].name
            if self._order.tested == "all" or chosen:
                wanted.add(member.training)
                self._wanted.add(member.name)
        found: list[Training] = []
        for training in self._trainings:
            done = self._status.of(_FIT, training.name).state == "done"
            if training.name in wanted and done:
                found.append(training)
        return [] if self._order.tested == "none" else found

    def _compare(self, tested: Sequence[Training]) -> int:
        """Compare the members that were tested; return the exit code."""
        folders: list[Path] = []
        names: set[str] = set()
        for training in tested:
            if self._status.of(_TEST, training.name).state == "done":
                names.add(training.name)
        for member in self._members:
            # A bank is tested as a whole, also for one of its members.
            tested_too = member.training in names and member.name in self._wanted
            if tested_too and self._state(member) == "done":
                folders.append(member.folder)
        # One run alone has nothing to be compared with.
        if len(folders) < 2:
            return 0
        try:
            return self._tools.compare(folders, self._order.folder / COMPARED)
        except ValueError as error:
            # All else that the sweep has to tell comes behind it.
            print(f"the members cannot be compared: {error}")
            return _FAILED

    def _tell_failures(self) -> int:
        """Name what has failed and return its number; say where everything is."""
        failed = 0
        for stage in (_FIT, _TEST):
            for training in self._trainings:
                status = self._status.of(stage, training.name)
                if status.state != "failed":
                    continue
                failed += 1
                log = training.folder / (LOG if stage == _FIT else _TEST_LOG)
                print(f"failed: {stage} of {training.name}: {status.why} ({log})")
                if status.given_up:
                    print(
                        f"  it has failed {MOST_FAILURES} times and is not tried "
                        "again, unless --retry is given"
                    )
        for member in self._members:
            done = self._status.of(_FIT, member.training).state == "done"
            if done and self._state(member) == "failed":
                failed += 1
                print(f"failed: {member.name}: its loss is no number")
        print(f"everything is in {self._order.folder}")
        if failed:
            print(f"to try again what has failed:\n  {self._order.again}")
        else:
            print(f"next:\n  tensorboard --logdir {self._order.folder}")
        return failed

    def _interrupted(self) -> int:
        self._status.save()
        print(
            "stopped; what was reached is saved, and the same command goes on:\n"
            f"  {self._order.again}",
            flush=True,
        )
        return _INTERRUPTED if self._stop.at_once else PREEMPTED


def _no_text(name: str) -> str:
    return ""


def _fit(training: Training) -> CommandCall:
    folder = training.folder
    argv = ["fit", "-c", str(folder / FROZEN), f"--run_folder={folder}"]
    return CommandCall(
        name=training.name,
        program=program(argv),
        log=folder / LOG,
        progress=folder / "epochs.txt",
    )


def _test(training: Training) -> CommandCall:
    folder = training.folder
    # The test's own folder lies in that of the run, not among those of the user.
    root = f"--trainer.default_root_dir={folder / _TEST}"
    return CommandCall(
        name=training.name,
        program=program(["test", f"--run_folder={folder}", root]),
        log=folder / _TEST_LOG,
    )
