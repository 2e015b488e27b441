"""The small run on a GPU, under each precision."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lightning_petl.__main__ import main
from tests.commands import Command
from tests.tasks.ranks import on_ranks, scalars

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fit_test_and_resume(command: Command, precision: str, dtype: str) -> None:
    flags = [
        "--trainer.accelerator=gpu", "--trainer.devices=1", f"--trainer.precision={precision}",
        f"--model.backbone.frozen_dtype={dtype}", "--model.adapters+=STAdapter", "--model.adapters+=VPT",
        "--model.adapters+=BitFit", "--model.adapters+=AdaptFormer",
    ]  # fmt: skip
    checkpoint = (
        f"--ckpt_path={command.runs / 'version_0' / 'checkpoints' / 'last.ckpt'}"
    )
    assert main(command("fit", flags)) == 0
    assert main(command("test", [*flags, checkpoint])) == 0
    assert main(command("fit", [*flags, checkpoint, "--trainer.max_epochs=2"])) == 0


EVERY_UPDATE = [
    "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null",
    "--trainer.max_epochs=3", "--data.batch_size=1", "--model.optim.algorithm=sgd", "--model.optim.lr=0.1",
    "--model.optim.weight_decay=0", "--model.optim.momentum=0", "--model.optim.schedule.decay=constant",
    "--model.head.dropout=0",
]  # fmt: skip


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    path = next((run / "checkpoints").glob(f"*step={step}.ckpt"))
    return torch.load(path, weights_only=True, map_location="cpu")["state_dict"]


def fit_on_all(command: Command, strategy: str, flags: list[str]) -> Path:
    """A run on all GPUs of this machine, in processes of their own."""
    call = command("fit", [*EVERY_UPDATE, f"--trainer.strategy={strategy}", *flags])
    on_ranks([call], torch.cuda.device_count(), "gpu")
    return command.runs / "version_0"


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_clipped_gradient_is_that_of_the_unscaled_loss(
    command: Command, strategy: str, precision: str
) -> None:
    """A step of SGD is lr times the clipping norm long; one that float16 skips for an overflow has no length."""
    run = fit_on_all(
        command,
        strategy,
        [f"--trainer.precision={precision}", "--trainer.gradient_clip_val=0.01"],
    )
    states = [weights(run, step) for step in range(1, 6)]
    assert {value.dtype for state in states for value in state.values()} == {
        torch.float32
    }
    steps = [
        torch.cat([(behind[name] - before[name]).flatten() for name in before])
        .norm()
        .item()
        for before, behind in pairwise(states)
    ]
    taken = [length for length in steps if length > 0]
    assert len(taken) >= (1 if precision == "16-mixed" else 4)
    assert taken == pytest.approx([1e-3] * len(taken), rel=5e-3)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_averaged_compiled_and_stored_in_bfloat16(
    command: Command, strategy: str, precision: str
) -> None:
    flags = [
        f"--trainer.precision={precision}", "--model.backbone.frozen_dtype=bfloat16", "--trainer.callbacks+=EMA",
        "--trainer.callbacks+=CompileBlocks", "--model.backbone.activation_checkpointing=true",
        "--model.optim.global_batch=" + str(2 * torch.cuda.device_count()),
    ]  # fmt: skip
    run = fit_on_all(command, strategy, flags)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    averages = checkpoint["callbacks"]["EMA"]["average"]
    assert averages.keys() == checkpoint["state_dict"].keys()
    assert all(bool(value.isfinite().all()) for value in averages.values())
    assert all(math.isfinite(loss) for loss in scalars(run, "val/loss"))
    if strategy == "ddp":
        travel = sum(
            4 * value.numel() for value in checkpoint["state_dict"].values()
        )
        assert set(scalars(run, "z_cost/gradient_bytes_per_step")) == {travel}
