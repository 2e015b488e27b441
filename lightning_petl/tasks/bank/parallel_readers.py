"""Many readers behind one pass of the trunk, each with random numbers of its own."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_petl.backbones.readout import READOUTS
from lightning_petl.backbones.vit import Reader, VideoViT
from lightning_petl.shapes import Feature, Grid, Tokens

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
    """What is known while the trunk runs: the state of each reader, the trunk's own feature, where its patches sit."""

    states: States
    feature: Feature | None
    grid: Grid
    device: torch.device


class ParallelReaders(nn.Module):
    """The readers of several members as one reader, whose feature is theirs, side by side.

    A member without readers gets the feature of the trunk's own read-out; of several readers, their mean.

    Args:
        vit: the trunk.
        members: readers of each member by name, none for the trunk's own feature.
    """

    def __init__(self, vit: VideoViT, members: Sequence[nn.ModuleDict]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.streams = [Stream() for _ in members]
        # not a module of this one: the trunk owns this reader, and a circle would have no end
        self.own: Callable[[Tokens, Grid], Feature] = partial(
            READOUTS[vit.readout], vit
        )
        self.last = str(vit.depth - 1)
        self.bare = all(len(member) == 0 for member in members)
        self.widths = [
            readers[0].feature_dim if (readers := _readers(member)) else vit.dim
            for member in members
        ]
        self.feature_dim = sum(self.widths)
        tapped = {
            index
            for member in members
            for reader in _readers(member)
            for index in reader.taps
        }
        own = {self.last} if any(len(member) == 0 for member in members) else set[str]()
        self.taps: Mapping[str, Callable[[Tokens, Passing], Passing]] = {
            index: partial(self._tap, index) for index in tapped | own
        }

    @property
    def reads_pixels(self) -> bool:
        """Whether any reader needs the frames beside the tapped tokens."""
        return any(
            getattr(reader, "reads_pixels", True)
            for member in self.members
            for reader in _readers(member)
        )

    @property
    def unreachable(self) -> set[str]:
        """What the readers say is dead in them."""
        return {
            f"members.{number}.{key}.{name}"
            for number, member in enumerate(self.members)
            for key, reader in member.named_children()
            for name in getattr(reader, "unreachable", ())
        }

    def of_each(self, features: Feature) -> Sequence[Float[Tensor, "b _"]]:
        """Each member's part of what the trunk with this reader answers; of the bare trunk, all of it for each."""
        return (
            [features] * len(self.widths)
            if self.bare
            else features.split(self.widths, dim=1)
        )

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> Passing:
        """The first state of every reader."""
        states: States = []
        for member, stream in zip(self.members, self.streams, strict=True):
            with stream.drawing(video.device):
                states.append(
                    [reader.begin(video, grid) for reader in _readers(member)]
                )
        return Passing(states, None, grid, video.device)

    def _tap(self, index: str, x: Tokens, passing: Passing) -> Passing:
        for member, stream, states in zip(
            self.members, self.streams, passing.states, strict=True
        ):
            for k, reader in enumerate(_readers(member)):
                if index in reader.taps:
                    with stream.drawing(x.device):
                        states[k] = reader.taps[index](x, states[k])
        lacking = index == self.last and any(not states for states in passing.states)
        return (
            passing._replace(feature=self.own(x, passing.grid)) if lacking else passing
        )

    def end(self, passing: Passing) -> Feature:
        """The members' features, one behind the other."""
        features: list[Feature] = []
        for member, stream, states in zip(
            self.members, self.streams, passing.states, strict=True
        ):
            if not states:
                assert passing.feature is not None
                features.append(passing.feature.float())
                continue
            with stream.drawing(passing.device):
                ends = [
                    reader.end(state)
                    for reader, state in zip(_readers(member), states, strict=True)
                ]
            features.append(torch.stack(ends).mean(0).float())
        return torch.cat(features, dim=1)


def _readers(member: nn.Module) -> list[Reader]:
    return cast(list[Reader], list(member.children()))


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
