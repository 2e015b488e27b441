"""The configurations that the package ships, by name, and the command ``configs``."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_petl.__main__ import main
from lightning_petl.cli import shipped_configs

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("**/*.yaml"))
SHIPPED = shipped_configs.FOLDER
LORA = SHIPPED / "adapters/lora.yaml"
FLAGS = [
    "--model.backbone.name=vit_tiny_patch16_224",
    "--data=VideoFolder",
    "--data.sampling=SegmentSampling",
]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder without files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_of_the_checkout_is_shipped() -> None:
    names = [
        str(file.relative_to(ROOT / "configs").with_suffix("")) for file in FILES
    ]
    assert shipped_configs.names() == names
    assert len(names) > 50


@pytest.mark.parametrize(
    "text",
    ["lora", "lora.yaml", "adapters/lora", "adapters/lora.yaml", "configs/adapters/lora.yaml"],
)  # fmt: skip
@pytest.mark.parametrize("form", [["-c", "{}"], ["-c={}"], ["--config", "{}"], ["--config={}"]])  # fmt: skip
def test_a_name_becomes_a_path(text: str, form: list[str], empty: Path) -> None:
    given = [part.format(text) for part in form]
    words = shipped_configs.with_paths(["fit", *given, "--name", "lora"])
    assert words[0] == "fit"
    assert words[-2:] == ["--name", "lora"]
    option, _, path = "=".join(words[1:-2]).partition("=")
    assert option in ("-c", "--config")
    if text == "lora.yaml":  # a file that is not there is told as such
        assert path == text
    else:
        assert path == str(LORA)


def test_only_submit_has_the_option_slurm(empty: Path) -> None:
    (_, path) = shipped_configs.with_paths(["submit", "--slurm=gpu"])
    assert path == f"--slurm={SHIPPED}/slurm/gpu.yaml"
    words = shipped_configs.with_paths(["submit", "--slurm", "slurm/cpu"])
    assert words[2] == f"{SHIPPED}/slurm/cpu.yaml"
    doctor = ["doctor", "--slurm", "--runs", "gpu"]
    assert shipped_configs.with_paths(doctor) == doctor


@pytest.mark.parametrize(
    "text", ["", "{}", "a b", "/nowhere/lora.yaml", "../lora", "nothing.yaml", "é: 1", "."]
)  # fmt: skip
def test_what_is_no_name_is_left_to_the_reader_of_files(
    text: str, empty: Path
) -> None:
    assert shipped_configs.found(text) == text


def test_a_path_that_exists_wins(empty: Path) -> None:
    own = empty / "adapters" / "lora.yaml"
    own.parent.mkdir()
    own.write_text("model:\n")
    assert shipped_configs.found("adapters/lora.yaml") == "adapters/lora.yaml"
    assert shipped_configs.found("adapters") == "adapters"
    (empty / "dora").write_text("model:\n")
    assert shipped_configs.found("dora") == "dora"


def test_a_folder_of_videos_may_have_the_name_of_their_configuration(
    empty: Path,
) -> None:
    (empty / "data/ssv2").mkdir(parents=True)
    assert shipped_configs.found("data/ssv2") == str(SHIPPED / "data/ssv2.yaml")


def test_the_suffix_of_a_file_of_the_users_may_be_left_out(empty: Path) -> None:
    (empty / "mine").mkdir()
    (empty / "mine/gate.yaml").write_text("model:\n")
    assert shipped_configs.found("mine/gate") == "mine/gate.yaml"


def test_a_name_of_two_files_is_refused_and_each_is_named_as_it_can_be_given(
    empty: Path,
) -> None:
    with pytest.raises(ValueError, match="side4video") as refused:
        shipped_configs.found("side4video")
    assert str(refused.value) == (
        "config: 'side4video' may be the shipped adapters/side4video or the shipped retrieval/side4video; "
        "write which one"
    )
    own = empty / "adapters/lora.yaml"
    own.parent.mkdir()
    own.write_text("model:\n")
    with pytest.raises(ValueError, match="the file adapters") as refused:
        shipped_configs.found("adapters/lora")
    given = str(refused.value).partition("or the shipped ")[2].partition(";")[0]
    assert shipped_configs.found(given) == str(LORA)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["fit", "-c", "adapters/lorra"], "near: adapters/lora"),
        (["check", "-c", "adapters/lorra.yaml"], "near: adapters/lora"),
        (["submit", "-c", "lorra"], "near: adapters/lora"),
        (["submit", "--slurm", "gpus"], "near: slurm/gpu"),
        (["data", "index", "-c", "side4video"], "write which one"),
        (["cache", "build", "-c", "zzz"], "neither a file zzz nor"),
        (["configs"], "one of {list,show,copy}"),
        (["configs", "show"], "not given: name"),
        (["configs", "show", "lorra"], "near: adapters/lora"),
        (["configs", "show", "side4video"], "write which one"),
        (["configs", "copy", "lora", "nowhere/lora.yaml"], "no folder nowhere"),
        (["configs", "copy", "lora", "taken"], "taken exists"),
        (["configs", "sell", "lora"], "invalid choice: 'sell'"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    argv: list[str], told: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty / "taken").write_text("")
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert err.count("\n") == 1
    assert not out


def test_an_installation_without_configurations_is_told(
    empty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped_configs, "FOLDER", empty / "configs")
    for argv in (["configs", "list"], ["fit", "-c", "adapters/lora"]):
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert "has lost its configurations" in err
        assert err.count("\n") == 1
        assert not out


def test_list_says_in_a_line_what_each_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["configs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines)
    assert list(told) == shipped_configs.names()
    for file in FILES:
        first = file.read_text("utf-8").splitlines()[0]
        name = str(file.relative_to(ROOT / "configs").with_suffix(""))
        assert first == f"# {told[name]}"
        assert first[-1] in ".?", f"{file}: its first line is a sentence"


def test_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs", "show", "adapters/lora"]) == 0
    assert capsys.readouterr().out == LORA.read_text("utf-8")


def test_copy_writes_a_file_to_change(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty / "mine").mkdir()
    for to in ([], ["mine"], ["other.yaml"]):
        assert main(["configs", "copy", "lora", *to]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "written to lora.yaml",
        "written to mine/lora.yaml",
        "written to other.yaml",
    ]
    for copy in ("lora.yaml", "mine/lora.yaml", "other.yaml"):
        assert (empty / copy).read_bytes() == LORA.read_bytes()
    assert main(["configs", "copy", "lora"]) == 2
    assert shipped_configs.found("lora.yaml") == "lora.yaml"


def test_configurations_by_name_are_those_of_the_files(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*files: str) -> dict[str, object]:
        options = [f"--config={file}" for file in files]
        assert main(["check", *options, *FLAGS, "--data.root=mine"]) == 0
        return yaml.safe_load(capsys.readouterr().out)

    by_name = printed("adapters/lora", "trainer/cpu")
    assert by_name == printed(str(LORA), str(ROOT / "configs/trainer/cpu.yaml"))
    assert by_name["trainer"]["accelerator"] == "cpu"


def test_configs_imports_no_torch() -> None:
    program = (
        "import sys; from lightning_petl.__main__ import main; main(['configs', 'list']);"
        "assert not {'torch', 'lightning'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_windows_is_told_at_once() -> None:
    program = "import sys; sys.platform = 'win32'; import lightning_petl.__main__; print(1)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.startswith("lightning-petl: it needs Linux")
    assert done.stderr.count("\n") == 1
