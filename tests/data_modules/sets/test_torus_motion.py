"""The motion set on a torus: no frame, wherever it stands, tells a class; only frames together do."""

import json
from itertools import combinations, permutations
from pathlib import Path

import av
import numpy as np
import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import EasyMotion, TorusMotion
from data_modules.sets.rendered.motion import FRAMES, ClipPlan, render
from data_modules.sets.rendered.motion_scene import TEST_CAST, TRAIN_CAST, Motion
from data_modules.sets.rendered.torus_scene import (
    CIRCLES,
    GROUND,
    OBJECT,
    TORUS_MOTIONS,
    draw_moves,
    draw_start,
    draw_states,
    draw_torus_scene,
)
from data_modules.video.encode import write_video
from lightning_petl.artifacts.published_names import current_name
from tests.rendering import in_this_process

PAIRS = list(zip(TORUS_MOTIONS[::2], TORUS_MOTIONS[1::2], strict=True))
DRAWS = 6000
every_motion = pytest.mark.parametrize(
    "motion", TORUS_MOTIONS, ids=lambda motion: motion.template
)


def states(motion: Motion, seed: int) -> np.ndarray:
    """The states of a clip, "t 5"."""
    rng = np.random.default_rng(seed)
    start = draw_start(rng)
    return (start + draw_moves(motion, rng, FRAMES)) % 1


@pytest.mark.parametrize(("forward", "backward"), PAIRS)
@pytest.mark.parametrize("cast", [TRAIN_CAST, TEST_CAST], ids=["train", "test"])
def test_a_clip_played_backwards_is_a_clip_of_the_opposite_class(
    forward: Motion, backward: Motion, cast: object
) -> None:
    """Both classes draw the same scene from the same random numbers."""
    for seed in range(3):
        ahead, back = (
            draw_torus_scene(
                motion, cast, np.random.default_rng(seed), frames=FRAMES, size=64
            )
            for motion in (forward, backward)
        )
        assert np.array_equal(ahead.video[::-1], back.video)
        assert ahead.thing == back.thing


@pytest.mark.parametrize(("one", "other"), list(permutations(TORUS_MOTIONS, 2)))
def test_every_frame_is_as_likely_in_any_other_class(
    one: Motion, other: Motion
) -> None:
    """For each clip and frame there is one start from which another class shows the same frame at the same time.

    The start is uniform, and drawn before anything knows the class: both clips are equally likely.
    """
    rng = np.random.default_rng(3)
    seen = states(one, seed=4)
    moves = draw_moves(other, rng, FRAMES)
    for frame in (0, 9, FRAMES - 1):
        start = seen[frame] - moves[frame]
        ours = draw_states(
            seen[[frame]], TRAIN_CAST, np.random.default_rng(5), size=64
        )
        theirs = draw_states(
            (start + moves)[[frame]] % 1,
            TRAIN_CAST,
            np.random.default_rng(5),
            size=64,
        )
        # the last bits of a sum may fall on the other side of a rounding
        difference = ours.video.astype(int) - theirs.video
        assert np.abs(difference).max() <= 1


def test_the_start_is_uniform_and_independent_of_the_class() -> None:
    starts = np.array([draw_start(np.random.default_rng(k)) for k in range(DRAWS)])
    # Kolmogorov-Smirnov, at 1e-4 for each of the circles
    ranks = (np.arange(DRAWS) + 1) / DRAWS
    for column in starts.T:
        assert np.abs(np.sort(column) - ranks).max() < 2.23 / np.sqrt(DRAWS)
    for one, other in combinations(range(CIRCLES), 2):
        assert abs(np.corrcoef(starts[:, one], starts[:, other])[0, 1]) < 0.06
    for motion in TORUS_MOTIONS:
        rng = np.random.default_rng(7)
        start = draw_start(rng)
        draw_moves(motion, rng, FRAMES)
        assert np.array_equal(start, draw_start(np.random.default_rng(7)))


@every_motion
def test_the_state_of_a_frame_is_uniform_at_every_time(motion: Motion) -> None:
    """A law on a torus is uniform where all its Fourier coefficients but the first are 0."""
    count = 3000
    drawn = np.array([states(motion, seed) for seed in range(count)])
    # of one circle each, and of many together
    rng = np.random.default_rng(0)
    several = rng.integers(-2, 3, (30, CIRCLES))
    waves = np.vstack([np.eye(CIRCLES, dtype=int), several[several.any(1)]])
    for frame in (0, 1, 11, FRAMES - 1):
        phases = 2 * np.pi * drawn[:, frame] @ waves.T
        # beyond 4.5 standard deviations once in 25,000
        assert np.abs(np.exp(1j * phases).mean(0)).max() < 4.5 / np.sqrt(count)


def test_frames_together_tell_the_classes() -> None:
    """What a frame does not say, a step from one frame to another says."""
    for motion in TORUS_MOTIONS:
        for seed in range(50):
            assert told(states(motion, seed)) == motion


def test_no_sum_over_frames_has_a_lower_loss_than_guessing() -> None:
    """By Jensen's inequality, for any convex loss; here the squared error of new clips, fitted in closed form.

    The sums are functions of single frames, each at its own place. Steps between frames do better than guessing.
    """
    count = 3000
    drawn = np.array(
        [states(TORUS_MOTIONS[k % 6], k)[1::3, OBJECT] for k in range(2 * count)]
    )
    waves = np.array([(1, 0), (0, 1), (1, 1), (1, -1)])
    phases = 2 * np.pi * (drawn @ waves.T).reshape(2 * count, -1)
    single = np.hstack([np.cos(phases), np.sin(phases)])
    steps = (np.diff(drawn, axis=1) + 0.5) % 1 - 0.5
    turns = steps[:, :-1, 0] * steps[:, 1:, 1] - steps[:, :-1, 1] * steps[:, 1:, 0]
    together = np.hstack([steps.reshape(2 * count, -1), turns])
    guessing = 5 / 6
    assert guessing < error_on_new_clips(single) < 1.05 * guessing
    assert error_on_new_clips(together) < 0.6 * guessing


def error_on_new_clips(features: np.ndarray) -> float:
    """Fit the first half of the clips, whose classes take turns, and return the squared error on the other half."""
    labels = np.eye(6)[np.arange(len(features)) % 6]
    half = len(features) // 2
    padded = np.hstack([features, np.ones((len(features), 1))])
    fitted = np.linalg.lstsq(padded[:half], labels[:half], rcond=None)[0]
    return float(((padded[half:] @ fitted - labels[half:]) ** 2).sum(1).mean())


def told(clip: np.ndarray) -> Motion:
    """Name the class of a clip by how the object moves over the ground."""
    relative = clip[:, OBJECT] - clip[:, GROUND]
    steps = (np.diff(relative, axis=0) + 0.5) % 1 - 0.5
    far = steps.sum(0)
    path = np.cumsum(steps, axis=0)
    middle = path - path.mean(0)
    turning = np.sum(middle[:-1, 0] * steps[1:, 1] - middle[:-1, 1] * steps[1:, 0])
    if np.abs(far).max() < 0.6:
        return TORUS_MOTIONS[4 if turning > 0 else 5]
    axis = int(np.abs(far).argmax())
    return TORUS_MOTIONS[2 * axis + int(far[axis] < 0)]


@every_motion
def test_no_step_between_sampled_frames_is_ambiguous(motion: Motion) -> None:
    """Two of 8 segments of 3 frames are at most 5 frames apart; half a frame width would have two directions."""
    for seed in range(300):
        moves = draw_moves(motion, np.random.default_rng(seed), FRAMES)
        for apart in range(1, 6):
            steps = moves[apart:, OBJECT] - moves[:-apart, OBJECT]
            assert np.abs(steps).max() < 0.45


def test_what_leaves_the_frame_comes_back_on_the_other_side() -> None:
    """Moving all by whole pixels rolls the picture."""
    clip = states(TORUS_MOTIONS[0], 2)[:1]
    moved = clip.copy()
    for things in (OBJECT, GROUND):
        moved[:, things] += np.array([20, 50]) / 64
    one = draw_states(clip, TEST_CAST, np.random.default_rng(0), size=64).video
    other = draw_states(
        moved % 1, TEST_CAST, np.random.default_rng(0), size=64
    ).video
    rolled = np.roll(one, (50, 20), axis=(1, 2))
    assert np.abs(rolled.astype(int) - other).max() <= 1


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def test_the_bound_survives_the_encoder(tmp_path: Path) -> None:
    """Differences between frames, or a rate that follows the frames before, would leave traces of their order."""
    plan = ClipPlan("1", "train", 0, 0)
    video = plan.draw().video
    options = {"gop": 1, "qp": 22}
    for name, frames in (("ahead", video), ("back", video[::-1].copy())):
        write_video(tmp_path / f"{name}.mp4", frames, 12, **options)
        write_video(tmp_path / f"{name}_usual.mp4", frames, 12)
    ahead = decoded(tmp_path / "ahead.mp4")
    assert np.array_equal(ahead[::-1], decoded(tmp_path / "back.mp4"))
    usual = decoded(tmp_path / "ahead_usual.mp4")
    assert not np.array_equal(usual[::-1], decoded(tmp_path / "back_usual.mp4"))
    assert plan.single_frames
    assert not plan._replace(scenes="easy").single_frames


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torus")
    with in_this_process():
        return render(folder, num_train=6, num_test=6)


def test_files_are_encoded_frame_by_frame(root: Path) -> None:
    with av.open(str(root / "videos" / "1.mp4")) as container:
        assert all(
            packet.is_keyframe for packet in container.demux() if packet.size
        )


def small(kind: type[TorusMotion], root: Path) -> TorusMotion:
    return kind(
        str(root),
        num_train=6,
        num_test=6,
        sampling=SegmentSampling(2),
        image_size=16,
    )


def test_labels_and_mirror_images(root: Path) -> None:
    data = small(TorusMotion, root)
    assert data.mirrored() == {0: 1, 1: 0, 4: 5, 5: 4}
    data.prepare_data()
    written = json.loads((root / "labels.json").read_text())
    assert sorted(written, key=lambda label: int(written[label])) == data.labels


def test_neither_set_is_taken_for_the_other(root: Path, tmp_path: Path) -> None:
    """A folder of the first releases says nothing of its scenes."""
    with pytest.raises(
        ValueError, match=r"holds .*'torus'.*, not .*another folder"
    ):
        small(EasyMotion, root).prepare_data()
    with in_this_process():
        old = render(tmp_path, num_train=6, num_test=6, scenes="easy")
    assert "scenes" not in json.loads((old / "render.json").read_text())
    with pytest.raises(ValueError, match=r"not .*'torus'.*another folder"):
        small(TorusMotion, old).prepare_data()
    small(EasyMotion, old).prepare_data()


def test_the_published_name_still_means_the_first_set() -> None:
    assert current_name("MotionClips") == "EasyMotion"
    dotted = "data_modules.sets.motion_clips.MotionClips"
    assert current_name(dotted) == "EasyMotion"
