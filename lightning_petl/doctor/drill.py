"""A small training that is interrupted by a signal and must go on: on this machine, or as a job of the cluster."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml

from data_modules.video.encode import write_video
from lightning_petl.doctor.finding import Finding
from lightning_petl.doctor.ranks import last_line

_PREEMPTED = 75
_PATIENCE = 300  # seconds
_CONFIG = {
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 400,
        "enable_progress_bar": False,
    },
    "model": {
        "class_path": "VideoClassifier",
        "init_args": {
            "backbone": {
                "name": "vit_tiny_patch16_224",
                "weights": "random",
                "depth": 1,
            },
            "adapters": [{"class_path": "LoRA", "init_args": {"rank": 2}}],
        },
    },
}


def preemption() -> Iterator[Finding]:
    """SIGUSR1 in mid-training: exit code 75, a checkpoint, and the same command goes on behind it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [
            sys.executable,
            "-m",
            "lightning_petl",
            "fit",
            "-c",
            str(training(Path(folder))),
        ]
        command += [f"--run_folder={run}"]
        with Path(folder, "log").open("w+") as log:
            first = subprocess.Popen(command, stdout=log, stderr=log)
            started = waited(lambda: _trains(run) or first.poll() is not None)
            first.send_signal(signal.SIGUSR1)
            code = first.wait(timeout=_PATIENCE)
            log.seek(0)
            told = last_line(log.read())
        if not started or code != _PREEMPTED:
            yield Finding(
                "preemption", "bad", f"exit code {code} instead of {_PREEMPTED}: {told}"
            )
            return
        again = subprocess.run(
            [*command, "--trainer.max_steps=1"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    if again.returncode:
        yield Finding(
            "preemption", "bad", f"it did not go on: {last_line(again.stderr)}"
        )
    else:
        yield Finding(
            "preemption",
            "good",
            "a signal is answered by a checkpoint, and the same command goes on from it",
        )


def training(folder: Path) -> Path:
    """A configuration, and the few small videos that it trains on."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("left", "right"):
            (folder / "videos" / split / label).mkdir(parents=True)
            for number in range(4):
                frames = rng.integers(0, 255, (8, 48, 48, 3), dtype=np.uint8)
                write_video(
                    folder / "videos" / split / label / f"{number}.mp4",
                    frames,
                    8,
                    codec="mpeg4",
                )
    sampling = {"class_path": "SegmentSampling", "init_args": {"num_frames": 4}}
    options = {
        "root": str(folder / "videos"),
        "sampling": sampling,
        "image_size": 32,
        "batch_size": 2,
    }
    data = {"class_path": "VideoFolder", "init_args": options | {"num_workers": 0}}
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(_CONFIG | {"data": data}))
    return path


def waited(done: Callable[[], bool]) -> bool:
    """Whether it was done in time."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.5)
    return False


def _trains(run: Path) -> bool:
    """Events are written from the first steps on."""
    return any(os.path.getsize(path) > 0 for path in run.rglob("*.ckpt"))
