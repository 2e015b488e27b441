"""A frozen image transformer that reads video frame by frame and knows nothing of methods."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.linear import insert
from lightning_petl.backbones.readout import (
    READOUTS,
    FinalNorm,
    Readout,
    final_norm,
    frame_tokens,
    require,
)
from lightning_petl.backbones.weights.deferred import Source, load_deferred
from lightning_petl.backbones.weights.families import Trunk, adopted_blocks
from lightning_petl.backbones.weights.open_clip import PREFIX, load_image_tower
from lightning_petl.backbones.weights.pretrained import load_trunk, weights_hash
from lightning_petl.shapes import Clip, Feature, Frames, Grid, Tokens


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


@runtime_checkable
class FrameReader(Protocol):
    """A reader that can also answer for every frame."""

    def frames(self, state: Any) -> Float[Tensor, "b t s"]: ...


class FrameFeatures(NamedTuple):
    """What is read of every frame.

    Attributes:
        trunk: the class token, or what the trunk pools instead, in front of :meth:`VideoViT.final_norm`.
        readers: the answer of each reader by its name, of width s; one without ``frames`` says the same of all frames.
    """

    trunk: Frames
    readers: dict[str, Float[Tensor, "b t s"]]


class VideoViT(Encoder, FinalNorm):
    """A timm ``VisionTransformer`` (ViT, CLIP, DINOv2, DeiT-3, SigLIP) or ``Eva`` (EVA-02-CLIP, DINOv3), frozen.

    Normalises uint8 frames with the trunk's own mean and std, folds frames into the batch, embeds, runs the
    blocks, and reads one feature a clip. What the trunk computes before the first thing that trains runs under
    ``no_grad`` and keeps no activations. No timm key is renamed.

    Args:
        name: a timm name, or ``open_clip:`` and a model of open_clip, of which this is the image tower. OpenAI's CLIP
            needs QuickGELU: ``vit_base_patch16_clip_quickgelu_224.openai``, ``open_clip:ViT-B-16-quickgelu``.
        weights: ``hub``, ``random``, or a local file (safetensors, .pth, .pt, .bin; timm, OpenAI or HF names); of a
            model of open_clip also one of its tags, as ``openai`` or ``laion2b_s34b_b79k``.
        image_size: pixels; the position table is interpolated to it. None: the trunk's own size.
        num_frames: frames of a clip.
        depth: keep the first ``depth`` blocks. None: all.
        readout: ``cls_mean_norm``, ``norm_cls_mean``, ``patch_mean`` or ``map``.
        frozen_dtype: storage of what does not train; bfloat16 computes under autocast.
        activation_checkpointing: recompute each block in the backward pass.
        deferred: where ``weights`` is a file, leave the blocks without memory until
            :func:`~lightning_petl.distributed.sharding.materialize` reads each rank's share of them.

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
        deferred: bool = False,
    ) -> None:
        super().__init__()
        self.source: Source | None = None
        if deferred and weights not in ("hub", "random"):
            model, self.source = load_deferred(name, Path(weights), depth)
        else:
            model = (load_image_tower if name.startswith(PREFIX) else load_trunk)(
                name, weights, depth
            )
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
        self.cls_token, self.reg_token, self.pos_embed = (
            model.cls_token,
            model.reg_token,
            model.pos_embed,
        )
        self.no_embed_class = bool(model.no_embed_class)
        self.blocks = adopted_blocks(model)
        self.norm, self.fc_norm = model.norm, model.fc_norm
        self.attn_pool = model.attn_pool if self.readout == "map" else None
        self.joint = (model.head,) if self.name.startswith(PREFIX) else ()
        self.prompts, self.readers, self.shared = (
            nn.ModuleDict(),
            nn.ModuleDict(),
            nn.ModuleDict(),
        )
        self.entry = nn.ModuleDict()
        self.image_size = cast(tuple[int, int], self.patch_embed.img_size)
        self.patch_size = cast(tuple[int, int], self.patch_embed.patch_size)
        height, width = cast(tuple[int, int], self.patch_embed.grid_size)
        self.grid = Grid(num_frames, height, width, model.num_prefix_tokens)
        self.dim = int(model.embed_dim)
        for key in ("mean", "std"):
            values = torch.tensor(
                cast(dict[str, list[float]], model.pretrained_cfg)[key]
            ).view(3, 1, 1)
            self.register_buffer(f"pixel_{key}", values, persistent=False)

    def embedding_parameters(self) -> Iterable[nn.Parameter]:
        """The patch embedding, tokens and positions, and what methods put beside them."""
        modules = (self.patch_embed, self.entry, self.norm_pre, self.prompts)
        return [
            *self.parameters(recurse=False),
            *(p for module in modules for p in module.parameters()),
        ]

    def forward(self, clip: Clip) -> Feature:
        return self.features(self.normalise(clip))

    def normalise(self, clip: Clip) -> Float[Tensor, "b t c h w"]:
        """Return clips of pixels 0-255 with the mean and std of the trunk's own pixels taken out.

        Raises:
            ValueError: clips of another dtype than uint8, whose scale nobody knows.
        """
        if clip.dtype != torch.uint8:
            raise ValueError(
                f"a trunk takes clips of uint8 pixels, 0 to 255, and these are {clip.dtype}: where they lie between 0 "
                "and 1, give (clip * 255).round().to(torch.uint8); where they are normalised, call features(clip)"
            )
        return (clip.float() / 255 - self.pixel_mean) / self.pixel_std

    def features(self, video: Float[Tensor, "b t c h w"]) -> Feature:
        """Return the feature of clips that are already normalised."""
        self._check(video)
        grid = self.grid._replace(frames=video.shape[1])
        with self.precision(video.device):
            states = self.begin(video, grid)
            x = self._run(video, grid, states)
            return self.end(x, grid, states)

    def frames(self, video: Float[Tensor, "b t c h w"]) -> FrameFeatures:
        """Return what trunk and readers say of every frame of clips that are already normalised.

        With ``frames = vit.frames(video)``, ``vit.final_norm(frames.trunk)`` is the trunk's own feature of each frame.
        """
        self._check(video)
        grid = self.grid._replace(frames=video.shape[1])
        with self.precision(video.device):
            states = self.begin(video, grid)
            trunk = frame_tokens(
                self.readout, self, self._run(video, grid, states), grid
            ).float()
            answers = [
                _frames_of(reader, state, grid)
                for reader, state in zip(self._readers, states, strict=True)
            ]
        return FrameFeatures(trunk, dict(zip(self.readers, answers, strict=True)))

    def final_norm(self, frames: Frames) -> Frames:
        """Return frames as :meth:`frames` gives them behind the trunk's final norm."""
        with self.precision(frames.device):
            return final_norm(self.readout, self, frames).float()

    def _run(
        self, video: Float[Tensor, "b t c h w"], grid: Grid, states: list[Any]
    ) -> Tokens:
        def read(index: int, x: Tokens) -> None:
            self.read(index, x[:, : grid.patches.stop], states)

        return self.run(lambda: self.embed(video), grid, read)[:, : grid.patches.stop]

    def begin(self, video: Float[Tensor, "b t c h w"], grid: Grid) -> list[Any]:
        """Return the first state of each reader."""
        return [reader.begin(video, grid) for reader in self._readers]

    def read(self, index: int, x: Tokens, states: list[Any]) -> None:
        """Hand the tokens behind block ``index`` to the readers that tap it; their states go on in place."""
        for k, reader in enumerate(self._readers):
            if str(index) in reader.taps:
                states[k] = reader.taps[str(index)](x, states[k])

    def end(self, x: Tokens, grid: Grid, states: list[Any]) -> Float[Tensor, "b s"]:
        """Return the mean of what the readers answer, or what the trunk's own read-out reads of its last tokens."""
        ends = [
            reader.end(state)
            for reader, state in zip(self._readers, states, strict=True)
        ]
        return (
            torch.stack(ends or [READOUTS[self.readout](self, x, grid)]).mean(0).float()
        )

    def embed(self, video: Float[Tensor, "b t c h w"]) -> Tokens:
        """Return class token, registers, patches with positions and what enters with them, then shallow prompts."""
        x = self.patch_embed(rearrange(video, "b t c h w -> (b t) c h w"))
        x = x.flatten(1, -2)  # trunks of any image size leave rows and columns apart
        prefix = [
            token.expand(x.shape[0], -1, -1)
            for token in (self.cls_token, self.reg_token)
            if token is not None
        ]
        if self.no_embed_class or self.pos_embed is None:
            x = torch.cat(
                [*prefix, x if self.pos_embed is None else x + self.pos_embed], dim=1
            )
        else:
            x = torch.cat([*prefix, x], dim=1) + self.pos_embed
        grid = self.grid._replace(frames=video.shape[1])
        for module in self.entry.values():
            x = x + module(x, grid)
        x = self.norm_pre(x)
        prompts = [prompt(x.shape[0]) for prompt in self.prompts.values()]
        return torch.cat([x, *prompts], dim=1) if prompts else x

    @property
    def _readers(self) -> list[Reader]:
        return cast(list[Reader], list(self.readers.values()))

    @property
    def feature_dim(self) -> int:
        """Width of the clip feature."""
        return self._readers[0].feature_dim if self._readers else self.dim

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters without any path to the read-out.

        Behind the last block's attention nothing carries a patch to the class token any more, and readers see nothing
        behind their last tap; what is dead in itself, they say in an ``unreachable`` of their own.
        """
        return (
            self._behind_last_tap()
            if len(self.readers) > 0
            else self._beside_the_readout
        )

    @property
    def unreachable_from_frames(self) -> set[str]:
        """Trainable parameters without any path to what :meth:`frames` gives: the trunk is read beside its readers."""
        tapped = any(str(self.depth - 1) in reader.taps for reader in self._readers)
        return self._dead_in_readers | (
            set[str]() if tapped else self._beside_the_readout
        )

    @property
    def _beside_the_readout(self) -> set[str]:
        if self.readout in ("patch_mean", "map"):
            return set()
        last, prefix = self.blocks[-1], f"blocks.{self.depth - 1}.slots."
        return {
            f"{prefix}{path}.{name}"
            for path, module in cast(nn.Module, last.slots).named_modules()
            if getattr(module, "patches_only", False)
            and not path.startswith("before_attn")
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    def _behind_last_tap(self) -> set[str]:
        last = max(int(index) for reader in self._readers for index in reader.taps)
        blocks = (f"blocks.{index}." for index in range(last + 1, self.depth))
        behind = ("norm.", "fc_norm.", "attn_pool.", *blocks)
        return self._dead_in_readers | {
            name
            for name, p in self.named_parameters()
            if p.requires_grad and name.startswith(behind)
        }

    @property
    def _dead_in_readers(self) -> set[str]:
        return {
            f"readers.{key}.{name}"
            for key, r in self.readers.items()
            for name in getattr(r, "unreachable", ())
        }

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

    def _check(self, video: Float[Tensor, "b t c h w"]) -> None:
        if video.shape[-2:] != self.image_size:
            got = tuple(video.shape[-2:])
            raise ValueError(
                f"clips are {got} px, the trunk was built for {self.image_size} px: set image_size"
            )


def _frames_of(reader: Reader, state: Any, grid: Grid) -> Float[Tensor, "b t s"]:
    if isinstance(reader, FrameReader):
        return reader.frames(state).float()
    return repeat(reader.end(state).float(), "b s -> b t s", t=grid.frames)


def _check_sizes(model: Trunk, image_size: int | None, num_frames: int) -> None:
    patch = cast(tuple[int, int], model.patch_embed.patch_size)[0]
    if image_size is not None and (image_size < patch or image_size % patch > 0):
        raise ValueError(
            f"image_size {image_size} is not a multiple of the patch size {patch}: pixels would be cut off"
        )
    if num_frames < 1:
        raise ValueError(f"num_frames {num_frames} must be above zero")
