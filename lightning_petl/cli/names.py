"""Import every class of ours that YAML may name; no other file imports a class for its name.

A class of ours is written by its short name, as ``LoRA``; a user's own class by its dotted
path, as ``my_package.GateAdapter``. Dotted names of earlier releases are in
:mod:`lightning_petl.artifacts.published_names`.
"""

from data_modules import compat as compat  # before what imports torchvision

# isort: split
from lightning.pytorch import Callback
from lightning.pytorch.strategies import Strategy

from data_modules import sets
from data_modules.loading.data_module import VideoDataModule
from data_modules.sampling import papers
from data_modules.sampling.schemes import (
    DenseSampling,
    FpsSampling,
    Sampling,
    SecondsSampling,
    SegmentSampling,
)
from data_modules.transforms.augment import (
    Augmentation,
    ColorJitter,
    Grayscale,
    RandomErasing,
)
from data_modules.transforms.crops import (
    EvalCrop,
    MultiScaleCrop,
    ShortSideJitterCrop,
    TrainCrop,
    Transform,
)
from data_modules.transforms.rand_augment import RandAugment
from lightning_petl import adapters
from lightning_petl.adapters import Adapter
from lightning_petl.backbones import VideoViT
from lightning_petl.backbones.text import TextTower
from lightning_petl.callbacks.compile_blocks import CompileBlocks
from lightning_petl.callbacks.ema import EMA
from lightning_petl.heads.linear import HeadRecipe, LinearHead
from lightning_petl.heads.similarity import WTI, MeanPooling, SimilarityRecipe
from lightning_petl.heads.text import TextHead
from lightning_petl.strategies.ddp import TrainableDDP
from lightning_petl.strategies.fsdp import FSDP2
from lightning_petl.tasks.bank.task import Bank
from lightning_petl.tasks.classification import VideoClassifier
from lightning_petl.tasks.retrieval.task import VideoTextRetrieval
from lightning_petl.tasks.task import Task


def _exported(package: object, base: type) -> tuple[type, ...]:
    """Return the subclasses of ``base`` in ``__all__`` of a package, without ``base``."""
    kinds: list[type] = []
    for name in vars(package)["__all__"]:
        kind = getattr(package, name)
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
            kinds.append(kind)
    return tuple(kinds)


# by the last part of a key: what its value must be
BASES: dict[str, type] = {
    "model": Task,
    "data": VideoDataModule,
    "backbone": VideoViT,
    "adapters": Adapter,
    "head": HeadRecipe,
    "similarity": SimilarityRecipe,
    "text": TextTower,
    "sampling": Sampling,
    "train_transform": Transform,
    "augmentations": Augmentation,
    "callbacks": Callback,
    "strategy": Strategy,
}

# by the same keys: the classes of ours
NAMES: dict[str, tuple[type, ...]] = {
    "model": (VideoClassifier, VideoTextRetrieval, Bank),
    "data": _exported(sets, VideoDataModule),
    "backbone": (VideoViT,),
    "adapters": _exported(adapters, Adapter),
    "head": (LinearHead, TextHead),
    "similarity": (MeanPooling, WTI),
    "text": (TextTower,),
    "sampling": (
        SegmentSampling,
        DenseSampling,
        FpsSampling,
        SecondsSampling,
        papers.AIMKineticsSampling,
        papers.RoundedSegmentSampling,
        papers.Side4VideoKineticsSampling,
        papers.Side4VideoRetrievalSampling,
        papers.Side4VideoSomethingSampling,
        papers.VideoMAESampling,
    ),
    "train_transform": (TrainCrop, EvalCrop, MultiScaleCrop, ShortSideJitterCrop),
    "augmentations": (RandAugment, ColorJitter, Grayscale, RandomErasing),
    "callbacks": (EMA, CompileBlocks),
    "strategy": (TrainableDDP, FSDP2),
}
