"""Features that are computed once: built, trained from, killed, damaged, refused; through the command line."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from lightning_petl.backbones.block import AdaptedBlock
from tests.commands import Command
from tests.retrieval_runs import RetrievalCommand

SIDE = ["--model.adapters=[Side4Video]", "--model.adapters.init_args.width=64"]
LATE = ["--model.adapters=[LoRA]", "--model.adapters.init_args.blocks=last 1"]
HEAD = ["--model.adapters=[LinearProbe]"]
PROBE = ["--model.adapters=[AttentiveProbe]", "--model.adapters.init_args.blocks=1"]
AUGMENTED = [
    "--data.augmentations=[ColorJitter]",
    "--data.augmentations+=RandomErasing",
]
EPOCHS = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]


class Caches:
    """Commands of a small run, and caches of it."""

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self.folder, self.output = command, folder, folder / "cache"

    def building(self, *flags: str, output: Path | None = None) -> list[str]:
        built = [
            "--output",
            str(output or self.output),
            "--dtype=fp32",
            "--shard_size=4",
            *flags,
        ]
        return ["cache", *self.command("build", built)]

    def build(self, *flags: str, output: Path | None = None) -> int:
        return main(self.building(*flags, output=output))

    def fit(self, *flags: str) -> int:
        return main(self.command("fit", [*flags, f"--data.cache={self.output}"]))

    def losses(self, version: int) -> dict[str, list[float]]:
        events = EventAccumulator(str(self.command.runs / f"version_{version}"))
        events.Reload()
        names = [
            name
            for name in events.Tags()["scalars"]
            if name.startswith(("train/", "val/", "test/"))
        ]
        return {
            name: [event.value for event in events.Scalars(name)] for name in names
        }

    def shards(self, output: Path | None = None) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in sorted((output or self.output).iterdir())
        }


@pytest.fixture
def caches(command: Command, tmp_path: Path) -> Caches:
    return Caches(command, tmp_path)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each block that runs."""
    blocks, forward = list[int](), AdaptedBlock.forward
    monkeypatch.setattr(
        AdaptedBlock,
        "forward",
        lambda self, x, grid: blocks.append(0) or forward(self, x, grid),
    )
    return blocks


@pytest.mark.parametrize(
    ("stack", "live_blocks"),
    [(HEAD, 0), (SIDE, 0), (LATE, 1)],
    ids=["head", "side", "late"],
)
def test_the_losses_are_those_of_live_training(
    stack: Sequence[str], live_blocks: int, caches: Caches, ran: list[int]
) -> None:
    """Two epochs from two stored draws; without rounding not even the last bit differs."""
    assert caches.build(*stack, *AUGMENTED, "--augmentations=2") == 0
    assert main(caches.command("fit", [*stack, *AUGMENTED, *EPOCHS])) == 0
    live = len(ran)
    ran.clear()
    assert caches.fit(*stack, *AUGMENTED, *EPOCHS) == 0
    passes = (
        2 * (3 + 2) + 2
    )  # epochs of three batches and two of validation, and the sanity check
    assert len(ran) == live_blocks * passes
    assert live
    assert caches.losses(1) == caches.losses(0)
    assert len(caches.losses(0)["train/loss"]) == 6
    checkpoints = [
        caches.command.runs / f"version_{n}" / "checkpoints" / "last.ckpt"
        for n in (0, 1)
    ]
    states = [
        torch.load(path, weights_only=True)["state_dict"] for path in checkpoints
    ]
    assert all(
        torch.equal(states[1][name], value) for name, value in states[0].items()
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("bf16", 2e-2), ("fp16", 3e-3), ("int8", 2e-2)]
)
def test_the_losses_stay_near_in_fewer_bits(
    dtype: str, tolerance: float, caches: Caches
) -> None:
    assert caches.build(*PROBE, f"--dtype={dtype}") == 0
    assert (
        main(caches.command("fit", [*PROBE, "--trainer.log_every_n_steps=1"])) == 0
    )
    assert caches.fit(*PROBE, "--trainer.log_every_n_steps=1") == 0
    live, cached = caches.losses(0)["train/loss"], caches.losses(1)["train/loss"]
    assert cached == pytest.approx(live, abs=tolerance)
    assert cached != live


def test_more_epochs_than_draws_see_the_first_ones_again(caches: Caches) -> None:
    """Without learning, the loss of epoch 2 of one draw is that of epoch 1 in another order, of two draws another."""
    still = [
        "--data.batch_size=10",
        "--model.head.dropout=0",
        "--model.optim.lr=1e-12",
        *HEAD,
    ]
    for number, draws in enumerate((1, 2)):
        output = caches.folder / str(draws)
        assert caches.build(*still, f"--augmentations={draws}", output=output) == 0
        assert (
            main(caches.command("fit", [*still, *EPOCHS, f"--data.cache={output}"]))
            == 0
        )
        first, second = caches.losses(number)["train/loss"]
        assert (abs(first - second) < 1e-5) == (draws == 1)


def test_several_clips_of_a_video(caches: Caches) -> None:
    flags = [*SIDE, "--data.num_sample=2"]
    assert caches.build(*flags) == 0
    assert main(caches.command("fit", flags)) == 0
    assert caches.fit(*flags) == 0
    assert caches.losses(1) == caches.losses(0)


@pytest.mark.slow
def test_workers(caches: Caches, capsys: pytest.CaptureFixture[str]) -> None:
    """They read and build the same, and what one finds damaged is told in one sentence."""
    one, path = "--data.num_workers=1", caches.output / "train-00001.safetensors"
    assert caches.build(*HEAD) == 0
    alone = caches.folder / "alone"
    assert caches.build(*HEAD, one, output=alone) == 0
    assert caches.shards() == caches.shards(alone)
    assert caches.fit(*HEAD) == 0
    assert caches.fit(*HEAD, one) == 0
    assert caches.losses(1) == caches.losses(0)
    damage(path)
    assert caches.fit(*HEAD, one) == 2
    assert f"lightning-petl: {path}: this shard is damaged" in said(capsys)


def test_test_and_validate(caches: Caches) -> None:
    views = [*HEAD, "--data.views=2x3"]
    assert caches.build(*views, "--splits=[train,val,test]") == 0
    assert caches.fit(*views) == 0
    checkpoint = f"--ckpt_path={caches.command.runs / 'version_0' / 'checkpoints' / 'last.ckpt'}"
    for name in ("test", "validate"):
        assert main(caches.command(name, [*views, checkpoint])) == 0
        assert (
            main(
                caches.command(
                    name, [*views, checkpoint, f"--data.cache={caches.output}"]
                )
            )
            == 0
        )
    assert caches.losses(2) == caches.losses(1) != {}
    assert caches.losses(4) == caches.losses(3) != {}
    scores = [
        (caches.command.runs / f"version_{n}" / "test_scores.jsonl").read_text()
        for n in (1, 2)
    ]
    assert scores[0] == scores[1]


def test_a_stop_in_mid_epoch_changes_no_bit(caches: Caches) -> None:
    flags = [*HEAD, *EPOCHS, "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1",
             "--checkpoint.monitor=null"]  # fmt: skip
    assert caches.build(*HEAD, "--augmentations=2") == 0
    assert caches.fit(*flags) == 0
    stopped = next(
        (caches.command.runs / "version_0" / "checkpoints").glob("*step=4.ckpt")
    )
    assert caches.fit(*flags, f"--ckpt_path={stopped}") == 0
    assert caches.losses(1)["train/loss"] == caches.losses(0)["train/loss"][4:]


def test_an_unreadable_video_is_kept_as_what_stands_in(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    (caches.command.videos / "train" / "left" / "0.mp4").write_bytes(b"no video")
    flags = [*HEAD, "--bad_files.budget=1"]
    assert caches.build(*flags) == 0
    assert re.search(r"train │ 10 +│ 1 +│ 3 .*│ 1 ", capsys.readouterr().out)
    with pytest.warns(UserWarning, match=r"left/0\.mp4.* another clip stands in"):
        assert main(caches.command("fit", flags)) == 0
    with pytest.warns(UserWarning, match=r"left/0\.mp4.* another clip stands in"):
        assert caches.fit(*flags) == 0
    assert caches.losses(1) == caches.losses(0)


def test_what_is_told_before_the_build(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two blocks of four frames of 1 + 4 tokens of width 192 in 4 bytes, and four frames of 32 x 32 RGB pixels."""
    assert caches.build(*SIDE, "--augmentations=2") == 0
    told = " ".join(capsys.readouterr().out.split())
    size = 2 * 4 * 5 * 192 * 4 + 4 * 3 * 32 * 32
    assert (
        f"20 of train with {size / 1000:.1f} kB each, 6 of val with {size / 1000:.1f} kB each"
        in told
    )
    assert f"{26 * size / 1e6:.1f} MB in all" in told
    rate = re.search(
        r"([\d.]+) ms a clip: where features are read at less than ([\d.]+) MB/s",
        told,
    )
    assert rate
    assert float(rate[2]) == pytest.approx(size / float(rate[1]) / 1000, rel=0.1)
    assert "26/26" in told


@pytest.mark.slow
def test_killed_and_built_again_it_has_the_same_bytes(caches: Caches) -> None:
    whole = caches.folder / "whole"
    flags = [*SIDE, "--augmentations=8", "--shard_size=3"]
    command = [sys.executable, "-m", "lightning_petl", *caches.building(*flags)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (caches.output / "train-00002.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = caches.shards()
    assert 5 < len(killed) < 1 + 27 + 2 + 2
    assert caches.build(*flags) == 0
    assert caches.build(*flags, output=whole) == 0
    assert caches.shards() == caches.shards(whole)
    finished = {name for name in killed if not name.startswith(".")}
    assert all(killed[name] == caches.shards()[name] for name in finished)


def test_a_damaged_shard_is_named_and_made_anew(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caches.build(*HEAD) == 0
    right, path = caches.shards(), caches.output / "train-00001.safetensors"
    damage(path)
    assert caches.fit(*HEAD) == 2
    assert (
        f"{path}: this shard is damaged; run the same `lightning-petl cache build` again"
        in said(capsys)
    )
    assert caches.build(*HEAD) == 0
    told = capsys.readouterr().out
    assert f"{path}: this shard is damaged; it is made anew" in told
    assert "4/4" in told
    assert caches.shards() == right
    path.unlink()
    assert caches.fit(*HEAD) == 2
    assert f"{path}: is missing" in said(capsys)


OTHER: dict[str, tuple[list[str], str]] = {
    "trunk": (
        ["--seed_everything=1", "--data.seed=0"],
        r'trunk\.weights is "\w{64}" in the cache, here "\w{64}"',
    ),
    "precision": (
        ["--model.backbone.frozen_dtype=bfloat16"],
        r'trunk\.frozen_dtype is "float32" .* here "bfloat16"',
    ),
    "readout": (
        ["--model.backbone.readout=patch_mean"],
        r'trunk\.readout is "norm_cls_mean" .* here "patch_mean"',
    ),
    "size": (
        ["--data.image_size=48"],
        r"train\.view\.size is 32 .* here 48; val\.view\.size is 32 .* here 48",
    ),
    "frames": (
        ["--data.sampling.num_frames=2"],
        r"train\.view\.sampling\.num_frames is 4 in the cache, here 2",
    ),
    "crop": (["--data.eval_crop.crop_ratio=0.5"], r"val\.view\.crop\.crop_ratio"),
    "transform": (
        ["--data.train_transform=MultiScaleCrop"],
        r'view\.transform\.class is "TrainCrop".*"MultiScaleCrop"',
    ),
    "pixels": (
        ["--data.augmentations=[Grayscale]"],
        r"train\.view\.augmentations is \[\] .* here .*Grayscale",
    ),
    "seed": (["--data.seed=1"], r"train\.seed is 0 in the cache, here 1"),
    "seed of everything": (
        ["--seed_everything=1"],
        r"train\.seed is 0 in the cache, here 1",
    ),
    "clips": (
        ["--data.num_sample=2"],
        r"train\.view\.num_sample is 1 in the cache, here 2",
    ),
    "mixing": (
        [
            "--data.mixing=data_modules.transforms.mixing.Mixing",
            "--data.batch_size=2",
        ],
        "behind a cache there are none",
    ),
    "cut": (LATE, r"lacks block\.0, which this stack needs; it holds feature"),
    "taps": (
        SIDE,
        r"lacks block\.0, block\.1, pixels, which this stack needs; it holds feature",
    ),
    "open": (
        ["--model.adapters=[FullFineTuning]"],
        "FullFineTuning trains in front of the first block",
    ),
}


def test_the_cache_of_something_else_is_refused(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caches.build(*HEAD) == 0
    for flags, message in OTHER.values():
        capsys.readouterr()
        assert caches.fit(*HEAD, *flags) == 2, flags
        assert re.search(message, said(capsys)), flags
    (caches.command.videos / "train" / "left" / "0.mp4").unlink()
    assert caches.fit(*HEAD) == 2
    assert re.search(
        r"train\.clips is 10 in the cache, here 9; train\.names", said(capsys)
    )
    assert (
        main(
            caches.command(
                "test", [*HEAD, "--untrained=true", f"--data.cache={caches.output}"]
            )
        )
        == 2
    )
    assert "holds no test split; build it with --splits=[train,val,test]" in said(
        capsys
    )


def replace_videos(root: Path, *names: str) -> None:
    """Give some videos other content, of the same name."""
    for number, name in enumerate(names):
        write_video(
            root / name,
            np.full((8, 48, 48, 3), 50 + 90 * number, np.uint8),
            8,
            codec="mpeg4",
        )


def test_the_cache_of_other_videos_of_the_same_names(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of five videos a class and split are replaced; the same build makes anew the shards that hold them."""
    root, other = caches.command.videos, caches.folder / "other"
    assert caches.build(*HEAD) == 0
    before = caches.shards()
    shutil.copytree(
        root, other, copy_function=shutil.copyfile
    )  # the same videos, of another time
    assert caches.fit(*HEAD, f"--data.init_args.root={other}") == 0
    replace_videos(other, "train/left/0.mp4", "val/right/2.mp4")
    capsys.readouterr()
    assert caches.fit(*HEAD, f"--data.init_args.root={other}") == 2
    assert (
        "1 of 10 videos of the train split are not those that the cache was built from: left/0.mp4;"
        in said(capsys)
    )
    assert caches.fit(*HEAD) == 0
    replace_videos(root, "train/left/0.mp4", "val/right/2.mp4")
    assert caches.build(*HEAD) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "1 of 6 videos of the val split are not those that the cache was built from: right/2.mp4; 1 shards"
        in told
    )
    assert f"{4 + 2}/{4 + 2}" in told
    changed = {
        name for name, content in caches.shards().items() if content != before[name]
    }
    assert changed == {
        "train-00000.safetensors",
        "val-00001.safetensors",
        "contents-train.txt",
        "contents-val.txt",
    }
    assert caches.fit(*HEAD) == 0
    fresh = caches.folder / "fresh"
    assert caches.build(*HEAD, output=fresh) == 0
    assert caches.shards() == caches.shards(fresh)


def test_a_cache_that_does_not_say_what_it_is_of(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caches.build(*HEAD) == 0
    right = caches.shards()
    (caches.output / "contents-train.txt").unlink()
    assert caches.fit(*HEAD) == 2
    assert "10 of 10 videos of the train split are not those" in said(capsys)
    assert caches.build(*HEAD) == 0
    assert caches.shards() == right


def test_below_the_cut_nothing_may_train(
    caches: Caches, capsys: pytest.CaptureFixture[str]
) -> None:
    assert caches.build(*LATE, "--parts=[block.0]") == 0
    assert caches.fit("--model.adapters=[LoRA]") == 2
    assert (
        "begins at block.0, but something trains below that cut, in block 0"
        in said(capsys)
    )


def test_nothing_is_cached_for_retrieval(
    tmp_path: Path, ran: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before a file is read, and as one paragraph."""
    command = RetrievalCommand(tmp_path)
    message = "a cache keeps what a classifier reads, and VideoTextRetrieval needs the clips: leave data.cache out"
    assert (
        main(["cache", *command("build", [f"--output={tmp_path / 'cache'}"])]) == 2
    )
    assert message in said(capsys)
    assert not (tmp_path / "cache").exists()
    assert main(command("fit", [f"--data.cache={tmp_path / 'cache'}"])) == 2
    assert message in said(capsys)
    assert ran == []


def test_builds_that_are_refused(
    caches: Caches,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(message: str, *flags: str, output: Path | None = None) -> None:
        capsys.readouterr()
        assert caches.build(*flags, output=output) == 2, flags
        assert re.search(message, said(capsys))

    assert main(["cache", "clear"]) == 2
    assert "cache: no command 'clear'; there are: build, knn" in said(capsys)
    refused(
        "nothing frozen is named block.1; there are embedding, block.0, pixels",
        *LATE,
        "--parts=[block.1]",
    )
    refused("trains in front of the first block", "--model.adapters=[BitFit]")
    refused(
        "data.mixing blends the pixels",
        *HEAD,
        "--data.mixing=data_modules.transforms.mixing.Mixing",
        "--data.batch_size=2",
    )
    refused("augmentations: expected 1 or more, got 0", *HEAD, "--augmentations=0")
    refused(
        "is neither empty nor a feature cache", *HEAD, output=caches.command.videos
    )
    assert not caches.output.exists()
    with monkeypatch.context() as full:
        usage = type("Usage", (), {"free": 1000})
        full.setattr(
            "data_modules.commands.build_cache.shutil.disk_usage", lambda _: usage
        )
        refused(
            r"the cache needs [\d.]+ kB, 1\.0 kB are free; make room, or keep less",
            *HEAD,
        )
    assert caches.build(*HEAD) == 0
    refused(
        r"holds another cache: layout.train is \[10, 1, 4\] in the cache, here \[10, 2, 4\]",
        *HEAD,
        "--augmentations=2",
    )
    refused(
        r'holds another cache: kept is "fp32" in the cache, here "int8"',
        *HEAD,
        "--dtype=int8",
    )


def damage(path: Path) -> None:
    """Change one bit of its last row."""
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one paragraph that a wrong value is told in."""
    shown = capsys.readouterr().err
    paragraph = shown[shown.index("lightning-petl: ") :]
    assert paragraph.count("\n") == 1
    return paragraph
