"""``lightning-petl summary`` tells what a training will cost, and a training tells how far that was off."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.adapters import Adapter, Side4Video, STAdapter
from lightning_petl.backbones import VideoViT
from lightning_petl.summary import Plan, Summary, summarise
from lightning_petl.tasks.classification import VideoClassifier
from tests.runs import Command

PLAN = Plan(clips=2, num_frames=8, image_size=224)
BACKBONE = ["-c", "configs/trainer/one_gpu.yaml", "-c", "configs/backbone/clip_b16.yaml"]
SIDE = [*BACKBONE, "-c", "configs/adapters/side4video.yaml"]


def of(adapter: Adapter, plan: Plan = PLAN, **options: object) -> Summary:
    with torch.device("meta"):
        vit = VideoViT("vit_base_patch16_clip_quickgelu_224", weights="random", **options)
        task = VideoClassifier(vit, [adapter], [str(number) for number in range(174)])
    return summarise(task, plan)


def test_operations_are_those_of_the_formula() -> None:
    """Side4Video's own, 8 frames of B/16: 140.50 of the trunk and 35.19 of the network beside it."""
    assert of(Side4Video()).clip / 1e9 == pytest.approx(175.69, rel=5e-4)
    assert of(Side4Video(taps="odd", width=192)).clip / 1e9 == pytest.approx(148.17, rel=5e-4)


def test_bytes_of_parameters_and_optimiser() -> None:
    summary = of(STAdapter())
    trained = 14_220_288 + 174 * 769
    assert summary.trainable == summary.gradients == 4 * trained
    assert summary.frozen == pytest.approx(4 * 85_798_656, rel=1e-3)
    assert summary.optimizer == pytest.approx(2 * 4 * trained, rel=1e-4)
    assert sum(row.parameters for row in summary.owners) == trained
    assert of(STAdapter(), frozen_dtype="bfloat16").frozen == pytest.approx(2 * 85_798_656, rel=2e-3)


def test_what_travels() -> None:
    one, ddp = of(STAdapter()), of(STAdapter(), Plan(clips=2, num_frames=8, image_size=224, ranks=8, strategy="ddp"))
    dead = (768 + 1) * 384 + (3 + 1) * 384 + (384 + 1) * 768  # in front of the last MLP: it reaches no class token
    assert (one.sent, ddp.sent) == (0, one.trainable - 4 * dead)
    assert ddp.peak == one.peak
    fsdp = of(STAdapter(), Plan(clips=2, num_frames=8, image_size=224, ranks=8, strategy="fsdp"))
    assert fsdp.frozen == pytest.approx(one.frozen / 8, rel=1e-6)
    twice = 12 * (12 * 768 + 13) * 768 + 14_220_288  # blocks and adapters; what is outside stays whole
    # rows are filled up to eight: one of class token and positions, 174 of the head
    once = 8 * (1 + 197) * 768 + (16 * 16 * 3 + 4) * 768 + 176 * 769
    assert fsdp.sent == 4 * (2 * twice + once) + ddp.sent + 4 * 2 * 769
    assert one.saved == fsdp.saved
    assert fsdp.peak < one.peak


def test_recomputed_blocks_are_counted_once() -> None:
    kept = of(STAdapter())
    less = of(STAdapter(), activation_checkpointing=True)
    assert less.saved < kept.saved / 5
    assert 0 < less.recomputed < kept.saved / 8
    assert less.peak < kept.peak / 2


def test_no_data_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["-c", "configs/data/k400.yaml", "--trainer.devices=8", "--trainer.strategy=ddp"]
    assert main(["summary", *SIDE, *flags]) == 0
    out = capsys.readouterr().out
    assert "21,056,832" in out
    assert "128,400" in out, "a head of 400 classes"
    assert "8 clips a pass, bf16-mixed, 8 x ddp" in out
    assert "80.8 MiB" in out


def test_a_folder_without_files_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*SIDE, "-c", "configs/data/folder.yaml", "--data.init_args.root=nowhere"]
    assert main(["summary", *flags]) == 2
    assert "give --num_classes" in capsys.readouterr().err
    assert main(["summary", *flags, "--num_classes=7"]) == 0
    assert f"{321 * 7:,}" in capsys.readouterr().out


@pytest.mark.parametrize("extra", [[], ["--trainer.precision=bf16-mixed"], ["--trainer.accumulate_grad_batches=2"]])
def test_a_run_on_a_cpu_is_within_two_percent(extra: list[str], command: Command) -> None:
    assert main(command("fit", ["--trainer.max_epochs=3", *extra])) == 0
    assert abs(scalar(command.runs / "version_0", "cost/memory_error")) < 0.02
    assert scalar(command.runs / "version_0", "cost/memory_estimate_mib") > 1


@pytest.mark.gpu
@pytest.mark.parametrize("adapter", [STAdapter(), Side4Video()], ids=["ST-Adapter", "Side4Video"])
def test_a_step_on_a_gpu_is_within_ten_percent(adapter: Adapter) -> None:
    plan = Plan(clips=8, num_frames=8, image_size=224, precision="bf16-mixed")
    estimate = of(adapter, plan).peak
    vit = VideoViT("vit_base_patch16_clip_quickgelu_224", weights="random")
    task = VideoClassifier(vit, [adapter], [str(number) for number in range(174)]).cuda()
    optimizer = task.optim.optimizer(dict(task.named_parameters()), task.owners, 1e-3)
    video = torch.zeros(8, 1, 8, 3, 224, 224, dtype=torch.uint8, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        with torch.autocast("cuda", torch.bfloat16):
            task(video).float().logsumexp(-1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert estimate == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.1)


def scalar(run: Path, name: str) -> float:
    events = EventAccumulator(str(run))
    events.Reload()
    return events.Scalars(name)[-1].value
