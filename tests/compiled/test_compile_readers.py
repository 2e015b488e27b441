"""Readers compile tap by tap, in one graph each, and export with their trunk."""

import pytest
import torch

from tests.laws.methods import METHODS
from tests.tiny import clip, gradients, randomised

pytestmark = [
    # torch's own tracing reads .grad of the tokens that enter a module, to learn whether they have one
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),
    # and makes an object of each autograd function that it meets
    pytest.mark.filterwarnings(
        "ignore:.*Function'> should not be instantiated:DeprecationWarning"
    ),
]
READERS = ["m_adapter", "m_adapter_tree", "m_adapter_parallel", "m_adapter_attention", "m_adapter_shift",
           "attentive_probe", "attentive_probe_frames"]  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("method", READERS)
def test_compiled_parts_equal_eager(method: str) -> None:
    eager, compiled = (randomised(METHODS[method]) for _ in range(2))
    expected, gradients_expected = eager(clip()).detach(), gradients(eager, clip())
    for reader in compiled.readers.values():
        for part in (
            *reader.taps.values(),
            *getattr(reader, "blocks", ()),
            *reader.children(),
        ):
            if not isinstance(part, torch.nn.ModuleDict | torch.nn.ModuleList):
                part.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(clip()).detach(), expected, atol=1e-6, rtol=1e-6
    )
    for name, gradient in gradients(compiled, clip()).items():
        torch.testing.assert_close(
            gradient, gradients_expected[name], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("method", READERS)
def test_exported_program_equals_the_model(method: str) -> None:
    vit = randomised(METHODS[method])
    with torch.no_grad():
        program = torch.export.export(vit, (clip(),))
        torch.testing.assert_close(
            program.module()(clip(seed=1)), vit(clip(seed=1)), atol=1e-6, rtol=1e-5
        )
