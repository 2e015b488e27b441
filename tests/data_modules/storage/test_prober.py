"""Real processes that hang and crash, and a parent that goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from data_modules.storage.prober import outcomes, probe
from tests.data_modules.probed import act
from tests.data_modules.videos import WriteVideo, grey_frames


def ask(
    *words: str, workers: int = 1, timeout: float = 30
) -> dict[str, tuple[str | None, str]]:
    return {
        a.item: (a.failure, a.reason)
        for a in outcomes(act, words, workers=workers, timeout=timeout)
    }


def test_each_item_is_answered_once_and_a_process_is_reused() -> None:
    words = [str(n) for n in range(200)]
    found = list(outcomes(act, words, workers=2, timeout=30))
    assert sorted(outcome.item for outcome in found) == sorted(words)
    assert all(
        outcome.result and outcome.result[0] == outcome.item and not outcome.reason
        for outcome in found
    )
    assert len({outcome.result[1] for outcome in found if outcome.result}) <= 2
    assert os.getpid() not in {
        outcome.result[1] for outcome in found if outcome.result
    }


@pytest.mark.parametrize("hang", ["hang", "hang in C", "hang stopped"])
def test_a_process_that_hangs_is_killed_and_replaced(hang: str) -> None:
    found = ask(
        "a", hang, "b", timeout=2.5
    )  # the words are answered at once, but a busy machine may look away
    assert found == {
        "a": (None, ""),
        hang: ("hung", "no answer in 2.5 s"),
        "b": (None, ""),
    }


@pytest.mark.parametrize(
    ("word", "failure", "reason"),
    [
        ("crash", "died", "crashed with signal 11 (SIGSEGV)"),
        ("abort", "died", "crashed with signal 6 (SIGABRT)"),
        ("exit", "died", "the process ended with exit code 3"),
        ("value", "raised", "not a video"),
        ("bug", "raised", "KeyError: 'a bug'"),
        ("unpicklable", "raised", "TypeError: cannot pickle '_thread.lock' object"),
    ],
)
def test_a_failure_is_told_and_the_rest_goes_on(
    word: str, failure: str, reason: str
) -> None:
    assert ask("a", word, "b") == {
        "a": (None, ""),
        word: (failure, reason),
        "b": (None, ""),
    }


def test_a_process_that_was_killed_while_idle_is_replaced() -> None:
    found = outcomes(act, ["a", "b"], workers=1, timeout=30)
    first = next(found)
    assert first.result is not None
    os.kill(first.result[1], signal.SIGKILL)
    time.sleep(0.2)
    second = next(found)
    assert second.result is not None
    assert second.result[1] != first.result[1]


def test_others_work_while_one_hangs() -> None:
    order = [
        outcome.item
        for outcome in outcomes(act, ["hang", *"abcdef"], workers=2, timeout=5)
    ]
    assert order == [*"abcdef", "hang"]


def test_items_are_taken_one_a_process_ahead() -> None:
    taken: list[str] = []

    def items() -> Iterator[str]:
        for word in "abcdef":
            taken.append(word)
            yield word

    found = outcomes(act, items(), workers=2, timeout=30)
    next(found)
    assert taken == ["a", "b"]
    found.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_no_process_stays_behind() -> None:
    found = outcomes(act, [*"abcd", "hang"], workers=3, timeout=30)
    processes = [
        outcome.result[1] for outcome in islice(found, 4) if outcome.result
    ]
    found.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert eventually(lambda: not any(alive(process) for process in processes))


def test_no_process_outlives_a_killed_parent() -> None:
    code = (
        "from data_modules.storage.prober import outcomes; from tests.data_modules.probed import act\n"
        "for outcome in outcomes(act, ['a', 'hang'], workers=1, timeout=30): print(outcome.result[1], flush=True)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    os.kill(
        child, signal.SIGALRM
    )  # what its own clock sends it a minute after the deadline
    assert eventually(lambda: not alive(child))


def alive(process: int) -> bool:
    try:
        return f"{process} (" in Path(
            f"/proc/{process}/stat"
        ).read_text() and not zombie(process)
    except FileNotFoundError:
        return False


def zombie(process: int) -> bool:
    return (
        Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        == "Z"
    )


def eventually(holds: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.mark.parametrize(("workers", "timeout"), [(0, 1), (1, 0)])
def test_nobody_to_ask_or_no_time_is_refused(workers: int, timeout: float) -> None:
    with pytest.raises(ValueError, match=f"workers={workers}, timeout={timeout}"):
        ask("a", workers=workers, timeout=timeout)


def test_probe_tells_what_a_file_holds_and_what_is_wrong(write: WriteVideo) -> None:
    good, cut = write("good.mp4", grey_frames(30), fps=25), write("cut.mp4")
    cut.write_bytes(cut.read_bytes()[:500])
    found = {
        outcome.item: outcome
        for outcome in outcomes(probe, [good, cut], workers=1, timeout=30)
    }
    info = found[good].result
    assert info is not None
    assert (info.num_frames, info.fps, info.height, info.width) == (30, 25, 32, 48)
    assert found[cut].failure == "raised"
    assert found[cut].reason.startswith(f"{cut}: ")
