"""Turn a pooled feature into class scores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lightning_petl.backbones.vit import VideoViT
from lightning_petl.shapes import Feature, Logits


class Head(nn.Module):
    """Compute ``logits = W dropout(BN(z)) + b``; at the start W ~ N(0, std²), b = 0.

    Args:
        dim: width of the feature z.
        classes: number of class scores.
        dropout: probability of dropping an entry of z while training.
        std: standard deviation of W at the start.
        batch_norm: BN is a batch norm without weights, eps 1e-6 (MAE's linear probe, AdaptFormer); else nothing.

    Raises:
        ValueError: ``classes`` below 2, ``dropout`` outside [0, 1) or a negative ``std``.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        dropout: float,
        std: float,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        _check(classes, dropout, std)
        self.norm = (
            nn.BatchNorm1d(dim, affine=False, eps=1e-6)
            if batch_norm
            else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, classes)
        nn.init.normal_(self.classifier.weight, std=std)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, feature: Feature) -> Logits:
        return self.classifier(self.dropout(self.norm(feature)))


class HeadRecipe(ABC):
    """Configure how class scores are read from the features of a trunk: a frozen dataclass of hyper-parameters."""

    @property
    def fits_any_labels(self) -> bool:
        """Return whether nothing that trains belongs to single classes, so that trained weights serve others, too."""
        return False

    @abstractmethod
    def build_on(self, vit: VideoViT, labels: Sequence[str]) -> nn.Module:
        """Build the head that turns features of ``vit`` into one score a label.

        Raises:
            ValueError: fewer than two labels, or a trunk whose features it cannot read.
        """


@dataclass(frozen=True, kw_only=True)
class LinearHead(HeadRecipe):
    """Configure a :class:`Head`; the defaults are ST-Adapter's (Pan et al., NeurIPS 2022, released code)."""

    dropout: float = 0.5
    std: float = 0.02
    batch_norm: bool = False

    def build_on(self, vit: VideoViT, labels: Sequence[str]) -> Head:
        if vit.queries is not None:
            raise ValueError(
                f"LinearHead reads one vector a clip, and {', '.join(vit.readers)} answers "
                f"{vit.queries}: take a head of your own that reads them"
            )
        return self.build(vit.feature_dim, len(labels))

    def build(self, dim: int, classes: int) -> Head:
        """Build the head for features of width ``dim``."""
        return Head(
            dim,
            classes,
            dropout=self.dropout,
            std=self.std,
            batch_norm=self.batch_norm,
        )


def require_classes(classes: int) -> None:
    """Refuse fewer than two classes.

    Raises:
        ValueError: so it is.
    """
    if classes < 2:
        raise ValueError(
            f"a classifier needs at least 2 classes, got labels for {classes}; data.classes takes half of those of the "
            "data set, and videos that have captions in the place of classes are for VideoTextRetrieval"
        )


def _check(classes: int, dropout: float, std: float) -> None:
    require_classes(classes)
    if not 0 <= dropout < 1:
        raise ValueError(f"head dropout must lie in [0, 1), got {dropout}")
    if std < 0:
        raise ValueError(f"head std must not be negative, got {std}")
