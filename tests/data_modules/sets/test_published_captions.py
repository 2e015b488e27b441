"""Captions in the forms in which their authors publish them, each by a few lines made by hand."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data_modules.data_sets import VATEX
from data_modules.sampling import SegmentSampling
from tests.caption_layouts import lay_out

OPTIONS: dict[str, Any] = {"sampling": SegmentSampling(2), "image_size": 16, "batch_size": 3, "num_workers": 0}


def vatex_objects(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [{"videoID": f"vid-{n}_0_8", "enCap": [f"one {n}", "two"], "chCap": ["灰色"]} for n in numbers]


def test_vatex_as_a_list_of_objects(tmp_path: Path):
    root = lay_out("vatex", tmp_path / "vatex", videos=False)
    (root / "vatex_data.json").write_text(json.dumps(vatex_objects(range(10))))
    clips = VATEX(str(root), **OPTIONS).clips("test")
    assert [(clip.clip_id, clip.captions) for clip in clips] == [
        ("vid-7_0_8", ("one 7", "two")), ("vid-8_0_8", ("one 8", "two")), ("vid-9_0_8", ("one 9", "two"))
    ]  # fmt: skip


def test_vatex_in_the_published_files(tmp_path: Path):
    """The split of HGR takes validation and test from the published validation."""
    root = lay_out("vatex", tmp_path / "vatex", videos=False)
    (root / "vatex_data.json").unlink()
    (root / "vatex_training_v1.0.json").write_text(json.dumps(vatex_objects(range(4))))
    (root / "vatex_validation_v1.0.json").write_text(json.dumps(vatex_objects(range(4, 10))))
    data = VATEX(str(root), **OPTIONS)
    found = {split: [clip.captions[0] for clip in data.clips(split)] for split in ("train", "val", "test")}
    assert found == {
        "train": ["one 0", "one 1", "one 2", "one 3"], "val": ["one 4", "one 5", "one 6"],
        "test": ["one 7", "one 8", "one 9"],
    }  # fmt: skip
