"""Tiny captioned data sets, each laid out as the published one is: four videos of training, three of each test.

``LAYOUTS`` maps the name of a file in configs/data to the function that writes its annotation and names its videos.
"""

import csv
import json
import pickle
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.layouts import video
from tests.rendering import render_two_objects

NUMBERS = {"train": range(4), "val": range(4, 7), "test": range(7, 10)}
EVERY = [number for numbers in NUMBERS.values() for number in numbers]


def said(number: int) -> list[str]:
    """Two captions of a video, three of every third."""
    return [f"video {number} gets brighter", f"{number}: grey, all of it"] + [
        "vidéo plus foncée, 😀"
    ] * (number % 3 == 0)


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def msrvtt(root: Path) -> str:
    """With the lists of all three splits; the tests of 1k-A and 7k are the videos of the full split's test."""
    parts = {"train": "train", "val": "validate", "test": "test"}
    videos = [
        {"video_id": f"video{n}", "category": 9, "url": "https://", "start time": 1.5, "end time": 9.0,
         "split": parts[split], "id": n}
        for split, numbers in NUMBERS.items() for n in numbers
    ]  # fmt: skip
    pairs = [
        (n, caption)
        for caption_number in range(3)
        for n in EVERY
        for caption in said(n)[caption_number:][:1]
    ]
    sentences = [
        {"caption": text, "video_id": f"video{n}", "sen_id": i}
        for i, (n, text) in enumerate(pairs)
    ]
    write_json(
        root / "MSRVTT_data.json",
        {"info": {}, "videos": videos, "sentences": sentences},
    )
    for name in ("9k", "7k"):
        write_csv(
            root / f"MSRVTT_train.{name}.csv",
            [("video_id",), *((f"video{n}",) for n in NUMBERS["train"])],
        )
    rows = [
        (f"ret{i}", f"msr{n}", f"video{n}", said(n)[1])
        for i, n in enumerate(NUMBERS["test"])
    ]
    write_csv(
        root / "MSRVTT_JSFUSION_test.csv",
        [("key", "vid_key", "video_id", "sentence"), *rows],
    )
    return "videos/video{}.mp4"


def lists(root: Path) -> None:
    """``<split>_list.txt``."""
    for split, numbers in NUMBERS.items():
        (root / f"{split}_list.txt").write_text(
            "".join(f"vid-{n}_0_8\n" for n in numbers)
        )


def msvd(root: Path) -> str:
    lists(root)
    content = {
        f"vid-{n}_0_8": [caption.split() for caption in said(n)] for n in EVERY
    }
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return "YouTubeClips/vid-{}_0_8.avi"


def vatex(root: Path) -> str:
    lists(root)
    write_json(
        root / "vatex_data.json",
        {f"vid-{n}_0_8": {"enCap": said(n), "chCap": ["灰色"]} for n in EVERY},
    )
    return "videos/vid-{}_0_8.mp4"


def caption_list(root: Path) -> str:
    for split, numbers in NUMBERS.items():
        rows = [(f"clips/{n}.mp4", caption) for n in numbers for caption in said(n)]
        write_csv(root / f"{split}.csv", [("video", "caption"), *rows])
    return "clips/{}.mp4"


def motion_captions(root: Path) -> str:
    render_two_objects(root)
    return ""


LAYOUTS: dict[str, Callable[[Path], str]] = {
    "caption_list": caption_list,
    "motion_captions": motion_captions,
    "msrvtt_1ka": msrvtt,
    "msrvtt_7k": msrvtt,
    "msrvtt_full": msrvtt,
    "msvd": msvd,
    "vatex": vatex,
}


def lay_out(name: str, root: Path, *, videos: bool = True) -> Path:
    """A tiny data set as configs/data/<name>.yaml reads it, under ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    path = LAYOUTS[name](root)
    for number in EVERY if videos and path else ():
        video(root / path.format(number), number)
    return root
