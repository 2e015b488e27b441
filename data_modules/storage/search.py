"""Find the videos in a folder without annotation."""

from itertools import filterfalse
from pathlib import Path

from data_modules.sample import Clip
from data_modules.storage.folders import by_suffix, counted, listed, walk
from data_modules.video.suffixes import (
    VIDEO_SUFFIXES,
    is_image,
    is_series,
    is_video,
)


def existing(path: Path) -> Path:
    """Return the path, if something is there.

    Raises:
        FileNotFoundError: nothing is.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"predict_path: {path} is neither a video file nor a folder"
        )
    return path


def videos_below(path: Path) -> tuple[list[Clip], str]:
    """Return the videos to predict, and a sentence on the files that are none; it is empty where there are none.

    Args:
        path: a video file, a folder with the frames of one video, or a folder that is searched for both.

    Raises:
        ValueError: no video is there; says what is.
    """
    if path.is_file():
        if is_image(path.name):
            raise ValueError(
                f"predict_path: {path} is an image; give a "
                "video, or a folder with the frames of one"
            )
        return [Clip(path.name, path, -1)], ""
    found: list[Path] = []
    others: list[str] = []
    for folder, content in walk(path):
        videos = list(filter(is_video, content.files))
        # A folder that holds a video and its extracted frames is read as the video.
        is_frames = is_series(content.files) and not videos
        is_read = is_image if is_frames else is_video
        others += filterfalse(is_read, content.files)
        found += [folder] if is_frames else map(folder.joinpath, videos)
    passed_over = (
        f"{len(others)} file(s) that are no videos: {counted(by_suffix(others))}"
    )
    if not found:
        holds = f"it holds {passed_over}" if others else "it is empty"
        raise ValueError(
            f"predict_path: no video ({listed(VIDEO_SUFFIXES)}) under {path}; {holds}"
        )
    clips: list[Clip] = []
    for file in sorted(found):
        name = path.name if file == path else file.relative_to(path).as_posix()
        clips.append(Clip(name, file, -1))
    return clips, f"predict_path: passed over {passed_over}" if others else ""
