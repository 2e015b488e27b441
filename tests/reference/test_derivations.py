"""Methods against forwards written out from their papers, in another form than ours."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_petl.adapters import (
    VPT,
    AdaptFormer,
    LvAdapter,
    MultiTuneV,
    STAdapter,
)
from lightning_petl.adapters.adapter import Adapter
from lightning_petl.adapters.st_adapter import SpatioTemporalBottleneck
from lightning_petl.backbones import VideoViT
from lightning_petl.shapes import Grid
from tests.laws.methods import METHODS
from tests.tiny import adapted, clip, randomised, shake

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def _embedded(vit: VideoViT, video: Tensor) -> Tensor:
    return vit.embed((video.float() / 255 - vit.pixel_mean) / vit.pixel_std)


def _feature(vit: VideoViT, x: Tensor, frames: int = 4) -> Tensor:
    return vit.norm(x[:, 0]).unflatten(0, (-1, frames)).mean(1)


def _attention(
    attn: torch.nn.Module, x: Tensor, qkv: Tensor | None = None
) -> Tensor:
    """Softmax attention head by head, without timm's fused kernel."""
    d = x.shape[-1]
    q, k, v = (qkv if qkv is not None else attn.qkv(x)).split(d, dim=-1)
    size = d // attn.num_heads
    heads = []
    for start in range(0, d, size):
        part = slice(start, start + size)
        weights = (
            q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(size)
        ).softmax(-1)
        heads.append(weights @ v[..., part])
    return attn.proj(torch.cat(heads, dim=-1))


def _bottleneck(module: torch.nn.Module, x: Tensor, scale: float) -> Tensor:
    hidden = torch.relu(x @ module.down.weight.T + module.down.bias)
    return scale * (hidden @ module.up.weight.T + module.up.bias)


@pytest.mark.parametrize("placement", ["parallel", "sequential", "after_block"])
def test_adapt_former(placement: str) -> None:
    vit = randomised([AdaptFormer(bottleneck=8, placement=placement, scale=0.3)])
    slot = {
        "parallel": "beside_mlp",
        "sequential": "after_mlp",
        "after_block": "after_block",
    }[placement]
    x = _embedded(vit, clip())
    for block in vit.blocks:
        module = block.slots[slot]["AdaptFormer"]
        x = x + _attention(block.attn, block.norm1(x))
        h = block.mlp(block.norm2(x))
        if placement == "parallel":
            x = x + h + _bottleneck(module, x, 0.3)
        elif placement == "sequential":
            x = x + h + _bottleneck(module, h, 0.3)
        else:
            x = x + h
            x = x + _bottleneck(module, x, 0.3)
    torch.testing.assert_close(vit(clip()), _feature(vit, x), **CLOSE)


def test_vpt_deep_with_prompts_behind_the_class_token() -> None:
    """The paper's order: prompts between class token and patches, replaced before every block."""
    vit = randomised([VPT(num_prompts=3)])
    x = _embedded(vit, clip())
    for block in vit.blocks:
        rows = block.prompts["VPT"].rows.expand(len(x), -1, -1)
        y = torch.cat([x[:, :1], rows, x[:, 1:]], dim=1)
        y = y + _attention(block.attn, block.norm1(y))
        y = y + block.mlp(block.norm2(y))
        x = torch.cat([y[:, :1], y[:, 4:]], dim=1)
    torch.testing.assert_close(vit(clip()), _feature(vit, x), atol=1e-6, rtol=1e-5)


def test_vpt_shallow_with_prompts_behind_the_class_token() -> None:
    vit = randomised([VPT(num_prompts=3, deep=False)])
    rows = vit.prompts["VPT"].rows
    x = _embedded(vit, clip())[:, :-3]
    x = torch.cat([x[:, :1], rows.expand(len(x), -1, -1), x[:, 1:]], dim=1)
    for block in vit.blocks:
        x = x + _attention(block.attn, block.norm1(x))
        x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(vit(clip()), _feature(vit, x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("adapter", "bound"),
    [
        (VPT(num_prompts=5), math.sqrt(6 / (3 * 256 + 192))),
        (VPT(num_prompts=5, init="xavier"), math.sqrt(6 / (6 * 192))),
    ],
    ids=["uniform", "xavier"],
)
def test_vpt_init_is_uniform(adapter: VPT, bound: float) -> None:
    rows = torch.cat(
        [block.prompts["VPT"].rows.detach() for block in adapted([adapter]).blocks]
    )
    assert rows.abs().max() <= bound
    assert rows.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not torch.equal(rows[:5], rows[5:])


def _loop(module: SpatioTemporalBottleneck, x: Tensor, grid: Grid) -> Tensor:
    """The depthwise convolution as a sum over offsets, zero outside the clip."""
    t, h, w = grid.frames, grid.height, grid.width
    z = module.down(x[:, grid.patches]).view(-1, t, h, w, module.down.out_features)
    kernel = module.conv.weight[:, 0]
    out = torch.zeros_like(z) + module.conv.bias
    reach = [size // 2 for size in kernel.shape[1:]]
    padded = F.pad(
        z, (0, 0, *(side for size in reversed(reach) for side in (size, size)))
    )
    for i in range(kernel.shape[1]):
        for j in range(kernel.shape[2]):
            for k in range(kernel.shape[3]):
                out = (
                    out
                    + kernel[:, i, j, k]
                    * padded[:, i : i + t, j : j + h, k : k + w]
                )
    out = module.activation(out)
    y = torch.zeros_like(x)
    y[:, grid.patches] = module.up(out).view(len(x), h * w, -1)
    return y


@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 3, 3), (5, 1, 3), (1, 1, 1)])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_st_adapter_module(kernel: tuple[int, int, int], activation: str) -> None:
    torch.manual_seed(0)
    grid = Grid(frames=3, height=2, width=4, prefix=2)
    module = SpatioTemporalBottleneck(16, 6, kernel, activation)
    shake(module.parameters(), 0.3)
    x = torch.randn(
        6, 2 + 8 + 1, 16
    )  # two prefix rows, patches, and a shallow prompt behind them
    before = x.clone()
    torch.testing.assert_close(
        module(x, grid), _loop(module, x, grid), atol=1e-6, rtol=1e-5
    )
    assert torch.equal(x, before)


def test_st_adapter_of_one_frame_is_the_centre_tap() -> None:
    torch.manual_seed(0)
    grid = Grid(frames=1, height=2, width=2, prefix=1)
    module = SpatioTemporalBottleneck(16, 6, (3, 1, 1), "none")
    shake(module.parameters(), 0.3)
    x = torch.randn(2, 5, 16)
    centre = module.conv.weight[:, 0, 1, 0, 0]
    expected = module.up(module.down(x[:, 1:]) * centre + module.conv.bias)
    torch.testing.assert_close(module(x, grid)[:, 1:], expected)
    assert not module(x, grid)[:, 0].any()


def test_st_adapter_first_gradients() -> None:
    """At init only the convolution and the last bias learn; the linears follow one step later, as published."""
    vit = adapted([STAdapter(bottleneck=8)])
    vit(clip()).square().sum().backward()
    grads = {
        n.split(".", 5)[5]: p.grad
        for n, p in vit.named_parameters()
        if n.startswith("blocks.0.slots.before_mlp")
    }
    learning = {
        name for name, grad in grads.items() if grad is not None and grad.any()
    }
    assert learning == {"conv.weight", "conv.bias", "up.bias"}


@pytest.mark.parametrize("vector_on", ["frozen_branch", "adapter_branch", "both"])
def test_lv_adapter(vector_on: str) -> None:
    vit = randomised([LvAdapter(bottleneck=8, vector_on=vector_on, scale=0.3)])
    x = _embedded(vit, clip())
    for block in vit.blocks:
        x = x + _attention(block.attn, block.norm1(x))
        deltas = getattr(block.mlp.fc2, "deltas", {})
        module = block.slots["beside_mlp"]["LvAdapter"]
        hidden = F.gelu(block.mlp.fc1(block.norm2(x)))
        frozen = hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        frozen = (
            frozen * deltas["LvAdapter"].vector
            if vector_on != "adapter_branch"
            else frozen
        )
        learned = _bottleneck(module, x, 0.3)
        x = (
            x
            + frozen
            + (learned if vector_on == "frozen_branch" else module.vector * learned)
        )
    torch.testing.assert_close(vit(clip()), _feature(vit, x), **CLOSE)


def test_multi_tunev_as_drawn() -> None:
    """The figure, bottom to top, with the prompts behind the class token."""
    vit = randomised(METHODS["multi_tunev"])
    x = _embedded(vit, clip())
    grid = vit.grid
    for block in vit.blocks:
        x1 = x + _loop(block.slots["before_attn"]["STAdapter"], x, grid)
        rows = block.prompts["VPT"].rows.expand(len(x), -1, -1)
        h = block.norm1(torch.cat([x1[:, :1], rows, x1[:, 1:]], dim=1))
        lora = block.attn.qkv.deltas["LoRA"]
        weight = block.attn.qkv.weight + 2 * torch.cat(
            list(lora.B @ lora.A)
        )  # alpha / rank = 8 / 4
        h = _attention(block.attn, h, h @ weight.T + block.attn.qkv.bias)
        x2 = x1 + torch.cat([h[:, :1], h[:, 3:]], dim=1)
        x3 = x2 + _loop(block.slots["before_mlp"]["STAdapter"], x2, grid)
        x4 = x3 + block.mlp(block.norm2(x3))
        x = x4 + _bottleneck(block.slots["after_block"]["AdaptFormer"], x4, 1.0)
    torch.testing.assert_close(vit(clip()), _feature(vit, x), **CLOSE)


def test_multi_tunev_puts_its_parts_into_its_blocks() -> None:
    parts: list[Adapter] = list(MultiTuneV(blocks="last 4").parts())
    assert [getattr(part, "blocks", None) for part in parts] == ["last 4"] * 5


def test_projected_prompts_are_prompts() -> None:
    projected, plain = (
        randomised([VPT(num_prompts=3, project=5)]),
        adapted([VPT(num_prompts=3)]),
    )
    linear = projected.shared["VPT"]
    for block, other in zip(plain.blocks, projected.blocks, strict=True):
        rows = other.prompts["VPT"].rows @ linear.weight.T + linear.bias
        block.prompts["VPT"].rows.data.copy_(rows)
    torch.testing.assert_close(projected(clip()), plain(clip()))


def test_prompt_projection_starts_as_published() -> None:
    vit = adapted([VPT(num_prompts=400, project=96)])
    # kaiming normal, fan out: std = sqrt(2 / D); the error of a deviation from n draws is std / sqrt(2 n)
    std = math.sqrt(2 / vit.dim)
    assert vit.shared["VPT"].weight.std().item() == pytest.approx(
        std, abs=4 * std / math.sqrt(2 * 96 * vit.dim)
    )
    bound = math.sqrt(6 / (3 * 256 + 96))
    assert vit.blocks[0].prompts["VPT"].rows.abs().max().item() == pytest.approx(
        bound, rel=0.01
    )
