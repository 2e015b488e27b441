"""Operations of one view: of every kind of method, and of a member as of a run of its own."""

import pytest

from lightning_petl.adapters import (
    VPT,
    Adapter,
    AttentiveProbe,
    MAdapter,
    MultiTuneV,
    STAdapter,
)
from lightning_petl.cost.operations import view_macs
from lightning_petl.tasks.bank.member import Member
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from tests.tiny import DIM, FRAMES, tiny_vit

LABELS = ["left", "right"]
MEMBERS = {
    "mean": Member(),
    "in_order": Member(readout="frames_concat"),
    "attentive": Member(
        adapters=[AttentiveProbe(blocks=1, frame_positions=True)],
    ),
    "m_adapter": Member(adapters=[MAdapter(width=64)]),
    "mean_again": Member(),
}


@pytest.mark.parametrize(
    "adapter",
    [VPT(num_prompts=3), MultiTuneV(st_adapter=STAdapter(bottleneck=8))],
    ids=["vpt", "multi_tunev"],
)
def test_prompts_are_counted_as_the_tokens_they_add(adapter: Adapter) -> None:
    """Idle dropout gives a parameter itself, which torch's counter does not follow."""
    bare = view_macs(VideoClassifier(tiny_vit(), [], LABELS))[""]
    assert view_macs(VideoClassifier(tiny_vit(), [adapter], LABELS))[""] > bare


def test_a_member_costs_what_a_run_of_its_own_costs() -> None:
    bank = Bank(tiny_vit(), MEMBERS, LABELS)
    found = view_macs(bank)
    for name, member in MEMBERS.items():
        vit = tiny_vit(readout=member.readout or "norm_cls_mean")
        alone = VideoClassifier(vit, member.adapters, LABELS, head=member.head)
        assert found[name] == view_macs(alone)[""], name
    # the heads alone differ: as many times wider as there are frames
    wider = (FRAMES - 1) * DIM * len(LABELS)
    assert found["in_order"] - found["mean"] == wider
    assert bank.backbone.readout == "norm_cls_mean"
    assert list(bank.backbone.readers) == ["Bank"]
