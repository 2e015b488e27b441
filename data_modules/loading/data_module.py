"""What all data modules of videos share: splits in, loaders out."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from data_modules.batch import VideoBatch
from data_modules.features.cache import FeatureCache, described, fingerprint
from data_modules.loading.cached import opened_cache
from data_modules.loading.collate import Collate, PlaneBatch
from data_modules.loading.dataset import FaultPolicy, VideoDataset
from data_modules.loading.faults import refuse_together
from data_modules.loading.loader import TrainLoader, eval_loader
from data_modules.loading.position import EpochPosition
from data_modules.loading.sampler import EpochBatchSampler, Order, PaddedSampler
from data_modules.loading.split_checks import require_mirror_images
from data_modules.loading.splits import AnnotatedSplits
from data_modules.loading.subset import BaseClassRule, ClassSelection, Subset
from data_modules.loading.views import EvalViews, TrainView, View, Views
from data_modules.loading.watchdog import Watchdog
from data_modules.sample import Clip, OnFault, Sample, Split
from data_modules.sampling.randomness import chosen_seed
from data_modules.sampling.schemes import Sampling
from data_modules.storage.files import Files, Located
from data_modules.storage.search import existing, videos_below
from data_modules.transforms.augment import Augmentation
from data_modules.transforms.crops import EvalCrop, TrainCrop, Transform
from data_modules.transforms.mirror import mirrored_labels
from data_modules.transforms.mixing import Mixing

_STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}


class VideoDataModule(AnnotatedSplits, LightningDataModule):
    """Load the clips of a data set in batches; a subclass says which clips.

    What is trained on is a function of (seed, epoch, step), for any number of workers
    and ranks with the same global batch, and across a stop in the middle of an epoch.
    The Trainer needs ``use_distributed_sampler=False``. Validation during training
    looks once at each video (1x1); ``views`` is for test and predict.

    Args:
        labels: class names by index.
        sampling: which frames a clip shows.
        image_size: side of the square clips, pixels.
        train_transform: space in training; ``TrainCrop()`` where not given.
        augmentations: what training does to a clip after that, in order.
        mixing: mixup and CutMix of the clips of a batch.
        num_sample: clips that training makes of the frames that it reads of a video; a
            batch has batch_size x num_sample clips.
        eval_crop: space in evaluation; ``EvalCrop()`` where not given.
        views: temporal x spatial views of test and predict, such as "4x3".
        batch_size: videos a process takes at a time, in training and evaluation.
        num_workers: processes that decode, for each loader; 0 decodes in this one.
        transforms_on: ``worker``; or ``device``, where workers hand over YUV planes and
            color conversion, crop and all that follows run on the training device, with
            the same draws; ``auto``: device, unless that is the CPU.
        cache: a folder that ``lightning-petl cache build`` wrote, read in the place of
            the videos by fit, validate and test.
        files: what to do about files that are missing, damaged or hang, and where an
            ingested copy is.
        seed: of the order and of everything drawn for a clip. None: that of Lightning's
            ``seed_everything``, else 0.
        predict_path: a video, or a folder searched for videos, for prediction.
        shots, percent, classes, base_classes, subset_seed: which part of the data set
            is used, see :class:`~data_modules.loading.subset.Subset`; ``subset_seed`` is
            its seed, and does not follow ``seed``.

    Attributes:
        features: the cache that is read, once a stage is set up.
    """

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
        shots: int | None = None,
        percent: float | None = None,
        classes: ClassSelection = "all",
        base_classes: BaseClassRule = "first_half",
        subset_seed: int = 0,
    ) -> None:
        subset = Subset(
            shots=shots,
            percent=percent,
            classes=classes,
            base_classes=base_classes,
            seed=subset_seed,
        )
        super().__init__(labels, files, subset)
        _require_at_least("image_size", image_size, 1)
        _require_at_least("batch_size", batch_size, 1)
        _require_at_least("num_workers", num_workers, 0)
        _require_at_least("num_sample", num_sample, 1)
        if mixing and cache:
            raise ValueError(
                "data.mixing blends pixels, and behind a cache there are none: "
                "remove one of the two"
            )
        if mixing and batch_size % 2:
            raise ValueError(
                f"batch_size: mixing takes clips in pairs, got {batch_size}; take "
                "an even one"
            )
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.sampling = sampling
        self.num_frames = sampling.num_frames
        self.views = Views.parse(views)
        self.seed = chosen_seed(seed)
        self.train_transform = train_transform or TrainCrop()
        self.eval_crop = eval_crop or EvalCrop()
        self.augmentations = augmentations or []
        self.mixing = mixing
        self.num_sample = num_sample
        self.transforms_on = transforms_on
        self.cache = cache
        self.features: FeatureCache | None = None
        self.predict_path: Path | None = None
        if predict_path is not None:
            self.predict_path = existing(Path(predict_path))
        self._watchdogs: dict[str, Watchdog] = {}
        self._resume = EpochPosition()

    def mirrored(self) -> dict[int, int]:
        """Return class -> class of the mirror image, where a flip changes what is shown.

        Training maps the labels of flipped clips by it.
        """
        return mirrored_labels(self.labels)

    def protocol(self) -> dict[str, Any]:
        """Return how evaluation looks at a video, and which part of the data set is used.

        It is in plain JSON types; ``subset`` is there where it is a part.
        """
        looks: dict[str, Any] = {
            "sampling": {
                "name": type(self.sampling).__name__,
                **vars(self.sampling),
            },
            "views": f"{self.views.temporal}x{self.views.spatial}",
            "image_size": self.image_size,
            "crop": asdict(self.eval_crop),
        }
        subset = self.subset.settings()
        return {**looks, "subset": subset} if subset else looks

    def setup(self, stage: str) -> None:
        """Read the annotation of what the stage needs, and check it."""
        splits = _STAGES.get(stage, ())
        for split in splits:
            self._locate(split)
        if stage in ("fit", "test"):
            self._tell_shared("val" if stage == "fit" else "test")
        if self.cache is not None and splits:
            self.features = opened_cache(self, Path(self.cache), splits)
        if stage == "predict":
            self._located["predict"] = Located(self._to_predict(), {}, "")

    @override
    def _locate(self, split: Split) -> None:
        if split == "train":
            require_mirror_images(self.labels, self.train_transform)
        super()._locate(split)

    def _to_predict(self) -> list[Clip]:
        """Return the videos under ``predict_path``; ValueError where it is not given."""
        if self.predict_path is None:
            raise ValueError(
                "predict_path: needed for predict; give a video file or a folder "
                "of videos"
            )
        clips, passed_over = videos_below(self.predict_path)
        if passed_over:
            rank_zero_warn(passed_over)
        return clips

    def seen(self, split: Split, *, whole: bool = False) -> dict[str, Any]:
        """Return all that decides which pixels are shown of a split, in JSON types.

        A feature cache keeps it, so that it is read by no run that shows other pixels.

        Args:
            split: of the data set.
            whole: as of a run with all clips and classes.
        """
        clips = self.whole(split) if whole else self.located(split)
        labels = self.all_labels if whole else self.labels
        key: dict[str, Any] = {
            "clips": len(clips),
            "names": fingerprint(clips, labels),
            "view": described(self._view(split)),
            "ingested": self.files.ingested is not None,
        }
        if split == "train":
            mirrored = mirrored_labels(labels) if whole else self.mirrored()
            key["seed"] = self.seed
            key["mirrored"] = described(mirrored)
        return key

    def live(self, split: Split) -> VideoDataset:
        """Return the samples of a split as a worker reads them from the videos."""
        self.located(split)
        return self._videos(split, on_device=False)

    def train_dataloader(self) -> TrainLoader:
        """Return batches of random clips of each video."""
        dataset = self._dataset("train")
        rank, world_size = self._rank_of_world()
        sampler = EpochBatchSampler(
            self._order(), rank=rank, world_size=world_size, position=self._position
        )
        return TrainLoader(dataset, sampler, self._collate(), self.num_workers)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return every clip once, in one central view."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Return every clip once, in all views."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Return every video under ``predict_path`` once, in all views, with label -1."""
        return self._eval_loader("predict")

    def _eval_loader(self, split: str) -> DataLoader[Sample]:
        dataset = self._dataset(split)
        rank, world_size = self._rank_of_world()
        sampler = PaddedSampler(
            len(self._located[split].clips),
            self.batch_size,
            rank=rank,
            world_size=world_size,
        )
        return eval_loader(
            dataset,
            sampler,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
        )

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
            clips = self._located[split].clips
            return self.features.dataset(
                split, clips, on_fault=self._on_fault(split)
            )
        return self._videos(split, on_device=self._on_device())

    def _videos(self, split: str, *, on_device: bool) -> VideoDataset:
        watchdog = Watchdog(self.num_workers, self.files.deadline)
        self._watchdogs[split] = watchdog
        return VideoDataset(
            self._located[split].clips,
            self._view(split),
            seed=self.seed,
            policy=FaultPolicy(self._on_fault(split), self._known_bad),
            mirrored=self.mirrored(),
            on_device=on_device,
            watchdog=watchdog,
        )

    def _on_fault(self, split: str) -> OnFault:
        if split == "train":
            return "replace"
        if split == "predict":  # the others go on; the command names it at its end
            return "count_wrong"
        if self._ranks_stop_together:
            # an error of one rank alone would leave the others in a collective; after
            # the batch has arrived, `refuse_together` stops all of them
            return "count_wrong"
        return self.files.broken

    @property
    def _ranks_stop_together(self) -> bool:
        _, world_size = self._rank_of_world()
        return self.files.broken == "stop" and world_size > 1

    def _on_device(self) -> bool:
        if self.transforms_on != "auto":
            return self.transforms_on == "device"
        if self.trainer is None:
            return False
        return self.trainer.strategy.root_device.type != "cpu"

    def _collate(self) -> Collate:
        return Collate(self.mixing, self.seed)

    def on_after_batch_transfer(
        self, batch: VideoBatch | PlaneBatch, dataloader_idx: int
    ) -> VideoBatch:
        """Make clips of planes, and numbers of what a cache keeps, on the device."""
        trainer = self.trainer
        if isinstance(batch, PlaneBatch):
            # only training mixes clips
            trains = trainer is not None and trainer.training
            collate = self._collate() if trains else Collate()
            batch = collate.render(batch)
        evaluates = trainer is not None and not (
            trainer.training or trainer.predicting
        )
        if trainer is not None and evaluates and self._ranks_stop_together:
            refuse_together(batch.fault, trainer)
        if self.features and isinstance(batch.video, Mapping):
            return batch._replace(video=self.features.restored(batch.video))
        return batch

    def on_exception(self, exception: BaseException) -> None:
        """Name the file at which a worker ended, and note the one that hung."""
        for split, watchdog in self._watchdogs.items():
            for path, hung in watchdog.of_dead_workers(exception):
                exception.add_note(f"It was reading {path}.")
                # a video to predict has no manifest
                if hung and self._located[split].keys:
                    exception.add_note(self._noted(path, split))

    def _noted(self, path: str, split: str) -> str:
        """Write into the manifest that a file hung; return a sentence on it."""
        try:
            place = self.files.note_hung(path, self._located[split], self.root)
        except OSError as error:
            return f"It hung, and could not be noted as hung: {error}."
        waited = f"files.deadline={self.files.deadline:g} s"
        return (
            f"It gave no answer in {waited} and is noted in {place}: a new run does "
            "not try it."
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume in the middle of an epoch must agree with."""
        return self._order()._asdict() if "train" in self._located else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the order of the checkpoint; the first batch compares it."""
        self._resume.saved = Order(**state_dict) if state_dict else None

    def _rank_of_world(self) -> tuple[int, int]:
        if not self.trainer:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _order(self) -> Order:
        _, world_size = self._rank_of_world()
        # Trainer sets overfit_batches by name only, so that its type does not have it;
        # those few batches must be the same in every epoch
        shuffled = not getattr(self.trainer, "overfit_batches", 0)
        num_clips = len(self._located["train"].clips)
        batch = self.batch_size * world_size
        return Order(num_clips, batch, self.seed, shuffled, str(self.subset))

    def _position(self) -> tuple[int, int]:
        """Return the epoch, and how many batches of it are done."""
        if not self.trainer:
            return 0, 0
        return self._resume.of(self.trainer, self._order())


def _require_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}: expected {least} or more, got {value}")
