"""Open a cache of features for a run, which may use a part of the clips that it keeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from data_modules.features.cache import FeatureCache
from data_modules.features.dataset import Part
from data_modules.loading.subset import Subset
from data_modules.sample import Clip, Split


@runtime_checkable
class SeenSplits(Protocol):
    """Describe what of a data set says which cache is one of it."""

    all_labels: list[str]
    subset: Subset
    seed: int

    def seen(self, split: Split, *, whole: bool = False) -> dict[str, Any]:
        """Return all that decides which pixels are shown of a split."""
        ...

    def whole(self, split: Split) -> list[Clip]:
        """Return the clips of a split, whatever the subset is."""
        ...

    def located(self, split: Split) -> list[Clip]:
        """Return the clips of a split that the run uses."""
        ...


def opened_cache(
    data: SeenSplits, folder: Path, splits: Sequence[Split]
) -> FeatureCache:
    """Return a feature cache, which holds what a run would compute.

    It was built of the clips of the run, or of the whole data set, of which the run
    reads a part.

    Args:
        data: the data set.
        folder: of the cache.
        splits: of the data set, which the run reads.

    Raises:
        FileNotFoundError: the folder holds no cache, or a part of it is missing.
        ValueError: it was built of other videos, or with other settings.
    """
    features = FeatureCache(folder)
    wanted = dict[str, Any]()
    for split in splits:
        wanted[split] = data.seen(split)
        # a cache that was built with the same options holds the part and nothing else
        if data.subset.settings() and not features.names_are(split, wanted[split]):
            wanted[split] = data.seen(split, whole=True)
            features.take(split, part_of(data, split))
    features.require_data(wanted)
    for split in splits:
        features.require_videos(split, data.located(split))
    return features


def part_of(data: SeenSplits, split: Split) -> Part:
    """Return where the clips of a run lie in a cache of the whole data set."""
    places = dict[str, int]()
    for number, clip in enumerate(data.whole(split)):
        places[clip.clip_id] = number
    numbers = [places[clip.clip_id] for clip in data.located(split)]
    # rows keep the numbers of all classes
    labels = dict[int, int]()
    for new, old in enumerate(data.subset.class_numbers(data.all_labels)):
        labels[old] = new
    return Part(numbers, labels, data.seed)
