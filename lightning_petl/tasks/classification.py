"""Which class a video shows."""

from collections.abc import Mapping
from typing import NamedTuple, TypedDict

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Int64
from lightning.pytorch import Trainer
from torch import Tensor

from data_modules.batch import Features, VideoBatch
from lightning_petl.adapters import Adapter, attach
from lightning_petl.artifacts.format import Trained
from lightning_petl.backbones import prefix
from lightning_petl.backbones.prefix import features_from
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import State, trainable_state
from lightning_petl.heads.linear import HeadRecipe, LinearHead
from lightning_petl.losses.cross_entropy import ViewLogits, classification_loss
from lightning_petl.metrics.accuracy import FiniteShare, MeanLoss, accuracies
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.shapes import Labels, Logits, Video
from lightning_petl.tasks.task import Task


class Answers(NamedTuple):
    """What a model says of the clips of an evaluation batch, without its padding.

    Attributes:
        clip_id: names of the clips.
        label: class indices.
        fault: why a video could not be read, empty where it could; the logits of such a clip mean nothing.
        logits: of each view.
    """

    clip_id: list[str]
    label: Labels
    fault: list[str]
    logits: ViewLogits

    @classmethod
    def of(cls, batch: VideoBatch, logits: ViewLogits) -> "Answers":
        """Take the rows of ``batch`` that are clips of the data set."""
        rows = [
            row
            for row in range(len(batch.label))
            if not (batch.padding and batch.padding[row])
        ]
        faults = batch.fault or [""] * len(batch.label)
        return cls(
            [batch.clip_id[row] for row in rows],
            batch.label[rows],
            [faults[row] for row in rows],
            logits[rows],
        )

    @property
    def readable(self) -> Bool[Tensor, " b"]:
        """Which videos could be read."""
        return torch.tensor(
            [not fault for fault in self.fault],
            dtype=torch.bool,
            device=self.logits.device,
        )

    @property
    def numbers(self) -> Bool[Tensor, " b"]:
        """Of which clips all logits are finite."""
        return self.logits.isfinite().all(-1).all(-1)

    @property
    def without_numbers(self) -> list[str]:
        """Names of the readable clips of which a logit is NaN or infinite."""
        lost = (self.readable & ~self.numbers).tolist()
        return [
            name for name, is_lost in zip(self.clip_id, lost, strict=True) if is_lost
        ]

    @property
    def probabilities(self) -> Logits:
        """Class probabilities, averaged over views; NaN where a logit is no number."""
        mean = reduce(self.logits.softmax(-1), "b v k -> b k", "mean")
        return mean.masked_fill(~self.numbers[:, None], torch.nan)


class Scores(TypedDict):
    """What a test step returns, for whoever writes it down; ``fault`` as in :class:`Answers`."""

    clip_id: list[str]
    label: Labels
    logits: ViewLogits
    fault: list[str]


class TopClasses(NamedTuple):
    """The most probable classes of each clip, best first; of a clip with a fault they mean nothing."""

    clip_id: list[str]
    label: Int64[Tensor, "b top"]
    probability: Float[Tensor, "b top"]
    fault: list[str]


class VideoClassifier(Task):
    """A frozen trunk, a stack of adapters and a head; ``p = mean over views of softmax(head(trunk(view)))``.

    In training each view is a clip of its own.

    Args:
        backbone: the trunk; it is changed by the adapters.
        adapters: methods, attached in order.
        labels: class names by index.
        head: recipe of the head: ``LinearHead``, or ``TextHead`` (zero-shot, or trained from there).
        optim: how the parameters are updated.
        label_smoothing: of the training loss, 0 to 1 (Szegedy et al., 2016).

    Raises:
        ValueError: labels that are fewer than two or not unique, a smoothing outside [0, 1), and what the
            adapters raise.
    """

    def __init__(
        self,
        backbone: VideoViT,
        adapters: list[Adapter],
        labels: list[str],
        *,
        head: HeadRecipe = LinearHead(),
        optim: OptimizerConfig = OptimizerConfig(),
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check_labels(labels, label_smoothing)
        attach(backbone, adapters)
        self.backbone, self.adapters, self.labels = (
            backbone,
            tuple(adapters),
            tuple(labels),
        )
        self.head_recipe, self.head = head, head.build_on(backbone, labels)
        self.optim, self.label_smoothing = optim, label_smoothing
        self.begin()
        self.val_metrics, self.test_metrics = (
            accuracies(len(labels), "val/"),
            accuracies(len(labels), "test/"),
        )
        self.val_loss, self.val_answered = MeanLoss(), FiniteShare()

    @property
    def owners(self) -> dict[str, str]:
        """Owner of each trainable parameter: an adapter, or ``head``."""
        trunk = {
            f"backbone.{name}": owner for name, owner in self.backbone.owners.items()
        }
        return trunk | {
            f"head.{name}": "head"
            for name, p in self.head.named_parameters()
            if p.requires_grad
        }

    def trained(self, state: State | None = None) -> Trained:
        """Return what an artifact holds of this model.

        Args:
            state: weights by name, as of a checkpoint; None: the weights of now.
        """
        weights = trainable_state(self) if state is None else state
        return Trained(
            self.backbone, self.adapters, self.head_recipe, self.labels, weights
        )

    def forward(self, video: Video | Features) -> ViewLogits:
        feature, views = clip_features(self.backbone, video)
        return rearrange(self.head(feature), "(b v) k -> b v k", v=views)

    def probabilities(self, video: Video | Features) -> Logits:
        """Class probabilities, averaged over views."""
        return reduce(self(video).softmax(-1), "b v k -> b k", "mean")

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        loss = classification_loss(
            self(batch.video), batch.label, batch.partners, self.label_smoothing
        )
        self.log(
            "train/loss", loss.detach(), batch_size=len(batch.label), prog_bar=True
        )
        return loss

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        answers = Answers.of(batch, self(batch.video))
        self.require_numbers(answers.without_numbers)
        self.val_loss.update(answers.logits, answers.label, answers.readable)
        self.val_answered.update(answers.numbers, answers.readable)
        self.val_metrics.update(answers.probabilities, answers.label, answers.readable)

    def on_validation_epoch_end(self) -> None:
        """Log here, where all ranks are, whatever clips each of them has."""
        super().on_validation_epoch_end()
        self.silent = is_silent(self.val_answered)
        self.log("val/loss", self.val_loss)
        self.log_dict(dict(self.val_metrics.items()), prog_bar=True)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> Scores:
        answers = Answers.of(batch, self(batch.video))
        self.require_numbers(answers.without_numbers)
        self.test_metrics.update(answers.probabilities, answers.label, answers.readable)
        logits = unreadable_as_wrong(answers.logits, answers)
        return Scores(
            clip_id=answers.clip_id,
            label=answers.label,
            logits=logits,
            fault=answers.fault,
        )

    def on_test_epoch_end(self) -> None:
        """As :meth:`on_validation_epoch_end`."""
        super().on_test_epoch_end()
        self.log_dict(dict(self.test_metrics.items()))

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> TopClasses:
        answers = Answers.of(batch, self(batch.video))
        self.require_numbers(answers.without_numbers)
        best = answers.probabilities.topk(min(5, len(self.labels)))
        return TopClasses(answers.clip_id, best.indices, best.values, answers.fault)

    def setup(self, stage: str) -> None:
        """Compare a cache of features with the trunk; accumulate gradients as far as the global batch asks for.

        Raises:
            ValueError: the cache is of another trunk or lacks what this stack needs, or the batches do not go up.
        """
        accept_cache(self.backbone, self.trainer)
        super().setup(stage)


def clip_features(
    vit: VideoViT, video: Video | Features
) -> tuple[Float[Tensor, "bv *q d"], int]:
    """Return the features of all views, ``"(b v) d"``, of pixels or cached parts, and the number of views.

    A reader with several queries gives ``"(b v) q d"``.
    """
    if isinstance(video, Mapping):
        parts = {
            name: rearrange(part, "b v ... -> (b v) ...")
            for name, part in video.items()
        }
        return features_from(vit, parts), next(iter(video.values())).shape[1]
    return vit(rearrange(video, "b v t c h w -> (b v) t c h w")), video.shape[1]


def is_silent(answered: FiniteShare) -> bool:
    """Return whether no output of a validation was a number, on all ranks, and begin to count anew."""
    silent = bool(answered.compute() == 0)
    answered.reset()
    return silent


def accept_cache(vit: VideoViT, trainer: Trainer) -> None:
    """Compare the cache of features that the data come from, if any, with the trunk.

    Raises:
        ValueError: it is of another trunk, or lacks what this stack needs.
    """
    features = getattr(getattr(trainer, "datamodule", None), "features", None)
    if features is not None:
        prefix.require(vit, features.parts)
        names = prefix.needed(vit)
        features.require_trunk(prefix.identity(vit, names), names)


def unreadable_as_wrong(logits: ViewLogits, batch: VideoBatch | Answers) -> ViewLogits:
    """Where a video could not be read, its own class is the least probable one and all others are equal."""
    rows = [row for row, fault in enumerate(batch.fault) if fault]
    if not rows:
        return logits
    wrong = torch.zeros_like(logits[rows])
    wrong[
        torch.arange(len(rows)), :, batch.label[rows]
    ] = -1e4  # probability 0, and still a number in JSON
    return logits.index_copy(0, torch.tensor(rows, device=logits.device), wrong)


def check_labels(labels: list[str], label_smoothing: float) -> None:
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(
            f"labels must be unique, but these occur twice: {', '.join(twice)}"
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
