"""Tiny real data sets, each laid out as the official one is: two classes, two clips of each in every split.

``LAYOUTS`` maps the name of a file in configs/data to the function that fills its root.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_modules.sets.rendered.motion import render
from data_modules.video.encode import write_video
from tests.rendering import in_this_process

FRAMES, HEIGHT, WIDTH = 10, 32, 48
_NUMBERS = {"train": range(4), "val": range(4, 8)}


def frames(number: int) -> np.ndarray:
    """Grey, brighter from frame to frame, other in each clip."""
    levels = (10 + 20 * np.arange(FRAMES) + number).astype(np.uint8)
    return np.broadcast_to(
        levels[:, None, None, None], (FRAMES, HEIGHT, WIDTH, 3)
    ).copy()


def video(path: Path, number: int) -> None:
    """A clip; the suffix says which codec is usual in such files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".mp4": "libx264", ".avi": "mpeg4", ".webm": "libvpx-vp9"}[path.suffix]
    write_video(path, frames(number), 12, codec=codec)


def write(path: Path, content: object) -> None:
    """JSON, or lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "\n".join(content) + "\n" if path.suffix != ".json" else json.dumps(content)
    )  # pyright: ignore


def clips(split: str) -> Iterator[tuple[int, int]]:
    """(number of the clip, number of its class)."""
    return ((number, number % 2) for number in _NUMBERS[split])


def ssv1(root: Path) -> None:
    labels = [
        "Turning the camera upwards while filming something",
        "Holding something",
    ]  # not sorted in the file
    write(root / "something-something-v1-labels.csv", labels)
    for split, name in (("train", "train"), ("val", "validation")):
        write(
            root / f"something-something-v1-{name}.csv",
            [f"{n};{labels[k]}" for n, k in clips(split)],
        )
        for n, _ in clips(split):
            folder = root / "20bn-something-something-v1" / str(n)
            folder.mkdir(parents=True)
            for rank, frame in enumerate(frames(n)):
                Image.fromarray(frame).save(folder / f"{rank + 1:05d}.jpg")


def ssv2(root: Path) -> None:
    # each other's mirror image, so that a recipe may flip
    templates = [
        f"Pushing [something] from {way}"
        for way in ("right to left", "left to right")
    ]
    labels = {
        "Pushing something from right to left": "0",
        "Pushing something from left to right": "1",
    }
    write(root / "something-something-v2-labels.json", labels)
    for split, name in (("train", "train"), ("val", "validation")):
        entries = [
            {"id": str(n), "template": templates[k], "placeholders": ["a cup"]}
            for n, k in clips(split)
        ]
        write(root / f"something-something-v2-{name}.json", entries)
        for n, _ in clips(split):
            video(root / "20bn-something-something-v2" / f"{n}.webm", n)


def kinetics(root: Path) -> None:
    for split in ("train", "val"):
        lines = [
            f"{('air drumming', 'abseiling')[k]},id_{n}-x,{n},{n + 10},{split}"
            for n, k in clips(split)
        ]
        write(
            root / f"{split}.csv",
            ["label,youtube_id,time_start,time_end,split", *lines],
        )
        for n, k in clips(split):
            name = f"{('air_drumming', 'abseiling')[k]}/id_{n}-x_{n:06d}_{n + 10:06d}.mp4"
            video(root / split / name, n)


def hmdb51(root: Path) -> None:
    for k, label in enumerate(("brush_hair", "wave")):
        codes = {
            n: code
            for split, code in (("train", 1), ("val", 2))
            for n, found in clips(split)
            if found == k
        }
        for split_number in (1, 2, 3):
            lines = [
                f"clip_{n}.avi {code if split_number == 1 else 3 - code} "
                for n, code in codes.items()
            ]
            lines.append("unused.avi 0 ")
            write(
                root
                / "testTrainMulti_7030_splits"
                / f"{label}_test_split{split_number}.txt",
                lines,
            )
        for n in codes:
            video(root / "videos" / label / f"clip_{n}.avi", n)


def ucf101(root: Path) -> None:
    labels = ("ApplyEyeMakeup", "YoYo")
    write(
        root / "ucfTrainTestlist" / "classInd.txt", ["1 ApplyEyeMakeup", "2 YoYo"]
    )
    for split, name in (("train", "trainlist"), ("val", "testlist")):
        found = [
            (f"{labels[k]}/v_{labels[k]}_g{n:02d}_c01.avi", k)
            for n, k in clips(split)
        ]
        lines = [
            f"{path} {k + 1}" if split == "train" else path for path, k in found
        ]
        for split_number in (1, 2, 3):
            write(
                root / "ucfTrainTestlist" / f"{name}{split_number:02d}.txt", lines
            )
        for (path, _), (n, _) in zip(found, clips(split), strict=True):
            video(root / "UCF-101" / path, n)


def diving48(root: Path) -> None:
    write(
        root / "Diving48_vocab.json",
        [
            ["Back", "15som", "05Twis", "FREE"],
            ["Inward", "25som", "NoTwis", "PIKE"],
        ],
    )
    for split, name in (("train", "train"), ("val", "test")):
        dives = [
            {
                "vid_name": f"dive_{n:05d}",
                "label": k,
                "start_frame": 0,
                "end_frame": 9,
            }
            for n, k in clips(split)
        ]
        write(root / f"Diving48_V2_{name}.json", dives)
        for dive, (n, _) in zip(dives, clips(split), strict=True):
            video(root / "rgb" / f"{dive['vid_name']}.mp4", n)


def video_list(root: Path) -> None:
    for split in ("train", "val"):
        write(
            root / f"{split}.csv",
            [
                "path,label",
                *(f"clips/{n}.mp4,{('cat', 'dog')[k]}" for n, k in clips(split)),
            ],
        )
        for n, _ in clips(split):
            video(root / "clips" / f"{n}.mp4", n)


def folder(root: Path) -> None:
    for split in ("train", "val"):
        for n, k in clips(split):
            video(root / split / f"class_{k}" / f"{n}.mp4", n)


def motion(root: Path) -> None:
    with in_this_process():
        render(root, num_train=6, num_test=6)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "diving48": diving48,
    "folder": folder,
    "hmdb51": hmdb51,
    "k400": kinetics,
    "k600": kinetics,
    "k700": kinetics,
    "motion": motion,
    "ssv1": ssv1,
    "ssv2": ssv2,
    "ucf101": ucf101,
    "video_list": video_list,
}

# flags: what is smaller in the tiny data sets than in the real ones
TINY = {
    **{
        name: ["--data.init_args.num_classes=2"]
        for name in ("k400", "k600", "k700")
    },
    "motion": ["--data.init_args.num_train=6", "--data.init_args.num_test=6"],
    "motion_captions": ["--data.init_args.repeats=1"],
}


def lay_out(name: str, root: Path) -> Path:
    """A tiny data set as configs/data/<name>.yaml reads it, under ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name](root)
    return root
