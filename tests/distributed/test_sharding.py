"""Two ranks that each hold a half of every parameter compute what one process does."""

from pathlib import Path
from time import perf_counter
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import multiprocessing

from lightning_petl.adapters import LoRA, attach
from lightning_petl.adapters.lora import LoRAInit
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.weights.pretrained import create
from lightning_petl.distributed.sharding import materialize
from tests.parallel_ranks import METHODS, RANKS, SIZE_OF, Classifier, run_all, train
from tests.tiny import clip

TINY, ENORMOUS = SIZE_OF
TRAFFIC = [*((method, False) for method in METHODS), ("lora_behind", True)]
EQUAL = [(method, "float32") for method in METHODS] + [("multi_tunev", "bfloat16")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of random weights of a tiny trunk of two blocks."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(3)
    save_file(create(TINY, pretrained=False, cut=2).state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def ranks(
    tmp_path_factory: pytest.TempPathFactory, weights: str
) -> list[dict[str, Any]]:
    """What each rank saw, by task."""
    tasks: list[tuple[str, tuple[Any, ...]]] = [
        ("equality", pair) for pair in EQUAL
    ] + [
        *(("traffic", pair) for pair in TRAFFIC),
        ("scaled", ()),
        ("deferred", (weights, TINY)),
    ]
    return spawned(tmp_path_factory.mktemp("ranks"), tasks)


def spawned(
    folder: Path, tasks: list[tuple[str, tuple[Any, ...]]]
) -> list[dict[str, Any]]:
    multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        run_all, (str(folder / "store"), tasks, str(folder / "found")), nprocs=RANKS
    )
    return [
        torch.load(f"{folder / 'found'}.{rank}", weights_only=False)
        for rank in range(RANKS)
    ]


@pytest.mark.parametrize(("method", "dtype"), EQUAL)
def test_training_equals_one_process(
    ranks: list[dict[str, Any]], method: str, dtype: str
) -> None:
    """Accumulated, clipped steps with momentum; a unit may hold frozen bfloat16 beside trained float32."""
    found = ranks[0][f"equality-{method}-{dtype}"]
    losses, norms, gradients = train(Classifier(method, dtype), 0, 1)
    tolerance = (
        1e-4 if dtype == "float32" else 2e-2
    )  # batches of another size round differently in bfloat16
    assert found["losses"] == pytest.approx(losses, abs=tolerance)
    assert found["norms"] == pytest.approx(
        norms, rel=1e-3 if dtype == "float32" else 0.1
    )
    assert max(norms) > 0.5  # which is clipped
    assert losses[0] != pytest.approx(losses[-1], abs=1e-2)
    assert found["gradients"].keys() == gradients.keys()
    for name, gradient in gradients.items():
        error = (
            found["gradients"][name] - gradient
        ).norm() / gradient.norm().clamp(min=1e-4)
        assert error < (1e-2 if dtype == "float32" else 0.2), (name, error)


@pytest.mark.parametrize(("method", "dtype"), EQUAL)
def test_each_rank_holds_half_of_everything(
    ranks: list[dict[str, Any]], method: str, dtype: str
) -> None:
    found = [rank[f"equality-{method}-{dtype}"] for rank in ranks]
    sizes = found[0]["sizes"]
    for name, size in sizes.items():
        held = [rank["held"][name] for rank in found]
        assert held == [1, 1] if name == "temperature" else sum(held) == size, name
    for names in (found[0]["frozen"], sizes.keys() - found[0]["frozen"]):
        part = sum(found[0]["held"][name] for name in names) / sum(
            sizes[name] for name in names
        )
        assert part == pytest.approx(
            0.5, abs=0.05
        )  # three rows of a head are 2 and 1
    assert not found[0]["frozen"] & found[0]["gradients"].keys()


@pytest.mark.parametrize(("method", "checkpointing"), TRAFFIC)
def test_what_is_said_to_travel_does(
    ranks: list[dict[str, Any]], method: str, checkpointing: bool
) -> None:
    """Counted where the collectives are called; frozen blocks in front of all that trains are gathered once."""
    for rank in ranks:
        found = rank[f"traffic-{method}-{checkpointing}"]
        scalar = {"allreduce_": 4}
        gathered, reduced = found["said"]
        assert (
            found["seen"]
            == {"_allgather_base_": gathered, "_reduce_scatter_base_": reduced - 4}
            | scalar
        )


def test_an_overflow_on_one_rank_skips_the_update_on_all(
    ranks: list[dict[str, Any]],
) -> None:
    first, second, third = ranks[0]["scaled"]["weights"]
    assert not torch.equal(first, second)
    assert torch.equal(second, third)
    assert [rank["scaled"]["scale"] for rank in ranks] == [2.0**9, 2.0**9]


def ordinary(path: str, name: str) -> VideoViT:
    vit = VideoViT(
        name, weights=path, depth=2, image_size=SIZE_OF[name], num_frames=2
    )
    attach(vit, [LoRA(rank=2)])
    return vit


def compare(ranks: list[dict[str, Any]], path: str, name: str) -> None:
    found, vit = (
        [rank[f"deferred-{path}-{name}"] for rank in ranks],
        ordinary(path, name),
    )
    with torch.no_grad():
        feature = vit(clip(batch=2, frames=2, size=SIZE_OF[name]))
    assert {rank["hash"] for rank in found} == {vit.weights_hash}
    for rank in found:
        torch.testing.assert_close(rank["feature"], feature, atol=1e-4, rtol=1e-4)
        assert rank["meta"] == sum(p.numel() * p.element_size() for n, p in vit.blocks.named_parameters()
                                   if "deltas" not in n)  # fmt: skip
        assert rank["held"] == pytest.approx(rank["meta"] / RANKS, rel=0.02)


def test_shares_of_a_deferred_trunk_are_those_of_the_file(
    ranks: list[dict[str, Any]], weights: str
) -> None:
    compare(ranks, weights, TINY)


def test_a_deferred_trunk_in_one_process(weights: str) -> None:
    vit, expected = (
        VideoViT(
            TINY,
            weights=weights,
            depth=2,
            image_size=64,
            num_frames=2,
            deferred=True,
        ),
        VideoViT(TINY, weights=weights, depth=2, image_size=64, num_frames=2),
    )
    assert all(p.is_meta for p in vit.blocks.parameters())
    materialize(vit, torch.device("cpu"))
    video = clip(batch=1, frames=2, size=64)
    assert torch.equal(vit(video), expected(video))
    assert vit.weights_hash == expected.weights_hash


@pytest.mark.parametrize("init", get_args(LoRAInit)[2:])
def test_a_method_that_needs_the_weights_at_once_is_refused(
    weights: str, init: LoRAInit
) -> None:
    vit = VideoViT(
        TINY, weights=weights, depth=2, image_size=32, num_frames=2, deferred=True
    )
    attach(vit, [LoRA(init=init)])
    with pytest.raises(
        ValueError, match=r"backbone\.deferred: LoRA computes .*deferred: false"
    ):
        materialize(vit, torch.device("cpu"))


def test_a_file_of_another_trunk_is_refused(weights: str) -> None:
    with pytest.raises(ValueError, match="do not fit the trunk"):
        VideoViT("vit_small_patch16_224", weights=weights, depth=2, deferred=True)


def test_the_largest_trunk_builds_at_once_without_memory() -> None:
    """EVA-02-CLIP E/14: 64 blocks of width 1792, heads of 112, MLP of 15360 (Sun et al., 2023): 4.35 B parameters."""
    start = perf_counter()
    with torch.device("meta"):
        model = create(f"{ENORMOUS}.laion2b", pretrained=False, cut=None)
    d, m, tokens = 1792, 15360, (224 // 14) ** 2 + 1
    block = (
        3 * d * d + 2 * d + d * d + d + 2 * d * m + m + d + 4 * d
    )  # keys have no bias; two norms
    outside = (
        3 * 14**2 * d + d + d + tokens * d + 2 * d
    )  # patches, class token, positions, last norm
    assert sum(p.numel() for p in model.parameters()) == 64 * block + outside
    assert perf_counter() - start < 60


@pytest.mark.slow
def test_two_blocks_of_the_largest_trunk(tmp_path: Path) -> None:
    """137 M parameters: a rank never has more in memory of its own than one block, then its half and one tensor."""
    path = str(tmp_path / "enormous.safetensors")
    save_file(create(ENORMOUS, pretrained=False, cut=2).state_dict(), path)
    ranks = spawned(tmp_path, [("deferred", (path, ENORMOUS))])
    compare(ranks, path, ENORMOUS)
    largest, block = 4 * 15360 * 1792, 4 * (4 * 1792**2 + 2 * 1792 * 15360)
    for rank in ranks:
        found = rank[f"deferred-{path}-{ENORMOUS}"]
        assert (
            block < found["building"] < 1.1 * block
        )  # whose constants are those of all
        assert found["built"] < 0.1 * block
        assert (
            found["held"]
            < found["loading"]
            < found["held"] + largest
            < 0.75 * found["meta"]
        )
