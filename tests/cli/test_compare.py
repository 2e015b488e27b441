"""Finished runs compared on the command line: two methods with two seeds each, and a bank."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from data_modules.io.untrusted import tensors_of
from lightning_petl.__main__ import main
from lightning_petl.adapters import STAdapter
from lightning_petl.artifacts.files import WEIGHTS
from lightning_petl.cli import config_text
from lightning_petl.compare.folders import places
from lightning_petl.compare.reading import read_run
from lightning_petl.cost.operations import view_macs
from lightning_petl.cost.summary import TrainingPlan, summarize
from lightning_petl.tasks.classification import VideoClassifier
from tests.commands import TRAINER, write_videos
from tests.formats.measure import complete, write_trunk
from tests.retrieval_runs import RetrievalCommand
from tests.tasks.ranks import on_ranks
from tests.tiny import tiny_vit

FLAGS = [*TRAINER, "--trainer.max_epochs=1"]
TRUNK = {"name": "test_vit", "weights": "trunk.safetensors", "depth": 2}
DATA = {
    "class_path": "VideoFolder",
    "init_args": {
        "root": "videos",
        "sampling": {
            "class_path": "SegmentSampling",
            "init_args": {"num_frames": 2},
        },
        "image_size": 32,
        "batch_size": 4,
        "num_workers": 0,
        "views": "2x1",
    },
}
MODELS: dict[str, Any] = {
    "lora": {
        "backbone": TRUNK,
        "adapters": [{"class_path": "LoRA", "init_args": {"rank": 2}}],
        "optim": {"lr": 0.01},
    },
    "probe": {
        "backbone": TRUNK,
        "adapters": [{"class_path": "LinearProbe"}],
        "optim": {"lr": 0.3},
    },
    "bank": {
        "class_path": "Bank",
        "init_args": {
            "backbone": TRUNK,
            "members": {
                "linear": {},
                "side": {
                    "adapters": [
                        {"class_path": "MAdapter", "init_args": {"width": 4}}
                    ]
                },
            },
        },
    },
}
RUNS = [("lora", 0), ("lora", 1), ("probe", 0), ("probe", 1), ("bank", 0)]
FOUR = [f"runs/{name}{seed}" for name, seed in RUNS[:4]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/<name><seed>``, each trained and tested."""
    folder = tmp_path_factory.mktemp("finished")
    write_videos(folder / "videos", 4, 6)
    write_trunk(folder / "trunk.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, model in MODELS.items():
            config = yaml.safe_dump({"model": model, "data": DATA})
            Path(f"{name}.yaml").write_text(config)
        for name, seed in RUNS:
            run = f"--run_folder=runs/{name}{seed}"
            options = [*FLAGS, f"--seed_everything={seed}", run]
            assert main(["fit", "-c", f"{name}.yaml", *options]) == 0
            assert main(["test", run]) == 0
    return folder


@pytest.fixture
def here(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder as the current one; tests write to folders of their own in it."""
    monkeypatch.chdir(finished)
    return finished


@pytest.fixture
def copied(here: Path, tmp_path: Path) -> Path:
    """A copy of a run that a test may change."""
    shutil.copytree("runs/lora1", tmp_path / "copy")
    return tmp_path / "copy"


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def change(file: Path, **values: Any) -> None:
    """Change what a record says."""
    record = json.loads(file.read_text()) | values
    file.write_text(json.dumps(record))


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The paragraph with which a comparison is refused."""
    capsys.readouterr()
    assert main(["compare", *argv]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def logged(run: str) -> dict[str, float]:
    return json.loads(Path(run, "testing.json").read_text())["metrics"]


def test_rows_are_means_over_seeds_of_what_the_tests_logged(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *FOUR, f"--output={tmp_path}"]) == 0
    text = (tmp_path / "compare.md").read_text()
    printed = capsys.readouterr().out
    assert printed.startswith(text)
    assert "its test logged" not in text
    rows = {row["method"]: row for row in table(tmp_path / "methods.csv")}
    assert rows.keys() == {"LoRA", "LinearProbe"}
    for name, runs in (("LoRA", FOUR[:2]), ("LinearProbe", FOUR[2:])):
        values = [logged(run)["test/top1"] for run in runs]
        row = rows[name]
        assert (row["seeds"], row["runs"]) == ("2", "2")
        assert float(row["top1"]) == pytest.approx(np.mean(values))
        assert float(row["top1 std"]) == pytest.approx(np.std(values, ddof=1))
        weights = tensors_of(Path(runs[0], "artifact", WEIGHTS))
        sizes = [int(np.prod(tensor.shape)) for tensor in weights.values()]
        assert int(row["parameters"]) == sum(sizes)
        assert float(row["memory_mib"]) > 100
        assert float(row["clips_per_s"]) > 0
    with Image.open(tmp_path / "cost.png") as picture:
        assert picture.width > 1000


def test_the_paired_difference_is_that_of_the_logits(
    here: Path, tmp_path: Path
) -> None:
    assert main(["compare", *FOUR, f"--output={tmp_path}"]) == 0
    (row,) = table(tmp_path / "differences.csv")
    right: dict[str, list[float]] = {"LoRA": [], "LinearProbe": []}
    for run in FOUR:
        name = "LoRA" if "lora" in run else "LinearProbe"
        lines = Path(run, "test_scores.jsonl").read_text().splitlines()
        for line in map(json.loads, lines):
            logits = np.array(line["logits"])
            odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
            right[name].append(float(odds.mean(0).argmax() == line["label"]))
    expected = np.mean(right[row["first"]]) - np.mean(right[row["second"]])
    assert float(row["difference"]) == pytest.approx(expected)
    assert float(row["low"]) <= expected <= float(row["high"])
    assert row["clips"] == "12"


def test_what_is_compared_names_the_rows(here: Path, tmp_path: Path) -> None:
    by = "--by=method,model.optim.lr"
    assert main(["compare", *FOUR, by, f"--output={tmp_path}"]) == 0
    names = {row["method"] for row in table(tmp_path / "methods.csv")}
    assert names == {"LoRA lr=0.01", "LinearProbe lr=0.3"}
    assert len(table(tmp_path / "runs.csv")) == 4


def test_runs_of_another_protocol_stand_apart_and_say_why(
    copied: Path, tmp_path: Path
) -> None:
    config = (copied / "config.yaml").read_text()
    longer = config.replace("max_epochs: 1", "max_epochs: 2")
    (copied / "config.yaml").write_text(longer)
    runs = ["runs/lora0", *FOUR[2:], str(copied)]
    assert main(["compare", *runs, f"--output={tmp_path}"]) == 0
    text = (tmp_path / "compare.md").read_text()
    separating = text.partition("What differs:")[2].partition("## Group 1")[0]
    assert "| epochs | 1       | 2" in separating
    assert separating.count("\n|") == 3
    assert "## Group 2" in text
    rows = table(tmp_path / "methods.csv")
    assert [row["group"] for row in rows] == ["1", "1", "2"]
    # no pair of two groups
    pairs = table(tmp_path / "differences.csv")
    assert [pair["group"] for pair in pairs] == ["1"]
    assert (tmp_path / "cost-2.png").is_file()
    joined = tmp_path / "joined"
    by = "--by=method,trainer.max_epochs"
    assert main(["compare", *runs, by, f"--output={joined}"]) == 0
    rows = table(joined / "methods.csv")
    assert {row["method"] for row in rows} == {
        "LoRA epochs=1",
        "LoRA epochs=2",
        "LinearProbe epochs=1",
    }
    assert len(table(joined / "differences.csv")) == 3


def test_a_test_of_other_views_is_another_protocol(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    argv = ["test", "-c", "lora.yaml", root, "--data.views=1x1", *FLAGS]
    checkpoint = next(Path("runs/lora1/checkpoints").glob("epoch*"))
    assert main([*argv, f"--ckpt_path={checkpoint}"]) == 0
    tested = str(tmp_path / "version_0")
    capsys.readouterr()
    output = f"--output={tmp_path / 'out'}"
    assert main(["compare", "runs/lora0", tested, output]) == 0
    text = capsys.readouterr().out
    separating = text.partition("What differs:")[2].partition("## Group 1")[0]
    assert "| views | 2x1     | 1x1" in separating
    assert separating.count("\n|") == 3
    # the seed is that of the training, which the command of the test did not say
    runs = table(tmp_path / "out" / "runs.csv")
    assert [run["seed"] for run in runs] == ["0", "1"]


def test_a_member_is_compared_by_the_logits_of_its_own_artifact(
    here: Path, tmp_path: Path
) -> None:
    """A plain classifier of the member's artifact says the same of each clip."""
    root = f"--trainer.default_root_dir={tmp_path}"
    artifact = "--artifact=runs/bank0/members/side/artifact"
    weights = "--model.backbone.weights=trunk.safetensors"
    data = yaml.safe_dump({"data": DATA})
    (tmp_path / "data.yaml").write_text(data)
    argv = ["test", artifact, f"--config={tmp_path / 'data.yaml'}", weights, root]
    assert main([*argv, *TRAINER]) == 0
    alone = _logits(tmp_path / "version_0")
    member = _logits(Path("runs/bank0/members/side"))
    assert member.keys() == alone.keys()
    for clip, values in member.items():
        np.testing.assert_allclose(values, alone[clip], rtol=1e-4, atol=1e-5)
    output = f"--output={tmp_path / 'out'}"
    assert main(["compare", "runs/bank0/members/side", output]) == 0
    (row,) = table(tmp_path / "out" / "methods.csv")
    assert row["method"] == "MAdapter"
    assert row["memory_mib"] == ""
    tensors = tensors_of(Path("runs/bank0/members/side/artifact_last", WEIGHTS))
    assert int(row["parameters"]) == sum(
        int(np.prod(tensor.shape)) for tensor in tensors.values()
    )


def _logits(folder: Path) -> dict[str, list[list[float]]]:
    found = {}
    for line in (folder / "test_scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[row["clip_id"]] = row["logits"]
    return found


def test_a_bank_stands_for_its_members_beside_runs_of_their_own(
    here: Path, tmp_path: Path
) -> None:
    """Each is tested with its own best weights, so that the protocol is one."""
    argv = ["compare", "runs/bank0", *FOUR, f"--output={tmp_path}"]
    assert main(argv) == 0
    rows = {row["method"]: row for row in table(tmp_path / "methods.csv")}
    assert rows.keys() == {"head alone", "MAdapter", "LoRA", "LinearProbe"}
    assert {row["group"] for row in rows.values()} == {"1"}
    assert len(table(tmp_path / "differences.csv")) == 6


def test_operations_of_a_view_are_those_of_the_summary() -> None:
    vit = tiny_vit()
    model = VideoClassifier(vit, [STAdapter(bottleneck=8)], ["left", "right"])
    grid = model.backbone.grid
    plan = TrainingPlan(
        clips=1,
        num_frames=grid.frames,
        image_size=model.backbone.image_size[0],
    )
    assert view_macs(model) == {"": summarize(model, plan).clip}


def test_operations_of_a_member_are_those_of_a_run_of_its_own(here: Path) -> None:
    def macs(folder: str) -> int:
        return json.loads(Path(folder, "testing.json").read_text())["macs"]

    assert macs("runs/bank0/members/linear") == macs("runs/probe0")
    assert macs("runs/bank0/members/side") > macs("runs/probe0")


def test_classes(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *FOUR, "--classes", f"--output={tmp_path}"]) == 0
    rows = table(tmp_path / "classes.csv")
    assert [row["class"] for row in rows] == ["left", "left", "right", "right"]
    by_method: dict[str, list[float]] = {}
    for row in rows:
        assert row["clips"] == "6"
        by_method.setdefault(row["method"], []).append(float(row["top1"]))
    for row in table(tmp_path / "methods.csv"):
        mean = np.mean(by_method[row["method"]])
        assert mean == pytest.approx(float(row["mean_class"]))
    assert "| class | clips |" in capsys.readouterr().out


def test_clips_that_one_run_lacks_are_named_and_nothing_is_paired(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (copied / "test_scores.jsonl").read_text().splitlines()
    gone = json.loads(lines[4])["clip_id"]
    (copied / "test_scores.jsonl").write_text("\n".join(lines[:4] + lines[5:]))
    argv = ["compare", "runs/probe0", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    assert "test_clips" in capsys.readouterr().out
    assert main([*argv, "--by=method,test_clips"]) == 0
    text = capsys.readouterr().out
    assert f"no paired difference: not all of their runs have {gone}" in text
    assert "not paired" in text
    # one clip fewer is another number, too
    assert "its test logged" in text


def test_a_run_that_went_on_after_its_test_is_told(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copied / "training.json", updates=99, finished=False)
    assert main(["compare", str(copied), f"--output={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert "was tested after 2 updates and has 99 now: test it again" in text
    assert "its training did not come to its end" in text


def test_what_is_not_set_equals_what_a_release_did_not_have(
    copied: Path, tmp_path: Path
) -> None:
    for name in ("config.yaml", "test_config.yaml"):
        lines = (copied / name).read_text().splitlines()
        kept = [line for line in lines if "augmentations" not in line]
        assert len(kept) < len(lines)
        (copied / name).write_text("\n".join(kept))
    argv = ["compare", "runs/lora0", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    (row,) = table(tmp_path / "methods.csv")
    assert row["seeds"] == "2"


def test_a_key_of_the_data_set_that_nobody_knows_is_protocol(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "config.yaml"
    line = "    num_sample: 1\n"
    assert line in file.read_text()
    file.write_text(file.read_text().replace(line, f"{line}    hundredths: 5\n"))
    argv = ["compare", "runs/lora0", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    assert "| train data.hundredths | none" in capsys.readouterr().out
    assert main([*argv, "--by=train data.hundredths"]) == 0
    names = {row["method"] for row in table(tmp_path / "methods.csv")}
    assert names == {"hundredths=none", "hundredths=5"}


def test_accuracy_against_data_is_one_group_where_it_is_asked_for(
    copied: Path, tmp_path: Path
) -> None:
    """Other clips to train on, and a seed that chose them, follow from the percentage."""
    for name in ("config.yaml", "test_config.yaml"):
        config = (copied / name).read_text()
        part = config.replace("percent: null", "percent: 50.0")
        assert part != config
        (copied / name).write_text(part)
    data = json.loads((copied / "training.json").read_text())["data"]
    change(copied / "training.json", data=data | {"names": "others"})
    argv = ["compare", "runs/lora0", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    groups = [row["group"] for row in table(tmp_path / "methods.csv")]
    assert groups == ["1", "2"]
    assert main([*argv, "--by=data.percent"]) == 0
    rows = table(tmp_path / "methods.csv")
    assert {row["method"] for row in rows} == {"percent=none", "percent=50"}
    assert len(table(tmp_path / "differences.csv")) == 1


def test_a_repeated_run_is_no_further_seed(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copied / "training.json", run="another")
    argv = ["compare", "runs/lora1", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    assert "several runs of seed 1" in capsys.readouterr().out
    (row,) = table(tmp_path / "methods.csv")
    assert (row["seeds"], row["runs"]) == ("1", "2")


def test_what_an_older_run_has_not_written_is_unknown_and_equal_to_nothing(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run and its test before these records: TensorBoard, artifact and configurations say the rest."""
    (copied / "training.json").unlink()
    (copied / "testing.json").unlink()
    test = min(Path("runs/default").iterdir(), key=_of_lora)
    for events in test.glob("events*"):
        shutil.copy(events, copied)
    argv = ["compare", "runs/lora0", str(copied), f"--output={tmp_path}"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    separating = text.partition("What differs:")[2].partition("## Group 1")[0]
    keys = ("decoder", "train_clips", "manifest", "batch")
    for key in keys:
        assert f"| {key} " in separating
    assert separating.count("\n|") == 2 + len(keys)
    assert "unknown, not compared" in text
    assert "logged" not in text
    new, old = table(tmp_path / "methods.csv")
    assert old["parameters"] == new["parameters"]
    assert old["macs"] == ""
    joined = f"--by=method,{','.join(keys)}"
    assert main([*argv, joined]) == 0
    assert len(table(tmp_path / "differences.csv")) == 1


def _of_lora(folder: Path) -> tuple[bool, str]:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return config.get("run_folder") != "runs/lora1", folder.name


def test_wrong_folders_are_told(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no folder runs/none" in refused(capsys, "runs/none")
    assert "is no run" in refused(capsys, "videos")
    assert "runs/bank0 runs/lora0" in refused(capsys, "runs")
    twice = refused(capsys, "runs/lora0", "runs/../runs/lora0")
    assert "the same run" in twice
    # under another name, as the folder of its test
    assert "the same run" in refused(capsys, "runs/lora1", str(copied))
    (copied / "test_scores.jsonl").unlink()
    told = refused(capsys, "runs/lora0", str(copied))
    assert f"lightning-petl test --run_folder {copied}" in told
    output = refused(capsys, "runs/lora0", "--output=trunk.safetensors")
    assert "is a file" in output
    assert not Path("runs/compare").exists()


def test_an_unknown_key_is_told_with_near_ones(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "near: optim.lr" in refused(capsys, *FOUR, "--by=optim.lrr")
    assert "adapters.LoRA.rank" in refused(capsys, *FOUR, "--by=rank")


def test_runs_of_other_labels_are_refused(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(copied / "testing.json", labels=["left", "up"])
    told = refused(capsys, "runs/lora0", str(copied))
    assert "number 1 is 'right' and 'up'" in told
    change(copied / "testing.json", labels=["left", "right"])
    file = copied / "test_scores.jsonl"
    file.write_text(file.read_text().replace('"label": 0', '"label": 1'))
    assert "is of class 0 and 1" in refused(capsys, "runs/lora0", str(copied))
    file.write_text('{"clip_id": "a", "label": 0, "logits": [[1, 2, 3]]}')
    assert "2 and 3" in refused(capsys, "runs/lora0", str(copied))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}', '{"format": 1, "metrics": 3}'])  # fmt: skip
def test_a_damaged_record_is_told(
    text: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied / "testing.json").write_text(text)
    assert "testing.json" in refused(capsys, str(copied))


def test_without_matplotlib_the_tables_are_written_and_the_way_to_it_is_told(
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("figure", "backends.backend_agg"):
        monkeypatch.setitem(sys.modules, f"matplotlib.{name}", None)
    assert main(["compare", *FOUR, f"--output={tmp_path}"]) == 0
    assert "lightning_petl[plots]" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "methods.csv").is_file()


def test_results_that_cannot_be_kept_with_the_run_do_not_fail_the_test(
    copied: Path, tmp_path: Path
) -> None:
    (copied / "test_scores.jsonl").unlink()
    (copied / "test_scores.jsonl").mkdir()
    root = f"--trainer.default_root_dir={tmp_path}"
    with pytest.warns(UserWarning, match="the results are not in"):
        assert main(["test", f"--run_folder={copied}", root]) == 0
    assert (tmp_path / "version_0" / "test_scores.jsonl").is_file()


def test_retrievals_are_paired_by_caption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = RetrievalCommand(tmp_path)
    run = tmp_path / "run"
    assert main(command("fit", [f"--run_folder={run}"])) == 0
    root = f"--trainer.default_root_dir={command.runs}"
    assert main(["test", f"--run_folder={run}", root]) == 0
    other = tmp_path / "other"
    shutil.copytree(run, other)
    change(other / "training.json", run="other")
    lines = (other / "retrieval.jsonl").read_text().splitlines()
    rows = [json.loads(line) | {"rank": 1.0} for line in lines]
    (other / "retrieval.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("lr: 0.003", "lr: 0.1"))
    capsys.readouterr()
    output = tmp_path / "out"
    argv = ["compare", str(run), str(other)]
    assert main([*argv, f"--output={output}"]) == 0
    text = capsys.readouterr().out
    assert "9 test captions" in text
    assert "its scores give R1 100, and its test logged" in text
    better, worse = table(output / "methods.csv")
    metrics = json.loads((run / "testing.json").read_text())["metrics"]
    for name in ("R1", "R5", "R10", "MdR", "MnR"):
        assert float(worse[name]) == pytest.approx(metrics[f"test/t2v/{name}"])
    assert float(worse["v2t_any/R1"]) == metrics["test/v2t_any/R1"]
    assert better["R1"] == "100.0"
    (pair,) = table(output / "differences.csv")
    gain = (100 - float(worse["R1"])) / 100
    assert float(pair["difference"]) == pytest.approx(gain)
    # three videos have two captions each, three have one
    assert pair["clips"] == "6"
    assert "no classes" in refused(capsys, *argv[1:], "--classes")


@pytest.mark.slow  # two processes
def test_two_ranks_write_the_scores_of_members_as_one_does(
    here: Path, tmp_path: Path
) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    argv = ["test", "--run_folder=runs/bank0", root, "--data.batch_size=2"]
    before = Path("runs/bank0/members/side/test_scores.jsonl").read_bytes()
    try:
        on_ranks([[*argv, "--trainer.strategy=ddp"]])
        for name in ("linear", "side"):
            one = _logits(Path("runs/bank0/members", name))
            two = _logits(tmp_path / "version_0" / "members" / name)
            assert one.keys() == two.keys()
            assert len(one) == 12
    finally:
        assert main(["test", "--run_folder=runs/bank0", root]) == 0
    after = Path("runs/bank0/members/side/test_scores.jsonl").read_bytes()
    assert after == before


def test_runs_of_the_first_release_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bank that 0.1.0.dev1 trained; its settings are those of its table of hyperparameters, type by type."""
    golden = Path(__file__).parents[1] / "formats" / "0.1.0.dev1"
    shutil.copytree(golden, tmp_path, dirs_exist_ok=True)
    complete(tmp_path)
    monkeypatch.chdir(tmp_path)
    bank = Path("trained/bank")
    told = refused(capsys, str(bank))
    assert "lightning-petl test --run_folder trained/bank" in told
    # its best checkpoint is not among the files
    checkpoint = f"--ckpt_path={bank}/checkpoints/last.ckpt"
    root = "--trainer.default_root_dir=tested"
    assert main(["test", "-c", f"{bank}/config.yaml", checkpoint, root]) == 0
    test = Path("tested/version_0")
    (tested,) = places(test / "members" / "reader", config_text.read)
    written = read_run(tested, config_text.read)
    for record in test.glob("members/*/testing.json"):
        record.unlink()
    (older,) = places(test / "members" / "reader", config_text.read)
    found = read_run(older, config_text.read)
    assert found.settings == written.settings
    assert found.settings["adapters"] == "MAdapter"
    assert found.protocol["trunk"] == written.protocol["trunk"]
    assert found.labels == written.labels == ("left", "right")
    assert found.scores.values["top1"].tolist() == written.scores.values["top1"].tolist()  # fmt: skip
    assert main(["compare", str(test), "--output=out"]) == 0
    rows = table(Path("out/methods.csv"))
    assert {row["method"] for row in rows} == {"head alone", "MAdapter"}
    assert {row["macs"] for row in rows} == {""}
