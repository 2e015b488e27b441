"""A run on a part of the data set reads a cache of all of it, and sees what it would see live."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from data_modules.commands.build_cache import Storage, build
from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.video_folder import VideoFolder

MakeFolders = Callable[..., Path]
PART = {"classes": "novel", "shots": 2, "subset_seed": 1}


def encode(clips: Tensor) -> dict[str, Tensor]:
    """The mean of each frame stands for what a trunk computes."""
    return {"feature": clips.float().mean((2, 3, 4))}


def data_of(root: Path, cache: Path | None = None, **options: Any) -> VideoFolder:
    settings = {
        "sampling": SegmentSampling(2),
        "image_size": 8,
        "batch_size": 1,
        "num_workers": 0,
    }
    data = VideoFolder(str(root), **settings, cache=cache and str(cache), **options)
    data.setup("fit")
    return data


def built(root: Path, output: Path, **options: Any) -> Path:
    storage = Storage(output=output, augmentations=2, dtype="fp32", shard_size=3)
    assert build(data_of(root, **options), encode, trunk={}, storage=storage) == 0
    return output


def seen(
    data: VideoFolder, epoch: int
) -> Iterator[tuple[str, list[int], list[float]]]:
    """Name, labels and features of each training clip, and of each of validation."""
    for split in ("train", "val"):
        dataset = cast(Any, data)._dataset(split)
        for index in range(len(dataset)):
            sample = dataset[epoch if split == "train" else 0, index]
            video = sample.video
            if data.features is None:
                video = encode(video)
            yield (
                sample.clip_id,
                list(sample.labels),
                video["feature"].flatten().tolist(),
            )


@pytest.mark.parametrize("of", ["whole", "part"])
def test_what_is_seen_is_what_would_be_seen_live(
    of: str, class_folders: MakeFolders, tmp_path: Path
) -> None:
    """In two draws and a third epoch, which has the first draw; classes are numbered anew."""
    root = class_folders(train=16, val=8, classes=4)
    cache = built(root, tmp_path / "cache", **(PART if of == "part" else {}))
    live, cached = data_of(root, **PART), data_of(root, cache, **PART)
    for epoch in (0, 1):
        assert list(seen(cached, epoch)) == list(seen(live, epoch))
    assert list(seen(cached, 2)) == list(seen(cached, 0)) != list(seen(cached, 1))
    names = [name for name, _, _ in seen(live, 0)]
    assert len(names) == 2 * 2 + 4
    assert all(name.startswith(("class_2/", "class_3/")) for name in names)
    assert [labels for _, labels, _ in seen(cached, 0)][:4] == [[0], [0], [1], [1]]


def test_other_parts_need_the_whole_set(
    class_folders: MakeFolders, tmp_path: Path
) -> None:
    """The cache of a part is that of no other; every difference is named with its numbers."""
    root = class_folders(train=16, val=8, classes=4)
    cache = built(root, tmp_path / "cache", **PART)
    with pytest.raises(
        ValueError, match=r"train\.clips is 4 in the cache, here 16"
    ):
        data_of(root, cache)
    with pytest.raises(
        ValueError, match=r"train\.clips is 4 in the cache, here 16"
    ):
        data_of(root, cache, **(PART | {"subset_seed": 2}))


def test_a_replaced_video_is_told_where_it_is_of_the_part(
    class_folders: MakeFolders, tmp_path: Path
) -> None:
    root = class_folders(train=16, val=8, classes=4)
    cache = built(root, tmp_path / "cache")
    clip = data_of(root, **PART).located("train")[0]
    path = Path(str(clip.path))
    other = root / "train" / "class_0" / "000.mp4"
    other.write_bytes(other.read_bytes() + b"\0")
    data_of(root, cache, **PART)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=f"1 of 4 videos .*: {clip.clip_id};"):
        data_of(root, cache, **PART)


def test_what_stands_in_for_an_unreadable_clip_is_of_the_part(
    class_folders: MakeFolders, tmp_path: Path
) -> None:
    """The cache holds a clip of another class in its place; the run draws one of its own, the same each time."""
    root = class_folders(train=40, val=8, classes=4)
    names = [clip.clip_id for clip in data_of(root, **PART).located("train")]
    bad = root / "train" / names[0]
    bad.write_bytes(b"no video")
    cache = built(root, tmp_path / "cache")
    every = cast(Any, data_of(root, cache))
    held = every._dataset("train")
    number = [clip.clip_id for clip in every.located("train")].index(names[0])
    assert all(held[draw, number].clip_id not in names for draw in (0, 1))
    dataset = cast(Any, data_of(root, cache, **PART))._dataset("train")
    shown = set[str]()
    for epoch in range(12):
        sample = dataset[epoch, 0]
        assert str(bad) in sample.fault
        assert sample.clip_id in names[1:]
        own = dataset[epoch, names.index(sample.clip_id)]
        assert sample.labels == own.labels
        assert torch.equal(sample.video["feature"], own.video["feature"])
        assert dataset[epoch, 0].clip_id == sample.clip_id
        shown.add(sample.clip_id)
    assert len(shown) > 1


def test_where_no_clip_of_the_part_could_be_read(
    class_folders: MakeFolders, tmp_path: Path
) -> None:
    root = class_folders(train=16, val=8, classes=4)
    part = {"classes": "novel"}
    for clip in data_of(root, **part).located("train"):
        Path(str(clip.path)).write_bytes(b"no video")
    cache = built(root, tmp_path / "cache")
    dataset = cast(Any, data_of(root, cache, **part))._dataset("train")
    with pytest.raises(
        ValueError, match="nor could any of 20 other clips of the run"
    ):
        dataset[0, 0]
