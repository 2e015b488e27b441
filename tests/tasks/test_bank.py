"""A bank trains each member as a run of its own would: same losses, same weights, dropout included."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.collate import Collate
from lightning_petl.adapters import MAdapter, Side4Video
from lightning_petl.callbacks.frozen_guard import FrozenGuard
from lightning_petl.callbacks.gradient_guard import GradientGuard
from lightning_petl.callbacks.random_state import RandomStates
from lightning_petl.checkpoint import trainable_state
from lightning_petl.heads import LinearHead
from lightning_petl.optim import Optimisation, Schedule
from lightning_petl.tasks.bank import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.member import Member
from tests.callbacks.test_guards import Clips
from tests.tiny import tiny_vit

LABELS = ["left", "right"]
# no norm over the batch: a bias in front of one has a gradient of rounding alone, which Adam makes large
MEMBERS = {
    "linear": Member(head=LinearHead(dropout=0.5), optim=Optimisation(lr=0.1), clip_norm=0.05),
    "sgd": Member(
        head=LinearHead(dropout=0.2, std=0.1),
        optim=Optimisation(algorithm="sgd", lr=0.5, schedule=Schedule(per="epoch", decay="cosine", floor=0.1)),
        label_smoothing=0.1,
    ),
    "side": Member(
        adapters=[Side4Video(width=64, norm="group")],
        head=LinearHead(dropout=0.5),
        optim=Optimisation(lr=0.01, lr_factor={"head": 3.0}, schedule=Schedule(warmup=1.0)),
        clip_norm=0.5,
    ),
    "two_readers": Member(
        adapters=[Side4Video(width=64, taps="last 1", norm="group"), MAdapter(width=64)], optim=Optimisation(lr=0.003)
    ),
}


class Losses(Callback):
    """The training losses of a run."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.found.append(outputs["losses"] if "losses" in outputs else outputs["loss"])


def fit(module: Any, folder: Path, *, callbacks: tuple[Callback, ...] = (), **options: Any) -> Tensor:
    """Two epochs of four batches; the losses."""
    losses = Losses()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, use_distributed_sampler=False, limit_val_batches=0,
        callbacks=[RandomStates(), GradientGuard(), FrozenGuard(), losses, *callbacks],
        **({"max_epochs": 2} | options),
    )  # fmt: skip
    torch.manual_seed(0)
    # with a generator of its own, as the data modules' loaders: else each epoch draws from dropout's
    loader = DataLoader(Clips(), batch_size=4, collate_fn=Collate(), generator=torch.Generator())
    trainer.fit(module, loader, loader)
    return torch.stack(losses.found).detach()


def bank(members: dict[str, Member] = MEMBERS, **options: Any) -> Bank:
    vit = tiny_vit(num_frames=2)
    torch.manual_seed(7)
    return Bank(vit, members, LABELS, **options)


def alone(member: Member) -> VideoClassifier:
    vit = tiny_vit(num_frames=2)
    torch.manual_seed(7)
    return VideoClassifier(
        vit, member.adapters, LABELS, head=member.head, optim=member.optim, label_smoothing=member.label_smoothing
    )


@pytest.mark.parametrize("passes", [1, 3], ids=["each batch", "accumulated"])
def test_every_member_trains_as_it_does_alone(passes: int, tmp_path: Path) -> None:
    together = bank()
    losses = fit(together, tmp_path, accumulate_grad_batches=passes)
    for number, (name, member) in enumerate(MEMBERS.items()):
        single = alone(member)
        clip = {"gradient_clip_val": member.clip_norm}
        expected = fit(single, tmp_path, accumulate_grad_batches=passes, **clip) * passes
        torch.testing.assert_close(losses[:, number], expected, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
        same(together.trained(name).weights, trainable_state(single), name)


def same(left: dict[str, Tensor], right: dict[str, Tensor], name: str) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        torch.testing.assert_close(value, right[key], rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{name} {k}: {m}")
