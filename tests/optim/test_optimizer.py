"""Learning rates in closed form, groups by hand."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from lightning_petl.optim.groups import parameter_groups
from lightning_petl.optim.joint import JointOptimizer
from lightning_petl.optim.optimizer import OptimizerConfig, accumulation
from lightning_petl.optim.schedule import Schedule, ScheduledRates


def test_warm_up_is_linear_and_meets_the_cosine() -> None:
    factor = Schedule(warmup=2.0, unit="epochs").factor(steps=100, epochs=10.0)
    assert [factor(i) for i in (0, 9, 19, 20)] == pytest.approx(
        [1 / 21, 10 / 21, 20 / 21, 1.0]
    )
    assert factor(60) == pytest.approx(0.5)  # half-way from 20 to 100
    assert factor(40) == pytest.approx((1 + math.sqrt(0.5)) / 2)  # cos 45 degrees
    assert factor(100) == pytest.approx(0.0)


def test_a_fraction_per_epoch() -> None:
    factor = Schedule(warmup=0.25, unit="fraction", per="epoch").factor(
        steps=1000, epochs=8.0
    )
    assert [factor(i) for i in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert factor(5) == pytest.approx(0.5)


def test_floor_and_constant() -> None:
    assert Schedule(floor=0.2).factor(steps=10, epochs=1.0)(5) == pytest.approx(0.6)
    assert Schedule(floor=0.2).factor(steps=10, epochs=1.0)(10) == pytest.approx(
        0.2
    )
    assert Schedule(decay="constant").factor(steps=10, epochs=1.0)(9) == 1.0


@pytest.mark.parametrize(
    "options",
    [{"warmup": -1.0}, {"warmup": 1.0, "unit": "fraction"}, {"floor": 2.0}],
)
def test_schedules_that_cannot_be(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        Schedule(**options)


def test_a_training_shorter_than_its_warm_up_only_rises() -> None:
    factor = Schedule(warmup=2.0).factor(steps=5, epochs=1.0)
    assert [factor(i) for i in range(6)] == pytest.approx(
        [(i + 1) / 11 for i in range(6)]
    )
    assert Schedule(warmup=1.0).factor(steps=5, epochs=1.0)(5) == 1.0


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.adapter, self.head, self.trunk = (
            nn.Linear(4, 3),
            nn.Linear(3, 2),
            nn.Linear(2, 2),
        )
        self.trunk.requires_grad_(False)


OWNERS = {
    "adapter.weight": "LoRA",
    "adapter.bias": "LoRA",
    "head.weight": "head",
    "head.bias": "head",
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "no_bias",
            {
                "LoRA/decay": 12,
                "LoRA/no_decay": 3,
                "head/decay": 6,
                "head/no_decay": 2,
            },
        ),
        ("all", {"LoRA/decay": 15, "head/decay": 8}),
        ("none", {"LoRA/no_decay": 15, "head/no_decay": 8}),
    ],
)
def test_groups_by_owner_and_decay(rule: str, expected: dict[str, int]) -> None:
    groups = parameter_groups(dict(Two().named_parameters()), OWNERS, rule)
    assert {
        group["name"]: sum(p.numel() for p in group["params"]) for group in groups
    } == expected


def test_rates_and_decay_of_each_group() -> None:
    optim = OptimizerConfig(lr=0.1, weight_decay=0.05, lr_factor={"head": 10.0})
    optimizer = optim.optimizer(dict(Two().named_parameters()), OWNERS, rate=0.2)
    assert isinstance(optimizer, AdamW)
    assert {
        g["name"]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups
    } == {
        "LoRA/decay": (0.2, 0.05),
        "LoRA/no_decay": (0.2, 0.0),
        "head/decay": (2.0, 0.05),
        "head/no_decay": (2.0, 0.0),
    }


def test_sgd_takes_its_momentum() -> None:
    optimizer = OptimizerConfig(algorithm="sgd", momentum=0.8).optimizer(
        dict(Two().named_parameters()), OWNERS, 0.1
    )
    assert isinstance(optimizer, SGD)
    assert all(group["momentum"] == 0.8 for group in optimizer.param_groups)


def test_an_owner_that_trains_nothing_is_an_error() -> None:
    with pytest.raises(
        ValueError,
        match=r"lr_factor names LORA.*owners: \['LoRA', 'head'\].*lr_factor='\{\}'",
    ):
        OptimizerConfig(lr_factor={"LORA": 2.0}).optimizer(
            dict(Two().named_parameters()), OWNERS, 0.1
        )


def test_parameters_without_owner_and_nothing_to_train() -> None:
    with pytest.raises(
        ValueError, match=r"'adapter\.weight' trains but belongs to no"
    ):
        parameter_groups(dict(Two().named_parameters()), {}, "all")
    with pytest.raises(ValueError, match="nothing trains"):
        parameter_groups(
            {"a": nn.Parameter(torch.zeros(1), requires_grad=False)}, {}, "all"
        )


@pytest.mark.parametrize(
    ("global_batch", "expected"), [(None, 1), (16, 1), (64, 4)]
)
def test_accumulation(global_batch: int | None, expected: int) -> None:
    assert accumulation(global_batch, ranks=2, micro=8) == expected


@pytest.mark.parametrize("global_batch", [8, 40])
def test_a_global_batch_that_does_not_divide(global_batch: int) -> None:
    with pytest.raises(
        ValueError,
        match=rf"global_batch {global_batch} is not a multiple of 16 .*2 rank.* batch_size 8",
    ):
        accumulation(global_batch, ranks=2, micro=8)


def test_linear_scaling_is_explicit() -> None:
    assert OptimizerConfig(lr=1e-3).rate(64) == 1e-3
    assert OptimizerConfig(lr=1e-3, lr_per=256).rate(64) == pytest.approx(2.5e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0},
        {"weight_decay": -1.0},
        {"global_batch": 0},
        {"lr_per": -1},
        {"lr_factor": {"head": -1.0}},
    ],
)
def test_wrong_values_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OptimizerConfig(**options)


def test_optimisers_together_step_as_they_do_apart_and_go_on_after_a_stop() -> None:
    def start() -> tuple[list[nn.Parameter], dict[str, Any]]:
        weights = [nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(3)]
        return weights, {
            "a": torch.optim.AdamW([weights[0]], lr=0.1), "b": torch.optim.SGD([weights[1]], lr=0.1, momentum=0.9),
            "stopped": torch.optim.AdamW([weights[2]], lr=0.1),
        }  # fmt: skip

    def update(weights: list[nn.Parameter], step: int) -> None:
        for weight in weights:
            weight.grad = torch.tensor([1.0, 0.5]) * (step + 1)

    apart, single = start()
    weights, parts = start()
    together = JointOptimizer(parts, {"stopped"})
    for step in range(4):
        if step == 2:  # a new process, which loads what was saved
            saved, (weights, parts) = (
                (together.state_dict(), [w.data for w in weights]),
                start(),
            )
            for weight, value in zip(weights, saved[1], strict=True):
                weight.data.copy_(value)
            together = JointOptimizer(parts, {"stopped"})
            together.load_state_dict(saved[0])
        update(weights, step)
        together.step()
        update(apart, step)
        single["a"].step()
        single["b"].step()
    for mine, expected in zip(weights, apart, strict=True):
        assert torch.equal(mine, expected)


class Schedules:
    """Trains ``steps`` updates of one weight under a schedule of ``total``, and notes the rate of each."""

    def __init__(self, total: int, lr: float = 0.2) -> None:
        self.optimizer = AdamW([nn.Parameter(torch.ones(1))], lr=lr)
        self.scheduler = ScheduledRates(
            self.optimizer, Schedule().factor(steps=total, epochs=1.0)
        )

    def rates(self, steps: int) -> list[float]:
        found: list[float] = []
        for _ in range(steps):
            found.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.scheduler.step()
        return found

    def resumed(self, total: int, lr: float = 0.2) -> "Schedules":
        """Of another length, in the order in which Lightning restores the two."""
        later = Schedules(total, lr)
        later.optimizer.load_state_dict(self.optimizer.state_dict())
        later.scheduler.load_state_dict(self.scheduler.state_dict())
        return later


def cosine(done: int, total: int, lr: float = 0.2) -> float:
    return lr * (1 + math.cos(math.pi * done / total)) / 2


@pytest.mark.parametrize("done", [2, 4], ids=["unfinished", "finished"])
def test_a_longer_training_goes_on_at_the_rate_of_its_own_schedule(
    done: int,
) -> None:
    shorter = Schedules(4)
    assert shorter.rates(done) == pytest.approx([cosine(i, 4) for i in range(done)])
    assert shorter.resumed(8).rates(8 - done) == pytest.approx(
        [cosine(i, 8) for i in range(done, 8)]
    )


def test_another_rate_acts_from_the_resume_on() -> None:
    shorter = Schedules(4)
    shorter.rates(2)
    assert shorter.resumed(4, lr=0.6).rates(2) == pytest.approx(
        [cosine(2, 4, lr=0.6), cosine(3, 4, lr=0.6)]
    )


def test_the_same_schedule_goes_on_to_the_last_bit() -> None:
    whole, half = Schedules(7), Schedules(7)
    assert half.rates(3) + half.resumed(7).rates(4) == whole.rates(7)
