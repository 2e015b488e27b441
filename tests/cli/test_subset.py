"""Runs on a part of a data set, through the console script: cached and live, stopped, and of other classes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from lightning_petl.__main__ import main
from tests.commands import Command, write_videos
from tests.pairs import announce

CLASSES = ["ebb", "left", "right", "tide"]
HEAD = ["--model.adapters=[LinearProbe]"]
PART = ["--data.classes=novel", "--data.shots=3", "--data.batch_size=2"]
EPOCHS = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1"]
TEXT = [
    "--model.backbone.name=open_clip:toy-quickgelu",
    "--model.backbone.readout=norm_cls_mean",
    "--model.head=TextHead",
]


def write_four(root: Path, train: int = 5, val: int = 3) -> Path:
    """Four classes; no two of their videos are alike."""
    write_videos(root, train, val)
    write_videos(root.parent / "more", 2 * train, val + 2)
    for split in ("train", "val"):
        for old, new in (("left", "ebb"), ("right", "tide")):
            others = sorted((root.parent / "more" / split / old).iterdir())
            (root / split / new).mkdir()
            for path in others[-(train if split == "train" else 2) :]:
                shutil.copy(path, root / split / new)
    return root


class FourClasses(Command):
    """As its base."""

    write = staticmethod(write_four)

    def ran(self, name: str, *flags: str) -> int:
        return main(self(name, flags))

    def weights(self, version: int) -> dict[str, torch.Tensor]:
        path = self.runs / f"version_{version}" / "checkpoints" / "last.ckpt"
        return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> FourClasses:
    return FourClasses(tmp_path_factory.mktemp("four"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(other[name], value) for name, value in one.items())


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def newest(command: Command) -> Path:
    return max(command.runs.glob("version_*"), key=lambda path: int(path.name[8:]))


def building(command: Command, output: Path, *flags: str) -> list[str]:
    built = [f"--output={output}", "--dtype=fp32", "--shard_size=4", *flags]
    return ["cache", *command("build", built)]


@pytest.mark.slow
def test_a_cache_of_the_whole_set_serves_a_part_of_it(
    four: FourClasses, tmp_path: Path
) -> None:
    """The weights are to the last bit those of live training; so are those from a cache of the part."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    draws = "--augmentations=2"
    assert main(building(four, whole, *HEAD, draws)) == 0
    assert main(building(four, part, *HEAD, *PART, draws)) == 0
    trained: list[dict[str, torch.Tensor]] = []
    for cache in ([], [f"--data.cache={whole}"], [f"--data.cache={part}"]):
        assert four.ran("fit", *HEAD, *PART, *EPOCHS, *cache) == 0
        trained.append(four.weights(int(newest(four).name[8:])))
    assert same(trained[0], trained[1])
    assert same(trained[0], trained[2])
    assert len(trained[0]["head.classifier.bias"]) == 2


def test_a_bank_trains_on_a_part_from_a_cache_of_the_whole_set(
    four: FourClasses, tmp_path: Path
) -> None:
    cache, bank = tmp_path / "whole", tmp_path / "bank.yaml"
    assert main(building(four, cache, *HEAD)) == 0
    members = {
        "members": {"a": {"optim": {"lr": 0.1}}, "b": {"optim": {"lr": 0.01}}}
    }
    backbone = {"backbone": four.model["backbone"]}
    model = {"class_path": "Bank", "init_args": backbone | members}
    data = yaml.safe_load(four.config.read_text())["data"]
    bank.write_text(yaml.safe_dump({"model": model, "data": data}))
    flags = [*four.trainer, *PART, f"--data.cache={cache}"]
    assert main(["fit", f"--config={bank}", *flags]) == 0
    for member in ("a", "b"):
        artifact = newest(four) / "members" / member / "artifact"
        assert json.loads((artifact / "labels.json").read_text()) == CLASSES[2:]


def data_of(four: FourClasses) -> list[str]:
    """The data set alone, and where runs go: an artifact brings the model."""
    path = four.config.with_name("data.yaml")
    data = yaml.safe_load(four.config.read_text())["data"]
    path.write_text(yaml.safe_dump({"data": data}))
    return [f"--config={path}", *four.trainer[:-1]]


def test_an_artifact_knows_its_classes_and_its_part(
    four: FourClasses, capsys: pytest.CaptureFixture[str]
) -> None:
    """A linear head serves no other classes: in a checkpoint, in an artifact, and whatever the run says."""
    base = ["--data.classes=base", "--data.percent=50"]
    assert four.ran("fit", *base) == 0
    run = newest(four)
    artifact = run / "artifact"
    assert json.loads((artifact / "labels.json").read_text()) == CLASSES[:2]
    protocol = json.loads((artifact / "adapter_config.json").read_text())[
        "protocol"
    ]
    assert protocol["subset"] == {
        "percent": 50.0,
        "classes": "base",
        "base_classes": "first_half",
        "subset_seed": 0,
    }
    assert main(["test", "--run_folder", str(run)]) == 0
    clip = str(four.videos / "val" / "ebb")
    assert (
        main(["predict", f"--artifact={artifact}", f"--data.predict_path={clip}"])
        == 0
    )
    exported = run / "exported"
    assert main(["export", f"--run_folder={run}", f"--output={exported}"]) == 0
    for name in ("labels.json", "adapter_config.json"):
        assert (exported / name).read_bytes() == (artifact / name).read_bytes()
    capsys.readouterr()
    for weights in (
        [f"--run_folder={run}"],
        [f"--artifact={artifact}", *data_of(four)],
    ):
        assert main(["test", *weights, "--data.classes=novel"]) == 2
        assert (
            "was trained on other labels, 2 (ebb, left), and the data have "
            "2 (right, tide): its head knows those alone"
        ) in said(capsys)


def test_a_head_of_text_is_evaluated_on_classes_that_it_was_not_trained_on(
    four: FourClasses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a checkpoint and from an artifact; one whose rows were trained refuses them."""
    announce(tmp_path)
    assert four.ran("fit", *TEXT, "--data.classes=base") == 0
    run = newest(four)
    novel = "--data.classes=novel"
    assert main(["test", f"--run_folder={run}", novel]) == 0
    scores = (newest(four) / "test_scores.jsonl").read_text().splitlines()
    clips = {json.loads(line)["clip_id"]: json.loads(line) for line in scores}
    assert {name.partition("/")[0] for name in clips} == set(CLASSES[2:])
    assert {len(line["logits"][0]) for line in clips.values()} == {2}
    capsys.readouterr()
    assert (
        main(["test", f"--artifact={run / 'artifact'}", *data_of(four), novel]) == 0
    )
    assert "data.classes: base -> novel" in capsys.readouterr().out
    again = (newest(four) / "test_scores.jsonl").read_text().splitlines()
    for line in map(json.loads, again):
        (view,) = line["logits"]
        assert view == pytest.approx(clips[line["clip_id"]]["logits"][0])
    tuned = "--model.head.tuned=true"
    assert main(["test", f"--run_folder={run}", novel, tuned]) == 2
    assert "or train a TextHead with tuned: false" in said(capsys)
