"""Plans against a decoder that knows which picture refers to which."""

from itertools import pairwise

import numpy as np
import pytest

from data_modules.video.plan import UNKNOWN, PacketTable, presentation, segments


def table(
    time: list[int], keyframes: set[int], hidden: set[int] = frozenset()
) -> PacketTable:
    count = len(time)
    return PacketTable(
        np.array(time, np.int64),
        np.array([i in keyframes for i in range(count)]),
        np.array([i not in hidden for i in range(count)]),
    )


def stream(rng: np.random.Generator) -> tuple[PacketTable, list[set[int]]]:
    """Groups of pictures I P B B P B B ..., and what each picture refers to; B before a key frame look back over it."""
    time, keyframes, refers, shown = [], set(), [], 0
    anchors: list[int] = []
    for _ in range(rng.integers(1, 6)):
        open_group = bool(anchors) and rng.random() < 0.5
        for anchor in range(rng.integers(1, 6)):
            between = int(rng.integers(0, 4)) if anchor or open_group else 0
            number = len(time)
            if not anchor:
                keyframes.add(number)
            previous = anchors[-1:]
            time.append(shown + between)
            refers.append(set() if not anchor else set(previous))
            anchors.append(number)
            for b in range(between):
                refers.append({number, *previous})
                time.append(shown + b)
            shown += between + 1
    return table(time, keyframes), refers


@pytest.mark.parametrize("seed", range(60))
def test_every_target_is_fed_with_all_that_it_refers_to_and_nothing_is_fed_after_it(
    seed: int,
):
    rng = np.random.default_rng(seed)
    packets, refers = stream(rng)
    order = presentation(packets)
    assert order is not None
    assert packets.time[order].tolist() == list(range(len(order)))
    targets = set(
        rng.choice(len(order), rng.integers(1, min(9, len(order) + 1))).tolist()
    )
    fed = segments(packets, targets)
    decoded: set[int] = set()
    for segment in fed:
        assert packets.keyframe[segment[0]]
        assert (np.diff(segment) > 0).all()
        assert segment[-1] in targets
        fresh: set[int] = set()
        for number in segment.tolist():
            if refers[number] <= fresh:
                fresh.add(number)
        decoded |= fresh
    assert targets <= decoded
    assert all(first[-1] + 1 < second[0] for first, second in pairwise(fed))
    if len(targets) == 1:  # no later key frame could have served
        (target,) = targets
        later = [k for k in range(fed[0][0] + 1, target + 1) if packets.keyframe[k]]
        assert all(packets.time[k] > packets.time[target] for k in later)


def test_one_keyframe_each_feeds_the_targets_alone():
    fed = segments(table(list(range(9)), set(range(9))), [7, 2])
    assert [segment.tolist() for segment in fed] == [[2], [7]]


def test_a_leading_picture_decodes_from_the_key_frame_before():
    packets = table(
        [0, 2, 1, 5, 3, 4, 6], {0, 3}
    )  # 3 and 4 are shown before the key frame at 5
    assert [s.tolist() for s in segments(packets, [4])] == [[0, 1, 2, 3, 4]]
    assert [s.tolist() for s in segments(packets, [6])] == [[3, 6]]


@pytest.mark.parametrize(
    "packets",
    [
        table([], set()),
        table([0, 1, 1], {0}),  # double
        table([0, UNKNOWN, 2], {0}),
        table([UNKNOWN] * 3, {0}),
        table([0, 1, 2], {1}),  # begins without a key frame
        table([2, 0, 1, 3], {0}),  # shown before the key frame
        table([0, 1], {0}, hidden={0, 1}),
    ],
)
def test_what_only_decoding_can_tell(packets: PacketTable):
    assert presentation(packets) is None


def test_hidden_packets_have_no_rank():
    order = presentation(table([0, 3, 1, 2], {0}, hidden={2}))
    assert order is not None
    assert order.tolist() == [0, 3, 1]
