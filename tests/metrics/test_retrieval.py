"""Ranks against the definition, with ties against the mean over all ways to break them, and by hand."""

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from lightning_petl.heads.similarity import MeanPooling
from lightning_petl.metrics.retrieval import retrieval_metrics
from lightning_petl.shapes import Words

Blocks = Callable[[range, range], Tensor]
KINDS = ("R1", "R5", "R10", "MdR", "MnR")


def of(matrix: Tensor) -> Blocks:
    """Its blocks."""
    return lambda rows, columns: matrix[
        rows.start : rows.stop, columns.start : columns.stop
    ]


def metrics(
    rows: list[list[float]], owner: list[int], **options: object
) -> dict[str, float]:
    """Of a matrix written by hand."""
    matrix = torch.tensor(rows)
    return retrieval_metrics(
        of(matrix), torch.tensor(owner), matrix.shape[1], **options
    )


def chosen(found: dict[str, float], name: str) -> list[float]:
    """R1, R5, R10, MdR and MnR."""
    return [found[f"{name}/{kind}"] for kind in KINDS]


def summary(ranks: list[int]) -> list[float]:
    """The same, of ranks."""
    array = np.array(ranks)
    return [
        *(100 * float((array <= k).mean()) for k in (1, 5, 10)),
        float(np.median(array)),
        float(array.mean()),
    ]


def naive(matrix: Tensor, owner: Tensor) -> dict[str, list[float]]:
    """Without ties, by sorting everything."""
    videos, asked = matrix.shape[1], owner.unique().tolist()
    texts = [
        int((row.argsort(descending=True) == own).nonzero()) + 1
        for row, own in zip(matrix, owner, strict=True)
    ]
    any_ = [
        int((owner[matrix[:, j].argsort(descending=True)] == j).nonzero()[0]) + 1
        for j in asked
    ]
    sets = torch.stack([matrix[owner == j].amax(0) for j in asked])
    set_ = [
        int((sets[:, j].argsort(descending=True) == asked.index(j)).nonzero()) + 1
        for j in asked
    ]
    assert videos >= len(asked)
    return {
        "t2v": summary(texts),
        "v2t_any": summary(any_),
        "v2t_set": summary(set_),
    }


def captions(videos: int, *, seed: int = 0, most: int = 4) -> Tensor:
    """0 to ``most`` captions of each video, in no order."""
    draw = torch.Generator().manual_seed(seed)
    owner = torch.arange(videos).repeat_interleave(
        torch.randint(0, most + 1, (videos,), generator=draw)
    )
    return owner[torch.randperm(len(owner), generator=draw)]


@pytest.mark.parametrize("seed", range(5))
def test_the_definition(seed: int) -> None:
    """Several captions a video, some videos without any, in any order."""
    owner = captions(40, seed=seed)
    matrix = torch.randn(
        len(owner), 40, generator=torch.Generator().manual_seed(seed)
    )
    matrix[torch.arange(len(owner)), owner] += 1.5
    assert len(owner.unique()) < 40
    assert matrix.unique().numel() == matrix.numel()
    found = retrieval_metrics(of(matrix), owner, 40, block=(7, 9))
    for name, expected in naive(matrix, owner).items():
        assert chosen(found, name) == pytest.approx(expected), name


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recalls_are_the_hit_rates_of_torchmetrics(k: int) -> None:
    """Captions ask for videos, and videos that have any ask for captions."""
    # here, because it imports torchvision, which the ranks of other tests do not repair
    from torchmetrics.retrieval import RetrievalHitRate

    owner = captions(30)
    matrix = torch.randn(len(owner), 30, generator=torch.Generator().manual_seed(0))
    matrix[torch.arange(len(owner)), owner] += 1.5
    right = owner[:, None] == torch.arange(30)
    question = torch.arange(len(owner))[:, None].expand_as(matrix)
    asked = right.any(0)
    of_videos = torch.arange(30).expand_as(matrix)[:, asked]
    rate = RetrievalHitRate(top_k=k)
    found = retrieval_metrics(of(matrix), owner, 30)
    by_caption = rate(matrix, right, question)
    assert found[f"t2v/R{k}"] == pytest.approx(100 * by_caption.item(), rel=1e-6)
    by_video = rate(matrix[:, asked], right[:, asked], of_videos)
    assert found[f"v2t_any/R{k}"] == pytest.approx(100 * by_video.item(), rel=1e-6)


def broken(scores: Tensor, right: Tensor) -> list[float]:
    """Probability that the first right one is among the first 1, 5, 10, and its mean rank, over all orders of ties."""
    numbers = list(zip(scores.tolist(), right.tolist(), strict=True))
    ranks = []
    for order in permutations(numbers):
        ranked = sorted(
            order, key=lambda entry: -entry[0]
        )  # stable: ties stay in the order of the permutation
        ranks.append(
            1
            + next(place for place, (_, is_right) in enumerate(ranked) if is_right)
        )
    array = np.array(ranks)
    return [*(float((array <= k).mean()) for k in (1, 5, 10)), float(array.mean())]


@pytest.mark.parametrize("seed", range(6))
def test_ties_are_broken_at_random(seed: int) -> None:
    """Every number is the expectation over all orders of what is equal."""
    draw = torch.Generator().manual_seed(seed)
    owner = torch.tensor([[0, 1, 2, 3, 1, 1], [2, 2, 0, 0, 1, 3]][seed % 2])
    matrix = torch.randint(-1, 2, (6, 5), generator=draw).float()
    found = retrieval_metrics(of(matrix), owner, 5, block=(4, 3))
    expected = {
        "t2v": [
            broken(row, torch.arange(5) == own)
            for row, own in zip(matrix, owner, strict=True)
        ],
        "v2t_any": [broken(matrix[:, j], owner == j) for j in range(4)],
        "v2t_set": [
            broken(
                torch.stack([matrix[owner == k, j].max() for k in range(4)]),
                torch.arange(4) == j,
            )
            for j in range(4)
        ],
    }
    for name, numbers in expected.items():
        *recalls, rank = np.array(numbers).mean(0)
        assert chosen(found, name)[:3] == pytest.approx(
            [100 * r for r in recalls]
        ), name
        assert found[f"{name}/MnR"] == pytest.approx(rank)
        assert found[f"{name}/MdR"] == pytest.approx(
            np.median(np.array(numbers)[:, 3])
        )


def test_a_constant_model_gets_chance() -> None:
    """Not a recall of 100 %, which ``rank = 1 + #better`` would give, nor of 0."""
    owner = torch.arange(100).repeat_interleave(2)
    found = retrieval_metrics(
        of(torch.full((200, 100), 0.3)), owner, 100, block=(64, 64)
    )
    assert chosen(found, "t2v") == pytest.approx([1, 5, 10, 50.5, 50.5])
    assert chosen(found, "v2t_set") == pytest.approx([1, 5, 10, 50.5, 50.5])
    # two right ones among 200: the first at (200 + 1) / 3; none among k with (200 - k)(199 - k) / (200 199)
    missed = [(200 - k) * (199 - k) / (200 * 199) for k in (1, 5, 10)]
    assert chosen(found, "v2t_any") == pytest.approx(
        [*(100 * (1 - m) for m in missed), 67, 67]
    )


def test_by_hand() -> None:
    """Captions 0 and 1 are of video 0, 2 of video 1, 3 of video 2."""
    rows = [[0.9, 0.1, 0.2], [0.3, 0.8, 0.5], [0.7, 0.6, 0.1], [0.4, 0.2, 0.35]]
    found = metrics(rows, [0, 0, 1, 2])
    assert chosen(found, "t2v") == pytest.approx(
        [25, 100, 100, 2, 2]
    )  # ranks 1, 3, 2, 2
    # video 0: 0.9 of its own first; video 1: 0.8 of caption 1 before 0.6; video 2: 0.5 before 0.35
    assert chosen(found, "v2t_any") == pytest.approx([100 / 3, 100, 100, 2, 5 / 3])
    assert chosen(found, "v2t_set") == pytest.approx([100 / 3, 100, 100, 2, 5 / 3])


def test_sets_of_captions_flatter() -> None:
    """Both captions of video 0 are before that of video 1: third among captions, second among sets."""
    found = metrics([[0.9, 0.8], [0.9, 0.7], [0.1, 0.5]], [0, 0, 1])
    assert found["v2t_any/MnR"] == (1 + 3) / 2
    assert found["v2t_set/MnR"] == (1 + 2) / 2


def test_one_caption_a_video_is_one_protocol() -> None:
    matrix = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    found = retrieval_metrics(of(matrix), torch.randperm(30), 30)
    assert chosen(found, "v2t_any") == chosen(found, "v2t_set")
    assert list(found) == [
        f"{name}/{kind}" for name in ("t2v", "v2t_any", "v2t_set") for kind in KINDS
    ]


def test_no_number_depends_on_the_blocks() -> None:
    """With videos and sentences that are equal, whose similarities are computed in different places."""
    draw = torch.Generator().manual_seed(0)
    module, owner = MeanPooling().build(48), captions(60)
    video = torch.randn(20, 2, 48, generator=draw).repeat(3, 1, 1)
    sentence = video.mean(1)[owner] + torch.randn(len(owner), 48, generator=draw)
    sentence[::3] = sentence[0]
    words = Words(
        sentence[:, None], torch.ones(len(owner), 1, dtype=torch.bool), sentence
    )
    block = module.blocks(module.encode_texts(words), module.encode_videos(video))
    options = {"dual_softmax": 100.0}
    whole = retrieval_metrics(block, owner, 60, **options)
    for size in ((7, 60), (len(owner), 13), (16, 9), (31, 1)):
        assert retrieval_metrics(
            block, owner, 60, block=size, **options
        ) == pytest.approx(whole, abs=1e-12)
    assert whole["t2v/R1"] < 34  # each video is there three times


def test_the_matrix_is_never_whole() -> None:
    matrix, asked = torch.randn(50, 40), []

    def blocks(rows: range, columns: range) -> Tensor:
        asked.append((rows, columns))
        return of(matrix)(rows, columns)

    retrieval_metrics(blocks, torch.arange(50) % 40, 40, block=(8, 16))
    assert max(len(rows) * len(columns) for rows, columns in asked) == 8 * 16
    times = torch.zeros(50, 40)
    for rows, columns in asked:
        times[rows.start : rows.stop, columns.start : columns.stop] += 1
    assert times.min() == 1
    assert times.max() == 2


def test_a_video_that_cannot_be_read_is_not_found() -> None:
    """Video 1: its caption and itself are last and no hit, though there are three places for ten."""
    bad = -torch.inf
    found = metrics([[0.9, bad, 0.1], [0.2, bad, 0.3], [0.1, bad, 0.4]], [0, 1, 2])
    assert chosen(found, "t2v") == pytest.approx(
        [200 / 3, 200 / 3, 200 / 3, 1, 5 / 3]
    )
    for name in ("v2t_any", "v2t_set"):
        assert chosen(found, name) == pytest.approx(
            [200 / 3, 200 / 3, 200 / 3, 1, 5 / 3]
        )


def test_where_nothing_can_be_read_nothing_is_found() -> None:
    found = retrieval_metrics(
        of(torch.full((4, 4), -torch.inf)), torch.arange(4), 4, dual_softmax=100.0
    )
    for name in (
        "t2v",
        "v2t_any",
        "v2t_set",
        "dual_softmax/t2v",
        "dual_softmax/v2t_set",
    ):
        assert chosen(found, name) == [0, 0, 0, 4, 4]


def test_dual_softmax() -> None:
    """From the definition, whole: over all captions for captions, over all videos for videos."""
    owner = captions(30)
    matrix = (
        torch.randn(
            len(owner),
            30,
            generator=torch.Generator().manual_seed(0),
            dtype=torch.float64,
        )
        / 5
    )
    plain = retrieval_metrics(of(matrix), owner, 30)
    found = retrieval_metrics(
        of(matrix), owner, 30, dual_softmax=20.0, block=(8, 8)
    )
    assert {
        name: value for name, value in found.items() if not name.startswith("dual")
    } == plain
    assert found.keys() - plain.keys() == {f"dual_softmax/{name}" for name in plain}
    by_caption, by_video = (
        naive(matrix * (20 * matrix).softmax(dim), owner) for dim in (0, 1)
    )
    assert chosen(found, "dual_softmax/t2v") == pytest.approx(by_caption["t2v"])
    for name in ("v2t_any", "v2t_set"):
        assert chosen(found, f"dual_softmax/{name}") == pytest.approx(
            by_video[name]
        )


def test_dual_softmax_takes_a_popular_video_from_others() -> None:
    """Video 0 is the best answer to both captions; the first caption asks for it more loudly."""
    rows = [[0.9, 0.1], [0.6, 0.5]]
    found = metrics(rows, [0, 1], dual_softmax=10.0)
    assert found["t2v/R1"] == 50
    assert found["dual_softmax/t2v/R1"] == 100


RANKS = 3


def hard(rank: int | None = None) -> tuple[Tensor, Tensor]:
    """Similarities with ties and a video that cannot be read, and owners: all, or those that one of the ranks has."""
    owner = captions(40, seed=3)
    matrix = (
        torch.randint(
            -9, 9, (len(owner), 40), generator=torch.Generator().manual_seed(3)
        ).double()
        / 10
    )
    matrix[:, 7] = -torch.inf
    parts = {
        None: slice(None),
        0: slice(0, 11),
        1: slice(0, 0),
        2: slice(11, None),
    }  # one has none
    return matrix[parts[rank]], owner[parts[rank]]


def run_rank(rank: int, folder: str) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group(
        "gloo",
        init_method=store,
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=60),
    )
    matrix, owner = hard(rank)
    torch.save(
        retrieval_metrics(of(matrix), owner, 40, dual_softmax=10.0, block=(8, 9)),
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


def test_ranks_with_captions_of_their_own_find_the_same_to_the_last_bit(
    tmp_path: Path,
) -> None:
    multiprocessing.spawn(run_rank, (str(tmp_path),), nprocs=RANKS)
    matrix, owner = hard()
    expected = retrieval_metrics(of(matrix), owner, 40, dual_softmax=10.0)
    assert len(expected) == 2 * 3 * len(KINDS)
    for rank in range(RANKS):
        assert torch.load(tmp_path / f"{rank}.pt") == expected


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_a_number_has_no_rank(value: float) -> None:
    matrix = torch.zeros(6, 5)
    matrix[4, 3] = value
    message = f"the similarity of caption 4 and video 3 is {value}, which has no rank: the model has diverged"
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(
            of(matrix), torch.tensor([0, 1, 2, 3, 4, 4]), 5, block=(2, 2)
        )


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ([], "there is no caption to rank: the set is empty"),
        ([0, 3], "captions are of videos 0 to 3; the videos of the set are 0 to 2"),
        (
            [-1, 2],
            "captions are of videos -1 to 2; the videos of the set are 0 to 2",
        ),
    ],
    ids=str,
)
def test_captions_of_no_video(owner: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(
            of(torch.zeros(2, 3)), torch.tensor(owner, dtype=torch.int64), 3
        )
