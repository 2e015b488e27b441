"""Readers beside a frozen trunk: fed block by block, averaged, the only thing that keeps activations."""

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.adapters import VPT, LNTuning, LoRA, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.backbones.readers import Reader
from lightning_petl.shapes import Grid
from tests.tiny import clip, gradients, shake, tiny_vit, trainable

Log = list[tuple[str, tuple[int, ...], bool]]


class _Tap(nn.Module):
    def __init__(self, log: Log, index: str) -> None:
        super().__init__()
        self.index, self.log = index, log
        self.linear = nn.Linear(192, 4)

    def forward(self, x: Tensor, total: Tensor) -> Tensor:
        self.log.append((self.index, tuple(x.shape), x.requires_grad))
        return total + self.linear(x).mean(1)


class _SumOfTaps(Reader):
    """Adds a linear map of the mean token of every tapped block."""

    feature_dim = 4

    def __init__(self, taps: list[int]) -> None:
        super().__init__()
        torch.manual_seed(len(taps))
        self.log: Log = []
        self.taps = nn.ModuleDict(
            {str(index): _Tap(self.log, str(index)) for index in taps}
        )

    def begin(self, video: Tensor, grid: Grid) -> Tensor:
        self.log.append(("begin", tuple(video.shape), video.requires_grad))
        return torch.zeros(len(video) * grid.frames, 4)

    def end(self, total: Tensor) -> Tensor:
        self.log.append(("end", (), False))
        return total.unflatten(0, (2, -1)).mean(1)  # two clips


def _with(*readers: _SumOfTaps, depth: int = 3) -> VideoViT:
    vit = tiny_vit(depth=depth)
    for reader in readers:
        vit.add_reader("Reader", reader)
    return vit


def test_taps_are_called_as_their_block_finishes() -> None:
    reader = _SumOfTaps([0, 2])
    vit = _with(reader)
    blocks: list[int] = []
    for index, block in enumerate(vit.blocks):
        block.register_forward_hook(
            lambda *_, index=index: blocks.append(index) or None
        )
        if str(index) in reader.taps:
            reader.taps[str(index)].register_forward_hook(
                lambda *_, index=index: blocks.append(-index) or None
            )
    vit(clip())
    assert blocks == [0, 0, 1, 2, -2]
    assert [entry[0] for entry in reader.log] == ["begin", "0", "2", "end"]


def test_begin_sees_the_normalised_video_and_taps_all_tokens() -> None:
    reader = _SumOfTaps([1])
    _with(reader)(clip())
    assert reader.log[0][1] == (2, 4, 3, 32, 32)
    assert reader.log[1][1] == (8, 5, 192)


def test_shallow_prompts_are_hidden_from_taps() -> None:
    reader = _SumOfTaps([1])
    vit = _with(reader)
    attach(vit, [VPT(num_prompts=3, deep=False)])
    vit(clip())
    assert reader.log[1][1] == (8, 5, 192)


def test_a_reader_replaces_the_trunks_feature() -> None:
    reader = _SumOfTaps([0, 2])
    vit = _with(reader)
    assert vit.feature_dim == 4
    x = vit.embed((clip().float() / 255 - vit.pixel_mean) / vit.pixel_std)
    expected = torch.zeros(())
    for index, block in enumerate(vit.blocks):
        x = block(x, vit.grid)
        if str(index) in reader.taps:
            expected = expected + reader.taps[str(index)].linear(x).mean(1)
    torch.testing.assert_close(
        vit(clip()), expected.unflatten(0, (2, 4)).mean(1), atol=1e-6, rtol=1e-5
    )


def test_two_readers_are_averaged() -> None:
    first, second = _SumOfTaps([0]), _SumOfTaps([0, 1])
    expected = (_with(first)(clip()) + _with(second)(clip())) / 2
    both = _with(first, second)
    assert list(both.readers) == ["Reader", "Reader_2"]
    torch.testing.assert_close(both(clip()), expected)


def test_gradients_reach_the_reader_and_nothing_else() -> None:
    vit = _with(_SumOfTaps([0, 2]))
    grads = gradients(vit, clip())
    assert all(name.startswith("readers.") for name in grads)
    assert all(grad is not None and grad.any() for grad in grads.values())
    assert not unreachable(vit)


def test_a_frozen_trunk_gives_taps_without_a_graph() -> None:
    reader = _SumOfTaps([0, 1, 2])
    vit = _with(reader)
    vit(clip())
    assert not any(requires_grad for *_, requires_grad in reader.log)
    assert vit.frozen_stages == len(vit.blocks) + 1


def test_beside_a_method_taps_carry_its_gradient() -> None:
    reader = _SumOfTaps([0, 2])
    vit = _with(reader)
    attach(vit, [LoRA(rank=2, blocks=[1])])
    grads = gradients(vit, clip())
    assert {name: flag for name, _, flag in reader.log if name in "02"} == {
        "0": False,
        "2": True,
    }
    assert grads["blocks.1.attn.qkv.deltas.LoRA.B"].any()


def test_behind_the_last_tap_nothing_is_reachable() -> None:
    vit = _with(_SumOfTaps([0, 1]))
    attach(vit, [LoRA(rank=2), LNTuning()])
    shake(trainable(vit).values(), 0.05)
    grads = gradients(vit, clip())
    assert (
        unreachable(vit)
        == {name for name, grad in grads.items() if grad is None or not grad.any()}
        != set()
    )
    assert {name.split(".")[0] for name in unreachable(vit)} == {"blocks", "norm"}


def _kept(vit: VideoViT) -> int:
    """Bytes that the forward pass keeps, parameters aside."""
    weights = {p.untyped_storage().data_ptr() for p in vit.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vit(clip())
    return sum(
        tensor.untyped_storage().nbytes()
        for address, tensor in kept.items()
        if address not in weights
    )


def test_the_trunk_keeps_no_activations() -> None:
    """Only tapped tokens are kept: four blocks more between the taps add nothing."""
    assert (
        _kept(_with(_SumOfTaps([0]), depth=1))
        == _kept(_with(_SumOfTaps([0]), depth=5))
        > 0
    )


def test_reader_trains_and_trunk_evaluates() -> None:
    vit = _with(_SumOfTaps([0])).train()
    assert vit.readers["Reader"].training
    assert not any(module.training for module in vit.blocks.modules())


@pytest.mark.parametrize("frames", [1, 5])
def test_grid_tells_the_frames_of_this_clip(frames: int) -> None:
    vit = _with(_SumOfTaps([0]))
    assert vit(clip(frames=frames)).shape == (2, 4)
    assert trainable(vit)
