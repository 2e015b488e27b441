"""Ranks and tasks agree, or the program says so."""

from typing import Any

import pytest

from lightning_petl.strategies.slurm_tasks import check_tasks


@pytest.mark.parametrize(
    ("tasks", "step", "nodes", "devices", "told"),
    [
        ("4", "0", 2, 2, None),
        ("4", "0", 2, "2", None),
        ("4", "0", 2, [0, 1], None),
        ("4", "0", 2, "auto", None),
        ("1", None, 1, 1, None),
        (
            "2",
            "0",
            1,
            1,
            "SLURM started 2 tasks",
        ),  # two trainings beside each other
        ("4", "0", 1, 2, "SLURM started 4 tasks"),
        (
            "2",
            None,
            2,
            1,
            "start the program with srun",
        ),  # the first rank would wait for ever
    ],
)
def test_agreement(
    monkeypatch: pytest.MonkeyPatch,
    tasks: str,
    step: str | None,
    nodes: int,
    devices: Any,
    told: str | None,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", tasks)
    monkeypatch.delenv("SLURM_STEP_ID", raising=False)
    if step is not None:
        monkeypatch.setenv("SLURM_STEP_ID", step)
    if told is None:
        check_tasks(nodes, devices)
    else:
        with pytest.raises(ValueError, match=told):
            check_tasks(nodes, devices)
