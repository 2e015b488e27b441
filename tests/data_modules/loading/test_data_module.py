import data_modules  # noqa: F401, I001  # first: makes torchvision importable

import json
import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from data_modules.batch import VideoBatch
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.sampling.schemes import DenseSampling, SegmentSampling
from data_modules.transforms.crops import EvalCrop

MakeFolders = Callable[..., Path]

pytestmark = [
    # Lightning 2.6 asks in torch's old way
    pytest.mark.filterwarnings(
        "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning"
    ),
    # the batches are decoded in this process on purpose
    pytest.mark.filterwarnings(
        "ignore:The '\\w+' does not have many workers which may be a bottleneck"
    ),
    # a resumed run goes on in its own folder
    pytest.mark.filterwarnings(
        "ignore:Checkpoint directory .* exists and is not empty"
    ),
]


def folder(root: Path, **options: Any) -> VideoFolder:
    defaults = {
        "sampling": SegmentSampling(2),
        "image_size": 8,
        "batch_size": 2,
        "num_workers": 0,
    }
    return VideoFolder(str(root), **(defaults | options))


class Recorder(LightningModule):
    """One weight on the mean of the clip; writes down what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[str]] = []
        self.evaluated: list[str] = []
        self.already_seen = 0

    def training_step(self, batch: VideoBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch.clip_id)
        return (self.weight - batch.video.float().mean() / 255).square()

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self.evaluated += batch.clip_id

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> VideoBatch:
        return batch

    test_step = validation_step

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        steps = int(
            self.trainer.estimated_stepping_batches
        )  # makes the loader before progress is restored
        return [optimizer], [
            torch.optim.lr_scheduler.LinearLR(
                optimizer, 1.0, 0.1, total_iters=steps
            )
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["already_seen"] = self.already_seen + len(self.seen)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.already_seen = checkpoint["already_seen"]


def trainer(folder: Path, **options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    defaults = {
        "default_root_dir": folder,
        "use_distributed_sampler": False,
        "enable_checkpointing": False,
    }
    return Trainer(**(quiet | defaults | options))


def trained(
    root: Path,
    length: dict[str, int],
    checkpoint: Path | None = None,
    **options: Any,
) -> Recorder:
    """Train and save at every step and at every epoch's end; 7 batches of 2 of the 15 clips an epoch."""
    module, data = (
        Recorder(),
        folder(root, num_workers=options.pop("num_workers", 0)),
    )
    saving_trainer(root, **length, **options).fit(
        module, datamodule=data, ckpt_path=checkpoint
    )
    return module


def saving_trainer(root: Path, **options: Any) -> Trainer:
    saving = [
        ModelCheckpoint(
            root / "steps", every_n_train_steps=1, save_top_k=-1, filename="{step}"
        ),
        ModelCheckpoint(
            root / "epochs", every_n_epochs=1, save_top_k=-1, filename="{epoch}"
        ),
    ]
    return trainer(root, callbacks=saving, enable_checkpointing=True, **options)


@pytest.mark.parametrize(
    ("everything", "given", "seed"),
    [(None, None, 0), (3, None, 3), (3, 5, 5), (3, 0, 0)],
)
def test_the_data_follow_the_seed_of_everything_unless_they_have_their_own(
    everything: int | None, given: int | None, seed: int, class_folders: MakeFolders
) -> None:
    """A batch of training shows what it does with that seed given."""
    root = class_folders(train=4)
    if everything is not None:
        seed_everything(everything, verbose=False)
    followed, expected = (
        next(iter(_training(root, seed=value))) for value in (given, seed)
    )
    assert followed.clip_id == expected.clip_id
    assert torch.equal(followed.video, expected.video)
    other = [
        next(iter(_training(root, seed=value))) for value in (seed + 1, seed + 2)
    ]
    assert any(
        batch.clip_id != expected.clip_id
        or not torch.equal(batch.video, expected.video)
        for batch in other
    )


def _training(root: Path, **options: Any) -> Any:
    data = folder(root, **options)
    data.setup("fit")
    return data.train_dataloader()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "length",
    [{"max_epochs": 3}, {"max_steps": 12, "max_epochs": -1}],
    ids=["epochs", "steps"],
)
def test_resume_after_any_step_sees_the_clips_that_are_left(
    class_folders: MakeFolders, length: dict[str, int], accumulate: int
):
    root = class_folders()
    whole = trained(root, length, accumulate_grad_batches=accumulate)
    checkpoints = sorted(root.glob("steps/*.ckpt")) + sorted(
        root.glob("epochs/*.ckpt")
    )
    places = set()
    for checkpoint in checkpoints:
        rest = trained(root, length, checkpoint, accumulate_grad_batches=accumulate)
        assert rest.seen == whole.seen[rest.already_seen :], checkpoint
        assert rest.weight.item() == whole.weight.item(), checkpoint
        places.add(rest.already_seen % 7)
    assert places == ({0, 2, 4, 6} if accumulate == 2 else set(range(7)))


def test_resume_on_a_part_of_the_clips(class_folders: MakeFolders) -> None:
    """The same part goes on with the clips that are left; another one of as many clips is refused in mid-epoch."""
    root = class_folders()

    def run(checkpoint: Path | None, **options: Any) -> Recorder:
        module = Recorder()
        fit = saving_trainer(root, max_epochs=2)
        fit.fit(
            module,
            datamodule=folder(root, shots=4, **options),
            ckpt_path=checkpoint,
        )
        return module

    whole = run(None)
    assert len(whole.seen) == 2 * 6
    stopped = root / "steps" / "step=4.ckpt"
    rest = run(stopped)
    assert rest.seen == whole.seen[4:]
    assert rest.weight.item() == whole.weight.item()
    with pytest.raises(
        ValueError,
        match=r"data\.shots=4, data\.subset_seed=0.* now .*data\.subset_seed=1",
    ):
        run(stopped, subset_seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_with_workers_sees_the_clips_that_are_left(
    class_folders: MakeFolders, accumulate: int
):
    root = class_folders()
    whole = trained(root, {"max_epochs": 3}, accumulate_grad_batches=accumulate)
    again = trained(
        root, {"max_epochs": 3}, accumulate_grad_batches=accumulate, num_workers=2
    )
    assert again.seen == whole.seen  # workers change nothing
    assert again.weight.item() == whole.weight.item()
    for step in (2, 4):
        checkpoint = root / "steps" / f"step={step}.ckpt"
        rest = trained(
            root,
            {"max_epochs": 3},
            checkpoint,
            accumulate_grad_batches=accumulate,
            num_workers=2,
        )
        assert rest.seen == whole.seen[rest.already_seen :]
        assert rest.weight.item() == whole.weight.item()


def test_resume_with_validation_inside_the_epoch(class_folders: MakeFolders):
    root = class_folders()
    whole = trained(root, {"max_epochs": 2}, val_check_interval=3)
    for checkpoint in sorted(root.glob("steps/*.ckpt")):
        rest = trained(root, {"max_epochs": 2}, checkpoint, val_check_interval=3)
        assert rest.seen == whole.seen[rest.already_seen :], checkpoint


def test_resume_in_mid_epoch_needs_the_same_order(class_folders: MakeFolders):
    root = class_folders()
    trained(root, {"max_epochs": 2})
    other = folder(root, seed=1)
    with pytest.raises(
        ValueError,
        match=r"resuming after batch 3 of an epoch needs the order of the checkpoint: .*",
    ):
        saving_trainer(root, max_epochs=2).fit(
            Recorder(), datamodule=other, ckpt_path=root / "steps" / "step=3.ckpt"
        )
    saving_trainer(root, max_epochs=2).fit(
        Recorder(), datamodule=other, ckpt_path=root / "epochs" / "epoch=0.ckpt"
    )


def test_an_epoch_is_never_the_one_before(class_folders: MakeFolders):
    seen = trained(class_folders(), {"max_epochs": 3}).seen
    epochs = [
        [name for batch in seen[start : start + 7] for name in batch]
        for start in (0, 7, 14)
    ]
    assert all(len(set(epoch)) == 14 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_epochs_cut_short_are_not_seen_again(class_folders: MakeFolders):
    seen = trained(class_folders(), {"max_epochs": 3}, limit_train_batches=5).seen
    whole = trained(class_folders(), {"max_epochs": 3}).seen
    assert seen == whole[:5] + whole[7:12] + whole[14:19]


def test_overfitting_takes_the_same_batches_each_epoch(class_folders: MakeFolders):
    module = Recorder()
    data = folder(class_folders())
    trainer(Path(data.root), max_epochs=2, overfit_batches=2).fit(
        module, datamodule=data
    )
    assert module.seen[:2] == module.seen[2:]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_sees_each_clip_once_on_any_number_of_ranks(
    class_folders: MakeFolders, world_size: int
):
    data = folder(
        class_folders(train=3, val=101), batch_size=8, transforms_on="worker"
    )
    data.setup("validate")

    class Rank:
        def __init__(self, rank: int) -> None:
            self.global_rank, self.world_size = rank, world_size

    seen: Counter[str] = Counter()
    for rank in range(world_size):
        data.trainer = Rank(rank)  # pyright: ignore[reportAttributeAccessIssue]
        loader = data.val_dataloader()
        batches = list(loader)
        assert len(batches) == len(loader)
        seen.update(name for batch in batches for name in batch.clip_id)
    assert len(seen) == 101
    assert set(seen.values()) == {1}


class Reporter(Recorder):
    """Leaves a file of what its rank saw."""

    def on_train_end(self) -> None:
        seen = {"trained": self.seen, "evaluated": self.evaluated}
        folder = Path(self.trainer.default_root_dir)
        (
            folder / f"from {self.already_seen} rank {self.global_rank}.json"
        ).write_text(json.dumps(seen))


def _train_rank(rank: int, port: int, root: Path, checkpoint: Path | None) -> None:
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    ranks = {
        "devices": 2,
        "strategy": "ddp",
        "num_sanity_val_steps": 0,
        "max_epochs": 2,
    }
    saving_trainer(root, **ranks).fit(
        Reporter(), datamodule=folder(root), ckpt_path=checkpoint
    )


@pytest.mark.slow
def test_two_ranks_share_training_and_evaluation_and_resume(
    class_folders: MakeFolders,
):
    root = class_folders(val=7)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    for checkpoint in (
        None,
        root / "steps" / "step=2.ckpt",
    ):  # 3 steps of 2 x 2 clips an epoch
        torch.multiprocessing.spawn(_train_rank, (port, root, checkpoint), nprocs=2)
    alone = Recorder()
    trainer(root, max_epochs=2).fit(alone, datamodule=folder(root, batch_size=4))
    for start in (0, 2):
        seen = [
            json.loads((root / f"from {start} rank {rank}.json").read_text())
            for rank in (0, 1)
        ]
        assert [
            a + b for a, b in zip(*(rank["trained"] for rank in seen), strict=True)
        ] == alone.seen[start:]
        each_epoch = Counter(seen[0]["evaluated"] + seen[1]["evaluated"])
        assert set(each_epoch.values()) == {2}
        assert len(each_epoch) == 7


def test_validate_and_test_through_the_trainer(class_folders: MakeFolders):
    module, data = Recorder(), folder(class_folders(), views="2x3")
    trainer(data.root).validate(module, datamodule=data, verbose=False)
    trainer(data.root).test(module, datamodule=data, verbose=False)
    assert sorted(module.evaluated) == sorted(
        [clip.clip_id for clip in data.clips("val")] * 2
    )
    assert next(iter(data.val_dataloader())).video.shape == (2, 1, 2, 3, 8, 8)
    assert next(iter(data.test_dataloader())).video.shape == (2, 6, 2, 3, 8, 8)


def test_predict_a_folder_and_a_file(class_folders: MakeFolders):
    root = class_folders()
    for path, names in ((root / "val", [f"class_{k % 3}/{k:03d}.mp4" for k in range(5)]),
                        (root / "val/class_1/001.mp4", ["001.mp4"])):  # fmt: skip
        data = folder(root, predict_path=str(path), views="1x3")
        batches = trainer(root).predict(Recorder(), datamodule=data)
        assert batches is not None
        assert [name for batch in batches for name in batch.clip_id] == sorted(
            names
        )
        assert {label for batch in batches for label in batch.label.tolist()} == {
            -1
        }
        assert batches[0].video.shape[1:] == (3, 2, 3, 8, 8)


def test_loaders_leave_the_global_random_state_alone(class_folders: MakeFolders):
    data = folder(class_folders())
    data.setup("fit")
    before = torch.get_rng_state()
    assert len(list(data.train_dataloader())) == len(data.train_dataloader()) == 7
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_of_a_fork_server_give_the_same_batches(class_folders: MakeFolders):
    root = class_folders()
    alone, helped = (folder(root, num_workers=workers) for workers in (0, 2))
    for data in (alone, helped):
        data.setup("fit")
    loader = helped.train_dataloader()
    assert loader.multiprocessing_context.get_start_method() == "forkserver"
    for expected, batch in zip(alone.train_dataloader(), loader, strict=True):
        assert torch.equal(batch.video, expected.video)
        assert torch.equal(batch.label, expected.label)
        assert batch.clip_id == expected.clip_id


def test_what_others_read(class_folders: MakeFolders):
    data = folder(
        class_folders(),
        sampling=DenseSampling(4, 2),
        views="2x3",
        eval_crop=EvalCrop(0.875),
    )
    assert (data.labels, data.image_size, data.num_frames, data.batch_size) == (
        ["class_0", "class_1", "class_2"], 8, 4, 2,
    )  # fmt: skip
    assert json.loads(json.dumps(data.protocol())) == {
        "sampling": {
            "name": "DenseSampling", "num_frames": 4, "stride": 2, "padding": "repeat_last", "spacing": "ends",
        },
        "views": "2x3",
        "image_size": 8,
        "crop": {"crop_ratio": 0.875, "interpolation": "bilinear"},
    }  # fmt: skip


def test_a_training_transform_without_chance_gives_the_same_clips_in_each_epoch(
    class_folders: MakeFolders,
):
    data = folder(
        class_folders(), train_transform=EvalCrop(), sampling=SegmentSampling(6)
    )
    data.setup("fit")
    dataset = data.train_dataloader().dataset
    assert torch.equal(dataset[0, 3].video, dataset[1, 3].video)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size: expected 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size: expected 1 or more, got 0"),
        ({"num_workers": -1}, "num_workers: expected 0 or more, got -1"),
        ({"views": "3"}, "views: expected temporal x spatial"),
    ],
)
def test_bad_options_are_named_at_once(
    class_folders: MakeFolders, options: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        folder(class_folders(1, 1, 1), **options)


def test_predict_needs_videos(class_folders: MakeFolders, tmp_path: Path):
    root = class_folders(1, 1, 1)
    with pytest.raises(ValueError, match="predict_path: needed for predict"):
        folder(root).setup("predict")
    with pytest.raises(
        FileNotFoundError,
        match=r"predict_path: .*nowhere is neither a video file nor a folder",
    ):
        folder(root, predict_path=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError,
        match=r"predict_path: no video \(\.mp4, .*\) under .*empty; it is empty",
    ):
        folder(root, predict_path=str(tmp_path / "empty")).setup("predict")


def test_too_few_clips_for_a_batch(class_folders: MakeFolders):
    data = folder(class_folders(3, 1, 1), batch_size=4)
    data.setup("fit")
    with pytest.raises(
        ValueError, match="the training set has 3; take a smaller batch_size"
    ):
        data.train_dataloader()
