"""What all data modules of videos share: splits in, loaders out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from data_modules.batch import VideoBatch
from data_modules.features.cache import FeatureCache, described, fingerprint
from data_modules.loading.collate import Collate, PlaneBatch
from data_modules.loading.dataset import FaultPolicy, VideoDataset
from data_modules.loading.faults import refuse_together
from data_modules.loading.loader import TrainLoader, eval_loader
from data_modules.loading.sampler import EpochBatchSampler, Order, PaddedSampler
from data_modules.loading.split_checks import (
    alike_classes,
    fewer_classes,
    lost_classes,
    shared_videos,
)
from data_modules.loading.views import EvalViews, TrainView, View, Views
from data_modules.loading.watchdog import Watchdog
from data_modules.sample import Clip, OnFault, Sample, Split
from data_modules.sampling.randomness import chosen_seed
from data_modules.sampling.schemes import Sampling
from data_modules.storage.files import Files, Located
from data_modules.storage.folders import Folders
from data_modules.storage.search import existing, videos_below
from data_modules.transforms.augment import Augmentation
from data_modules.transforms.crops import (
    EvalCrop,
    TrainCrop,
    Transform,
)
from data_modules.transforms.mirror import mirrored_labels, unmirrored_labels
from data_modules.transforms.mixing import Mixing

_STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}


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
        augmentations: what training does to a clip after that, in order.
        mixing: mixup and CutMix of the clips of a batch.
        num_sample: clips that training makes of the frames that it reads of a video; a batch has batch_size x
            num_sample clips.
        eval_crop: space in evaluation; ``EvalCrop()`` where not given.
        views: temporal x spatial views of test and predict, such as "4x3".
        batch_size: videos a process takes at a time, in training and evaluation.
        num_workers: processes that decode, for each loader; 0 decodes in this one.
        transforms_on: ``worker``; or ``device``, where workers hand over YUV planes and colour conversion, crop and all
            that follows run on the training device, with the same draws; ``auto``: device, unless that is the CPU.
        cache: a folder that ``lightning-petl cache build`` wrote, read in the place of the videos by fit, validate and
            test.
        files: what to do about files that are missing, damaged or hang, and where an ingested copy is.
        seed: of the order and of everything drawn for a clip. None: that of Lightning's ``seed_everything``, else 0.
        predict_path: a video, or a folder searched for videos, for prediction.

    Attributes:
        root: the folder of the annotation; it also holds the manifest of the files.
        features: the cache that is read, once a stage is set up.
    """

    root: Path = Path()
    CLASSES: ClassVar[int | None] = None
    """How many classes the published data set has; None where the files say."""

    def __init__(
        self,
        labels: list[str],
        *,
        sampling: Sampling,
        image_size: int = 224,
        train_transform: Transform | None = None,
        augmentations: list[Augmentation] | None = None,
        mixing: Mixing | None = None,
        num_sample: int = 1,
        eval_crop: EvalCrop | None = None,
        views: str = "1x1",
        batch_size: int = 8,
        num_workers: int = 2,
        transforms_on: Literal["auto", "worker", "device"] = "auto",
        cache: str | None = None,
        files: Files = Files(),
        seed: int | None = None,
        predict_path: str | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("image_size", image_size, 1), ("batch_size", batch_size, 1),
                                   ("num_workers", num_workers, 0), ("num_sample", num_sample, 1)):  # fmt: skip
            if value < least:
                raise ValueError(f"{name}: expected {least} or more, got {value}")
        if mixing and cache:
            raise ValueError(
                "data.mixing blends pixels, and behind a cache there are none: remove one of the two"
            )
        if mixing and batch_size % 2:
            raise ValueError(
                f"batch_size: mixing takes clips in pairs, got {batch_size}; take an even one"
            )
        self.labels, self.image_size, self.batch_size, self.num_workers = (
            labels,
            image_size,
            batch_size,
            num_workers,
        )
        self.sampling, self.num_frames, self.views = (
            sampling,
            sampling.num_frames,
            Views.parse(views),
        )
        self.seed = chosen_seed(seed)
        self.train_transform, self.eval_crop = (
            train_transform or TrainCrop(),
            eval_crop or EvalCrop(),
        )
        self.augmentations, self.mixing, self.num_sample = (
            augmentations or [],
            mixing,
            num_sample,
        )
        self.transforms_on, self.files, self.cache = transforms_on, files, cache
        self.features: FeatureCache | None = None
        self.predict_path = (
            None if predict_path is None else existing(Path(predict_path))
        )
        self._located: dict[str, Located] = {}
        self._notes: dict[str, list[str]] = {}
        self._known_bad: dict[str, str] = {}
        self._reading: dict[str, Watchdog] = {}
        self._saved_order: Order | None = None

    @abstractmethod
    def clips(self, split: Split) -> list[Clip]:
        """All that the annotation lists for a split, on disk or not, in an order that never changes."""

    def mirrored(self) -> dict[int, int]:
        """Return class -> class of the mirror image, where a flip changes what is shown; training maps labels by it."""
        return mirrored_labels(self.labels)

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
            self._locate(split)
        if stage in ("fit", "test"):
            self._tell_shared("val" if stage == "fit" else "test")
        if self.cache is not None and stage in _STAGES:
            self.features = FeatureCache(Path(self.cache))
            self.features.require_data(
                {split: self.seen(split) for split in _STAGES[stage]}
            )
            for split in _STAGES[stage]:
                self.features.require_videos(split, self._located[split].clips)
        if stage == "predict":
            self._located["predict"] = Located(self._to_predict(), {}, "")

    def _require_mirror_images(self) -> None:
        """Raise ValueError where training flips and a class that says a side has no mirror image among the classes."""
        alone = unmirrored_labels(self.labels)
        if alone and getattr(
            self.train_transform, "flip", False
        ):  # not all transforms have it
            raise ValueError(
                f"data.train_transform.flip mirrors clips, and {len(alone)} of the {len(self.labels)} classes, which "
                f"say left or right, have no mirror image among them: {_first(alone)}; set it to false"
            )

    def _to_predict(self) -> list[Clip]:
        if self.predict_path is None:
            raise ValueError(
                "predict_path: needed for predict; give a video file or a folder of videos"
            )
        clips, passed_over = videos_below(self.predict_path)
        if passed_over:
            rank_zero_warn(passed_over)
        return clips

    @cached_property
    def folders(self) -> Folders:
        """The folders of the data set, each of which is read once."""
        return self.files.folders(self.root)

    def looked_in(self, split: Split) -> str:
        """Return a sentence of what the folders hold in which the videos of a split were looked for; empty: unknown."""
        del split
        return ""

    def note(self, split: Split, sentence: str) -> None:
        """Keep a sentence on the clips of a split, which is told once it is known that they are there."""
        notes = self._notes.setdefault(split, [])
        if sentence and sentence not in notes:
            notes.append(sentence)

    def _tell_shared(self, split: Split) -> None:
        """Warn of clips of ``split`` that are clips of training, where the list of training is there."""
        try:
            train = (
                self._located["train"].clips
                if "train" in self._located
                else self.clips("train")
            )
        except (FileNotFoundError, ValueError):  # told where training needs it
            return
        if told := shared_videos(train, self._located[split].clips, split):
            rank_zero_warn(told)

    def _require_files(self, clips: Sequence[Clip], split: Split) -> Located:
        """Return where the clips are.

        Raises:
            FileNotFoundError: something is missing and may not be left out, or a whole class is.
        """
        try:
            located = self.files.located(clips, split, self.root, self.folders)
        except FileNotFoundError as error:
            raise FileNotFoundError(self._with_places(str(error), split)) from error
        lost = lost_classes(clips, located.clips, self.labels)
        if lost:
            raise FileNotFoundError(
                self._with_places(f"{located.absent}, and {lost}", split)
            )
        return located

    def _with_places(self, sentence: str, split: Split) -> str:
        return "; ".join(filter(None, (sentence, self.looked_in(split))))

    def _locate(self, split: Split) -> None:
        if split == "train":
            self._require_mirror_images()
        clips = self.clips(split)
        if not clips:
            raise ValueError(f"{type(self).__name__}: the {split} split has no clips")
        if split == "train":
            self.note(split, fewer_classes(clips, self.CLASSES, type(self).__name__))
            self.note(split, alike_classes(self.labels))
        located = self._require_files(clips, split)
        for note in self._notes.pop(split, []):
            rank_zero_warn(note)
        known_bad = self.files.known_bad(located, self.root)
        if located.absent:
            rank_zero_warn(located.absent)
        if known_bad and split != "train" and self.files.broken == "stop":
            raise ValueError(
                f"{_told(known_bad, split)}; files.broken=count_wrong counts them as wrong"
            )
        if known_bad:
            rank_zero_warn(
                f"{_told(known_bad, split)}; {'others stand in' if split == 'train' else 'they count as wrong'}"
            )
        self._located[split] = located
        self._known_bad |= known_bad

    def located(self, split: Split) -> list[Clip]:
        """The clips of a split that are there, in the order of the annotation."""
        if split not in self._located:
            self._locate(split)
        return self._located[split].clips

    def seen(self, split: Split) -> dict[str, Any]:
        """All that decides which pixels are shown of a split, in JSON types."""
        clips = self.located(split)
        key = {
            "clips": len(clips),
            "names": fingerprint(clips, self.labels),
            "view": described(self._view(split)),
        }
        key["ingested"] = self.files.ingested is not None
        return key | (
            {"seed": self.seed, "mirrored": described(self.mirrored())}
            if split == "train"
            else {}
        )

    def live(self, split: Split) -> VideoDataset:
        """The samples of a split as a worker reads them of the videos."""
        self.located(split)
        return self._videos(split, on_device=False)

    def train_dataloader(self) -> TrainLoader:
        """Batches of random clips of each video."""
        dataset = self._dataset("train")
        rank, world_size = self._rank_of_world()
        sampler = EpochBatchSampler(
            self._order(), rank=rank, world_size=world_size, position=self._position
        )
        return TrainLoader(dataset, sampler, self._collate(), self.num_workers)

    def _view(self, split: str) -> View:
        if split == "train":
            return TrainView(
                self.sampling,
                self.train_transform,
                self.image_size,
                self.augmentations,
                self.num_sample,
            )
        views = Views(1, 1) if split == "val" else self.views
        return EvalViews(self.sampling, self.eval_crop, self.image_size, views)

    def _dataset(self, split: str) -> Dataset[Sample]:
        if self.features and split != "predict":
            return self.features.dataset(
                split, self._located[split].clips, on_fault=self._on_fault(split)
            )
        return self._videos(split, on_device=self._on_device())

    def _videos(self, split: str, *, on_device: bool) -> VideoDataset:
        on_fault = self._on_fault(split)
        self._reading[split] = Watchdog(self.num_workers, self.files.deadline)
        return VideoDataset(
            self._located[split].clips,
            self._view(split),
            seed=self.seed,
            policy=FaultPolicy(on_fault, self._known_bad),
            mirrored=self.mirrored(),
            on_device=on_device,
            reading=self._reading[split],
        )

    def _on_fault(self, split: str) -> OnFault:
        if split == "train":
            return "replace"
        # one rank alone must not stop; and in predict the others go on, and the command names it at its end
        return (
            "count_wrong"
            if split == "predict" or self._ranks_stop_together
            else self.files.broken
        )

    @property
    def _ranks_stop_together(self) -> bool:
        return self.files.broken == "stop" and self._rank_of_world()[1] > 1

    def _on_device(self) -> bool:
        if self.transforms_on != "auto":
            return self.transforms_on == "device"
        return (
            self.trainer is not None and self.trainer.strategy.root_device.type != "cpu"
        )

    def _collate(self) -> Collate:
        return Collate(self.mixing, self.seed)

    def on_after_batch_transfer(
        self, batch: VideoBatch | PlaneBatch, dataloader_idx: int
    ) -> VideoBatch:
        """Make clips of planes, where that was left to the device, and numbers of what a cache keeps of them."""
        if isinstance(batch, PlaneBatch):
            collate = (
                self._collate() if self.trainer and self.trainer.training else Collate()
            )
            batch = collate.render(batch)
        evaluates = self.trainer is not None and not (
            self.trainer.training or self.trainer.predicting
        )
        if self.trainer is not None and evaluates and self._ranks_stop_together:
            refuse_together(batch.fault, self.trainer)
        if self.features and isinstance(batch.video, Mapping):
            return batch._replace(video=self.features.restored(batch.video))
        return batch

    def on_exception(self, exception: BaseException) -> None:
        """Name the file at which a worker ended, and note the one that hung."""
        for split, reading in self._reading.items():
            for path, hung in reading.of_dead_workers(exception):
                exception.add_note(f"It was reading {path}.")
                if hung and self._located[split].keys:
                    exception.add_note(self._noted(path, split))

    def _noted(self, path: str, split: str) -> str:
        try:
            place = self.files.note_hung(path, self._located[split], self.root)
        except OSError as error:
            return f"It hung, and could not be noted as hung: {error}."
        waited = f"files.deadline={self.files.deadline:g} s"
        return f"It gave no answer in {waited} and is noted in {place}: a new run does not try it."

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every clip once, one central view."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Every clip once, all views."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Every video under ``predict_path`` once, all views, label -1."""
        return self._eval_loader("predict")

    def state_dict(self) -> dict[str, Any]:
        """What a resume in mid-epoch must agree with."""
        return self._order()._asdict() if "train" in self._located else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Compared at the first batch, if that is in mid-epoch."""
        self._saved_order = Order(**state_dict) if state_dict else None

    def _eval_loader(self, split: str) -> DataLoader[Sample]:
        dataset = self._dataset(split)
        rank, world_size = self._rank_of_world()
        clips, size = len(self._located[split].clips), self.batch_size
        sampler = PaddedSampler(clips, size, rank=rank, world_size=world_size)
        return eval_loader(
            dataset, sampler, batch_size=size, num_workers=self.num_workers
        )

    def _rank_of_world(self) -> tuple[int, int]:
        return (
            (self.trainer.global_rank, self.trainer.world_size)
            if self.trainer
            else (0, 1)
        )

    def _order(self) -> Order:
        _, world_size = self._rank_of_world()
        # Trainer sets overfit_batches by name only; those few batches must be the same in every epoch
        shuffled = not getattr(self.trainer, "overfit_batches", 0)
        return Order(
            len(self._located["train"].clips),
            self.batch_size * world_size,
            self.seed,
            shuffled,
        )

    def _position(self) -> tuple[int, int]:
        """The epoch, and the batches of it that are done, as Lightning counts batches when it asks for one.

        Epochs are counted from batches: Lightning's own count is one too many after a resume from the end of an
        epoch under ``max_steps``. An epoch that was cut short counts as whole.
        """
        if not self.trainer:
            return 0, 0
        batches = self.trainer.fit_loop.epoch_loop.batch_progress
        done, earlier = (
            batches.current.ready,
            batches.total.completed - batches.current.completed,
        )
        if done and self._saved_order not in (None, self._order()):
            raise ValueError(
                f"resuming after batch {done} of an epoch needs the order of the checkpoint: it has "
                f"{self._saved_order}, now {self._order()}; set these back, or start from the end of an epoch"
            )
        return ceil(earlier / self.trainer.num_training_batches), done


def _told(known_bad: Mapping[str, str], split: str) -> str:
    files = "; ".join(
        f"{path}: {reason}" for path, reason in list(known_bad.items())[:5]
    )
    more = f"; and {len(known_bad) - 5} more" if len(known_bad) > 5 else ""
    return f"{len(known_bad)} video(s) of the {split} split are known to be bad: {files}{more}"


def _first(names: Sequence[str], count: int = 5) -> str:
    """Return the first names, quoted, and whether there are more."""
    return ", ".join(map(repr, names[:count])) + (", ..." if len(names) > count else "")
