"""Bytes that a clip keeps for the backward pass, the time of a step, and what a GPU allocates."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.benchmarks.memory.methods import Trunk
from lightning_petl.adapters import Adapter, attach
from lightning_petl.backbones import VideoViT
from lightning_petl.cost.saved_memory import Saved, saved_bytes_per_clip

CLASSES = 174
WARM_STEPS, TIMED_STEPS = 3, 20


class Device(NamedTuple):
    """A training step on a GPU: bytes, and clips a second."""

    weights: int
    gradients_and_optimiser: int
    peak: int
    reserved: int
    clips_per_second: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights, gradients and moments, what remains of the peak, the peak, and what was reserved for it."""
        held = self.weights + self.gradients_and_optimiser
        return (
            self.weights,
            self.gradients_and_optimiser,
            self.peak - held,
            self.peak,
            self.reserved,
        )


class Classifier(nn.Module):
    """Trunk, method and a linear head, in training mode."""

    def __init__(
        self, trunk: Trunk, adapter: Adapter, *, frozen_dtype: str = "float32"
    ) -> None:
        super().__init__()
        options = {
            "image_size": trunk.image_size,
            "depth": trunk.depth,
            "num_frames": trunk.num_frames,
        }
        self.backbone = VideoViT(
            trunk.name, weights="random", frozen_dtype=frozen_dtype, **options
        )
        attach(self.backbone, [adapter])
        self.head = nn.Linear(self.backbone.feature_dim, CLASSES)
        self.train()

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(self.backbone(clip))

    @property
    def recomputed(self) -> list[nn.Module]:
        """What is called in checkpointed regions."""
        return [
            module
            for reader in self.backbone.readers.all()
            for module in reader.recomputed
        ]

    @property
    def trained(self) -> list[nn.Parameter]:
        """What the optimizer holds."""
        return [
            parameter for parameter in self.parameters() if parameter.requires_grad
        ]


def trained_parameters(trunk: Trunk, adapter: Adapter) -> int:
    """With a head of 174 classes."""
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in Classifier(trunk, adapter).trained
        )


def counted(trunk: Trunk, adapter: Adapter, *, half: bool) -> Saved:
    """Saved bytes a clip, on tensors that have a shape and no memory; ``half``: bfloat16 autocast."""
    with torch.device("meta"):
        model = Classifier(trunk, adapter)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        return _saved(model, trunk, half)


def counted_on_real_tensors(trunk: Trunk, adapter: Adapter, *, half: bool) -> Saved:
    """The same, while the forward pass is computed."""
    return _saved(Classifier(trunk, adapter), trunk, half)


def _saved(model: Classifier, trunk: Trunk, half: bool) -> Saved:
    def run(clips: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return model(_clips(trunk, clips, "cpu"))

    return saved_bytes_per_clip(run, recomputed=model.recomputed)


def step_seconds(trunk: Trunk, adapter: Adapter, steps: int) -> float:
    """CPU seconds a frame of the fastest step: forward, backward and AdamW, two clips of two frames, float32."""
    short = replace(trunk, num_frames=2)
    step = _step(Classifier(short, adapter), short, clips=2, device="cpu")
    return min(_seconds(step, time.process_time) for _ in range(steps)) / 4


def on_device(trunk: Trunk, adapter: Adapter) -> Device | None:
    """A training step on the GPU, trunk stored in bfloat16, under autocast; None: it does not fit."""
    try:
        with torch.device("cuda"):
            model = Classifier(trunk, adapter, frozen_dtype="bfloat16")
        return _steady(model, trunk)
    except torch.OutOfMemoryError:
        return None
    finally:
        torch.cuda.empty_cache()


def _steady(model: Classifier, trunk: Trunk) -> Device:
    step = _step(model, trunk, clips=trunk.device_batch, device="cuda")
    for _ in range(WARM_STEPS):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    seconds = _seconds(
        lambda: ([step() for _ in range(TIMED_STEPS)], torch.cuda.synchronize())
    )
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = sum(
        3 * p.numel() * p.element_size() for p in model.trained
    )  # AdamW has two, and the gradient
    memory = (
        weights,
        moments,
        torch.cuda.max_memory_allocated(),
        torch.cuda.max_memory_reserved(),
    )
    return Device(*memory, TIMED_STEPS * trunk.device_batch / seconds)


def _step(
    model: Classifier, trunk: Trunk, *, clips: int, device: str
) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.trained)
    video, label = (
        _clips(trunk, clips, device),
        torch.arange(clips, device=device) % CLASSES,
    )

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = nn.functional.cross_entropy(model(video), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _clips(trunk: Trunk, clips: int, device: str) -> Tensor:
    shape = (clips, trunk.num_frames, 3, trunk.image_size, trunk.image_size)
    return torch.full(shape, 128, dtype=torch.uint8, device=device)


def _seconds(
    call: Callable[[], object], clock: Callable[[], float] = time.perf_counter
) -> float:
    start = clock()
    call()
    return clock() - start
