"""Videos with captions, for retrieval."""

from abc import abstractmethod
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from torch.utils.data import Dataset
from typing_extensions import override

from data_modules.sample import Clip, Sample, Split
from data_modules.sampling.randomness import keyed_generator
from data_modules.sets.captions.caption_files import (
    CaptionFile,
    VideoNames,
    captioned,
)
from data_modules.sets.captions.caption_text import Script
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import Wanted

# splits that must have other videos; val and test of some papers are one
_APART: dict[Split, tuple[Split, ...]] = {
    "train": ("val", "test"),
    "val": ("train",),
    "test": ("train",),
}


class CaptionedVideos(AnnotatedVideos):
    """Read videos that are described in sentences; a subclass says which and how.

    In training each clip has one caption, its label is the number of its video, and so
    clips of one video can be told. In evaluation each video comes once with all its
    captions.

    Args:
        root: the folder of the annotation.
        videos: the folder of the videos or of folders of them, from ``root`` unless
            absolute; by default that which is published, or any other below ``root``. A
            suffix is found.
        pairs: ``every`` pair of a video and a caption of it is a clip of an epoch,
            ``<video>#<number of the caption>``; or each video is one, with a ``random``
            caption that depends on (seed, epoch, clip id).
        script: ``latin`` refuses captions that are not in Latin letters, which the
            usual text towers cannot read; ``any`` takes all.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        ValueError: mixing, which blends videos that no caption describes, or a
            transform that flips, of which a caption that says left or right becomes
            untrue.
    """

    depth = 4
    published: ClassVar[str] = "videos"

    def __init__(
        self,
        root: str,
        *,
        videos: str | None = None,
        pairs: Literal["every", "random"] = "every",
        script: Script = "latin",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("mixing"):
            raise ValueError(
                "data.mixing blends two videos, which no caption describes: remove it"
            )
        # a user's own transform need not have the option
        if getattr(kwargs.get("train_transform"), "flip", False):
            raise ValueError(
                "data.train_transform.flip mirrors videos, and captions say left and "
                "right: set it to false"
            )
        super().__init__([], **kwargs)
        self.root = Path(root)
        self.pairs = pairs
        self.videos = self.root / (self.published if videos is None else videos)
        self.script: Script = script
        self._lists: dict[Split, VideoNames] = {}

    @abstractmethod
    def listed(self, split: Split) -> VideoNames:
        """Return the list of a split."""

    @abstractmethod
    def captions(self, split: Split) -> CaptionFile:
        """Return the captions of a split; there may be more than its list needs."""

    def clips(self, split: Split) -> list[Clip]:
        """Return each video once with all its captions, in the order of the list.

        Raises:
            FileNotFoundError: no list, or no file of captions.
            ValueError: of :func:`~data_modules.sets.captions.caption_files.captioned`,
                a file that is not what it should be, or a video that is trained on and
                also validated or tested.
        """
        listed = self._list(split)
        captions = captioned(listed, self.captions(split), self.script)
        for other in _APART[split]:
            self._require_apart(split, other)
        paths = self.paths(split, listed.names)
        clips = list[Clip]()
        for name, path, said in zip(listed.names, paths, captions, strict=True):
            clips.append(Clip(name, path, len(clips), said))
        return clips

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also ``root``."""
        del split
        if self.videos != self.root / self.published:
            return [self.videos]
        return [self.videos, self.root]

    def paths(self, split: Split, names: Sequence[str]) -> list[Path]:
        """Return where the videos lie, or would."""
        wanted = [Wanted(self.videos / f"{name}.mp4") for name in names]
        return self.found(split, wanted)

    def _list(self, split: Split) -> VideoNames:
        if split not in self._lists:
            self._lists[split] = self.listed(split)
        return self._lists[split]

    def _require_apart(self, split: Split, other: Split) -> None:
        """Refuse videos that two splits have in common by ValueError."""
        own = self._list(split)
        try:
            elsewhere = self._list(other)
        except (FileNotFoundError, ValueError):
            return  # said where that split is needed
        known = set(elsewhere.names)
        shared = [name for name in own.names if name in known]
        if shared:
            raise ValueError(
                f"{own.path}: {len(shared)} of the {len(own.names)} videos of the "
                f"{split} split, the first {shared[0]}, are of the {other} split, too: "
                f"{elsewhere.path}; is one of the two the list of another split? What is "
                "trained on cannot be tested: give each split videos of its own"
            )

    @override
    def _locate(self, split: Split) -> None:
        super()._locate(split)
        # only now: what is missing is counted in videos, not in pairs
        if split == "train" and self.pairs == "every":
            located = self._located[split]
            self._located[split] = located._replace(clips=every_pair(located.clips))

    @override
    def _dataset(self, split: str) -> Dataset[Sample]:
        dataset = super()._dataset(split)
        return OneCaption(dataset, self.seed) if split == "train" else dataset


class OneCaption(Dataset[Sample]):
    """Read samples with one of their captions, drawn from (seed, epoch, clip id).

    A stand-in for a bad file is seen with a caption of its own.
    """

    def __init__(self, dataset: Dataset[Sample], seed: int) -> None:
        self._dataset = dataset
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of clips that training draws from."""
        return len(cast(Sized, self._dataset))

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Read one sample."""
        sample = self._dataset[key]
        name = f"caption of {sample.clip_id}"
        generator = keyed_generator(self._seed, sample.epoch, name)
        number = generator.integers(len(sample.captions))
        return sample._replace(captions=(sample.captions[number],))


def every_pair(clips: Sequence[Clip]) -> list[Clip]:
    """Return a clip for each caption, in order.

    >>> for clip in every_pair([Clip("a", Path("a.mp4"), 0, ("one", "two"))]):
    ...     print(clip.clip_id, clip.label, clip.captions)
    a#0 0 ('one',)
    a#1 0 ('two',)
    """
    pairs = list[Clip]()
    for clip in clips:
        for number, caption in enumerate(clip.captions):
            clip_id = f"{clip.clip_id}#{number}"
            pairs.append(clip._replace(clip_id=clip_id, captions=(caption,)))
    return pairs
