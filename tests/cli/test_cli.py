"""The command line in process, on real video files and a tiny trunk."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_petl.__main__ import main
from tests.commands import Command


def test_help_lists_the_commands_without_torch() -> None:
    code = "import sys, lightning_petl.__main__ as m; m.main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    listed = re.findall(r"^  (\w+(?: \w+)?)  +(\w.*)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in listed] == [
        "fit", "validate", "test", "predict", "compare", "export", "check", "summary", "configs",
        "recipes", "data index", "data ingest", "cache build", "cache knn", "doctor", "submit",
        "sweep", "status", "cancel", "logs",
    ]  # fmt: skip
    assert (
        len(
            {
                line.index(what)
                for _, what in listed
                for line in done.stdout.splitlines()
                if what in line
            }
        )
        == 1
    )
    assert max(map(len, done.stdout.splitlines())) <= 100


# torch comes first: a fast test; the others are imported behind it
@pytest.mark.parametrize(
    "module",
    [
        "torch",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("numpy.dtypes", "lightning", "lightning_petl.cli.names")
        ),
    ],
)
@pytest.mark.parametrize("command", ["fit", "data index"])
def test_ctrl_c_while_modules_are_imported_ends_quietly(
    module: str, command: str
) -> None:
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from lightning_petl.__main__ import main
sys.exit(main({command.split()!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_later_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Any) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr("lightning_petl.cli.lightning.run", interrupted)
    assert main(["fit"]) == 130
    assert capsys.readouterr() == ("", "")


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    assert "--model" in capsys.readouterr().out


def test_print_config_round_trips(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model.adapters+=BitFit", "--model.optim.lr=0.3", "--print_config"]
    assert main([*command("fit"), *flags]) == 0
    first = capsys.readouterr().out
    (tmp_path / "printed.yaml").write_text(first)
    assert (
        main(["fit", "--config", str(tmp_path / "printed.yaml"), "--print_config"])
        == 0
    )
    assert capsys.readouterr().out == first
    model = yaml.safe_load(first)["model"]["init_args"]
    assert model["optim"]["lr"] == 0.3
    assert [
        adapter["class_path"].split(".")[-1] for adapter in model["adapters"]
    ] == [
        "LoRA",
        "BitFit",
    ]


def test_the_four_commands(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit")) == 0
    shown = capsys.readouterr().out
    assert "LoRA" in shown
    assert "head" in shown
    run = command.runs / "version_0"
    checkpoint = ["--ckpt_path", str(run / "checkpoints" / "last.ckpt")]
    assert main([*command("validate"), *checkpoint]) == 0
    assert main([*command("test"), "--data.views=2x1", *checkpoint]) == 0
    check_scores(command.runs / "version_2" / "test_scores.jsonl")
    predict = [
        "predict",
        "--artifact",
        str(run / "artifact"),
        *command.trainer,
        "--data.num_workers=0",
    ]
    capsys.readouterr()
    assert main([*predict, "--data.predict_path", str(command.videos / "val")]) == 0
    assert "left/0.mp4" in capsys.readouterr().out
    check_predictions(command.runs / "version_3" / "predictions.csv", clips=6)
    assert (
        main(
            [
                *predict,
                "--data.predict_path",
                str(command.videos / "val" / "left" / "0.mp4"),
            ]
        )
        == 0
    )
    check_predictions(command.runs / "version_4" / "predictions.csv", clips=1)


def check_scores(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(row["clip_id"] for row in rows) == sorted(
        f"{c}/{i}.mp4" for c in ("left", "right") for i in range(3)
    )
    assert all(row["label"] == row["clip_id"].startswith("right") for row in rows)
    assert all(torch.tensor(row["logits"]).shape == (2, 2) for row in rows)


def check_predictions(path: Path, clips: int) -> None:
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 2 * clips
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert float(first["probability"]) >= float(second["probability"])
        assert float(first["probability"]) + float(
            second["probability"]
        ) == pytest.approx(1, abs=2e-6)


def test_a_checkpoint_is_plain_small_and_does_not_overrule_flags(
    command: Command,
) -> None:
    assert main(command("fit")) == 0
    path = command.runs / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert all(
        ".deltas." in key or key.startswith("head.")
        for key in checkpoint["state_dict"]
    )
    assert checkpoint["hyper_parameters"]["init_args"]["optim"]["lr"] == 0.01
    assert (
        main(
            [
                *command("fit"),
                "--ckpt_path",
                str(path),
                "--trainer.max_epochs=2",
                "--model.optim.lr=0.5",
            ]
        )
        == 0
    )
    later = torch.load(
        command.runs / "version_1" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert later["hyper_parameters"]["init_args"]["optim"]["lr"] == 0.5


WRONG: list[tuple[list[str], str]] = [
    (
        ["--model.adapters+=LoRa"],
        r"model\.adapters: 'LoRa' is no known class; near: LoRA",
    ),
    (
        ["--model.adapters=[lightning_petl.adapters.lora.Lora]"],
        "there is no lightning_petl.adapters.lora.Lora; .* short names; near: LoRA",
    ),
    (
        ["--model.adapters=[lightning_petl.nowhere.LoRA]"],
        "there is no lightning_petl.nowhere; .* short names; known: AIM, .*VPT, or",
    ),
    (["--model.adapters.init_args.rank=0"], "rank 0 must be above zero"),
    (
        ["--model.adapters.init_args.rnk=3"],
        r"model\.adapters: Option 'rnk' is not accepted",
    ),
    (["--model.optim.lr=fast"], r"model\.optim\.lr: expected a number, got fast"),
    (["--model.optim.lr=-1"], r"lr must be above 0, got -1\.0"),
    (
        ["--model.optim.lr_factor={Nobody: 2}"],
        r"lr_factor names Nobody.*\['LoRA', 'head'\]",
    ),
    (["--model.optim.global_batch=5"], "global_batch 5 is not a multiple of 3"),
    (["--model.head.dropout=2"], r"head dropout must lie in \[0, 1\), got 2\.0"),
    (["--model.label_smoothing=1"], "label_smoothing must lie in"),
    (["--model.backbone.name=vit_tiny_patch17_224"], "vit_tiny_patch17_224"),
    (
        ["--model.backbone.readout=max"],
        r"model\.backbone\.readout: expected one of '.*, got max",
    ),
    (
        ["--data.root=/nowhere"],
        "/nowhere: no such folder; expected in it train/<class>/<video>",
    ),
    (["--data.sampling.num_frames=0"], "num_frames: expected 1 or more, got 0"),
    (["--config=nothing.yaml"], "there is no file nothing.yaml"),
    (
        ["--model.backbone.name=vit_tiny_patch16_224.augreg_in21"],
        "no weights 'augreg_in21' of .*; near: augreg_in21k",
    ),
    (
        ["--model.backbone.name=vit_tinny_patch16_224"],
        "is not a timm model; near: .*vit_tiny_patch16_224",
    ),
    (["--nosuch=1"], "there is no option --nosuch"),
    (
        ["--max_epochs=3"],
        "there is no option --max_epochs; near: --trainer.max_epochs",
    ),
    (
        ["--trainer.max_epoch=3"],
        "there is no option --trainer.max_epoch; near: --trainer.max_epochs",
    ),
    (["--dta.root=x"], "there is no option --dta.root; near: --data.root"),
    (["--lr", "3"], "there is no option --lr; near: --model.optim.lr"),
    (["--model.lr=3"], r"Option 'lr' is not accepted; near: model\.optim\.lr"),
    (["--run-folder=x"], "there is no option --run-folder; near: --run_folder"),
    (["extra"], "extra is no option: settings are given as --KEY=VALUE"),
    (
        ["--model.adapters=LoRA"],
        r"model\.adapters: expected a list, got LoRA, which is written \[LoRA\]",
    ),
    (
        ["--model.adapters+=mine.Foo"],
        r"mine\.Foo cannot be imported: there is no module mine in /",
    ),
    (
        ["--model.adapters+=VideoFolder"],
        "'VideoFolder' is no known class; known: AIM, .*VPT, or the dotted path",
    ),
    (
        ["--model.optim=adamw"],
        "model.optim: expected a mapping of its settings.*, got adamw; it has algorithm, lr,",
    ),
    (["--model.optim.algorithm=adm"], "expected one of 'adamw', 'sgd', got adm"),
    (
        ["--seed_everything=x"],
        "seed_everything: expected true or false or a whole number, got x$",
    ),
    (["--data=LoRA"], "data: 'LoRA' is no known class; known: .*VideoFolder"),
    (
        ["--trainer.callbacks+=Foo"],
        "trainer.callbacks: 'Foo' is no known class; known: see the documentation, or the",
    ),
    (
        ["--trainer.max_epochs=many"],
        r"trainer\.max_epochs: expected a whole number, got many",
    ),
    (["--data.shots=many"], r"data\.shots: expected a whole number, got many$"),
    (
        ["--data.shots=2", "--data.percent=5"],
        "shots=2 and data.percent=5 both say how many",
    ),
    (["--data.percent=200"], "above 0 and up to 100, got 200"),
    (["--trainer.accelerator=gpus"], "invalid accelerator name"),
    (["--trainer.devices=many"], "`devices` selected with"),
    (["--trainer.val_check_interval=1000"], "val_check_interval"),
    (["--artifact"], "--artifact: expected one argument"),
    (["--ckpt_path=/nowhere.ckpt"], "ckpt_path: /nowhere.ckpt is no file"),
    (["--ckpt_path=best"], "ckpt_path: best is no file; give that of a checkpoint"),
    (["--artifact=/nowhere"], "/nowhere is not an adapter artifact"),
    (["--trainer.default_root_dir=/proc/nowhere"], "/proc/nowhere"),
    (["--trainer.max_epochs=-1"], r"set trainer\.max_epochs or trainer\.max_steps"),
]


@pytest.mark.parametrize(
    ("flags", "message"), WRONG, ids=[flags[0] for flags, _ in WRONG]
)
def test_a_wrong_value_is_told_in_one_paragraph(
    flags: list[str],
    message: str,
    command: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command("fit"), *flags]) == 2
    shown = capsys.readouterr().err
    paragraph = shown[shown.index("lightning-petl: ") :]
    assert re.search(message, paragraph), paragraph
    assert paragraph.count("\n") == 1
    assert "Traceback" not in shown


def test_a_video_that_cannot_be_decoded_is_told_from_a_worker(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (command.videos / "val" / "left" / "0.mp4").write_bytes(b"no video")
    assert main([*command("fit"), "--data.num_workers=1"]) == 2
    paragraph = capsys.readouterr().err.splitlines()[-1]
    assert paragraph.startswith("lightning-petl: ")
    assert "left/0.mp4" in paragraph


def test_the_traceback_can_be_had(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_PETL_TRACEBACK", "1")
    with pytest.raises(ValueError, match="lr must be above 0"):
        main([*command("fit"), "--model.optim.lr=-1"])


def test_an_own_error_is_not_hidden(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(
        "lightning_petl.tasks.classification.VideoClassifier.training_step", broken
    )
    with pytest.raises(KeyError, match="a bug"):
        main(command("fit"))


def test_another_stack_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit")) == 0
    path = command.runs / "version_0" / "checkpoints" / "last.ckpt"
    assert (
        main(
            [
                *command("test"),
                "--model.adapters=[LinearProbe]",
                f"--ckpt_path={path}",
            ]
        )
        == 2
    )
    assert "belongs to another stack" in capsys.readouterr().err


def test_resuming_on_another_trunk_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command("fit")) == 0
    path = command.runs / "version_0" / "checkpoints" / "last.ckpt"
    assert (
        main([*command("fit"), "--seed_everything=1", f"--ckpt_path={path}"]) == 2
    )  # random weights follow the seed
    assert "use the trunk it was trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "valid"),
    [
        ("--model.adapters.init_args.rnk=2", "LoRA has rank, alpha, targets"),
        ("--model.backbone.nam=x", "VideoViT has name, weights"),
        (
            "--data.init_args.batchsize=2",
            "VideoFolder has root, files, labels, sampling",
        ),
        (
            "--data.files.mising=leave out",
            "files has missing, broken, deadline, ingested, manifest",
        ),
        ("--data.init_args.files.mising=x", "files has missing, broken"),
        ("--data.files={mising: x}", "files has missing, broken"),
        ("--data.fils.missing=x", "VideoFolder has root, files, labels, sampling"),
        ("--model.optim.lrr=2", "optim has algorithm, lr,"),
        ("--model.optim.schedule.warmpu=2", "schedule has warmup, unit,"),
        ("--model.optim={schedule: {warmpu: 2}}", "schedule has warmup, unit,"),
        ("--data.mixing={mixpu: 2}", "Mixing has mixup, cutmix"),
    ],
)
def test_an_unknown_option_lists_the_valid_ones(
    command: Command, flag: str, valid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("fit"), flag]) == 2
    assert valid in capsys.readouterr().err


def test_an_unknown_option_is_named_once_as_it_was_given(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "data",
                "index",
                "--config",
                str(command.config),
                "--data.files.mising=leave_out",
            ]
        )
        == 2
    )
    assert capsys.readouterr().err == (
        "lightning-petl: data: Option 'files.mising' is not accepted; near: missing; "
        "files has missing, broken, deadline, ingested, manifest\n"
    )


IN_A_FILE = {
    "model: {optim: {lrr: 1}}": r"model: Option 'optim\.lrr' is not accepted; near: lr, ",
    "modle: {optim: {lr: 1}}": r"there is no option 'modle\.optim\.lr'; near: model\.optim\.lr",
    "trainer: {max_epoch: 1}": r"there is no option 'trainer\.max_epoch'; near: trainer\.max_epochs",
    "data: {batch_size: many}": r"data\.batch_size: expected a whole number, got many",
    "data: {init_args: {batch_size: many}}": r"data\.batch_size: expected a whole number, got many",
    "data: VideoFoldr": "data: 'VideoFoldr' is no known class; near: VideoFolder",
    "data: [VideoFolder]": "data: expected the name of a class, or a mapping with class_path and init_args",
    "model: {adapters: [{class_path: LoRA, init_arg: {rank: 2}}]}": "near: init_args",
    "trainer: {min_epochs: '${nothing}'}": r"trainer\.min_epochs: Interpolation key 'nothing' not found",
}


@pytest.mark.parametrize("text", IN_A_FILE)
def test_what_is_wrong_in_a_file_is_told_with_its_line(
    text: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(f"# a comment\n{text}\n")
    assert main([*command("fit"), "-c", str(tmp_path / "wrong.yaml")]) == 2
    assert re.fullmatch(
        rf"lightning-petl: \S*wrong\.yaml, line 2: .*{IN_A_FILE[text]}.*\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["fti"], "there is no command 'fti'; near: fit"),
        (["train"], "there is no command 'train'; near: fit"),
        (
            ["-c", "x.yaml", "fit"],
            "the command comes first: lightning-petl fit -c ...",
        ),
        (["--nosuch"], "there is no command '--nosuch'; there are fit, validate,"),
        (["data", "idnex"], "data: no command 'idnex'; there are: index, ingest"),
        (
            ["data", "index", "--wrkers=2"],
            "there is no option --wrkers; near: --workers",
        ),
        (["predict"], "predict: not given: what predicts (--artifact FOLDER"),
        (
            ["predict", "clip.mp4"],
            "predict: not given: what predicts (--artifact FOLDER",
        ),
        (["fit", "clip.mp4"], "a video as --data.predict_path=clip.mp4"),
        (
            ["fit", "--model.backbone.name=x", "--model.adapters=[LoRA]"],
            "not given: data (-c data/NAME",
        ),
        (
            [
                "fit",
                "--model.backbone.name=x",
                "--model.adapters=[LoRA]",
                "--data.root=x",
            ],
            "data: its settings are given, but not its class (-c data/NAME, or --data CLASS)",
        ),
        (["submit"], "submit: not given: time (--time)"),
        (["submit", "--nodes=x"], "submit: nodes: expected a whole number, got x"),
        (["status", "--foo"], "there is no option --foo"),
        (["logs", "--rnus=x", "y"], "there is no option --rnus; near: --runs"),
        (["cancel"], "not given: job"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_in_one_paragraph(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    paragraph = capsys.readouterr().err
    assert told in paragraph
    assert paragraph.startswith("lightning-petl: ")
    assert paragraph.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["data", "index"], "data (-c data/NAME, or --data CLASS)"),
        (
            ["data", "ingest"],
            "output (--output FOLDER), data (-c data/NAME, or --data CLASS)",
        ),
        (
            ["fit"],
            "backbone (-c backbone/NAME), adapters (-c adapters/NAME, or "
            "--model.adapters+=CLASS)",
        ),
        (
            ["data", "index", "--data=VideoFolder"],
            "root (--data.root), sampling (--data.sampling)",
        ),
    ],
    ids=" ".join,
)
def test_what_is_not_given_is_told_with_the_way_to_give_it(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    paragraph = capsys.readouterr().err
    assert f"not given: {told}" in paragraph
    assert paragraph.count("\n") == 1


def test_a_misspelt_method_is_told_its_name(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command("fit"), "--model.adapters+=Lora"]) == 2
    assert "near: LoRA" in capsys.readouterr().err
