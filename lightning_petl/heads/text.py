"""Classify by the text of class names: zero-shot recognition, and heads that begin there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from lightning_petl.backbones.pairs import projection, text_tower
from lightning_petl.backbones.text import TextTower
from lightning_petl.backbones.vit import VideoViT
from lightning_petl.heads.linear import HeadRecipe, require_classes
from lightning_petl.shapes import Feature, Logits

TEMPLATES = ("a video of {}.", "a video of a person {}.", "{}")
Classes = Float[Tensor, "k e"]


class TextClassifier(nn.Module):
    """Compute ``logits_k = exp(s) cos(P z, w_k) + b``, in float32.

    s and b are the dual encoder's; b = 0 but for SigLIP.

    Args:
        projection: P, from the width of the trunk to the joint space of width e; frozen.
        weight: w, one row a class.
        scale: s.
        bias: b.
        tuned: w trains.
    """

    scale: Float[Tensor, ""]
    bias: Float[Tensor, ""]

    def __init__(
        self,
        projection: nn.Module,
        weight: Classes,
        *,
        scale: Tensor,
        bias: Tensor | None,
        tuned: bool,
    ) -> None:
        super().__init__()
        self.projection = projection.requires_grad_(False)
        self.weight = nn.Parameter(weight.clone(), requires_grad=tuned)
        bias = torch.zeros(()) if bias is None else bias
        for name, value in (("scale", scale), ("bias", bias)):
            # not saved: they come with the trunk, whose hash a checkpoint holds
            own = value.detach().float().clone().squeeze()
            self.register_buffer(name, own, persistent=False)

    def forward(self, feature: Feature) -> Logits:
        joint = self.projection(feature).float()
        # in bfloat16, scores of a hundred differ by halves
        with torch.autocast(joint.device.type, enabled=False):
            classes = normalize(self.weight.float(), dim=-1)
            cosine = linear(normalize(joint, dim=-1), classes)
            return self.scale.exp() * cosine + self.bias


@dataclass(frozen=True, kw_only=True)
class TextHead(HeadRecipe):
    """Configure a :class:`TextClassifier` whose classes are what the text tower makes of their labels.

    ``w_k = N(mean over templates of N(text tower(template with label k)))`` with ``N`` dividing by the norm (CLIP,
    Radford et al., 2021, section 3.1). Frozen and without adapters this is zero-shot recognition: ``test`` needs no
    training. The text tower is that of the trunk's open_clip model, runs once, and is not part of the model.

    Args:
        templates: sentences with ``{}`` in the place of the label.
        tuned: w trains, beginning at the text; the norm of its rows has no effect.

    Raises:
        ValueError: no template, or one without ``{}``; later, a trunk without text tower, readers, whose answers are
            not in the joint space, or labels that are numbers, of which no text says what they mean.
    """

    templates: tuple[str, ...] = TEMPLATES
    tuned: bool = False

    def __post_init__(self) -> None:
        bad = [template for template in self.templates if template.count("{}") != 1]
        if bad or not self.templates:
            raise ValueError(
                f"head templates: each needs {{}} once, in the place of the label, got {bad or 'none'}"
            )

    @property
    def fits_any_labels(self) -> bool:
        """Return whether w is frozen: it is then made of whatever labels there are."""
        return not self.tuned

    def build_on(self, vit: VideoViT, labels: Sequence[str]) -> TextClassifier:
        require_classes(len(labels))
        if len(vit.readers) > 0:
            raise ValueError(
                f"TextHead compares the trunk's own feature with text, and {', '.join(vit.readers)} answers in its "
                "place with one that is new: take adapters inside the trunk, or a LinearHead"
            )
        if vit.feature_dim != vit.dim:
            raise ValueError(
                f"TextHead compares one vector a clip with text, and readout {vit.readout!r} gives one a frame: take a "
                "readout that averages over frames, as norm_cls_mean, or a LinearHead"
            )
        if all(label.isdecimal() for label in labels):
            raise ValueError(
                f"TextHead reads the names of classes, and these are numbers, the first {labels[0]}: give the data set "
                "its names, as names: FILE of a VideoList, or folders that are named after their classes"
            )
        tower = text_tower(vit.name, vit.weights)
        weight = class_embeddings(tower, labels, self.templates)
        return TextClassifier(
            projection(vit),
            weight,
            scale=tower.logit_scale,
            bias=tower.logit_bias,
            tuned=self.tuned,
        )


@torch.no_grad()
def class_embeddings(
    tower: TextTower, labels: Sequence[str], templates: Sequence[str]
) -> Classes:
    """Return the mean over templates of the normalized embeddings of each label, normalized."""
    classes: list[Tensor] = []
    for label in labels:
        mean = _sentences(tower, label, templates).mean(0)
        classes.append(normalize(mean, dim=-1))
    return torch.stack(classes)


def spoken(label: str) -> str:
    """Return a label as words: ``brush_hair`` is "brush hair", ``ApplyEyeMakeup`` is "Apply Eye Makeup"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.replace("_", " "))


def _sentences(
    tower: TextTower, label: str, templates: Sequence[str]
) -> Float[Tensor, "q e"]:
    texts = [template.replace("{}", spoken(label)) for template in templates]
    words = tower(tower.tokenize(texts))
    return normalize(words.sentence, dim=-1)
