"""Captions in the forms in which their authors publish them, each by a few lines made by hand."""

import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import MSRVTT, MSVD, VATEX
from tests.caption_layouts import NUMBERS, lay_out

OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 3,
    "num_workers": 0,
}


def vatex_objects(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [
        {"videoID": f"vid-{n}_0_8", "enCap": [f"one {n}", "two"], "chCap": ["灰色"]}
        for n in numbers
    ]


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
    (root / "vatex_training_v1.0.json").write_text(
        json.dumps(vatex_objects(range(4)))
    )
    (root / "vatex_validation_v1.0.json").write_text(
        json.dumps(vatex_objects(range(4, 10)))
    )
    data = VATEX(str(root), **OPTIONS)
    found = {
        split: [clip.captions[0] for clip in data.clips(split)]
        for split in ("train", "val", "test")
    }
    assert found == {
        "train": ["one 0", "one 1", "one 2", "one 3"], "val": ["one 4", "one 5", "one 6"],
        "test": ["one 7", "one 8", "one 9"],
    }  # fmt: skip


def msr_vtt(split: str) -> dict[str, Any]:
    """As the authors publish it: two sentences a video, in no order."""
    part = {"train": "train", "val": "validate", "test": "test"}[split]
    videos = [{"video_id": f"video{n}", "category": 9, "url": "", "start time": 1.5, "end time": 9.0, "split": part,
               "id": n} for n in NUMBERS[split]]  # fmt: skip
    sentences = [{"caption": f"{word} {n}", "video_id": f"video{n}", "sen_id": n} for word in ("one", "two")
                 for n in reversed(NUMBERS[split])]  # fmt: skip
    return {"info": {"year": "2016"}, "videos": videos, "sentences": sentences}


def joined(*contents: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [entry for content in contents for entry in content[key]]
        for key in ("videos", "sentences")
    }


MSR_VTT_FILES: dict[str, dict[str, Any]] = {
    "of all": {"MSRVTT_data.json": joined(*map(msr_vtt, NUMBERS))},
    "of 2017": {"videodatainfo_2017.json": joined(*map(msr_vtt, NUMBERS))},
    "of 2016": {
        "train_val_videodatainfo.json": joined(msr_vtt("train"), msr_vtt("val")),
        "test_videodatainfo.json": msr_vtt("test"),
    },
}


@pytest.mark.parametrize("form", MSR_VTT_FILES)
def test_msr_vtt_in_its_published_files(form: str, tmp_path: Path):
    for name, content in MSR_VTT_FILES[form].items():
        (tmp_path / name).write_text(json.dumps(content))
    data = MSRVTT(str(tmp_path), split_name="full", **OPTIONS)
    for split, numbers in NUMBERS.items():
        assert [(clip.clip_id, clip.captions) for clip in data.clips(split)] == [  # pyright: ignore[reportArgumentType]
            (f"video{n}", (f"one {n}", f"two {n}")) for n in numbers
        ]


def test_msr_vtt_as_coco_names_it(tmp_path: Path):
    """It does not tell the official split."""
    root = lay_out("msrvtt_1ka", tmp_path / "root", videos=False)
    (root / "MSRVTT_data.json").unlink()
    entries = [
        {"image_id": f"video{n}", "caption": f"one {n}", "id": n} for n in range(4)
    ]
    (root / "MSR_VTT.json").write_text(
        json.dumps({"images": [{"id": "video0"}], "annotations": entries})
    )
    assert [clip.captions for clip in MSRVTT(str(root), **OPTIONS).clips("train")] == [
        ("one 0",), ("one 1",), ("one 2",), ("one 3",)
    ]  # fmt: skip
    with pytest.raises(
        ValueError, match=r"MSR_VTT\.json: lists no video of the train split"
    ):
        MSRVTT(str(root), split_name="full", **OPTIONS).clips("train")


def test_half_of_the_files_of_2016(tmp_path: Path):
    (tmp_path / "train_val_videodatainfo.json").write_text(
        json.dumps(msr_vtt("train"))
    )
    with pytest.raises(
        FileNotFoundError, match=r"no annotation file .*/test_videodatainfo\.json"
    ):
        MSRVTT(str(tmp_path), split_name="full", **OPTIONS).clips("train")


def test_msvd_as_a_text(tmp_path: Path):
    """As the authors publish it: comments, a blank line, a video and a caption."""
    lines = [
        "# MSVD",
        "#",
        "",
        *(
            f"vid-{n}_0_8 a cat, {word}"
            for n in range(4)
            for word in ("runs", "sleeps")
        ),
    ]
    (tmp_path / "AllVideoDescriptions.txt").write_bytes("\r\n".join(lines).encode())
    (tmp_path / "train_list.txt").write_text("vid-2_0_8\nvid-0_0_8\n")
    assert [(clip.clip_id, clip.captions) for clip in MSVD(str(tmp_path), **OPTIONS).clips("train")] == [
        ("vid-2_0_8", ("a cat, runs", "a cat, sleeps")), ("vid-0_0_8", ("a cat, runs", "a cat, sleeps"))
    ]  # fmt: skip
    (tmp_path / "AllVideoDescriptions.txt").write_text(
        "vid-2_0_8 a cat\nvid-0_0_8\n"
    )
    with pytest.raises(
        ValueError,
        match=r"AllVideoDescriptions\.txt, line 2: caption 0 of video vid-0_0_8 is empty",
    ):
        MSVD(str(tmp_path), **OPTIONS).clips("train")


def test_captions_as_texts_in_a_pickle(tmp_path: Path):
    (tmp_path / "raw-captions.pkl").write_bytes(
        pickle.dumps({"a_0_8": ["a cat runs", ["a", "cat"]]})
    )
    (tmp_path / "train_list.txt").write_text("a_0_8\n")
    assert MSVD(str(tmp_path), **OPTIONS).clips("train")[0].captions == (
        "a cat runs",
        "a cat",
    )


def test_a_list_of_files_in_place_of_names(tmp_path: Path):
    (tmp_path / "raw-captions.pkl").write_bytes(
        pickle.dumps({"a_0_8": [["a", "cat"]]})
    )
    (tmp_path / "train_list.txt").write_text("a_0_8.avi\n")
    with pytest.raises(
        ValueError,
        match=r"train_list\.txt: names files, the first a_0_8\.avi; remove the suffixes, as",
    ):
        MSVD(str(tmp_path), **OPTIONS).clips("train")
