"""The retrieval demo: its picture frames the right video, its table has chance beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from data_modules.video.encode import write_video
from experiments.demo_retrieval import picture
from experiments.demo_retrieval.run import table

LEVELS = range(10, 250, 40)  # six videos, each of one grey


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for level in LEVELS:
        write_video(
            tmp_path / f"{level}.mp4", np.full((12, 64, 64, 3), level, np.uint8), 12
        )
    return tmp_path


def answer(right: int, *found: int) -> dict[str, Any]:
    best = [{"video": f"{level}.mp4", "similarity": 0.5} for level in found]
    return {
        "query": "a green hexagon moving towards the camera",
        "video": f"{right}.mp4",
        "rank": 1.0,
        "best": best,
    }


def test_the_picture_shows_the_best_in_order_and_frames_the_right_one(
    videos: Path, tmp_path: Path
) -> None:
    answers = [
        answer(10, 10, 50, 90, 130, 170),
        answer(170, 10, 50, 90, 130, 170),
        answer(210, 170, 130, 90, 50, 10),
    ]
    path = picture.draw(answers, videos, tmp_path / "found.png")
    assert path.stat().st_size < 300_000
    pixels = np.array(Image.open(path).convert("RGB")).astype(int)
    framed = (np.abs(pixels - picture.RIGHT).max(-1) < 12).any(1)
    assert framed.any()
    width = pixels.shape[1] // 3
    for column, found in enumerate(answers):
        part = pixels[:, column * width : (column + 1) * width]
        top = 2 * (picture.TEXT + 6) + 10 + picture.MARGIN
        for rank, best in enumerate(found["best"]):
            strip = part[
                top + rank * picture.HEIGHT + 20, picture.MARGIN + picture.TEXT :
            ]
            level = np.median(
                strip[: picture.FRAMES * (picture.SIDE + picture.GAP)]
            )
            assert abs(level - int(best["video"].removesuffix(".mp4"))) < 8
            edge = part[
                top + rank * picture.HEIGHT - 3, picture.MARGIN + picture.TEXT + 40
            ]
            assert (np.abs(edge - picture.RIGHT).max() < 12) == (
                best["video"] == found["video"]
            )


def test_the_table_has_chance_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    values = {
        f"test/{way}/{name}": 7.0
        for way in ("t2v", "v2t_any")
        for name in ("R1", "R5", "R10", "MdR")
    }
    Console(width=100).print(table(values, 120, "seed 0"))
    (chance,) = [
        line for line in capsys.readouterr().out.splitlines() if "chance" in line
    ]
    assert [float(cell) for cell in chance.split("│")[2:6]] == [0.8, 4.2, 8.3, 60.5]
