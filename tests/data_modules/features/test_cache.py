"""Where rows lie, which draw an epoch has, and what makes a cache that of something else."""

import json
import pickle
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.features.cache import (
    FeatureCache,
    Index,
    described,
    differences,
    fingerprint,
    read_index,
    write_index,
)
from data_modules.features.dataset import SplitLayout
from data_modules.features.shards import FeatureRow, pack, write
from data_modules.loading.views import TrainView
from data_modules.sample import Clip
from data_modules.sampling.schemes import SegmentSampling
from data_modules.transforms.augment import ColorJitter
from data_modules.transforms.crops import TrainCrop

CLIPS = [Clip(f"{n}.mp4", Path(f"{n}.mp4"), n % 2) for n in range(5)]
KEY = {"trunk": {"name": "vit"}, "train": {"clips": 5, "view": {"size": 32}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two draws of five clips in shards of three rows; the feature of a row is its number."""
    layout = SplitLayout(clips=5, draws=2, shard_size=3)
    for name, numbers in layout.shards("train"):
        parts = [
            pack(
                {
                    "feature": torch.full((1, 2), float(n)),
                    "block.0": torch.zeros(1, 1),
                },
                "bf16",
            )
            for n in numbers
        ]
        write(
            tmp_path / name,
            [
                FeatureRow(p, (n % 2,), n % 5)
                for n, p in zip(numbers, parts, strict=True)
            ],
        )
    write_index(
        tmp_path,
        Index(
            KEY,
            {"feature": "float32", "block.0": "float32"},
            "bf16",
            {"train": layout},
        ),
    )
    return tmp_path


def test_rows_are_cut_into_shards() -> None:
    shards = list(SplitLayout(5, 2, 3).shards("train"))
    assert [name for name, _ in shards] == [
        f"train-0000{n}.safetensors" for n in range(4)
    ]
    assert [list(rows) for _, rows in shards] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9],
    ]


@pytest.mark.parametrize(("epoch", "draw"), [(0, 0), (1, 1), (2, 0), (7, 1)])
def test_an_epoch_has_its_draw(folder: Path, epoch: int, draw: int) -> None:
    cache = FeatureCache(folder)
    cache.require_trunk({"name": "vit"}, ["feature"])
    dataset = cache.dataset("train", CLIPS, on_fault="count_wrong")
    assert len(dataset) == 5
    for index in range(5):
        sample = dataset[epoch, index]
        assert cache.restored(sample.video)["feature"].tolist() == [
            [5 * draw + index] * 2
        ]
        assert list(sample.video) == ["feature"]  # what is not needed is not read
        assert (sample.clip_id, sample.epoch) == (f"{index}.mp4", epoch)
        assert sample.labels == ((5 * draw + index) % 2,)


def test_workers_open_their_own_files(folder: Path) -> None:
    dataset = FeatureCache(folder).dataset("train", CLIPS, on_fault="count_wrong")
    dataset[0, 0]
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0, 4].clip_id == "4.mp4"


def test_the_index_comes_back(folder: Path) -> None:
    index = read_index(folder)
    assert index.layout["train"] == SplitLayout(5, 2, 3)
    (folder / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="is no index of a feature cache"):
        read_index(folder)
    with pytest.raises(
        FileNotFoundError,
        match="holds no feature cache; `lightning-petl cache build` makes one",
    ):
        read_index(folder / "nothing")


def test_every_difference_is_named(folder: Path) -> None:
    cache = FeatureCache(folder)
    with pytest.raises(
        ValueError,
        match=r"train\.clips is 5 in the cache, here 6; train\.view\.size is 32 .* here 48",
    ):
        cache.require_data({"train": {"clips": 6, "view": {"size": 48}}})
    with pytest.raises(
        ValueError, match=r'trunk\.name is "vit" in the cache, here "clip"'
    ):
        cache.require_trunk({"name": "clip"}, [])
    with pytest.raises(
        ValueError,
        match=r"holds no val split; build it with --splits=\[train,val\]",
    ):
        cache.require_data({"val": {}})


def test_a_missing_shard_is_told_at_once(folder: Path) -> None:
    (folder / "train-00002.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"train-00002\.safetensors: is missing"
    ):
        FeatureCache(folder).require_data({"train": KEY["train"]})


VIEW = TrainView(SegmentSampling(4), TrainCrop(), 32, [ColorJitter()])
CHANGES: dict[str, Any] = {
    "view.sampling.num_frames": {"sampling": SegmentSampling(8)},
    "view.size": {"size": 48},
    "view.num_sample": {"num_sample": 2},
    "view.augmentations": {"augmentations": []},
    "view.transform.flip": {"transform": TrainCrop(flip=True)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_key_sees_the_view(name: str) -> None:
    other = replace(VIEW, **CHANGES[name])
    assert [
        text.split(" ")[0]
        for text in differences(
            {"view": described(VIEW)}, {"view": described(other)}
        )
    ] == [name]


def test_a_class_that_was_renamed_keeps_its_name_in_caches() -> None:
    (augmentation,) = described(VIEW)["augmentations"]
    assert augmentation["class"] == "ColourJitter"


def test_the_key_sees_clips_labels_and_their_order() -> None:
    changed = [CLIPS[::-1], CLIPS[:-1], [CLIPS[0]._replace(label=1), *CLIPS[1:]]]
    prints = {fingerprint(clips, ["a", "b"]) for clips in (CLIPS, *changed)} | {
        fingerprint(CLIPS, ["b", "a"])
    }
    assert len(prints) == 5
    assert (
        fingerprint(
            [clip._replace(path=Path("/elsewhere")) for clip in CLIPS], ["a", "b"]
        )
        in prints
    )


SPOILED: dict[str, Callable[[Path], object]] = {
    "no JSON": lambda folder: (folder / "index.json").write_text("{"),
    "a key twice": lambda folder: (folder / "index.json").write_text(
        '{"key": {}, "key": {}}'
    ),
    "deep": lambda folder: (folder / "index.json").write_text("[" * 10**5),
    "not finite": lambda folder: (folder / "index.json").write_text('{"key": NaN}'),
    "large": lambda folder: (folder / "index.json").write_text(" " * 10**7),
    "a type of torch": lambda folder: changed(folder, parts={"feature": "load"}),
    "parts": lambda folder: changed(folder, parts=["feature"]),
    "kept": lambda folder: changed(folder, kept="float"),
    "a field": lambda folder: changed(folder, more=1),
    **{
        f"layout {value}": partial(
            lambda folder, value: changed(folder, layout={"train": value}),
            value=value,
        )
        for value in (
            [5, 2],
            [5, 2, 0],
            [5, 2, -3],
            [10**18, 1, 1],
            [5, 2, 2.5],
            [5, True, 3],
            "523",
            None,
            [5, 2, 4],
        )
    },
    "a link": lambda folder: linked(folder, "index.json"),
    "a shard that is a link": lambda folder: linked(
        folder, "train-00001.safetensors"
    ),
    "a long header": lambda folder: headed(folder, (1 << 60).to_bytes(8, "little")),
    "a header of another type": lambda folder: replaced(
        folder, b'"BF16"', b'"F16" '
    ),
    "a header of another shape": lambda folder: replaced(
        folder, b'"shape":[3,1,2]', b'"shape":[3,2,1]'
    ),
    "a header of other names": lambda folder: replaced(
        folder, b'"clip"', b'"flip"'
    ),
    "faults that are none": lambda folder: replaced(
        folder, b'"faults":"{}"', b'"faults":"[]"'
    ),
    "a video out of range": lambda folder: write(
        folder / "train-00000.safetensors",
        [
            FeatureRow(
                pack(
                    {"feature": torch.zeros(1, 2), "block.0": torch.zeros(1, 1)},
                    "bf16",
                ),
                (0,),
                5,
            )
        ]
        * 3,
    ),
}


def changed(folder: Path, **fields: Any) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | fields))


def linked(folder: Path, name: str) -> None:
    """The same file, through a link to another folder."""
    outside = folder.parent / f"{folder.name}-outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)


def headed(folder: Path, start: bytes) -> None:
    path = folder / "train-00000.safetensors"
    path.write_bytes(start + path.read_bytes()[8:])


def replaced(folder: Path, before: bytes, after: bytes) -> None:
    path = folder / "train-00000.safetensors"
    content = path.read_bytes()
    assert before in content
    assert len(before) == len(after)
    path.write_bytes(content.replace(before, after))


def read_all(folder: Path) -> None:
    cache = FeatureCache(folder)
    cache.require_data({"train": KEY["train"]})
    dataset = cache.dataset("train", CLIPS, on_fault="count_wrong")
    for number in range(5):
        cache.restored(dataset[0, number].video)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", SPOILED)
def test_a_cache_of_a_stranger_is_told_in_one_sentence(
    folder: Path, name: str
) -> None:
    SPOILED[name](folder)
    with pytest.raises((ValueError, OSError)) as caught:
        read_all(folder)
    assert str(folder) in str(caught.value)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.line or "").startswith("raise ")
