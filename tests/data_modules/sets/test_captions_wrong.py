"""Every way in which annotation of captions can be wrong ends in one sentence with the file and the line or video."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_modules.sampling.schemes import SegmentSampling
from data_modules.sets import MSRVTT, MSVD, VATEX, CaptionList
from data_modules.sets.captions.captioned_videos import CaptionedVideos
from tests.caption_layouts import lay_out

OPTIONS: dict[str, Any] = {
    "sampling": SegmentSampling(2),
    "image_size": 16,
    "batch_size": 3,
    "num_workers": 0,
}
SCRIPTS = (
    "видео становится светлее",
    "影片变得越来越亮",
    "الفيديو يصبح أكثر إشراقا",
    "वीडियो उज्जवल हो जाता है",
    "🎬 \u2028 \x85 1",
)

MODULES: dict[str, Callable[[Path], CaptionedVideos]] = {
    "caption_list": lambda root: CaptionList(str(root), **OPTIONS),
    "msrvtt_1ka": lambda root: MSRVTT(str(root), **OPTIONS),
    "msrvtt_7k": lambda root: MSRVTT(str(root), split_name="7k", **OPTIONS),
    "msvd": lambda root: MSVD(str(root), **OPTIONS),
    "vatex": lambda root: VATEX(str(root), **OPTIONS),
}
MODULES_AND_FILES = {
    "caption_list": ("train.csv, line 2", "clips/0.mp4"),
    "msrvtt_1ka": ("MSRVTT_data.json", "video0"),
    "msvd": ("raw-captions.pkl", "vid-0_0_8"),
    "vatex": ("vatex_data.json", "vid-0_0_8"),
}


class Outsider:
    """A pickle of it asks for a call."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (open, ("executed", "w"))


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    """The annotation alone."""
    return lambda name: lay_out(
        name, tmp_path / name, videos=name == "caption_list"
    )


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))), "utf-8")


def sentences(
    change: Callable[[list[dict[str, Any]]], list[Any]],
) -> Callable[[Any], Any]:
    return lambda content: content | {"sentences": change(content["sentences"])}


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def first(caption: object) -> Callable[[list[dict[str, Any]]], list[Any]]:
    """The first sentence, which is of video0, says this."""
    return lambda found: [found[0] | {"caption": caption}, *found[1:]]


def rows(root: Path, text: str) -> Path:
    (root / "train.csv").write_text(text, "utf-8")
    return root


def told(data: CaptionedVideos, split: Any = "train") -> str:
    """The one error of a split."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        data.clips(split)
    return str(caught.value)


# --- captions that no text tower reads -----------------------------------------------------------------------------

FAULTS = {
    "\u200b": "is empty: nothing of '\\u200b' can be seen",
    "brighter " * 10_000: "has 10,000 words, ",
    "видео становится светлее": "is not in Latin letters, beginning with 'видео', ",
    "影片 变得": "is not in Latin letters, beginning with '影片', ",
}


def say(root: Path, name: str, text: str) -> CaptionedVideos:
    """The first caption of the first video says this."""
    if name == "caption_list":
        rows(root, f'clips/1.mp4,a cat\nclips/0.mp4,"{text}"\n')
    elif name.startswith("msrvtt"):
        edit(root / "MSRVTT_data.json", sentences(first(text)))
    elif name == "msvd":
        content = pickle.loads((root / "raw-captions.pkl").read_bytes()) | {
            "vid-0_0_8": [text.split(" ")]
        }
        (root / "raw-captions.pkl").write_bytes(pickle.dumps(content))
    else:
        edit(
            root / "vatex_data.json",
            lambda content: content | {"vid-0_0_8": {"enCap": [text]}},
        )
    return MODULES[name](root)


@pytest.mark.parametrize("text", FAULTS, ids=["invisible", "long", "ru", "zh"])
@pytest.mark.parametrize("name", MODULES_AND_FILES)
def test_a_caption_that_no_text_tower_reads(
    name: str, text: str, own: Callable[[str], Path]
):
    file, video = MODULES_AND_FILES[name]
    message = told(say(own(name), name, text))
    assert f"{file}: caption 0 of video {video} {FAULTS[text]}" in message
    assert len(message) < 400


@pytest.mark.parametrize("text", SCRIPTS, ids=["ru", "zh", "ar", "hi", "odd"])
def test_captions_of_any_script_arrive_as_they_are(
    text: str, own: Callable[[str], Path]
):
    root = rows(own("caption_list"), f'clips/0.mp4,"{text}"\n')
    data = CaptionList(str(root), script="any", **OPTIONS | {"batch_size": 1})
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert list(batch.captions) == [(text,)]
    root = own("vatex")
    edit(
        root / "vatex_data.json",
        lambda content: content | {"vid-0_0_8": {"enCap": [text]}},
    )
    assert VATEX(str(root), script="any", **OPTIONS).clips("train")[0].captions == (
        text,
    )
    root = own("msvd")
    content = pickle.loads((root / "raw-captions.pkl").read_bytes()) | {
        "vid-0_0_8": [text.split()]
    }
    (root / "raw-captions.pkl").write_bytes(pickle.dumps(content))
    assert MSVD(str(root), script="any", **OPTIONS).clips("train")[0].captions == (
        " ".join(text.split()),
    )
    root = own("msrvtt_full")
    edit(root / "MSRVTT_data.json", sentences(first(text)))
    assert (
        MSRVTT(str(root), split_name="full", script="any", **OPTIONS)
        .clips("train")[0]
        .captions[0]
        == text
    )


# --- lists of the wrong split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["val", "test"])
@pytest.mark.parametrize(
    ("name", "listing", "first_video"),
    [
        ("caption_list", "{}.csv", "clips/0.mp4"),
        ("msvd", "{}_list.txt", "vid-0_0_8"),
        ("vatex", "{}_list.txt", "vid-0_0_8"),
    ],
)
def test_a_list_of_training_in_the_place_of_another(
    name: str,
    listing: str,
    first_video: str,
    other: str,
    own: Callable[[str], Path],
):
    root = own(name)
    (root / listing.format(other)).write_text(
        (root / listing.format("train")).read_text()
    )
    for split, its_twin in (("train", other), (other, "train")):
        message = told(MODULES[name](root), split)
        assert (
            f"{listing.format(split)}: 4 of the 4 videos of the {split} split, the first {first_video}, are"
            in message
        )
        assert (
            f"are of the {its_twin} split, too: {root / listing.format(its_twin)}; is one of the two"
            in message
        )


@pytest.mark.parametrize(
    ("name", "listing"),
    [("msrvtt_1ka", "MSRVTT_train.9k.csv"), ("msrvtt_7k", "MSRVTT_train.7k.csv")],
)
def test_a_list_of_msr_vtt_that_holds_videos_of_test(
    name: str, listing: str, own: Callable[[str], Path]
):
    root = own(name)
    with (root / listing).open("a") as file:
        file.write("video8\nvideo9\n")
    message = told(MODULES[name](root), "train")
    assert (
        f"{listing}: 2 of the 6 videos of the train split, the first video8, are of the val split, too: "
        in message
    )
    message = told(MODULES[name](root), "test")
    assert (
        "test.csv: 2 of the 3 videos of the test split, the first video8, are of the train split, too: "
        in message
    )


def test_one_file_for_all_splits(own: Callable[[str], Path]):
    data = CaptionList(str(own("caption_list")), val="train.csv", **OPTIONS)
    assert (
        "train.csv: 4 of the 4 videos of the train split, the first clips/0.mp4, are of the val split, too: "
        in told(data)
    )


def test_the_official_split_of_msr_vtt_has_each_video_once(
    own: Callable[[str], Path],
):
    root = own("msrvtt_full")
    edit(root / "MSRVTT_data.json", lambda content: content | {
        "videos": [*content["videos"], content["videos"][2] | {"split": "test"}]
    })  # fmt: skip
    for split in ("train", "test"):
        message = told(MSRVTT(str(root), split_name="full", **OPTIONS), split)
        assert (
            f"1 of the 4 videos of the {split} split, the first video2, are of the"
            in message
        )


def test_validation_may_be_test(own: Callable[[str], Path]):
    root = own("msvd")
    (root / "val_list.txt").write_text((root / "test_list.txt").read_text())
    data = MSVD(str(root), **OPTIONS)
    assert len(data.clips("train")) == 4
    assert data.clips("val") == data.clips("test")


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_text("\n")],
    ids=["absent", "empty"],
)
def test_a_list_that_is_not_needed_may_be_absent(
    spoil: Callable[[Path], Any], own: Callable[[str], Path]
):
    root = own("vatex")
    spoil(root / "test_list.txt")
    assert len(VATEX(str(root), **OPTIONS).clips("train")) == 4
    spoil(root / "train_list.txt")
    assert len(VATEX(str(root), **OPTIONS).clips("val")) == 3


# --- lists of one's own --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "clips/0.mp4,one\nclips/1.mp4,two\nclips/0.mp4,three\n",
        "video,caption\nclips/0.mp4,one\n\nclips/1.mp4,two\nclips/0.mp4,three\n",
        "\ufeffvideo,caption\r\nclips/0.mp4,one\r\nclips/1.mp4,two\r\nclips/0.mp4,three\r\n",
        "caption,video\none,clips/0.mp4\ntwo,clips/1.mp4\nthree,clips/0.mp4\n",
        "Path,Sentence\nclips/0.mp4,one\nclips/1.mp4,two\nclips/0.mp4,three\n",
        "clips/0.mp4\tone\nclips/1.mp4\ttwo\nclips/0.mp4\tthree\n",
        "clips/0.mp4,one\nclips/1.mp4,two\n./clips//0.mp4,three\n",
        "clips/0.mp4;one\nclips/1.mp4;two\nclips/0.mp4;three\n",
    ],
    ids=[
        "plain",
        "header",
        "from a spreadsheet",
        "other order",
        "other words",
        "tabs",
        "other spelling",
        "semicolons",
    ],
)
def test_forms_of_a_list(text: str, own: Callable[[str], Path]):
    clips = CaptionList(str(rows(own("caption_list"), text)), **OPTIONS).clips(
        "train"
    )
    assert [(clip.clip_id, clip.captions) for clip in clips] == [
        ("clips/0.mp4", ("one", "three")), ("clips/1.mp4", ("two",))
    ]  # fmt: skip


def test_a_quoted_caption_holds_commas_quotes_and_lines(own: Callable[[str], Path]):
    root = rows(own("caption_list"), 'clips/0.mp4,"a, ""b""\nand c"\n')
    assert CaptionList(str(root), **OPTIONS).clips("train")[0].captions == (
        'a, "b"\nand c',
    )


def test_test_is_validation_where_there_is_no_list_of_it(
    own: Callable[[str], Path],
):
    root = own("caption_list")
    (root / "test.csv").unlink()
    data = CaptionList(str(root), **OPTIONS)
    assert data.clips("test") == data.clips("val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "train.csv: the list is empty"),
        ("video,caption\n", "train.csv: the list is empty below its header"),
        ("clips/0.mp4,a cat\nclips/1.mp4,a dog, asleep\n", "train.csv, line 2 'clips/1.mp4,a dog,asleep': expected 2"),
        ("clips/0.mp4\n", "train.csv, line 1 'clips/0.mp4': has one column"),
        ("clips/0.mp4 runs\nclips/1.mp4 walks\n", "train.csv, line 1 'clips/0.mp4 runs': has one column"),
        ("path,caption,split\nclips/0.mp4,a cat,train\n", "train.csv, line 1: the header 'path,caption,split' has "
         "columns that are not known: split"),
        ("clip,title\nclips/0.mp4,a cat\n", "train.csv, line 1 'clip,title': looks like a header, because 'clip' is no "
         "video; valid are video,caption in each line"),
        ("a cat,clips/0.mp4\na dog,clips/1.mp4\n", "train.csv, line 1 'a cat,clips/0.mp4': the videos are in column 2"),
        ("clips/0.mp4,a cat\nclips/0.mp4,  \n", "train.csv, line 2 'clips/0.mp4,': the caption is empty"),
        ("clips/0.mp4,a cat\nclips/0.mp4,\u200b\n", "train.csv, line 2: caption 1 of video clips/0.mp4 is empty"),
        (" ,a cat\n", "train.csv, line 1 ',a cat': the video is empty"),
        ('clips/0.mp4,"a cat\n', "train.csv: is no text parted by commas: unexpected end of data"),
    ],
)  # fmt: skip
def test_wrong_lists(text: str, message: str, own: Callable[[str], Path]):
    assert message in told(
        CaptionList(str(rows(own("caption_list"), text)), **OPTIONS)
    )


def test_a_list_that_is_not_text(own: Callable[[str], Path]):
    root = own("caption_list")
    (root / "train.csv").write_bytes("clips/0.mp4,café\n".encode("latin-1"))
    assert "train.csv, line 1: is not UTF-8 text" in told(
        CaptionList(str(root), **OPTIONS)
    )
    (root / "train.csv").unlink()
    assert "no annotation file" in told(CaptionList(str(root), **OPTIONS))


# --- MSR-VTT -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sentences(first("  ")), "MSRVTT_data.json: caption 0 of video video0 is empty"),
        (sentences(first(None)), "MSRVTT_data.json: caption 0 of video video0 is None, expected text"),
        (sentences(first(["a", "cat"])), "caption 0 of video video0 is ['a', 'cat'], expected text"),
        (sentences(lambda found: [without(found[0], "caption")]), "entry 0 is {\"video_id\": \"video0\""),
        (sentences(lambda found: []), "MSRVTT_data.json: expected a list that is not empty"),
        (lambda content: content["sentences"], "MSRVTT_data.json: expected an object with the lists videos and"),
        (sentences(lambda found: [s for s in found if s["video_id"] not in ("video1", "video2")]),
         "MSRVTT_data.json: has no caption of 2 of the 4 videos that MSRVTT_train.9k.csv lists, the first video1"),
    ],
)  # fmt: skip
def test_wrong_sentences_of_msr_vtt(
    change: Callable[[Any], Any], message: str, own: Callable[[str], Path]
):
    root = own("msrvtt_1ka")
    edit(root / "MSRVTT_data.json", change)
    assert message in told(MSRVTT(str(root), **OPTIONS))


def test_files_of_the_wrong_split_of_msr_vtt(own: Callable[[str], Path]):
    root = own("msrvtt_1ka")
    (root / "MSRVTT_JSFUSION_test.csv").write_text(
        (root / "MSRVTT_train.9k.csv").read_text()
    )
    assert (
        "MSRVTT_JSFUSION_test.csv, line 1: the header 'video_id' has no column sentence"
        in told(MSRVTT(str(root), **OPTIONS), "test")
    )
    edit(
        root / "MSRVTT_data.json",
        lambda content: (
            content | {"videos": [v for v in content["videos"] if v["id"] < 7]}
        ),
    )
    data = MSRVTT(
        str(root), split_name="full", **OPTIONS
    )  # as train_val_videodatainfo.json is
    assert "MSRVTT_data.json: lists no video of the test split" in told(
        data, "test"
    )


def test_a_video_listed_twice(own: Callable[[str], Path]):
    root = own("msrvtt_1ka")
    with (root / "MSRVTT_train.9k.csv").open("a") as file:
        file.write("video3\n")
    assert "MSRVTT_train.9k.csv: video video3 is listed 2 times" in told(
        MSRVTT(str(root), **OPTIONS)
    )
    with (root / "MSRVTT_JSFUSION_test.csv").open("a") as file:
        file.write("ret9,msr8,video8,again\n")
    assert "MSRVTT_JSFUSION_test.csv: video video8 is listed 2 times" in told(
        MSRVTT(str(root), **OPTIONS), "test"
    )


# --- MSVD and VATEX ------------------------------------------------------------------------------------------------


def test_a_pickle_is_never_executed(
    own: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    root = own("msvd")
    (root / "raw-captions.pkl").write_bytes(
        pickle.dumps({"vid-0_0_8": [["a"]], "x": Outsider()})
    )
    message = told(MSVD(str(root), **OPTIONS))
    assert "raw-captions.pkl: is no pickle of plain types: it asks for" in message
    assert not (tmp_path / "executed").exists()


def test_a_pickle_of_python_2(own: Callable[[str], Path]):
    """Byte strings of Python 2, protocol 0: {'vid-0_0_8': [['caf\\xc3\\xa9']]}."""
    root = own("msvd")
    (root / "raw-captions.pkl").write_bytes(
        b"(dp0\nS'vid-0_0_8'\np1\n(lp2\n(lp3\nS'caf\\xc3\\xa9'\np4\naas."
    )
    (root / "train_list.txt").write_text("vid-0_0_8\n")
    assert MSVD(str(root), **OPTIONS).clips("train")[0].captions == ("café",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no pickle of plain types"),
        (b"\x80\x04no pickle", "is no pickle of plain types"),
        (pickle.dumps({f"vid-{n}_0_8": [["a", "cat"]] for n in range(4)})[:-20], "is no pickle of plain types"),
        (pickle.dumps([1]), "expected {video: [caption, ...]}"),
        (pickle.dumps({"vid-0_0_8": "a cat"}), "expected {video: [caption, ...]}"),
        (pickle.dumps({f"vid-{n}_0_8": [["a"], []] for n in range(4)}), "caption 1 of video vid-0_0_8 is empty"),
        (pickle.dumps({f"vid-{n}_0_8": [["a", 1]] for n in range(4)}), "vid-0_0_8 is ['a', 1], expected text"),
        (pickle.dumps({f"vid-{n}_0_8": [["a"]] for n in range(4, 10)}),
         "has no caption of 4 of the 4 videos that train_list.txt lists, the first vid-0_0_8; is one of the two of"),
    ],
)  # fmt: skip
def test_wrong_captions_of_msvd(
    content: bytes, message: str, own: Callable[[str], Path]
):
    root = own("msvd")
    (root / "raw-captions.pkl").write_bytes(content)
    said = told(MSVD(str(root), **OPTIONS))
    assert message in said
    assert "raw-captions.pkl" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [], "expected {video: {\"enCap\": [caption, ...]}} or [{\"videoID\": video, "),
        (lambda content: {}, "expected {video: {\"enCap\""),
        (lambda content: "vid-2_0_8", "expected {video: {\"enCap\""),
        (lambda content: [{"video": "vid-2_0_8", "enCap": ["a cat"]}], "expected at least videoID and enCap"),
        (lambda content: [{"videoID": "vid-2_0_8", "enCap": ["a cat"]}] * 2, "video vid-2_0_8 is listed twice or more"),
        (lambda content: content | {"vid-2_0_8": ["a cat"]}, "video vid-2_0_8 has no such list"),
        (lambda content: content | {"vid-2_0_8": {"enCap": "a cat"}}, "video vid-2_0_8 has no such list"),
        (lambda content: content | {"vid-2_0_8": {"enCap": ["a cat", ""]}}, "caption 1 of video vid-2_0_8 is empty"),
        (lambda content: content | {"vid-2_0_8": {"enCap": ["a cat", 7]}}, "of video vid-2_0_8 is 7, expected text"),
        (lambda content: content | {"vid-2_0_8": {"enCap": []}}, "has no caption of 1 of the 4 videos"),
        (lambda content: without(content, "vid-3_0_8"),
         "has no caption of 1 of the 4 videos that train_list.txt lists, the first vid-3_0_8; is one of the two of"),
    ],
)  # fmt: skip
def test_wrong_captions_of_vatex(
    change: Callable[[Any], Any], message: str, own: Callable[[str], Path]
):
    root = own("vatex")
    edit(root / "vatex_data.json", change)
    said = told(VATEX(str(root), **OPTIONS))
    assert message in said
    assert "vatex_data.json" in said


def test_files_that_are_not_there(own: Callable[[str], Path]):
    root = own("vatex")
    (root / "vatex_data.json").write_text("{")
    assert "vatex_data.json: is not a JSON file" in told(
        VATEX(str(root), **OPTIONS)
    )
    (root / "train_list.txt").write_text("\n")
    assert "train_list.txt: the list is empty" in told(VATEX(str(root), **OPTIONS))
    (root / "train_list.txt").unlink()
    assert "no annotation file" in told(VATEX(str(root), **OPTIONS))
