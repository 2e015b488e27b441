"""Frozen trunks with extension points. The only package that imports timm and open_clip."""

# before timm, which imports torchvision
import data_modules.compat  # noqa: F401  # pyright: ignore[reportUnusedImport]
from lightning_petl.backbones.vit import VideoViT

__all__ = ["VideoViT"]
