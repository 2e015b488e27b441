"""What probe processes are asked to do in tests; imported by them."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from data_modules.storage import prober
from data_modules.video.decode import VideoInfo


def act(word: str) -> tuple[str, int]:
    """The word and this process, or what the word says."""
    if word == "hang":
        time.sleep(3600)
    if word == "hang in C":
        ctypes.PyDLL(None).sleep(
            3600
        )  # keeps the interpreter's lock, as nothing in Python could be interrupted
    if word == "hang stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "abort":
        os.abort()
    if word == "exit":
        sys.exit(3)
    if word == "value":
        raise ValueError("not a video")
    if word == "bug":
        raise KeyError("a bug")
    if word == "unpicklable":
        return threading.Lock()  # pyright: ignore[reportReturnType]
    return word, os.getpid()


def probe(path: Path) -> VideoInfo:
    """As the real one, but file names can make it hang, crash or take its time."""
    if path.stem in ("hang in C", "crash"):
        act(path.stem)
    if path.stem.startswith("slow"):
        time.sleep(0.1)
    return prober.probe(path)
