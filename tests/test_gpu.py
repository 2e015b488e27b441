"""The small run on a GPU, under each precision."""

import pytest
import torch

from lightning_petl.__main__ import main
from tests.runs import Command

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fit_test_and_resume(command: Command, precision: str, dtype: str) -> None:
    flags = [
        "--trainer.accelerator=gpu", "--trainer.devices=1", f"--trainer.precision={precision}",
        f"--model.backbone.frozen_dtype={dtype}", "--model.adapters+=STAdapter", "--model.adapters+=VPT",
        "--model.adapters+=BitFit", "--model.adapters+=AdaptFormer",
    ]  # fmt: skip
    checkpoint = f"--ckpt_path={command.runs / 'version_0' / 'checkpoints' / 'last.ckpt'}"
    assert main(command("fit", flags)) == 0
    assert main(command("test", [*flags, checkpoint])) == 0
    assert main(command("fit", [*flags, checkpoint, "--trainer.max_epochs=2"])) == 0
