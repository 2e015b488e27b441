"""``doctor --slurm`` on a cluster: what it finds where all is well, and what it says of each thing that is wrong."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lightning_petl.doctor import cluster, steps
from lightning_petl.doctor.finding import guarded
from tests.slurm.conftest import Site

pytestmark = pytest.mark.slurm
Findings = dict[str, dict[str, str]]


def doctor(site: Site, *flags: str) -> tuple[int, Findings]:
    """The exit code, and the findings by their checks."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lightning_petl",
            "doctor",
            "--slurm",
            "--json",
            *flags,
        ],
        cwd=site.folder,
        capture_output=True,
        text=True,
        env=os.environ
        | {"SLURM_CONF": str(site.cluster.conf), "OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {finding["check"]: finding for finding in found}


@pytest.fixture
def here(two_nodes: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same cluster for what runs in this process."""
    monkeypatch.setenv("SLURM_CONF", str(two_nodes.cluster.conf))
    monkeypatch.chdir(two_nodes.folder)
    return two_nodes


@pytest.fixture
def without_n2(here: Site) -> Iterator[None]:
    """As who runs the cluster does it; it is back when the controller has heard of it again."""
    here.cluster.run(
        "scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=fire"
    )
    yield
    here.cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")
    here.until(lambda: here.cluster.state("n2") == "idle", "n2 to come back")


def test_a_partition_that_is_unknown_or_closed(here: Site) -> None:
    (unknown,) = guarded("SLURM", partial(cluster.overview, "nights", 2))
    assert (unknown.state, unknown.found) == (
        "bad",
        "partition 'nights' is unknown; the cluster has debug, night",
    )
    here.cluster.run("scontrol", "update", "PartitionName=night", "State=DOWN")
    (closed,) = cluster.overview("night", 2)
    here.cluster.run("scontrol", "update", "PartitionName=night", "State=UP")
    assert (closed.state, closed.found) == ("bad", "it is DOWN and starts no jobs")


def test_a_node_that_is_down_matters_to_who_asks_for_both(
    here: Site, without_n2: None
) -> None:
    (both,), (one,) = cluster.overview(None, 2), cluster.overview(None, 1)
    told = "2 node(s) with gpu:2, time limit 01:00:00; 1 take(s) no jobs: n2 is down (fire)"
    assert (both.state, both.found, one.state, one.found) == (
        "bad",
        told,
        "slow",
        told,
    )


def test_a_cluster_without_its_controller(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = here.cluster.conf.read_text()
    (tmp_path / "slurm.conf").write_text(
        re.sub("SlurmctldPort=.*", "SlurmctldPort=1", text)
    )
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    (finding,) = guarded("SLURM", partial(cluster.overview, None, 2))
    assert finding.state == "bad"
    assert "Unable to contact slurm controller" in finding.found


def test_gpus_that_slurm_gives_and_torch_does_not_see(here: Site) -> None:
    """The GPUs of this cluster are terminals."""
    (finding,) = steps.nodes(2, 1, steps.options("night", 1), here.folder)
    assert finding.state == "bad"
    assert finding.found.startswith(
        "2 ranks on 2 host(s) (n1, n2) over gloo: 54 MiB summed in "
    )
    assert finding.found.endswith("torch sees no GPU there")


def test_what_a_task_said_is_told_and_else_what_srun_did(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert [row for row in found.values() if row["state"] == "bad"] == []
    assert code == 0
    assert (
        "2 node(s) with gpu:2, time limit 01:00:00"
        in found["partition debug"]["found"]
    )
    assert found["requeue"]["found"] == "JobRequeue = 1"
    assert "proctrack/linuxproc" in found["signals"]["found"]
    for check in ("packages", "GPU", "threads", "file system", "decoding", "ranks"):
        assert f"{check} on n1" in found
    assert "2 ranks on 2 host(s) (n1, n2) over gloo" in found["nodes"]["found"]
    assert "preemption" in found
    assert (
        "wrote a checkpoint at SIGUSR1, was requeued, and went on at update"
        in found["preempted job"]["found"]
    )
    assert not list((two_nodes.folder / "runs").iterdir()), (
        "it leaves nothing behind"
    )
    assert not two_nodes.cluster.run("squeue", "-h")
