"""Lists as users write them, each beside its only reading or the sentence that refuses it."""

import codecs
import csv
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import VideoList
from data_modules.storage.files import Files
from data_modules.video.encode import write_video

OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 1,
    "num_workers": 0,
}
FRAMES = 4
VIDEOS = (
    "a.mp4",
    "b.mp4",
    "c.mp4",
    "day 1/drinking (31).mp4",
    "day 1/b.mp4",
    "#1.mp4",
    "x,y.mp4",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of four frames, and folders of three frames: v1, v2, and "v 3"."""
    root = tmp_path_factory.mktemp("videos")
    write_video(
        root / "first.mp4",
        np.full((FRAMES, 48, 64, 3), 99, np.uint8),
        8,
        codec="mpeg4",
    )
    for name in VIDEOS:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / "first.mp4", root / name)
    for name in ("v1", "v2", "v 3"):
        (root / name).mkdir()
        for number in range(3):
            Image.new("RGB", (64, 48)).save(root / name / f"{number:05d}.jpg")
    return root


def read(
    videos: Path, tmp_path: Path, text: str | bytes, **options: Any
) -> list[tuple[str, str]]:
    """The path and the class name of each clip of a list."""
    (tmp_path / "train.csv").write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )
    data = VideoList(str(tmp_path), videos=str(videos), **OPTIONS, **options)
    return [(clip.clip_id, data.labels[clip.label]) for clip in data.clips("train")]


AB = [("a.mp4", "run"), ("b.mp4", "walk")]


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4,run\nb.mp4,walk\n",
        "a.mp4;run\nb.mp4;walk",
        "a.mp4\trun\nb.mp4\twalk\n",
        "a.mp4 run\nb.mp4 walk\n",
        "a.mp4   run  \n b.mp4 \t walk\n",
        "a.mp4, run\nb.mp4 ,walk \n",
        "a.mp4 ,run\nb.mp4 ,walk\n",
        "a.mp4 ; run\nb.mp4 ; walk\n",
        '"a.mp4","run"\n"b.mp4","walk"\n',
        '"a.mp4" run\n"b.mp4" "walk"\n',
        "\n\na.mp4,run\n\n  \nb.mp4,walk\n\n",
        "a.mp4,run\nb.mp4,walk\n,\n , \n",  # as spreadsheets end
        "a.mp4,run\r\nb.mp4,walk\r\n",
        "a.mp4,run\rb.mp4,walk\r",
        "path,label\na.mp4,run\nb.mp4,walk\n",
        "label,path\nrun,a.mp4\nwalk,b.mp4\n",
        "Path;Label\na.mp4;run\nb.mp4;walk\n",
        "path label\na.mp4 run\nb.mp4 walk\n",
        "path\tlabel\na.mp4\trun\nb.mp4\twalk\n",
        "filename,class\na.mp4,run\nb.mp4,walk\n",
        "video,category\na.mp4,run\nb.mp4,walk\n",
        "Video Path,Class Name\na.mp4,run\nb.mp4,walk\n",
        "video_path,label_id\na.mp4,run\nb.mp4,walk\n",
        "path,num_frames,label\na.mp4,9,run\nb.mp4,7,walk\n",  # not compared: the header says what it is
        "num_frames,label,path\n9,run,a.mp4\n7,walk,b.mp4\n",
        "a.mp4,4,run\nb.mp4,4,walk\n",
        "a.mp4 4 run\nb.mp4 4 walk\n",
    ],
)
def test_one_list_in_many_forms(text: str, videos: Path, tmp_path: Path):
    assert read(videos, tmp_path, text) == AB


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + b"a.mp4,run\nb.mp4,walk\n",
        codecs.BOM_UTF8 + b"path,label\r\na.mp4,run\r\nb.mp4,walk\r\n",
        codecs.BOM_UTF16_LE
        + "path\tlabel\r\na.mp4\trun\r\nb.mp4\twalk\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "a.mp4,run\nb.mp4,walk".encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8 header", "utf-16-le", "utf-16-be"],
)
def test_a_byte_order_mark_is_no_part_of_a_name(
    data: bytes, videos: Path, tmp_path: Path
):
    assert read(videos, tmp_path, data) == AB


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (
            "day 1/drinking (31).mp4 1\nday 1/b.mp4 0\n",
            [("day 1/drinking (31).mp4", "1"), ("day 1/b.mp4", "0")],
        ),
        ("day 1/b.mp4 x\na.mp4 y\n", [("day 1/b.mp4", "x"), ("a.mp4", "y")]),
        (
            "path label\nday 1/b.mp4 x\na.mp4 y\n",
            [("day 1/b.mp4", "x"), ("a.mp4", "y")],
        ),
        ('"day 1/b.mp4" x\na.mp4 y\n', [("day 1/b.mp4", "x"), ("a.mp4", "y")]),
        ("day 1/b.mp4,x\na.mp4,y\n", [("day 1/b.mp4", "x"), ("a.mp4", "y")]),
        (
            "a.mp4,riding bikes\nb.mp4,riding boats\n",
            [("a.mp4", "riding bikes"), ("b.mp4", "riding boats")],
        ),
        (
            "day 1/b.mp4,x\nday 1/drinking (31).mp4,y\n",
            [("day 1/b.mp4", "x"), ("day 1/drinking (31).mp4", "y")],
        ),
        ("v 3 x\nv1 y\n", [("v 3", "x"), ("v1", "y")]),
        (
            "a.mp4;left, right\nb.mp4;up, down\n",
            [("a.mp4", "left, right"), ("b.mp4", "up, down")],
        ),
        (
            'a.mp4,"left, right"\nb.mp4,up\n',
            [("a.mp4", "left, right"), ("b.mp4", "up")],
        ),
        (
            'a.mp4,"12"" pizza"\nb.mp4,7\'\n',
            [("a.mp4", '12" pizza'), ("b.mp4", "7'")],
        ),
        ('"x,y.mp4",run\na.mp4,run\n', [("x,y.mp4", "run"), ("a.mp4", "run")]),
        ("x,y.mp4 run\na.mp4 walk\n", [("x,y.mp4", "run"), ("a.mp4", "walk")]),
        ("#1.mp4,run\na.mp4,walk\n", [("#1.mp4", "run"), ("a.mp4", "walk")]),
        ("v1,run\nv2,walk\n", [("v1", "run"), ("v2", "walk")]),
        ("v1 3 run\nv2 3 walk\n", [("v1", "run"), ("v2", "walk")]),
        (
            "a.mp4,label\nb.mp4,class\n",
            [("a.mp4", "label"), ("b.mp4", "class")],
        ),  # a video, so no header
        ("a.mp4,005\nb.mp4,010\n", [("a.mp4", "005"), ("b.mp4", "010")]),  # names
        ("a.mp4,Ⅷ\nb.mp4,夜\u2028昼\n", [("a.mp4", "Ⅷ"), ("b.mp4", "夜\u2028昼")]),
        ("path,label\na.mp4,run\n", [("a.mp4", "run")]),
        ("a.mp4 run", [("a.mp4", "run")]),
    ],
)
def test_the_only_reading(
    text: str, listed: list[tuple[str, str]], videos: Path, tmp_path: Path
):
    assert read(videos, tmp_path, text) == listed


LINE = "valid are path,label in each line, or a first line that names the columns, such as path,num_frames,label"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # a third column that is no number of frames
        ("a.mp4,run,train\nb.mp4,walk,val\n", f"line 1 'a.mp4,run,train': three columns without a header are "
         f"path,num_frames,label, and 'run' is no number of frames; {LINE}"),
        ("a.mp4,4,2\nb.mp4,x,2\n", "line 2 'b.mp4,x,2': three columns without a header are"),
        ("a.mp4,0,12\nb.mp4,1,9\n", "line 1 'a.mp4,0,12': three columns without a header are"),
        ("a.mp4,4.0,12\nb.mp4,4.0,9\n", "'4.0' is no number of frames"),
        ("a.mp4 1 3\nb.mp4 2 3\n", "line 1 'a.mp4 1 3': without a header 1 is a number of frames, and a.mp4 has 4; "
         "several labels of a video are not read; valid are"),
        ("a.mp4 4 3\nb.mp4 2 3\n", "line 2 'b.mp4 2 3': without a header 2 is a number of frames, and b.mp4 has 4"),
        ("v1 3 1\nv2 5 0\n", "line 2 'v2 5 0': without a header 5 is a number of frames, and v2 has 3"),
        ("a.mp4,5,train\nb.mp4,4,train\n", "5 is a number of frames, and a.mp4 has 4"),
        ("x.mp4 4 1\ny.mp4 4 0\n", "no video is there to see whether the second column is its number of frames"),
        ("a.mp4,run,\nb.mp4,walk,\n", "line 1 'a.mp4,run,': three columns"),
        ("a.mp4,4,run,x\nb.mp4,4,run,x\n", "line 1 'a.mp4,4,run,x': has 4 columns and no header that names them"),
        ("a.mp4\nb.mp4\n", "line 1 'a.mp4': has one column, expected two or more"),
        # columns that are not known
        ("path,start,end,label\na.mp4,0,1,run\n", "line 1: the header 'path,start,end,label' has columns that are not "
         "known: start, end; nothing would be done with them, so remove them. Known are path, num_frames, label"),
        ("path,label,split\na.mp4,run,train\n", "not known: split;"),
        (",path,label\n0,a.mp4,run\n", "not known: one without a name;"),
        ("path,label,\na.mp4,run,\n", "not known: one without a name;"),
        ("path,label,label_id\na.mp4,run,0\n", "names the label 2 times, label and label_id; keep one"),
        ("path,num_frames,label\na.mp4,x,run\n", "line 2 'a.mp4,x,run': 'x' is no number of frames"),
        ("path,label\n", "the list is empty below its header, 'path,label'"),
        ("label,youtube_id,start,end\nrun,a,0,1\n", "youtube_id,start,end': is a header without the column path"),
        ("video_id frame_id path labels\n1 0 a.mp4 3\n", "path labels': is a header without the column label;"),
        # headers in other words
        ("clip name,kind\na.mp4,run\nb.mp4,walk\n", "line 1 'clip name,kind': looks like a header, because 'clip"),
        ("clip name,kind\na.mp4,run\nb.mp4,run\n", "line 1 'clip name,kind': looks like a header"),
        ("video,kind\na.mp4,run\n", "line 1 'video,kind': looks like a header, because 'video' is no video; valid are"),
        ("uuid,kind\nv1,run\nv2,walk\n", "line 1 'uuid,kind': looks like a header"),
        ("uuid,kind\nw1,1\nw2,0\n", "line 1 'uuid,kind': looks like a header"),
        ("uuid,label\nw1,x\nw2,y\n", "line 1 'uuid,label': looks like a header"),
        ("uuid,seconds,kind\na.mp4,4,run\n", "line 1 'uuid,seconds,kind': looks like a header"),
        ("# path,label\na.mp4,run\n", "line 1 '# path,label': looks like a header"),
        # comments
        ("a.mp4,run\n#b.mp4,walk\n", "line 2 '#b.mp4,walk': there is no video '#b.mp4'; if this is a comment, remove"),
        ("path,label\n# c.mp4,run\na.mp4,run\n", "line 2 '# c.mp4,run': there is no video '# c.mp4'"),
        ("# made by hand\na.mp4,run\n", "line 1 '# made by hand': there is no video '#'; if this is a comment, remove"),
        # columns in another order
        ("run,a.mp4\nwalk,b.mp4\n", "line 1 'run,a.mp4': the videos are in column 2, not in column 1; valid are "
         "path,label in each line, or a first line that names the columns, such as label,path"),
        ("0 a.mp4\n1 b.mp4\n", "line 1 '0 a.mp4': the videos are in column 2"),
        ("1,a.mp4,run\n2,b.mp4,walk\n", "line 1 '1,a.mp4,run': the videos are in column 2"),
        # cells
        ("a.mp4,run\nb.mp4,\n", "line 2 'b.mp4,': the label is empty"),
        ("path,label\na.mp4,\n", "line 2 'a.mp4,': the label is empty"),
        ("a.mp4,run\n,walk\n", "line 2 ',walk': the path is empty"),
        ("a.mp4,run\nb.mp4\n", "line 2 'b.mp4': expected 2 columns as in line 1, 'a.mp4,run', got 1"),
        ("a.mp4,run\nb.mp4;walk\n", "line 2 'b.mp4;walk': expected 2 columns"),
        ("a.mp4 run\nb.mp4\twalk;x\tz\n", "line 2 'b.mp4 walk;x z': expected 2 columns"),
        ("x,y.mp4,run\na.mp4,walk\n", "line 2 'a.mp4,walk': expected 3 columns as in line 1, 'x,y.mp4,run', got 2; a "
         "cell that holds a comma is put in double quotes"),
        ("a.mp4 1\nb.mp4 (2).mp4 2\nb.mp4 3", "line 2 'b.mp4 (2).mp4 2': expected 2 columns"),
        ("path,label\nx,y.mp4,run\n", "line 2 'x,y.mp4,run': expected 2 columns as in line 1"),
        ('a.mp4,"run\nb.mp4,walk\n', "is no text parted by commas: unexpected end of data"),
        ('w1,"my run\n', "is no text parted by commas: unexpected end of data"),
        ("a.mp4 riding bikes\nb.mp4 running\n", "line 2 'b.mp4 running': expected 3 columns as in line 1"),
        ("a.mp4 b.mp4 1\nb.mp4 c.mp4 0\n", "line 1 'a.mp4 b.mp4 1': three columns without a header"),
        ("my clips/a.mp4,run,train\nmy clips/b.mp4,walk,train\n", "three columns without a header"),
        ("d\\a.mp4,run\nd\\b.mp4,walk\n", "line 1: there is no video d\\a.mp4; write / in place of \\ in all paths"),
        ("path,label\nC:\\d\\a.mp4,run\n", "line 2: there is no video C:\\d\\a.mp4; write / in place of \\"),
        # more than one reading and nothing that tells
        ("w 1,x 1\nw 2,y 1\n", "line 1: can be read as w 1 | x 1"),
        ("w 1;x,z\nw 2;y,z\n", "line 1: can be read as w 1 | x,z or w 1;x | z or w | 1;x,z, and no video tells which"),
        # two lists in one file, separators at the end, several labels
        ("path,label\na.mp4,run\npath,label\nb.mp4,walk\n", "line 3 'path,label': is a header among the lines"),
        ("a.mp4,run\nb.mp4,walk\nfile,class\n", "line 3 'file,class': is a header among the lines"),
        ("a.mp4 run,\nb.mp4 walk,\n", "line 1 'a.mp4 run,': each line ends with ',', which is no part of the label"),
        ("a.mp4\trun;\nb.mp4\twalk;\n", "each line ends with ';'"),
        ("a.mp4 1,3\nb.mp4 2\n", "'1,3' looks like several labels; one label of each video is read"),
        ('a.mp4,"1 3"\nb.mp4,2\n', "'1 3' looks like several labels"),
        ('a.mp4,"[0, 3]"\nb.mp4,[2]\n', "'[0, 3]' looks like several labels"),
        ("a.mp4|run\nb.mp4|walk\n", "line 1 'a.mp4|run': has one column"),
        ("day 1/a.mp4 4 run\nday 1/b.mp4 4 run\n", "line 1 'day 1/a.mp4 4 run': has 4 columns and no header that names "
         "them; a cell that holds a blank is put in double quotes"),
        # nothing
        ("", "the list is empty"),
        (" \n\n", "the list is empty"),
        # the same video twice
        ("a.mp4,run\nb.mp4,x\na.mp4,walk\n", "clip a.mp4 is listed in lines 1 and 3, with the labels 'run' and 'walk'"),
        ("a.mp4,run\n\n./a.mp4,run\n", "clip ./a.mp4 is listed in lines 1 and 3"),
        # labels
        ("a.mp4,-1\nb.mp4,0\n", "'-1' is no number of a class; expected whole numbers from 0 on, or names"),
        ("a.mp4,1.0\nb.mp4,0.0\n", "'0.0' is no number of a class"),
        ("a.mp4,2019\nb.mp4,2020\n", "the labels are the numbers up to 2020, and only 2 of them have a video; if they"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, message: str, videos: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"train\.csv") as caught:
        read(videos, tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["w1,run\nw2,walk\n", "w1 run\nw2 walk\n", "w.mp4,run\n", "my w.mp4,run\n"],
)
def test_videos_that_are_not_there_are_missing(
    text: str, videos: Path, tmp_path: Path
):
    """Not a matter of columns."""
    read(videos, tmp_path, text)
    with pytest.raises(
        FileNotFoundError, match="videos of the train split are missing"
    ):
        VideoList(str(tmp_path), videos=str(videos), **OPTIONS).setup("fit")


def test_a_missing_first_video_is_no_header(videos: Path, tmp_path: Path):
    assert read(videos, tmp_path, "w.mp4,run\na.mp4,walk\n") == [
        ("w.mp4", "run"),
        ("a.mp4", "walk"),
    ]
    assert read(videos, tmp_path, "w1,run\nv1,walk\nv2,run\n")[0] == ("w1", "run")


@pytest.mark.parametrize(
    ("text", "labels", "absent"),
    [("a.mp4,0\nb.mp4,1\nc.mp4,5\n", 6, "3 classes have no video: 2, 3, 4"),
     ("a.mp4,1\nb.mp4,10\nc.mp4,2\n", 11, "8 classes have no video: 0, 3, 4, 5, 6, 7, 8, 9")],
)  # fmt: skip
def test_numbers_with_holes(
    text: str, labels: int, absent: str, videos: Path, tmp_path: Path
):
    with pytest.warns(UserWarning, match=absent):
        listed = read(videos, tmp_path, text)
    assert listed == [tuple(line.split(",")) for line in text.split()]
    (tmp_path / "names.txt").write_text(
        "".join(f"class {n}\n" for n in range(labels))
    )
    assert (
        read(videos, tmp_path, text, names="names.txt")[2][1]
        == f"class {text.split()[2].split(',')[1]}"
    )


def test_numbers_of_names_that_no_file_orders(videos: Path, tmp_path: Path):
    (tmp_path / "val.csv").write_text("c.mp4,0\n")
    (tmp_path / "train.csv").write_text("a.mp4,walk\nb.mp4,run\n")
    (tmp_path / "names.txt").write_text("walk\nrun\n")
    data = VideoList(str(tmp_path), videos=str(videos), **OPTIONS)
    with pytest.raises(
        ValueError,
        match=r"val\.csv: the label '0' is a number, and the labels of training are names",
    ):
        data.clips("val")
    named = VideoList(
        str(tmp_path), videos=str(videos), names="names.txt", **OPTIONS
    )
    assert named.labels[named.clips("val")[0].label] == "walk"
    (tmp_path / "train.csv").write_text("a.mp4,0\nb.mp4,2\n")
    (tmp_path / "val.csv").write_text("c.mp4,3\n")
    with (
        pytest.warns(UserWarning, match="1 classes have no video: 1"),
        pytest.raises(
            ValueError,
            match=r"c\.mp4 has label '3', not among the 3 of the data set",
        ),
    ):
        VideoList(str(tmp_path), videos=str(videos), **OPTIONS).clips("val")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "run\n\nwalk\n",
            "names.txt, line 2: is blank, which leaves the numbers of the classes below it in doubt",
        ),
        ("run\nwalk\nrun\n", "names.txt: names the class 'run' 2 times"),
        (
            "0 run\n1 walk\n2 sit\n",
            "names.txt, line 2 '1 walk': expected a name alone in each line",
        ),
        (
            "1,run\n2,walk\n3,sit\n",
            "names.txt, line 2 '2,walk': expected a name alone in each line",
        ),
        (
            "id,kind\n0,run\n1,walk\n",
            "names.txt, line 2 '0,run': expected a name alone in each line",
        ),
        (
            "label\nrun\nwalk\n",
            "names.txt, line 1 'label': looks like a header, and would be the class 0; remove it",
        ),
        ("\n", "names.txt: the list is empty"),
        (
            "walk\n",
            "train.csv, line 1: clip a.mp4 has label 'run', not among the 1 of the data set",
        ),
    ],
)
def test_wrong_names(names: str, message: str, videos: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(ValueError, match=r"\.txt|\.csv") as caught:
        read(videos, tmp_path, "a.mp4,run\nb.mp4,walk\n", names="names.txt")
    assert message in str(caught.value)


def test_a_path_of_bytes_that_are_no_text(videos: Path, tmp_path: Path):
    """The name of a file is any bytes; a label is text."""
    name = os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(videos / "a.mp4", videos / name)
    assert read(videos, tmp_path, b"caf\xe9.mp4,run\nb.mp4,caf\xc3\xa9\n") == [
        (name, "run"),
        ("b.mp4", "café"),
    ]
    for text in (b"a.mp4,run\nth\xe9.mp4,run\n", b"path,label\na.mp4,caf\xe9\n"):
        with pytest.raises(
            ValueError, match=r"train\.csv, line 2: is not UTF-8 text: '.*xe9"
        ):
            read(videos, tmp_path, text)


def test_names_of_any_sign(videos: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_bytes(codecs.BOM_UTF8 + b"100 m\r\nwalk\r\n\r\n")
    assert read(videos, tmp_path, "a.mp4,1\nb.mp4,0\n", names="names.txt") == [
        ("a.mp4", "walk"),
        ("b.mp4", "100 m"),
    ]


SIGNS = st.characters(
    exclude_categories=["Cc", "Cs", "Zs"], exclude_characters="\ufeff"
)
LABELS = st.lists(st.text(SIGNS, min_size=1), min_size=2, max_size=7)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=LABELS.filter(lambda labels: not any(map(str.isdecimal, labels))),
    dialect=st.sampled_from([(mark, end) for mark in ",;\t" for end in ("\n", "\r\n", "\r")]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    header=st.sampled_from([(), ("path", "label"), ("label", "path")]),
)  # fmt: skip
def test_what_a_csv_writer_writes_is_read(
    labels: list[str],
    dialect: tuple[str, str],
    encoding: str,
    header: tuple[str, ...],
    videos: Path,
    tmp_path: Path,
):
    """A law: any label, in any dialect, comes back."""
    pairs = [
        {"path": path, "label": label}
        for path, label in zip(VIDEOS, labels, strict=False)
    ]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=dialect[0], lineterminator=dialect[1])
    writer.writerows(
        [header] * bool(header)
        + [[pair[name] for name in header or ("path", "label")] for pair in pairs]
    )
    listed = read(videos, tmp_path, text.getvalue().encode(encoding))
    assert listed == [(pair["path"], pair["label"]) for pair in pairs]


def test_the_ingested_copy_tells_what_is_there(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the originals are gone, names and numbers of frames are those of the copy."""
    places = {
        tmp_path / "clips/v1": videos / "a.mp4",
        tmp_path / "clips/v2": videos / "b.mp4",
    }
    monkeypatch.setattr(Files, "place", lambda _, path, root: places.get(path))
    (tmp_path / "train.csv").write_text("v1 4 run\nv2 4 walk\n")
    data = VideoList(str(tmp_path), videos="clips", **OPTIONS)
    assert [data.labels[clip.label] for clip in data.clips("train")] == [
        "run",
        "walk",
    ]
