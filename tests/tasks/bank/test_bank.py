"""A bank trains each member as a run of its own would: same losses, same weights, dropout included."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules.loading.collate import Collate
from lightning_petl.adapters import (
    STEP,
    VPT,
    Adapter,
    BitFit,
    FullFineTuning,
    LNTuning,
    LoRA,
    MAdapter,
    Side4Video,
)
from lightning_petl.artifacts.format import write
from lightning_petl.backbones.prefix import needed
from lightning_petl.callbacks.guards.frozen_guard import FrozenGuard
from lightning_petl.callbacks.guards.gradient_guard import GradientGuard
from lightning_petl.callbacks.resume.random_state import RandomStates
from lightning_petl.checkpoints.trainable_state import (
    load_trainable,
    trainable_state,
)
from lightning_petl.heads.linear import LinearHead
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.optim.schedule import Schedule
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.bank.member_weights import load_member
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.loading import load
from tests.callbacks.guards.test_guards import Clips
from tests.families import toy_vit
from tests.tiny import shake_trainable, tiny_vit

LABELS = ["left", "right"]
# no norm over the batch: a bias in front of one has a gradient of rounding alone, which Adam makes large
MEMBERS = {
    "linear": Member(
        head=LinearHead(dropout=0.5), optim=OptimizerConfig(lr=0.1), clip_norm=0.05
    ),
    "sgd": Member(
        head=LinearHead(dropout=0.2, std=0.1),
        optim=OptimizerConfig(
            algorithm="sgd",
            lr=0.5,
            schedule=Schedule(per="epoch", decay="cosine", floor=0.1),
        ),
        label_smoothing=0.1,
    ),
    "in_order": Member(
        readout="frames_concat", optim=OptimizerConfig(lr=0.03), clip_norm=0.1
    ),
    "step": Member(adapters=[STEP()], optim=OptimizerConfig(lr=0.02)),
    "side": Member(
        adapters=[Side4Video(width=64, norm="group")],
        head=LinearHead(dropout=0.5),
        optim=OptimizerConfig(
            lr=0.01, lr_factor={"head": 3.0}, schedule=Schedule(warmup=1.0)
        ),
        clip_norm=0.5,
    ),
    "two_readers": Member(
        adapters=[
            Side4Video(width=64, taps="last 1", norm="group"),
            MAdapter(width=64),
        ],
        optim=OptimizerConfig(lr=0.003),
    ),
}


class Losses(Callback):
    """The training losses of a run."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.found.append(
            outputs["losses"] if "losses" in outputs else outputs["loss"]
        )


def fit(
    module: Any,
    folder: Path,
    *,
    callbacks: tuple[Callback, ...] = (),
    **options: Any,
) -> Tensor:
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
    loader = DataLoader(
        Clips(), batch_size=4, collate_fn=Collate(), generator=torch.Generator()
    )
    trainer.fit(module, loader, loader)
    return torch.stack(losses.found).detach()


def bank(members: dict[str, Member] = MEMBERS, **options: Any) -> Bank:
    vit = tiny_vit(num_frames=2)
    torch.manual_seed(7)
    return Bank(vit, members, LABELS, **options)


def alone(member: Member) -> VideoClassifier:
    vit = tiny_vit(num_frames=2, readout=member.readout or "norm_cls_mean")
    torch.manual_seed(7)
    return VideoClassifier(
        vit,
        member.adapters,
        LABELS,
        head=member.head,
        optim=member.optim,
        label_smoothing=member.label_smoothing,
    )


@pytest.mark.parametrize("passes", [1, 3], ids=["each batch", "accumulated"])
def test_every_member_trains_as_it_does_alone(passes: int, tmp_path: Path) -> None:
    together = bank()
    losses = fit(together, tmp_path, accumulate_grad_batches=passes)
    for number, (name, member) in enumerate(MEMBERS.items()):
        single = alone(member)
        clip = {"gradient_clip_val": member.clip_norm}
        expected = (
            fit(single, tmp_path, accumulate_grad_batches=passes, **clip) * passes
        )
        torch.testing.assert_close(
            losses[:, number],
            expected,
            rtol=2e-4,
            atol=2e-5,
            msg=lambda m, n=name: f"{n}: {m}",
        )
        same(together.trained(name).weights, trainable_state(single), name)


def same(left: dict[str, Tensor], right: dict[str, Tensor], name: str) -> None:
    assert left.keys() == right.keys()
    for key, value in left.items():
        torch.testing.assert_close(
            value,
            right[key],
            rtol=1e-3,
            atol=1e-4,
            msg=lambda m, k=key: f"{name} {k}: {m}",
        )


def test_a_member_takes_the_weights_of_its_artifact_and_no_other_does() -> None:
    trained = bank()
    shake_trainable(trained, 3)
    other = bank()
    before = trainable_state(other)
    kept = {key: value.clone() for key, value in before.items()}
    load_member(other, "two_readers", trained.trained("two_readers").weights)
    same(
        other.trained("two_readers").weights,
        trained.trained("two_readers").weights,
        "two_readers",
    )
    assert other.own_best == {"two_readers"}
    number = list(MEMBERS).index("two_readers")
    mine = (f"backbone.readers.Bank.members.{number}.", f"heads.{number}.")
    for key, value in trainable_state(other).items():
        assert key.startswith(mine) or torch.equal(value, kept[key]), key
    head = f"heads.{number}.classifier.weight"
    assert not torch.equal(other.state_dict()[head], kept[head])
    with pytest.raises(ValueError, match="missing"):
        load_member(other, "side", trained.trained("linear").weights)


def test_a_member_that_diverges_stops_and_harms_no_other(tmp_path: Path) -> None:
    wild = Member(optim=OptimizerConfig(algorithm="sgd", lr=1e38, momentum=0.0))
    together = bank(
        {"first": MEMBERS["linear"], "wild": wild, "last": MEMBERS["side"]}
    )
    with pytest.warns(
        UserWarning, match="member wild: its loss is no number after"
    ):
        losses = fit(together, tmp_path)
    assert list(together.stopped) == ["wild"]
    assert not losses[-1, 1].isfinite()
    for number, name, member in (
        (0, "first", MEMBERS["linear"]),
        (2, "last", MEMBERS["side"]),
    ):
        single = alone(member)
        torch.testing.assert_close(
            losses[:, number],
            fit(single, tmp_path, gradient_clip_val=member.clip_norm),
        )
        same(together.trained(name).weights, trainable_state(single), name)
    owned = {
        name for name, owner in together.owners.items() if owner == "wild/head"
    }
    assert owned <= together.unreachable


def test_when_all_have_diverged_the_run_ends(tmp_path: Path) -> None:
    wild = Member(optim=OptimizerConfig(algorithm="sgd", lr=1e38, momentum=0.0))
    with (
        pytest.warns(UserWarning, match="no number"),
        pytest.raises(ValueError, match="every member is no number"),
    ):
        fit(bank({"wild": wild}), tmp_path)


def test_logits_that_are_no_numbers_count_as_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = bank({"a": Member(), "b": Member()}).eval()
    monkeypatch.setattr(together, "log_dict", lambda *_, **__: None)
    monkeypatch.setattr(together, "log", lambda *_, **__: None)
    with torch.no_grad():
        together.heads[1].classifier.bias.fill_(float("nan"))
    data = Collate()(
        [Clips()[0], Clips()[2]]
    )  # both of class 0, which argmax answers where all are NaN
    together.validation_step(data, 0)
    assert together.val_metrics[1]["top1"].compute() == 0


def test_in_half_precision_too(tmp_path: Path) -> None:
    # no Conv3d: on some CPUs the gradient of its weight is not a number in bfloat16
    members = {
        "linear": MEMBERS["linear"],
        "m_adapter": Member(adapters=[MAdapter(width=64)], clip_norm=1.0),
    }
    losses = fit(bank(members), tmp_path, precision="bf16-mixed")
    for number, member in enumerate(members.values()):
        expected = fit(
            alone(member),
            tmp_path,
            precision="bf16-mixed",
            gradient_clip_val=member.clip_norm,
        )
        torch.testing.assert_close(
            losses[:, number].float(), expected.float(), rtol=2e-2, atol=2e-2
        )


def test_a_seed_of_its_own_changes_a_member_and_no_other() -> None:
    plain = bank({"a": Member(), "b": Member()})
    seeded = bank({"a": Member(), "b": Member(seed=3)})
    assert torch.equal(
        plain.heads[0].classifier.weight, plain.heads[1].classifier.weight
    )
    assert torch.equal(
        plain.heads[0].classifier.weight, seeded.heads[0].classifier.weight
    )
    assert not torch.equal(
        plain.heads[1].classifier.weight, seeded.heads[1].classifier.weight
    )


@pytest.mark.parametrize(
    "adapter",
    [
        LoRA(rank=2),
        BitFit(targets=("q",), outside=False),
        LNTuning(),
        VPT(),
        VPT(deep=False),
        FullFineTuning(),
    ],
    ids=repr,
)
def test_what_changes_the_trunk_is_refused_by_name(adapter: Adapter) -> None:
    members = {
        "fine": Member(adapters=[Side4Video(width=64)]),
        "bad": Member(adapters=[adapter]),
    }
    with pytest.raises(
        ValueError, match=f"member bad: {adapter.name} changes the trunk"
    ):
        bank(members)


def test_a_reader_beside_an_adapter_is_refused_by_the_name_of_the_adapter() -> None:
    with pytest.raises(ValueError, match="member both: LoRA changes the trunk"):
        bank({"both": Member(adapters=[Side4Video(width=64), LoRA(rank=2)])})


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        (
            {"a": Member(optim=OptimizerConfig(global_batch=8)), "b": Member()},
            {},
            "global_batch must be one for all",
        ),
        ({"a": Member()}, {"gradient_clip_val": 1.0}, "set its clip_norm"),
    ],
)
def test_what_members_share_must_agree(
    members: dict[str, Member],
    options: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(bank(members), tmp_path, **options)


def test_a_trained_member_is_a_classifier_of_its_own(tmp_path: Path) -> None:
    together = bank()
    fit(together, tmp_path, max_epochs=1)
    together.eval()
    video = Collate()([Clips()[0], Clips()[1]]).video
    for name, logits in zip(MEMBERS, together(video), strict=True):
        single = alone(MEMBERS[name])
        load_trainable(single, together.trained(name).weights)
        torch.testing.assert_close(single.eval()(video), logits)


def test_members_that_only_read_the_trunk_may_read_it_differently() -> None:
    """The bare feature of a cache is of one read-out: where there are two, the bank asks for tokens."""
    ordered = Member(readout="frames_concat")
    together = bank({"mean": Member(), "ordered": ordered}).eval()
    assert together.parallel_readers.widths == [192, 384]
    assert needed(together.backbone) == ["block.1"]
    assert needed(bank({"a": Member(), "b": Member()}).backbone) == ["feature"]
    explicit = Member(readout="norm_cls_mean")
    assert needed(bank({"a": Member(), "b": explicit}).backbone) == ["feature"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            Member(readout="frames_concat", adapters=[MAdapter(width=64)]),
            "member bad: readout 'frames_concat' reads the trunk, and MAdapter answers",
        ),
        (Member(readout="map"), "readout 'map' is not offered by this trunk"),
    ],
    ids=["beside a reader", "not of this trunk"],
)
def test_a_readout_that_cannot_be_is_refused(member: Member, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bank({"good": Member(), "bad": member})


def test_an_attention_pool_that_the_trunk_let_go_is_refused() -> None:
    vit = toy_vit("vit_base_patch16_siglip_224", readout="patch_mean")
    with pytest.raises(ValueError, match=r"set model\.backbone\.readout to map"):
        Bank(vit, {"ordered": Member(readout="frames_concat")}, LABELS)


def test_the_artifact_of_a_member_has_its_readout(tmp_path: Path) -> None:
    together = bank()
    for name, readout in (("in_order", "frames_concat"), ("sgd", "norm_cls_mean")):
        write(tmp_path / name, together.trained(name), {})
        found = load(tmp_path / name, weights="random", allow_other_trunk=True)
        assert found.backbone.readout == readout
        assert torch.equal(
            found.head.classifier.weight,
            together.heads[list(MEMBERS).index(name)].classifier.weight,
        )
