"""What all data modules of videos share: splits in, loaders out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from data_modules.dataset import Clip, EvalViews, Sample, TrainView, VideoDataset, Views
from data_modules.decode import VIDEO_SUFFIXES
from data_modules.loader import TrainLoader, eval_loader
from data_modules.presence import present
from data_modules.sampler import EpochBatchSampler, EvalSampler, Order
from data_modules.sampling import Sampling
from data_modules.transforms import EvalCrop, TrainCrop, Transform

Split = Literal["train", "val", "test"]
_STAGES: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


class VideoDataModule(LightningDataModule, ABC):
    """Loaders over the clips of a data set; a subclass says which clips.

    What is trained on is a function of (seed, epoch, step), for any number of workers and ranks with the same
    global batch, and across a stop in the middle of an epoch. The Trainer needs ``use_distributed_sampler=False``.
    Validation during training looks once at each video (1x1); ``views`` is for test and predict.

    Args:
        labels: class names by index.
        sampling: which frames a clip shows.
        image_size: side of the square clips, pixels.
        train_transform: space in training; ``TrainCrop()`` where not given.
        eval_crop: space in evaluation; ``EvalCrop()`` where not given.
        views: temporal x spatial views of test and predict, such as "4x3".
        batch_size: clips a process takes at a time, in training and evaluation.
        num_workers: processes that decode, for each loader; 0 decodes in this one.
        seed: of the order and of everything drawn for a clip.
        predict_path: a video, or a folder searched for videos, for prediction.
        missing: what to do about listed videos that are not on disk: ``stop``, or ``leave_out``; either way they are
            listed and counted.

    Attributes:
        root: the folder of the annotation, where there is one; it also holds what is known of the files.
    """

    root: Path | None = None

    def __init__(
        self,
        labels: list[str],
        *,
        sampling: Sampling,
        image_size: int = 224,
        train_transform: Transform | None = None,
        eval_crop: EvalCrop | None = None,
        views: str = "1x1",
        batch_size: int = 8,
        num_workers: int = 2,
        seed: int = 0,
        predict_path: str | None = None,
        missing: Literal["stop", "leave_out"] = "stop",
    ) -> None:
        super().__init__()
        for name, value, least in (("image_size", image_size, 1), ("batch_size", batch_size, 1),
                                   ("num_workers", num_workers, 0)):  # fmt: skip
            if value < least:
                raise ValueError(f"{name}: expected {least} or more, got {value}")
        self.labels, self.image_size, self.batch_size, self.num_workers = labels, image_size, batch_size, num_workers
        self.sampling, self.num_frames, self.views, self.seed = sampling, sampling.num_frames, Views.parse(views), seed
        self.train_transform, self.eval_crop = train_transform or TrainCrop(), eval_crop or EvalCrop()
        self.predict_path = None if predict_path is None else _existing(Path(predict_path))
        self.missing: Literal["stop", "leave_out"] = missing
        self._clips: dict[str, list[Clip]] = {}
        self._saved_order: Order | None = None

    @abstractmethod
    def clips(self, split: Split) -> list[Clip]:
        """All that the annotation lists for a split, on disk or not, in an order that never changes."""

    def protocol(self) -> dict[str, Any]:
        """How evaluation looks at a video, in plain JSON types."""
        return {
            "sampling": {"name": type(self.sampling).__name__, **vars(self.sampling)},
            "views": f"{self.views.temporal}x{self.views.spatial}",
            "image_size": self.image_size,
            "crop": asdict(self.eval_crop),
        }

    def setup(self, stage: str) -> None:
        """Read the annotation of what the stage needs, and check it."""
        for split in _STAGES.get(stage, ()):
            self._clips[split] = self._present(split)
        if stage == "predict":
            self._clips["predict"] = _videos(self.predict_path)

    def _present(self, split: Split) -> list[Clip]:
        clips = self.clips(split)
        if not clips:
            raise ValueError(f"{type(self).__name__}: the {split} split has no clips")
        found, sentence = present(clips, split, leave_out=self.missing == "leave_out")
        if sentence:
            rank_zero_warn(sentence)
        return found

    def train_dataloader(self) -> TrainLoader:
        """Batches of one random view of each clip."""
        view = TrainView(self.sampling, self.train_transform, self.image_size)
        dataset = VideoDataset(self._clips["train"], view, seed=self.seed)
        rank, world_size = self._rank_of_world()
        sampler = EpochBatchSampler(self._order(), rank=rank, world_size=world_size, position=self._position)
        return TrainLoader(dataset, sampler, self.num_workers)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every clip once, one central view."""
        return self._eval_loader("val", Views(1, 1))

    def test_dataloader(self) -> DataLoader[Sample]:
        """Every clip once, all views."""
        return self._eval_loader("test", self.views)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Every video under ``predict_path`` once, all views, label -1."""
        return self._eval_loader("predict", self.views)

    def state_dict(self) -> dict[str, Any]:
        """What a resume in mid-epoch must agree with."""
        return self._order()._asdict() if "train" in self._clips else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Compared at the first batch, if that is in mid-epoch."""
        self._saved_order = Order(**state_dict) if state_dict else None

    def _eval_loader(self, split: str, views: Views) -> DataLoader[Sample]:
        clips = self._clips[split]
        dataset = VideoDataset(clips, EvalViews(self.sampling, self.eval_crop, self.image_size, views))
        rank, world_size = self._rank_of_world()
        sampler = EvalSampler(len(clips), rank=rank, world_size=world_size)
        return eval_loader(dataset, sampler, batch_size=self.batch_size, num_workers=self.num_workers)

    def _rank_of_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _order(self) -> Order:
        _, world_size = self._rank_of_world()
        # Trainer sets overfit_batches by name only; those few batches must be the same in every epoch
        shuffled = not getattr(self.trainer, "overfit_batches", 0)
        return Order(len(self._clips["train"]), self.batch_size * world_size, self.seed, shuffled)

    def _position(self) -> tuple[int, int]:
        """The epoch, and the batches of it that are done, as Lightning counts batches when it asks for one.

        Epochs are counted from batches: Lightning's own count is one too many after a resume from the end of an
        epoch under ``max_steps``. An epoch that was cut short counts as whole.
        """
        if not self.trainer:
            return 0, 0
        batches = self.trainer.fit_loop.epoch_loop.batch_progress
        done, earlier = batches.current.ready, batches.total.completed - batches.current.completed
        if done and self._saved_order not in (None, self._order()):
            raise ValueError(
                f"resuming after batch {done} of an epoch needs the order of the checkpoint: it has "
                f"{self._saved_order}, now {self._order()}; set these back, or start from the end of an epoch"
            )
        return ceil(earlier / self.trainer.num_training_batches), done


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"predict_path: {path} is neither a video file nor a folder")
    return path


def _videos(path: Path | None) -> list[Clip]:
    if path is None:
        raise ValueError("predict_path: needed for predict; give a video file or a folder of videos")
    if path.is_file():
        return [Clip(path.name, path, -1)]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        raise ValueError(f"predict_path: no video ({', '.join(sorted(VIDEO_SUFFIXES))}) under {path}")
    return [Clip(file.relative_to(path).as_posix(), file, -1) for file in found]
