"""Lock a folder for one program, as long as its process lives."""

import fcntl
import os
import socket
import warnings
from pathlib import Path


def lock(path: Path, folder: Path, option: str = "run_folder") -> int:
    """Lock a folder by a file in it, and write the owner there; return the open file.

    The lock is one of the kernel: it ends with its process, however that ends.

    Args:
        path: of the file.
        folder: what it locks, for messages.
        option: that names another folder.

    Raises:
        ValueError: another process holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 1000).decode(errors="replace").strip()
        os.close(descriptor)
        raise ValueError(
            f"{folder} is in use by {owner}: wait for it, end it, or take another {option}"
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder}: this file system has no locks ({error}); start no second program in it",
            stacklevel=2,
        )
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    job = os.environ.get("SLURM_JOB_ID")
    if job:
        owner += f", job {job}"
    os.ftruncate(descriptor, 0)
    os.write(descriptor, owner.encode())
    return descriptor
