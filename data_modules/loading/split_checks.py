"""Whether the splits of a data set are what they should be.

They have whole classes, and no video is in two of them.
"""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from data_modules.io.names import first_names
from data_modules.sample import Clip
from data_modules.storage.folders import listed
from data_modules.transforms.mirror import unmirrored_labels
from data_modules.video.suffixes import is_image

# files whose sizes are asked for; on a network disk that takes some seconds
_MOST_MEASURED = 20_000
_MOST_READ = 2_000  # files of equal sizes that are read
# bytes that are read at the beginning, in the middle and at the end of a file: the
# beginning alone is the same in videos that one program wrote
_PART = 64 << 10
_AT_A_TIME = 16  # files that are asked for side by side: each answer is waiting


def lost_classes(
    clips: Sequence[Clip], there: Sequence[Clip], labels: Sequence[str]
) -> str:
    """Return a sentence on classes of which no clip is there.

    It is empty where there are none, or no classes at all.
    """
    if not labels:
        return ""
    left = {clip.label for clip in there}
    lost = sorted({clip.label for clip in clips} - left)
    if not lost:
        return ""
    names = listed(labels[label] for label in lost)
    return (
        f"with them every clip of {len(lost)} class(es): {names}. A class cannot "
        "be left out: bring back its videos, or take it out of the lists"
    )


def fewer_classes(clips: Sequence[Clip], published: int | None, name: str) -> str:
    """Return a sentence where training lists fewer classes than were published."""
    count = len({clip.label for clip in clips})
    if published is None or count >= published:
        return ""
    return (
        f"{count} of the {published} classes of {name} have clips in the list of "
        "training; are all its lists there?"
    )


def alike_classes(labels: Sequence[str]) -> str:
    """Return a sentence on names of classes that look the same to a reader.

    Such names differ in blanks, accents or capitals alone; empty where there are none.
    """
    groups = defaultdict[str, list[str]](list)
    for label in labels:
        folded = unicodedata.normalize("NFKC", label).casefold()
        groups[" ".join(folded.split())].append(label)
    alike = list[str]()
    for names in groups.values():
        if len(names) > 1:
            alike.append(" and ".join(map(ascii, names)))
    if not alike:
        return ""
    return (
        f"some classes differ in blanks, accents or capitals alone: {listed(alike)}; "
        "are they meant to be one?"
    )


def require_mirror_images(labels: Sequence[str], transform: object) -> None:
    """Refuse a flip where a class that says a side has no mirror image.

    Args:
        labels: class names.
        transform: what training does in space.

    Raises:
        ValueError: clips are flipped, and such classes exist.
    """
    alone = unmirrored_labels(labels)
    # a user's own transform need not have the option
    if alone and getattr(transform, "flip", False):
        raise ValueError(
            f"data.train_transform.flip mirrors clips, and {len(alone)} of "
            f"the {len(labels)} classes, which "
            "say left or right, have no mirror image among them: "
            f"{first_names(alone)}; set it to false"
        )


def shared_videos(train: Sequence[Clip], other: Sequence[Clip], split: str) -> str:
    """Return a sentence on clips of a split that are also clips of training.

    Two clips are one where they are the same file, under any name or link, or where
    their files have the same size and equal bytes at the beginning, in the middle and
    at the end. Folders of frames are one where so are the first, the middle and the
    last of as many images. Bytes are compared in data sets of up to 20,000 files; in
    larger ones, which are published with lists of their own, only the names of files
    are. The sentence is empty where no such clip is known.
    """
    twins = _same_files(train, other)
    if len(train) + len(other) <= _MOST_MEASURED:
        rest = [clip for clip in other if clip.clip_id not in twins]
        twins |= _same_bytes(train, rest)
    if not twins:
        return ""
    pairs = [f"{clip_id} is {twin}" for clip_id, twin in twins.items()]
    return (
        f"{len(twins)} of the {len(other)} clips of the {split} split are clips "
        f"of training, too: {listed(pairs, 3)}; "
        "their scores say nothing about videos that the model has not seen"
    )


def _same_files(train: Sequence[Clip], other: Sequence[Clip]) -> dict[str, str]:
    """Return clips of ``other`` with the clip of training at the same path, by name."""
    known = {str(clip.path): clip.clip_id for clip in train}
    twins = dict[str, str]()
    for clip in other:
        path = str(clip.path)
        if path in known:
            twins[clip.clip_id] = known[path]
    return twins


def _same_bytes(train: Sequence[Clip], other: Sequence[Clip]) -> dict[str, str]:
    """Return clips of ``other`` with a clip of training of the same content, by name."""
    sizes = _sizes([*train, *other])
    by_size = defaultdict[int, list[Clip]](list)
    for clip in train:
        size = sizes.get(str(clip.path))
        if size:
            by_size[size].append(clip)
    # only files of equal sizes are read at all: in nearly all data sets that is none
    alike = [clip for clip in other if sizes.get(str(clip.path)) in by_size]
    candidates = list(alike)
    for size in {sizes[str(clip.path)] for clip in alike}:
        candidates += by_size[size]
    hashes = _hashes(candidates[:_MOST_READ], sizes)
    known = dict[str, str]()
    for clip in train:
        path = str(clip.path)
        if path in hashes:
            known[hashes[path]] = clip.clip_id
    twins = dict[str, str]()
    for clip in alike:
        twin = known.get(hashes.get(str(clip.path), ""))
        if twin is not None:
            twins[clip.clip_id] = twin
    return twins


def _sizes(clips: Iterable[Clip]) -> dict[str, int]:
    """Return the bytes of each video that is there and not empty, by path.

    Videos that are parts of larger files are left out.
    """
    paths = dict[str, Path]()
    for clip in clips:
        if isinstance(clip.path, Path):
            paths[str(clip.path)] = clip.path
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        sizes = pool.map(_size, paths.values())
        return {path: size for path, size in zip(paths, sizes, strict=True) if size}


def _size(path: Path) -> int:
    """Return the bytes of a file, or of three images of a folder; 0: unknown."""
    with suppress(OSError):
        status = path.stat()
        if S_ISDIR(status.st_mode):
            _, images = _images(path)
            return sum(os.stat(image).st_size for image in images)
        return status.st_size if S_ISREG(status.st_mode) else 0
    return 0


def _images(folder: Path) -> tuple[int, list[Path]]:
    """Return how many images a folder holds, and its first, middle and last one."""
    names = sorted(filter(is_image, os.listdir(folder)))
    if not names:
        return 0, []
    chosen = [names[0], names[len(names) // 2], names[-1]]
    return len(names), [folder / name for name in chosen]


def _hashes(clips: Iterable[Clip], sizes: Mapping[str, int]) -> dict[str, str]:
    """Return a hash of each file by path, as far as three parts of it tell."""
    paths = list({str(clip.path) for clip in clips})
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        hashes = pool.map(lambda path: _hash(Path(path), sizes[path]), paths)
        return {
            path: value for path, value in zip(paths, hashes, strict=True) if value
        }


def _hash(path: Path, size: int) -> str:
    """Return a hash of the size and three parts of a file or folder of frames.

    It is empty where the file cannot be read.
    """
    with suppress(OSError):
        count, files = _images(path) if path.is_dir() else (1, [path])
        digest = hashlib.blake2b(f"{count} {size}".encode(), digest_size=16)
        for file in files:
            _add_parts(digest, file)
        return digest.hexdigest()
    return ""


def _add_parts(digest: hashlib.blake2b, path: Path) -> None:
    """Add the beginning, the middle and the end of a file."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for start in (0, max(0, size // 2 - _PART // 2), max(0, size - _PART)):
            file.seek(start, os.SEEK_SET)
            digest.update(file.read(_PART))
