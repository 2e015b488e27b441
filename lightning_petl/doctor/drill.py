"""Interrupt a small training by a signal and require that it goes on, on this machine."""

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
    """Send SIGUSR1 in mid-training: it must end with exit code 75 and a checkpoint, from which the command resumes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        config = training(Path(folder))
        command = [sys.executable, "-m", "lightning_petl", "fit"]
        command += ["-c", str(config), f"--run_folder={run}"]
        with Path(folder, "log").open("w+") as log:
            first = subprocess.Popen(command, stdout=log, stderr=log)
            started = waited(lambda: _trains(run) or first.poll() is not None)
            first.send_signal(signal.SIGUSR1)
            code = first.wait(timeout=_PATIENCE)
            log.seek(0)
            told = last_line(log.read())
        if not started or code != _PREEMPTED:
            told = f"exit code {code} instead of {_PREEMPTED}: {told}"
            yield Finding("preemption", "bad", told)
            return
        again = subprocess.run(
            [*command, "--trainer.max_steps=1"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    if again.returncode:
        told = f"it did not go on: {last_line(again.stderr)}"
        yield Finding("preemption", "bad", told)
    else:
        told = "a signal is answered by a checkpoint, and the same command goes on from it"
        yield Finding("preemption", "good", told)


def training(folder: Path) -> Path:
    """Write a configuration and the few small videos that it trains on; return the file of the former."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in ("left", "right"):
            place = folder / "videos" / split / label
            place.mkdir(parents=True)
            for number in range(4):
                frames = rng.integers(0, 255, (8, 48, 48, 3), dtype=np.uint8)
                # every build of FFmpeg has this encoder
                write_video(place / f"{number}.mp4", frames, 8, codec="mpeg4")
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
    """Wait until ``done()``, and return whether that was in time."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if done():
            return True
        time.sleep(0.5)
    return False


def _trains(run: Path) -> bool:
    """Return whether a checkpoint is there: a signal before the first update would have nothing to save."""
    return any(os.path.getsize(path) > 0 for path in run.rglob("*.ckpt"))
