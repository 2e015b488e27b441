"""Load into one member of a bank the weights that its artifact holds."""

from collections.abc import Mapping

from torch import Tensor

from lightning_petl.checkpoints.trainable_state import load_trainable
from lightning_petl.tasks.bank.task import Bank

# what stands before the names of a classifier's readers and head in an artifact
_READERS = "backbone.readers."
_HEAD = "head."


def load_member(bank: Bank, name: str, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a member, and note that they are of its own best validation.

    Args:
        bank: whose other members stay as they are.
        name: of the member.
        weights: by the names of an artifact, which is that of a classifier.

    Raises:
        ValueError: they are those of another stack or head.
    """
    number = list(bank.members).index(name)
    readers = bank.parallel_readers.members[number]
    load_trainable(readers, _without(_READERS, weights))
    load_trainable(bank.heads[number], _without(_HEAD, weights))
    bank.own_best.add(name)


def _without(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key.startswith(prefix):
            found[key.removeprefix(prefix)] = value
    return found
