"""Trained parameters that no answer depends on: they get no gradient, and guards must not wait for one."""

from collections.abc import Iterable, Iterator

from torch import nn

from lightning_petl.backbones.block import (
    IN_FRONT_OF_ATTENTION,
    SLOTS,
    AdaptedBlock,
    SlotModule,
)
from lightning_petl.backbones.readout import frame_pooling
from lightning_petl.backbones.vit import VideoViT


def unreachable(vit: VideoViT) -> set[str]:
    """Return the names of trained parameters without any path to what ``vit(clip)`` gives.

    Beside readers: all behind the last tap, and what a reader says is dead in itself. Without readers: what changes
    patches alone where no attention carries them to the class token any more, if that is what is read.
    """
    if len(vit.readers) == 0:
        return _trained(vit, _beside_the_readout(vit))
    return _trained(vit, _dead_in_readers(vit)) | _trained(
        vit, _behind_last_tap(vit)
    )


def unreachable_from_frames(vit: VideoViT) -> set[str]:
    """Return the same for what ``vit.frames(video)`` gives: the trunk is read beside its readers."""
    dead = _trained(vit, _dead_in_readers(vit))
    if vit.depth - 1 in vit.readers.tapped:
        return dead
    return dead | _trained(vit, _beside_the_readout(vit))


def _beside_the_readout(vit: VideoViT) -> Iterator[nn.Parameter]:
    """Yield what changes patches alone, behind the last attention of a trunk whose class token is read."""
    # both read patches, so that nothing in the last block is lost
    if frame_pooling(vit.readout, vit) != "cls":
        return
    last = vit.blocks[-1]
    assert isinstance(last, AdaptedBlock)
    for slot in SLOTS:
        if slot == IN_FRONT_OF_ATTENTION:
            continue
        for module in last.slot(slot).values():
            # a method of a user's own may be any module, which may change all tokens
            if isinstance(module, SlotModule) and module.patches_only:
                yield from module.parameters()


def _behind_last_tap(vit: VideoViT) -> Iterator[nn.Parameter]:
    behind = [vit.norm, vit.fc_norm, *vit.blocks[max(vit.readers.tapped) + 1 :]]
    for module in behind:
        yield from module.parameters()
    if vit.attn_pool is not None:
        yield from vit.attn_pool.parameters()


def _dead_in_readers(vit: VideoViT) -> Iterator[nn.Parameter]:
    for reader in vit.readers.all():
        yield from reader.unreachable


def _trained(vit: VideoViT, parameters: Iterable[nn.Parameter]) -> set[str]:
    """Return the names of those that train."""
    # FSDP2 exchanges parameters for shards: compare what is there now
    wanted = {id(parameter) for parameter in parameters}
    names = set[str]()
    for name, parameter in vit.named_parameters():
        if parameter.requires_grad and id(parameter) in wanted:
            names.add(name)
    return names
