"""The motion set in sentences: every query of its own, combinations of test unseen, all words seen."""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import MotionCaptions
from data_modules.sets.rendered.motion import FRAMES
from data_modules.sets.rendered.motion import render as render_classes
from data_modules.sets.rendered.motion_captions import (
    SIZE,
    CaptionPlan,
    plans,
    render,
)
from data_modules.sets.rendered.motion_scene import COLORS, MOTIONS, SHAPES
from tests.rendering import render_two_objects


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    render_two_objects(folder, seed=3)
    return folder


def captions(root: Path, split: str) -> list[str]:
    with (root / f"{split}.csv").open(newline="") as file:
        return [row["caption"] for row in csv.DictReader(file)]


def test_no_two_queries_are_alike_and_no_combination_of_test_is_trained(root: Path):
    train, test = captions(root, "train"), captions(root, "val")
    full = [caption for caption in train if not caption.startswith("something")]
    assert (len(train), len(full), len(test)) == (720, 360, 120)
    assert len({*full, *test}) == len(COLORS) * len(SHAPES) * len(MOTIONS) == 480
    assert train[::2] == full
    assert [a.split("moving")[1] for a in full] == [
        b.split("moving")[1] for b in train[1::2]
    ]
    assert set(train[1::2]) == {
        motion.template.replace("Moving [something]", "something moving")
        for motion in MOTIONS
    }


def test_objects_of_test_are_new_and_their_words_are_not():
    objects = {
        split: {plan[:2] for plan in plans(1, 0) if plan.is_test == split}
        for split in (False, True)
    }
    assert not objects[False] & objects[True]
    for kind in (0, 1):
        assert {named[kind] for named in objects[True]} <= {
            named[kind] for named in objects[False]
        }
    assert len(objects[True]) * len(MOTIONS) == 120  # each in every motion


def test_test_is_balanced():
    objects = {plan[:2] for plan in plans(1, 0) if plan.is_test}
    assert set(np.bincount([color for color, _ in objects])) == {2, 3}
    assert set(np.bincount([shape for _, shape in objects])) == {2}


def test_a_caption_says_what_is_drawn():
    plan = CaptionPlan(color=1, shape=5, motion=4, number=0, seed=0)
    assert plan.captions == [
        "an orange star moving towards the camera",
        "something moving towards the camera",
    ]
    assert CaptionPlan(1, 7, 1, 0, 0).captions == [
        "an orange hexagon moving from right to left"
    ]  # of test
    size = [
        (np.abs(frame - 255 * np.array(COLORS["orange"])).max(-1) < 2).sum()
        for frame in plan.draw().video
    ]
    assert size[-1] > 2 * size[0] > 0  # it comes nearer, in its color


def test_repeats_are_other_clips_of_the_same_caption():
    first, second = (CaptionPlan(2, 3, 1, number, 0) for number in (0, 1))
    assert first.captions == second.captions
    assert (first.draw().video != second.draw().video).any()
    assert (first.draw().video == CaptionPlan(2, 3, 1, 0, 0).draw().video).all()
    assert len(plans(3, 0)) == 3 * 360 + 120


def test_files_hold_the_drawn_frames(root: Path):
    plan = next(plan for plan in plans(1, 3) if plan.is_test)
    with av.open(str(root / "videos" / f"{plan.clip_id}.mp4")) as container:
        decoded = np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        )
    assert decoded.shape == (FRAMES, SIZE, SIZE, 3)
    assert (
        np.abs(decoded.astype(int) - plan.draw().video).mean() < 12
    )  # color at half resolution and H.264


def test_it_is_rendered_where_it_is_not_there(root: Path):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    data = MotionCaptions(
        str(root),
        repeats=1,
        render_seed=3,
        sampling=SegmentSampling(2),
        image_size=16,
        batch_size=20,
        num_workers=0,
    )
    data.prepare_data()
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    data.setup("fit")
    assert len(data.located("train")) == 720
    assert data.clips("test") == data.clips("val")
    batch = next(iter(data.val_dataloader()))
    assert list(batch.captions) == [
        (caption,) for caption in captions(root, "val")[:20]
    ]


def test_another_data_set_in_the_folder_is_an_error(root: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="another folder"):
        render(root, repeats=2, seed=3)
    with pytest.raises(ValueError, match="another folder"):
        render_classes(root, num_train=6, num_test=6)
    with pytest.raises(ValueError, match="repeats: expected 1 or more, got 0"):
        render(tmp_path, repeats=0)
