"""The task: views, losses, names and what it refuses."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from data_modules.batch import Partners, VideoBatch
from lightning_petl.adapters import LinearProbe, LoRA
from lightning_petl.heads.linear import LinearHead
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.outputs import unreadable_as_wrong
from tests.tiny import tiny_vit

LABELS = ["left", "right", "still"]


def model(**options: object) -> VideoClassifier:
    torch.manual_seed(0)
    return VideoClassifier(tiny_vit(), [LoRA(rank=2)], LABELS, **options)


def batch(videos: int = 2, views: int = 3) -> VideoBatch:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(
        0,
        256,
        (videos, views, 4, 3, 32, 32),
        dtype=torch.uint8,
        generator=generator,
    )
    return VideoBatch(video, torch.arange(videos), [str(n) for n in range(videos)])


def test_probabilities_are_the_mean_over_views() -> None:
    module, video = model().eval(), batch().video
    single = torch.stack(
        [module.head(module.backbone(view)).softmax(-1) for view in video.unbind(1)]
    )
    torch.testing.assert_close(module.probabilities(video), single.mean(0))


def test_each_view_is_a_clip_of_its_own_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = model(head=LinearHead(dropout=0.0), label_smoothing=0.1)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    data = batch()
    losses = [
        cross_entropy(
            module.head(module.backbone(clip[None])),
            label[None],
            label_smoothing=0.1,
        )
        for clips, label in zip(data.video, data.label, strict=True)
        for clip in clips
    ]
    torch.testing.assert_close(
        module.training_step(data, 0), torch.stack(losses).mean()
    )


def test_the_loss_of_mixed_clips_is_that_of_soft_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = model(head=LinearHead(dropout=0.0), label_smoothing=0.1)
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    data = batch(views=1)
    partners = Partners(torch.tensor([1, 2]), torch.tensor([0.7, 0.2]))
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.2, 0.8]]) * 0.9 + 0.1 / 3
    logits = module(data.video)[:, 0]
    expected = -(soft * logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(
        module.training_step(data._replace(partners=partners), 0), expected
    )


def test_a_video_that_cannot_be_read_counts_as_wrong() -> None:
    data = batch()._replace(fault=["", "b.mp4: damaged"])
    logits = torch.tensor([[[3.0, 1.0, 2.0]], [[1.0, 9.0, 2.0]]])
    counted = unreadable_as_wrong(logits, data)
    torch.testing.assert_close(counted[0], logits[0])
    probability = counted[1, 0].softmax(-1)
    assert probability[1] == 0
    assert probability[0] == probability[2] == 0.5
    assert unreadable_as_wrong(logits, batch()) is logits


def test_prediction_ranks_classes() -> None:
    module = model().eval()
    top = module.predict_step(batch(), 0)
    probability = module.probabilities(batch().video)
    assert top.clip_id == ["0", "1"]
    torch.testing.assert_close(
        top.probability, probability.sort(descending=True).values
    )
    torch.testing.assert_close(probability.gather(1, top.label), top.probability)


def test_every_trainable_parameter_has_an_owner_and_nothing_else() -> None:
    module = model()
    assert set(module.owners) == {
        name for name, p in module.named_parameters() if p.requires_grad
    }
    assert set(module.owners.values()) == {"LoRA", "head"}


def test_the_frozen_trunk_is_in_eval_from_the_start() -> None:
    module = model()
    assert module.head.dropout.training
    training = {
        name
        for name, m in module.backbone.named_modules()
        if isinstance(m, torch.nn.Dropout) and m.training
    }
    assert all(".deltas." in name for name in training)  # the method's own
    assert not module.backbone.blocks[0].mlp.training


@pytest.mark.parametrize(
    ("labels", "smoothing", "message"),
    [
        (["a"], 0.0, "at least 2 classes"),
        (["a", "b", "a"], 0.0, "twice: a"),
        (["a", "b"], 1.0, r"\[0, 1\), got 1"),
    ],
)
def test_wrong_values_are_named(
    labels: list[str], smoothing: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VideoClassifier(
            tiny_vit(), [LinearProbe()], labels, label_smoothing=smoothing
        )
