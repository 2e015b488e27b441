"""Plan a sweep: which members it has, and which processes train them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import yaml

from lightning_petl.grids.points import require_free_data
from lightning_petl.sweep import bank_form
from lightning_petl.sweep.order import SweepMember, SweepOrder, Training
from lightning_petl.sweep.tools import SweepTools


class SweepPlan(NamedTuple):
    """Hold all members of a sweep, and what trains them."""

    members: list[SweepMember]
    trainings: list[Training]


def planned(order: SweepOrder, tools: SweepTools) -> SweepPlan:
    """Read the configurations of all members, and return what trains them.

    Raises:
        ValueError: ``fit`` would refuse one, or there can be no bank where one is asked for.
    """
    print(f"reading {len(order.points)} configurations ...", flush=True)
    texts = tools.read(_command_lines(order))
    members: list[SweepMember] = []
    for point, text in zip(order.points, texts, strict=True):
        member = SweepMember(
            name=point.folder,
            words=point.words,
            training=point.folder,
            folder=order.folder / point.folder,
            config=yaml.safe_load(text),
            text=text,
        )
        members.append(member)
    if order.seeds:
        require_free_data([member.config for member in members], "--grid")
    # Behind the members: a bank is made of their whole configurations.
    if order.bank:
        return _as_banks(order, members, tools)
    trainings: list[Training] = []
    for member in members:
        training = Training(
            name=member.name,
            folder=member.folder,
            config=member.config,
            text=member.text,
        )
        trainings.append(training)
    return SweepPlan(members, trainings)


def _command_lines(order: SweepOrder) -> list[list[str]]:
    """Return the options of ``fit`` of each member."""
    files: list[str] = []
    for file in order.config:
        files += ["-c", str(file)]
    lines: list[list[str]] = []
    for point in order.points:
        # Last, so that no file of the user's decides where a member lies.
        place = f"--run_folder={order.folder / point.folder}"
        lines.append([*files, *order.fit, *point.flags, place])
    return lines


def _as_banks(
    order: SweepOrder, members: Sequence[SweepMember], tools: SweepTools
) -> SweepPlan:
    groups = bank_form.group(members)
    names = bank_form.names(groups)
    found: list[SweepMember] = []
    for name, group in zip(names, groups, strict=True):
        for member in group:
            found.append(_in_bank(member, name, order.folder / name))
    texts = _read_banks(order, names, groups, tools)
    trainings: list[Training] = []
    for name, text in zip(names, texts, strict=True):
        training = Training(
            name=name,
            folder=order.folder / name,
            config=yaml.safe_load(text),
            text=text,
        )
        trainings.append(training)
    return SweepPlan(found, trainings)


def _read_banks(
    order: SweepOrder,
    names: Sequence[str],
    groups: Sequence[Sequence[SweepMember]],
    tools: SweepTools,
) -> list[str]:
    """Return the whole configuration of each bank, which is also built without memory."""
    print(f"reading {len(groups)} bank(s) ...", flush=True)
    lines: list[list[str]] = []
    with TemporaryDirectory() as temporary:
        for number, (name, group) in enumerate(zip(names, groups, strict=True)):
            file = Path(temporary, f"{number}.yaml")
            # JSON is YAML in which each text is quoted.
            file.write_text(json.dumps(bank_form.configuration(group)), "utf-8")
            place = f"--run_folder={order.folder / name}"
            lines.append(["-c", str(file), place])
        return tools.read(lines, built=True)


def _in_bank(member: SweepMember, bank: str, folder: Path) -> SweepMember:
    place = folder / "members" / member.name
    return replace(member, training=bank, folder=place, in_bank=True)
