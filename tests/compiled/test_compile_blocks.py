"""Runs whose blocks are compiled go as runs whose blocks are not, and each goes on from the other's checkpoint."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.fx import GraphModule

from lightning_petl.__main__ import main
from lightning_petl.adapters import STAdapter
from lightning_petl.distributed.sharding import shard, units
from tests.commands import Command
from tests.tasks.ranks import on_ranks, scalars
from tests.tiny import clip, randomised

pytestmark = [
    # torch's own tracing reads .grad of the tokens that enter a block, to learn whether they have one
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),
    # and makes an object of each autograd function that it meets
    pytest.mark.filterwarnings(
        "ignore:.*Function'> should not be instantiated:DeprecationWarning"
    ),
]
# 10 clips, 2 an update: 5 updates an epoch
FLAGS = [
    "--trainer.max_epochs=2", "--trainer.val_check_interval=1", "--trainer.log_every_n_steps=1",
    "--trainer.num_sanity_val_steps=0", "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1",
    "--checkpoint.monitor=null", "--model.optim.algorithm=sgd", "--model.optim.lr=0.1", "--model.head.dropout=0",
    "--model.adapters+=STAdapter", "--model.adapters.bottleneck=8",
]  # fmt: skip


def compiled(backend: str) -> list[str]:
    return [
        "--trainer.callbacks+=CompileBlocks",
        f"--trainer.callbacks.backend={backend}",
    ]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.fixture
def one_rank() -> Generator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_sharded_block_is_one_graph(one_rank: DeviceMesh) -> None:
    """What gathers its weights stays outside."""
    vit, graphs = (
        randomised([STAdapter(bottleneck=8)], depth=3),
        list[GraphModule](),
    )

    def backend(graph: GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    for unit in units(vit):
        unit.compile(backend=backend)
    shard(vit, one_rank)
    vit(clip()).sum().backward()
    assert (
        len(graphs) <= 2
    )  # one for tokens without a gradient, one for all later blocks
    assert all("scaled_dot_product_attention" in graph.code for graph in graphs)


class Runs(Command):
    """Runs with names."""

    def fit(self, name: str, *extra: str, clips: int = 2) -> list[str]:
        where = [
            f"--trainer.default_root_dir={self.runs / name}",
            f"--data.batch_size={clips}",
        ]
        return self("fit", [*FLAGS, *where, *extra])

    def stopped(self, name: str) -> str:
        return f"--ckpt_path={next((self.runs / name / 'version_0' / 'checkpoints').glob('*step=7.ckpt'))}"

    def losses(self, name: str) -> list[float]:
        return scalars(self.runs / name / "version_0", "val/loss")

    def last(self, name: str) -> dict[str, Any]:
        return torch.load(
            self.runs / name / "version_0" / "checkpoints" / "last.ckpt",
            weights_only=True,
        )


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], id="kept"),
        pytest.param(
            ["--model.backbone.activation_checkpointing=true"],
            id="recomputed",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_compiled_equals_eager_and_they_resume_each_other(
    tmp_path: Path, extra: list[str]
) -> None:
    runs = Runs(tmp_path)
    assert main(runs.fit("eager", *extra)) == 0
    assert main(runs.fit("compiled", *compiled("aot_eager"), *extra)) == 0
    assert len(set(runs.losses("eager"))) == 10
    assert runs.losses("compiled") == pytest.approx(runs.losses("eager"), rel=1e-5)
    assert (
        runs.last("compiled")["state_dict"].keys()
        == runs.last("eager")["state_dict"].keys()
    )
    assert (
        main(runs.fit("compiled_then_eager", runs.stopped("compiled"), *extra)) == 0
    )
    assert (
        main(
            runs.fit(
                "eager_then_compiled",
                runs.stopped("eager"),
                *compiled("aot_eager"),
                *extra,
            )
        )
        == 0
    )
    for name in ("compiled_then_eager", "eager_then_compiled"):
        assert runs.losses(name) == pytest.approx(
            runs.losses("eager")[7:], rel=1e-5
        )


@pytest.mark.slow
def test_machine_code_on_two_ranks_equals_eager(tmp_path: Path) -> None:
    """Of replicas and of halves, which are whole while they compute; each goes on from the other's checkpoint."""
    runs = Runs(tmp_path)
    assert main(runs.fit("eager")) == 0
    flags = [*compiled("inductor"), "--trainer.strategy=fsdp"]
    commands = [
        runs.fit("ddp", *compiled("inductor"), clips=1),
        runs.fit("fsdp", *flags, clips=1),
    ]
    on_ranks(
        [
            *commands,
            runs.fit("eager_then_fsdp", runs.stopped("eager"), *flags, clips=1),
        ]
    )
    for name in ("ddp", "fsdp"):
        assert runs.losses(name) == pytest.approx(runs.losses("eager"), rel=1e-4)
        assert (
            runs.last(name)["state_dict"].keys()
            == runs.last("eager")["state_dict"].keys()
        )
    assert runs.losses("eager_then_fsdp") == pytest.approx(
        runs.losses("eager")[7:], rel=1e-4
    )
