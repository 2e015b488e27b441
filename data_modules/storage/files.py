"""The files of a data set: where they lie, which are missing, and which are known to be bad."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from data_modules.sample import Clip
from data_modules.storage import manifest
from data_modules.storage.folders import Folders
from data_modules.storage.shards import Storage
from data_modules.video.source import Source


class Located(NamedTuple):
    """Clips that are there.

    Attributes:
        clips: each with the place where it is read, in the order of the list.
        keys: their names in the manifest, by that place.
        absent: a sentence that counts what is not there, and names the first of it; empty if everything is.
    """

    clips: list[Clip]
    keys: dict[str, str]
    absent: str


@dataclass(frozen=True)
class Files:
    """What is done about files that are not as the annotation promises, and where their copies are.

    Args:
        missing: listed videos that are not on disk: ``stop``, or ``leave_out``; either way they are listed and counted.
        broken: in evaluation, videos that cannot be read: ``stop``, or ``count_wrong``. In training another clip
            stands in for one, within ``bad_files.budget``.
        deadline: seconds after which a worker that still reads the same file ends itself, and the run with it.
        ingested: a folder that ``lightning-petl data ingest`` wrote, whose copies are read in place of the originals;
            these need not be there any more.
        manifest: what ``lightning-petl data index`` wrote; ``manifest.csv`` beside the annotation where not given.
    """

    missing: Literal["stop", "leave_out"] = "stop"
    broken: Literal["stop", "count_wrong"] = "stop"
    deadline: float = 300.0
    ingested: str | None = None
    manifest: str | None = None

    def __post_init__(self) -> None:
        if not self.deadline > 0:
            raise ValueError(
                f"files.deadline: expected seconds above 0, got {self.deadline}"
            )

    def folders(self, root: Path) -> Folders:
        """Return what reads the folders of the data set at ``root``; the ingested copy knows those that are gone."""
        return Folders(root, lambda: tuple(self._storage or ()))

    def located(
        self,
        clips: Sequence[Clip],
        split: str,
        root: Path,
        folders: Folders | None = None,
    ) -> Located:
        """Return where the clips are to be read; ``folders`` are those of ``root`` that were read before.

        Raises:
            FileNotFoundError: something is missing and may not be left out, or everything is.
            ValueError: the ingested copy has none of the clips, or is of other originals than those at hand.
        """
        keys = [manifest.key(Path(str(clip.path)), root) for clip in clips]
        storage = self._storage
        there = (
            [key in storage for key in keys]
            if storage
            else _on_disk(clips, folders or Folders(root))
        )
        if storage and keys and not any(there):
            storage.source(keys[0])  # raises: it is the copy of another data set
        absent = [
            str(clip.path)
            for clip, is_there in zip(clips, there, strict=True)
            if not is_there
        ]
        sentence = _listed(absent, len(clips), split)
        if absent and (self.missing == "stop" or len(absent) == len(clips)):
            way_out = (
                ""
                if len(absent) == len(clips)
                else "; files.missing=leave_out goes on without them"
            )
            raise FileNotFoundError(
                f"{sentence}; `lightning-petl data index` lists them all{way_out}"
            )
        found = [
            (clip, key)
            for clip, key, is_there in zip(clips, keys, there, strict=True)
            if is_there
        ]
        if storage:
            storage.require_originals({key: _file(clip) for clip, key in found})
            found = [
                (clip._replace(path=storage.source(key)), key) for clip, key in found
            ]
        keyed = {str(clip.path): key for clip, key in found}
        return Located(
            [clip for clip, _ in found],
            keyed,
            sentence and f"{sentence}; they are left out",
        )

    def place(self, path: Path, root: Path) -> Path | Source | None:
        """Where one video is read: in the ingested copy or on disk; None where it is not there."""
        if storage := self._storage:
            key = manifest.key(path, root)
            return storage.source(key) if key in storage else None
        return path if os.path.exists(path) else None

    def known_bad(self, located: Located, root: Path) -> dict[str, str]:
        """Reason by path: what the ingested copy calls damaged, or the manifest bad or hung if it is still the same."""
        damaged = self._storage.damaged if self._storage else {}
        entries = manifest.read(self._manifest(root))
        bad = {
            key: entry
            for key, entry in entries.items()
            if entry.status in ("bad", "hung")
        }
        found = {str(clip.path): f"bad: {damaged[key]}" for clip in located.clips
                 if (key := located.keys[str(clip.path)]) in damaged}  # fmt: skip
        return found | {
            str(clip.path): f"{entry.status}: {entry.reason}"
            for clip in located.clips
            if (entry := bad.get(located.keys[str(clip.path)]))
            and manifest.describes(entry, _file(clip))
        }

    def note_hung(self, path: str, located: Located, root: Path) -> Path:
        """Write into the manifest that the clip read from ``path`` hung, so that the next run does not try it."""
        file = next(_file(clip) for clip in located.clips if str(clip.path) == path)
        reason = f"no answer in {self.deadline:g} s while training"
        entry = manifest.Entry(located.keys[path], "hung", reason, manifest.stamp(file))
        manifest.append(self._manifest(root), entry)
        return self._manifest(root)

    @cached_property
    def _storage(self) -> Storage | None:
        """Read once for all splits: the index of a large data set takes a second."""
        return Storage(self.ingested) if self.ingested else None

    def _manifest(self, root: Path) -> Path:
        return Path(self.manifest) if self.manifest else root / manifest.NAME


def _file(clip: Clip) -> Path:
    return clip.path.path if isinstance(clip.path, Source) else clip.path


def _on_disk(clips: Sequence[Clip], folders: Folders) -> list[bool]:
    """Each folder is read once: to ask for a hundred thousand files one by one takes minutes on a network disk."""
    names = {
        folder: folders.names(folder)
        for folder in {_file(clip).parent for clip in clips}
    }
    return [_file(clip).name in names[_file(clip).parent] for clip in clips]


def _listed(absent: Sequence[str], count: int, split: str) -> str:
    if not absent:
        return ""
    first = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    return (
        f"{len(absent)} of the {count} videos of the {split} split are missing: {first}"
    )
