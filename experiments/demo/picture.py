"""A picture of the demo: frames of a test clip of each class, and what each row of the table gets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont

from data_modules.sample import Clip
from data_modules.video.decode import open_video

FRAMES = 8
# all lengths in pixels
SIDE = 72
GAP = 4
MARGIN = 20
TEXT = 17
NAMES = 410  # the column of names
BAR = 30
ROW = SIDE + 12
STRIP = FRAMES * (SIDE + GAP)
BLUE = (44, 102, 176)
GRAY = (150, 150, 150)


def draw(
    clips: Sequence[Clip],
    labels: Sequence[str],
    scores: Mapping[str, float],
    path: Path,
) -> Path:
    """Write a PNG and return its path.

    Args:
        clips: of the test, at least one of each class; the first one of a class is drawn.
        labels: class names by index.
        scores: top-1, 0 to 1, by the name of a row.
        path: where to write.
    """
    bars = BAR * (len(scores) + 2)
    height = 2 * MARGIN + len(labels) * ROW + bars
    sheet = Image.new("RGB", (2 * MARGIN + NAMES + STRIP, height), "white")
    for number, label in enumerate(labels):
        top = MARGIN + number * ROW
        _write(sheet, top + SIDE // 2, label)
        clip = next(clip for clip in clips if clip.label == number)
        sheet.paste(strip(Path(clip.path)), (MARGIN + NAMES, top))
    _draw_bars(sheet, MARGIN + len(labels) * ROW + BAR, scores, 1 / len(labels))
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
    return path


def strip(path: Path) -> Image.Image:
    """Return frames at the middles of equal parts of a video, side by side."""
    with open_video(path) as video:
        middles = (np.arange(FRAMES) + 0.5) * video.num_frames / FRAMES
        pixels = video.frames(middles.astype(int)).pixels
    frames = rearrange(pixels, "t c h w -> t h w c").numpy()
    found = Image.new("RGB", (STRIP - GAP, SIDE), "white")
    for number, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((SIDE, SIDE))
        found.paste(small, (number * (SIDE + GAP), 0))
    return found


def _draw_bars(
    sheet: Image.Image, top: int, scores: Mapping[str, float], chance: float
) -> None:
    """Draw a bar a row, and a line at chance that runs through all of them."""
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT)
    left = MARGIN + NAMES
    # room for the number behind a full bar
    full = STRIP - 4 * TEXT
    for number, (name, score) in enumerate(scores.items()):
        y = top + number * BAR
        right = left + round(full * score)
        pen.rectangle((left, y + 5, right, y + BAR - 5), fill=BLUE)
        _write(sheet, y + BAR // 2, name)
        text = f"{score:.3f}"
        pen.text((right + 6, y + BAR // 2), text, "black", font, anchor="lm")
    bottom = top + len(scores) * BAR
    x = left + round(full * chance)
    pen.line((x, top, x, bottom), fill=GRAY, width=2)
    pen.text((x, bottom + 4), "chance", GRAY, font, anchor="ma")


def _write(sheet: Image.Image, y: int, text: str) -> None:
    font = ImageFont.load_default(TEXT)
    place = (MARGIN, y)
    ImageDraw.Draw(sheet).text(place, text, "black", font, anchor="lm")
