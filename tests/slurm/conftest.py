"""Clusters, and a folder to submit from."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lightning_petl.slurm.cluster import _fields
from tests.commands import MODEL, write_videos
from tests.slurm.cluster import TRACKERS, Cluster, missing

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds for one job on a machine that does other things too
TRAINER = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "max_epochs": 1,
    "num_sanity_val_steps": 0,
}


class Site:
    """A cluster and a working directory, with the project's make targets as a user calls them."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder

    def make(
        self, target: str, **variables: object
    ) -> subprocess.CompletedProcess[str]:
        """``make target NAME=value ...`` with the environment that runs the tests."""
        environment = f"{Path(sys.executable).parent}"
        command = [
            "make",
            "--no-print-directory",
            "-f",
            str(ROOT / "Makefile"),
            "-o",
            ".venv/installed",
            target,
        ]
        return subprocess.run(
            [
                *command,
                f"BIN={environment}",
                *(f"{name}={value}" for name, value in variables.items()),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=os.environ
            | {"SLURM_CONF": str(self.cluster.conf), "OMP_NUM_THREADS": "1"},
        )

    def submit(self, **variables: object) -> tuple[str, Path]:
        """The number of the (last) job and the folder of the submission."""
        done = self.make(
            "submit", **({"CONFIG": "data.yaml,run.yaml", "TIME": 10} | variables)
        )
        assert done.returncode == 0, done.stderr
        numbers, folder = re.fullmatch(
            r"submitted ([\d ]+) in (.+)\n", done.stdout
        ).groups()
        return numbers.split()[-1], Path(folder)

    def job(self, number: str) -> dict[str, str]:
        """What the controller says of a job."""
        return _fields(
            self.cluster.run("scontrol", "show", "job", "-o", number).splitlines()[
                0
            ]
        )

    def ends(self, number: str, patience: float = PATIENCE) -> dict[str, str]:
        """Wait until a job, or every task of an array, is over."""
        waiting = ("-h", "-r", "-t", "PD,R,CG,CF,S", "-j", number)
        self.until(
            lambda: not self.cluster.run("squeue", *waiting).strip(),
            f"job {number} to end",
            patience,
        )
        return self.job(number)

    def until(
        self, condition: Callable[[], object], what: str, patience: float = PATIENCE
    ) -> None:
        end = time.monotonic() + patience
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(
                    file.read_text()[-3000:]
                    for file in self.folder.rglob("log.txt")
                )
                pytest.fail(
                    f"waited {patience:.0f} s for {what}\n{self.make('status').stdout}\n{logs}"
                )
            time.sleep(0.5)


@pytest.fixture(scope="session")
def clusters() -> Iterator[Callable[[str], Cluster]]:
    """Starts a cluster by the name of its tracker; ends them all."""
    running: dict[str, Cluster] = {}
    base = Path(tempfile.mkdtemp(prefix="slurm-"))  # the path of a socket is short
    base.chmod(0o755)  # munged insists

    def cluster(tracker: str) -> Cluster:
        if reason := missing(tracker):
            pytest.skip(reason)
        if tracker not in running:
            running[tracker] = Cluster(base / tracker, tracker)
            running[tracker].up()
        return running[tracker]

    yield cluster
    for one in running.values():
        one.down()
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of bars that move, as files."""
    return write_videos(tmp_path_factory.mktemp("videos"))


def site(cluster: Cluster, folder: Path, videos: Path) -> Site:
    """A working directory with the configuration of a small run, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    sampling = {"class_path": "SegmentSampling", "init_args": {"num_frames": 4}}
    options = {
        "root": str(videos),
        "sampling": sampling,
        "image_size": 32,
        "batch_size": 3,
        "num_workers": 0,
    }
    (folder / "data.yaml").write_text(
        yaml.safe_dump(
            {"data": {"class_path": "VideoFolder", "init_args": options}}
        )
    )
    (folder / "run.yaml").write_text(
        yaml.safe_dump({"model": MODEL, "trainer": TRAINER})
    )
    return Site(cluster, folder)


@pytest.fixture(scope="module")
def two_nodes(
    clusters: Callable[[str], Cluster],
    videos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """A working directory with a space in its name, on a cluster that signals every process."""
    return site(clusters("linuxproc"), tmp_path_factory.mktemp("a site"), videos)


@pytest.fixture(scope="module", params=TRACKERS)
def tracked(
    request: pytest.FixtureRequest,
    clusters: Callable[[str], Cluster],
    videos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """One for each way in which SLURM tracks processes."""
    return site(
        clusters(request.param), tmp_path_factory.mktemp(request.param), videos
    )
