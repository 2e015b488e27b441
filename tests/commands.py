"""A small run: eight-frame videos of two classes, a tiny trunk, one epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from data_modules.video.encode import write_video

MODEL = {
    "backbone": {"name": "vit_tiny_patch16_224", "weights": "random", "depth": 2},
    "adapters": [{"class_path": "LoRA", "init_args": {"rank": 2}}],
    "optim": {"lr": 0.01},
}
TRAINER = [
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def write_videos(root: Path, train: int = 5, val: int = 3) -> Path:
    """``root/{train,val}/{left,right}/<n>.mp4``: a bright bar that moves."""
    for split, count in (("train", train), ("val", val)):
        for label, step in (("left", -4), ("right", 4)):
            (root / split / label).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                seed = (
                    index if split == "train" else 1000 + index
                )  # a video of both splits would be told
                write_video(
                    root / split / label / f"{index}.mp4",
                    _bar(step, seed),
                    8,
                    codec="mpeg4",
                )
    return root


class Command:
    """Builds the arguments of a command whose runs go to ``runs``."""

    model, data_set, write = MODEL, "VideoFolder", staticmethod(write_videos)

    def __init__(self, folder: Path) -> None:
        self.videos, self.runs = self.write(folder / "videos"), folder / "runs"
        self.trainer = [
            *TRAINER,
            f"--trainer.default_root_dir={self.runs}",
            "--trainer.max_epochs=1",
        ]
        self.config = folder / "config.yaml"
        data = {
            "class_path": self.data_set,
            "init_args": {
                "root": str(self.videos),
                "sampling": {
                    "class_path": "SegmentSampling",
                    "init_args": {"num_frames": 4},
                },
                "image_size": 32,
                "batch_size": 3,
                "num_workers": 0,
            },
        }
        self.config.write_text(yaml.safe_dump({"model": self.model, "data": data}))

    def __call__(self, name: str, extra: Sequence[str] = ()) -> list[str]:
        return [name, "--config", str(self.config), *self.trainer, *extra]


def _bar(step: int, seed: int) -> np.ndarray:
    frames = np.random.default_rng(seed).integers(
        0, 60, (8, 48, 48, 3), dtype=np.uint8
    )
    for index, frame in enumerate(frames):
        start = 20 + step * (index - 4)
        frame[:, start : start + 6] = 255
    return frames
