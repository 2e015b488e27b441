"""Build the readers and the head of a member, and leave the shared trunk as it was."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from lightning_petl.adapters import Adapter, attach
from lightning_petl.backbones.readers import Readers
from lightning_petl.backbones.readout import (
    Readout,
    feature_width,
    frame_pooling,
    require,
)
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.tasks.bank.member import Member


class MemberModules(NamedTuple):
    """Hold what trains of a member."""

    readers: Readers
    head: nn.Module
    readout: Readout
    """How the trunk's own feature is read where there are no readers."""


def build_modules(
    vit: VideoViT, name: str, member: Member, classes: int
) -> MemberModules:
    """Build what trains of a member, from the random state in which a run of the member's own would build it.

    Args:
        vit: the trunk; it is as before when this returns.
        name: of the member, for messages.
        member: its recipe.
        classes: number of classes.

    Raises:
        ValueError: a method changes the trunk, a read-out that the trunk lacks or that its readers replace, or what
            :func:`~lightning_petl.adapters.attach` raises.
    """
    readout = member.readout or vit.readout
    with torch.random.fork_rng([]):
        if member.seed is not None:
            torch.default_generator.manual_seed(member.seed)
        readers = _build_readers(vit, name, member.adapters)
        built = readers.all()
        if member.readout is not None:
            _require_readout(vit, name, readout, readers)
        width = built[0].feature_dim if built else feature_width(readout, vit)
        # behind the readers, as in a VideoClassifier: the head draws what they leave
        head = member.head.build(width, classes)
    return MemberModules(readers, head, readout)


def _require_readout(
    vit: VideoViT, name: str, readout: Readout, readers: Readers
) -> None:
    if len(readers) > 0:
        raise ValueError(
            f"member {name}: readout {readout!r} reads the trunk, and {', '.join(readers)} answers in its place: leave "
            "one of the two out"
        )
    pooled = frame_pooling(readout, vit) == "map"
    if pooled and vit.attn_pool is None and vit.pooling == "map":
        raise ValueError(
            f"member {name}: readout {readout!r} needs the attention pool, which a trunk keeps only where its own "
            "readout is map: set model.backbone.readout to map"
        )
    require(readout, vit.cls_token is not None, vit.attn_pool is not None)


def _build_readers(
    vit: VideoViT, name: str, adapters: Sequence[Adapter]
) -> Readers:
    """Return the readers that methods hang beside the trunk, and take them off it again.

    A method builds its modules where it attaches them, for it asks the trunk for widths and blocks. The other members
    share the trunk, so all else that a method may do to it is refused::

        before              attach              after
        trunk               trunk + readers     trunk            readers
    """
    before = _modules_without_readers(vit)
    attach(vit, adapters)
    changing = _owners_in_trunk(vit)
    if changing or _modules_without_readers(vit) != before:
        found = sorted(changing) or [adapter.name for adapter in adapters]
        raise ValueError(
            f"member {name}: {', '.join(found)} changes the trunk, whose one pass all members of a bank share; only "
            "readers may stand here (side networks and probes): train it in a run of its own"
        )
    readers = vit.readers
    vit.readers = Readers()
    vit.owners.clear()
    return readers


def _owners_in_trunk(vit: VideoViT) -> set[str]:
    found = set[str]()
    for parameter, owner in vit.owners.items():
        if not parameter.startswith("readers."):
            found.add(owner)
    return found


def _modules_without_readers(vit: VideoViT) -> list[int]:
    # by identity: a method may put another module in the place of one of the same name
    found: list[int] = []
    for name, module in vit.named_modules():
        if not name.startswith("readers"):
            found.append(id(module))
    return found
