"""Side4Video at the sizes of the paper: parameters, multiply-adds, bytes; its switches; what it refuses."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lightning_petl.adapters import LoRA, Side4Video, STAdapter, attach
from lightning_petl.adapters.side4video import FORMS, SideNetwork
from lightning_petl.artifacts.format import write
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.checkpoints.trainable_state import (
    load_trainable,
    trainable_keys,
    trainable_state,
)
from lightning_petl.cost.saved_memory import Saved, saved_bytes_per_clip
from lightning_petl.shapes import Grid
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.loading import load
from tests.tiny import adapted, clip, gradients, randomised, trainable

B32, B16, L14 = (
    f"vit_{name}_clip_quickgelu_224.openai"
    for name in ("base_patch32", "base_patch16", "large_patch14")
)
WIDTHS = {B32: 768, B16: 768, L14: 1024}
MIB = 2**20


def _on_meta(name: str, recipe: Side4Video) -> VideoViT:
    with torch.device("meta"):
        vit = VideoViT(name, weights="random")
        attach(vit, [recipe])
    return vit.train()


# fmt: off
@pytest.mark.parametrize(
    ("name", "width", "taps", "count"),
    [
        (B32, 320, "all", 23_221_632), (B16, 320, "all", 21_056_832), (B16, 192, "odd", 4_496_832),
        (B16, 128, "all", 4_305_024), (L14, 512, "all", 102_019_584), (L14, 320, "odd", 21_892_416),
        (B16, 192, "all", 8_512_704), (B16, 256, "all", 14_096_640), (B16, 384, "all", 29_393_280),
        (B16, 512, "all", 50_194_944), (L14, 128, "all", 9_026_688), (L14, 192, "all", 17_644_224),
        (L14, 256, "all", 29_014_272), (L14, 320, "all", 43_136_832), (L14, 384, "all", 60_011_904),
    ],
)  # fmt: skip
def test_published_counts(name: str, width: int, taps: str, count: int) -> None:
    assert sum(p.numel() for p in trainable(_on_meta(name, Side4Video(width=width, taps=taps))).values()) == count


def test_published_count_of_the_eva_form() -> None:
    """Beside EVA-02-CLIP-E/14: 64 blocks of width 1792."""
    with torch.device("meta"):
        recipe = Side4Video(width=576, form="eva")
        network = SideNetwork(1792, Grid(8, 16, 16, 1), (14, 14), list(range(1, 64, 2)), recipe)
    assert sum(p.numel() for p in network.parameters()) == 183_273_408


@pytest.mark.parametrize(("name", "count"), [(B32, 23_467_712), (B16, 21_302_912), (L14, 43_464_832)])
def test_published_counts_for_retrieval(name: str, count: int) -> None:
    """With the projection of the side network's width to the trunk's, which the task owns."""
    vit = _on_meta(name, Side4Video(width=320, form="clip_retrieval"))
    assert sum(p.numel() for p in trainable(vit).values()) + 320 * WIDTHS[name] == count


def test_published_count_of_the_eva_form_for_retrieval() -> None:
    with torch.device("meta"):
        recipe = Side4Video(width=320, form="eva_retrieval")
        network = SideNetwork(1792, Grid(12, 16, 16, 1), (14, 14), list(range(1, 64, 2)), recipe)
    assert sum(p.numel() for p in network.parameters()) + 320 * 1792 == 65_692_480


@pytest.mark.parametrize("form", FORMS)
def test_the_feature_is_the_mean_of_the_frames(form: str) -> None:
    vit = randomised([Side4Video(width=64, form=form)])
    reader, video = vit.readers["Side4Video"], vit.normalize(clip())
    states = [reader.begin(video, vit.grid)]
    vit.read(lambda: vit.embed(video), vit.grid, states)
    frames = reader.frames(states[0], vit.grid)
    assert frames.shape == (2, 4, 64)
    torch.testing.assert_close(frames.mean(1), vit(clip()))
    assert (frames[:, 0] - frames[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "width", "taps", "gmacs", "published"),
    [
        (B16, 320, "all", 175.69, 528), (B16, 192, "odd", 148.17, 445), (B16, 128, "all", 148.10, 445),
        (L14, 512, "all", 869.32, 2611), (L14, 320, "odd", 696.65, 2092),
    ],
)  # fmt: skip
def test_published_multiply_adds(name: str, width: int, taps: str, gmacs: float, published: int) -> None:
    """Of 8 frames, counted operator by operator; the paper's number is three views."""
    vit = _on_meta(name, Side4Video(width=width, taps=taps))
    with FlopCounterMode(display=False) as counter:
        vit.features(torch.empty(2, 8, 3, 224, 224, device="meta"))
    counted = counter.get_total_flops() / 2 / 2 / 1e9  # two clips; a multiply-add is two operations
    assert counted == pytest.approx(gmacs, rel=5e-4)
    assert 3 * counted == pytest.approx(published, rel=5e-3)


def _bytes(name: str, recipe: Side4Video, autocast: bool = True) -> Saved:
    """Of a clip of 8 frames at 224 pixels, on tensors without memory."""
    vit = _on_meta(name, recipe)

    def run(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return vit.features(torch.empty(clips, 8, 3, 224, 224))

    with FakeTensorMode(allow_non_fake_inputs=True):
        vit.to_empty(device="cpu")
        return saved_bytes_per_clip(run, recomputed=vit.readers["Side4Video"].recomputed)


@pytest.mark.parametrize(
    ("options", "mebibytes"),
    [
        ({"width": 192, "taps": "odd", "checkpoint": ("mlp",)}, 75),
        ({"width": 192, "taps": "odd"}, 100),
        ({"width": 320, "checkpoint": ("mlp",)}, 220),
        ({"width": 320}, 320),
    ],
    ids=str,
)
def test_bytes_a_clip(options: dict[str, Any], mebibytes: int) -> None:
    """The released design keeps 120 MiB (light) and 352 MiB."""
    assert 0.5 * mebibytes * MIB < _bytes(B16, Side4Video(**options)).total < mebibytes * MIB


def test_bytes_of_the_released_design() -> None:
    """Without any saving we keep what the released code keeps, 126.2 MB in bfloat16, to 5 %."""
    plain = _bytes(B16, Side4Video(width=192, taps="odd", save_memory=False)).total
    assert plain == pytest.approx(126.2e6, rel=0.05)


def test_tensors_without_memory_are_counted_as_real_ones() -> None:
    vit = adapted([Side4Video(width=64, checkpoint=("mlp",))]).train()

    def run(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return vit.features(torch.ones(clips, 4, 3, 32, 32))

    real = saved_bytes_per_clip(run, recomputed=vit.readers["Side4Video"].recomputed)
    vit.to("meta")
    with FakeTensorMode(allow_non_fake_inputs=True):
        vit.to_empty(device="cpu")
        assert saved_bytes_per_clip(run, recomputed=vit.readers["Side4Video"].recomputed) == real


SAVINGS = [{"save_memory": False}, *({"checkpoint": c} for c in [("mlp",), ("conv", "attn"), ("conv", "attn", "mlp")])]
every_form = pytest.mark.parametrize("form", FORMS)
every_norm = pytest.mark.parametrize("norm", ["batch", "group"])
every_saving = pytest.mark.parametrize("saving", SAVINGS, ids=str)


@every_saving
@every_norm
@every_form
def test_savings_change_nothing(form: str, norm: str, saving: dict[str, Any]) -> None:
    """Neither outputs, nor gradients, nor running averages; bit-equal where the same operators run."""
    base, saved = (
        randomised([Side4Video(width=64, form=form, norm=norm, **options)]).train() for options in ({}, saving)
    )
    expected = gradients(base, clip())
    exact, largest = "checkpoint" in saving, max(gradient.abs().max().item() for gradient in expected.values())
    # of biases before a BatchNorm rounding alone is left, of the size of other gradients
    tolerance = {"atol": 0, "rtol": 0} if exact else {"atol": 1e-5 * max(1, largest), "rtol": 1e-4}
    for name, gradient in gradients(saved, clip()).items():
        torch.testing.assert_close(gradient, expected[name], **tolerance)
    for name, buffer in saved.named_buffers():
        torch.testing.assert_close(buffer, base.get_buffer(name), **tolerance)
    torch.testing.assert_close(saved(clip()), base(clip()), **tolerance)


@every_form
def test_savings_save(form: str) -> None:
    def total(**options: Any) -> int:
        vit = adapted([Side4Video(width=64, form=form, **options)]).train()
        recomputed = vit.readers["Side4Video"].recomputed
        return saved_bytes_per_clip(lambda clips: vit(clip(batch=clips)), recomputed=recomputed).total

    plain, lean, mlp = total(save_memory=False), total(), total(checkpoint=("mlp",))
    assert total(checkpoint=("conv", "attn", "mlp")) < mlp < lean < plain


def test_in_half_precision_the_savings_stay_near() -> None:
    results = []
    for lean in (True, False):
        vit = randomised([Side4Video(width=64, save_memory=lean)]).train()
        with torch.autocast("cpu", torch.bfloat16):
            results.append(gradients(vit, clip()))
    full = gradients(randomised([Side4Video(width=64)]).train(), clip())
    for name, exact in full.items():
        if exact.norm() < 1e-3:
            continue  # biases before a BatchNorm: rounding
        lean, plain = ((result[name] - exact).norm() / exact.norm() for result in results)
        assert lean < 1.5 * plain + 0.02, name


def test_nothing_of_the_trunk_is_kept() -> None:
    """No saved tensor has a history in the trunk, and blocks that are not tapped add no byte."""
    vit = adapted([Side4Video(width=64)]).train()
    histories: list[str] = []
    in_trunk = {p.untyped_storage().data_ptr() for n, p in vit.named_parameters() if not n.startswith("readers")}

    def pack(tensor: Tensor) -> Tensor:
        assert tensor.untyped_storage().data_ptr() not in in_trunk
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        feature = vit(clip())
    seen, todo = set(), [feature.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [parent for parent, _ in node.next_functions]
            histories += [n for n, p in vit.named_parameters() if p is getattr(node, "variable", None)]
    assert set(histories) == set(trainable(vit))
    assert all(name.startswith("readers.") for name in histories)
    kept = [
        saved_bytes_per_clip(lambda clips: v(clip(batch=clips))).total  # noqa: B023
        for v in (adapted([Side4Video(width=64, taps=[0, 1])], depth=depth).train() for depth in (2, 4))
    ]
    assert kept[0] == kept[1] > 0


def test_beside_a_method_gradients_reach_it_through_the_taps() -> None:
    """By computation: what trains in the trunk learns, from the first block that holds any of it."""
    stack = [STAdapter(bottleneck=8, blocks="last 1"), Side4Video(width=64), LoRA(rank=2, blocks="last 1")]
    vit = randomised(stack).train()
    grads = gradients(vit, clip())
    assert not unreachable(vit)
    assert all(grad is not None and grad.any() for grad in grads.values())
    assert vit.frozen_stages == 2
    assert set(vit.owners.values()) == {"STAdapter", "Side4Video", "LoRA"}


@pytest.mark.parametrize("lean", [True, False])
def test_gradient_through_the_taps(lean: bool) -> None:
    """Against a difference quotient along a random direction of what trains in the trunk."""
    vit = randomised([LoRA(rank=2), Side4Video(width=64, save_memory=lean)]).double().train()
    inside = [p for name, p in trainable(vit).items() if "LoRA" in name]
    torch.manual_seed(0)
    direction = [torch.randn_like(p) for p in inside]
    video = (clip().double() / 255 - vit.pixel_mean) / vit.pixel_std

    def loss(step: float) -> float:
        moved = copy.deepcopy(vit)
        own = [p for name, p in trainable(moved).items() if "LoRA" in name]
        with torch.no_grad():
            for p, d in zip(own, direction, strict=True):
                p += step * d
            return float(_loss(moved, video))

    grads = torch.autograd.grad(_loss(vit, video), inside)
    slope = sum(float((g * d).sum()) for g, d in zip(grads, direction, strict=True))
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4)


def _loss(vit: VideoViT, video: Tensor) -> Tensor:
    """In float64, which ``features`` would round."""
    reader = vit.readers["Side4Video"]
    states = [reader.begin(video, vit.grid)]
    vit.read(lambda: vit.embed(video), vit.grid, states)
    feature = reader.end(states[0])
    return (feature * torch.linspace(-1, 1, feature.numel(), dtype=feature.dtype).view_as(feature)).sum()


def test_two_side_networks_are_averaged() -> None:
    both = adapted([Side4Video(width=64), Side4Video(width=64, taps="odd")])
    assert both(clip()).shape == (2, 64)
    assert list(both.readers) == ["Side4Video", "Side4Video_2"]


def _classifier(seed: int, norm: str = "batch") -> VideoClassifier:
    torch.manual_seed(seed)
    vit = VideoViT("vit_tiny_patch16_224", weights="random", image_size=32, depth=2, num_frames=4)
    return VideoClassifier(vit, [Side4Video(width=64, norm=norm, checkpoint=("mlp",))], ["a", "b", "c"])


def _run_once(model: VideoClassifier) -> None:
    """Give the running averages values of their own."""
    model.train()
    with torch.no_grad():
        model(clip().unsqueeze(1))
    model.eval()


def test_running_averages_are_in_a_checkpoint() -> None:
    source, target = _classifier(0), _classifier(1)
    _run_once(source)
    buffers = {name for name in trainable_keys(source) if "running_" in name}
    assert len(buffers) == 2 * (2 + 2 * 2)  # mean and variance before, behind, and twice in each layer
    target.backbone.load_state_dict(
        {k: v for k, v in source.backbone.state_dict().items() if not k.startswith("readers.")}, strict=False
    )
    load_trainable(target, trainable_state(source))
    video = clip().unsqueeze(1)
    assert torch.equal(source(video), target.eval()(video))


def test_running_averages_are_in_the_artifact(tmp_path: Path) -> None:
    model = _classifier(0)
    _run_once(model)
    torch.manual_seed(0)
    torch.save(VideoViT("vit_tiny_patch16_224", weights="random", depth=2).state_dict(), tmp_path / "trunk.pth")
    write(tmp_path / "a", model.trained(), {"image_size": 32})
    again = load(tmp_path / "a", weights=str(tmp_path / "trunk.pth"))
    video = clip().unsqueeze(1)
    assert torch.equal(again(video), model(video))
    assert again.adapters == model.adapters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 100}, "width 100 is not a multiple of the head width 64"),
        ({"width": 0}, "width 0 must be above zero"),
        ({"checkpoint": ("mlp", "mlp")}, "checkpoint mlp, mlp name one twice"),
        ({"taps": "even"}, "taps: blocks 'even' is not a choice of this trunk; valid: 'all', .*, or 'odd' for 1, 3, 5"),
        ({"taps": []}, r"\[\] is not a choice of this trunk"),
        ({"taps": [2]}, r"\[2\] is not a choice of this trunk"),
    ],
    ids=str,
)
def test_wrong_choices(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapted([Side4Video(**({"width": 64} | options))])


def test_odd_taps_of_one_block() -> None:
    with pytest.raises(ValueError, match="'odd' is not a choice of this trunk"):
        adapted([Side4Video(width=64, taps="odd")], depth=1)


def test_a_trunk_without_class_token() -> None:
    with pytest.raises(ValueError, match="shifts the class token between frames; 'vit_base_patch16_siglip_224' has"):
        adapted([Side4Video(width=64)], name="vit_base_patch16_siglip_224", readout="patch_mean")


def test_registers_are_not_patches() -> None:
    """A trunk with four registers: the side network sees its class token and its patches alone."""
    vit = randomised([Side4Video(width=64)], name="vit_small_patch14_reg4_dinov2", image_size=28)
    seen: list[Tensor] = []
    tap = vit.readers["Side4Video"].taps["1"]
    tap.register_forward_pre_hook(lambda module, args: seen.append(args[0]) or None)
    before = vit(clip(size=28)).detach()
    changed = seen[0].clone()
    changed[:, 1:5] += 1
    tap.register_forward_pre_hook(lambda module, args: (changed, args[1]))
    torch.testing.assert_close(vit(clip(size=28)), before)


def test_one_clip_cannot_train_under_batch_norm() -> None:
    vit = adapted([Side4Video(width=64)]).train()
    with pytest.raises(ValueError, match="batch_size of 2 or more, or norm 'group'"):
        vit(clip(batch=1))
    for other in ({"norm": "group"}, {"form": "eva"}):
        assert adapted([Side4Video(width=64, **other)]).train()(clip(batch=1)).shape == (1, 64)


def test_batch_norm_couples_clips_in_training_and_group_norm_does_not() -> None:
    video, other = clip(batch=3), clip(batch=3)
    other[1] = clip(batch=1, seed=9)[0]
    for norm, coupled in (("batch", True), ("group", False)):
        vit = randomised([Side4Video(width=64, norm=norm)]).train()
        change = (vit(video)[0] - vit(other)[0]).abs().max()
        assert (change > 1e-3) == coupled


def test_holds_nothing_of_a_clip() -> None:
    vit = adapted([Side4Video(width=64)]).train()
    vit(clip())
    assert not [1 for module in vit.readers.modules() for value in vars(module).values() if isinstance(value, Tensor)]
