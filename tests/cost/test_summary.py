"""``lightning-petl summary`` tells what a training will cost, and a training tells how far that was off."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_petl.__main__ import main
from lightning_petl.adapters import Adapter, FullFineTuning, Side4Video, STAdapter
from lightning_petl.backbones import VideoViT
from lightning_petl.cost.summary import Summary, TrainingPlan, summarize
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import Command
from tests.tasks.ranks import on_ranks

PLAN = TrainingPlan(clips=2, num_frames=8, image_size=224)
# blocks of ViT-B/16: what one block costs, all of them cost
DEPTH = 3
# an ST-Adapter at one of its two sites
SITE = (768 + 1) * 384 + (3 + 1) * 384 + (384 + 1) * 768
HEAD = 174 * 769
WITHOUT_BLOCKS = 85_798_656 - 12 * (12 * 768 + 13) * 768


def frozen(depth: int) -> int:
    """Count the weights of CLIP's ViT-B/16 with so many of its 12 blocks."""
    return WITHOUT_BLOCKS + depth * (12 * 768 + 13) * 768


BACKBONE = [
    "-c",
    "configs/trainer/one_gpu.yaml",
    "-c",
    "configs/backbone/clip_b16.yaml",
]
SIDE = [*BACKBONE, "-c", "configs/adapters/side4video.yaml"]


@cache
def of(
    adapter: Adapter,
    plan: TrainingPlan = PLAN,
    depth: int = DEPTH,
    **options: object,
) -> Summary:
    with torch.device("meta"):
        vit = VideoViT(
            "vit_base_patch16_clip_quickgelu_224",
            weights="random",
            depth=depth,
            **options,
        )
        task = VideoClassifier(
            vit, [adapter], [str(number) for number in range(174)]
        )
    return summarize(task, plan)


def test_operations_are_those_of_the_formula() -> None:
    """Side4Video's own, 8 frames of B/16: 140.50 of the trunk and 35.19 of the network beside it."""
    whole = of(Side4Video(), depth=12)
    assert whole.clip / 1e9 == pytest.approx(175.69, rel=5e-4)
    light = of(Side4Video(taps="odd", width=192), depth=12)
    assert light.clip / 1e9 == pytest.approx(148.17, rel=5e-4)


def test_bytes_of_parameters_and_optimiser() -> None:
    summary = of(STAdapter())
    trained = DEPTH * 2 * SITE + HEAD
    assert summary.trainable == summary.gradients == 4 * trained
    assert summary.frozen == pytest.approx(4 * frozen(DEPTH), rel=1e-3)
    assert summary.optimizer == pytest.approx(2 * 4 * trained, rel=1e-4)
    assert sum(row.parameters for row in summary.owners) == trained
    assert of(STAdapter(), frozen_dtype="bfloat16").frozen == pytest.approx(
        2 * frozen(DEPTH), rel=2e-3
    )


def test_what_travels() -> None:
    one, ddp = (
        of(STAdapter()),
        of(
            STAdapter(),
            TrainingPlan(
                clips=2, num_frames=8, image_size=224, ranks=8, strategy="ddp"
            ),
        ),
    )
    # in front of the last MLP: it reaches no class token
    assert (one.sent, ddp.sent) == (0, one.trainable - 4 * SITE)
    fsdp = of(
        STAdapter(),
        TrainingPlan(
            clips=2, num_frames=8, image_size=224, ranks=8, strategy="fsdp"
        ),
    )
    # but for the one row of class token and positions, and statistics of pixels
    assert fsdp.frozen == pytest.approx(
        one.frozen / 8 + 7 / 8 * 4 * (1 + 197) * 768, rel=1e-5
    )
    # blocks and adapters; what is outside stays whole
    twice = DEPTH * ((12 * 768 + 13) * 768 + 2 * SITE)
    # rows are filled up to eight: one of class token and positions, 174 of the head
    once = 8 * (1 + 197) * 768 + (16 * 16 * 3 + 4) * 768 + 176 * 769
    assert fsdp.sent == 4 * (2 * twice + once) + ddp.sent + 4 * 2 * 769
    assert one.saved == fsdp.saved
    assert fsdp.peak < one.peak


def test_gradients_that_stay_are_counted_beside_what_is_saved() -> None:
    """DDP's buckets outlive ``zero_grad``; a second pass runs beside the gradients of the first."""
    clip = {"clips": 1, "num_frames": 1, "image_size": 224}
    one, ddp = (
        of(FullFineTuning(), TrainingPlan(**clip, **more))
        for more in ({}, {"strategy": "ddp", "ranks": 2})
    )
    twice = of(FullFineTuning(), TrainingPlan(**clip, passes=2))
    assert ddp.gradients == ddp.trainable
    assert ddp.peak == twice.peak
    assert (
        ddp.peak > ddp.frozen + 4 * ddp.trainable + ddp.saved
    )  # weights, gradients, two moments
    assert (
        one.peak < ddp.peak <= one.peak + one.gradients + 512 * 200
    )  # 200 tensors in whole blocks
    assert (
        of(
            STAdapter(),
            TrainingPlan(clips=2, num_frames=8, image_size=224, passes=2),
        ).sent
        == 0
    )


def test_gradients_of_an_accumulated_update_are_whole_under_fsdp() -> None:
    shared = {
        "clips": 2,
        "num_frames": 8,
        "image_size": 224,
        "ranks": 8,
        "strategy": "fsdp",
    }
    one, more = (
        of(STAdapter(), TrainingPlan(**shared)),
        of(STAdapter(), TrainingPlan(**shared, passes=4)),
    )
    assert more.gradients == of(STAdapter()).gradients
    assert more.peak - one.peak == more.gradients - one.gradients > 0


def test_an_average_is_what_trains_once_more() -> None:
    """And the statistics of its BatchNorms: two numbers a channel."""
    plain, averaged = (
        of(Side4Video(), replace(PLAN, averaged=on)) for on in (False, True)
    )
    # two in each layer, one behind the stem, one at the end
    norms = 2 * DEPTH + 2
    assert averaged.averages == plain.trainable + 4 * norms * 2 * 320
    assert (
        averaged.peak - plain.peak
        == averaged.counted - plain.counted
        == averaged.averages
    )


def test_recomputed_blocks_are_counted_once() -> None:
    kept = of(STAdapter(), depth=12)
    less = of(STAdapter(), depth=12, activation_checkpointing=True)
    assert less.saved < kept.saved / 5
    assert 0 < less.recomputed < kept.saved / 8
    assert less.peak < kept.peak / 2


def test_no_data_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "-c",
        "configs/data/k400.yaml",
        "--trainer.devices=8",
        "--trainer.strategy=ddp",
    ]
    assert main(["summary", *SIDE, *flags]) == 0
    out = capsys.readouterr().out
    assert "21,056,832" in out
    assert "128,400" in out, "a head of 400 classes"
    assert "8 clips a pass, bf16-mixed, 8 x ddp" in out
    assert "80.8 MiB" in out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--trainer.devices=0,1", "--trainer.precision=16"],
            "4 clips a pass, 16-mixed, 2 x ddp",
        ),
        (
            ["--trainer.devices=[0,1,2]", "--trainer.precision=bf16"],
            "4 clips a pass, bf16-mixed, 3 x ddp",
        ),
        (
            ["--trainer.devices=2", "--trainer.strategy=FSDP"],
            "4 clips a pass, 32-true, 2 x fsdp",
        ),
        (
            [
                "--trainer.devices=4",
                "--trainer.num_nodes=2",
                "--trainer.strategy=ddp",
            ],
            "4 clips a pass, 32-true, 8 x ddp",
        ),
        (
            ["--trainer.accumulate_grad_batches=2"],
            "4 clips a pass, 32-true, one device, 2 passes an update",
        ),
        (
            ["--model.optim.global_batch=16", "--trainer.devices=2"],
            "32-true, 2 x ddp, 2 passes an update",
        ),
        (["--trainer.callbacks+=EMA"], "averages"),
    ],
)
def test_flags_mean_what_they_mean_in_fit(
    flags: list[str],
    told: str,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cpu = [
        "summary",
        "--config",
        str(command.config),
        "--num_classes=2",
        "--data.batch_size=4",
    ]
    assert main([*cpu, *flags]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert told in out
    assert "KiB" in out
    assert " 0.0 MiB" not in out


@pytest.mark.skipif(
    torch.accelerator.is_available(), reason="its devices can be counted"
)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_devices_that_cannot_be_counted_are_asked_for(
    strategy: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        f"--config={command.config}",
        "--config",
        f"configs/trainer/{strategy}.yaml",
        "--num_classes=2",
    ]
    assert main(["summary", *flags]) == 2
    assert (
        "this machine has no GPU to count: give --trainer.devices"
        in capsys.readouterr().err.splitlines()[-1]
    )
    assert main(["summary", *flags, "--trainer.devices=several"]) == 2
    assert (
        "expected a number, a list as 0,1, or auto"
        in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_folder_without_files_says_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = [
        *SIDE,
        "-c",
        "configs/data/folder.yaml",
        "--data.init_args.root=nowhere",
        "--model.backbone.depth=2",
    ]
    assert main(["summary", *flags]) == 2
    assert "give --num_classes" in capsys.readouterr().err
    assert main(["summary", *flags, "--num_classes=7"]) == 0
    assert f"{321 * 7:,}" in capsys.readouterr().out


WHOLE = ["--model.adapters=[FullFineTuning]", "--trainer.callbacks+=EMA"]
SIDE_OF_64 = ["--model.adapters=[Side4Video]", "--model.adapters.width=64"]


@pytest.mark.parametrize(
    "extra",
    [[], ["--trainer.precision=bf16-mixed"], ["--trainer.accumulate_grad_batches=2"], WHOLE, SIDE_OF_64,
     ["--model.adapters=[STAdapter]", "--model.backbone.activation_checkpointing=true"]],
)  # fmt: skip
def test_a_run_on_a_cpu_is_within_two_percent(
    extra: list[str], command: Command
) -> None:
    assert main(command("fit", ["--trainer.max_epochs=3", *extra])) == 0
    assert abs(scalar(command.runs / "version_0", "z_cost/memory_error")) < 0.02
    assert scalar(command.runs / "version_0", "z_cost/memory_estimate_mib") > 1


def test_a_run_that_goes_on_checks_itself_again_in_the_row_of_its_last_step(
    command: Command,
) -> None:
    """Three updates an epoch; a resume writes again what came behind its checkpoint, as the first check did."""
    for epochs, last in ((2, 5), (5, 14)):
        flags = [
            f"--trainer.max_epochs={epochs}",
            f"--run_folder={command.runs / 'one'}",
        ]
        assert main(command("fit", flags)) == 0
        events = EventAccumulator(str(command.runs / "one"))
        events.Reload()
        (event,) = events.Scalars("z_cost/memory_error")
        assert event.step == last == events.Scalars("z_epoch")[-1].step
        assert abs(event.value) < 0.02


@pytest.mark.slow  # four trainings of two processes
def test_each_of_two_ranks_is_within_two_percent(command: Command) -> None:
    """Most of what a rank holds is weights, or its share of them."""
    recipes = {
        "ddp": WHOLE,
        "fsdp": ["--trainer.strategy=fsdp", *WHOLE],
        "fsdp_stored": [
            "--trainer.strategy=fsdp",
            "--model.backbone.frozen_dtype=bfloat16",
        ],
        "fsdp_accumulated": [
            "--trainer.strategy=fsdp",
            "--trainer.accumulate_grad_batches=2",
            *WHOLE,
        ],
    }
    every = [
        "--trainer.max_epochs=4",
        "--trainer.limit_val_batches=0",
        "--checkpoint.monitor=null",
    ]
    on_ranks(
        [
            command(
                "fit",
                [
                    *every,
                    *flags,
                    f"--trainer.default_root_dir={command.runs / name}",
                ],
            )
            for name, flags in recipes.items()
        ]
    )
    for name in recipes:
        assert (
            abs(scalar(command.runs / name / "version_0", "z_cost/memory_error"))
            < 0.02
        ), name


@pytest.mark.gpu
@pytest.mark.parametrize(
    "adapter", [STAdapter(), Side4Video()], ids=["ST-Adapter", "Side4Video"]
)
def test_a_step_on_a_gpu_is_within_ten_percent(adapter: Adapter) -> None:
    plan = TrainingPlan(
        clips=8, num_frames=8, image_size=224, precision="bf16-mixed"
    )
    estimate = of(adapter, plan).peak
    vit = VideoViT("vit_base_patch16_clip_quickgelu_224", weights="random")
    task = VideoClassifier(
        vit, [adapter], [str(number) for number in range(174)]
    ).cuda()
    optimizer = task.optim.optimizer(
        dict(task.named_parameters()), task.owners, 1e-3
    )
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
