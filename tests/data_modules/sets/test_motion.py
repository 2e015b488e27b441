"""The motion data set: only the order of frames tells a class from its opposite, and nothing leaks to the test."""

import json
import shutil
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from data_modules.sets.rendered.motion import (
    FPS,
    FRAMES,
    SIZE,
    ClipPlan,
    main,
    render,
)
from data_modules.sets.rendered.motion_scene import (
    MOTIONS,
    SHAPES,
    TEST_CAST,
    TEXTURES,
    TRAIN_CAST,
    Cast,
    Motion,
    draw_scene,
    draw_trajectory,
)
from tests.rendering import in_this_process

PAIRS = list(zip(MOTIONS[::2], MOTIONS[1::2], strict=True))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion")
    with in_this_process():
        return render(folder, num_train=12, num_test=6, seed=3)


@pytest.mark.parametrize(
    ("forward", "backward"), PAIRS, ids=lambda motion: motion.template
)
@pytest.mark.parametrize("cast", [TRAIN_CAST, TEST_CAST], ids=["train", "test"])
def test_a_clip_played_backwards_is_a_clip_of_the_opposite_class(
    forward: Motion, backward: Motion, cast: Cast
) -> None:
    """Both classes draw the same scene from the same random numbers, so as distributions they are mirrors."""
    for seed in range(5):
        ahead, back = (
            draw_scene(
                motion, cast, np.random.default_rng(seed), frames=FRAMES, size=SIZE
            )
            for motion in (forward, backward)
        )
        np.testing.assert_array_equal(ahead.video[::-1], back.video)
        assert ahead.thing == back.thing


@pytest.mark.parametrize(
    ("forward", "backward"), PAIRS, ids=lambda motion: motion.template
)
def test_frames_as_a_set_are_equally_likely_in_both_directions(
    forward: Motion, backward: Motion
) -> None:
    """Over independent draws the pooled positions and radii agree, and those of the first frame do not."""
    rng = np.random.default_rng(0)
    ahead, back = (
        np.array([draw_trajectory(motion, rng, 8) for _ in range(4000)])
        for motion in (forward, backward)
    )
    np.testing.assert_allclose(
        ahead.mean((0, 2))[:3], back.mean((0, 2))[:3], atol=0.01
    )
    np.testing.assert_allclose(
        ahead.std((0, 2))[:3], back.std((0, 2))[:3], atol=0.01
    )
    column = ("x", "y", "depth").index(forward.axis)
    assert np.abs(ahead[:, column, 0].mean() - back[:, column, 0].mean()) > 0.2


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda motion: motion.template)
def test_each_class_moves_as_its_words_say(motion: Motion) -> None:
    """x grows to the right, y downwards, the radius towards the camera, in every draw."""
    rng = np.random.default_rng(0)
    column = ("x", "y", "depth").index(motion.axis)
    steps = np.array(
        [np.diff(draw_trajectory(motion, rng, FRAMES)[column]) for _ in range(50)]
    )
    assert (steps < 0).all() if motion.backwards else (steps > 0).all()


def test_train_and_test_share_no_kind() -> None:
    for train, test in zip(TRAIN_CAST, TEST_CAST, strict=True):
        assert not set(train) & set(test)
    assert {*TRAIN_CAST.shapes, *TEST_CAST.shapes} == set(SHAPES)
    assert {*TRAIN_CAST.textures, *TEST_CAST.textures} == set(TEXTURES)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_cover_a_part_of_the_unit_disc(shape: str) -> None:
    v, u = np.mgrid[-1.5:1.5:200j, -1.5:1.5:200j]
    inside = SHAPES[shape](u, v) < 0
    assert 0.15 < inside.mean() * 9 / np.pi < 1.0
    assert (np.hypot(u, v)[inside] < 1.45).all()


def test_annotations_have_the_format_of_something_something(root: Path) -> None:
    labels = json.loads((root / "labels.json").read_text())
    assert sorted(labels.values()) == [str(index) for index in range(len(MOTIONS))]
    entries = [
        entry
        for split in ("train", "validation")
        for entry in json.loads((root / f"{split}.json").read_text())
    ]
    assert len({entry["id"] for entry in entries}) == 18
    for entry in entries:
        assert entry["template"].replace("[", "").replace("]", "") in labels
        assert entry["label"] == entry["template"].replace(
            "[something]", entry["placeholders"][0]
        )
        assert (root / "videos" / f"{entry['id']}.mp4").is_file()


@pytest.mark.parametrize(("split", "each"), [("train", 2), ("validation", 1)])
def test_classes_are_balanced(root: Path, split: str, each: int) -> None:
    counts = Counter(
        entry["template"]
        for entry in json.loads((root / f"{split}.json").read_text())
    )
    assert set(counts.values()) == {each}
    assert len(counts) == len(MOTIONS)


def test_files_hold_the_drawn_frames(root: Path) -> None:
    with av.open(str(root / "videos" / "13.mp4")) as container:
        assert container.streams.video[0].average_rate == FPS
        decoded = np.stack(
            [
                frame.to_ndarray(format="rgb24")
                for frame in container.decode(video=0)
            ]
        )
    drawn = ClipPlan("13", "validation", 0, 3).draw().video
    assert decoded.shape == drawn.shape == (FRAMES, SIZE, SIZE, 3)
    assert (
        np.abs(decoded.astype(int) - drawn).mean() < 12
    )  # color at half resolution and H.264


def test_the_seed_decides_every_byte(root: Path, tmp_path: Path) -> None:
    """Whichever process draws."""
    again = render(tmp_path / "again", num_train=12, num_test=6, seed=3)
    for file in (
        path.relative_to(root) for path in root.rglob("*") if path.is_file()
    ):
        assert (again / file).read_bytes() == (root / file).read_bytes(), file
    assert (
        ClipPlan("1", "train", 0, 4).draw().video
        != ClipPlan("1", "train", 0, 3).draw().video
    ).any()


def test_an_interrupted_render_is_completed(root: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(root, tmp_path / "broken")
    record = json.loads((broken / "render.json").read_text())
    (broken / "render.json").write_text(json.dumps(record | {"finished": False}))
    (broken / "train.json").unlink()
    (broken / "videos" / "5.mp4").unlink()
    kept = (broken / "videos" / "1.mp4").stat().st_mtime_ns
    with in_this_process():
        render(broken, num_train=12, num_test=6, seed=3)
    assert (broken / "train.json").read_bytes() == (
        root / "train.json"
    ).read_bytes()
    assert (broken / "videos" / "5.mp4").read_bytes() == (
        root / "videos" / "5.mp4"
    ).read_bytes()
    assert (broken / "videos" / "1.mp4").stat().st_mtime_ns == kept


def test_a_finished_render_is_left_as_it_is(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    main([str(root), "--num-train", "12", "--num-test", "6", "--seed", "3"])
    assert capsys.readouterr().out.strip() == str(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_another_data_set_in_the_folder_is_an_error(root: Path) -> None:
    with pytest.raises(ValueError, match="another folder"):
        render(root, num_train=12, num_test=6, seed=4)


def test_fewer_clips_than_classes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_test=5"):
        render(tmp_path, num_train=12, num_test=5)


def test_a_wrong_request_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--num-train", "3"])
    assert (
        "num_train=3, num_test=240: each class needs a clip"
        in capsys.readouterr().err
    )
