"""Which clips come when, as arithmetic: neither state nor communication."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch.utils.data import Sampler, SequentialSampler

from data_modules.sample import PADDING
from data_modules.sampling.randomness import keyed_generator


class Order(NamedTuple):
    """All that the order of the clips in an epoch depends on.

    Attributes:
        num_clips: clips of the training set.
        global_batch: clips a step of all ranks takes together, before accumulation.
        seed: of the permutation.
        shuffled: a new permutation each epoch, or always the annotation's order.
    """

    num_clips: int
    global_batch: int
    seed: int
    shuffled: bool = True

    def epoch(self, epoch: int) -> list[int]:
        """The indices of the clips in the order of this epoch, all of them."""
        if not self.shuffled:
            return list(range(self.num_clips))
        return (
            keyed_generator(self.seed, epoch, "order")
            .permutation(self.num_clips)
            .tolist()
        )


class EpochBatchSampler(Sampler[list[tuple[int, int]]]):
    """Training batches: lists of (epoch, index of the clip).

    Step s of an epoch is order[s G : (s + 1) G] of all ranks together, G the global batch, and rank r takes the
    r-th part of it. What is left at the end, fewer than G clips, is dropped; another epoch has other ones.

    Args:
        order: the order of each epoch.
        rank: this process, from 0.
        world_size: processes; divides the global batch.
        position: asked at the start of an iteration for the epoch and for the batches of it already done.
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
                f"batch_size: one step takes {order.global_batch} clips ({order.global_batch // world_size} on each "
                f"of {world_size} processes), the training set has {order.num_clips}; take a smaller batch_size"
            )
        self._order, self._rank, self._world_size, self._position = (
            order,
            rank,
            world_size,
            position,
        )

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever this iteration starts."""
        return self._order.num_clips // self._order.global_batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """The batches of this rank from the position on."""
        epoch, done = self._position()
        indices = self._order.epoch(epoch)
        size = self._order.global_batch // self._world_size
        for step in range(done, len(self)):
            first = step * self._order.global_batch + self._rank * size
            yield [(epoch, index) for index in indices[first : first + size]]


class EvalSampler(
    SequentialSampler
):  # Lightning asks for this type to see that nothing is shuffled
    """Every ``world_size``-th index from ``rank`` on: all ranks together see each clip once, nothing is padded.

    Ranks may differ by one clip, so metrics must be sums over clips that are reduced at the end.
    """

    def __init__(self, num_clips: int, *, rank: int = 0, world_size: int = 1) -> None:
        self._indices = range(rank, num_clips, world_size)

    def __iter__(self) -> Iterator[int]:
        """The indices of this rank."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Clips of this rank."""
        return len(self._indices)


class PaddedSampler(SequentialSampler):
    """The indices of an :class:`EvalSampler`, then one ``PADDING`` where other ranks have a batch more.

    All ranks then make the same number of steps, also with fewer clips than ranks, and no collective of an evaluation
    waits for a rank that has nothing to do. With 5 clips on two ranks in batches of 2, rank 0 sees 0, 2, 4 in two
    batches, and rank 1 sees 1, 3, ``PADDING``.
    """

    def __init__(
        self, num_clips: int, batch_size: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        own = EvalSampler(num_clips, rank=rank, world_size=world_size)
        most = len(EvalSampler(num_clips, rank=0, world_size=world_size))
        has_fewer_batches = -(-len(own) // batch_size) < -(-most // batch_size)
        self._indices = [*own, PADDING] if has_fewer_batches else list(own)

    def __iter__(self) -> Iterator[int]:
        """The indices of this rank, and at most one ``PADDING`` behind them."""
        return iter(self._indices)

    def __len__(self) -> int:
        """Samples of this rank."""
        return len(self._indices)
