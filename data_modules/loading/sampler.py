"""Which clips come when, as arithmetic: neither state nor communication."""

from collections.abc import Callable, Iterator
from math import ceil
from typing import NamedTuple

from torch.utils.data import Sampler, SequentialSampler

from data_modules.sample import PADDING
from data_modules.sampling.randomness import keyed_generator


class Order(NamedTuple):
    """Hold all that the order of the clips in an epoch depends on.

    Attributes:
        num_clips: clips of the training set.
        global_batch: clips a step of all ranks takes together, before accumulation.
        seed: of the permutation.
        shuffled: a new permutation each epoch, or always the annotation's order.
        subset: the options that chose these clips; empty where they are all.
    """

    num_clips: int
    global_batch: int
    seed: int
    shuffled: bool = True
    subset: str = ""

    def epoch(self, epoch: int) -> list[int]:
        """Return the indices of all clips in the order of this epoch.

        >>> order = Order(num_clips=5, global_batch=2, seed=0)
        >>> order.epoch(0), order.epoch(1)
        ([1, 3, 2, 4, 0], [1, 3, 4, 0, 2])
        >>> order._replace(shuffled=False).epoch(1)
        [0, 1, 2, 3, 4]
        """
        if not self.shuffled:
            return list(range(self.num_clips))
        generator = keyed_generator(self.seed, epoch, "order")
        return generator.permutation(self.num_clips).tolist()


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Yield training batches: lists of (epoch, index of the clip).

    Step s of an epoch is order[s G : (s + 1) G] of all ranks together, G the global
    batch, and rank r takes the r-th part of it. What is left at the end, fewer than G
    clips, is dropped; another epoch drops other ones. With 11 clips, G = 4 and two
    ranks::

        order   3 7 0 5 | 9 1 4 8 | 2 6 10
        step       0    |    1    | dropped
        rank    0 0 1 1 | 0 0 1 1 |

    After a resume the epoch goes on at the step where it stood:

    >>> order = Order(num_clips=11, global_batch=4, seed=0, shuffled=False)
    >>> for rank in (0, 1):
    ...     list(EpochBatchSampler(order, rank=rank, world_size=2, position=lambda: (6, 0)))
    [[(6, 0), (6, 1)], [(6, 4), (6, 5)]]
    [[(6, 2), (6, 3)], [(6, 6), (6, 7)]]
    >>> list(EpochBatchSampler(order, rank=1, world_size=2, position=lambda: (6, 1)))
    [[(6, 6), (6, 7)]]

    Args:
        order: the order of each epoch.
        rank: this process, from 0.
        world_size: processes; divides the global batch.
        position: asked at the start of an iteration for the epoch and for the batches
            of it that are already done.

    Raises:
        ValueError: a step takes more clips than there are.
    """

    def __init__(
        self,
        order: Order,
        *,
        rank: int = 0,
        world_size: int = 1,
        position: Callable[[], tuple[int, int]],
    ) -> None:
        if order.num_clips < order.global_batch:
            raise ValueError(
                f"batch_size: one step takes {order.global_batch} clips "
                f"({order.global_batch // world_size} on each "
                f"of {world_size} processes), the training set has "
                f"{order.num_clips}; take a smaller batch_size"
            )
        self._order = order
        self._rank = rank
        self._world_size = world_size
        self._position = position

    def __len__(self) -> int:
        """Return the batches of a whole epoch, wherever this iteration starts."""
        return self._order.num_clips // self._order.global_batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the batches of this rank from the position on."""
        epoch, done = self._position()
        indices = self._order.epoch(epoch)
        size = self._order.global_batch // self._world_size
        for step in range(done, len(self)):
            first = step * self._order.global_batch + self._rank * size
            yield [(epoch, index) for index in indices[first : first + size]]


# Lightning takes a loader for shuffled, and warns, unless its sampler is of this type
class EvalSampler(SequentialSampler):
    """Yield every ``world_size``-th index from ``rank`` on.

    All ranks together see each clip once, and nothing is padded. Ranks may differ by
    one clip, so metrics must be sums over clips that are reduced at the end.

    >>> [list(EvalSampler(5, rank=rank, world_size=2)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3]]
    """

    def __init__(
        self, num_clips: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._indices = range(rank, num_clips, world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this rank."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Return the number of clips of this rank."""
        return len(self._indices)


class PaddedSampler(SequentialSampler):
    """Yield the indices of an :class:`EvalSampler`, then at most one ``PADDING``.

    It is there where other ranks have a batch more. All ranks then make the same number
    of steps, also with fewer clips than ranks, and no collective of an evaluation waits
    for a rank that has nothing to do. With 5 clips on two ranks in batches of 2::

        rank 0   0 2 | 4
        rank 1   1 3 | PADDING

    >>> [list(PaddedSampler(5, 2, rank=rank, world_size=2)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, -1]]
    """

    def __init__(
        self, num_clips: int, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._indices = list(
            EvalSampler(num_clips, rank=rank, world_size=world_size)
        )
        # no rank has more clips than rank 0
        most = len(EvalSampler(num_clips, rank=0, world_size=world_size))
        if ceil(len(self._indices) / batch_size) < ceil(most / batch_size):
            self._indices.append(PADDING)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this rank, and at most one ``PADDING`` behind them."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Return the number of samples of this rank."""
        return len(self._indices)
