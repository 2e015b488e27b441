"""Find the files of a data set: where they lie, which are missing, and which are known to be bad."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from data_modules.sample import Clip
from data_modules.storage import manifest
from data_modules.storage.folders import Folders
from data_modules.storage.ingested import IngestedCopy
from data_modules.video.source import Source


class Located(NamedTuple):
    """Hold the clips that are there.

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
    """Say what is done about files that are not as the annotation promises, and where their copies are.

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
        return Folders(root, lambda: tuple(self._copy or ()))

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
        there = self._there(clips, keys, folders or Folders(root))
        found: list[Clip] = []
        found_keys: list[str] = []
        absent: list[str] = []
        for clip, key, is_there in zip(clips, keys, there, strict=True):
            if is_there:
                found.append(clip)
                found_keys.append(key)
            else:
                absent.append(str(clip.path))
        sentence = self._absent(absent, len(clips), split)
        copy = self._copy
        if copy:
            copy.require_originals(
                dict(zip(found_keys, map(_file, found), strict=True))
            )
        located: list[Clip] = []
        key_of: dict[str, str] = {}
        for clip, key in zip(found, found_keys, strict=True):
            if copy:
                clip = clip._replace(path=copy.source(key))
            located.append(clip)
            key_of[str(clip.path)] = key
        return Located(located, key_of, sentence)

    def _there(
        self, clips: Sequence[Clip], keys: Sequence[str], folders: Folders
    ) -> list[bool]:
        """Tell of each clip whether it is in the ingested copy, or on disk where there is no copy."""
        copy = self._copy
        if not copy:
            return _on_disk(clips, folders)
        there = [key in copy for key in keys]
        if keys and not any(there):
            copy.source(keys[0])  # raises: it is the copy of another data set
        return there

    def _absent(self, absent: Sequence[str], count: int, split: str) -> str:
        """Return a sentence on the videos that are missing; empty where none is.

        Raises:
            FileNotFoundError: they may not be left out, or nothing else is there.
        """
        if not absent:
            return ""
        first = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        sentence = f"{len(absent)} of the {count} videos of the {split} split are missing: {first}"
        is_all = len(absent) == count
        if self.missing == "leave_out" and not is_all:
            return f"{sentence}; they are left out"
        way_out = "" if is_all else "; files.missing=leave_out goes on without them"
        raise FileNotFoundError(
            f"{sentence}; `lightning-petl data index` lists them all{way_out}"
        )

    def place(self, path: Path, root: Path) -> Path | Source | None:
        """Return where one video is read: in the ingested copy or on disk; None where it is not there."""
        if copy := self._copy:
            key = manifest.key(path, root)
            return copy.source(key) if key in copy else None
        return path if os.path.exists(path) else None

    def known_bad(self, located: Located, root: Path) -> dict[str, str]:
        """Return reason by path: what the ingested copy calls damaged, or the manifest bad or hung if it still is so.

        Args:
            located: the clips.
            root: of the data set, where the manifest lies.
        """
        damaged = self._copy.damaged if self._copy else {}
        entries = manifest.read(self._manifest(root))
        found: dict[str, str] = {}
        for clip in located.clips:
            path = str(clip.path)
            key = located.keys[path]
            if key in damaged:
                found[path] = f"bad: {damaged[key]}"
        # The manifest goes last: of a file that hung it says more.
        for clip in located.clips:
            path = str(clip.path)
            entry = entries.get(located.keys[path])
            if entry is None or entry.status not in ("bad", "hung"):
                continue
            if manifest.describes(entry, _file(clip)):
                found[path] = f"{entry.status}: {entry.reason}"
        return found

    def manifest_hash(self, located: Located, root: Path) -> str | None:
        """Return a SHA-256 of what the manifest says of the clips; None where it knows none of them.

        It is of their names, sizes, states and samples. Times are left out, because a copy has others.
        """
        entries = manifest.read(self._manifest(root))
        lines: list[list[object]] = []
        for clip in located.clips:
            entry = entries.get(located.keys[str(clip.path)])
            if entry is not None:
                size = entry.stamp and entry.stamp.size
                sample = entry.stamp and entry.stamp.sample
                lines.append([entry.path, entry.status, size, sample])
        if not lines:
            return None
        text = json.dumps(lines).encode("utf-8", "surrogateescape")
        return hashlib.sha256(text).hexdigest()

    def note_hung(self, path: str, located: Located, root: Path) -> Path:
        """Write into the manifest that the clip read from ``path`` hung, so that the next run does not try it."""
        file = next(_file(clip) for clip in located.clips if str(clip.path) == path)
        reason = f"no answer in {self.deadline:g} s while training"
        entry = manifest.ManifestEntry(
            located.keys[path], "hung", reason, manifest.stamp(file)
        )
        manifest.append(self._manifest(root), entry)
        return self._manifest(root)

    @cached_property
    def _copy(self) -> IngestedCopy | None:
        # Read once for all splits: the index of a large data set takes a second.
        return IngestedCopy(self.ingested) if self.ingested else None

    def _manifest(self, root: Path) -> Path:
        return Path(self.manifest) if self.manifest else root / manifest.NAME


def _file(clip: Clip) -> Path:
    return clip.path.path if isinstance(clip.path, Source) else clip.path


def _on_disk(clips: Sequence[Clip], folders: Folders) -> list[bool]:
    """Tell of each clip whether it is on disk."""
    files = list(map(_file, clips))
    # Each folder is read once: to ask for a hundred thousand files one by one takes minutes on a network disk.
    names: dict[Path, frozenset[str]] = {}
    for file in files:
        if file.parent not in names:
            names[file.parent] = folders.names(file.parent)
    return [file.name in names[file.parent] for file in files]
