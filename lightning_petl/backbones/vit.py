"""A frozen image transformer that reads video frame by frame and knows nothing of methods."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from jaxtyping import Float
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from lightning_petl.backbones.block import Prompt, SlotModule, with_prompts
from lightning_petl.backbones.children import Extension, Reference
from lightning_petl.backbones.encoder import Encoder
from lightning_petl.backbones.eva_block import adopted_blocks
from lightning_petl.backbones.readers import FrameAnswers, Reader, Readers
from lightning_petl.backbones.readout import (
    READOUTS,
    FinalNorm,
    FramePooling,
    Readout,
    feature_width,
    final_norm,
    frame_pooling,
    frame_tokens,
    require,
)
from lightning_petl.backbones.weights.deferred import WeightsFile, load_deferred
from lightning_petl.backbones.weights.families import Trunk
from lightning_petl.backbones.weights.open_clip import PREFIX, load_image_tower
from lightning_petl.backbones.weights.pretrained import load_trunk, weights_hash
from lightning_petl.shapes import Answer, ClipPixels, Frames, Grid, Pixels, Tokens


class FrameFeatures(NamedTuple):
    """Hold what is read of every frame.

    Attributes:
        trunk: the class token, or what the trunk pools instead, in front of :meth:`VideoViT.final_norm`.
        readers: the answer of each reader by its name.
    """

    trunk: Frames
    readers: dict[str, FrameAnswers]


class VideoViT(Encoder, FinalNorm):
    """Read video with a frozen timm ``VisionTransformer`` (ViT, CLIP, DINOv2, ...) or ``Eva`` (EVA-02-CLIP, DINOv3).

    It normalizes uint8 frames with the trunk's own mean and std, folds frames into the batch, embeds, runs the
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
        readout: ``cls_mean_norm``, ``norm_cls_mean``, ``patch_mean``, ``map`` or ``frames_concat``.
        frozen_dtype: storage of what does not train; bfloat16 computes under autocast.
        activation_checkpointing: recompute each block in the backward pass.
        deferred: where ``weights`` is a file, leave the blocks without memory until
            :func:`~lightning_petl.distributed.sharding.materialize` reads each rank's share of them.

    Raises:
        ValueError: unknown name, missing weights, a read-out that the trunk lacks, a depth it does not have.

    Example, two clips of four frames::

        >>> import torch
        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=4)
        >>> clips = torch.zeros(2, 4, 3, 32, 32, dtype=torch.uint8)
        >>> vit(clips).shape
        torch.Size([2, 64])
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
        self.source: WeightsFile | None = None
        if deferred and weights not in ("hub", "random"):
            model, self.source = load_deferred(name, Path(weights), depth)
        elif name.startswith(PREFIX):
            model = load_image_tower(name, weights, depth)
        else:
            model = load_trunk(name, weights, depth)
        require(readout, model.cls_token is not None, model.attn_pool is not None)
        self.name = name
        self.weights = weights
        self.frozen_dtype = frozen_dtype
        self.readout: Readout = readout
        # of the weights as published: before positions are interpolated
        self.weights_hash = weights_hash(model)
        self.activation_checkpointing = activation_checkpointing
        _check_sizes(model, image_size, num_frames)
        if image_size is not None:
            model.set_input_size(img_size=(image_size, image_size))
        self._adopt(model, num_frames)
        self.owners: dict[str, str] = {}
        # methods decide what trains
        self.requires_grad_(False)

    patch_embed: PatchEmbed
    norm_pre: nn.Module
    cls_token: nn.Parameter | None
    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def _adopt(self, model: Trunk, num_frames: int) -> None:
        # the order of these lines is that of the keys in every checkpoint
        self.patch_embed = model.patch_embed
        self.norm_pre = model.norm_pre
        self.cls_token = model.cls_token
        self.reg_token = model.reg_token
        self.pos_embed = model.pos_embed
        self.no_embed_class = bool(model.no_embed_class)
        self.blocks = adopted_blocks(model)
        self.norm = model.norm
        self.fc_norm = model.fc_norm
        self.pooling = _own_pooling(model)
        pools = frame_pooling(self.readout, self) == "map"
        self.attn_pool = model.attn_pool if pools else None
        in_pair = self.name.startswith(PREFIX)
        self.joint = Reference(model.head) if in_pair else None
        self.prompts = Extension()
        self.readers = Readers()
        self.shared = Extension()
        self.entry = Extension()
        self.image_size = cast(tuple[int, int], self.patch_embed.img_size)
        self.patch_size = cast(tuple[int, int], self.patch_embed.patch_size)
        height, width = cast(tuple[int, int], self.patch_embed.grid_size)
        self.grid = Grid(num_frames, height, width, model.num_prefix_tokens)
        self.dim = int(model.embed_dim)
        published = cast(dict[str, list[float]], model.pretrained_cfg)
        for key in ("mean", "std"):
            values = torch.tensor(published[key]).view(3, 1, 1)
            # not persistent: the keys of a checkpoint are timm's
            self.register_buffer(f"pixel_{key}", values, persistent=False)

    def embedding_parameters(self) -> Iterable[nn.Parameter]:
        """Yield the patch embedding, tokens and positions, and what methods put beside them."""
        yield from self.parameters(recurse=False)
        for module in (self.patch_embed, self.entry, self.norm_pre, self.prompts):
            yield from module.parameters()

    def forward(self, clip: ClipPixels) -> Answer:
        return self.features(self.normalize(clip))

    def normalize(self, clip: ClipPixels) -> Pixels:
        """Return ``(clip / 255 - mean) / std``: uint8 0-255 in, float32 out, with the trunk's mean and std.

        Raises:
            ValueError: clips of another dtype than uint8, whose scale nobody knows.
        """
        if clip.dtype != torch.uint8:
            raise ValueError(
                f"a trunk takes clips of uint8 pixels, 0 to 255, and these are {clip.dtype}: where they lie between 0 "
                "and 1, give (clip * 255).round().to(torch.uint8); where they are normalized, call features(clip)"
            )
        return (clip.float() / 255 - self.pixel_mean) / self.pixel_std

    def features(self, video: Pixels) -> Answer:
        """Return the feature of clips that are already normalized."""
        self._check(video)
        grid = self.grid.of(video)
        with self.precision(video.device):
            states = self.readers.begin(video, grid)
            x = self.read(lambda: self.embed(video), grid, states)
            return self.answer(x, grid, states)

    def frames(self, video: Pixels) -> FrameFeatures:
        """Return what trunk and readers say of every frame of clips that are already normalized.

        With ``frames = vit.frames(video)``, ``vit.final_norm(frames.trunk)`` is the trunk's own feature of each frame.
        """
        self._check(video)
        grid = self.grid.of(video)
        with self.precision(video.device):
            states = self.readers.begin(video, grid)
            x = self.read(lambda: self.embed(video), grid, states)
            trunk = frame_tokens(self.readout, self, x, grid).float()
            return FrameFeatures(trunk, self.readers.frames(states, grid))

    def patch_tokens(self, video: Pixels) -> Float[Tensor, "b t p d"]:
        """Return the last patch tokens of every frame behind the trunk's norm.

        Args:
            video: clips that are already normalized.
        """
        self._check(video)
        grid = self.grid.of(video)
        with self.precision(video.device):
            states = self.readers.begin(video, grid)
            x = self.read(lambda: self.embed(video), grid, states)
            return grid.to_clip(self.norm(x[:, grid.patches])).float()

    def final_norm(self, frames: Frames) -> Frames:
        """Return frames as :meth:`frames` gives them behind the trunk's final norm."""
        with self.precision(frames.device):
            return final_norm(self.readout, self, frames).float()

    def read(
        self,
        first: Callable[[], Tokens],
        grid: Grid,
        states: list[Any],
        start: int = 0,
    ) -> Tokens:
        """Run the stages from ``start`` on and let the readers follow; return the last tokens without prompts.

        Args:
            first: gives the tokens behind stage ``start``.
            grid: their layout.
            states: of the readers; replaced on the way.
            start: as :meth:`stages`.
        """
        x = None
        for stage, x in self.stages(first, grid, start):
            # shallow prompts stand behind the patches
            x = x[:, : grid.patches.stop]
            if stage > 0:
                self.readers.read(stage - 1, x, states)
        assert x is not None
        return x

    def answer(self, x: Tokens, grid: Grid, states: list[Any]) -> Answer:
        """Return the mean of what the readers answer; without readers, what the read-out reads of the last tokens."""
        if len(self.readers) > 0:
            return self.readers.end(states)
        return READOUTS[self.readout](self, x, grid).float()

    def embed(self, video: Pixels) -> Tokens:
        """Return class token, registers, patches with positions and what enters with them, then shallow prompts."""
        grid = self.grid.of(video)
        x = self.patch_embed(grid.from_clip(video))
        # trunks of any image size leave rows and columns apart
        x = x.flatten(1, -2)
        positions = self.pos_embed
        if positions is not None and self.no_embed_class:
            x = x + positions
        prefix = [t for t in (self.cls_token, self.reg_token) if t is not None]
        prefix = [token.expand(x.shape[0], -1, -1) for token in prefix]
        x = torch.cat([*prefix, x], dim=1)
        if positions is not None and not self.no_embed_class:
            x = x + positions
        for module in self.entry.values():
            x = x + module(x, grid)
        return with_prompts(self.norm_pre(x), self.prompts, grid)

    @property
    def feature_dim(self) -> int:
        """Return the width of the clip feature."""
        if len(self.readers) > 0:
            return self.readers.all()[0].feature_dim
        return feature_width(self.readout, self)

    @property
    def queries(self) -> int | None:
        """Return how many vectors the clip feature has, ``"b q d"``; None: it is one, ``"b d"``."""
        return self.readers.all()[0].queries if len(self.readers) > 0 else None

    def add_entry(self, name: str, module: SlotModule) -> None:
        """Add ``module(tokens, grid)`` to the tokens before the norm in front of the blocks."""
        self.entry.insert(name, module)

    def add_prompt(self, name: str, prompt: Prompt) -> None:
        """Let prompts enter before the first block and leave behind the last one."""
        self.prompts.insert(name, prompt)

    def add_shared(self, name: str, module: nn.Module) -> None:
        """Own a module that a method uses in several blocks, each of which holds its bound ``forward`` alone."""
        self.shared.insert(name, module)

    def add_reader(self, name: str, reader: Reader) -> None:
        """Hang a reader beside the trunk; several are averaged, and replace the trunk's own feature.

        Raises:
            ValueError: the others' answers have another width or another number of vectors.
        """
        self.readers.add(name, reader)

    def _check(self, video: Pixels) -> None:
        got = tuple(video.shape[-2:])
        # positions were interpolated once, when the trunk was built
        if got != self.image_size:
            raise ValueError(
                f"clips are {got} px, the trunk was built for {self.image_size} px: set image_size"
            )


def _own_pooling(model: Trunk) -> FramePooling:
    if model.cls_token is not None:
        return "cls"
    return "patch_mean" if model.attn_pool is None else "map"


def _check_sizes(model: Trunk, image_size: int | None, num_frames: int) -> None:
    patch = cast(tuple[int, int], model.patch_embed.patch_size)[0]
    if image_size is not None and (image_size < patch or image_size % patch > 0):
        raise ValueError(
            f"image_size {image_size} is not a multiple of the patch size {patch}: pixels would be cut off"
        )
    if num_frames < 1:
        raise ValueError(f"num_frames {num_frames} must be above zero")
