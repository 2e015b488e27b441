"""Two processes that share a batch, replicated (DDP) or sharded (FSDP2), do what one process does.

In eval mode: with dropout, ranks draw their own masks.
"""

import pytest
import torch
from torch import multiprocessing

from tests.laws.methods import KINDS
from tests.laws.ranks import (
    RANKS,
    Classifier,
    Result,
    batch,
    run_all,
    running_averages,
    step,
    trained_gradients,
)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """One process group for all methods: starting it costs more than all their steps."""
    folder = tmp_path_factory.mktemp("ranks")
    output = folder / "results.pt"
    multiprocessing.spawn(
        run_all, (str(folder / "store"), KINDS, str(output)), nprocs=RANKS
    )
    return torch.load(output)


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_equal_one(
    two_ranks: dict[str, Result], strategy: str, method: str
) -> None:
    _compare(two_ranks[f"{strategy}-{method}"], Classifier(method))


@pytest.mark.parametrize("method", ["side4video_group", "side4video_sync"])
def test_two_ranks_train_like_one(
    two_ranks: dict[str, Result], method: str
) -> None:
    """Where statistics are of a clip, or of all processes."""
    _compare(two_ranks[f"training-{method}"], Classifier(method).train())


def test_statistics_of_a_process_are_not_those_of_all(
    two_ranks: dict[str, Result],
) -> None:
    """The published BatchNorm is a declared exception."""
    with pytest.raises(AssertionError):
        _compare(two_ranks["training-side4video"], Classifier("side4video").train())


def _compare(result: Result, model: Classifier) -> None:
    loss, seen = result
    assert step(model, *batch()).item() == pytest.approx(loss, abs=1e-5)
    expected = trained_gradients(model) | running_averages(model)
    assert seen.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            seen[name],
            tensor,
            atol=1e-5,
            rtol=1e-4,
            msg=lambda m, n=name: f"{n}: {m}",
        )
