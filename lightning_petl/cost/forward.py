"""Count the operations of a trunk's pass over one clip."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lightning_petl.backbones.vit import VideoViT


def operations_of_clip(vit: VideoViT) -> int:
    """Return the multiply-accumulates of a trunk, its methods and its readers for one clip; no head is counted.

    Every matrix product, convolution and attention that torch runs is counted, whatever a paper's formula says; sums,
    norms and activations are not.

    Args:
        vit: on the meta device, in float32. It is in evaluation afterwards, and nothing of it trains.
    """
    height, width = vit.image_size
    shape = (1, vit.grid.frames, 3, height, width)
    video = torch.zeros(shape, device="meta")
    vit.eval()
    # torch 2.13's counter hangs hooks on what trains, which fail under no_grad
    vit.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # frames and not features: a trunk of a retrieval model may have no clip feature
        vit.frames(video) if vit.joint is not None else vit.features(video)
    # the counter takes a multiply-accumulate for two operations
    return counter.get_total_flops() // 2
