import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from data_modules.randomness import keyed_generator
from data_modules.transforms import Box, EvalCrop, TrainCrop, Transform, resize


def rng(name: object = 0) -> np.random.Generator:
    return keyed_generator(0, 0, str(name))


def follow(transform: Transform, video: torch.Tensor, size: int, generator: np.random.Generator) -> torch.Tensor:
    """Draw, cut and apply."""
    recipe = transform.draw(video.shape[-2], video.shape[-1], size, generator)
    return recipe(recipe.box.cut(video))


def positions(height: int, width: int) -> torch.Tensor:
    """Two frames whose channels hold the row, the column and their sum, so that a crop shows where it is from."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.stack([rows, columns, rows + columns]).to(torch.uint8)
    return torch.stack([picture, picture])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_keeps_flat_pictures_and_right_sizes(interpolation):
    flat = torch.full((2, 3, 37, 53), 201, dtype=torch.uint8)
    assert torch.equal(resize(flat, 16, 64, interpolation), torch.full((2, 3, 16, 64), 201, dtype=torch.uint8))
    video = torch.randint(0, 256, (2, 3, 24, 32), dtype=torch.uint8)
    assert torch.equal(resize(video, 24, 32, interpolation), video)


def test_halving_is_the_triangle_filter():
    """Antialiased bilinear at half size weighs pixels 2i-1 ... 2i+2 by 1 3 3 1, over eight."""
    line = torch.randint(0, 256, (64,), dtype=torch.uint8)
    video = line.expand(1, 3, 64, 64)
    taps = line[1:-1].double().unfold(0, 4, 2) @ torch.tensor([1, 3, 3, 1], dtype=torch.double) / 8
    assert (resize(video, 32, 32, "bilinear")[0, 0, 5, 1:-1] - taps).abs().max() <= 1


@pytest.mark.parametrize(("interpolation", "levels"), [("bilinear", 1), ("bicubic", 2)])
def test_resize_is_close_to_floats(interpolation, levels: int):
    ramp = (torch.rand(2, 3, 6, 8) * 255).to(torch.uint8).float()
    video = interpolate(ramp, size=(90, 120), mode="bilinear").round().to(torch.uint8)
    floats = interpolate(video.float(), size=(37, 53), mode=interpolation, antialias=True).round().clamp(0, 255)
    assert (resize(video, 37, 53, interpolation).float() - floats).abs().max() <= levels


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
    boxes = np.array([TrainCrop(scale=(0.1, 0.4), ratio=(1.0, 1.0)).box(200, 200, rng(k)) for k in range(3000)])
    area = np.sort(boxes[:, 2] * boxes[:, 3] / 200**2)
    expected = 0.1 + 0.3 * (np.arange(3000) + 0.5) / 3000
    assert np.abs(area - expected).max() < 0.3 * 1.63 / np.sqrt(3000) + 0.01  # Kolmogorov-Smirnov 1 %, whole pixels


def test_a_frame_no_box_fits_gets_the_largest_centred_one():
    assert TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(50, 200, rng()) == Box(0, 75, 50, 50)
    assert TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)).box(200, 50, rng()) == Box(75, 0, 50, 50)
    assert TrainCrop(scale=(1.0, 1.0), ratio=(2.0, 3.0)).box(100, 100, rng()) == Box(25, 0, 50, 100)


def test_whole_frame_box_is_a_plain_resize():
    video = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    assert torch.equal(follow(TrainCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), video, 40, rng()), video)


def test_one_box_a_clip_and_the_key_decides():
    video = torch.randint(0, 256, (1, 3, 60, 80), dtype=torch.uint8).expand(4, 3, 60, 80)
    clip = follow(TrainCrop(), video, 32, rng(1))
    assert clip.shape == (4, 3, 32, 32)
    assert clip.dtype == torch.uint8
    assert all(torch.equal(frame, clip[0]) for frame in clip)
    assert torch.equal(follow(TrainCrop(), video, 32, rng(1)), clip)
    assert not torch.equal(follow(TrainCrop(), video, 32, rng(2)), clip)


def test_flip_mirrors_half_of_the_clips_and_changes_nothing_else():
    video = torch.randint(0, 256, (1, 3, 60, 80), dtype=torch.uint8)
    mirrored = 0
    for k in range(400):
        plain, maybe = follow(TrainCrop(), video, 16, rng(k)), follow(TrainCrop(flip=True), video, 16, rng(k))
        assert torch.equal(maybe, plain) or torch.equal(maybe, plain.flip(-1))
        mirrored += not torch.equal(maybe, plain)
    assert 160 < mirrored < 240  # four standard deviations


@pytest.mark.parametrize(
    ("height", "width", "corners"),
    [
        (32, 64, [(0, 0), (0, 16), (0, 32)]),
        (64, 32, [(0, 0), (16, 0), (32, 0)]),
        (32, 32, [(0, 0)] * 3),
    ],
)
def test_three_crops_lie_along_the_long_side(height: int, width: int, corners: list[tuple[int, int]]):
    video = positions(height, width)
    crops = EvalCrop().crops(video, 32, 3)
    assert crops.shape == (3, 2, 3, 32, 32)
    assert [tuple(crop[0, :2, 0, 0].tolist()) for crop in crops] == corners
    assert torch.equal(EvalCrop().crops(video, 32, 1)[0], crops[1])
    assert torch.equal(follow(EvalCrop(), video, 32, rng()), crops[1])


def test_crop_ratio_takes_the_middle():
    video = positions(40, 80)
    crop = EvalCrop(crop_ratio=0.8).crops(video, 32, 1)[0]
    assert torch.equal(crop, video[:, :, 4:36, 24:56])


@pytest.mark.parametrize(("height", "width"), [(240, 427), (427, 240), (33, 32), (32, 99), (16, 16)])
@pytest.mark.parametrize("crop_ratio", [1.0, 0.875])
def test_every_size_gives_squares(height: int, width: int, crop_ratio: float):
    video = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    assert EvalCrop(crop_ratio).crops(video, 32, 3).shape == (3, 2, 3, 32, 32)
    assert follow(TrainCrop(), video, 32, rng()).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainCrop(scale=(0.0, 1.0)), r"scale: expected 0 < smallest <= largest <= 1, got \(0.0, 1.0\)"),
        (lambda: TrainCrop(ratio=(2.0, 1.0)), r"ratio: expected 0 < smallest <= largest, got \(2.0, 1.0\)"),
        (lambda: EvalCrop(crop_ratio=1.5), "crop_ratio: expected 0 < crop_ratio <= 1, got 1.5"),
        (lambda: EvalCrop().crops(positions(8, 8), 8, 2), r"crops: expected 1 \(centre\) or 3"),
    ],
)
def test_bad_numbers_are_named(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()
