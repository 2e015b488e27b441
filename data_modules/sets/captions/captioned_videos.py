"""Videos with captions, for retrieval."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from torch.utils.data import Dataset
from typing_extensions import override

from data_modules.sample import Clip, Sample, Split
from data_modules.sampling.randomness import keyed_generator
from data_modules.sets.captions.caption_files import captioned
from data_modules.sets.captions.caption_text import Script, WrittenCaption
from data_modules.sets.video.annotated_videos import AnnotatedVideos
from data_modules.storage.finder import Wanted

_APART: dict[Split, tuple[Split, ...]] = {
    "train": ("val", "test"),
    "val": ("train",),
    "test": ("train",),
}


class CaptionedVideos(AnnotatedVideos):
    """Videos that are described in sentences; a subclass says which and how.

    In training each clip has one caption, its label is the number of its video, and so clips of one video can be
    told. In evaluation each video comes once with all its captions.

    Args:
        root: the folder of the annotation.
        videos: the folder of the videos or of folders of them, from ``root`` unless absolute; by default that which is
            published, or any other below ``root``. A suffix is found.
        pairs: ``every`` pair of a video and a caption of it is a clip of an epoch, ``<video>#<number of the caption>``;
            or each video is one, with a ``random`` caption that depends on (seed, epoch, clip id).
        script: ``latin`` refuses captions that are not in Latin letters, which the usual text towers cannot read;
            ``any`` takes all.
        kwargs: those of :class:`~data_modules.loading.data_module.VideoDataModule`.

    Raises:
        ValueError: mixing, which blends videos that no caption describes, or a transform that flips, of which a caption
            that says left or right becomes untrue.
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
        if getattr(
            kwargs.get("train_transform"), "flip", False
        ):  # not all transforms have it
            raise ValueError(
                "data.train_transform.flip mirrors videos, and captions say left "
                "and right: set it to false"
            )
        super().__init__([], **kwargs)
        self.root, self.pairs = Path(root), pairs
        self.videos = self.root / (self.published if videos is None else videos)
        self.script: Script = script
        self._lists: dict[Split, tuple[Path, Sequence[str]]] = {}

    @abstractmethod
    def listed(self, split: Split) -> tuple[Path, Sequence[str]]:
        """The list of a split: its file, and the videos in it."""

    @abstractmethod
    def captions(
        self, split: Split
    ) -> tuple[Path, Mapping[str, Sequence[WrittenCaption]]]:
        """The file of the captions, and what it says of each video; it may say more than the list needs."""

    def clips(self, split: Split) -> list[Clip]:
        """Each video once with all its captions, in the order of the list.

        Raises:
            FileNotFoundError: no list, or no file of captions.
            ValueError: of :func:`~data_modules.sets.captions.caption_files.captioned`, a
                file that is not what it should be, or a video that is trained on and also validated or tested.
        """
        (listing, names), (source, captions) = self._list(split), self.captions(split)
        said = captioned(listing, names, source, captions, self.script)
        for other in _APART[split]:
            self._require_apart(split, other)
        paths = zip(names, self.paths(split, names), said, strict=True)
        return [
            Clip(name, path, number, found)
            for number, (name, path, found) in enumerate(paths)
        ]

    def places(self, split: Split) -> list[Path]:
        """Return the folder of the option ``videos``; by default also ``root``."""
        del split
        return (
            [self.videos, self.root]
            if self.videos == self.root / self.published
            else [self.videos]
        )

    def paths(self, split: Split, names: Sequence[str]) -> list[Path]:
        """Return where the videos lie, or would."""
        return self.found(
            split, [Wanted(self.videos / f"{name}.mp4") for name in names]
        )

    def _list(self, split: Split) -> tuple[Path, Sequence[str]]:
        if split not in self._lists:
            self._lists[split] = self.listed(split)
        return self._lists[split]

    def _require_apart(self, split: Split, other: Split) -> None:
        listing, names = self._list(split)
        try:
            elsewhere, others = self._list(other)
        except (FileNotFoundError, ValueError):  # said where that split is needed
            return
        known = set(others)
        shared = [name for name in names if name in known]
        if shared:
            raise ValueError(
                f"{listing}: {len(shared)} of the {len(names)} videos of the "
                f"{split} split, the first {shared[0]}, are "
                f"of the {other} split, too: {elsewhere}; is one of the two the "
                "list of another split? What is trained "
                "on cannot be tested: give each split videos of its own"
            )

    @override
    def _locate(self, split: Split) -> None:
        super()._locate(split)  # counts videos, not pairs
        if split == "train" and self.pairs == "every":
            located = self._located[split]
            self._located[split] = located._replace(clips=every_pair(located.clips))

    @override
    def _dataset(self, split: str) -> Dataset[Sample]:
        dataset = super()._dataset(split)
        return OneCaption(dataset, self.seed) if split == "train" else dataset


class OneCaption(Dataset[Sample]):
    """Samples with one of their captions, drawn from (seed, epoch, clip id); a stand-in is seen with its own."""

    def __init__(self, dataset: Dataset[Sample], seed: int) -> None:
        self._dataset, self._seed = dataset, seed

    def __len__(self) -> int:
        """Clips that training draws from."""
        return len(cast(Sized, self._dataset))

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Read one sample."""
        sample = self._dataset[key]
        generator = keyed_generator(
            self._seed, sample.epoch, f"caption of {sample.clip_id}"
        )
        return sample._replace(
            captions=(sample.captions[generator.integers(len(sample.captions))],)
        )


def every_pair(clips: Sequence[Clip]) -> list[Clip]:
    """A clip for each caption, in order."""
    return [
        clip._replace(clip_id=f"{clip.clip_id}#{number}", captions=(caption,))
        for clip in clips
        for number, caption in enumerate(clip.captions)
    ]
