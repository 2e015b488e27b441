"""``lightning-petl data index`` from its command line, on real files and in real processes."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.storage import prober
from data_modules.storage.manifest import ManifestEntry, append, read
from data_modules.video.encode import write_video
from lightning_petl.__main__ import main
from tests.data_modules import probed
from tests.data_modules.videos import grey_frames
from tests.rendering import in_this_process

ClassFolders = Callable[..., Path]
SAMPLING = {"class_path": "SegmentSampling", "init_args": {"num_frames": 4}}


@pytest.fixture
def root(class_folders: ClassFolders) -> Path:
    return class_folders(train=4, val=2, classes=2)


@pytest.fixture
def command(root: Path, tmp_path: Path) -> list[str]:
    """With a configuration that has more than data in it, as that of a run does."""
    data = {
        "class_path": "VideoFolder",
        "init_args": {"root": str(root), "sampling": SAMPLING},
    }
    config = {
        "data": data,
        "model": {"adapters+": [{"class_path": "LoRA"}]},
        "trainer": {"max_epochs": 3},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return [
        "data",
        "index",
        "--config",
        str(tmp_path / "config.yaml"),
        "--workers=2",
    ]


def test_good_files(
    command: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    entries = read(root / "manifest.csv")
    files = sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*.mp4")
    )
    assert list(entries) == files
    assert len(files) == 6
    for name, entry in entries.items():
        assert entry.status == "ok"
        assert entry.info is not None
        assert (entry.info.num_frames, entry.info.fps, entry.info.duration) == (
            6,
            10,
            0.6,
        )
        assert (entry.info.height, entry.info.width, entry.info.codec) == (
            16,
            16,
            "h264",
        )
        assert entry.info.keyframes == 1  # one every 12 frames
        assert entry.stamp is not None
        assert entry.stamp.size == (root / name).stat().st_size
    shown = capsys.readouterr().out
    assert "6/6" in shown
    assert re.search(r"ok +│ 6 ", shown)
    assert re.search(r"codecs +│ h264 6 ", shown)
    assert "every 6 frames" in shown
    assert "every file is good" in shown


def test_bad_and_missing_files_are_told(
    command: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, gone = root / "train/class_0/000.mp4", root / "val/class_0/000.mp4"
    cut.write_bytes(cut.read_bytes()[:700])
    gone.unlink()
    gone.symlink_to(
        "nowhere.mp4"
    )  # listed by the folder, but there is no such file
    assert main(command) == 1
    entries = read(root / "manifest.csv")
    assert entries["train/class_0/000.mp4"].status == "bad"
    assert entries["val/class_0/000.mp4"] == ManifestEntry(
        "val/class_0/000.mp4", "missing", "no such file"
    )
    assert sum(entry.status == "ok" for entry in entries.values()) == 4
    shown = capsys.readouterr().out
    assert "bad     train/class_0/000.mp4: cannot be read as a video: " in shown
    assert "missing val/class_0/000.mp4: no such file" in shown
    assert f"2 of 6 files cannot be used; see {root / 'manifest.csv'}" in shown


def test_only_what_changed_is_probed_again(
    command: list[str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    real = prober.outcomes

    def listening(function: object, items: list[Path], **options: object) -> object:
        asked.extend(items)
        return real(function, items, **options)  # pyright: ignore[reportArgumentType, reportCallIssue]

    monkeypatch.setattr("data_modules.commands.index.outcomes", listening)
    bad, larger, later = (
        root / f"train/class_{c}/00{n}.mp4" for c, n in ((0, 0), (1, 1), (0, 2))
    )
    bad.write_bytes(b"no video")
    assert main(command) == 1
    assert len(asked) == 6
    asked.clear()
    assert main(command) == 1
    assert asked == [bad]
    asked.clear()
    write_video(larger, grey_frames(20, 16, 16), 10)
    os.utime(later, (1e9, 1e9))
    assert main(command) == 1
    assert sorted(asked) == sorted([bad, larger, later])
    info = read(root / "manifest.csv")["train/class_1/001.mp4"].info
    assert info is not None
    assert info.num_frames == 20
    write_video(bad, grey_frames(6, 16, 16), 10)
    assert main(command) == 0


def test_a_file_of_the_same_size_and_time_is_told_by_its_content(
    command: list[str], root: Path
) -> None:
    """A cut file is filled up to its size: the manifest's line is not believed, by index or by training."""
    file, manifest = root / "train/class_0/000.mp4", root / "manifest.csv"
    assert main(command) == 0
    status, content = file.stat(), file.read_bytes()
    file.write_bytes(content[:300] + bytes(len(content) - 300))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert main(command) == 1
    assert read(manifest)["train/class_0/000.mp4"].status == "bad"
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    data = VideoFolder(str(root), sampling=SegmentSampling(2))
    assert (
        data.files.known_bad(
            data.files.located(data.clips("train"), "train", root), root
        )
        == {}
    )
    assert main([*command, "--verify=true"]) == 0


def test_a_file_that_training_met_as_hung_is_judged_anew(
    command: list[str], root: Path
) -> None:
    assert main(command) == 0
    append(
        root / "manifest.csv",
        ManifestEntry("train/class_0/000.mp4", "hung", "no answer in 600 s"),
    )
    assert main(command) == 0
    assert read(root / "manifest.csv")["train/class_0/000.mp4"].status == "ok"


def test_a_decoder_that_hangs_or_crashes(
    command: list[str],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("data_modules.commands.index.probe", probed.probe)
    for name in ("hang in C", "crash"):
        write_video(root / f"train/class_0/{name}.mp4", grey_frames(6, 16, 16), 10)
    assert main([*command, "--timeout=1"]) == 1
    entries = read(root / "manifest.csv")
    assert entries["train/class_0/hang in C.mp4"][1:3] == (
        "hung",
        "no answer in 1 s",
    )
    assert entries["train/class_0/crash.mp4"][1:3] == (
        "bad",
        "crashed with signal 11 (SIGSEGV)",
    )
    assert sum(entry.status == "ok" for entry in entries.values()) == 6
    assert "2 of 8 files" in capsys.readouterr().out


def test_a_run_that_is_stopped_goes_on(
    command: list[str],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("data_modules.commands.index.probe", probed.probe)
    for number in range(40):
        write_video(
            root / f"train/class_1/slow {number}.mp4", grey_frames(6, 16, 16), 10
        )
    manifest = root / "manifest.csv"

    def stop() -> None:
        while not manifest.exists() or len(manifest.read_text().splitlines()) < 10:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does

    (stopper := threading.Thread(target=stop)).start()
    assert main(command) == 130
    stopper.join()
    assert (
        f"stopped; the same command goes on from {manifest}"
        in capsys.readouterr().out
    )
    before = manifest.read_text().splitlines()
    assert 10 <= len(before) < 47
    assert main(command) == 0
    assert len(read(manifest)) == 46
    assert set(before) <= set(manifest.read_text().splitlines())


def test_a_manifest_elsewhere_keeps_what_other_lists_wrote(
    command: list[str], root: Path, tmp_path: Path
) -> None:
    other = ManifestEntry("a/file/of/another/split.mp4", "missing", "no such file")
    append(tmp_path / "m.csv", other)
    assert main([*command, f"--output={tmp_path / 'm.csv'}"]) == 0
    assert len(read(tmp_path / "m.csv")) == 7
    assert read(tmp_path / "m.csv")[other.path] == other
    assert not (root / "manifest.csv").exists()


def test_a_long_list_is_cut(
    command: list[str], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        (root / f"train/class_0/x{number}.mp4").write_bytes(b"")
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert len(re.findall(r"^bad  ", shown, re.MULTILINE)) == 20
    assert "... and 5 more" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers=0"], "workers=0"),
        (["--workers=many"], "workers: expected a whole number, got many"),
        (["--timeout=0"], "timeout=0"),
        (["--data.init_args.root=/nowhere"], "/nowhere: no such folder"),
        (["--data.class_path=VideoFolde"], "VideoFolde"),
        (["--output=/proc/nowhere/m.csv"], "/proc/nowhere/m.csv: the manifest cannot be written: No such"),
        (["--nosuch=1"], "there is no option --nosuch"),
        (["--config=nothing.yaml"], "nothing.yaml"),
        (["--data", "{class_path: VideoFiles, init_args: {labels: [a], sampling: {class_path: SegmentSampling}}}"],
         "VideoFiles has no train split"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_one_paragraph(
    flags: list[str],
    message: str,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*command, *flags]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("lightning-petl: ")
    assert re.search(message, shown), shown
    assert shown.count("\n") == 1


def test_the_commands_on_data_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data"]) == 0
    assert "data index   probe every file" in capsys.readouterr().out
    assert main(["data", "index", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--timeout" in shown
    assert "--model" not in shown
    assert main(["data", "indx"]) == 2
    assert "no command 'indx'; there are: index" in capsys.readouterr().err


def test_without_a_configuration_data_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "index"]) == 2
    assert (
        "not given: data (-c data/NAME, or --data CLASS)" in capsys.readouterr().err
    )


def test_a_data_set_that_makes_its_files_makes_them_first(tmp_path: Path) -> None:
    motion = [
        "--config",
        "configs/data/motion.yaml",
        "--data.num_train=6",
        "--data.num_test=6",
    ]
    index = ["data", "index", *motion, f"--data.root={tmp_path}", "--workers=1"]
    with in_this_process():
        assert main(index) == 0
    assert len(read(tmp_path / "manifest.csv")) == 12
