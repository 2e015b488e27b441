"""A frozen image transformer that reads video frame by frame and knows nothing of methods."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_petl.backbones.block import AdaptedBlock
from lightning_petl.backbones.families import Trunk, adopted_blocks
from lightning_petl.backbones.linear import AdaptedLinear, insert
from lightning_petl.backbones.pretrained import load_trunk, weights_hash
from lightning_petl.backbones.readout import READOUTS, FinalNorm, Readout, require
from lightning_petl.shapes import Clip, Feature, Grid, Tokens

EXTENSIONS = ("entry", "slots", "prompts", "deltas", "readers", "shared")
Blocks = str | list[int]


@runtime_checkable
class Reader(Protocol):
    """A network beside the trunk: it sees the frames, then the tokens after each tapped block, then answers.

    What it has computed so far goes from ``begin`` through ``taps[index](tokens, state)`` to ``end``; a reader itself
    holds nothing of a clip. One with ``reads_pixels = False`` needs the tapped tokens alone: ``begin`` may then get
    frames of no pixels.
    """

    taps: Mapping[str, nn.Module]
    feature_dim: int

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> Any: ...
    def end(self, state: Any) -> Feature: ...


class VideoViT(FinalNorm):
    """A timm ``VisionTransformer`` (ViT, CLIP, DINOv2, DeiT-3, SigLIP) or ``Eva`` (EVA-02-CLIP, DINOv3), frozen.

    Normalises uint8 frames with the trunk's own mean and std, folds frames into the batch, embeds, runs the
    blocks, and reads one feature a clip. What the trunk computes before the first thing that trains runs under
    ``no_grad`` and keeps no activations. No timm key is renamed.

    Args:
        name: a timm name; OpenAI's CLIP needs QuickGELU, as in ``vit_base_patch16_clip_quickgelu_224.openai``.
        weights: ``hub``, ``random``, or a local file (safetensors, .pth, .pt, .bin; timm, OpenAI or HF names).
        image_size: pixels; the position table is interpolated to it. None: the trunk's own size.
        num_frames: frames of a clip.
        depth: keep the first ``depth`` blocks. None: all.
        readout: ``cls_mean_norm``, ``norm_cls_mean``, ``patch_mean`` or ``map``.
        frozen_dtype: storage of what does not train; bfloat16 computes under autocast.
        activation_checkpointing: recompute each block in the backward pass.

    Raises:
        ValueError: unknown name, missing weights, a read-out that the trunk lacks, a depth it does not have.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str = "hub",
        image_size: int | None = None,
        num_frames: int = 8,
        depth: int | None = None,
        readout: Readout = "norm_cls_mean",
        frozen_dtype: Literal["float32", "bfloat16"] = "float32",
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        model = load_trunk(name, weights, depth)
        require(readout, model.cls_token is not None, model.attn_pool is not None)
        self.name, self.weights, self.frozen_dtype = name, weights, frozen_dtype
        self.readout: Readout = readout
        self.weights_hash = weights_hash(model)
        self.activation_checkpointing = activation_checkpointing
        _check_sizes(model, image_size, num_frames)
        if image_size is not None:
            model.set_input_size(img_size=(image_size, image_size))
        self._adopt(model, num_frames)
        self.owners: dict[str, str] = {}
        self.requires_grad_(False)

    patch_embed: PatchEmbed
    norm_pre: nn.Module
    cls_token: nn.Parameter | None
    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def _adopt(self, model: Trunk, num_frames: int) -> None:
        self.patch_embed, self.norm_pre = model.patch_embed, model.norm_pre
        self.cls_token, self.reg_token, self.pos_embed = model.cls_token, model.reg_token, model.pos_embed
        self.no_embed_class = bool(model.no_embed_class)
        self.blocks = adopted_blocks(model)
        self.norm, self.fc_norm = model.norm, model.fc_norm
        self.attn_pool = model.attn_pool if self.readout == "map" else None
        self.prompts, self.readers, self.shared = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.entry = nn.ModuleDict()
        self.image_size = cast(tuple[int, int], self.patch_embed.img_size)
        self.patch_size = cast(tuple[int, int], self.patch_embed.patch_size)
        height, width = cast(tuple[int, int], self.patch_embed.grid_size)
        self.grid = Grid(num_frames, height, width, model.num_prefix_tokens)
        self.dim = int(model.embed_dim)
        for key in ("mean", "std"):
            values = torch.tensor(cast(dict[str, list[float]], model.pretrained_cfg)[key]).view(3, 1, 1)
            self.register_buffer(f"pixel_{key}", values, persistent=False)

    def forward(self, clip: Clip) -> Feature:
        return self.features(self.normalise(clip))

    def normalise(self, clip: Clip) -> Float[Tensor, "b t c h w"]:
        """Return clips with the mean and std of the trunk's own pixels taken out."""
        return (clip.float() / 255 - self.pixel_mean) / self.pixel_std

    def features(self, video: Float[Tensor, "b t c h w"]) -> Feature:
        """Return the feature of clips that are already normalised."""
        self._check(video)
        grid = self.grid._replace(frames=video.shape[1])
        with self.precision(video.device):
            states = self.begin(video, grid)
            x = self._run(video, grid, states)
            return self.end(x, grid, states)

    def _run(self, video: Float[Tensor, "b t c h w"], grid: Grid, states: list[Any]) -> Tokens:
        frozen, wanted = self.frozen_stages, torch.is_grad_enabled()
        with torch.set_grad_enabled(wanted and frozen == 0):
            x = self.embed(video)
        for index, block in enumerate(self.blocks):
            with torch.set_grad_enabled(wanted and frozen <= index + 1):
                x = self.run_block(block, x, grid)
            self.read(index, x[:, : grid.patches.stop], states)
        return x[:, : grid.patches.stop]

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> list[Any]:
        """Return the first state of each reader."""
        return [reader.begin(video, grid) for reader in cast(list[Reader], list(self.readers.values()))]

    def read(self, index: int, x: Tokens, states: list[Any]) -> None:
        """Hand the tokens behind block ``index`` to the readers that tap it; their states go on in place."""
        for k, reader in enumerate(cast(list[Reader], list(self.readers.values()))):
            if str(index) in reader.taps:
                states[k] = reader.taps[str(index)](x, states[k])

    def end(self, x: Tokens, grid: Grid, states: list[Any]) -> Float[Tensor, "b s"]:
        """Return the mean of what the readers answer, or what the trunk's own read-out reads of its last tokens."""
        readers = cast(list[Reader], list(self.readers.values()))
        ends = [reader.end(state) for reader, state in zip(readers, states, strict=True)]
        return torch.stack(ends or [READOUTS[self.readout](self, x, grid)]).mean(0).float()

    def run_block(self, block: nn.Module, x: Tokens, grid: Grid) -> Tokens:
        """Return the tokens behind a block."""
        if self.activation_checkpointing and torch.is_grad_enabled():
            return cast(Tokens, checkpoint(block, x, grid, use_reentrant=False))
        return block(x, grid)

    def embed(self, video: Float[Tensor, "b t c h w"]) -> Tokens:
        """Return class token, registers, patches with positions and what enters with them, then shallow prompts."""
        x = self.patch_embed(rearrange(video, "b t c h w -> (b t) c h w"))
        x = x.flatten(1, -2)  # trunks of any image size leave rows and columns apart
        prefix = [token.expand(x.shape[0], -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        if self.no_embed_class or self.pos_embed is None:
            x = torch.cat([*prefix, x if self.pos_embed is None else x + self.pos_embed], dim=1)
        else:
            x = torch.cat([*prefix, x], dim=1) + self.pos_embed
        grid = self.grid._replace(frames=video.shape[1])
        for module in self.entry.values():
            x = x + module(x, grid)
        x = self.norm_pre(x)
        prompts = [prompt(x.shape[0]) for prompt in self.prompts.values()]
        return torch.cat([x, *prompts], dim=1) if prompts else x

    @property
    def frozen_stages(self) -> int:
        """How many leading stages (the embedding, then each block) hold nothing that trains."""
        modules = (self.patch_embed, self.entry, self.norm_pre, self.prompts)
        embedding = [*self.parameters(recurse=False), *(p for module in modules for p in module.parameters())]
        trains = [any(p.requires_grad for p in embedding), *(owns_trainable(block) for block in self.blocks)]
        return trains.index(True) if any(trains) else len(trains)

    @property
    def feature_dim(self) -> int:
        """Width of the clip feature."""
        readers = cast(list[Reader], list(self.readers.values()))
        return readers[0].feature_dim if readers else self.dim

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters without any path to the read-out.

        Behind the last block's attention nothing carries a patch to the class token any more, and readers see nothing
        behind their last tap; what is dead in itself, they say in an ``unreachable`` of their own.
        """
        if len(self.readers) > 0:
            return self._behind_last_tap()
        if self.readout in ("patch_mean", "map"):
            return set()
        last, prefix = self.blocks[-1], f"blocks.{self.depth - 1}.slots."
        return {
            f"{prefix}{path}.{name}"
            for path, module in cast(nn.Module, last.slots).named_modules()
            if getattr(module, "patches_only", False) and not path.startswith("before_attn")
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    def _behind_last_tap(self) -> set[str]:
        last = max(int(index) for reader in cast(list[Reader], list(self.readers.values())) for index in reader.taps)
        blocks = (f"blocks.{index}." for index in range(last + 1, self.depth))
        behind = ("norm.", "fc_norm.", "attn_pool.", *blocks)
        dead = {f"readers.{key}.{name}" for key, r in self.readers.items() for name in getattr(r, "unreachable", ())}
        return dead | {name for name, p in self.named_parameters() if p.requires_grad and name.startswith(behind)}

    def select(self, blocks: Blocks) -> list[AdaptedBlock]:
        """Return the chosen blocks: ``all``, ``last 4``, ``first 4`` or a list of indices.

        Raises:
            ValueError: the choice is malformed, empty, or outside the trunk.
        """
        chosen = [self.blocks[index] for index in block_indices(blocks, self.depth)]
        return cast(list[AdaptedBlock], chosen)

    def add_entry(self, name: str, module: nn.Module) -> None:
        """Add ``module(tokens, grid)`` to the tokens before the norm in front of the blocks."""
        insert(self.entry, name, module)

    def add_prompt(self, name: str, prompt: nn.Module) -> None:
        """Let prompts enter before the first block and leave behind the last one."""
        insert(self.prompts, name, prompt)

    def add_shared(self, name: str, module: nn.Module) -> None:
        """Own a module that a method uses in several blocks, each of which holds its bound ``forward`` alone."""
        insert(self.shared, name, module)

    def add_reader(self, name: str, reader: nn.Module) -> None:
        """Hang a reader beside the trunk; several are averaged, and replace the trunk's own feature.

        Raises:
            ValueError: the others' features have another width.
        """
        width = cast(Reader, reader).feature_dim
        if len(self.readers) > 0 and width != self.feature_dim:
            raise ValueError(
                f"readers are averaged: {name} of width {width} cannot stand beside {', '.join(self.readers)} of width "
                f"{self.feature_dim}"
            )
        insert(self.readers, name, reader)

    def fold(self) -> None:
        """Fold every linear delta into plain weights, in place; timm's own layers and keys come back."""
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, AdaptedLinear):
                    setattr(module, name, child.folded())

    def cast_frozen(self) -> None:
        """Store what does not train in ``frozen_dtype``; what trains stays float32, and so do the norms.

        A norm computes in float32 anyway, and its kernels take neither float32 tokens with a bfloat16 weight nor a
        trained bias beside a bfloat16 weight. Norms are 0.05 % of a ViT-B.
        """
        norms = {id(p) for m in self.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
        for parameter in self.parameters():
            wide = parameter.requires_grad or id(parameter) in norms
            parameter.data = parameter.data.to(torch.float32 if wide else getattr(torch, self.frozen_dtype))

    def train(self, mode: bool = True) -> "VideoViT":
        """Set the mode of what trains; frozen modules stay in eval, whoever calls."""
        super().train(mode)
        for module in frozen_modules(self):
            module.eval()
        return self

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of the trunk's computation: autocast, where it is stored in bfloat16."""
        if self.frozen_dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def _check(self, video: Float[Tensor, "b t c h w"]) -> None:
        if video.shape[-2:] != self.image_size:
            got = tuple(video.shape[-2:])
            raise ValueError(f"clips are {got} px, the trunk was built for {self.image_size} px: set image_size")


def _check_sizes(model: Trunk, image_size: int | None, num_frames: int) -> None:
    patch = cast(tuple[int, int], model.patch_embed.patch_size)[0]
    if image_size is not None and (image_size < patch or image_size % patch > 0):
        raise ValueError(
            f"image_size {image_size} is not a multiple of the patch size {patch}: pixels would be cut off"
        )
    if num_frames < 1:
        raise ValueError(f"num_frames {num_frames} must be above zero")


def owns_trainable(module: nn.Module) -> bool:
    """Whether any parameter of ``module`` trains."""
    return any(parameter.requires_grad for parameter in module.parameters())


def frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest trunk modules in which nothing trains; methods keep their own mode (dropout)."""
    for name, child in module.named_children():
        if name in EXTENSIONS:
            continue
        if owns_trainable(child):
            yield from frozen_modules(child)
        else:
            yield child


def block_indices(blocks: Blocks, depth: int) -> list[int]:
    """Return the indices meant by ``all``, ``first k``, ``last k`` or a list, among ``depth`` blocks."""
    valid = f"'all', 'first k' or 'last k' with k in 1..{depth}, or a list of indices in 0..{depth - 1}"
    if isinstance(blocks, str):
        word, _, number = blocks.partition(" ")
        count = depth if blocks == "all" else int(number) if number.isdecimal() else 0
        if (blocks != "all" and word not in ("first", "last")) or not 1 <= count <= depth:
            raise ValueError(f"blocks {blocks!r} is not a choice of this trunk; valid: {valid}")
        return list(range(depth))[-count:] if word == "last" else list(range(count))
    if not blocks or not all(0 <= index < depth for index in blocks) or len(set(blocks)) < len(blocks):
        raise ValueError(f"blocks {blocks!r} is not a choice of this trunk; valid: {valid}")
    return sorted(blocks)
