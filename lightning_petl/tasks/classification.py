"""Train a classifier of videos: which class does a video show?"""

from einops import rearrange
from torch import Tensor

from data_modules.batch import Features, VideoBatch
from lightning_petl.adapters import Adapter, attach
from lightning_petl.artifacts.format import Trained
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.checkpoints.trainable_state import State, trainable_state
from lightning_petl.heads.linear import HeadRecipe, LinearHead
from lightning_petl.losses.cross_entropy import ViewLogits, classification_loss
from lightning_petl.metrics.accuracy import FiniteShare, MeanLoss, accuracies
from lightning_petl.optim.optimizer import OptimizerConfig
from lightning_petl.shapes import Logits, Video
from lightning_petl.tasks.features import clip_features, require_cache_of_trunk
from lightning_petl.tasks.outputs import (
    EvaluatedClips,
    Scores,
    TopClasses,
    is_silent,
    mean_probabilities,
    scores_of,
)
from lightning_petl.tasks.task import Task


class VideoClassifier(Task):
    """Train a stack of adapters on a frozen trunk, and a head; ``p = mean over views of softmax(head(trunk(view)))``.

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

    Example, one view of each of two clips::

        >>> import torch
        >>> import lightning_petl as petl
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32, num_frames=2)
        >>> model = petl.VideoClassifier(vit, [petl.LoRA(rank=2)], ["left", "right"])
        >>> model(torch.zeros(2, 1, 2, 3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([2, 1, 2])
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
        self.backbone = backbone
        self.adapters = tuple(adapters)
        self.labels = tuple(labels)
        self.head_recipe = head
        self.fits_any_labels = head.fits_any_labels
        # behind the adapters: it reads the width of the readers that they have added
        self.head = head.build_on(backbone, labels)
        self.optim = optim
        self.label_smoothing = label_smoothing
        self.begin()
        self.val_metrics = accuracies(len(labels), "val/")
        self.test_metrics = accuracies(len(labels), "test/")
        self.val_loss = MeanLoss()
        self.val_finite_share = FiniteShare()

    @property
    def owners(self) -> dict[str, str]:
        """Return the owner of each trainable parameter: an adapter, or ``head``."""
        found: dict[str, str] = {}
        for name, owner in self.backbone.owners.items():
            found[f"backbone.{name}"] = owner
        for name, parameter in self.head.named_parameters():
            if parameter.requires_grad:
                found[f"head.{name}"] = "head"
        return found

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
        """Return the logits of each view, from pixels 0-255 or from a cache of features."""
        feature, views = clip_features(self.backbone, video)
        return rearrange(self.head(feature), "(b v) k -> b v k", v=views)

    def probabilities(self, video: Video | Features) -> Logits:
        """Return class probabilities, averaged over views."""
        return mean_probabilities(self(video))

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        logits = self(batch.video)
        loss = classification_loss(
            logits, batch.label, batch.partners, self.label_smoothing
        )
        clips = len(batch.label)
        self.log("train/loss", loss.detach(), batch_size=clips, prog_bar=True)
        return loss

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        clips = self._evaluated(batch)
        self.val_loss.update(clips.logits, clips.label, clips.readable)
        self.val_finite_share.update(clips.finite, clips.readable)
        self.val_metrics.update(clips.probabilities, clips.label, clips.readable)

    def on_validation_epoch_end(self) -> None:
        """Log here, where all ranks are, whatever clips each of them has."""
        super().on_validation_epoch_end()
        self.silent = is_silent(self.val_finite_share)
        self.log("val/loss", self.val_loss)
        self.log_dict(dict(self.val_metrics.items()), prog_bar=True)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> Scores:
        clips = self._evaluated(batch)
        self.test_metrics.update(clips.probabilities, clips.label, clips.readable)
        return scores_of(clips)

    def on_test_epoch_end(self) -> None:
        """Log here, as :meth:`on_validation_epoch_end` does."""
        super().on_test_epoch_end()
        self.log_dict(dict(self.test_metrics.items()))

    def predict_step(self, batch: VideoBatch, batch_idx: int) -> TopClasses:
        clips = self._evaluated(batch)
        best = clips.probabilities.topk(min(5, len(self.labels)))
        return TopClasses(clips.clip_id, best.indices, best.values, clips.fault)

    def _evaluated(self, batch: VideoBatch) -> EvaluatedClips:
        """Return what the model says of a batch. All ranks must call it."""
        clips = EvaluatedClips.of(batch, self(batch.video))
        self.require_numbers(clips.without_numbers)
        return clips

    def setup(self, stage: str) -> None:
        """Compare a cache of features with the trunk; accumulate gradients as far as the global batch asks for.

        Raises:
            ValueError: the cache is of another trunk or lacks what this stack needs, or the batches do not go up.
        """
        require_cache_of_trunk(self.backbone, self.trainer)
        super().setup(stage)


def check_labels(labels: list[str], label_smoothing: float) -> None:
    """Refuse class names that are not unique, and a smoothing outside [0, 1).

    Raises:
        ValueError: so it is.
    """
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(
            f"labels must be unique, but these occur twice: {', '.join(twice)}"
        )
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing must lie in [0, 1), got {label_smoothing}"
        )
