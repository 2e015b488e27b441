"""``doctor --slurm`` on a cluster: what it finds where all is well, and what it says of each thing that is wrong."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest

from lightning_petl.doctor import cluster, steps
from lightning_petl.doctor.finding import guarded
from tests.slurm.conftest import Site

pytestmark = pytest.mark.slurm
Findings = dict[str, dict[str, str]]


def doctor(site: Site, *flags: str) -> tuple[int, Findings]:
    """The exit code, and the findings by their checks."""
    done = subprocess.run(
        [sys.executable, "-m", "lightning_petl", "doctor", "--slurm", "--json", *flags],
        cwd=site.folder,
        capture_output=True,
        text=True,
        env=os.environ | {"SLURM_CONF": str(site.cluster.conf), "OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {finding["check"]: finding for finding in found}


@pytest.fixture
def here(two_nodes: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same cluster for what runs in this process."""
    monkeypatch.setenv("SLURM_CONF", str(two_nodes.cluster.conf))
    monkeypatch.chdir(two_nodes.folder)
    return two_nodes


@pytest.mark.parametrize(
    ("change", "back", "partition", "told"),
    [
        ("", "", "nights", "partition 'nights' is unknown; the cluster has debug, night"),
        ("PartitionName=night State=DOWN", "PartitionName=night State=UP", "night", "it is DOWN and starts no jobs"),
        (
            "NodeName=n2 State=DOWN Reason=fire",
            "NodeName=n2 State=RESUME",
            None,
            "2 node(s) with gpu:2, time limit 01:00:00; 1 take(s) no jobs: n2 is down (fire)",
        ),
    ],
)
def test_what_is_wrong_with_a_partition(here: Site, change: str, back: str, partition: str | None, told: str) -> None:
    if change:
        here.cluster.run("scontrol", "update", *change.split())
    try:
        (finding,) = guarded("SLURM", partial(cluster.overview, partition, 2))
    finally:
        if back:
            here.cluster.run("scontrol", "update", *back.split())
    assert (finding.state, finding.found) == ("bad", told)


def test_one_of_two_nodes_is_enough_for_who_asks_for_one(here: Site) -> None:
    here.cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=fan")
    (finding,) = cluster.overview(None, 1)
    here.cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")
    assert (finding.state, finding.advice) == ("slow", "")
    assert "n2 is drained (fan)" in finding.found


def test_gpus_that_slurm_gives_and_torch_does_not_see(here: Site) -> None:
    """The GPUs of this cluster are terminals."""
    (finding,) = steps.nodes(2, 1, steps.options("night", 1), here.folder)
    assert finding.state == "bad"
    assert finding.found.startswith("2 ranks on 2 host(s) (n1, n2) over gloo: 54 MiB summed in ")
    assert finding.found.endswith("torch sees no GPU there")


def test_what_a_task_said_is_told_and_else_what_srun_did(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_FREE_WITHIN", 2)
    (refused,) = steps.nodes(3, 0, steps.options(None, 0), here.folder)
    assert (refused.state, refused.found[:9]) == ("slow", "not seen:")
    monkeypatch.setattr(steps.sys, "executable", "/no/python")
    (failed,) = steps.nodes(2, 0, steps.options(None, 0), here.folder)
    assert failed.state == "bad"
    assert "/no/python" in failed.found


@pytest.mark.slow
def test_a_cluster_that_is_well(two_nodes: Site) -> None:
    code, found = doctor(two_nodes)
    assert code == 0, found
    assert "2 node(s) with gpu:2, time limit 01:00:00" in found["partition debug"]["found"]
    assert found["requeue"]["found"] == "JobRequeue = 1"
    assert "proctrack/linuxproc" in found["signals"]["found"]
    for check in ("packages", "GPU", "threads", "file system", "decoding", "ranks"):
        assert f"{check} on n1" in found
    assert "2 ranks on 2 host(s) (n1, n2) over gloo" in found["nodes"]["found"]
    assert "preemption" in found
    assert "wrote a checkpoint at SIGUSR1, was requeued, and went on at update" in found["preempted job"]["found"]
    assert not list((two_nodes.folder / "runs").iterdir()), "it leaves nothing behind"
    assert not two_nodes.cluster.run("squeue", "-h")
