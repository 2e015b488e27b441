"""Copy one clip: re-encode it so that any of its frames is cheap to reach, and compare it with the original."""

import hashlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from data_modules.storage.content import content_of
from data_modules.storage.copy_index import CopyEntry, CopyStatus
from data_modules.transforms.crops import Box
from data_modules.video.decode import VideoReader, open_video
from data_modules.video.encode import Raster, resized, write_fast_video

_MEMORY = 1 << 28  # bytes of pictures decoded at a time
# Denominators of times: fractions of a second that differ are told apart in floats for hours.
_FINEST = 10**5
_NANO = 10**9  # ticks a second, about as many as an MP4 file can count


class Unfaithful(ValueError):
    """Report that the encoded clip is not what it was made from."""


class Quality(NamedTuple):
    """Describe a clip that was found faithful.

    Attributes:
        num_frames: the same in both.
        seconds: num_frames / fps.
        psnr: of luma, over all frames, against the original at the size of the copy, decibels.
        note: what is odd about the original, see :class:`~data_modules.video.decode.VideoInfo`.
    """

    num_frames: int
    seconds: float
    psnr: float
    note: str = ""


@dataclass(frozen=True)
class Profile:
    """Say how clips are re-encoded.

    Args:
        short_side: pixels to which a larger short side is reduced; a smaller one stays.
        crf: constant rate factor of x264, 0-51: lower is better and larger.
        psnr_floor: decibels below which a copy is not faithful.
    """

    short_side: int = 256
    crf: int = 24
    psnr_floor: float = 33.0

    def __post_init__(self) -> None:
        if self.short_side < 16 or self.short_side % 2:
            raise ValueError(
                "short_side: expected an even number "
                f"from 16 on, pixels; got {self.short_side}"
            )
        if not 0 < self.crf <= 51:
            raise ValueError(
                "crf: expected 1 to 51, where lower "
                f"is better and larger; got {self.crf}"
            )

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return even height and width of the copy, pixels.

        It is never larger than the original, which loses at most a row and a column.
        """
        ratio = min(1.0, self.short_side / min(height, width))
        if ratio == 1:
            return height // 2 * 2, width // 2 * 2
        return _even(height * ratio), _even(width * ratio)


class CopyTask(NamedTuple):
    """Name a clip to copy.

    Attributes:
        name: of the clip, see :func:`data_modules.storage.manifest.key`.
        original: a video file or a folder of frame images.
        folder: below which the copy goes.
        profile: None to leave the bytes as they are, where they are.
    """

    name: str
    original: Path
    folder: Path
    profile: Profile | None


def copy_clip(task: CopyTask) -> CopyEntry:
    """Re-encode a clip, at half the rate factor where it is not faithful; where that fails too, keep its bytes.

    Raises:
        ValueError: frame images that cannot be re-encoded: there are no bytes of a video to keep.
        OSError: the copy cannot be written.
    """
    if task.profile is None:
        return keep(task, "copied", "")
    copy = _encoded(task)
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        quality = _transcode_finer(task, copy, task.profile)
    except Unfaithful as error:
        return keep(task, "kept", _reason(error, task))
    except ValueError as error:
        return keep(task, "damaged", _reason(error, task))
    return _entry(task, copy, "encoded", quality.note, quality)


def _transcode_finer(task: CopyTask, copy: Path, profile: Profile) -> Quality:
    """Re-encode a clip; once more, at half the rate factor, where it is not faithful."""
    try:
        return transcode(task.original, copy, profile)
    except Unfaithful:
        finer = replace(profile, crf=profile.crf // 2 or 1)
        return transcode(task.original, copy, finer)


def _reason(error: ValueError, task: CopyTask) -> str:
    return str(error).removeprefix(f"{task.original}: ")


def keep(task: CopyTask, status: CopyStatus, reason: str) -> CopyEntry:
    """Keep the clip as it is: below the folder of the copy, or where the original is if nothing is to be encoded.

    Raises:
        ValueError: it is a folder of frame images, and could be a video.
    """
    if task.original.is_dir() and status != "damaged":
        raise ValueError(
            f"frame images only become a video by re-encoding. {reason}".strip()
        )
    copy = task.original if task.profile is None else _copied(task)
    quality = Quality(0, 0.0, math.inf)
    if status != "damaged":
        try:
            with open_video(copy) as video:
                seconds = video.num_frames / video.fps
                quality = Quality(video.num_frames, seconds, math.inf)
        except ValueError as error:
            status = "damaged"
            reason = str(error)
    return _entry(task, copy, status, reason, quality)


def _encoded(task: CopyTask) -> Path:
    """Return where the encoded copy goes; a name that is no MP4 file's keeps its suffix, so that no two become one."""
    file = task.name.lstrip("/")
    return task.folder / (file if file.endswith(".mp4") else f"{file}.mp4")


def _copied(task: CopyTask) -> Path:
    encoded = _encoded(task)
    # What a process left that was killed.
    encoded.with_name(f".partial-{encoded.name}").unlink(missing_ok=True)
    copy = task.folder / task.name.lstrip("/")
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f".partial-{copy.name}")
    if task.original.is_dir():
        # Frame images that do not decode: the clip stays in the list, and fails as before.
        partial.touch()
    else:
        shutil.copyfile(task.original, partial)
    return partial.replace(copy)


def _entry(
    task: CopyTask, copy: Path, status: CopyStatus, reason: str, quality: Quality
) -> CopyEntry:
    with copy.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = task.name.lstrip("/")
    if task.profile is not None:
        name = copy.relative_to(task.folder).as_posix()
    return CopyEntry(
        path=task.name,
        file=name,
        start=0,
        size=copy.stat().st_size,
        num_frames=quality.num_frames,
        sha256=digest,
        status=status,
        reason=" ".join(reason.split()),
        psnr=round(quality.psnr, 2),
        source_size=_size(task.original),
        seconds=round(quality.seconds, 3),
        original=content_of(task.original),
    )


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def transcode(original: Path, copy: Path, profile: Profile) -> Quality:
    """Write ``copy``, an MP4 file, upright, of square pixels, without sound, with every frame at its time.

    Frame i is picture i that comes out of a decoder of the whole original, whatever its times say. That is also what
    the copy is compared with, as it will be read.

    Raises:
        Unfaithful: other frames or times, or worse than the profile asks; there is no file then.
        ValueError: the original does not decode, see :func:`data_modules.video.decode.open_video`.
        OSError: the copy cannot be written, which says nothing about the original.
    """
    with open_video(original, sequential=True) as video:
        _write(video, copy, profile)
        # Read back as training will read it, not with the encoder's own pictures.
        try:
            with open_video(copy) as written:
                return _compared(video, written, profile)
        except ValueError:
            copy.unlink(missing_ok=True)
            raise


def _write(video: VideoReader, copy: Path, profile: Profile) -> None:
    end = video.num_frames / video.fps
    ticks, time_base = _ticks([*video.seconds.tolist(), end])
    if ticks[-1] <= ticks[-2]:
        # The stated rate is not that of the frames, and an MP4 file could not state it.
        raise Unfaithful(
            f"its {video.num_frames} frames last "
            f"longer than {video.fps:g} a second would"
        )
    chunks = _chunks(video, profile, _step(video))
    raster, first = next(chunks)
    pictures = chain(first, chain.from_iterable(pictures for _, pictures in chunks))
    write_fast_video(
        copy, pictures, raster, ticks=ticks, time_base=time_base, crf=profile.crf
    )


def _compared(
    video: VideoReader, written: VideoReader, profile: Profile
) -> Quality:
    """Return the quality of the copy.

    Raises:
        Unfaithful: other frames, times or colors, or worse than the profile asks.
    """
    count = video.num_frames
    if written.num_frames != count:
        raise Unfaithful(f"{written.num_frames} of its {count} frames come back")
    late = np.abs(written.seconds - video.seconds).max()
    same_rate = math.isclose(written.fps, video.fps, rel_tol=1e-6)
    if late > 1e-6 or not same_rate:
        raise Unfaithful(
            f"its frames, {video.fps:g} a second, come "
            f"back at other times, {written.fps:g} a second"
        )
    psnr = _psnr(video, written, profile)
    if psnr < profile.psnr_floor:
        raise Unfaithful(
            f"luma within {psnr:.1f} dB, under the floor of "
            f"{profile.psnr_floor:g}; a lower crf may help"
        )
    return Quality(count, count / video.fps, psnr, video.info().note)


def _ticks(instants: list[float]) -> tuple[list[int], Fraction]:
    """Return the instants, seconds, as whole numbers of the longest tick that measures them all; and that tick.

    Example: 0, 0.04 and 0.1 s are 0, 2 and 5 ticks of 1 / 50 s.
    """
    exact = [Fraction(instant).limit_denominator(_FINEST) for instant in instants]
    common = math.lcm(*(instant.denominator for instant in exact))
    tick = Fraction(1, min(common, _NANO))
    return [round(instant / tick) for instant in exact], tick


def _step(video: VideoReader) -> int:
    """Return how many frames to hold at a time."""
    info = video.info()
    return max(16, _MEMORY // (info.height * info.width * 3 // 2))


def _chunks(
    video: VideoReader, profile: Profile, step: int
) -> Iterator[tuple[Raster, UInt8[np.ndarray, "t n"]]]:
    """Yield all frames at the size of the copy, ``step`` at a time."""
    info = video.info()
    box = Box(0, 0, info.height // 2 * 2, info.width // 2 * 2)
    size = profile.size(info.height, info.width)
    for start in range(0, video.num_frames, step):
        end = min(start + step, video.num_frames)
        planes = video.planes(range(start, end), box)
        pictures = resized(
            planes.data.numpy(), planes.height, planes.width, to=size
        )
        yield Raster(*size, planes.matrix, planes.full_range), pictures


def _psnr(video: VideoReader, written: VideoReader, profile: Profile) -> float:
    """Return 10 log10(255^2 / mean squared error) of luma over all frames, decibels.

    Raises:
        Unfaithful: the colors mean something else.
    """
    squares = count = 0.0
    step = _step(video)
    originals = _chunks(video, profile, step)
    copies = _chunks(written, profile, step)
    for (raster, expected), (found_raster, found) in zip(
        originals, copies, strict=True
    ):
        if raster != found_raster:
            raise Unfaithful(f"its pictures, {raster}, come back as {found_raster}")
        luma = raster.height * raster.width
        for one, other in zip(expected[:, :luma], found[:, :luma], strict=True):
            # In int16: a difference of bytes would wrap around.
            error = np.subtract(one, other, dtype=np.int16).astype(np.float32)
            squares += float(np.vdot(error, error))
            count += luma
    return 10 * math.log10(255**2 * count / squares) if squares else math.inf


def _even(pixels: float) -> int:
    return max(2, 2 * round(pixels / 2))
