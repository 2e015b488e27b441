"""A checkpoint holds the random state that training goes on with."""

import torch

from experiments.drill.compare import same
from lightning_petl.callbacks.resume.random_state import RandomStates


def test_what_is_yet_to_be_restored_is_saved_again() -> None:
    """A run that goes on in a validation saves at the end of the epoch, before its next batch."""
    saved = RandomStates().state_dict()
    resumed = RandomStates()
    resumed.load_state_dict(saved)
    torch.rand(1)
    assert not same(RandomStates().state_dict(), saved)
    assert same(resumed.state_dict(), saved)
