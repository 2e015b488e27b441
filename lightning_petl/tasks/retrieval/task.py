"""Which video a sentence describes, and which sentence a video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from data_modules.batch import Features, VideoBatch
from lightning_petl.adapters import Adapter, attach
from lightning_petl.backbones.pairs import projection, text_tower
from lightning_petl.backbones.reachability import unreachable_from_frames
from lightning_petl.backbones.text import TextTower
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trunk_id import TrunkId
from lightning_petl.heads.similarity import Encoded, MeanPooling, SimilarityRecipe
from lightning_petl.losses.contrastive import MAX_LOGIT_SCALE, contrastive_loss
from lightning_petl.metrics.retrieval import retrieval_metrics
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.shapes import Video, Words
from lightning_petl.tasks.retrieval.gallery import Answer, Entry, Gallery
from lightning_petl.tasks.task import Task

Embeddings = Float[Tensor, "b vt e"]
NO_NUMBER = "its outputs are no numbers"
"""The fault of a video whose embedding, or that of a caption of it, is NaN or infinite."""


@dataclass(frozen=True, kw_only=True)
class JointSpace:
    """How videos and sentences meet.

    Args:
        similarity: of a sentence and a video: ``MeanPooling()`` or ``WTI()``.
        train_projection: the trunk's final norm and the projection of its dual encoder train, too.
        context_length: tokens of a sentence, fewer than those of the trunk's own text tower; None: as many.
        block: sentences and videos that the loss compares at a time, which bounds its memory; None: all.
        dual_softmax: factor of the rows ``test/dual_softmax/...``, a number apart; None: no such rows.

    Raises:
        ValueError: a block or a factor that is not above zero.
    """

    similarity: SimilarityRecipe = field(default_factory=MeanPooling)
    train_projection: bool = False
    context_length: int | None = None
    block: int | None = None
    dual_softmax: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("block", self.block), ("dual_softmax", self.dual_softmax)):
            if value is not None and value <= 0:
                raise ValueError(
                    f"joint.{name} {value} must be above zero, or left out"
                )


class VideoTextRetrieval(Task):
    """Videos and sentences in one space: the frames of a trunk, what readers add to them, and a text tower.

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
        self.backbone, self.adapters, self.optim, self.joint = (
            backbone,
            tuple(adapters),
            optim,
            joint,
        )
        self.projection = (
            projection(backbone)
            if text is None
            else _new_projection(backbone.dim, text.embed_dim)
        )
        self.projection.requires_grad_(joint.train_projection or text is not None)
        if joint.train_projection:
            self._train_final_norm()
        length = joint.context_length
        self.text = (
            text_tower(backbone.name, backbone.weights, context_length=length)
            if text is None
            else text
        )
        self.published_text = (
            None
            if text is not None
            else TrunkId(self.text.name, self.text.weights_hash)
        )
        self._adapt_text(text_adapters or [])
        if text is not None:
            _require_new(text, joint.context_length)
        self.side_projection = nn.ModuleDict(
            {
                name: _zero(reader.feature_dim, backbone.dim)
                for name, reader in zip(
                    backbone.readers, backbone.readers.all(), strict=True
                )
            }
        )
        self.similarity = joint.similarity.build(self.text.embed_dim)
        self.begin()
        self._entries: list[Entry] = []
        self.answers: list[Answer] = []

    def _train_final_norm(self) -> None:
        pooled = self.backbone.readout in (
            "patch_mean",
            "map",
        )  # behind a norm that is no part of N
        for name in ["fc_norm"] if pooled else ["norm", "fc_norm"]:
            for key, parameter in self.backbone.get_submodule(name).named_parameters():
                parameter.requires_grad_(True)
                self.backbone.owners.setdefault(f"{name}.{key}", "projection")

    def _adapt_text(self, adapters: Sequence[Adapter]) -> None:
        if adapters:
            attach(self.text, adapters)
        self.text.logit_scale.requires_grad_(True)
        if (
            self.text.logit_bias is not None
        ):  # the softmax of the loss takes no notice of it
            self.text.logit_bias.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """As every task does, and refuse to train the temperature alone."""
        if stage == "fit" and set(self.owners.values()) == {"logit_scale"}:
            raise ValueError(
                "nothing trains but the temperature, and no rank depends on it: add a method, as with "
                "-c adapters/lora, or test the model as it is: lightning-petl test"
            )
        super().setup(stage)

    @property
    def owners(self) -> dict[str, str]:
        """Owner of each trainable parameter."""
        owners = {
            f"backbone.{name}": owner for name, owner in self.backbone.owners.items()
        }
        for owner in ("side_projection", "similarity", "projection", "text"):
            module = self.get_submodule(owner)
            owners |= {
                f"{owner}.{name}": owner
                for name, p in module.named_parameters()
                if p.requires_grad
            }
        return owners | {"text.logit_scale": "logit_scale"}

    @property
    def unreachable(self) -> set[str]:
        """Trainable parameters that no frame and no word depends on."""
        return {f"backbone.{name}" for name in unreachable_from_frames(self.backbone)}

    def videos(self, video: Video) -> Embeddings:
        """Videos in the joint space, a row a frame, frames of one view behind those of another."""
        clips = rearrange(video, "b v t c h w -> (b v) t c h w")
        frames = self.backbone.frames(self.backbone.normalize(clips))
        tokens = frames.trunk
        for name, answer in frames.readers.items():
            tokens = tokens + self.side_projection[name](answer)
        joint = self.projection(self.backbone.final_norm(tokens)).float()
        return rearrange(joint, "(b v) t e -> b (v t) e", v=video.shape[1])

    def texts(self, captions: Sequence[str]) -> Words:
        """Sentences in the joint space."""
        return self.text(self.text.tokenize(captions))

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        with torch.no_grad():  # here and not behind the step: a resumed training then sees what this one would
            self.text.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        captions = [caption for (caption,) in _captions(batch)]
        loss = contrastive_loss(
            self.similarity,
            self.videos(_pixels(batch.video)),
            self.texts(captions),
            number=batch.label,
            logit_scale=self.text.logit_scale,
            block=self.joint.block,
        )
        self.log(
            "train/loss", loss.detach(), batch_size=len(batch.label), prog_bar=True
        )
        return loss

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self._entries += self._seen(batch)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> None:
        self._entries += self._seen(batch)

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
        self.answers = gallery.answers(gallery.similarities(self.similarity))

    def _rank(self, split: str, dual_softmax: float | None) -> Gallery:
        """Log what is found among all that the ranks have seen; each asks for its own captions, and all agree."""
        entries, self._entries = self._entries, []
        gallery = Gallery.of(entries, self.device)
        block, videos = gallery.similarities(self.similarity), len(gallery.clip_ids)
        metrics = retrieval_metrics(
            block, gallery.owner, videos, dual_softmax=dual_softmax
        )
        logged = {f"{split}/{name}": value for name, value in metrics.items()}
        self.silent = (
            len(gallery.faults) == videos and NO_NUMBER in gallery.faults.values()
        )
        self.log_dict(
            logged, sync_dist=True, reduce_fx="max"
        )  # of equal values; their mean may be rounded
        return gallery

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["text"] = list(self.published_text or ())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.published_text and checkpoint.get("text"):
            TrunkId(*checkpoint["text"]).require(self.published_text)

    def _seen(self, batch: VideoBatch) -> list[Entry]:
        captions = _captions(batch)
        videos = _here(self.similarity.encode_videos(self.videos(_pixels(batch.video))))
        texts = _here(
            self.similarity.encode_texts(
                self.texts([caption for said in captions for caption in said])
            )
        )
        sentences = (_kept(self.similarity.take_text(texts, row)) for row in count())
        faults = batch.fault or [""] * len(captions)
        entries: list[Entry] = []
        for row, (clip_id, fault, said) in enumerate(
            zip(batch.clip_id, faults, captions, strict=True)
        ):
            video = _kept(tuple(side[row : row + 1] for side in videos))
            entry = Entry(
                clip_id,
                not fault,
                video,
                said,
                list(islice(sentences, len(said))),
                fault,
            )
            entries.append(_never_found(entry) if _without_numbers(entry) else entry)
        entries = [
            entry
            for row, entry in enumerate(entries)
            if not (batch.padding and batch.padding[row])
        ]
        self.require_numbers(
            entry.clip_id for entry in entries if entry.fault == NO_NUMBER
        )
        return entries


def _require_new(text: TextTower, context_length: int | None) -> None:
    """Refuse a text tower of its own whose random weights would be in no checkpoint, or that is told to read less."""
    frozen = [
        name
        for name, p in text.named_parameters()
        if not p.requires_grad and name != "logit_bias"
    ]
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


def _without_numbers(entry: Entry) -> bool:
    """Whether anything that is known of a video or of its captions is NaN or infinite."""
    sides = [*entry.video, *(side for text in entry.texts for side in text)]
    return not all(bool(side.isfinite().all()) for side in sides)


def _never_found(entry: Entry) -> Entry:
    """Return an entry that counts as never found, with zeros where its numbers were none."""
    return entry._replace(
        readable=False,
        video=tuple(side.nan_to_num(0, 0, 0) for side in entry.video),
        texts=[
            tuple(side.nan_to_num(0, 0, 0) for side in text) for text in entry.texts
        ],
        fault=entry.fault or NO_NUMBER,
    )


def _captions(batch: VideoBatch) -> Sequence[tuple[str, ...]]:
    if not batch.captions:
        raise ValueError(
            "VideoTextRetrieval needs videos with captions, and these have none: take a data set of captions, such as "
            "CaptionList, or the task VideoClassifier"
        )
    return batch.captions


def _pixels(video: Video | Features) -> Video:
    if isinstance(video, Mapping):
        raise ValueError(
            "data.cache keeps what a classifier reads; VideoTextRetrieval needs the clips: remove it"
        )
    return video


def _here(sides: Encoded) -> Encoded:
    """In main memory."""
    return tuple(side.detach().cpu() for side in sides)


def _kept(sides: Encoded) -> Encoded:
    """Without the rest of the batch."""
    return tuple(side.clone() for side in sides)


def _new_projection(dim: int, embed_dim: int) -> nn.Linear:
    linear = nn.Linear(dim, embed_dim, bias=False)
    nn.init.normal_(linear.weight, std=dim**-0.5)
    return linear


def _zero(width: int, dim: int) -> nn.Linear:
    linear = nn.Linear(width, dim, bias=False)
    nn.init.zeros_(linear.weight)
    return linear
