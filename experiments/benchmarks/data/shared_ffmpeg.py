"""Give torchcodec the FFmpeg that PyAV brings.

torchcodec's wheel holds no FFmpeg: it looks for ``libavcodec.so.62`` and its kin (FFmpeg 8; 4 to 7 do as well) where
the dynamic loader searches. PyAV's wheel holds exactly those, under names of its own. A folder of links with the usual
names on ``LD_LIBRARY_PATH`` is enough, needs no system package, and lets both decode with the same build. The loader
reads that variable when a process starts, so the process has to be started again.
"""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

_OURS = re.compile(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+\.so\.(\d+)")


def restart_with_ffmpeg(cache: Path) -> None:
    """Start this process again with PyAV's libraries in the loader's search path, unless they are there."""
    libraries = _wheel_libraries()
    searched = os.environ.get("LD_LIBRARY_PATH", "")
    if (
        libraries is None
        or find_spec("torchcodec") is None
        or str(libraries) in searched.split(":")
    ):
        return
    path = ":".join(
        filter(None, [str(_links(libraries, cache)), str(libraries), searched])
    )
    os.execve(
        sys.executable,
        [sys.executable, *sys.orig_argv[1:]],
        os.environ | {"LD_LIBRARY_PATH": path},
    )


def _wheel_libraries() -> Path | None:
    spec = find_spec("av")
    assert spec is not None
    assert spec.origin is not None
    folder = (
        Path(spec.origin).parents[1] / "av.libs"
    )  # where auditwheel puts what a Linux wheel brings
    return folder if folder.is_dir() else None


def _links(libraries: Path, cache: Path) -> Path:
    folder = cache / "ffmpeg"
    folder.mkdir(parents=True, exist_ok=True)
    for library in libraries.iterdir():
        if found := _OURS.match(library.name):
            link = folder / f"{found[1]}.so.{found[2]}"
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    return folder
