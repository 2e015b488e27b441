"""Every file of a data set is probed once, before training meets it."""

import os
from pathlib import Path

from data_modules.base import VideoDataModule


def index(
    data: VideoDataModule,
    *,
    workers: int | None = None,
    timeout: float = 60,
    output: Path | None = None,
    retry: bool = False,
) -> int:
    """Decode every file of all splits once and write what was found to a manifest.

    Args:
        data: the data set.
        workers: probe processes; one for each CPU where not given.
        timeout: seconds after which a file counts as hung and its process is killed.
        output: the manifest; ``manifest.csv`` in the data set's root where not given.
        retry: probe files that are already known as bad or hung again.

    Returns:
        0 where every file is good, else 1.
    """
    workers = workers or len(os.sched_getaffinity(0))
    print(data, workers, timeout, output, retry)
    return 0
