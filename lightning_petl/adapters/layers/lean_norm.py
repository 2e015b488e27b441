"""Norms that keep one tensor for the backward pass, and leave their affine part to the linear layer behind them.

PyTorch's norms keep their input in float32, and the layer behind them its own half-precision copy of the output.
With ``x̂ = (x - mean) / std`` and ``y = gamma x̂ + beta`` the backward pass needs ``x̂`` alone, for

    W y + b = (W gamma) x̂ + (W beta + b)        and        dx = (g - mean(g) - x̂ mean(g x̂)) / std

where g is the gradient of x̂. So x̂ is kept once, in the precision of the computation, and the gradients are exact.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

NormKind = Literal["batch", "sync", "group"]
FrameTokens = Float[Tensor, "b t n d"]


class Normed(NamedTuple):
    """Hold the answer of a norm, ``weight * tokens + bias``, whose affine part the next layer computes.

    Without ``weight`` and ``bias`` it is in the tokens already.
    """

    tokens: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None


class LeanNormLinear(nn.Linear):
    """Compute ``W x + b`` of tokens, or of a norm's answer, whose affine part it takes over.

    Only the standardized tokens are kept for the backward pass, not the norm's output beside them.
    """

    @override
    def forward(self, input: Tensor | Normed) -> Float[Tensor, "*batch o"]:
        if isinstance(input, Tensor):
            return super().forward(input)
        tokens, gamma, beta = input
        if gamma is None or beta is None:
            return super().forward(tokens)
        shift = (self.weight * beta).sum(-1)
        return F.linear(tokens, self.weight * gamma, self.bias + shift)


class Norm(nn.Module, ABC):
    """Compute ``gamma (x - mean) / sqrt(var + eps) + beta``; one gamma (init 1) and beta (init 0) a channel.

    Args:
        width: channels.
        save_memory: keep the standardized tokens alone; else what PyTorch's norms keep.
    """

    eps = 1e-5

    def __init__(self, width: int, *, save_memory: bool) -> None:
        super().__init__()
        self.save_memory = save_memory
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    @abstractmethod
    def standardize(self, x: FrameTokens) -> FrameTokens:
        """Return ``(x - mean) / sqrt(var + eps)`` in the precision of the computation."""

    @abstractmethod
    def reference(self, x: FrameTokens) -> FrameTokens:
        """Return the same norm, affine part included, as PyTorch computes it."""

    def forward(self, x: FrameTokens) -> FrameTokens:
        if self.save_memory:
            return self.standardize(x) * self.weight + self.bias
        return self.reference(x)

    def split(self, x: FrameTokens) -> Normed:
        """Return the answer for a :class:`LeanNormLinear`, which takes over the affine part."""
        if self.save_memory:
            return Normed(self.standardize(x), self.weight, self.bias)
        return Normed(self.reference(x))


class LayerNorm(Norm):
    """Norm each token by its own mean and variance."""

    @override
    def standardize(self, x: FrameTokens) -> FrameTokens:
        return standardize(x, (-1,), self.eps)

    @override
    def reference(self, x: FrameTokens) -> FrameTokens:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class GroupNorm(Norm):
    """Norm 32 groups of channels by their statistics over all frames and patches of a clip: clips never meet."""

    groups = 32

    @override
    def standardize(self, x: FrameTokens) -> FrameTokens:
        grouped = rearrange(x, "b t n (g c) -> b t n g c", g=self.groups)
        return standardize(grouped, (1, 2, 4), self.eps).flatten(-2)

    @override
    def reference(self, x: FrameTokens) -> FrameTokens:
        return F.group_norm(
            x.movedim(-1, 1), self.groups, self.weight, self.bias, self.eps
        ).movedim(1, -1)


class BatchNorm(Norm):
    """Norm each channel by its statistics over all tokens of the batch; in eval by running averages (momentum 0.1).

    Args:
        width: channels.
        save_memory: as :class:`Norm`; ``sync`` has no other way.
        sync: statistics over the batches of all processes.
    """

    momentum = 0.1
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, width: int, *, save_memory: bool, sync: bool = False
    ) -> None:
        super().__init__(width, save_memory=save_memory or sync)
        self.sync = sync
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    @override
    def standardize(self, x: FrameTokens) -> FrameTokens:
        if not self.training:
            return _half(
                (x - self.running_mean) * (self.running_var + self.eps).rsqrt()
            )
        mean, var, count = moments(x, (0, 1, 2), sync=self.sync)
        with torch.no_grad():
            # as PyTorch: the running variance is the unbiased one
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(
                var.flatten() * count / (count - 1), self.momentum
            )
        return standardize(x, (0, 1, 2), self.eps, (mean, var), sync=self.sync)

    @override
    def reference(self, x: FrameTokens) -> FrameTokens:
        y = F.batch_norm(
            x.movedim(-1, 1),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return y.movedim(1, -1)


def channel_norm(kind: NormKind, width: int, *, save_memory: bool) -> Norm:
    """Return a BatchNorm of one process (``batch``) or of all (``sync``), or a GroupNorm."""
    if kind == "group":
        return GroupNorm(width, save_memory=save_memory)
    return BatchNorm(width, save_memory=save_memory, sync=kind == "sync")


def standardize(
    x: Tensor,
    dims: Sequence[int],
    eps: float,
    statistics: tuple[Tensor, Tensor] | None = None,
    *,
    sync: bool = False,
) -> Tensor:
    """Return ``(x - mean) / sqrt(var + eps)`` over ``dims``, keeping the result alone for the backward pass.

    The gradient goes through the statistics too.

    Args:
        x: any shape.
        dims: axes of the statistics.
        eps: added to the variance.
        statistics: mean and variance of :func:`moments`, if they are known already.
        sync: the statistics are those of all processes.
    """
    mean, var = statistics or moments(x, dims, sync=sync)[:2]
    return cast(
        Tensor, _Standardize.apply(x, mean, (var + eps).rsqrt(), tuple(dims), sync)
    )


@torch.no_grad()
def moments(
    x: Tensor, dims: Sequence[int], *, sync: bool = False
) -> tuple[Tensor, Tensor, Tensor | int]:
    """Return mean, biased variance and count of the entries over ``dims``, in float32 at least."""
    x = _wide(x)
    # in two passes: the mean of squares less the squared mean loses digits
    mean, count = _mean(x, dims, sync)
    return mean, _mean((x - mean).square(), dims, sync)[0], count


class _Standardize(torch.autograd.Function):
    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, scale: Tensor, dims: tuple[int, ...], sync: bool
    ) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _half((_wide(x) - mean) * scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, _, scale, ctx.dims, ctx.sync = inputs
        ctx.dtype = x.dtype
        # the output and not the input: the next layer keeps the output anyway
        ctx.save_for_backward(output, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        output, scale = ctx.saved_tensors
        x = _wide(output)
        g = _wide(gradient)
        shift, _ = _mean(g, ctx.dims, ctx.sync)
        slope, _ = _mean(g * x, ctx.dims, ctx.sync)
        return (
            (scale * (g - shift - x * slope)).to(ctx.dtype),
            None,
            None,
            None,
            None,
        )


def _mean(
    x: Tensor, dims: Sequence[int], sync: bool
) -> tuple[Tensor, Tensor | int]:
    """Return mean and count over ``dims``, of all processes if they share statistics."""
    total = x.sum(list(dims), keepdim=True)
    count = x.numel() // total.numel()
    if not (sync and dist.is_available() and dist.is_initialized()):
        return total / count, count
    # one message for both
    both = torch.cat([total.flatten(), total.new_full((1,), count)])
    dist.all_reduce(both)
    return both[:-1].view_as(total) / both[-1], both[-1]


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _half(x: Tensor) -> Tensor:
    """Return x in the precision that the next linear layer computes in."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if _autocast(device) else x


def _autocast(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(
        device
    )
