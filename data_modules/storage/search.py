"""The videos in a folder without annotation."""

from pathlib import Path

from data_modules.sample import Clip
from data_modules.storage.folders import by_suffix, counted, listed, walk
from data_modules.video.suffixes import VIDEO_SUFFIXES, is_image, is_series, is_video


def existing(path: Path) -> Path:
    """Return the path; FileNotFoundError where there is nothing."""
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
                f"predict_path: {path} is an image; give a video, or a folder with the frames of one"
            )
        return [Clip(path.name, path, -1)], ""
    found, others = list[Path](), list[str]()
    for folder, content in walk(path):
        videos = [folder / name for name in content.files if is_video(name)]
        if is_series(content.files) and not videos:
            videos = [folder]
            others += [name for name in content.files if not is_image(name)]
        else:
            others += [name for name in content.files if not is_video(name)]
        found += videos
    passed_over = (
        f"{len(others)} file(s) that are no videos: {counted(by_suffix(others))}"
    )
    if not found:
        holds = f"it holds {passed_over}" if others else "it is empty"
        raise ValueError(
            f"predict_path: no video ({listed(VIDEO_SUFFIXES)}) under {path}; {holds}"
        )
    clips = [
        Clip(file.relative_to(path).as_posix() if file != path else path.name, file, -1)
        for file in sorted(found)
    ]
    return clips, f"predict_path: passed over {passed_over}" if others else ""
