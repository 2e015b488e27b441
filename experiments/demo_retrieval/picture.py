"""A picture of what captions find: under each its five best videos as film strips, the right one in a frame."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from data_modules.video.decode import open_video

COLUMNS, FRAMES, SIDE, GAP, MARGIN, TEXT = (
    3,
    6,
    64,
    4,
    24,
    21,
)  # frames a strip; the rest in pixels
WIDTH, HEIGHT = FRAMES * (SIDE + GAP), SIDE + 14
RIGHT = (22, 150, 60)


class Place(NamedTuple):
    """Where a column begins, pixels."""

    x: int
    y: int


def draw(answers: Sequence[dict[str, Any]], videos: Path, path: Path) -> Path:
    """Write a PNG of three captions and return its path.

    Args:
        answers: lines of ``retrieval.jsonl``; those at 1/18, 7/18 and 13/18 of them are drawn, right or wrong.
        videos: the folder of the videos.
        path: where to write.
    """
    header = 2 * (TEXT + 6) + 10
    size = (COLUMNS * (WIDTH + 2 * MARGIN + TEXT), header + 5 * HEIGHT + 2 * MARGIN)
    sheet = Image.new("RGB", size, "white")
    for column in range(COLUMNS):
        answer = answers[(6 * column + 1) * len(answers) // (6 * COLUMNS)]
        place = Place(column * (WIDTH + 2 * MARGIN + TEXT) + MARGIN, MARGIN)
        _draw_answer(sheet, place, answer, videos, header)
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    return path


def _draw_answer(
    sheet: Image.Image,
    place: Place,
    answer: dict[str, Any],
    videos: Path,
    header: int,
) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    pen.multiline_text(
        place,
        "\n".join(wrap(f'"{answer["query"]}"', 36)),
        fill="black",
        font=font,
        spacing=6,
    )
    for rank, name in enumerate(best["video"] for best in answer["best"]):
        y, x = place.y + header + rank * HEIGHT, place.x + TEXT
        pen.text(
            (place.x, y + SIDE // 2),
            str(rank + 1),
            fill="black",
            font=font,
            anchor="lm",
        )
        sheet.paste(_strip(videos / name), (x, y))
        if name == answer["video"]:
            pen.rectangle(
                (x - 5, y - 5, x + WIDTH - GAP + 4, y + SIDE + 4),
                outline=RIGHT,
                width=4,
            )


def _strip(path: Path) -> Image.Image:
    """Frames at even fractions of a video, the first and the last among them."""
    with open_video(path) as video:
        ranks = np.linspace(0, video.num_frames - 1, FRAMES).round().astype(int)
        frames = rearrange(video.frames(ranks).pixels, "t c h w -> t h w c").numpy()
    strip = Image.new("RGB", (WIDTH - GAP, SIDE), "white")
    for number, frame in enumerate(frames):
        strip.paste(
            Image.fromarray(frame).resize((SIDE, SIDE)), (number * (SIDE + GAP), 0)
        )
    return strip
