"""The contrastive loss against closed forms, the published one, difference quotients and one process alone."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_petl.cost.saved_memory import saved_bytes
from lightning_petl.heads.similarity import WTI, MeanPooling, Similarity
from lightning_petl.losses.contrastive import MAX_LOGIT_SCALE, contrastive_loss
from lightning_petl.shapes import Words

WIDTH, LENGTH, FRAMES, RANKS = 6, 5, 3, 2
RECIPES = {"mean": MeanPooling(), "wti": WTI(), "wti_ignore": WTI(masked="ignore")}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
every_block = pytest.mark.parametrize("block", [1, 3, 4, 100])


class Table(Similarity):
    """Similarities that are given: sentence i brings row i, video j its place."""

    def encode_texts(self, words: Words) -> tuple[Tensor, ...]:
        return (words.sentence,)

    def encode_videos(self, video: Tensor) -> tuple[Tensor, ...]:
        return (video[:, 0],)

    def entries_per_pair(
        self, texts: tuple[Tensor, ...], videos: tuple[Tensor, ...]
    ) -> int:
        return 1

    def compare_at_once(
        self, texts: tuple[Tensor, ...], videos: tuple[Tensor, ...]
    ) -> Tensor:
        return texts[0] @ videos[0].T


def of_table(
    table: Tensor,
    *,
    number: list[int] | None = None,
    scale: float = 0.0,
    block: int | None = None,
) -> float:
    """The loss of a matrix of similarities."""
    count = len(table)
    words = Words(table[:, None], torch.ones(count, 1, dtype=torch.bool), table)
    numbers = torch.tensor(number or list(range(count)))
    video = torch.eye(count, dtype=table.dtype)[:, None]
    return contrastive_loss(
        Table(), video, words, number=numbers, logit_scale=torch.tensor(scale), block=block
    ).item()  # fmt: skip


def inputs(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Words]:
    """Videos and sentences of 1 to 5 words."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(LENGTH) < torch.randint(
        1, LENGTH + 1, (count, 1), generator=draw
    )
    sizes = ((count, FRAMES, WIDTH), (count, LENGTH, WIDTH), (count, WIDTH))
    video, tokens, sentence = (
        torch.randn(size, generator=draw).to(dtype) for size in sizes
    )
    return video, Words(tokens, mask, sentence)


def built(recipe: MeanPooling | WTI) -> Similarity:
    """With scores of words and frames that differ."""
    torch.manual_seed(0)
    module = recipe.build(WIDTH)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("block", [None, 1, 2, 3])
def test_closed_forms(block: int | None) -> None:
    """Nothing known: log N. Cosines 1 and 0 at temperature e^s: log(1 + (N - 1) exp(-e^s))."""
    assert of_table(torch.zeros(5, 5), block=block) == pytest.approx(math.log(5))
    expected = math.log1p(4 * math.exp(-math.exp(1.5)))
    assert of_table(torch.eye(5), scale=1.5, block=block) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("block", [None, 1])
def test_rows_and_columns_by_hand(block: int | None) -> None:
    """Logits 2 1 / 4 3: rows log(1 + e^-1), log(1 + e^1); columns log(1 + e^2), log(1 + e^-2)."""
    rows, columns = (1 + math.e**-1, 1 + math.e), (1 + math.e**2, 1 + math.e**-2)
    expected = sum(math.log(x) for x in rows + columns) / 4
    assert of_table(
        torch.tensor([[2.0, 1.0], [4.0, 3.0]]), block=block
    ) == pytest.approx(expected)


@pytest.mark.parametrize("block", [None, 1, 2])
def test_captions_of_one_video_are_no_negatives(block: int | None) -> None:
    """Rows 0 and 1 are of one video. What they are to each other is not asked, and does not matter.

    All else is 0: both rows and both columns have two entries left, row 2 and column 2 have three.
    """
    table = torch.zeros(3, 3)
    table[0, 1], table[1, 0] = 9.0, -9.0
    expected = (2 * math.log(2) + math.log(3)) / 3
    assert of_table(table, number=[7, 7, 3], block=block) == pytest.approx(expected)


@pytest.mark.parametrize("block", [None, 1])
def test_one_video_alone_leaves_nothing_to_learn(block: int | None) -> None:
    assert of_table(
        torch.randn(3, 3), number=[4, 4, 4], block=block
    ) == pytest.approx(0, abs=1e-6)


@every_recipe
def test_the_published_loss(recipe: MeanPooling | WTI) -> None:
    """Where all videos differ: the mean of two cross entropies."""
    module, (video, words) = built(recipe), inputs(7)
    z = math.exp(2.0) * module(video, words)
    expected = (
        F.cross_entropy(z, torch.arange(7)) + F.cross_entropy(z.T, torch.arange(7))
    ) / 2
    loss = contrastive_loss(
        module, video, words, number=torch.arange(7), logit_scale=torch.tensor(2.0)
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("block", [None, 3])
def test_open_clips_loss(block: int | None) -> None:
    """Of one frame and one sentence each, with its gradients."""
    open_clip = pytest.importorskip("open_clip")
    module = MeanPooling().build(WIDTH)
    video, words = inputs(7)
    video = video[:, :1].requires_grad_()
    words = words._replace(sentence=words.sentence.requires_grad_())
    scale = torch.tensor(1.5, requires_grad=True)
    leaves = (video, words.sentence, scale)
    pictures = F.normalize(video[:, 0], dim=-1)
    texts = F.normalize(words.sentence, dim=-1)
    expected = open_clip.ClipLoss()(pictures, texts, scale.exp())
    loss = contrastive_loss(
        module, video, words, number=torch.arange(7), logit_scale=scale, block=block
    )
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, leaves)
    for ours, theirs in zip(
        found, torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_the_temperature_has_an_end() -> None:
    """At 100; there its gradient is alive, above it dead."""
    module, (video, words) = built(MeanPooling()), inputs(7)
    losses, gradients = [], []
    for value in (MAX_LOGIT_SCALE, MAX_LOGIT_SCALE + 1):
        scale = torch.tensor(value, requires_grad=True)
        loss = contrastive_loss(
            module, video, words, number=torch.arange(7), logit_scale=scale
        )
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, scale)[0].item())
    z = 100 * module(video, words)
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(
        (-z.log_softmax(0) - z.log_softmax(1)).diagonal().mean().item() / 2,
        rel=1e-5,
    )
    assert gradients[0] != 0
    assert gradients[1] == 0


NUMBERS = torch.tensor([0, 1, 2, 2, 5, 1, 1])


def everything(recipe: MeanPooling | WTI, block: int | None) -> dict[str, Tensor]:
    """The loss and all its gradients."""
    module, (video, words) = built(recipe), inputs(7)
    scale = torch.tensor(2.0)
    leaves = {
        "video": video,
        "tokens": words.tokens,
        "sentence": words.sentence,
        "scale": scale,
    }
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()} | dict(
        module.named_parameters()
    )
    loss = contrastive_loss(
        module, video, words, number=NUMBERS, logit_scale=scale, block=block
    )
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {"loss": loss.detach()} | {
        n: g for n, g in zip(leaves, gradients, strict=True) if g is not None
    }


@every_block
@every_recipe
def test_blocks_change_nothing(recipe: MeanPooling | WTI, block: int) -> None:
    expected, found = everything(recipe, None), everything(recipe, block)
    assert found.keys() == expected.keys()
    assert len(found) == (4 if recipe == MeanPooling() else 4 + 8)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            atol=1e-6,
            rtol=1e-5,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("block", [None, 3])
@every_recipe
def test_gradients_are_difference_quotients(
    recipe: MeanPooling | WTI, block: int | None
) -> None:
    module, (video, words) = built(recipe).double(), inputs(5, torch.float64)

    def loss(
        video: Tensor, tokens: Tensor, sentence: Tensor, scale: Tensor
    ) -> Tensor:
        said = Words(tokens, words.mask, sentence)
        return contrastive_loss(
            module, video, said, number=NUMBERS[:5], logit_scale=scale, block=block
        )

    scale = torch.tensor(1.0, dtype=torch.float64)
    leaves = tuple(
        leaf.requires_grad_()
        for leaf in (video, words.tokens, words.sentence, scale)
    )
    assert torch.autograd.gradcheck(loss, leaves, fast_mode=True)


class _Largest(TorchDispatchMode):
    """Sees the largest tensor that any operator makes."""

    numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.numbers = max(
            [self.numbers, *(x.numel() for x in (result,) if isinstance(x, Tensor))]
        )
        return result


def test_what_blocks_save() -> None:
    """The whole matrix and the cosines of all words and frames are neither kept nor made, in neither direction.

    With blocks a fixed share of the batch, what is kept grows as the batch does.
    """
    module = built(WTI())

    def loss(count: int, block: int | None) -> Tensor:
        video, words = inputs(count)
        words = words._replace(tokens=words.tokens.requires_grad_())
        scale, number = torch.tensor(2.0), torch.arange(count)
        return contrastive_loss(
            module,
            video.requires_grad_(),
            words,
            number=number,
            logit_scale=scale,
            block=block,
        )

    kept = {
        (n, b): saved_bytes(lambda n=n, b=b: loss(n, b)).kept
        for n, b in ((64, None), (64, 8), (128, 16))
    }
    assert kept[64, 8] < kept[64, None] / 4
    assert kept[128, 16] < 2.1 * kept[64, 8]
    with _Largest() as seen:
        loss(64, 8).backward()
    assert seen.numbers < min(
        64 * 64, 64 * LENGTH * WIDTH + 1, 8 * 64 * LENGTH * FRAMES
    )


@pytest.mark.parametrize(
    ("count", "block", "message"),
    [
        (
            3,
            None,
            "training needs one sentence and one number for each video: 4 videos, 3 sentences, 4 numbers",
        ),
        (4, 0, "block 0 must be above zero"),
    ],
)
def test_wrong_values(count: int, block: int | None, message: str) -> None:
    video, words = inputs(4)[0], inputs(count)[1]
    options = {
        "number": torch.arange(4),
        "logit_scale": torch.tensor(0.0),
        "block": block,
    }
    with pytest.raises(ValueError, match=message):
        contrastive_loss(MeanPooling().build(WIDTH), video, words, **options)


class Towers(nn.Module):
    """Something to train on both sides, and the loss behind it."""

    def __init__(self, recipe: MeanPooling | WTI, block: int | None) -> None:
        super().__init__()
        self.similarity, self.block = built(recipe), block
        self.video, self.text = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, video: Tensor, words: Words, number: Tensor) -> Tensor:
        said = Words(self.text(words.tokens), words.mask, self.text(words.sentence))
        options = {
            "number": number,
            "logit_scale": self.logit_scale,
            "block": self.block,
        }
        return contrastive_loss(self.similarity, self.video(video), said, **options)


def joint(rank: int | None = None) -> tuple[Tensor, Words, Tensor]:
    """Six videos, or those of one rank; two sentences are of one video, on two ranks."""
    video, words = inputs(6)
    rows = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
    return (
        video[rows],
        Words(*(part[rows] for part in words)),
        torch.tensor([0, 1, 2, 3, 1, 5])[rows],
    )


CASES = [(name, block) for name in RECIPES for block in (None, 2)]


def outcome(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The loss and the gradients behind it."""
    loss.backward()
    return {"loss": loss.detach()} | {
        n: p.grad for n, p in model.named_parameters() if p.grad is not None
    }


def run_rank(rank: int, folder: str) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group(
        "gloo",
        init_method=store,
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=60),
    )
    found = {}
    for name, block in CASES:
        model = Towers(RECIPES[name], block)
        replica = DistributedDataParallel(
            model
        )  # which must live as long as its backward pass
        found[name, block] = outcome(model, replica(*joint(rank)))
        dist.all_reduce(found[name, block]["loss"])
        found[name, block]["loss"] /= RANKS
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, int | None], dict[str, Tensor]]:
    """One start for all cases."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(run_rank, (str(folder),), nprocs=RANKS)
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize(("name", "block"), CASES)
def test_two_processes_are_one_with_the_joint_batch(
    two_ranks: Any, name: str, block: int | None
) -> None:
    """The mean of their losses, and every gradient behind DDP's mean."""
    model = Towers(RECIPES[name], block)
    expected, found = outcome(model, model(*joint())), two_ranks[name, block]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key],
            value,
            atol=1e-6,
            rtol=1e-5,
            msg=lambda m, n=key: f"{n}: {m}",
        )
    assert expected["video.weight"].abs().max() > 1e-3
