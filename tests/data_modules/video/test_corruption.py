"""Whatever happened to the bytes of a file: no crash, no hang, and what is damaged is told or provably harmless."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_modules.storage.prober import Outcome, outcomes, probe
from data_modules.video.decode import open_video
from tests.data_modules.corruption import KINDS, ORIGINALS, verdict, write_originals

Pair = tuple[Path, Path]


def corrupted(folder: Path, count: int) -> list[tuple[str, Pair]]:
    """``count`` files, all kinds and codecs in turn, with their kind and their original."""
    originals, generator = write_originals(folder), np.random.default_rng(0)
    made: list[tuple[str, Pair]] = []
    for number in range(count):
        original, kind = (
            originals[number // len(KINDS) % len(originals)],
            list(KINDS)[number % len(KINDS)],
        )
        suffix = (
            {".mp4": ".avi"}.get(original.suffix, ".mp4")
            if kind == "untouched"
            else original.suffix
        )
        path = folder / f"{number:04d}_{kind}_{original.stem}{suffix}"
        path.write_bytes(KINDS[kind](original.read_bytes(), generator))
        made.append((kind, (path, original)))
    return made


@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_no_crash_no_hang_and_no_silence(tmp_path: Path, count: int) -> None:
    kinds = {pair: kind for kind, pair in corrupted(tmp_path, count)}
    found = list(outcomes(verdict, kinds, workers=1, timeout=60))
    assert len(found) == count
    # neither died nor hung: one process has answered for all of them
    assert {outcome.failure for outcome in found} <= {None, "raised"}
    table = {
        kind: Counter(word_of(a) for a in found if kinds[a.item] == kind)
        for kind in KINDS
    }
    print(*(f"{kind:12}{dict(counts)}" for kind, counts in table.items()), sep="\n")
    for outcome in found:
        if outcome.failure:
            assert outcome.reason.startswith(f"{outcome.item[0]}: ")
            assert len(outcome.reason) > len(f"{outcome.item[0]}: ") + 10
    for kind in ("emptied", "garbage", "a_web_page", "streamless"):
        assert set(table[kind]) == {"reported"}, kind
    assert set(table["untouched"]) == {"harmless"}
    # coded pictures carry no checksum: what hits only them may decode to other pictures. Nothing else is ever silent
    assert {
        kind for kind in KINDS if table[kind]["altered"] or table[kind]["fewer"]
    } <= {"flipped", "holed"}
    assert (
        sum(counts["altered"] + counts["fewer"] for counts in table.values())
        <= 0.1 * count
    )


def word_of(outcome: Outcome[Pair, str]) -> str:
    return outcome.result or "reported"


def test_what_is_compared_against_is_good(tmp_path: Path) -> None:
    originals = write_originals(tmp_path)
    found = outcomes(
        verdict, [(path, path) for path in originals], workers=1, timeout=60
    )
    assert [outcome.result for outcome in found] == ["harmless"] * len(ORIGINALS)


def test_a_check_says_the_same_after_frames_were_read(tmp_path: Path) -> None:
    for path in write_originals(tmp_path):
        cut = path.with_stem("cut")
        cut.write_bytes(path.read_bytes()[: -path.stat().st_size // 4])
        with open_video(path) as video:
            video.frames([20, 3])
            video.check()
        with pytest.raises(ValueError, match=r"cut\.\w+: "):
            probe(cut)
