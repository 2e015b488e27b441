"""EVA blocks compile in one graph, as the others do, and AIM's second pass through the attention with them."""

import pytest
import torch

from lightning_petl.adapters import AIM, Adapter, LoRA, MultiTuneV, attach
from lightning_petl.backbones import VideoViT
from tests.families import toy_vit
from tests.tiny import clip, gradients, shake, trainable

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)
STACKS: dict[str, list[Adapter]] = {
    "aim": [AIM(temporal_adapters=2, bottleneck=8)],
    "dora": [LoRA(rank=2, dora=True)],
    "multi_tunev": [MultiTuneV()],
}


def _vit(name: str, stack: str) -> VideoViT:
    torch.manual_seed(0)
    vit = toy_vit(name)
    attach(vit, STACKS[stack])
    shake(trainable(vit).values(), 0.05)
    return vit


@pytest.mark.parametrize(
    "name",
    [
        "eva02_base_patch16_clip_224",
        pytest.param("eva02_tiny_patch14_224", marks=pytest.mark.slow),
        pytest.param("eva02_enormous_patch14_clip_224", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("stack", STACKS)
def test_compiled_block_equals_eager(name: str, stack: str) -> None:
    torch.compiler.reset()
    vit = _vit(name, stack)
    expected, gradients_expected = vit(clip()).detach(), gradients(vit, clip())
    for block in vit.blocks:
        block.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(vit(clip()).detach(), expected, atol=1e-6, rtol=1e-6)
    for key, gradient in gradients(vit, clip()).items():
        torch.testing.assert_close(
            gradient, gradients_expected[key], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    "name", ["eva02_base_patch16_clip_224", "eva02_tiny_patch14_224"]
)
def test_exported_program_equals_the_model(name: str) -> None:
    vit = _vit(name, "aim")
    with torch.no_grad():
        program = torch.export.export(vit, (clip(),))
        torch.testing.assert_close(
            program.module()(clip(seed=1)), vit(clip(seed=1)), atol=1e-6, rtol=1e-5
        )
