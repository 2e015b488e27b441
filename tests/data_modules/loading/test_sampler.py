from itertools import chain

import pytest

from data_modules.loading.sampler import (
    EpochBatchSampler,
    EvalSampler,
    Order,
    PaddedSampler,
)
from data_modules.sample import PADDING


def batches(
    order: Order, epoch: int, done: int = 0, rank: int = 0, world_size: int = 1
) -> list[list[tuple[int, int]]]:
    return list(
        EpochBatchSampler(
            order, rank=rank, world_size=world_size, position=lambda: (epoch, done)
        )
    )


def test_an_epoch_sees_each_clip_at_most_once_and_drops_less_than_a_batch():
    seen = list(chain.from_iterable(batches(Order(101, 4, 0), 3)))
    assert {epoch for epoch, _ in seen} == {3}
    indices = [index for _, index in seen]
    assert len(indices) == len(set(indices)) == 100
    assert set(indices) < set(range(101))


def test_order_is_a_function_of_seed_and_epoch():
    order = Order(50, 5, 7)
    assert batches(order, 2) == batches(order, 2)
    orders = [
        order.epoch(0),
        order.epoch(1),
        Order(50, 5, 8).epoch(0),
        list(range(50)),
    ]
    assert all(sorted(one) == list(range(50)) for one in orders)
    assert len({tuple(one) for one in orders}) == 4
    assert Order(50, 5, 7, shuffled=False).epoch(9) == list(range(50))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_out_the_global_batch(world_size: int):
    order = Order(101, 6, 0)
    ranks = [
        batches(order, 1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    joined = [
        list(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)
    ]
    assert joined == batches(order, 1)


@pytest.mark.parametrize("done", [0, 1, 24, 25])
def test_starts_where_it_is_told_and_keeps_its_length(done: int):
    order = Order(101, 4, 0)
    sampler = EpochBatchSampler(order, position=lambda: (5, done))
    assert list(sampler) == batches(order, 5)[done:]
    assert len(sampler) == 25


def test_too_few_clips():
    with pytest.raises(
        ValueError,
        match=r"one step takes 8 clips \(4 on each of 2 processes\).*has 5; take a smaller",
    ):
        EpochBatchSampler(Order(5, 8, 0), world_size=2, position=lambda: (0, 0))


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [101, 100, 2])
def test_evaluation_sees_each_clip_once(count: int, world_size: int):
    samplers = [
        EvalSampler(count, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sorted(chain.from_iterable(samplers)) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [
        len(list(sampler)) for sampler in samplers
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 100, 101])
def test_all_ranks_evaluate_in_as_many_batches(
    count: int, world_size: int, batch_size: int
):
    ranks = [
        list(PaddedSampler(count, batch_size, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    clips = [index for rank in ranks for index in rank if index != PADDING]
    assert sorted(clips) == list(range(count))
    assert len({len(list(batched(rank, batch_size))) for rank in ranks}) == 1
    for rank in ranks:
        assert PADDING not in rank[:-1]


def batched(indices: list[int], size: int) -> list[list[int]]:
    return [indices[first : first + size] for first in range(0, len(indices), size)]
