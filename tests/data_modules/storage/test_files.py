import data_modules  # noqa: F401, I001  # first: makes torchvision importable

from collections.abc import Callable
from pathlib import Path

import pytest

from data_modules.sample import Split
from data_modules.sample import Clip
from data_modules.storage.files import Files
from data_modules.sets.video.video_folder import VideoFolder
from data_modules.sampling.schemes import SegmentSampling
from data_modules.storage.copy_index import CopyEntry, write_index


def clips(folder: Path, count: int) -> list[Clip]:
    return [Clip(str(n), folder / f"{n % 3}" / f"{n}.mp4", 0) for n in range(count)]


def test_missing_files_are_counted_and_named(tmp_path: Path):
    listed = clips(tmp_path, 10)
    for clip in listed[:4]:
        clip.path.parent.mkdir(exist_ok=True)
        clip.path.touch()
    with pytest.raises(
        FileNotFoundError,
        match=r"6 of the 10 videos of the val split are missing: .*4\.mp4.*\.\.\.",
    ):
        Files().located(listed, "val", tmp_path)
    located = Files(missing="leave_out").located(listed, "val", tmp_path)
    assert located.clips == listed[:4]
    assert "6 of the 10" in located.absent
    assert "left out" in located.absent


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path):
    listed = clips(tmp_path, 3)
    for clip in listed:
        clip.path.mkdir(parents=True)  # a folder of frames is there too
    located = Files().located(listed, "train", tmp_path)
    assert located == (
        listed,
        {str(clip.path): f"{n}/{n}.mp4" for n, clip in enumerate(listed)},
        "",
    )


def test_a_split_without_any_video_stops_always(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="10 of the 10 videos"):
        Files(missing="leave_out").located(clips(tmp_path, 10), "train", tmp_path)


def test_what_ingest_found_damaged_is_known_to_be_bad(tmp_path: Path):
    good = CopyEntry("0/0.mp4", "a.mp4", 0, 1, 1, "", "encoded", "", 40.0, 1, 1.0)
    bad = good._replace(
        path="1/1.mp4", file="b.mp4", status="damaged", reason="cut short"
    )
    write_index(tmp_path, [good, bad])
    files = Files(ingested=str(tmp_path))
    located = files.located(clips(tmp_path, 2), "val", tmp_path)
    assert files.known_bad(located, tmp_path) == {
        str(tmp_path / "b.mp4"): "bad: cut short"
    }


class OneMore(VideoFolder):
    """Lists a video that is not there."""

    def clips(self, split: Split) -> list[Clip]:
        return [*super().clips(split), Clip("gone", self.root / "gone.mp4", 0)]


def test_the_data_module_stops_or_goes_on_as_told(
    class_folders: Callable[..., Path],
):
    root = str(class_folders())
    options = {
        "sampling": SegmentSampling(2),
        "image_size": 8,
        "batch_size": 2,
        "num_workers": 0,
    }
    with pytest.raises(
        FileNotFoundError,
        match=r"1 of the 16 videos of the train split .*gone\.mp4",
    ):
        OneMore(root, **options).setup("fit")
    data = OneMore(root, files=Files(missing="leave_out"), **options)
    with pytest.warns(UserWarning, match="gone"):
        data.setup("fit")
    assert len(data.train_dataloader().dataset) == 15
