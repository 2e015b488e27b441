"""Clips on disk to samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch.utils.data import Dataset

from data_modules.loading.views import View
from data_modules.loading.watchdog import Watchdog
from data_modules.sample import (
    PADDING,
    STAND_INS,
    Clip,
    OnFault,
    Sample,
    Unrendered,
)
from data_modules.sampling.randomness import keyed_generator
from data_modules.sampling.schemes import Length
from data_modules.transforms.look import Look
from data_modules.video.color import black, to_rgb
from data_modules.video.decode import open_video


@dataclass(frozen=True)
class FaultPolicy:
    """Say what to do about a video that cannot be read.

    It was read once more before that, by plain sequential decoding.

    Args:
        on_fault: ``replace`` it by a clip chosen from (seed, epoch, clip id), ``stop``,
            or ``count_wrong``: give zeros and say so.
        known: reason by path, for files that are known to be bad; they are not tried.
    """

    on_fault: OnFault = "stop"
    known: Mapping[str, str] = field(default_factory=dict[str, str])


class VideoDataset(Dataset[Sample]):
    """Read samples by (epoch, index).

    A plain index is epoch 0: evaluation has no epochs.

    Args:
        clips: what there is.
        view: what is seen of a video.
        seed: with the epoch and the clip's name the key of all that is drawn for a
            sample.
        policy: what to do about bad files.
        mirrored: class -> class of the mirror image, for clips that are flipped.
        on_device: leave color conversion, cropping and all that follows to the training
            device.
        watchdog: where workers note the file that they read.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        view: View,
        *,
        seed: int = 0,
        policy: FaultPolicy = FaultPolicy(),
        mirrored: Mapping[int, int] | None = None,
        on_device: bool = False,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._clips = clips
        self._view = view
        self._seed = seed
        self._policy = policy
        self._mirrored = mirrored or {}
        self._on_device = on_device
        self._watchdog = watchdog or Watchdog(0, math.inf)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Read one sample; :data:`~data_modules.sample.PADDING` reads nothing.

        Raises:
            ValueError, FileNotFoundError: of :func:`data_modules.video.decode.open_video`,
                where the policy says so.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if index == PADDING:
            return self._blank(self._clips[0], epoch)._replace(padding=True)
        clip = self._clips[index]
        try:
            return self._sample(clip, epoch, clip.clip_id)
        except (ValueError, FileNotFoundError) as error:
            if self._policy.on_fault == "stop":
                raise
            fault = str(error)
        if self._policy.on_fault == "replace":
            return self._stand_in(clip, epoch)._replace(fault=fault)
        return self._blank(clip, epoch)._replace(fault=fault)

    def _sample(self, clip: Clip, epoch: int, name: str) -> Sample:
        """Read a clip; ``name`` is in the key of what is drawn for it."""
        path = str(clip.path)
        if path in self._policy.known:
            raise ValueError(f"{clip.path}: {self._policy.known[path]}")
        with self._watchdog.file(path):
            try:
                return self._read(clip, epoch, name, sequential=False)
            except (
                ValueError
            ):  # seeking may fail where decoding from the start does not
                return self._read(clip, epoch, name, sequential=True)

    def _read(
        self, clip: Clip, epoch: int, name: str, *, sequential: bool
    ) -> Sample:
        generator = keyed_generator(self._seed, epoch, name)
        with open_video(clip.path, sequential=sequential) as video:
            indices = self._view.indices(
                Length(video.num_frames, video.fps), generator
            )
            if self._view.sampling.in_seconds:
                indices = video.at_ticks(indices)
            look = self._view.look(video.height, video.width, generator)
            if self._on_device:
                seen = Unrendered(video.planes(indices, look.box), look)
            else:
                seen = look(video.frames(indices, look.box).pixels)
        labels = self._labels(clip, look)
        return Sample(seen, labels, clip.clip_id, epoch, captions=clip.captions)

    def _labels(self, clip: Clip, look: Look) -> tuple[int, ...]:
        """Return a label for each clip with one of its own, mirrored where it is."""
        mirrored = self._mirrored.get(clip.label, clip.label)
        return tuple(mirrored if flip else clip.label for flip in look.flipped)

    def _stand_in(self, clip: Clip, epoch: int) -> Sample:
        """Return the first readable clip of those drawn from (seed, epoch, clip id)."""
        key = f"stand-in for {clip.clip_id}"
        generator = keyed_generator(self._seed, epoch, key)
        reason = ""
        for index in generator.integers(len(self._clips), size=STAND_INS):
            other = self._clips[index]
            try:
                # of its own name it would be the same sample as at its own place
                return self._sample(
                    other, epoch, f"{other.clip_id} for {clip.clip_id}"
                )
            except (ValueError, FileNotFoundError) as error:
                reason = str(error)
        raise ValueError(
            f"{clip.path}: cannot be read, nor can any of {STAND_INS} others; "
            f"the last: {reason}"
        )

    def _blank(self, clip: Clip, epoch: int) -> Sample:
        """Return black views of the right shape."""
        size = self._view.size
        generator = np.random.default_rng(0)
        num_frames = len(self._view.indices(Length(1, 1.0), generator))
        planes = black(num_frames, size)
        look = self._view.look(size, size, generator)
        seen = Unrendered(planes, look) if self._on_device else look(to_rgb(planes))
        labels = self._labels(clip, look)
        return Sample(seen, labels, clip.clip_id, epoch, captions=clip.captions)
