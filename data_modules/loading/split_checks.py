"""Whether the splits of a data set are what they should be: whole classes, and no video in two of them."""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from data_modules.sample import Clip
from data_modules.storage.folders import listed
from data_modules.video.suffixes import is_image

_MOST_MEASURED = (
    20_000  # files whose sizes are asked for; on a network disk that takes some seconds
)
_MOST_READ = 2_000  # files of equal sizes that are read
_PART = (
    64 << 10
)  # bytes that are read at the beginning, in the middle and at the end of a file
_AT_A_TIME = 16  # files that are asked for side by side


def lost_classes(
    clips: Sequence[Clip], there: Sequence[Clip], labels: Sequence[str]
) -> str:
    """Return a sentence on classes of which no clip is there, empty where there are none or no classes at all."""
    lost = (
        sorted({clip.label for clip in clips} - {clip.label for clip in there})
        if labels
        else []
    )
    if not lost:
        return ""
    return (
        f"with them every clip of {len(lost)} class(es): {listed(labels[label] for label in lost)}. A class cannot "
        "be left out: bring back its videos, or take it out of the lists"
    )


def fewer_classes(clips: Sequence[Clip], published: int | None, name: str) -> str:
    """Return a sentence where a list of training has fewer classes than the published data set, else nothing."""
    count = len({clip.label for clip in clips})
    if published is None or count >= published:
        return ""
    return f"{count} of the {published} classes of {name} have clips in the list of training; are all its lists there?"


def alike_classes(labels: Sequence[str]) -> str:
    """Return a sentence on names of classes that look the same or differ in capitals alone, else nothing."""
    groups = defaultdict[str, list[str]](list)
    for label in labels:
        groups[
            " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        ].append(label)
    alike = [
        " and ".join(map(ascii, names)) for names in groups.values() if len(names) > 1
    ]
    if not alike:
        return ""
    return f"some classes differ in blanks, accents or capitals alone: {listed(alike)}; are they meant to be one?"


def shared_videos(train: Sequence[Clip], other: Sequence[Clip], split: str) -> str:
    """Return a sentence on clips of a split that are clips of training, too; empty where none is known to be.

    Two clips are one where they are the same file, under any name or link, or where their files have the same size and
    equal bytes at the beginning, in the middle and at the end. Folders of frames are one where so are the first, the
    middle and the last of as many images. Bytes are compared in data sets of up to 20,000 files;
    in larger ones, which are published with lists of their own, only the names of files are.
    """
    twins = _same_files(train, other) or {}
    if len(train) + len(other) <= _MOST_MEASURED:
        twins |= _same_bytes(
            train, [clip for clip in other if clip.clip_id not in twins]
        )
    if not twins:
        return ""
    pairs = [f"{clip_id} is {twin}" for clip_id, twin in twins.items()]
    return (
        f"{len(twins)} of the {len(other)} clips of the {split} split are clips of training, too: {listed(pairs, 3)}; "
        "their scores say nothing about videos that the model has not seen"
    )


def _same_files(train: Sequence[Clip], other: Sequence[Clip]) -> dict[str, str]:
    """Return the names of clips of ``other`` with the clip of training at the same path."""
    paths = {str(clip.path): clip.clip_id for clip in train}
    return {
        clip.clip_id: paths[str(clip.path)] for clip in other if str(clip.path) in paths
    }


def _same_bytes(train: Sequence[Clip], other: Sequence[Clip]) -> dict[str, str]:
    """Return the names of clips of ``other`` with a clip of training that has the same content."""
    sizes = _sizes([*train, *other])
    by_size = defaultdict[int, list[Clip]](list)
    for clip in train:
        if size := sizes.get(str(clip.path)):
            by_size[size].append(clip)
    alike = [clip for clip in other if sizes.get(str(clip.path)) in by_size]
    candidates = list(alike)
    for size in {sizes[str(clip.path)] for clip in alike}:
        candidates += by_size[size]
    prints = _fingerprints(candidates[:_MOST_READ], sizes)
    known = {
        prints[str(clip.path)]: clip.clip_id
        for clip in train
        if str(clip.path) in prints
    }
    found = {clip.clip_id: known.get(prints.get(str(clip.path), "")) for clip in alike}
    return {clip_id: twin for clip_id, twin in found.items() if twin is not None}


def _sizes(clips: Iterable[Clip]) -> dict[str, int]:
    """Return the bytes of each video that is there and not empty; those that are parts of files are left out."""
    paths = list(
        {
            str(clip.path): clip.path for clip in clips if isinstance(clip.path, Path)
        }.values()
    )
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = pool.map(_size, paths)
        return {
            str(path): size for path, size in zip(paths, found, strict=True) if size
        }


def _size(path: Path) -> int:
    with suppress(OSError):
        status = path.stat()
        if S_ISDIR(status.st_mode):
            return sum(os.stat(image).st_size for image in _images(path)[1])
        return status.st_size if S_ISREG(status.st_mode) else 0
    return 0


def _images(folder: Path) -> tuple[int, list[Path]]:
    """Return how many images a folder holds, and the first, the middle and the last one."""
    names = sorted(filter(is_image, os.listdir(folder)))
    chosen = [names[0], names[len(names) // 2], names[-1]] if names else []
    return len(names), [folder / name for name in chosen]


def _fingerprints(clips: Iterable[Clip], sizes: Mapping[str, int]) -> dict[str, str]:
    """Return by path what is equal where two files hold the same bytes, as far as three parts of them tell."""
    paths = list({str(clip.path) for clip in clips})
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = pool.map(lambda path: _fingerprint(Path(path), sizes[path]), paths)
        return {
            path: print_ for path, print_ in zip(paths, found, strict=True) if print_
        }


def _fingerprint(path: Path, size: int) -> str:
    """Return a hash of the size and three parts of a file or folder of frames; empty where it cannot be read."""
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
