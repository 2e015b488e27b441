"""Compiled equals eager, in one graph, and a whole model exports.

These run in a process of their own: the shape checker's wrappers break ``fullgraph``.
"""

import pytest
import torch
from torch import Tensor, nn

from lightning_petl.backbones import VideoViT
from tests.laws.methods import METHODS
from tests.tiny import clip, gradients, randomised

pytestmark = [
    # torch's own tracing reads .grad of the tokens that enter a block, to learn whether they have one
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),
    # and makes an object of each autograd function that it meets
    pytest.mark.filterwarnings(
        "ignore:.*Function'> should not be instantiated:DeprecationWarning"
    ),
]
# every kind of module once; other settings of a method trace the same code
CHECKED = [
    "bitfit_q_fc2",
    "vpt_project",
    "lora_shared",
    "pissa_dora",
    "lv_adapter_both_sites",
    "adapt_former_norm_out",
    "multi_tunev",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "full_fine_tuning",
            "vpt_shallow",
            "vpt_xavier",
            "lora_all_dropout",
            "dora",
            "pissa",
            "st_adapter",
            "st_adapter_333",
            "adapt_former_learnable",
            "adapt_former_after_block",
        )
    ),
]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("method", CHECKED)
def test_compiled_block_equals_eager(method: str) -> None:
    vit = randomised(METHODS[method])
    expected, gradients_expected = vit(clip()).detach(), gradients(vit, clip())
    for block in vit.blocks:
        block.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(vit(clip()).detach(), expected, atol=1e-6, rtol=1e-6)
    for name, gradient in gradients(vit, clip()).items():
        torch.testing.assert_close(
            gradient, gradients_expected[name], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    "method",
    [
        "side4video",
        pytest.param("side4video_light", marks=pytest.mark.slow),
        pytest.param("side4video_group", marks=pytest.mark.slow),
        pytest.param("side4video_eva", marks=pytest.mark.slow),
    ],
)
def test_compiled_tap_equals_eager(method: str, training: bool) -> None:
    eager, compiled = (
        randomised(METHODS[method]).train(training) for _ in range(2)
    )
    expected, gradients_expected = eager(clip()).detach(), gradients(eager, clip())
    for tap in compiled.readers["Side4Video"].taps.values():
        tap.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(clip()).detach(), expected, atol=1e-6, rtol=1e-6
    )
    for name, gradient in gradients(compiled, clip()).items():
        torch.testing.assert_close(
            gradient, gradients_expected[name], atol=1e-5, rtol=1e-5
        )
    for name, buffer in compiled.named_buffers():
        torch.testing.assert_close(buffer, eager.get_buffer(name))


@pytest.mark.parametrize("method", ["multi_tunev", "dora", "st_adapter"])
def test_blocks_share_graphs(method: str) -> None:
    """Twelve blocks must not mean twelve compilations."""
    vit = randomised(METHODS[method], depth=6)
    graphs: list[torch.fx.GraphModule] = []

    def count(
        graph: torch.fx.GraphModule, inputs: list[Tensor]
    ) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    for block in vit.blocks:
        block.compile(fullgraph=True, backend=count)
    vit(clip())
    assert 1 <= len(graphs) <= 2


class _Classifier(nn.Module):
    def __init__(self, backbone: VideoViT) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(backbone.feature_dim, 5)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.backbone(video))


@pytest.mark.parametrize(
    "method",
    ["multi_tunev", "st_adapter", "dora", "vpt_shallow", "lora_qv", "side4video"],
)
def test_exported_program_equals_the_model(method: str) -> None:
    model = _Classifier(randomised(METHODS[method])).eval()
    with torch.no_grad():
        program = torch.export.export(model, (clip(),))
        torch.testing.assert_close(
            program.module()(clip(seed=1)),
            model(clip(seed=1)),
            atol=1e-6,
            rtol=1e-5,
        )


def test_exported_program_after_folding_holds_no_delta() -> None:
    vit = randomised(METHODS["multi_tunev"])
    vit.fold()
    program = torch.export.export(vit, (clip(),))
    assert not any("delta" in name for name in program.state_dict)
    torch.testing.assert_close(
        program.module()(clip()), vit(clip()), atol=1e-6, rtol=1e-5
    )


def test_export_with_any_number_of_clips() -> None:
    vit = randomised(METHODS["multi_tunev"])
    dynamic = ({0: torch.export.Dim("clips", min=1, max=64)},)
    with torch.no_grad():
        program = torch.export.export(vit, (clip(batch=3),), dynamic_shapes=dynamic)
        torch.testing.assert_close(
            program.module()(clip(batch=5)),
            vit(clip(batch=5)),
            atol=1e-6,
            rtol=1e-5,
        )
