"""Whole programs on two ranks that each hold half of the weights: losses, weights, moments, metrics, resume.

``tests/distributed/test_sharding.py`` has the same laws without the command line, in seconds.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lightning_petl.__main__ import main
from lightning_petl.adapters import LoRA
from lightning_petl.backbones import VideoViT
from lightning_petl.cost.summary import TrainingPlan, summarize
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import MODEL, Command, write_videos
from tests.retrieval_runs import RetrievalCommand
from tests.tasks.ranks import close, on_ranks, scalars

METHODS: dict[str, list[dict[str, Any]]] = {
    "lora": [{"class_path": "LoRA", "init_args": {"rank": 2}}],
    "multi_tunev": [{"class_path": "MultiTuneV"}],
    "side4video": [
        {
            "class_path": "Side4Video",
            "init_args": {"width": 64, "norm": "sync", "checkpoint": ["mlp"]},
        }
    ],
}
# ten clips: updates of 2 passes of 2 clips, over all ranks; the loss is known after every pass
TRAIN = [
    "--trainer.max_epochs=2", "--model.optim.global_batch=4", "--trainer.gradient_clip_val=0.5",
    "--model.head.dropout=0",
    "--trainer.val_check_interval=1", "--trainer.num_sanity_val_steps=0", "--trainer.log_every_n_steps=1",
    "--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null",
]  # fmt: skip


class Runs(Command):
    """Commands whose runs have names."""

    def fit(self, label: str, method: str, ranks: int, *extra: str) -> list[str]:
        """Training with the same clips a pass, whatever the number of ranks."""
        config = self.runs.parent / f"{method}.yaml"
        config.write_text(
            yaml.safe_dump({"model": {**MODEL, "adapters": METHODS[method]}})
        )
        size = f"--data.init_args.batch_size={2 // ranks}"
        return self(
            "fit",
            [f"--config={config}", *TRAIN, size, *self.where(label, ranks), *extra],
        )

    def where(self, label: str, ranks: int, strategy: str = "fsdp") -> list[str]:
        """Flags: where a run goes, on how many ranks."""
        flags = [
            f"--trainer.default_root_dir={self.runs / label}",
            f"--trainer.devices={ranks}",
        ]
        return flags if ranks == 1 else [*flags, f"--trainer.strategy={strategy}"]

    def folder(self, label: str) -> Path:
        """Of a run."""
        return self.runs / label / "version_0"

    def last(self, label: str) -> dict[str, Any]:
        """The last checkpoint of a run."""
        return torch.load(
            self.folder(label) / "checkpoints" / "last.ckpt", weights_only=True
        )

    def stopped(self, label: str, step: int) -> str:
        """Flag: go on from a step of a run."""
        return f"--ckpt_path={next((self.folder(label) / 'checkpoints').glob(f'*step={step}.ckpt'))}"

    def at(self, label: str, step: int) -> dict[str, Any]:
        """The checkpoint behind an update."""
        return torch.load(
            next((self.folder(label) / "checkpoints").glob(f"*step={step}.ckpt")),
            weights_only=True,
        )

    def scalars(self, label: str, tag: str) -> list[float]:
        """What a run has logged."""
        return scalars(self.folder(label), tag)


AVERAGED = ["--trainer.callbacks+=EMA", "--trainer.callbacks.decay=0.5"]
SGD = [
    "--model.optim.algorithm=sgd"
]  # Adam makes updates of size one out of rounding, where a gradient is zero


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Each method on one rank and on two, and every way of going on from one to the other."""
    found = Runs(tmp_path_factory.mktemp("runs"))
    write_videos(found.videos, val=4)
    (
        found.videos / "val" / "left" / "0.mp4"
    ).unlink()  # 7 clips: one rank has a clip more than the other
    texts = RetrievalCommand(found.runs.parent / "texts")
    pairs = ["--trainer.max_steps=2", "--checkpoint.monitor=null", *SGD]
    one = [found.fit(f"{method}_1", method, 1, *SGD) for method in METHODS]
    one += [found.fit("one", "lora", 1, *AVERAGED)]
    on_ranks(
        [
            *one,
            texts(
                "fit", [*pairs, "--data.batch_size=4", *found.where("texts_1", 1)]
            ),
        ],
        1,
        quiet=True,
    )
    two = [found.fit(f"{method}_2", method, 2, *SGD) for method in METHODS]
    ddp = [*AVERAGED, "--trainer.strategy=ddp"]
    dropout = [*AVERAGED, "--model.head.dropout=0.5"]
    two += [
        found.fit("two", "lora", 2, *AVERAGED),
        found.fit("dropped", "lora", 2, *dropout),
    ]
    on_ranks(
        [
            *two,
            texts(
                "fit", [*pairs, "--data.batch_size=2", *found.where("texts_2", 2)]
            ),
            found.fit(
                "one_then_two", "lora", 2, found.stopped("one", 2), *AVERAGED
            ),
            found.fit("one_then_ddp", "lora", 2, found.stopped("one", 2), *ddp),
        ],
        2,
        quiet=True,
    )
    on_ranks(
        [
            found.fit("dropped_then_two", "lora", 2, found.stopped("dropped", 2), *dropout),
            found.fit("two_then_ddp", "lora", 2, found.stopped("two", 2), *ddp),
            found.fit("ddp_then_two", "lora", 2, found.stopped("one_then_ddp", 3), *AVERAGED),
            found("test", ["--config", str(found.runs.parent / "lora.yaml"), *found.where("test_2", 2),
                           *AVERAGED, f"--ckpt_path={found.folder('two') / 'checkpoints' / 'last.ckpt'}"]),
        ],
        2,
        quiet=True,
    )  # fmt: skip
    on_ranks(
        [
            found.fit("two_then_one", "lora", 1, found.stopped("two", 2), *AVERAGED),
            found("test", ["--config", str(found.runs.parent / "lora.yaml"), *found.where("test_1", 1),
                           *AVERAGED, f"--ckpt_path={found.folder('two') / 'checkpoints' / 'last.ckpt'}"]),
        ],
        1,
        quiet=True,
    )  # fmt: skip
    return found


def equal(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """What two checkpoints hold of a training."""
    assert actual.keys() == expected.keys()
    for key in TRAINED:
        close(actual[key], expected[key], rtol=1e-3, atol=2e-5, place=key)


TRAINED = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "global_step",
    "epoch",
    "trunk",
    "labels",
)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_train_like_one(runs: Runs, method: str) -> None:
    """Over accumulated and clipped updates: losses, weights, momentum and every key of the checkpoint."""
    one, two = runs.last(f"{method}_1"), runs.last(f"{method}_2")
    assert two["global_step"] == 6
    equal(two, one)
    losses = [runs.scalars(f"{method}_{ranks}", "val/loss") for ranks in (1, 2)]
    assert len(losses[0]) == 6  # ten validations, one point an update
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[0][0] != pytest.approx(
        losses[0][-1], abs=1e-3
    )  # something was learnt
    assert runs.scalars(f"{method}_1", "val/top1") == runs.scalars(
        f"{method}_2", "val/top1"
    )


@pytest.mark.slow
def test_two_towers_on_two_ranks_train_like_one(runs: Runs) -> None:
    """Each contrasts its pairs with those of both; the scale of the logits is whole on each."""
    one, two = runs.last("texts_1"), runs.last("texts_2")
    assert "text.logit_scale" in two["state_dict"]
    equal(two, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        "two",
        "one_then_two",
        "one_then_ddp",
        "two_then_ddp",
        "ddp_then_two",
        "two_then_one",
    ],
)
def test_a_checkpoint_goes_on_anywhere(runs: Runs, label: str) -> None:
    """On another number of ranks, under another strategy; with the averages, which are what is validated."""
    one, other = runs.last("one"), runs.last(label)
    equal(other, one)
    close(other["callbacks"]["EMA"], one["callbacks"]["EMA"], rtol=1e-3, atol=2e-5)
    losses, rest = runs.scalars("one", "val/loss"), runs.scalars(label, "val/loss")
    assert len(rest) >= 3
    assert rest == pytest.approx(losses[-len(rest) :], abs=1e-4)


@pytest.mark.slow
def test_resume_changes_no_bit(runs: Runs) -> None:
    """With dropout, on the same number of ranks: weights, moments and averages."""
    through, resumed = runs.last("dropped"), runs.last("dropped_then_two")
    for key in ("state_dict", "optimizer_states"):
        close(resumed[key], through[key], rtol=0, atol=0, place=key)
    close(resumed["callbacks"]["EMA"], through["callbacks"]["EMA"], rtol=0, atol=0)


@pytest.mark.slow
def test_the_checkpoint_is_one_file_of_what_trains(runs: Runs) -> None:
    """Nothing frozen, no shares, and no temporary files beside it."""
    folder = runs.folder("two") / "checkpoints"
    assert {path.suffix for path in folder.iterdir()} == {".ckpt"}
    assert all(path.is_file() for path in folder.iterdir())
    state = runs.last("two")["state_dict"]
    assert all(".deltas." in name or name.startswith("head.") for name in state)
    assert {type(value) for value in state.values()} == {torch.Tensor}


@pytest.mark.slow
def test_each_clip_is_tested_once(runs: Runs) -> None:
    """Seven clips on two ranks, of which one has a clip less."""
    found = [
        scores(runs.folder(f"test_{ranks}") / "test_scores.jsonl")
        for ranks in (1, 2)
    ]
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == 7
    for clip, logits in found[0].items():
        assert logits == pytest.approx(found[1][clip], abs=1e-4)
    for name in ("test/top1", "test/top5", "test/mean_class"):
        assert runs.scalars("test_1", name) == runs.scalars("test_2", name)


@pytest.mark.slow
def test_the_artifact_holds_the_averages_whole(runs: Runs) -> None:
    averages = runs.last("one")["callbacks"]["EMA"]["average"]
    assert any(
        not torch.equal(value, runs.last("one")["state_dict"][name])
        for name, value in averages.items()
    )
    artifact = load_file(
        runs.folder("two") / "artifact_last" / "adapter_model.safetensors"
    )
    close(artifact, averages, rtol=1e-3, atol=2e-5)


@pytest.mark.slow
def test_the_first_gradient_is_that_of_one_process(runs: Runs) -> None:
    """The first momentum of SGD is the clipped gradient of the whole update, and the decay."""
    one, two = (
        runs.at(f"multi_tunev_{ranks}", 1)["optimizer_states"][0]["state"]
        for ranks in (1, 2)
    )
    for number, state in one.items():
        close(
            two[number]["momentum_buffer"],
            state["momentum_buffer"],
            rtol=1e-3,
            atol=1e-6,
            place=number,
        )


@pytest.mark.slow
def test_what_travels_is_what_the_summary_says(runs: Runs) -> None:
    """In an epoch of 3 updates of 5 passes, each of which gathers the weights."""
    vit = VideoViT(
        "vit_tiny_patch16_224",
        weights="random",
        depth=2,
        image_size=32,
        num_frames=4,
    )
    task = VideoClassifier(vit, [LoRA(rank=2)], ["left", "right"])
    plan = TrainingPlan(
        clips=1, num_frames=4, image_size=32, ranks=2, strategy="fsdp"
    )
    gradients = 4 * sum(
        p.numel() for p in task.parameters() if p.requires_grad
    )  # of an even number of rows
    assert runs.scalars("two", "z_cost/gradient_bytes_per_step") == [gradients] * 2
    gathered = summarize(task, plan).sent - gradients
    assert runs.scalars("two", "z_cost/gathered_bytes_per_step") == pytest.approx(
        [gathered * 5 / 3] * 2
    )


def scores(path: Path) -> dict[str, list[float]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["clip_id"] for row in rows}) == len(rows)
    return {row["clip_id"]: row["logits"][0] for row in rows}


@pytest.mark.parametrize(
    "strategy",
    ["fsdp1", "fsdp_cpu_offload", "FSDPStrategy", "deepspeed_stage_2", "lightning.pytorch.strategies.FSDPStrategy",
     "lightning.pytorch.strategies.DeepSpeedStrategy", "lightning.pytorch.strategies.ModelParallelStrategy"],
)  # fmt: skip
def test_other_shardings_are_refused(
    strategy: str, command: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit", [f"--trainer.strategy={strategy}"])) == 2
    told = capfd.readouterr().err
    assert "FSDP1, DeepSpeed" in told
    assert "use fsdp, which is FSDP2" in told
