"""Which clips and classes a subset has: counts in closed form, nesting, and what does not matter."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.loading.subset import Subset
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from tests import caption_layouts, layouts
from tests.data_modules.sets.test_captions import MODULES as CAPTIONS
from tests.data_modules.sets.test_data_sets import MODULES

LABELS = ["run", "sit", "stand", "walk", "wave"]


def clips(*counts: int) -> list[Clip]:
    """So many clips of each class, class by class."""
    return [
        Clip(f"{LABELS[label]}/{n}.mp4", Path(f"{n}.mp4"), label)
        for label, count in enumerate(counts)
        for n in range(count)
    ]


def names(subset: Subset, found: list[Clip], split: Any = "train") -> set[str]:
    return {clip.clip_id for clip in subset.of(found, LABELS, split)}


@settings(max_examples=20)
@given(st.lists(st.integers(1, 60), min_size=5, max_size=5), st.integers(1, 10_000))
def test_percent_is_of_each_class_and_never_none(
    counts: list[int], hundredths: int
) -> None:
    """The least m with m >= n p / 100, in whole numbers: p is given in hundredths of a percent."""
    subset = Subset(percent=hundredths / 100)
    taken = Counter(
        clip.label for clip in subset.of(clips(*counts), LABELS, "train")
    )
    for label, count in enumerate(counts):
        assert 10_000 * taken[label] >= count * hundredths
        assert 10_000 * (taken[label] - 1) < count * hundredths
        assert taken[label] >= 1


def test_shots_take_all_of_a_class_that_has_fewer() -> None:
    found = Subset(shots=4).of(clips(9, 4, 3, 0, 1), LABELS, "train")
    assert Counter(clip.label for clip in found) == {0: 4, 1: 4, 2: 3, 4: 1}
    assert Subset(shots=4).few(found, LABELS) == (
        "data.shots=4: 2 of the 5 classes have fewer clips of training, and all of "
        "theirs are taken: stand (3), wave (1)"
    )
    assert Subset(shots=1).few(found, LABELS) == ""


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_only_names_and_the_seed_matter(shuffle: random.Random, seed: int) -> None:
    """A smaller part lies in a larger one, the order of the list is kept, and clips of other classes move nothing."""
    every = clips(20, 20, 20, 20, 20)
    mixed = list(every)
    shuffle.shuffle(mixed)
    before: set[str] = set()
    for shots in (1, 2, 4, 8, 16, 20):
        subset = Subset(shots=shots, seed=seed)
        now = names(subset, every)
        assert (
            now
            == names(subset, mixed)
            == names(Subset(percent=5.0 * shots, seed=seed), every)
        )
        assert before < now
        before = now
    kept = Subset(shots=4, seed=seed).of(mixed, LABELS, "train")
    assert kept == [clip for clip in mixed if clip in kept]
    without = [clip for clip in every if clip.label != 2 or clip in kept]
    assert names(Subset(shots=4, seed=seed), without) == {
        clip.clip_id for clip in kept
    }


def test_every_clip_has_the_same_chance() -> None:
    """Of 5 clips each is the one shot of 1,000 seeds 200 times: within 5 standard deviations of 12.6."""
    counts = Counter[str]()
    for seed in range(1000):
        counts.update(names(Subset(shots=1, seed=seed), clips(5)))
    assert len(counts) == 5
    assert all(abs(count - 200) < 63 for count in counts.values())


def test_validation_and_test_keep_their_clips() -> None:
    every = clips(5, 5, 5, 5, 5)
    for split in ("val", "test"):
        assert Subset(shots=1).of(every, LABELS, split) == every
        assert names(Subset(classes="base", shots=1), every, split) == {
            clip.clip_id for clip in every if clip.label < 3
        }


def test_the_first_half_of_the_classes_is_base() -> None:
    """CoOp's ``subsample_classes``: of n classes the first ceil(n / 2), each numbered from 0."""
    base, novel = Subset(classes="base"), Subset(classes="novel")
    assert base.class_numbers(LABELS) == [0, 1, 2]
    assert novel.class_numbers(LABELS) == [3, 4]
    assert [
        clip.label for clip in novel.of(clips(1, 1, 1, 1, 1), LABELS, "val")
    ] == [0, 1]
    assert Subset().class_numbers(LABELS) == [0, 1, 2, 3, 4]


@settings(max_examples=20)
@given(st.permutations(LABELS), st.integers(0, 20))
def test_a_random_half_depends_on_names_and_the_seed(
    order: list[str], seed: int
) -> None:
    halves: list[set[str]] = []
    for classes in ("base", "novel"):
        subset = Subset(classes=classes, base_classes="random_half", seed=seed)
        numbers = subset.class_numbers(order)
        assert numbers == sorted(numbers)
        halves.append({order[number] for number in numbers})
        assert halves[-1] == {LABELS[n] for n in subset.class_numbers(LABELS)}
    assert [len(half) for half in halves] == [3, 2]
    assert halves[0] | halves[1] == set(LABELS)


def test_other_seeds_have_other_halves() -> None:
    found = set[tuple[int, ...]]()
    for seed in range(40):
        subset = Subset(classes="base", base_classes="random_half", seed=seed)
        found.add(tuple(subset.class_numbers(LABELS)))
    assert len(found) > 5  # of 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"shots": 4, "percent": 5.0},
            "data.shots=4 and data.percent=5 both say how many",
        ),
        ({"shots": 0}, "data.shots: expected 1 or more clips of each class, got 0"),
        (
            {"percent": 0.0},
            "data.percent: expected a number above 0 and up to 100, got 0",
        ),
        ({"percent": 100.5}, "above 0 and up to 100, got 100.5"),
        ({"percent": float("nan")}, "above 0 and up to 100, got nan"),
    ],
)
def test_what_no_part_can_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Subset(**options)


def test_one_class_has_no_halves() -> None:
    with pytest.raises(
        ValueError, match=r"data\.classes=base .* has 1: leave it out"
    ):
        Subset(classes="base").class_numbers(["run"])


OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 8,
    "num_workers": 0,
    "batch_size": 2,
}


@pytest.mark.parametrize("name", MODULES)
def test_every_data_set_of_classes(name: str, tmp_path: Path) -> None:
    """Two classes, two clips of each: one shot of the novel one is one clip, with the number 0."""
    root = layouts.lay_out(name, tmp_path)
    whole = MODULES[name](str(root), **OPTIONS)
    data = MODULES[name](
        str(root), **OPTIONS, classes="novel", shots=1, subset_seed=3
    )
    assert data.labels == whole.labels[1:]
    assert data.all_labels == whole.labels
    (clip,) = data.located("train")
    assert clip.label == 0
    (other,) = [c for c in whole.located("train") if c.clip_id == clip.clip_id]
    assert (other.path, other.label) == (clip.path, 1)
    ranked = {c.clip_id for c in whole.located("val") if c.label == 1}
    assert {c.clip_id for c in data.located("val")} == ranked
    assert data.protocol()["subset"] == {
        "shots": 1,
        "classes": "novel",
        "base_classes": "first_half",
        "subset_seed": 3,
    }
    assert "subset" not in whole.protocol()


@pytest.mark.parametrize("name", CAPTIONS)
def test_every_data_set_of_captions(name: str, tmp_path: Path) -> None:
    """Half of four videos, with all captions of each; by class nothing can be chosen."""
    caption_layouts.lay_out(name, tmp_path)
    kind = CAPTIONS[name]
    data = kind(str(tmp_path), **OPTIONS, percent=50.0)
    videos = {clip.clip_id.partition("#")[0] for clip in data.located("train")}
    pairs = kind(str(tmp_path), **OPTIONS).located("train")
    assert len(videos) == 2
    assert data.located("train") == [
        c for c in pairs if c.clip_id.partition("#")[0] in videos
    ]
    assert len(data.located("val")) == len(
        kind(str(tmp_path), **OPTIONS).located("val")
    )
    name = type(data).__name__
    said = f"data.shots takes clips of each class, and the videos of {name} have no"
    with pytest.raises(ValueError, match=said):
        kind(str(tmp_path), **OPTIONS, shots=1)
    with pytest.raises(
        ValueError, match=r"data\.classes=base takes half of the classes"
    ):
        kind(str(tmp_path), **OPTIONS, classes="base")
