"""A step on tensors without memory allocates, saves and computes what a step on real ones does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer

from lightning_petl.backbones import VideoViT
from lightning_petl.cost.simulation import (
    Allocations,
    StepCost,
    simulate,
    without_memory,
)
from tests.laws.methods import KINDS, METHODS
from tests.tiny import FRAMES, SIZE, adapted

QUICK = ("st_adapter", "lora_qv", "side4video", "multi_tunev", "linear_probe")
CASES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in KINDS
]


class Model(nn.Module):
    def __init__(self, method: str) -> None:
        super().__init__()
        self.backbone: VideoViT = adapted(METHODS[method])
        self.head = nn.Linear(self.backbone.feature_dim, 3)
        self.train()

    def forward(self, video: Tensor) -> Tensor:
        return self.head(self.backbone(video))


def parts(
    model: Model,
) -> tuple[Tensor, Callable[[], Tensor], Callable[[], Optimizer]]:
    video = torch.zeros(4, FRAMES, 3, SIZE, SIZE, dtype=torch.uint8)
    optimizer = lambda: AdamW([p for p in model.parameters() if p.requires_grad])  # noqa: E731
    return (
        video,
        lambda: cross_entropy(model(video), torch.zeros(4, dtype=torch.int64)),
        optimizer,
    )


def step_of(model: Model) -> StepCost:
    video, loss, optimizer = parts(model)
    return simulate(model, loss, optimizer, batch=[video])


@pytest.mark.parametrize("method", CASES)
def test_shapes_alone_cost_what_numbers_cost(method: str) -> None:
    real = step_of(Model(method))
    with without_memory(Model(method)) as copied:
        assert step_of(copied) == real
    assert real.peak > real.saved.kept > 0


def test_what_is_alive_is_counted_in_blocks_of_512_bytes() -> None:
    held = torch.zeros(1)  # 4 bytes
    with Allocations([held]) as allocations:
        assert allocations.now == 512
        a = torch.zeros(1000)  # 4000 bytes
        assert allocations.now == 512 + 4096
        view = a[:10]
        del a
        assert allocations.now == 512 + 4096, "a view keeps its storage"
        del view
        assert allocations.now == 512
        b = torch.ones(256) + torch.ones(256)  # three at a time
        assert allocations.now == 512 + 1024
        assert allocations.peak == 512 + 4096
        del b


def test_two_linear_layers_in_closed_form() -> None:
    b, i, h, k = 64, 256, 512, 128
    model = nn.Sequential(nn.Linear(i, h, bias=False), nn.Linear(h, k, bias=False))
    x = torch.zeros(b, i)
    step = simulate(
        model, lambda: model(x).sum(), lambda: AdamW(model.parameters()), batch=[x]
    )
    assert step.forward == b * i * h + b * h * k
    assert (
        step.step == step.forward + b * i * h + 2 * b * h * k
    )  # the input needs no gradient
    assert step.saved.kept == 4 * (b * i + b * h)
    assert (
        step.optimizer == 2 * 4 * (i * h + h * k) + 2 * 4
    )  # and a count of steps each
    weights = 4 * (i * h + h * k)
    assert (
        step.peak >= 4 * weights + 4 * b * i
    )  # weights, gradients, two moments, the batch


def test_nothing_is_left_of_the_copy() -> None:
    model = Model("lora_qv")
    before = {name: p.clone() for name, p in model.named_parameters()}
    with without_memory(model) as copied:
        step_of(copied)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
