"""Many readers behind one pass of the trunk, each with random numbers of its own."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.backbones.readers import Reader, Readers
from lightning_petl.backbones.readout import READOUTS, Readout, feature_width
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Grid, Pixels, Tokens
from lightning_petl.tasks.bank.member_modules import MemberModules

States = list[list[Any]]


class Stream:
    """Random numbers that nobody else draws: inside ``drawing()``, torch's global generators are this stream's.

    Until it is started, draws come from the global generators.
    """

    def __init__(self) -> None:
        self.state: list[Tensor] = []

    def start(self, device: torch.device, seed: int | None = None) -> None:
        """Begin where the global generators stand, or at a seed."""
        with torch.random.fork_rng(_cuda(device)):
            if seed is not None:
                torch.manual_seed(seed)
            self.state = _states(device)

    @contextmanager
    def drawing(self, device: torch.device) -> Generator[None]:
        """Draw from this stream."""
        if not self.state:
            yield
            return
        outside = _states(device)
        _restore(self.state, device)
        try:
            yield
        finally:
            self.state = _states(device)
            _restore(outside, device)


class Passing(NamedTuple):
    """Hold what is known while the trunk runs.

    Attributes:
        states: of the readers of each member.
        features: what each read-out reads of the trunk, as soon as the last block is through.
        grid: where the patches sit.
        device: of the clips.
    """

    states: States
    features: Mapping[Readout, Feature]
    grid: Grid
    device: torch.device


class ParallelReaders(Reader):
    """Run the readers of several members as one reader, whose feature is theirs, side by side.

    A member without readers gets what its read-out reads of the trunk; of several readers, their mean. Three members
    of widths 320, 768 (the trunk's own) and 256 answer 1344 numbers a clip.

    Args:
        vit: the trunk.
        members: what was built of each member.

    Raises:
        ValueError: a reader answers several vectors a clip.
    """

    def __init__(self, vit: VideoViT, members: Sequence[MemberModules]) -> None:
        super().__init__()
        self.members = nn.ModuleList([built.readers for built in members])
        self.readouts: list[Readout] = [built.readout for built in members]
        self.streams = [Stream() for _ in members]
        self.last = vit.depth - 1
        self.reads_pixels = any(member.reads_pixels for member in self._members)
        self.own: dict[Readout, Callable[[Tokens, Grid], Feature]] = {}
        self.widths: list[int] = []
        tapped = set[int]()
        for member, readout in zip(self._members, self.readouts, strict=True):
            self.widths.append(_width(vit, member, readout))
            if len(member) > 0:
                tapped |= member.tapped
                continue
            tapped.add(self.last)
            # a bound function and no module: the trunk owns this reader, and a circle would have no end
            self.own[readout] = partial(READOUTS[readout], vit)
        bare = all(len(member) == 0 for member in self._members)
        # a cache keeps the feature of the trunk's own read-out alone
        self.bare = bare and set(self.own) == {vit.readout}
        self.feature_dim = sum(self.widths)
        self.taps = {str(index): partial(self._tap, index) for index in tapped}

    @property
    def unreachable(self) -> Iterator[nn.Parameter]:
        """Yield what the readers say is dead in them."""
        for member in self._members:
            for reader in member.all():
                yield from reader.unreachable

    @property
    def _members(self) -> list[Readers]:
        return cast(list[Readers], list(self.members))

    def of_each(self, features: Feature) -> Sequence[Float[Tensor, "b _"]]:
        """Return each member's part of what the trunk with this reader answers; of the bare trunk, all for each."""
        if self.bare:
            return [features] * len(self.widths)
        return features.split(self.widths, dim=1)

    def begin(self, video: Pixels, grid: Grid) -> Passing:
        """Return the first state of every reader."""
        states: States = []
        for member, stream in zip(self._members, self.streams, strict=True):
            with stream.drawing(video.device):
                states.append(member.begin(video, grid))
        return Passing(states, {}, grid, video.device)

    def _tap(self, index: int, x: Tokens, passing: Passing) -> Passing:
        streams = zip(self._members, self.streams, passing.states, strict=True)
        for member, stream, states in streams:
            # to restore the generators costs more than to look whether anything is tapped
            if index in member.tapped:
                with stream.drawing(x.device):
                    member.read(index, x, states)
        if index < self.last:
            return passing
        features: dict[Readout, Feature] = {}
        for readout, read in self.own.items():
            features[readout] = read(x, passing.grid)
        return passing._replace(features=features)

    def end(self, state: Passing) -> Feature:
        """Return the members' features, one behind the other."""
        features: list[Feature] = []
        streams = zip(
            self._members, self.readouts, self.streams, state.states, strict=True
        )
        for member, readout, stream, states in streams:
            if not states:
                features.append(state.features[readout].float())
                continue
            with stream.drawing(state.device):
                features.append(member.end(states))
        return torch.cat(features, dim=1)


def _width(vit: VideoViT, member: Readers, readout: Readout) -> int:
    """Return the width of a member's feature.

    Raises:
        ValueError: a reader answers several vectors a clip.
    """
    readers = member.all()
    if not readers:
        return feature_width(readout, vit)
    if readers[0].queries is not None:
        raise ValueError(
            f"{', '.join(member)} answers {readers[0].queries} vectors a clip; "
            "members of a bank answer one"
        )
    return readers[0].feature_dim


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _states(device: torch.device) -> list[Tensor]:
    return [
        torch.get_rng_state(),
        *(torch.cuda.get_rng_state(cuda) for cuda in _cuda(device)),
    ]


def _restore(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for cuda, state in zip(_cuda(device), states[1:], strict=True):
        torch.cuda.set_rng_state(state, cuda)
