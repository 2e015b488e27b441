"""Two tasks of two nodes under DDP: uninterrupted, preempted, killed and over their time, with the same weights."""

import os
import re
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.slurm.conftest import Site

pytestmark = pytest.mark.slurm
STEPS = 2  # whole batches of an epoch: 10 clips, 2 ranks x 2
LONG = {
    "NODES": 2,
    "ARGS": "--trainer.strategy=ddp --trainer.max_epochs=20 --trainer.log_every_n_steps=1 --data.num_workers=1 "
    "--data.batch_size=2 --model.optim.global_batch=4",
}


@pytest.fixture(scope="module")
def uninterrupted(two_nodes: Site) -> Path:
    """The folder of a run that nothing disturbs."""
    number, folder = two_nodes.submit(NAME="whole", **LONG)
    job = two_nodes.ends(number)
    assert (job["JobState"], job["Restarts"], job["NumNodes"], job["NumTasks"]) == (
        "COMPLETED",
        "0",
        "2",
        "2",
    )
    return folder


def test_two_nodes_train_one_model(uninterrupted: Path, two_nodes: Site) -> None:
    assert [path.name for path in uninterrupted.parent.iterdir()] == [
        uninterrupted.name
    ]
    assert (uninterrupted / "artifact/adapter_model.safetensors").is_file()
    assert (uninterrupted / "submitted.yaml").is_file()
    text = (uninterrupted / "log.txt").read_text()
    assert "MEMBER: 1/2" in text
    assert "MEMBER: 2/2" in text
    assert "an update is 2 rank(s) x 1 passes" in text
    assert (uninterrupted / "code/lightning_petl/cli/main.py").is_file()
    assert not list(uninterrupted.glob("code/**/__pycache__/*.so"))


def test_a_signal_requeues_and_the_run_ends_as_if_there_had_been_none(
    tracked: Site, uninterrupted: Path
) -> None:
    number, folder = tracked.submit(NAME="signalled", **LONG)
    tracked.until((folder / "checkpoints/last.ckpt").exists, "a checkpoint")
    tracked.cluster.run("scancel", "--signal=USR1", number)
    job = tracked.ends(number)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert_same(folder, uninterrupted)


@pytest.mark.slow
def test_a_killed_task_comes_back(two_nodes: Site, uninterrupted: Path) -> None:
    number, folder = two_nodes.submit(NAME="killed", **LONG)
    two_nodes.until((folder / "checkpoints/last.ckpt").exists, "a checkpoint")
    os.kill(task(number, rank=1), signal.SIGKILL)
    job = two_nodes.ends(number)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert_same(folder, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("node", "wait"),
    [
        (
            "n1",
            300,
        ),  # with the batch script and rank 0: SLURM requeues when it misses the node
        ("n2", 5),  # srun gives up before that, and the script asks after the nodes
    ],
)
def test_a_lost_node_comes_back(
    two_nodes: Site, uninterrupted: Path, node: str, wait: int
) -> None:
    (two_nodes.folder / "wait.yaml").write_text(f"wait: {wait}\n")
    number, folder = two_nodes.submit(
        SLURM="wait.yaml", NAME=f"lost-{node}", **LONG
    )
    two_nodes.until((folder / "checkpoints/last.ckpt").exists, "a checkpoint")
    two_nodes.cluster.lose(node)
    two_nodes.until(
        lambda: two_nodes.cluster.state(node).startswith("down"),
        f"{node} to be missed",
    )
    two_nodes.cluster.up()
    job = two_nodes.ends(number)
    assert job["JobState"] == "COMPLETED"
    assert job["Restarts"] in (
        "1",
        "2",
    )  # SLURM may end the new tasks of a node on which it still tidies up
    assert_same(folder, uninterrupted)


@pytest.mark.slow
def test_a_time_limit_is_only_a_pause(two_nodes: Site) -> None:
    """Two minutes of training, however fast the machine is, do not fit between a start and the notice."""
    (two_nodes.folder / "short.yaml").write_text("time: '2'\nnotice: 20\n")
    flags = LONG["ARGS"].replace(
        "max_epochs=20", "max_epochs=100000 --trainer.max_time=00:00:02:00"
    )
    number, folder = two_nodes.submit(
        SLURM="short.yaml", TIME="", NAME="short", NODES=2, ARGS=flags
    )
    job = two_nodes.ends(number, patience=1200)
    log = (folder / "log.txt").read_text()
    assert job["JobState"] == "COMPLETED"
    assert (
        int(job["Restarts"])
        == log.count("a signal asked to stop: after update")
        >= 1
    )
    stopped = [
        int(update)
        for update in re.findall(r"a signal asked to stop: after update (\d+)", log)
    ]
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert 0 < stopped[0] <= stopped[-1] < state["global_step"]
    assert (folder / "artifact/adapter_model.safetensors").is_file()


def assert_same(folder: Path, other: Path) -> None:
    """Bit for bit what is trained, the optimiser's state and the counters."""
    states = [
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)
        for run in (folder, other)
    ]
    assert states[0]["global_step"] == states[1]["global_step"]
    assert states[0]["epoch"] == states[1]["epoch"]
    tensors = [
        dict(leaves(state["state_dict"] | {"optimizer": state["optimizer_states"]}))
        for state in states
    ]
    assert tensors[0].keys() == tensors[1].keys()
    assert len(tensors[0]) > 6
    assert all(
        torch.equal(value, tensors[1][name]) for name, value in tensors[0].items()
    )


def leaves(state: object, name: str = "") -> list[tuple[str, Tensor]]:
    """The tensors of nested lists and dictionaries."""
    if isinstance(state, Tensor):
        return [(name, state)]
    pairs = (
        state.items()
        if isinstance(state, dict)
        else enumerate(state)
        if isinstance(state, list)
        else ()
    )
    return [leaf for key, value in pairs for leaf in leaves(value, f"{name}/{key}")]


def task(number: str, rank: int) -> int:
    """The Python process of one rank: the only one of its step whose parent is SLURM's."""
    wanted = {f"SLURM_JOB_ID={number}", f"SLURM_PROCID={rank}"}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_text().split("\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            starter = Path(f"/proc/{parent}/comm").read_text().strip()
        except OSError:
            continue
        if wanted <= set(environment) and starter.startswith("slurmstepd"):
            return int(folder.name)
    raise AssertionError(f"job {number} has no task {rank}")
