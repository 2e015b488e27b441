"""Clips on disk to samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch.utils.data import Dataset

from data_modules.loading.views import View
from data_modules.loading.watchdog import Watchdog
from data_modules.sample import PADDING, Clip, OnFault, Sample, Unrendered
from data_modules.sampling.randomness import keyed_generator
from data_modules.sampling.schemes import Length
from data_modules.transforms.look import Look
from data_modules.video.color import black, to_rgb
from data_modules.video.decode import open_video

_STAND_INS = 20  # clips tried in the place of a bad one; that all of them are bad means that something else is


@dataclass(frozen=True)
class FaultPolicy:
    """What to do about a video that cannot be read, after one more try by plain sequential decoding.

    Args:
        on_fault: ``replace`` it by a clip chosen from (seed, epoch, clip id), ``stop``, or ``count_wrong``: give zeros
            and say so.
        known: reason by path, for files that are known to be bad; they are not tried.
    """

    on_fault: OnFault = "stop"
    known: Mapping[str, str] = field(default_factory=dict[str, str])


class VideoDataset(Dataset[Sample]):
    """Samples by (epoch, index). A plain index is epoch 0: evaluation has no epochs.

    Args:
        clips: what there is.
        view: what is seen of a video.
        seed: with the epoch and the clip's name the key of all that is drawn for a sample.
        policy: what to do about bad files.
        mirrored: class -> class of the mirror image, for clips that are flipped.
        on_device: leave colour conversion, cropping and all that follows to the training device.
        reading: where workers note the file that they read.
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
        reading: Watchdog | None = None,
    ) -> None:
        self._clips, self._view, self._seed, self._policy = clips, view, seed, policy
        self._mirrored, self._on_device, self._reading = (
            mirrored or {},
            on_device,
            reading or Watchdog(0, math.inf),
        )

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._clips)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        """Read one sample; :data:`~data_modules.sample.PADDING` reads nothing.

        Raises:
            ValueError, FileNotFoundError: of :func:`data_modules.video.decode.open_video`, where the policy says so.
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
        stands_in = (
            self._stand_in if self._policy.on_fault == "replace" else self._blank
        )
        return stands_in(clip, epoch)._replace(fault=fault)

    def _sample(self, clip: Clip, epoch: int, name: str) -> Sample:
        if str(clip.path) in self._policy.known:
            raise ValueError(f"{clip.path}: {self._policy.known[str(clip.path)]}")
        with self._reading.file(str(clip.path)):
            try:
                return self._read(clip, epoch, name, sequential=False)
            except ValueError:
                return self._read(clip, epoch, name, sequential=True)

    def _read(self, clip: Clip, epoch: int, name: str, *, sequential: bool) -> Sample:
        generator = keyed_generator(self._seed, epoch, name)
        with open_video(clip.path, sequential=sequential) as video:
            indices = self._view.indices(Length(video.num_frames, video.fps), generator)
            if self._view.sampling.in_seconds:
                indices = video.at_ticks(indices)
            look = self._view.look(video.height, video.width, generator)
            if self._on_device:
                seen = Unrendered(video.planes(indices, look.box), look)
            else:
                seen = look(video.frames(indices, look.box).pixels)
        return Sample(
            seen, self._labels(clip, look), clip.clip_id, epoch, captions=clip.captions
        )

    def _labels(self, clip: Clip, look: Look) -> tuple[int, ...]:
        return tuple(
            self._mirrored.get(clip.label, clip.label) if flip else clip.label
            for flip in look.flipped
        )

    def _stand_in(self, clip: Clip, epoch: int) -> Sample:
        """The first readable one of clips drawn from (seed, epoch, clip id)."""
        generator, reason = (
            keyed_generator(self._seed, epoch, f"stand-in for {clip.clip_id}"),
            "",
        )
        for index in generator.integers(len(self._clips), size=_STAND_INS):
            try:
                return self._sample(
                    self._clips[index],
                    epoch,
                    f"{self._clips[index].clip_id} for {clip.clip_id}",
                )
            except (ValueError, FileNotFoundError) as error:
                reason = str(error)
        raise ValueError(
            f"{clip.path}: cannot be read, nor can any of {_STAND_INS} others; the last: {reason}"
        )

    def _blank(self, clip: Clip, epoch: int) -> Sample:
        """Black views of the right shape."""
        size, generator = self._view.size, np.random.default_rng(0)
        planes = black(len(self._view.indices(Length(1, 1.0), generator)), size)
        look = self._view.look(size, size, generator)
        seen = Unrendered(planes, look) if self._on_device else look(to_rgb(planes))
        return Sample(
            seen, self._labels(clip, look), clip.clip_id, epoch, captions=clip.captions
        )
