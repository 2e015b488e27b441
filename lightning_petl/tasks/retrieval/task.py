"""Train a dual encoder: which video does a sentence describe, and which sentence a video?"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from data_modules.batch import Features, VideoBatch
from lightning_petl.adapters import Adapter, attach
from lightning_petl.backbones.pairs import projection, text_tower
from lightning_petl.backbones.reachability import unreachable_from_frames
from lightning_petl.backbones.readout import frame_pooling
from lightning_petl.backbones.text import TextTower
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trunk_id import TrunkId
from lightning_petl.losses.contrastive import MAX_LOGIT_SCALE, contrastive_loss
from lightning_petl.metrics.retrieval import retrieval_metrics
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.shapes import Video, Words
from lightning_petl.tasks.outputs import NO_NUMBER
from lightning_petl.tasks.retrieval.batch_videos import (
    captions_of,
    gallery_videos,
)
from lightning_petl.tasks.retrieval.gallery import (
    CaptionResult,
    Gallery,
    GalleryVideo,
)
from lightning_petl.tasks.retrieval.joint_space import (
    JointSpace,
    new_projection,
    zero_projection,
)
from lightning_petl.tasks.task import Task

Embeddings = Float[Tensor, "b vt e"]


class VideoTextRetrieval(Task):
    """Train videos and sentences in one space: the frames of a trunk, what readers add to them, and a text tower.

    With the class token ``c_t`` of frame t behind the last block, what each reader r says of that frame, the trunk's
    final norm N and the projection P of its dual encoder::

        v_t = P N(c_t + sum over r of W_r r_t)
        loss = 1/2 [CE(rows of e^s sim) + CE(columns of e^s sim)]

    ``W_r = 0`` at the start, so that a trunk with readers begins as the frozen dual encoder, to the last bit
    (Side4Video, Yao et al., arXiv 2311.15769). ``e^s``, at most 100, trains; evaluation ranks by sim alone. Several
    views of a video are further frames of it.

    The loss compares the clips of one batch over all ranks, ``batch_size`` times ranks of them. Gradients that
    accumulate to ``optim.global_batch`` do not make it compare more: what matters here is the batch itself.

    Owners, for ``optim.lr_factor``: the adapters, ``text``, ``similarity``, ``projection`` (N and P),
    ``side_projection`` (W_r) and ``logit_scale`` (s).

    Args:
        backbone: the trunk; it is changed by the adapters.
        adapters: methods, attached to the trunk in order.
        text: a text tower to train beside any trunk; P is then new, a linear map without bias, N(0, 1/D), and trains.
            None: the tower of the trunk's open_clip model.
        text_adapters: methods, attached to the text tower in order; ``FullFineTuning`` trains all of it.
        joint: how videos and sentences meet.
        optim: how the parameters are updated.

    Raises:
        ValueError: a trunk without text tower where none is given, a new text tower that does not train as a whole or
            is to read fewer tokens than it was made for, and what the adapters raise; later, data without captions, a
            cache of features, or a training of nothing but the temperature.
    """

    best_by: ClassVar[str] = "val/t2v/R1"
    reads_features: ClassVar[bool] = False

    def __init__(
        self,
        backbone: VideoViT,
        adapters: list[Adapter],
        *,
        text: TextTower | None = None,
        text_adapters: list[Adapter] | None = None,
        joint: JointSpace = JointSpace(),
        optim: OptimizerConfig = OptimizerConfig(),
    ) -> None:
        super().__init__()
        attach(backbone, adapters)
        self.backbone = backbone
        self.adapters = tuple(adapters)
        self.optim = optim
        self.joint = joint
        is_new = text is not None
        # modules are built in this order, in which old runs have drawn their weights
        if text is None:
            self.projection = projection(backbone)
            self.text = text_tower(
                backbone.name, backbone.weights, context_length=joint.context_length
            )
            self.published_text = TrunkId(self.text.name, self.text.weights_hash)
        else:
            self.projection = new_projection(backbone.dim, text.embed_dim)
            self.text = text
            self.published_text = None
        self.projection.requires_grad_(joint.train_projection or is_new)
        if joint.train_projection:
            self._train_final_norm()
        self._adapt_text(text_adapters or [])
        if is_new:
            _require_new(self.text, joint.context_length)
        self.side_projection = self._side_projection()
        self.similarity = joint.similarity.build(self.text.embed_dim)
        self.begin()
        self._seen: list[GalleryVideo] = []
        self.results: list[CaptionResult] = []

    def _train_final_norm(self) -> None:
        names = ["norm", "fc_norm"]
        if frame_pooling(self.backbone.readout, self.backbone) != "cls":
            # these pool what is behind `norm`, which is then no part of N
            names = ["fc_norm"]
        for name in names:
            for key, parameter in self.backbone.get_submodule(
                name
            ).named_parameters():
                parameter.requires_grad_(True)
                self.backbone.owners.setdefault(f"{name}.{key}", "projection")

    def _adapt_text(self, adapters: Sequence[Adapter]) -> None:
        if adapters:
            attach(self.text, adapters)
        self.text.logit_scale.requires_grad_(True)
        if self.text.logit_bias is not None:
            # the softmax of the loss takes no notice of it
            self.text.logit_bias.requires_grad_(False)

    def _side_projection(self) -> nn.ModuleDict:
        modules = nn.ModuleDict()
        readers = self.backbone.readers
        for name, reader in zip(readers, readers.all(), strict=True):
            modules[name] = zero_projection(reader.feature_dim, self.backbone.dim)
        return modules

    def setup(self, stage: str) -> None:
        """Prepare as every task does, and refuse to train the temperature alone."""
        if stage == "fit" and set(self.owners.values()) == {"logit_scale"}:
            raise ValueError(
                "nothing trains but the temperature, and no rank depends on it: add a method, as with "
                "-c adapters/lora, or test the model as it is: lightning-petl test"
            )
        super().setup(stage)

    @property
    def owners(self) -> dict[str, str]:
        """Return the owner of each trainable parameter."""
        owners: dict[str, str] = {}
        for name, owner in self.backbone.owners.items():
            owners[f"backbone.{name}"] = owner
        for owner in ("side_projection", "similarity", "projection", "text"):
            module = self.get_submodule(owner)
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    owners[f"{owner}.{name}"] = owner
        owners["text.logit_scale"] = "logit_scale"
        return owners

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters that no frame and no word depends on."""
        return {
            f"backbone.{name}" for name in unreachable_from_frames(self.backbone)
        }

    def videos(self, video: Video) -> Embeddings:
        """Return videos in the joint space, a row a frame, frames of one view behind those of another."""
        clips = rearrange(video, "b v t c h w -> (b v) t c h w")
        frames = self.backbone.frames(self.backbone.normalize(clips))
        tokens = frames.trunk
        for name, answer in frames.readers.items():
            tokens = tokens + self.side_projection[name](answer)
        joint = self.projection(self.backbone.final_norm(tokens)).float()
        return rearrange(joint, "(b v) t e -> b (v t) e", v=video.shape[1])

    def texts(self, captions: Sequence[str]) -> Words:
        """Return sentences in the joint space."""
        return self.text(self.text.tokenize(captions))

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        with torch.no_grad():
            # here and not behind the step: a resumed training then sees what this one would
            self.text.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        captions = [caption for (caption,) in captions_of(batch)]
        loss = contrastive_loss(
            self.similarity,
            self.videos(_pixels(batch.video)),
            self.texts(captions),
            number=batch.label,
            logit_scale=self.text.logit_scale,
            block=self.joint.block,
        )
        clips = len(batch.label)
        self.log("train/loss", loss.detach(), batch_size=clips, prog_bar=True)
        return loss

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self._see(batch)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self._see(batch)

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> None:
        raise ValueError(
            "predict names classes, and VideoTextRetrieval has none: test ranks videos for the captions of a data set, "
            "such as a CaptionList of your own, and writes them to retrieval.jsonl"
        )

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self._rank("val", dual_softmax=None)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        gallery = self._rank("test", dual_softmax=self.joint.dual_softmax)
        self.results = gallery.results(gallery.similarities(self.similarity))

    def _rank(self, split: str, dual_softmax: float | None) -> Gallery:
        """Log what is found among all that the ranks have seen; each asks for its own captions, and all agree."""
        seen = self._seen
        self._seen = []
        gallery = Gallery.of(seen, self.device)
        block = gallery.similarities(self.similarity)
        videos = len(gallery.clip_ids)
        metrics = retrieval_metrics(
            block, gallery.owner, videos, dual_softmax=dual_softmax
        )
        logged = {f"{split}/{name}": value for name, value in metrics.items()}
        self.silent = (
            len(gallery.faults) == videos and NO_NUMBER in gallery.faults.values()
        )
        # of equal values; their mean may be rounded
        self.log_dict(logged, sync_dist=True, reduce_fx="max")
        return gallery

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["text"] = list(self.published_text or ())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.published_text and checkpoint.get("text"):
            TrunkId(*checkpoint["text"]).require(self.published_text)

    def _see(self, batch: VideoBatch) -> None:
        """Keep what the similarity needs of a batch until the evaluation ends. All ranks must call it."""
        captions: list[str] = []
        for of_video in captions_of(batch):
            captions.extend(of_video)
        videos = self.similarity.encode_videos(self.videos(_pixels(batch.video)))
        texts = self.similarity.encode_texts(self.texts(captions))
        seen = gallery_videos(batch, self.similarity, videos, texts)
        bad = [video.clip_id for video in seen if video.fault == NO_NUMBER]
        self.require_numbers(bad)
        self._seen += seen


def _require_new(text: TextTower, context_length: int | None) -> None:
    """Refuse a text tower of its own whose random weights would be in no checkpoint, or that is told to read less."""
    frozen: list[str] = []
    for name, parameter in text.named_parameters():
        if not parameter.requires_grad and name != "logit_bias":
            frozen.append(name)
    if frozen:
        raise ValueError(
            f"text is a new tower with random weights, and {len(frozen)} of its tensors do not train, such as "
            f"{frozen[0]}; no checkpoint would hold these: text_adapters: [FullFineTuning]"
        )
    if context_length not in (None, text.context_length):
        raise ValueError(
            f"joint.context_length {context_length} shortens the text tower of the trunk; text is a new one, which "
            f"reads {text.context_length} tokens: set text.context_length and leave joint.context_length out"
        )


def _pixels(video: Video | Features) -> Video:
    if isinstance(video, Mapping):
        raise ValueError(
            "data.cache keeps what a classifier reads; VideoTextRetrieval needs the clips: remove it"
        )
    return video
