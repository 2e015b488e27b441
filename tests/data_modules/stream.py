"""Trains on some ranks and writes down what each saw: ``python -m tests.data_modules.stream FOLDER RANKS WORKERS``.

A line of ``FOLDER/seen-<rank>.csv`` is a clip: update, name, digest of its pixels, label, weight of the mix.
"""

import data_modules  # noqa: F401, I001  # first: makes torchvision importable

import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from data_modules.transforms.augment import RandomErasing
from data_modules.batch import VideoBatch
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.transforms.mixing import Mixing
from data_modules.transforms.rand_augment import RandAugment
from data_modules.sampling.schemes import SegmentSampling

GLOBAL_BATCH, STEPS = 12, 9  # 40 clips: three steps an epoch


class Writer(LightningModule):
    """One weight; a line for each clip."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.weight, self.folder = torch.nn.Parameter(torch.zeros(())), folder

    def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
        assert batch.partners is not None
        columns = zip(
            batch.clip_id,
            batch.video,
            batch.label.tolist(),
            batch.partners.weight.tolist(),
            strict=True,
        )
        with (self.folder / f"seen-{self.global_rank}.csv").open("a") as file:
            for name, video, label, weight in columns:
                digest = sha256(video.numpy().tobytes()).hexdigest()
                file.write(f"{self.global_step},{name},{digest},{label},{weight}\n")
        return (self.weight - batch.video.float().mean() / 255).square()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(
    root: str,
    folder: str,
    ranks: int,
    workers: int,
    steps: int,
    checkpoint: str | None,
) -> None:
    """Train up to ``steps`` updates, from ``checkpoint`` on."""
    data = VideoFolder(
        root, sampling=SegmentSampling(2), image_size=16, batch_size=GLOBAL_BATCH // ranks, num_workers=workers,
        augmentations=[RandAugment(), RandomErasing(0.5)], mixing=Mixing(), num_sample=2,
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", max_steps=steps, max_epochs=-1,
        logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        use_distributed_sampler=False, limit_val_batches=0,
        callbacks=[ModelCheckpoint(Path(folder), every_n_train_steps=1, filename="last", enable_version_counter=False)],
    )  # fmt: skip
    trainer.fit(Writer(Path(folder)), datamodule=data, ckpt_path=checkpoint)


if __name__ == "__main__":
    root, folder, ranks, workers, steps, *checkpoint = sys.argv[1:]
    main(
        root,
        folder,
        int(ranks),
        int(workers),
        int(steps),
        checkpoint[0] if checkpoint else None,
    )
