"""A part of a data set: some clips of training, or some classes of every split."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from data_modules.sample import Clip, Split
from data_modules.sampling.randomness import keyed_rank
from data_modules.storage.folders import listed

ClassSelection = Literal["all", "base", "novel"]
BaseClassRule = Literal["first_half", "random_half"]


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Choose clips and classes as a function of their names and a seed of their own.

    Which clips are chosen depends neither on the order of files nor on the seed of a
    training, a rank or a machine. Each clip has a rank, a hash of (seed, clip id), and
    those of the lowest ranks of a class are taken. So the clips of 2 shots are among
    those of 4, and those of 5 percent among those of 10.

    Args:
        shots: clips of training of each class; all that a class has where it has fewer,
            as few-shot benchmarks do (CoOp, Zhou et al., IJCV 2022).
        percent: of the clips of training of each class, above 0 and up to 100: of n
            clips ceil(n percent / 100), which is at least one. Where videos have no
            classes, of all of them.
        classes: ``base`` or ``novel``: of all splits the clips of that half of the
            classes alone, which are then numbered from 0 (CoCoOp, Zhou et al., CVPR
            2022).
        base_classes: which classes are base, ceil(n / 2) of n: the first in the order
            of their numbers, as CoCoOp has it, or those of the lowest ranks, hashes of
            (seed, name of the class).
        seed: of the ranks.

    Raises:
        ValueError: both ``shots`` and ``percent``, or one of them out of its range.

    >>> Subset(classes="base").class_numbers(["run", "sit", "walk"])
    [0, 1]
    >>> Subset(classes="novel").class_numbers(["run", "sit", "walk"])
    [2]
    """

    shots: int | None = None
    percent: float | None = None
    classes: ClassSelection = "all"
    base_classes: BaseClassRule = "first_half"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shots is not None and self.percent is not None:
            raise ValueError(
                f"data.shots={self.shots} and data.percent={self.percent:g} both say "
                "how many clips of training are taken: leave one of them out"
            )
        if self.shots is not None and self.shots < 1:
            raise ValueError(
                "data.shots: expected 1 or more clips of each class, got "
                f"{self.shots}"
            )
        # written so that it refuses what is no number, too
        if self.percent is not None and not 0 < self.percent <= 100:
            raise ValueError(
                "data.percent: expected a number above 0 and up to 100, got "
                f"{self.percent}"
            )

    def settings(self) -> dict[str, Any]:
        """Return the options that have an effect, by name; none for the whole set.

        >>> Subset(shots=4, seed=1).settings()
        {'shots': 4, 'subset_seed': 1}
        >>> Subset(classes="base", seed=1).settings()
        {'classes': 'base', 'base_classes': 'first_half'}
        """
        found = dict[str, Any]()
        if self._limits_clips:
            name = "percent" if self.shots is None else "shots"
            found[name] = getattr(self, name)
        if self.classes != "all":
            found["classes"] = self.classes
            found["base_classes"] = self.base_classes
        if self._limits_clips or found.get("base_classes") == "random_half":
            found["subset_seed"] = self.seed
        return found

    def __str__(self) -> str:
        """Return the options as flags, such as ``data.shots=4, data.subset_seed=0``."""
        parts = list[str]()
        for name, value in self.settings().items():
            # 5.0 and 5 are the same percent
            shown = f"{value:g}" if name == "percent" else value
            parts.append(f"data.{name}={shown}")
        return ", ".join(parts)

    @property
    def _limits_clips(self) -> bool:
        return self.shots is not None or self.percent is not None

    def class_numbers(self, labels: Sequence[str]) -> list[int]:
        """Return the numbers of the classes that are chosen, in ascending order.

        Raises:
            ValueError: one of two halves is chosen of fewer than two classes.
        """
        numbers = list(range(len(labels)))
        # a data set of captions has no labels, and all of them
        if self.classes == "all":
            return numbers
        if len(labels) < 2:
            raise ValueError(
                f"data.classes={self.classes} takes half of the classes of a data "
                f"set, and this one has {len(labels)}: leave it out"
            )
        if self.base_classes == "random_half":
            numbers.sort(key=lambda number: self._rank(labels[number]))
        # of an odd number base has one more, as in the code of CoOp
        half = ceil(len(labels) / 2)
        is_base = self.classes == "base"
        return sorted(numbers[:half] if is_base else numbers[half:])

    def require_classes(self, labels: Sequence[str], name: str) -> None:
        """Refuse what chooses by class where the videos of the data set have none.

        Raises:
            ValueError: so it is.
        """
        if labels:
            return
        if self.shots is not None:
            raise ValueError(
                f"data.shots takes clips of each class, and the videos of {name} have "
                "no classes: take data.percent, a part of the videos"
            )
        if self.classes != "all":
            raise ValueError(
                f"data.classes={self.classes} takes half of the classes, and the "
                f"videos of {name} have none: leave it out"
            )

    def of(
        self, clips: Sequence[Clip], labels: Sequence[str], split: Split
    ) -> list[Clip]:
        """Return the chosen clips of a split in their order, with new class numbers.

        Args:
            clips: all that the annotation lists.
            labels: names of all classes; none where labels number the videos.
            split: of which; of validation and test only classes are chosen.
        """
        # classes first: a percentage is of the clips that are left
        chosen = self._of_classes(clips, labels) if labels else list(clips)
        if split != "train" or not self._limits_clips:
            return chosen
        names = set[str]()
        for group in _by_class(chosen, labels).values():
            group.sort(key=lambda clip: self._rank(clip.clip_id))
            taken = group[: self._count(len(group))]
            names.update(clip.clip_id for clip in taken)
        # in the order of the list, as samples are drawn by their index
        return [clip for clip in chosen if clip.clip_id in names]

    def few(self, clips: Sequence[Clip], labels: Sequence[str]) -> str:
        """Return a sentence on the classes of which all clips are fewer than the shots.

        Args:
            clips: those of :meth:`of`.
            labels: names of the classes that are chosen.
        """
        few = list[str]()
        if self.shots is None:
            return ""
        for label, group in sorted(_by_class(clips, labels).items()):
            if len(group) < self.shots:
                few.append(f"{labels[label]} ({len(group)})")
        if not few:
            return ""
        return (
            f"data.shots={self.shots}: {len(few)} of the {len(labels)} classes have "
            f"fewer clips of training, and all of theirs are taken: {listed(few)}"
        )

    def _of_classes(
        self, clips: Sequence[Clip], labels: Sequence[str]
    ) -> list[Clip]:
        new = dict[int, int]()
        for number in self.class_numbers(labels):
            new[number] = len(new)
        found = list[Clip]()
        for clip in clips:
            if clip.label in new:
                found.append(clip._replace(label=new[clip.label]))
        return found

    def _count(self, clips: int) -> int:
        """Return how many of so many clips of a class are taken, if there are as many."""
        if self.shots is not None:
            return self.shots
        # exact: in floating point 1.1 percent of 1,000 clips are a little above 11
        return ceil(clips * Fraction(str(self.percent)) / 100)

    def _rank(self, name: str) -> tuple[bytes, str]:
        # the name decides where hashes are equal, so that no order of files does
        return keyed_rank(self.seed, name), name


def _by_class(
    clips: Sequence[Clip], labels: Sequence[str]
) -> dict[int, list[Clip]]:
    """Return the clips by label; all in one group where there are no classes."""
    groups = defaultdict[int, list[Clip]](list)
    for clip in clips:
        # without classes, labels number the videos, and no group would have two
        groups[clip.label if labels else 0].append(clip)
    return groups
