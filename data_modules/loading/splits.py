"""The splits of a data set: which videos its annotation lists, and where they lie."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from data_modules.features.cache import fingerprint
from data_modules.loading.split_checks import (
    alike_classes,
    fewer_classes,
    lost_classes,
    shared_videos,
)
from data_modules.loading.subset import Subset
from data_modules.sample import Clip, Split
from data_modules.storage.files import Files, Located
from data_modules.storage.folders import Folders
from data_modules.video.demux import decoder

_SHOWN = 5  # bad files in one warning; the manifest has them all


class AnnotatedSplits(ABC):
    """Find the videos of each split once, and warn of what is wrong with them.

    A subclass reads the annotation: it defines :meth:`clips`.

    Args:
        labels: class names by index; empty where videos have no classes.
        files: what to do about missing and bad files.
        subset: which clips and classes of the annotation are used.

    Attributes:
        root: the folder of the annotation; it also holds the manifest of the files.
        all_labels: names of all classes of the annotation; its clips have their numbers.
        labels: names of the chosen classes by index; the clips of a run have theirs.

    Raises:
        ValueError: a subset that chooses by class where videos have none.
    """

    root: Path = Path()
    CLASSES: ClassVar[int | None] = None
    """How many classes the published data set has; None where the files say."""

    def __init__(self, labels: list[str], files: Files, subset: Subset) -> None:
        super().__init__()
        subset.require_classes(labels, type(self).__name__)
        chosen = subset.class_numbers(labels)
        self.all_labels = labels
        self.labels = [labels[number] for number in chosen]
        self.files = files
        self.subset = subset
        self._located: dict[str, Located] = {}
        self._notes: dict[str, list[str]] = {}
        self._known_bad: dict[str, str] = {}

    @abstractmethod
    def clips(self, split: Split) -> list[Clip]:
        """Return all that the annotation lists for a split, on disk or not.

        The order never changes, because samples are drawn by their index. Classes are
        numbered as in :attr:`all_labels`: a subset is taken of what this returns.
        """

    def looked_in(self, split: Split) -> str:
        """Return a sentence on the folders in which the videos were looked for.

        An error for missing videos ends with it; empty where nothing is known.
        """
        del split
        return ""

    def note(self, split: Split, sentence: str) -> None:
        """Keep a warning on the clips of a split until it is known that they exist."""
        notes = self._notes.setdefault(split, [])
        if sentence and sentence not in notes:
            notes.append(sentence)

    def located(self, split: Split) -> list[Clip]:
        """Return the clips of a split that are there, in the annotation's order."""
        if split not in self._located:
            self._locate(split)
        return self._located[split].clips

    def record(self, split: Split) -> dict[str, Any]:
        """Return which videos a split has and how they are read, in JSON types.

        Two runs of equal records have seen the same files through the same decoder.
        """
        clips = self.located(split)
        located = self._located[split]
        return {
            "clips": len(clips),
            "names": fingerprint(clips, self.labels),
            "manifest": self.files.manifest_hash(located, self.root),
            "ingested": self.files.ingested is not None,
            "decoder": decoder(),
        }

    def whole(self, split: Split) -> list[Clip]:
        """Return the clips of a split that are there, whatever the subset is.

        Raises:
            FileNotFoundError: videos are missing and may not be left out.
        """
        clips = self.clips(split)
        return self.files.located(clips, split, self.root, self.folders).clips

    @cached_property
    def folders(self) -> Folders:
        """Return the folders of the data set, each of which is read once."""
        return self.files.folders(self.root)

    def _locate(self, split: Split) -> None:
        """Read the annotation of a split, and find out which files are there and good.

        Raises:
            FileNotFoundError: videos, or all of a class, are missing.
            ValueError: the split is empty, or holds bad files where these stop a run.
        """
        name = type(self).__name__
        annotated = self.clips(split)
        # before videos are looked for: those outside a subset need not be there
        clips = self.subset.of(annotated, self.all_labels, split)
        if not clips:
            of_classes = f" of {self.subset}" if annotated else ""
            raise ValueError(f"{name}: the {split} split has no clips{of_classes}")
        if split == "train":
            self.note(split, fewer_classes(annotated, self.CLASSES, name))
            self.note(split, alike_classes(self.labels))
            self.note(split, self.subset.few(clips, self.labels))
        if len(clips) < len(annotated):
            rank_zero_info(
                f"{split}: {len(clips)} of {len(annotated)} clips, {self.subset}"
            )
        located = self._require_files(clips, split)
        for note in self._notes.pop(split, []):
            rank_zero_warn(note)
        known_bad = self.files.known_bad(located, self.root)
        if located.absent:
            rank_zero_warn(located.absent)
        if known_bad:
            self._tell_bad(known_bad, split)
        self._located[split] = located
        self._known_bad |= known_bad

    def _require_files(self, clips: Sequence[Clip], split: Split) -> Located:
        """Return where the clips are.

        Raises:
            FileNotFoundError: videos are missing and may not be left out, or a whole
                class is missing.
        """
        try:
            located = self.files.located(clips, split, self.root, self.folders)
        except FileNotFoundError as error:
            raise FileNotFoundError(self._with_places(str(error), split)) from error
        lost = lost_classes(clips, located.clips, self.labels)
        if lost:
            sentence = f"{located.absent}, and {lost}"
            raise FileNotFoundError(self._with_places(sentence, split))
        return located

    def _with_places(self, sentence: str, split: Split) -> str:
        places = self.looked_in(split)
        return f"{sentence}; {places}" if places else sentence

    def _tell_bad(self, known_bad: Mapping[str, str], split: Split) -> None:
        """Warn of files that an earlier run found bad.

        Raises:
            ValueError: evaluation would meet them, and ``files.broken`` is ``stop``.
        """
        told = _first_bad(known_bad, split)
        if split == "train":
            rank_zero_warn(f"{told}; others stand in")
        elif self.files.broken == "stop":
            way_out = "files.broken=count_wrong counts them as wrong"
            raise ValueError(f"{told}; {way_out}")
        else:
            rank_zero_warn(f"{told}; they count as wrong")

    def _tell_shared(self, split: Split) -> None:
        """Warn of clips of ``split`` that are also clips of training."""
        try:
            train = self._training_clips()
        except (FileNotFoundError, ValueError):
            return  # an evaluation needs no list of training; `fit` raises the error
        told = shared_videos(train, self._located[split].clips, split)
        if told:
            rank_zero_warn(told)

    def _training_clips(self) -> list[Clip]:
        if "train" in self._located:
            return self._located["train"].clips
        return self.clips("train")


def _first_bad(known_bad: Mapping[str, str], split: str) -> str:
    """Return a sentence on the first files that are known to be bad."""
    count = len(known_bad)
    first = list(known_bad.items())[:_SHOWN]
    files = "; ".join(f"{path}: {reason}" for path, reason in first)
    more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
    return (
        f"{count} video(s) of the {split} split are known to be bad: {files}{more}"
    )
