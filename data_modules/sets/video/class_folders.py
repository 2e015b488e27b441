"""Which videos lie in a folder of class folders, and what else does: nothing is passed over without a word."""

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
    """What a folder such as ``train`` holds.

    Attributes:
        folder: its place.
        videos: files and folders of frames by class, both sorted; no class is empty.
        empty: class folders without any of these.
        nested: number of videos by folder, for folders inside class folders, which are not read.
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
        """Raise ValueError where there is no video, or none of a class whose videos lie too deep."""
        if not self.videos:
            raise ValueError(
                f"{self.folder}: holds no class folders with videos; expected one "
                "folder of videos for each class, "
                f"{self.folder.name}/<class>/<video>; {self._instead()}"
            )
        lost = [
            name
            for name in self.empty
            if any(place.startswith(f"{name}/") for place in self.nested)
        ]
        if lost:
            raise ValueError(
                f"{self.folder}: {len(lost)} class folder(s), {listed(lost)}, "
                f"{self._too_deep()}"
            )

    def notes(self) -> list[str]:
        """Return a sentence for each thing that is there and not read."""
        notes = list[str]()
        if self.passed_over:
            counts = counted(self.passed_over)
            notes.append(
                f"{self.folder}: passed over {self.passed_over.total()} file(s) "
                f"that are no videos: {counts}"
            )
        if self.loose:
            notes.append(
                f"{self.folder}: {len(self.loose)} video(s), "
                f"{listed(self.loose)}, lie beside the class folders and "
                "belong to no class"
            )
        if self.nested:
            notes.append(
                f"{self.folder}: {len(self.nested)} folder(s) {self._too_deep()}"
            )
        if self.empty:
            notes.append(
                f"{self.folder}: {len(self.empty)} class folder(s) hold no video "
                "and are no classes: "
                f"{listed(self.empty)}"
            )
        return notes

    def _too_deep(self) -> str:
        count = sum(self.nested.values())
        return (
            f"hold {count} video(s) in folders of their own, such as "
            f"{listed(self.nested, 2)}, which are not read: "
            "move them up into the class folder, or name them in a list and read "
            "it with VideoList"
        )

    def _instead(self) -> str:
        if self.nested:
            return f"there, folders {self._too_deep()}"
        if self.loose:
            return (
                f"there are {len(self.loose)} video(s), {listed(self.loose)}, without "
                "class folders"
            )
        images = sum(
            count
            for suffix, count in self.passed_over.items()
            if is_image(f"x{suffix}")
        )
        if images:
            return (
                f"there are {images} image(s) in class folders: a clip is a video "
                "file, or a folder of its own with "
                "the frames of one video, <class>/<clip>/00001.jpg"
            )
        if self.passed_over:
            return f"there are files, but no videos: {counted(self.passed_over)}"
        return (
            f"there are {len(self.empty)} empty folder(s): {listed(self.empty)}"
            if self.empty
            else "it is empty"
        )


def read_class_folders(folders: Folders, folder: Path) -> ClassFolders:
    """Return what lies in ``folder`` and in the folders in it."""
    content = folders.content(folder)
    found = ClassFolders(
        folder,
        {},
        [],
        {},
        [name for name in content.files if is_video(name)],
        Counter(),
    )
    found.passed_over.update(_no_videos(content))
    for name in content.folders:
        videos = _videos(folders, folder / name, found)
        if videos:
            found.videos[name] = videos
        else:
            found.empty.append(name)
    return found


def _videos(folders: Folders, folder: Path, found: ClassFolders) -> list[Path]:
    """Return the videos in a class folder, and count in ``found`` what else is there."""
    content = folders.content(folder)
    names = [name for name in content.files + content.dead if is_video(name)]
    found.passed_over.update(_no_videos(content))
    for name in content.folders:
        if folders.holds_frames(folder / name):
            names.append(name)
        elif count := _count_videos(folders, folder / name):
            found.nested[f"{folder.name}/{name}"] = count
        else:
            found.passed_over.update(by_suffix(folders.content(folder / name).files))
    return [folder / name for name in sorted(names)]


def _count_videos(folders: Folders, top: Path) -> int:
    """Return the number of videos in a folder and in all folders in it, folders of frames among them."""
    count = 0
    for folder, content in walk(top):
        videos = sum(map(is_video, content.files))
        count += videos or folders.holds_frames(folder)
    return count


def _no_videos(content: Listing) -> Counter[str]:
    """Count what is neither a video nor a folder: other files by suffix, and links that lead nowhere."""
    counts = by_suffix(name for name in content.files if not is_video(name))
    dead = sum(not is_video(name) for name in content.dead)
    return counts + Counter({"links that lead nowhere": dead})


_ALIASES = {
    "train": {"training", "trn", "train_set", "trainset", "training_set"},
    "val": {
        "valid",
        "validation",
        "validate",
        "dev",
        "eval",
        "val_set",
        "valset",
        "validation_set",
    },
    "test": {"testing", "tst", "test_set", "testset"},
}


def alias(folders: Folders, root: Path, split: str) -> str:
    """Return the name of a folder in ``root`` that may be meant by ``split``, such as "training"; empty if none."""
    names = [name for name in folders.content(root).folders if name != split]
    return next(
        (name for name in names if name.casefold() in _ALIASES[split] | {split}), ""
    )


def no_split(folders: Folders, root: Path, split: str) -> str:
    """Return a sentence on what is there in place of the folder of a split."""
    if not folders.exists(root):
        return (
            f"{root}: no such folder; expected in it train/<class>/<video> and "
            "val/<class>/<video>"
        )
    return (
        f"{root / split}: no such folder; expected train/<class>/<video> and "
        "val/<class>/<video>; "
        f"{_instead(folders, root, split)}"
    )


def _instead(folders: Folders, root: Path, split: str) -> str:
    other = alias(folders, root, split)
    if other:
        return (
            f"there is {root / other}: rename it to {split}, or make a link of that "
            "name to it"
        )
    content = folders.content(root)
    videos = [name for name in content.files if is_video(name)]
    if videos:
        return (
            f"{root} holds {len(videos)} video(s), {listed(videos, 3)}, without "
            "folders of splits and classes"
        )
    holding = [
        name
        for name in content.folders
        if any(map(is_video, folders.content(root / name).files))
    ]
    if holding:
        return (
            f"{root} holds {len(holding)} folder(s) of videos, "
            f"{listed(holding, 3)}: if these are the classes, put "
            "them into a folder train and some videos of each into a folder val"
        )
    if content.folders:
        return f"{root} holds the folder(s) {listed(content.folders)}"
    if content.files:
        return (
            f"{root} holds files, but no folders: {counted(by_suffix(content.files))}"
        )
    return f"{root} is empty"
