"""Count what one view of a clip costs a model that evaluates it, without weights and without memory."""

from typing import cast

import torch
from torch import Tensor

from lightning_petl.backbones.readers import Readers
from lightning_petl.cost.simulation import operation_counter, without_memory
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.features import clip_features
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval
from lightning_petl.tasks.task import Task


def view_macs(task: Task) -> dict[str, int]:
    """Return the multiply-accumulates of the forward pass of one view.

    Of a bank they are by member, as if each had the trunk to itself. Any other task has one number, under the empty
    name. Of a retrieval it is the pass of the video; captions are not counted.
    """
    grid = task.backbone.grid
    shape = (1, 1, grid.frames, 3, *task.backbone.image_size)
    with without_memory(task) as copied, torch.no_grad():
        copied.eval()
        # the counter of torch 2.13 fails on a layer that returns its own trained parameter, as idle dropout of prompts
        copied.requires_grad_(False)
        video = torch.zeros(shape, dtype=torch.uint8)
        if isinstance(copied, Bank):
            return _of_members(copied, video)
        return {"": _of_model(copied, video)}


def _of_model(task: Task, video: Tensor) -> int:
    with operation_counter() as counter:
        if isinstance(task, VideoTextRetrieval):
            task.videos(video)
        else:
            task(video)
    return counter.get_total_flops() // 2


def _of_members(bank: Bank, video: Tensor) -> dict[str, int]:
    vit = bank.backbone
    # what was built, and not their recipes: some initial values cannot be drawn without memory
    built = bank.parallel_readers
    found: dict[str, int] = {}
    # a sweep has the same readers and heads many times
    known: dict[str, int] = {}
    for number, (name, member) in enumerate(bank.members.items()):
        key = str((member.adapters, member.readout, member.head))
        if key not in known:
            vit.readers = cast(Readers, built.members[number])
            vit.readout = built.readouts[number]
            with operation_counter() as counter:
                bank.heads[number](clip_features(vit, video)[0])
            known[key] = counter.get_total_flops() // 2
        found[name] = known[key]
    return found
