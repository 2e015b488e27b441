"""Jobs on a cluster: submitted, watched, cancelled, failed and one after another, all through make."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from tests.slurm.conftest import Site

pytestmark = pytest.mark.slurm


def test_an_array_of_seeds_then_a_chain(two_nodes: Site) -> None:
    array, folder = two_nodes.submit(
        NAME="seeds", SEEDS="0,1", GPUS=1, ARGS="--trainer.accelerator=auto"
    )
    after, last = two_nodes.submit(
        NAME="chain", AFTER=array, CHAIN=2, ARGS="--trainer.limit_train_batches=1"
    )
    assert two_nodes.job(after)["JobState"] == "PENDING"
    assert two_nodes.ends(after)["JobState"] == "COMPLETED"

    runs = [folder / "seed=0", folder / "seed=1"]
    for number, run in enumerate(runs):
        task = two_nodes.job(f"{array}_{number}")
        assert task["JobState"] == "COMPLETED"
        assert task["TresPerNode"] == "gres:gpu:1"
        assert (folder / str(number)).resolve() == run
        assert (run / "checkpoints/last.ckpt").is_file()
        assert (run / "artifact/adapter_model.safetensors").is_file()
        assert f"Seed set to {number}" in (run / "log.txt").read_text()
    assert not (folder / "checkpoints").exists()
    weights = [
        (run / "artifact/adapter_model.safetensors").read_bytes() for run in runs
    ]
    assert weights[0] != weights[1]

    first, second = (last / "jobs").read_text().split()
    assert second == after
    ended, started = two_nodes.job(first), two_nodes.job(second)
    assert two_nodes.job(f"{array}_1")["EndTime"] <= ended["StartTime"]
    assert ended["EndTime"] <= started["StartTime"]
    assert (last / "checkpoints/last.ckpt").is_file()
    assert (last / "log.txt").read_text().count(
        "Seed set to"
    ) == 2  # both in one run

    table = two_nodes.make("status").stdout.splitlines()
    assert table[0].split() == [
        "job",
        "name",
        "state",
        "reason",
        "time",
        "restarts",
        "step",
        "folder",
    ]
    assert [line.split()[:3] for line in table[1:]] == [
        [f"{array}_0", "seeds", "COMPLETED"],
        [f"{array}_1", "seeds", "COMPLETED"],
        [first, "chain", "COMPLETED"],
        [second, "chain", "COMPLETED"],
    ]
    assert (
        two_nodes.make("logs", JOB=f"{array}_1").stdout
        == (runs[1] / "log.txt").read_text()
    )


def test_a_wrong_value_fails_once_and_ends_what_waits_for_it(
    two_nodes: Site,
) -> None:
    (two_nodes.folder / "held.yaml").write_text(
        "sbatch: [--hold]\n"
    )  # else it may fail before the other one waits
    number, folder = two_nodes.submit(
        SLURM="held.yaml", NAME="wrong", ARGS="--data.root=nowhere"
    )
    waiting, _ = two_nodes.submit(NAME="waiting", AFTER=number)
    two_nodes.cluster.run("scontrol", "release", number)
    job = two_nodes.ends(number)
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == (
        "FAILED",
        "2:0",
        "0",
    )
    assert "nowhere" in (folder / "log.txt").read_text()
    assert two_nodes.ends(waiting)["JobState"] == "CANCELLED"
    assert "FAILED" in two_nodes.make("status", NAME="wrong").stdout

    refused = two_nodes.make(
        "submit", CONFIG="data.yaml,run.yaml", TIME=10, AFTER=number
    )
    assert (
        f"lightning-petl: after: job {number} has ended as FAILED and can no longer succeed"
        in refused.stderr
    )


def test_submissions_of_the_same_moment_have_folders_of_their_own(
    two_nodes: Site,
) -> None:
    (two_nodes.folder / "held.yaml").write_text("sbatch: [--hold]\n")
    with ThreadPoolExecutor() as pool:
        found = list(
            pool.map(
                lambda _: two_nodes.submit(SLURM="held.yaml", NAME="both"), range(2)
            )
        )
    (one, first), (other, second) = found
    assert first != second
    for number, folder in found:
        assert (folder / "jobs").read_text() == f"{number}\n"
        assert yaml.safe_load((folder / "submitted.yaml").read_text())[
            "run_folder"
        ] == str(folder)
    assert set(two_nodes.make("cancel", NAME="both").stdout.split()) == {
        "cancelled",
        one,
        other,
    }


def test_cancel_ends_a_job_for_good(two_nodes: Site) -> None:
    number, folder = two_nodes.submit(
        NAME="long", TASKS=2, ARGS="--trainer.max_epochs=100000"
    )
    two_nodes.until((folder / "checkpoints/last.ckpt").exists, "a checkpoint")
    row = two_nodes.make("status", NAME="long").stdout.splitlines()[1].split()
    assert row[:3] == [number, "long", "RUNNING"]
    assert int(row[-2]) > 0
    assert str(folder).endswith(row[-1])

    assert two_nodes.make("cancel", JOB=number).stdout == f"cancelled {number}\n"
    job = two_nodes.ends(number)
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")
    refused = two_nodes.make("cancel", NAME="long")
    assert refused.returncode != 0
    assert (
        "lightning-petl: cancel: long has nothing that waits or runs"
        in refused.stderr
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"PARTITION": "nights"},
            "partition 'nights' is unknown; the cluster has debug, night",
        ),
        (
            {"TIME": "2:00:00"},
            "time 2:00:00 is longer than partition 'debug' allows: 01:00:00",
        ),
        ({"NODES": 3}, "sbatch: "),
        ({"GPUS": 3, "ARGS": "--trainer.accelerator=auto"}, "sbatch: "),
        ({"AFTER": "999"}, "after: SLURM knows no job 999"),
    ],
)
def test_nothing_waits_for_what_cannot_run(
    two_nodes: Site, variables: dict[str, object], told: str
) -> None:
    before = two_nodes.cluster.run("scontrol", "show", "job", "-o")
    done = two_nodes.make(
        "submit",
        CONFIG="data.yaml,run.yaml",
        NAME="refused",
        **({"TIME": 10} | variables),
    )
    assert done.returncode != 0
    assert f"lightning-petl: {told}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(two_nodes.folder.glob("runs/refused/*"))
    assert len(
        two_nodes.cluster.run("scontrol", "show", "job", "-o").splitlines()
    ) == len(before.splitlines())
