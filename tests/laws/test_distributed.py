"""Two processes that share a batch, replicated (DDP) or sharded (FSDP2), do what one process does."""

import pytest
import torch
from torch import multiprocessing

from tests.laws.methods import METHODS
from tests.laws.ranks import RANKS, Classifier, Result, batch, run_all, step, trained_gradients

SINGLES = list(METHODS)  # in eval mode: with dropout, ranks draw their own masks


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """One process group for all methods: starting it costs more than all their steps."""
    folder = tmp_path_factory.mktemp("ranks")
    output = folder / "results.pt"
    multiprocessing.spawn(run_all, (str(folder / "store"), SINGLES, str(output)), nprocs=RANKS)
    return torch.load(output)


@pytest.mark.parametrize("method", SINGLES)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_equal_one(two_ranks: dict[str, Result], strategy: str, method: str) -> None:
    loss, gradients = two_ranks[f"{strategy}-{method}"]
    model = Classifier(method)
    assert step(model, *batch()).item() == pytest.approx(loss, abs=1e-5)
    expected = trained_gradients(model)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
