"""What a method may ask for: deltas that know frames, prompts of the input, several vectors a clip, a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from lightning_petl.adapters import AIM, attach
from lightning_petl.adapters.layers.bottleneck import Bottleneck
from lightning_petl.adapters.st_adapter import SpatioTemporalBottleneck
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.block import Prompt, SlotModule
from lightning_petl.backbones.linear import Inner, LinearDelta
from lightning_petl.backbones.reachability import unreachable
from lightning_petl.backbones.readers import Reader
from lightning_petl.heads.linear import HeadRecipe, LinearHead
from lightning_petl.shapes import Grid
from lightning_petl.tasks.classification import VideoClassifier
from tests.tiny import clip, gradients, shake, tiny_vit

QUERIES = 3


class _MeanOverFrames(LinearDelta):
    """Add what a zero-init linear map makes of the mean of the row over the frames of its clip."""

    def __init__(self, dim: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, out_features, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.grids: list[Grid | None] = []

    def forward(self, x: Tensor, inner: Inner, grid: Grid | None) -> Tensor:
        self.grids.append(grid)
        if grid is None:
            return inner(x)
        frames = grid.to_clip(x)
        mean = frames.mean(1, keepdim=True).expand_as(frames)
        return inner(x) + self.linear(grid.from_clip(mean))

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def _with_delta(path: str, width: int) -> tuple[VideoViT, list[_MeanOverFrames]]:
    vit = tiny_vit()
    deltas = list[_MeanOverFrames]()
    for block in vit.blocks:
        linear = block.linear(path)
        deltas.append(_MeanOverFrames(width, linear.out_features))
        linear.add_delta("Mean", deltas[-1])
    return vit, deltas


@pytest.mark.parametrize(
    ("path", "width"),
    [("attn.qkv", 192), ("attn.proj", 192), ("mlp.fc1", 192), ("mlp.fc2", 768)],
)
def test_a_delta_mixes_frames(path: str, width: int) -> None:
    vit, deltas = _with_delta(path, width)
    before = tiny_vit()(clip())
    torch.testing.assert_close(vit(clip()), before)
    shake([delta.linear.weight for delta in deltas], 0.1)
    changed = vit(clip())
    assert (changed - before).abs().max() > 1e-3
    # one frame of another clip moves that clip alone
    other = clip().clone()
    other[0, 1] = 255 - other[0, 1]
    torch.testing.assert_close(vit(other)[1], changed[1])


def test_a_delta_is_given_the_grid_of_this_clip() -> None:
    vit, (first, _) = _with_delta("attn.qkv", 192)
    vit(clip(frames=2))
    assert first.grids == [vit.grid._replace(frames=2)]


def test_a_delta_gives_equal_gradients_under_checkpointing() -> None:
    vit, _ = _with_delta("attn.qkv", 192)
    kept = gradients(vit, clip())
    vit.activation_checkpointing = True
    for name, gradient in gradients(vit, clip()).items():
        assert torch.equal(gradient, kept[name]), name


def test_beside_attention_over_time_a_delta_is_given_no_grid() -> None:
    vit, (first, _) = _with_delta("attn.qkv", 192)
    attach(vit, [AIM(bottleneck=8)])
    vit(clip())
    assert first.grids == [None, vit.grid]


class _PromptOfTheFrame(Prompt):
    """Give one row: a linear map of the mean patch of the frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.linear(x[:, grid.patches].mean(1, keepdim=True))


@pytest.mark.parametrize("deep", [True, False])
def test_a_prompt_depends_on_the_input(deep: bool) -> None:
    vit = tiny_vit()
    prompt = _PromptOfTheFrame(vit.dim)
    (vit.blocks[0] if deep else vit).add_prompt("Prompt", prompt)
    rows = list[Tensor]()
    prompt.register_forward_hook(lambda *args: rows.append(args[-1]))
    vit(clip())
    vit(clip(seed=1))
    assert rows[0].shape == (8, 1, 192)
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    grads = gradients(vit, clip())
    assert all(grad is not None and grad.any() for grad in grads.values())


class _OneQueryATarget(Reader):
    """Read the last tokens with q learned queries, one vector each: softmax(Q x^T) x over all tokens of a clip."""

    queries = QUERIES
    reads_pixels = False

    def __init__(self, dim: int, last: int) -> None:
        super().__init__()
        self.feature_dim = dim
        self.query = nn.Parameter(torch.randn(QUERIES, dim) / dim**0.5)
        self.taps = {str(last): lambda x, grid: grid.to_clip(x).flatten(1, 2)}

    def begin(self, video: Tensor, grid: Grid) -> Grid:
        return grid

    def end(self, state: Tensor) -> Tensor:
        return (self.query @ state.mT).softmax(-1) @ state


def _queried() -> VideoViT:
    vit = tiny_vit()
    vit.add_reader("Queries", _OneQueryATarget(vit.dim, vit.depth - 1))
    return vit


def test_a_reader_answers_with_several_vectors() -> None:
    vit = _queried()
    feature = vit(clip())
    assert feature.shape == (2, QUERIES, 192)
    assert vit.queries == QUERIES
    x = vit.embed(vit.normalize(clip()))
    for block in vit.blocks:
        x = block(x, vit.grid)
    query = vit.readers["Queries"].query
    for number, tokens in enumerate(rearrange(x, "(b t) n d -> b (t n) d", t=4)):
        for q in range(QUERIES):
            weights = (tokens @ query[q]).softmax(0)
            expected = (weights[:, None] * tokens).sum(0)
            torch.testing.assert_close(feature[number, q], expected)
    assert unreachable(vit) == set()


@dataclass(frozen=True, kw_only=True)
class _VerbAndNoun(HeadRecipe):
    """Score classes that are pairs: the first query says the verb, the second the noun; the third gates them."""

    def build_on(self, vit: VideoViT, labels: Sequence[str]) -> nn.Module:
        return _Pairs(vit.feature_dim, labels)


class _Pairs(nn.Module):
    def __init__(self, dim: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.verb, self.noun = nn.Linear(dim, 2), nn.Linear(dim, 2)
        self.gate = nn.Linear(dim, 1)

    def forward(self, feature: Tensor) -> Tensor:
        verb, noun, gate = feature.unbind(1)
        pairs = self.verb(verb)[:, :, None] + self.noun(noun)[:, None]
        return (self.gate(gate).sigmoid()[:, :, None] * pairs).flatten(1)


def test_a_classifier_whose_head_reads_each_vector_trains() -> None:
    labels = ["lift cup", "lift pen", "drop cup", "drop pen"]
    model = VideoClassifier(
        _queried(), labels=labels, adapters=[], head=_VerbAndNoun()
    )
    logits = model(torch.stack([clip(), clip(seed=1)], dim=1))
    assert logits.shape == (2, 2, 4)
    logits[0, 0, 0].backward()
    assert model.backbone.readers["Queries"].query.grad.any(dim=1).all()


def test_a_head_for_one_vector_refuses_several() -> None:
    with pytest.raises(
        ValueError, match=r"LinearHead reads one vector a clip, .* 3"
    ):
        LinearHead().build_on(_queried(), ["a", "b"])


def test_several_vectors_are_not_averaged_with_one() -> None:
    vit = _queried()
    other = _OneQueryATarget(vit.dim, 1)
    other.queries = None
    with pytest.raises(
        ValueError, match=r"Other answers 1 vectors a clip .* with 3"
    ):
        vit.add_reader("Other", other)


def test_several_vectors_say_nothing_of_a_frame() -> None:
    vit = _queried()
    with pytest.raises(
        ValueError, match="answers 3 vectors a clip and none of a frame"
    ):
        vit.frames(vit.normalize(clip()))


class _JointGrid(Grid):
    """Lay all frames of a clip out in one sequence: axis 0 is the clip, axis 1 is frame after frame."""

    @property
    def patches(self) -> slice:
        return slice(
            self.prefix, self.prefix + self.frames * self.height * self.width
        )

    def frames_of(self, x: Tensor) -> Tensor:
        return rearrange(x, "b (t n) d -> (b n) t d", t=self.frames)

    def from_frames(self, x: Tensor, like: Tensor) -> Tensor:
        return rearrange(x, "(b n) t d -> b (t n) d", b=like.shape[0])

    def to_volume(self, patches: Tensor) -> Tensor:
        axes = {"t": self.frames, "h": self.height, "w": self.width}
        return rearrange(patches, "b (t h w) d -> b d t h w", **axes)

    def from_volume(self, x: Tensor) -> Tensor:
        return rearrange(x, "b d t h w -> b (t h w) d")


def _spatio_temporal() -> SlotModule:
    return SpatioTemporalBottleneck(192, 8, (3, 3, 3), "gelu")


def _temporal() -> SlotModule:
    vit = tiny_vit()
    attach(vit, [AIM(bottleneck=8)])
    return vit.blocks[0].slots["before_attn"]["AIM"]


@pytest.mark.parametrize(
    "build", [_spatio_temporal, _temporal, lambda: Bottleneck(192, 8)]
)
def test_a_joint_trunk_is_only_another_grid(build: object) -> None:
    """The same module gives the same patches, whether a sequence is a frame or a clip."""
    module = build()
    shake(module.parameters(), 0.1)
    x = torch.randn(6, 4, 192)
    apart = module(x, Grid(frames=3, height=2, width=2, prefix=0))
    joined = module(
        rearrange(x, "(b t) n d -> b (t n) d", t=3),
        _JointGrid(frames=3, height=2, width=2, prefix=0),
    )
    expected = rearrange(apart, "(b t) n d -> b (t n) d", t=3)
    torch.testing.assert_close(joined, expected)


def test_the_layout_is_undone() -> None:
    grid = Grid(frames=3, height=2, width=4, prefix=2)
    x = torch.randn(6, 2 + 8 + 1, 5)
    assert torch.equal(grid.from_clip(grid.to_clip(x)), x)
    assert torch.equal(grid.to_clip(x)[1, 2], x[5])
    assert torch.equal(grid.from_frames(grid.frames_of(x), like=x), x)
    assert torch.equal(grid.frames_of(x)[11 + 4], x[3:, 4])
    patches = x[:, grid.patches]
    volume = grid.to_volume(patches)
    assert torch.equal(volume[1, :, 2, 1, 3], patches[5, 7])
    assert torch.equal(grid.from_volume(volume), patches)
    padded = grid.pad(patches, like=x)
    assert torch.equal(padded[:, grid.patches], patches)
    assert not padded[:, :2].any()
    assert not padded[:, -1].any()
