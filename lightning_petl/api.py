"""Use a trained model from Python: load it, ask it for classes, read its features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from jaxtyping import Float
from torch import Tensor

from data_modules.loading.dataset import VideoDataset
from data_modules.loading.views import EvalViews, Views
from data_modules.sampling import papers as papers  # makes its classes known
from data_modules.sampling.schemes import Sampling
from data_modules.storage.search import existing, videos_below
from data_modules.transforms.crops import EvalCrop
from lightning_petl.artifacts.files import CONFIG, read
from lightning_petl.artifacts.recipes import Packages, build, known_classes
from lightning_petl.shapes import Video
from lightning_petl.tasks import loading
from lightning_petl.tasks.classification import VideoClassifier

FeatureKind = Literal["pooled", "frames", "tokens"]

# An artifact comes from somebody else: beyond these one video would fill the memory.
_MOST_VIEWS = 100
_MOST_FRAMES = 1024
_MOST_PIXELS = 2048


class Prediction(NamedTuple):
    """Hold one class of a video and its probability, 0 to 1."""

    label: str
    probability: float


class Model:
    """Hold a trained classifier and the way in which it looks at videos.

    Args:
        classifier: in eval.
        view: which frames and which crops it sees.

    Attributes:
        labels: class names by index.

    Example, of a classifier that was not trained::

        >>> import lightning_petl as petl
        >>> from lightning_petl.api import view_of
        >>> vit = petl.VideoViT("test_vit", weights="random", image_size=32)
        >>> classifier = petl.VideoClassifier(vit, [petl.LoRA()], ["left", "right"])
        >>> protocol = {
        ...     "sampling": {"name": "SegmentSampling", "num_frames": 8},
        ...     "image_size": 32,
        ...     "views": "1x1",
        ...     "crop": {"crop_ratio": 1.0, "interpolation": "bilinear"},
        ... }
        >>> petl.Model(classifier.eval(), view_of(protocol)).labels
        ('left', 'right')
    """

    def __init__(self, classifier: VideoClassifier, view: EvalViews) -> None:
        self.classifier = classifier
        self.labels = classifier.labels
        self._view = view

    def video(self, path: str | Path) -> Video:
        """Return what the model sees of a video: uint8 pixels, 0 to 255, ``"1 v t c h w"``.

        Args:
            path: a video file, or a folder with the frames of one video as images.

        Raises:
            FileNotFoundError: there is nothing.
            ValueError: it holds several videos or none, or it cannot be decoded.
        """
        clips, _ = videos_below(existing(Path(path)))
        # Before decoding, which takes seconds for each video.
        if len(clips) > 1:
            raise ValueError(
                f"{path} holds {len(clips)} videos: give one "
                "of them; lightning-petl predict reads folders"
            )
        sample = VideoDataset(clips, self._view)[0]
        return cast(Tensor, sample.video)[None].to(self.classifier.device)

    @torch.no_grad()
    def predict(self, path: str | Path, top: int = 5) -> list[Prediction]:
        """Return the most probable classes of a video, the best first.

        The probabilities are the mean over views of the softmax.

        Args:
            path: as in :meth:`video`.
            top: how many classes.
        """
        probabilities = self.classifier.probabilities(self.video(path))[0]
        best = probabilities.topk(min(top, len(self.labels)))
        indices = cast(list[int], best.indices.tolist())
        values = cast(list[float], best.values.tolist())
        predictions: list[Prediction] = []
        for index, value in zip(indices, values, strict=True):
            predictions.append(Prediction(self.labels[index], value))
        return predictions

    @torch.no_grad()
    def features(
        self, path: str | Path, kind: FeatureKind = "pooled"
    ) -> Float[Tensor, "v *axes d"]:
        """Return what the model computes of each view of a video, in front of its head.

        Args:
            path: as in :meth:`video`.
            kind: ``pooled``: the feature of the clip that the head reads, ``"v d"``;
                ``frames``: the trunk's normalized feature of each frame, ``"v t d"``;
                ``tokens``: the trunk's normalized last patch tokens, ``"v t p d"``.

        Raises:
            ValueError: another kind.
        """
        # The views of the one video take the place of a batch.
        views = self.video(path)[0]
        trunk = self.classifier.backbone
        if kind == "pooled":
            return trunk(views)
        pixels = trunk.normalize(views)
        if kind == "frames":
            return trunk.final_norm(trunk.frames(pixels).trunk)
        if kind == "tokens":
            return trunk.patch_tokens(pixels)
        raise ValueError(f"kind {kind!r} is none of pooled, frames, tokens")


def load(
    folder: str | Path,
    *,
    weights: str | None = None,
    allow_other_trunk: bool = False,
    allow: Packages = (),
) -> Model:
    """Load the artifact that a training or ``lightning-petl export`` has written.

    Args:
        folder: of the artifact, as ``runs/default/version_0/artifact``.
        weights: where the trunk's weights come from; None: from the hub, if they came from there in training.
        allow_other_trunk: accept a trunk with other weights than those it was trained on.
        allow: packages of your own, from which the artifact may name a class that is not imported yet.

    Raises:
        FileNotFoundError: not an artifact.
        ValueError: damaged, another schema, another trunk, weights of another stack, a class
            that is not known, or a trunk from a file that is not given.

    Example, of a folder that is none::

        >>> import lightning_petl as petl
        >>> try:
        ...     petl.load("my_videos")
        ... except FileNotFoundError as error:
        ...     print(str(error).partition(":")[0])
        my_videos is not an adapter artifact
    """
    classifier = loading.load(
        Path(folder),
        weights=weights,
        allow_other_trunk=allow_other_trunk,
        allow=allow,
    )
    protocol = read(Path(folder)).config["protocol"]
    try:
        return Model(classifier, view_of(protocol))
    except ValueError as error:
        raise ValueError(f"{Path(folder) / CONFIG}: protocol: {error}") from error


def view_of(protocol: Mapping[str, Any]) -> EvalViews:
    """Return the views of evaluation that ``VideoDataModule.protocol`` described.

    Raises:
        ValueError: a part is missing, of another type, or beyond what any video needs.
    """
    missing = sorted({"sampling", "image_size", "views", "crop"} - protocol.keys())
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    size = protocol["image_size"]
    # By type, for True is an int, too.
    if type(size) is not int or not 1 <= size <= _MOST_PIXELS:
        raise ValueError(
            f"image_size: expected 1 to {_MOST_PIXELS} pixels, got {repr(size)[:80]}"
        )
    views = protocol["views"]
    if not isinstance(views, str) or Views.parse(views).temporal > _MOST_VIEWS:
        raise ValueError(
            f"views: expected at most {_MOST_VIEWS}x3, got {repr(views)[:80]}"
        )
    crop = build(EvalCrop, protocol["crop"])
    return EvalViews(
        sampling_of(protocol["sampling"]), crop, size, Views.parse(views)
    )


def sampling_of(entry: Any) -> Sampling:
    """Return the sampling of a protocol, which has its class name and its arguments.

    Raises:
        ValueError: no such class, other arguments, or more frames than any clip has.
    """
    arguments: dict[str, Any] = {}
    if isinstance(entry, dict):
        arguments |= cast(dict[str, Any], entry)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        # Shortened, for a file may hold anything.
        raise ValueError(
            f"sampling: expected a name and its arguments, got {repr(entry)[:80]}"
        )
    # Only classes that are imported: a name of a file must not import code.
    kinds = {kind.__name__: kind for kind in known_classes(Sampling)}
    if name not in kinds:
        raise ValueError(
            f"sampling: {repr(name)[:80]} is none of {', '.join(sorted(kinds))}"
        )
    sampling = build(kinds[name], arguments)
    if sampling.num_frames > _MOST_FRAMES:
        raise ValueError(f"sampling: more than {_MOST_FRAMES} frames")
    return sampling
