"""Keep what a test found of a run beside the run, where a comparison looks for it."""

import os
import shutil
from pathlib import Path

from data_modules.io.atomic import atomic_write
from lightning_petl.runs.folder import CONFIG

TEST_CONFIG = "test_config.yaml"
"""Name in the folder of a run of the configuration that its last test had."""

_RESULTS = ("test_scores.jsonl", "retrieval.jsonl", "testing.json")
_MEMBERS = "members"


def keep_with_run(tested: Path, run: Path) -> list[Path]:
    """Put the results of a test into the folder of the run whose weights it had, and return where they are.

    The run then holds those of its last test; each test keeps its own. A file is linked where the file system has
    links, for scores may be large, and else copied::

        runs/default/version_1/test_scores.jsonl    ->  runs/mine/test_scores.jsonl
        runs/default/version_1/config.yaml          ->  runs/mine/test_config.yaml
        runs/default/version_1/members/a/...        ->  runs/mine/members/a/...

    Args:
        tested: the folder of the test.
        run: the folder of the training.

    Raises:
        OSError: a file could not be written.
    """
    places = [tested, *sorted(tested.glob(f"{_MEMBERS}/*"))]
    kept: list[Path] = []
    for place in places:
        for name in _RESULTS:
            target = run / place.relative_to(tested) / name
            if (place / name).is_file():
                _link(place / name, target)
                kept.append(target)
            elif (place / _RESULTS[-1]).is_file():
                # of an earlier test, as of a member that has stopped since
                target.unlink(missing_ok=True)
    if kept:
        _link(tested / CONFIG, run / TEST_CONFIG)
    return kept


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as partial:
        # left by a process that was killed
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
