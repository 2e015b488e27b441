import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from data_modules.sampling.randomness import keyed_generator
from data_modules.transforms import resize as resize_module
from data_modules.transforms.crops import (
    Box,
    EvalCrop,
    MultiScaleCrop,
    ShortSideJitterCrop,
    TrainCrop,
    Transform,
)
from data_modules.transforms.resize import resize

TRAINING = [TrainCrop, MultiScaleCrop, ShortSideJitterCrop]


def rng(name: object = 0) -> np.random.Generator:
    return keyed_generator(0, 0, str(name))


def follow(
    transform: Transform,
    video: torch.Tensor,
    size: int,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Draw, cut and apply."""
    recipe = transform.draw(video.shape[-2], video.shape[-1], size, generator)
    return recipe(recipe.box.cut(video))


def positions(height: int, width: int) -> torch.Tensor:
    """Two frames whose channels hold the row, the column and their sum, so that a crop shows where it is from."""
    rows, columns = torch.meshgrid(
        torch.arange(height), torch.arange(width), indexing="ij"
    )
    picture = torch.stack([rows, columns, rows + columns]).to(torch.uint8)
    return torch.stack([picture, picture])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_keeps_flat_pictures_and_right_sizes(interpolation):
    flat = torch.full((2, 3, 37, 53), 201, dtype=torch.uint8)
    assert torch.equal(
        resize(flat, 16, 64, interpolation),
        torch.full((2, 3, 16, 64), 201, dtype=torch.uint8),
    )
    video = torch.randint(0, 256, (2, 3, 24, 32), dtype=torch.uint8)
    assert torch.equal(resize(video, 24, 32, interpolation), video)


def test_halving_is_the_triangle_filter():
    """Antialiased bilinear at half size weighs pixels 2i-1 ... 2i+2 by 1 3 3 1, over eight."""
    line = torch.randint(0, 256, (64,), dtype=torch.uint8)
    video = line.expand(1, 3, 64, 64)
    taps = (
        line[1:-1].double().unfold(0, 4, 2)
        @ torch.tensor([1, 3, 3, 1], dtype=torch.double)
        / 8
    )
    assert (
        resize(video, 32, 32, "bilinear")[0, 0, 5, 1:-1] - taps
    ).abs().max() <= 1


@pytest.mark.parametrize(
    ("interpolation", "levels"), [("bilinear", 1), ("bicubic", 2)]
)
def test_resize_is_close_to_floats(interpolation, levels: int):
    ramp = (torch.rand(2, 3, 6, 8) * 255).to(torch.uint8).float()
    video = (
        interpolate(ramp, size=(90, 120), mode="bilinear").round().to(torch.uint8)
    )
    floats = (
        interpolate(
            video.float(), size=(37, 53), mode=interpolation, antialias=True
        )
        .round()
        .clamp(0, 255)
    )
    assert (
        resize(video, 37, 53, interpolation).float() - floats
    ).abs().max() <= levels


def test_train_boxes_keep_the_law():
    crop = TrainCrop(scale=(0.2, 0.6), ratio=(0.5, 2.0))
    boxes = np.array([crop.box(120, 160, rng(k)) for k in range(3000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 120).all()
    assert (left + width <= 160).all()
    area, ratio = height * width / (120 * 160), width / height
    assert area.min() > 0.2 * 0.97
    assert area.max() < 0.6 * 1.03
    assert ratio.min() > 0.5 * 0.97
    assert ratio.max() < 2 * 1.03
    assert (top == 0).any()  # every place is reached, both borders too
    assert (top + height == 120).any()
    assert abs((top / np.maximum(120 - height, 1)).mean() - 0.5) < 0.05


def test_area_is_uniform_where_every_draw_fits():
    boxes = np.array(
        [
            TrainCrop(scale=(0.1, 0.4), ratio=(1.0, 1.0)).box(200, 200, rng(k))
            for k in range(3000)
        ]
    )
    area = np.sort(boxes[:, 2] * boxes[:, 3] / 200**2)
    expected = 0.1 + 0.3 * (np.arange(3000) + 0.5) / 3000
    assert (
        np.abs(area - expected).max() < 0.3 * 1.63 / np.sqrt(3000) + 0.01
    )  # Kolmogorov-Smirnov 1 %, whole pixels


def test_a_frame_no_box_fits_gets_the_largest_centred_one():
    assert TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(50, 200, rng()) == Box(
        0, 75, 50, 50
    )
    assert TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(200, 50, rng()) == Box(
        75, 0, 50, 50
    )
    assert TrainCrop(scale=(1.0, 1.0), ratio=(2.0, 3.0)).box(
        100, 100, rng()
    ) == Box(25, 0, 50, 100)


def test_whole_frame_box_is_a_plain_resize():
    video = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    assert torch.equal(
        follow(TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), video, 40, rng()),
        video,
    )


def test_one_box_a_clip_and_the_key_decides():
    video = torch.randint(0, 256, (1, 3, 60, 80), dtype=torch.uint8).expand(
        4, 3, 60, 80
    )
    clip = follow(TrainCrop(), video, 32, rng(1))
    assert clip.shape == (4, 3, 32, 32)
    assert clip.dtype == torch.uint8
    assert all(torch.equal(frame, clip[0]) for frame in clip)
    assert torch.equal(follow(TrainCrop(), video, 32, rng(1)), clip)
    assert not torch.equal(follow(TrainCrop(), video, 32, rng(2)), clip)


@pytest.mark.parametrize("crop", TRAINING)
def test_flip_mirrors_half_of_the_clips_says_so_and_changes_nothing_else(
    crop: type[Transform],
):
    video = torch.randint(0, 256, (1, 3, 60, 80), dtype=torch.uint8)
    mirrored = 0
    for k in range(400):
        plain, maybe = (
            crop(flip=flip).draw(60, 80, 16, rng(k)) for flip in (False, True)
        )
        assert plain.box == maybe.box
        assert not plain.flipped
        clip = plain(plain.box.cut(video))
        assert torch.equal(
            maybe(maybe.box.cut(video)), clip.flip(-1) if maybe.flipped else clip
        )
        mirrored += maybe.flipped
    assert 160 < mirrored < 240  # four standard deviations


def test_multi_scale_boxes_are_those_of_tsn():
    """At 256 x 340 and 224: scales of 256, of which 224 is one; the offsets written out from TSN's description."""
    sides = [256, 224, 192, 168]
    shapes = {
        (h, w)
        for i, h in enumerate(sides)
        for k, w in enumerate(sides)
        if abs(i - k) <= 1
    }
    count: Counter[Box] = Counter(
        MultiScaleCrop().draw(256, 340, 224, rng(k)).box for k in range(4000)
    )
    assert {(box.height, box.width) for box in count} == shapes
    assert len(shapes) == 10
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    edges_and_quarters = [
        (2, 0),
        (2, 4),
        (4, 2),
        (0, 2),
        (1, 1),
        (1, 3),
        (3, 1),
        (3, 3),
    ]
    for h, w in shapes:
        down, right = (256 - h) // 4, (340 - w) // 4
        expected = {(i * down, k * right) for i, k in corners + edges_and_quarters}
        assert {
            (box.top, box.left)
            for box in count
            if (box.height, box.width) == (h, w)
        } == expected
    share = Counter[tuple[int, int]]()
    for box, times in count.items():
        share[box.height, box.width] += times
    assert all(
        abs(times - 400) < 4 * 19 for times in share.values()
    )  # binomial: deviation 19


def test_multi_scale_does_not_resize_by_two_pixels():
    assert MultiScaleCrop(scales=(1.0,)).draw(226, 300, 224, rng()).box[2:] == (
        224,
        224,
    )
    assert MultiScaleCrop(scales=(1.0,)).draw(227, 300, 224, rng()).box[2:] == (
        227,
        227,
    )
    assert MultiScaleCrop(scales=(1.0,)).draw(222, 300, 224, rng()).box[2:] == (
        222,
        222,
    )  # the frame has no more


def test_short_side_jitter_sees_what_the_resized_frame_would_show():
    """A 224 square out of a short side of L pixels is 224 / L of the short side of the frame, at any place."""
    boxes = np.array(
        [ShortSideJitterCrop().draw(240, 320, 224, rng(k)).box for k in range(3000)]
    )
    top, left, height, width = boxes.T
    assert (height == width).all()
    short = (
        240 * 224 / height
    )  # between 256 and 320, up to the half pixel of the box
    assert short.min() > 256 * (1 - 0.5 / 210)
    assert short.max() < 320 * (1 + 0.5 / 168)
    expected = 256 + 64 * (np.arange(3000) + 0.5) / 3000
    assert (
        np.abs(np.sort(short) - expected).max() < 64 * 1.63 / np.sqrt(3000) + 1
    )  # Kolmogorov-Smirnov 1 %, whole pixels
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height).max() == 240
    assert (left + width).max() == 320
    assert abs((left / (320 - width)).mean() - 0.5) < 0.03
    assert ShortSideJitterCrop(scale=(1.0, 1.0)).draw(
        112, 112, 56, rng()
    ).box == Box(0, 0, 112, 112)


def test_eval_crop_trains_without_drawing():
    generator = rng()
    EvalCrop().draw(30, 40, 16, generator)
    assert generator.random() == rng().random()


@pytest.mark.parametrize("crop", [*TRAINING, EvalCrop])
def test_recipes_are_small_and_travel(crop: type[Transform]):
    recipe = crop().draw(256, 340, 224, rng())
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert len(pickle.dumps(recipe)) < 250


def binary_noise() -> torch.Tensor:
    """The worst case of a resize: every overshoot is clamped."""
    return torch.randint(0, 2, (2, 3, 97, 131), dtype=torch.uint8) * 255


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [*TRAINING, EvalCrop])
def test_the_path_of_other_devices_is_within_two_levels(
    crop: type[Transform], interpolation, monkeypatch
):
    for k in range(5):
        video, recipe = (
            binary_noise(),
            crop(interpolation=interpolation).draw(97, 131, 64, rng(k)),
        )
        clip = recipe(recipe.box.cut(video))
        with monkeypatch.context() as patch:
            patch.setattr(resize_module, "has_uint8_resize", lambda device: False)
            other = recipe(recipe.box.cut(video))
        assert other.dtype == torch.uint8
        assert (other.int() - clip.int()).abs().max() <= 2


@pytest.mark.gpu
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [*TRAINING, EvalCrop])
def test_cuda_is_within_two_levels(crop: type[Transform], interpolation):
    video, recipe = (
        binary_noise(),
        crop(interpolation=interpolation).draw(97, 131, 64, rng()),
    )
    cut = recipe.box.cut(video)
    assert (recipe(cut.cuda()).cpu().int() - recipe(cut).int()).abs().max() <= 2


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [
        (32, 64, [(0, 0), (0, 16), (0, 32)]),
        (64, 32, [(0, 0), (16, 0), (32, 0)]),
        (32, 32, [(0, 0)] * 3),
    ],
)
def test_three_crops_lie_along_the_long_side(
    height: int, width: int, corners: list[tuple[int, int]]
):
    video = positions(height, width)
    crops = EvalCrop().crops(video, 32, 3)
    assert [crop.shape for crop in crops] == [(2, 3, 32, 32)] * 3
    assert [tuple(crop[0, :2, 0, 0].tolist()) for crop in crops] == corners
    assert torch.equal(EvalCrop().crops(video, 32, 1)[0], crops[1])
    assert torch.equal(follow(EvalCrop(), video, 32, rng()), crops[1])


def test_crop_ratio_takes_the_middle():
    video = positions(40, 80)
    crop = EvalCrop(crop_ratio=0.8).crops(video, 32, 1)[0]
    assert torch.equal(crop, video[:, :, 4:36, 24:56])


@pytest.mark.parametrize(
    ("height", "width"), [(240, 427), (427, 240), (33, 32), (32, 99), (16, 16)]
)
@pytest.mark.parametrize("crop_ratio", [1.0, 0.875])
def test_every_size_gives_squares(height: int, width: int, crop_ratio: float):
    video = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert [crop.shape for crop in EvalCrop(crop_ratio).crops(video, 32, 3)] == [
        (2, 3, 32, 32)
    ] * 3
    assert follow(TrainCrop(), video, 32, rng()).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainCrop(scale=(0.0, 1.0)),
            r"scale: expected 0 < smallest <= largest <= 1, got \(0.0, 1.0\)",
        ),
        (
            lambda: TrainCrop(ratio=(2.0, 1.0)),
            r"ratio: expected 0 < smallest <= largest, got \(2.0, 1.0\)",
        ),
        (
            lambda: MultiScaleCrop(scales=()),
            r"scales: expected parts of the short side, above 0 and at most 1, got \(\)",
        ),
        (
            lambda: MultiScaleCrop(scales=(1.2, 1.0)),
            "scales: expected parts of the short side",
        ),
        (
            lambda: MultiScaleCrop(max_distort=-1),
            "max_distort: expected 0 or more, got -1",
        ),
        (
            lambda: ShortSideJitterCrop(scale=(0.9, 1.1)),
            r"scale: expected 1 <= shortest <= longest.*got \(0.9, 1.1\)",
        ),
        (
            lambda: EvalCrop(crop_ratio=1.5),
            "crop_ratio: expected 0 < crop_ratio <= 1, got 1.5",
        ),
        (
            lambda: EvalCrop().crops(positions(8, 8), 8, 2),
            r"crops: expected 1 \(center\) or 3",
        ),
    ],
)
def test_bad_numbers_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
