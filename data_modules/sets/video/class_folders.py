"""Which videos lie in a folder of class folders, and what else does.

Nothing is passed over without a word.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from data_modules.storage.folders import (
    Folders,
    Listing,
    by_suffix,
    counted,
    listed,
    walk,
)
from data_modules.video.suffixes import is_image, is_video


class ClassFolders(NamedTuple):
    """Hold what a folder such as ``train`` contains.

    Attributes:
        folder: its place.
        videos: files and folders of frames by class, both sorted; no class is empty.
        empty: class folders without any of these.
        nested: number of videos by folder, for folders inside class folders, which are
            not read.
        loose: videos beside the class folders.
        passed_over: number of other files by suffix.
    """

    folder: Path
    videos: dict[str, list[Path]]
    empty: list[str]
    nested: dict[str, int]
    loose: list[str]
    passed_over: Counter[str]

    def require_videos(self) -> None:
        """Refuse a folder without videos.

        Raises:
            ValueError: there is no video, or none of a class whose videos lie too deep.
        """
        if not self.videos:
            raise ValueError(
                f"{self.folder}: holds no class folders with videos; expected one folder "
                f"of videos for each class, {self.folder.name}/<class>/<video>; "
                f"{self._instead()}"
            )
        lost = list(filter(self._holds_deeper, self.empty))
        if lost:
            raise ValueError(
                f"{self.folder}: {len(lost)} class folder(s), {listed(lost)}, "
                f"{self._too_deep()}"
            )

    def _holds_deeper(self, name: str) -> bool:
        return any(place.startswith(f"{name}/") for place in self.nested)

    def notes(self) -> list[str]:
        """Return a sentence for each thing that is there and not read."""
        notes = list[str]()
        if self.passed_over:
            notes.append(
                f"passed over {self.passed_over.total()} file(s) that are no videos: "
                f"{counted(self.passed_over)}"
            )
        if self.loose:
            notes.append(
                f"{len(self.loose)} video(s), {listed(self.loose)}, lie beside the class "
                "folders and belong to no class"
            )
        if self.nested:
            notes.append(f"{len(self.nested)} folder(s) {self._too_deep()}")
        if self.empty:
            notes.append(
                f"{len(self.empty)} class folder(s) hold no video and are no classes: "
                f"{listed(self.empty)}"
            )
        return [f"{self.folder}: {note}" for note in notes]

    def _too_deep(self) -> str:
        count = sum(self.nested.values())
        return (
            f"hold {count} video(s) in folders of their own, such as "
            f"{listed(self.nested, 2)}, which are not read: move them up into the class "
            "folder, or name them in a list and read it with VideoList"
        )

    def _instead(self) -> str:
        """Return what is there in place of class folders with videos."""
        if self.nested:
            return f"there, folders {self._too_deep()}"
        if self.loose:
            videos = f"{len(self.loose)} video(s), {listed(self.loose)}"
            return f"there are {videos}, without class folders"
        images = self._num_images()
        if images:
            return (
                f"there are {images} image(s) in class folders: a clip is a video file, "
                "or a folder of its own with the frames of one video, "
                "<class>/<clip>/00001.jpg"
            )
        if self.passed_over:
            return f"there are files, but no videos: {counted(self.passed_over)}"
        if self.empty:
            return (
                f"there are {len(self.empty)} empty folder(s): {listed(self.empty)}"
            )
        return "it is empty"

    def _num_images(self) -> int:
        images = 0
        for suffix, count in self.passed_over.items():
            if is_image(f"x{suffix}"):
                images += count
        return images


def read_class_folders(folders: Folders, folder: Path) -> ClassFolders:
    """Return what lies in ``folder`` and in the folders in it."""
    content = folders.content(folder)
    loose = list(filter(is_video, content.files))
    found = ClassFolders(folder, {}, [], {}, loose, Counter())
    found.passed_over.update(_no_videos(content))
    for name in content.folders:
        videos = _videos(folders, folder / name, found)
        if videos:
            found.videos[name] = videos
        else:
            found.empty.append(name)
    return found


def _videos(folders: Folders, folder: Path, found: ClassFolders) -> list[Path]:
    """Return the videos in a class folder; count in ``found`` what else is there."""
    content = folders.content(folder)
    # a link that leads nowhere is a video that is missing: it must be told as such
    names = list(filter(is_video, content.files + content.dead))
    found.passed_over.update(_no_videos(content))
    for name in content.folders:
        if folders.holds_frames(folder / name):
            names.append(name)
        elif count := _count_videos(folders, folder / name):
            found.nested[f"{folder.name}/{name}"] = count
        else:
            found.passed_over.update(
                by_suffix(folders.content(folder / name).files)
            )
    return [folder / name for name in sorted(names)]


def _count_videos(folders: Folders, top: Path) -> int:
    """Return how many videos are in a folder and in all folders in it.

    A folder with the frames of one counts as a video.
    """
    count = 0
    for folder, content in walk(top):
        videos = sum(map(is_video, content.files))
        count += videos or folders.holds_frames(folder)
    return count


def _no_videos(content: Listing) -> Counter[str]:
    """Count what is neither a video nor a folder.

    These are other files by suffix, and links that lead nowhere.
    """
    counts = by_suffix(name for name in content.files if not is_video(name))
    dead = sum(not is_video(name) for name in content.dead)
    return counts + Counter({"links that lead nowhere": dead})


# split -> other names that users give its folder
_ALIASES = {
    "train": "training trn train_set trainset training_set",
    "val": "valid validation validate dev eval val_set valset validation_set",
    "test": "testing tst test_set testset",
}


def alias(folders: Folders, root: Path, split: str) -> str:
    """Return the folder in ``root`` that may be meant by ``split``, such as "training".

    It is empty where there is none.
    """
    known = [split, *_ALIASES[split].split()]
    for name in folders.content(root).folders:
        if name != split and name.casefold() in known:
            return name
    return ""


def no_split(folders: Folders, root: Path, split: str) -> str:
    """Return a sentence on what is there in place of the folder of a split."""
    if not folders.exists(root):
        return (
            f"{root}: no such folder; expected in it train/<class>/<video> and "
            "val/<class>/<video>"
        )
    return (
        f"{root / split}: no such folder; expected train/<class>/<video> and "
        f"val/<class>/<video>; {_instead(folders, root, split)}"
    )


def _instead(folders: Folders, root: Path, split: str) -> str:
    other = alias(folders, root, split)
    if other:
        return (
            f"there is {root / other}: rename it to {split}, or make a link of that name "
            "to it"
        )
    content = folders.content(root)
    videos = list(filter(is_video, content.files))
    if videos:
        return (
            f"{root} holds {len(videos)} video(s), {listed(videos, 3)}, without folders "
            "of splits and classes"
        )
    holding = list[str]()
    for name in content.folders:
        if any(map(is_video, folders.content(root / name).files)):
            holding.append(name)
    if holding:
        return (
            f"{root} holds {len(holding)} folder(s) of videos, {listed(holding, 3)}: if "
            "these are the classes, put them into a folder train and some videos of each "
            "into a folder val"
        )
    if content.folders:
        return f"{root} holds the folder(s) {listed(content.folders)}"
    if content.files:
        counts = counted(by_suffix(content.files))
        return f"{root} holds files, but no folders: {counts}"
    return f"{root} is empty"
