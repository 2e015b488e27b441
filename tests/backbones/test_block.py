"""The adopted block is timm's block, and its slots stand where the equation says."""

import pytest
import torch
from timm.models.vision_transformer import Block, ParallelScalingBlock
from torch import Tensor, nn

from lightning_petl.backbones.block import (
    SLOTS,
    AdaptedBlock,
    PromptTable,
    SlotModule,
)
from lightning_petl.backbones.linear import AdaptedLinear
from lightning_petl.shapes import Grid
from tests.tiny import shake

GRID = Grid(frames=2, height=2, width=2, prefix=1)


def _block(**options: float) -> Block:
    torch.manual_seed(0)
    block = Block(32, 4, qkv_bias=True, **options).eval()
    shake(block.parameters(), 0.1)
    return block


def _tokens() -> Tensor:
    return torch.randn(4, 5, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("init_values", [None, 0.1], ids=["plain", "layer_scale"])
def test_adapted_block_is_the_block(init_values: float | None) -> None:
    """A timm upgrade that changes the block must fail here."""
    block = _block(init_values=init_values)
    expected, keys = block(_tokens()), list(block.state_dict())
    ours = AdaptedBlock(block)
    assert torch.equal(ours(_tokens(), GRID), expected)
    assert list(ours.state_dict()) == keys


def test_drop_path_acts_as_in_timm() -> None:
    block = _block(drop_path=0.5).train()
    torch.manual_seed(1)
    expected = block(_tokens())
    torch.manual_seed(1)
    assert torch.equal(AdaptedBlock(block).train()(_tokens(), GRID), expected)


@pytest.mark.parametrize("other", [nn.Identity(), ParallelScalingBlock(32, 4)])
def test_other_blocks_are_refused(other: nn.Module) -> None:
    with pytest.raises(
        TypeError, match=rf"vision_transformer.Block, not {type(other).__name__}"
    ):
        AdaptedBlock(other)


class _Shift(SlotModule):
    """Adds a fraction of what it is given, so that its place shows in the output."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        assert grid == GRID
        return 0.3 * x.roll(1, dims=-1)


def _equation(block: Block, x: Tensor, slot: str) -> Tensor:
    """The block with one module in ``slot``, written out."""

    def d(name: str, z: Tensor) -> Tensor:
        return _Shift()(z, GRID) if name == slot else torch.zeros_like(z)

    x = x + d("before_attn", x)
    h = block.attn(block.norm1(x))
    x = x + block.ls1(h + d("after_attn", h)) + d("beside_attn", x)
    x = x + d("before_mlp", x)
    h = block.mlp(block.norm2(x))
    x = x + block.ls2(h + d("after_mlp", h)) + d("beside_mlp", x)
    return x + d("after_block", x)


@pytest.mark.parametrize("slot", SLOTS)
def test_slot_is_where_the_equation_says(slot: str) -> None:
    block = _block(init_values=0.5)
    expected = _equation(block, _tokens(), slot)
    ours = AdaptedBlock(block)
    ours.add(slot, "shift", _Shift())
    torch.testing.assert_close(
        ours(_tokens(), GRID), expected, atol=1e-6, rtol=1e-6
    )


def test_slots_give_distinct_outputs() -> None:
    outputs = [
        _equation(_block(init_values=0.5), _tokens(), slot) for slot in SLOTS
    ]
    assert all(
        (a - b).abs().max() > 1e-3
        for i, a in enumerate(outputs)
        for b in outputs[:i]
    )


def test_modules_of_one_slot_are_summed_under_their_own_names() -> None:
    once, twice = AdaptedBlock(_block()), AdaptedBlock(_block())
    once.add("after_block", "shift", _Shift())
    for _ in range(3):
        twice.add("after_block", "shift", _Shift())
    assert list(twice.slots["after_block"]) == ["shift", "shift_2", "shift_3"]


def test_linear_is_opened_once() -> None:
    ours = AdaptedBlock(_block())
    keys = list(ours.state_dict())
    assert isinstance(ours.linear("attn.qkv"), AdaptedLinear)
    assert ours.linear("attn.qkv") is ours.linear("attn.qkv")
    assert list(ours.state_dict()) == keys


def test_what_is_no_linear_takes_no_delta() -> None:
    with pytest.raises(TypeError, match="norm1 is a LayerNorm, not a linear layer"):
        AdaptedBlock(_block()).linear("norm1")


def test_prompts_reach_attention_and_leave_it() -> None:
    block = _block()
    rows = torch.randn(3, 32)
    x = _tokens()
    longer = torch.cat([x, rows.expand(4, -1, -1)], dim=1)
    h = x + block.attn(block.norm1(longer))[:, :5]
    expected = h + block.mlp(block.norm2(h))
    ours = AdaptedBlock(block)
    ours.add_prompt("prompt", PromptTable(rows, 0.0))
    torch.testing.assert_close(ours(x, GRID), expected, atol=1e-6, rtol=1e-6)
