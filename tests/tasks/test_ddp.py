"""Two ranks that replicate what trains are one process with the same global batch: losses, weights, checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_petl.__main__ import main
from tests.commands import Command, write_videos
from tests.tasks.ranks import close, on_ranks, scalars

# 18 clips, 6 an update: 3 updates an epoch, a validation and a checkpoint after each; no step that hides a gradient
EVERY = [
    "--trainer.log_every_n_steps=1", "--trainer.num_sanity_val_steps=0", "--trainer.gradient_clip_val=0.5",
    "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null",
    "--model.optim.algorithm=sgd", "--model.optim.lr=0.1", "--model.head.dropout=0",
]  # fmt: skip
CONSTANT = ["--model.optim.schedule.decay=constant", "--model.optim.momentum=0"]
PLAIN = [*EVERY, "--trainer.val_check_interval=1"]
TRUNK = [*PLAIN, "--model.backbone.frozen_dtype=bfloat16"]
MIXED = [*PLAIN, "--trainer.precision=bf16-mixed"]
LONG = [*PLAIN, "--trainer.max_epochs=2"]
# the schedule stays at lr 0.1 and no gradient is shorter than 0.01
CLIPPED = [
    *MIXED,
    "--trainer.gradient_clip_val=0.01",
    "--model.optim.weight_decay=0",
    *CONSTANT,
]
# a stack with parameters that reach no class token, recomputed blocks, and an average
FULL = [
    *EVERY, "--trainer.max_epochs=2", "--model.adapters+=STAdapter", "--model.adapters.bottleneck=8",
    "--model.backbone.activation_checkpointing=true", "--model.optim.global_batch=6", "--trainer.callbacks+=EMA",
]  # fmt: skip
SIDE = ["--model.adapters=[Side4Video]", "--trainer.precision=bf16-mixed"]


class Runs:
    """Runs of recipes over 18 clips, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.command = Command(folder)
        write_videos(self.command.videos, train=9)

    def fit(self, name: str, clips: int, flags: list[str]) -> list[str]:
        """The command of a run with so many clips a batch."""
        folder = self.command.runs / name
        return self.command(
            "fit",
            [
                *flags,
                f"--data.batch_size={clips}",
                f"--trainer.default_root_dir={folder}",
            ],
        )

    def __call__(self, name: str) -> Path:
        return self.command.runs / name / "version_0"

    def checkpoint(self, name: str, step: int) -> Path:
        return next((self(name) / "checkpoints").glob(f"epoch=*-step={step}.ckpt"))

    def final(self, name: str) -> dict[str, Any]:
        return torch.load(
            self(name) / "checkpoints" / "last.ckpt", weights_only=True
        )

    def losses(self, name: str) -> list[float]:
        return scalars(self(name), "val/loss")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One epoch in each precision, in one process with 6 clips a batch and on two ranks with 3."""
    runs = Runs(tmp_path_factory.mktemp("ddp"))
    for name, flags in (("one", PLAIN), ("trunk_one", TRUNK), ("mixed_one", MIXED)):
        assert main(runs.fit(name, 6, flags)) == 0
    recipes = {
        "two": PLAIN,
        "trunk_two": TRUNK,
        "mixed_two": [*MIXED, "--trainer.strategy=ddp"],
        "clipped": CLIPPED,
    }
    for told in on_ranks(
        [runs.fit(name, 3, flags) for name, flags in recipes.items()]
    ):
        assert (
            "It is recommended to use" not in told
        )  # Lightning's advice where ranks log values of their own
    return runs


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two epochs; resumes after four updates onto the other number of ranks; 18 passes of one clip."""
    runs = Runs(tmp_path_factory.mktemp("ddp"))
    assert main(runs.fit("one", 6, LONG)) == 0
    assert (
        main(runs.fit("full_one", 6, [*FULL, "--trainer.val_check_interval=1"]))
        == 0
    )
    on_ranks(
        [
            runs.fit("two", 3, LONG),
            runs.fit("full_two", 1, [*FULL, "--trainer.val_check_interval=3"]),
            runs.fit(
                "one_then_two",
                3,
                [*LONG, f"--ckpt_path={runs.checkpoint('one', 4)}"],
            ),
        ]
    )
    with pytest.warns(UserWarning, match="the random states of 2 rank"):
        assert (
            main(
                runs.fit(
                    "two_then_one",
                    6,
                    [*LONG, f"--ckpt_path={runs.checkpoint('two', 4)}"],
                )
            )
            == 0
        )
    return runs


def equal(left: Any, right: Any) -> None:
    """To a millionth of the updates, which are up to 0.05 long."""
    close(left, right, rtol=1e-5, atol=5e-8)


def equal_training(left: dict[str, Any], right: dict[str, Any]) -> None:
    for key in (
        "state_dict",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
        "epoch",
    ):
        equal(left[key], right[key])


def sent(runs: Runs, name: str) -> set[float]:
    return set(scalars(runs(name), "z_cost/gradient_bytes_per_step"))


def test_two_ranks_equal_one_process(runs: Runs) -> None:
    assert len(set(runs.losses("one"))) == 3
    assert runs.losses("two") == pytest.approx(runs.losses("one"), rel=1e-6)
    assert runs.final("one").keys() == runs.final("two").keys()
    for step in (
        1,
        2,
        3,
    ):  # the first momentum is the first gradient, clipped, and the decay
        equal_training(
            *(
                torch.load(runs.checkpoint(name, step), weights_only=True)
                for name in ("two", "one")
            )
        )


@pytest.mark.parametrize("name", ["two", "trunk_two", "mixed_two"])
def test_what_trains_is_all_that_travels(runs: Runs, name: str) -> None:
    """In float32, whatever the trunk is stored in."""
    state = runs.final(name)["state_dict"]
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert sent(runs, name) == {sum(4 * value.numel() for value in state.values())}
    with pytest.raises(KeyError):
        sent(runs, name.replace("two", "one"))


@pytest.mark.parametrize(
    "name", ["trunk_one", "trunk_two", "mixed_one", "mixed_two"]
)
def test_bfloat16_stays_near_float32(runs: Runs, name: str) -> None:
    """Its rounding is 2^-9 = 0.2 % of a value."""
    assert runs.losses(name) != runs.losses("one")
    assert runs.losses(name) == pytest.approx(runs.losses("one"), rel=0.01)


def test_the_norm_over_all_that_trains_is_clipped(runs: Runs) -> None:
    """A step of SGD is lr times the clipped gradient of the whole update: 0.1 x 0.01 long."""
    before, behind = (
        torch.load(runs.checkpoint("clipped", step))["state_dict"]
        for step in (1, 2)
    )
    assert step_length(before, behind) == pytest.approx(1e-3, rel=1e-3)


def step_length(before: dict[str, Tensor], behind: dict[str, Tensor]) -> float:
    return float(
        torch.cat(
            [(behind[name] - before[name]).flatten() for name in before]
        ).norm()
    )


@pytest.mark.slow
def test_recomputed_accumulated_and_averaged_equals_one_process(
    long_runs: Runs,
) -> None:
    assert long_runs.losses("full_two") == pytest.approx(
        long_runs.losses("full_one"), rel=1e-6
    )
    one, two = long_runs.final("full_one"), long_runs.final("full_two")
    equal(one["state_dict"], two["state_dict"])
    one, two = one["callbacks"]["EMA"], two["callbacks"]["EMA"]
    assert one["updates"] == two["updates"] == 6  # of 18 passes on each rank
    equal(one["average"], two["average"])


@pytest.mark.slow
def test_passes_that_accumulate_send_nothing_and_dead_parameters_never_travel(
    long_runs: Runs,
) -> None:
    """ST-Adapter in front of the last MLP adds to patches, of which the class token hears no more."""
    state = long_runs.final("full_two")["state_dict"]
    alive = {
        key: value
        for key, value in state.items()
        if "blocks.1.slots.before_mlp.STAdapter" not in key
    }
    assert 0 < len(alive) < len(state)
    assert sent(long_runs, "full_two") == {
        sum(4 * value.numel() for value in alive.values())
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two", "one_then_two", "two_then_one"])
def test_another_number_of_ranks_goes_on(long_runs: Runs, name: str) -> None:
    first = 0 if name == "two" else 4
    assert long_runs.losses(name) == pytest.approx(
        long_runs.losses("one")[first:], rel=1e-6
    )
    assert long_runs.final(name).keys() == long_runs.final("one").keys()
    equal_training(long_runs.final(name), long_runs.final("one"))


@pytest.mark.slow
def test_statistics_of_the_first_rank_are_evaluated_over_uneven_clips(
    tmp_path: Path,
) -> None:
    """Over 5 clips the ranks have 2 batches and 1; statistics are no gradients."""
    runs = Runs(tmp_path)
    (runs.command.videos / "val" / "left" / "0.mp4").unlink()
    on_ranks([runs.fit("side", 2, SIDE)])
    state = runs.final("side")["state_dict"]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert any(key.endswith(statistics) for key in state)
    travel = sum(
        4 * value.numel()
        for key, value in state.items()
        if not key.endswith(statistics)
    )
    assert sent(runs, "side") == {travel}
