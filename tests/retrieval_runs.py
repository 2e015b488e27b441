"""A small run of retrieval: eight-frame videos with captions, a tiny trunk, a text tower from scratch."""

from pathlib import Path

from tests.commands import Command, write_videos

TEXT = {
    "class_path": "TextTower",
    "init_args": {"embed_dim": 16, "width": 32, "depth": 1, "heads": 2},
}
MODEL = {
    "class_path": "VideoTextRetrieval",
    "init_args": {
        "backbone": {
            "name": "vit_tiny_patch16_224",
            "weights": "random",
            "depth": 2,
        },
        "adapters": [{"class_path": "LoRA", "init_args": {"rank": 2}}],
        "text": TEXT,
        "text_adapters": [{"class_path": "FullFineTuning"}],
        "optim": {"lr": 0.003},
    },
}
WAYS = {"left": ("moves left", "goes to the left"), "right": ("moves right",)}


def write_captions(root: Path, train: int = 5, val: int = 3) -> Path:
    """``root/{train,val}/{left,right}/<n>.mp4`` and ``root/{train,val}.csv``: two captions of what moves left."""
    write_videos(root, train, val)
    for split, count in (("train", train), ("val", val)):
        rows = [
            f"{split}/{way}/{n}.mp4,bar {n} {said}"
            for way, ways in WAYS.items()
            for n in range(count)
            for said in ways
        ]
        (root / f"{split}.csv").write_text(
            "\n".join(["video,caption", *rows]) + "\n"
        )
    return root


class RetrievalCommand(Command):
    """As its base."""

    model, data_set, write = MODEL, "CaptionList", staticmethod(write_captions)
