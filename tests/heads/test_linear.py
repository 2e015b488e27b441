"""The head's equation, start and limits."""

import pytest
import torch

from lightning_petl.checkpoints.trainable_state import trainable_state
from lightning_petl.heads.linear import LinearHead


def test_logits_are_an_affine_map_in_eval() -> None:
    head = LinearHead().build(6, 3).eval()
    feature = torch.randn(4, 6)
    expected = (
        torch.einsum("bd,kd->bk", feature, head.classifier.weight)
        + head.classifier.bias
    )
    torch.testing.assert_close(head(feature), expected)


def test_start_is_st_adapters() -> None:
    torch.manual_seed(0)
    head = LinearHead().build(768, 174)
    assert head.dropout.p == 0.5
    assert head.classifier.bias.count_nonzero() == 0
    # the error of a standard deviation from n draws is std / sqrt(2 n)
    assert head.classifier.weight.std().item() == pytest.approx(
        0.02, abs=4 * 0.02 / (2 * 768 * 174) ** 0.5
    )


@pytest.mark.parametrize(
    ("recipe", "classes", "message"),
    [
        (LinearHead(), 1, "at least 2 classes.*1"),
        (LinearHead(dropout=1.0), 3, "dropout.*1.0"),
        (LinearHead(std=-0.1), 3, "std.*-0.1"),
    ],
)
def test_wrong_values_are_named(
    recipe: LinearHead, classes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        recipe.build(6, classes)


def test_batch_norm_has_statistics_and_no_weights() -> None:
    head = LinearHead(batch_norm=True, dropout=0.0, std=0.01).build(6, 3)
    feature = 5 + 3 * torch.randn(8, 6)
    centred = (feature - feature.mean(0)) / (
        feature.var(0, correction=0) + 1e-6
    ).sqrt()
    torch.testing.assert_close(head(feature), head.classifier(centred))
    assert {name for name, _ in head.named_parameters()} == {
        "classifier.weight",
        "classifier.bias",
    }
    assert {"norm.running_mean", "norm.running_var"} <= set(trainable_state(head))
