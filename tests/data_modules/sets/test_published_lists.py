"""Lists of classes in the forms in which their authors and others publish them, each by a few lines made by hand."""

import codecs
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import (
    HMDB51,
    UCF101,
    Diving48,
    Kinetics,
    SomethingSomething,
    SomethingSomethingV1,
)
from data_modules.video.encode import write_video

OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 1,
    "num_workers": 0,
}
FRAMES = 12


# --- Kinetics ------------------------------------------------------------------------------------------------------

KINETICS = {
    "train.csv": "label,youtube_id,time_start,time_end,split\nair drumming,-a,7,17,train\nyoga,b_c,80,90,train\n",
    "kinetics_train.csv": "label,youtube_id,time_start,time_end,split,is_cc\r\n"
    '"air drumming","-a",7,17,"train",0\r\n"yoga","b_c",80,90,"train",1\r\n',
    "annotations/train.csv": "\ufefflabel,youtube_id,time_start,time_end\nair drumming,-a,7.0,17.0\nyoga,b_c,80,90\n",
    "train.json": json.dumps({
        "-a": {"annotations": {"label": "air drumming", "segment": [7.0, 17.0]}, "duration": 10.0,
               "subset": "train", "url": "https://www.youtube.com/watch?v=-a"},
        "b_c": {"annotations": {"label": "yoga", "segment": [80.0, 90.0]}, "subset": "training"},
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", KINETICS)
def test_kinetics(name: str, tmp_path: Path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(KINETICS[name], "utf-8")
    data = Kinetics(str(tmp_path), **OPTIONS)
    assert data.labels == ["air drumming", "yoga"]
    assert [(clip.clip_id, clip.label) for clip in data.clips("train")] == [
        ("air_drumming/-a_000007_000017", 0),
        ("yoga/b_c_000080_000090", 1),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split,url\na,b,0,1,train,x\n",
            "are not known: url",
        ),
        (
            "train.csv",
            "youtube_id,time_start,time_end,split\nb,0,1,test\n",
            "has no column label",
        ),
        (
            "train.csv",
            "b,0,1,yoga\n",
            "line 1: the header 'b,0,1,yoga' has no column label, youtube_id",
        ),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end\n,b,0,1\n",
            "expected a name or a whole number as label",
        ),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end\nyoga,b,x,1\n",
            "times of clip b are no numbers",
        ),
        (
            "train.json",
            [{"label": "yoga"}],
            'expected {youtube_id: {"annotations": ',
        ),
        ("train.json", {}, 'expected {youtube_id: {"annotations": '),
        (
            "train.json",
            {"b": {"subset": "test"}},
            '"subset": split}}; b has {"subset": "test"}',
        ),
        (
            "train.json",
            {"b": {"annotations": {"label": None, "segment": [0, 1]}}},
            "a whole number as label, got",
        ),
        (
            "train.json",
            {"b": {"annotations": {"label": "yoga", "segment": [0]}}},
            "expected {youtube_id: ",
        ),
        (
            "train.json",
            {"b": {"annotations": {"label": "yoga", "segment": [0, None]}}},
            "clip b are no numbers",
        ),
    ],
)
def test_wrong_lists_of_kinetics(
    name: str, content: Any, message: str, tmp_path: Path
):
    (tmp_path / name).write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    with pytest.raises(ValueError, match=r"train\.") as caught:
        Kinetics(str(tmp_path), **OPTIONS)
    assert message in str(caught.value)


# --- Something-Something -------------------------------------------------------------------------------------------


def something(root: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        (root / name).write_text(
            content if isinstance(content, str) else json.dumps(content), "utf-8"
        )


COMMAS = "Putting something, something and something on the table"
V1 = {
    "labels.csv": f"Holding something\n{COMMAS}\n",
    "validation.csv": "9;Holding something\n",
}


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv": f"7;{COMMAS}\n8;Holding something\n"},
        {
            "train.csv": f"7;{COMMAS}\r\n8;Holding something\r\n",
            "labels.csv": f'{COMMAS}\r\n"Holding something"\r\n\r\n',
        },
        {
            "train.csv": f'7;"{COMMAS}"\n8;"Holding something"\n',
            "labels.csv": f'"{COMMAS}"\nHolding something\n',
        },
        {"train.txt": "7 12 1\n8 30 0\n"},
        {"train_videofolder.txt": "a/7 12 1\na/8 30 0\n"},
        {"train.txt": "7,12,1\n8,30,0\n"},
    ],
)
def test_something_v1(files: dict[str, Any], tmp_path: Path):
    something(tmp_path, V1 | files)
    data = SomethingSomethingV1(str(tmp_path), **OPTIONS)
    assert [
        (clip.clip_id, data.labels[clip.label]) for clip in data.clips("train")
    ] == [
        ("7", COMMAS),
        ("8", "Holding something"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "7 0 1\n8 1 1\n",
            "expected 'id num_frames label' in each line, and '0' of ['7', '0', '1'] is no number of",
        ),
        ("7 x 1\n", "'x' of ['7', 'x', '1'] is no number of frames"),
        ("7 1\n8 0\n", "line 1 '7 1': expected 'id num_frames label' in each line"),
        (
            "7 12 1\n8 12 1 0\n",
            "line 2 '8 12 1 0': expected 'id num_frames label' in each line",
        ),
        (
            "7 12 1\n8 12 2\n",
            "clip 8 has label '2', not among the 2 of the data set",
        ),
        (
            "7 12 1\n7 12 0\n",
            "clip 7 is listed twice or more, with the labels '1' and '0'",
        ),
        (
            "7 1 0\n8 1 1\n",
            "and 7 has 12 frames, not 1; several labels of a video are not read",
        ),
    ],
)
def test_wrong_lists_of_numbers(text: str, message: str, tmp_path: Path):
    something(tmp_path, V1 | {"train.txt": text})
    (tmp_path / "20bn-something-something-v1").mkdir()
    write_video(
        tmp_path / "20bn-something-something-v1/7.mp4",
        np.zeros((FRAMES, 32, 32, 3), np.uint8),
        12,
    )
    with pytest.raises(ValueError, match=r"train\.txt") as caught:
        SomethingSomethingV1(str(tmp_path), **OPTIONS).clips("train")
    assert message in str(caught.value)


@pytest.mark.parametrize("count", [FRAMES, 30])
def test_frames_of_another_rate(count: int, tmp_path: Path):
    """Lists count frames that were extracted at 30 a second, where the videos have 12."""
    something(tmp_path, V1 | {"train.txt": f"7 {count} 1\n8 99 0\n"})
    (tmp_path / "20bn-something-something-v1").mkdir()
    write_video(
        tmp_path / "20bn-something-something-v1/7.mp4",
        np.zeros((FRAMES, 32, 32, 3), np.uint8),
        12,
    )
    assert len(SomethingSomethingV1(str(tmp_path), **OPTIONS).clips("train")) == 2


V2 = {"labels.json": {"Holding something": "0", "Putting something": "1"}}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            [{"id": "7", "template": None}],
            "expected a name or a whole number as template",
        ),
        (
            [{"id": "", "template": "Holding [something]"}],
            "expected a name or a whole number as id",
        ),
        (
            [{"id": 7.5, "template": "Holding [something]"}],
            "expected a name or a whole number as id",
        ),
        ({"7": "Holding [something]"}, "expected a list that is not empty"),
        (
            [{"id": "7", "label": "holding a cup"}],
            "expected at least id and template",
        ),
    ],
)
def test_wrong_lists_of_something_v2(train: Any, message: str, tmp_path: Path):
    something(tmp_path, {**V2, "train.json": train})
    with pytest.raises(ValueError, match=message):
        SomethingSomething(str(tmp_path), **OPTIONS).clips("train")


def test_something_v2_with_a_mark_and_numbers(tmp_path: Path):
    train = codecs.BOM_UTF8.decode() + json.dumps(
        [{"id": 7, "template": "Putting [something]", "label": "x"}]
    )
    something(
        tmp_path,
        {
            "labels.json": {"Holding something": 0, "Putting something": 1},
            "train.json": train,
        },
    )
    assert [
        clip[::2]
        for clip in SomethingSomething(str(tmp_path), **OPTIONS).clips("train")
    ] == [("7", 1)]


# --- UCF101, HMDB51, Diving48 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Yo/a.avi 2\nRun/b.avi 1\n",
        "Yo/a.avi\nRun/b.avi\n",
        "Yo/a.avi 2 \r\n\r\nRun/b.avi 1\r\n",
        "Yo/a.avi\t2\nRun/b.avi\t1",
    ],
)
def test_ucf101(text: str, tmp_path: Path):
    (tmp_path / "classInd.txt").write_bytes(b"1 Run\r\n2 Yo\r\n\r\n")
    (tmp_path / "trainlist01.txt").write_text(text)
    clips = UCF101(str(tmp_path), splits="", **OPTIONS).clips("train")
    assert [(clip.clip_id, clip.label) for clip in clips] == [
        ("Yo/a.avi", 1),
        ("Run/b.avi", 0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Yo/a.avi 2\nRun/b.avi\n",
            "line 2 'Run/b.avi': expected 'video' or 'video number' in each line, all of one",
        ),
        ("Yo/a.avi 1\n", "Yo/a.avi has number 1, its class has 2"),
        ("Yo\\a.avi 2\n", "has label 'Yo\\\\a.avi', not among the 2"),
        ("a.avi 2\n", "has label 'a.avi', not among the 2"),
        (
            "Yo/a.avi,2\n",
            "expected <class>/<video>.avi in each line, and a number or none, got 'Yo/a.avi,2'",
        ),
        ("Yo/a.avi\nYo/a.avi\n", "clip Yo/a.avi is listed twice"),
    ],
)
def test_wrong_lists_of_ucf101(text: str, message: str, tmp_path: Path):
    (tmp_path / "classInd.txt").write_text("1 Run\n2 Yo\n")
    (tmp_path / "trainlist01.txt").write_text(text)
    with pytest.raises(ValueError, match=r"trainlist01\.txt") as caught:
        UCF101(str(tmp_path), splits="", **OPTIONS).clips("train")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "0 Run\n1 Yo\n",
        "Run\nYo\n",
        "1 Run\n3 Yo\n",
        "1,Run\n2,Yo\n",
        "1 Run\n2 Yo yo\n",
    ],
)
def test_wrong_classes_of_ucf101(text: str, tmp_path: Path):
    (tmp_path / "classInd.txt").write_text(text)
    with pytest.raises(ValueError, match=r"classInd\.txt.*: expected"):
        UCF101(str(tmp_path), splits="", **OPTIONS)


def test_hmdb51(tmp_path: Path):
    """Names of videos hold blanks and begin with signs; what macOS leaves behind is no class."""
    (tmp_path / "run_test_split1.txt").write_bytes(
        b"#1 a (x).avi 1 \r\nb.avi 2 \r\nc.avi 0 \r\n"
    )
    (tmp_path / "._run_test_split1.txt").write_bytes(b"\0\5\x16\7")
    data = HMDB51(str(tmp_path), splits="", **OPTIONS)
    assert data.labels == ["run"]
    assert [clip.clip_id for clip in data.clips("train")] == ["run/#1 a (x).avi"]
    assert [clip.clip_id for clip in data.clips("val")] == ["run/b.avi"]


@pytest.mark.parametrize("label", ["0", None, 1.0, True, 48, "Back 15som"])
def test_labels_of_diving48(label: Any, tmp_path: Path):
    (tmp_path / "Diving48_vocab.json").write_text(
        json.dumps([["Back", "15som"], ["Inward", "25som"]])
    )
    (tmp_path / "Diving48_V2_train.json").write_text(
        json.dumps([{"vid_name": "a", "label": label}])
    )
    data = Diving48(str(tmp_path), **OPTIONS)
    if label in ("0", "Back 15som"):
        assert data.clips("train")[0].label == 0
        return
    with pytest.raises(ValueError, match=r"Diving48_V2_train\.json: "):
        data.clips("train")
