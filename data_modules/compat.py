"""Make torchvision importable beside a CPU-only torch.

PyPI's torchvision wheel registers fake kernels for ``torchvision::nms`` at import;
beside a CPU-only build of torch its C++ library cannot load, the operator has no schema
and the import fails with ``operator torchvision::nms does not exist``. timm, lightning
and torchmetrics all import torchvision. Declaring the two schemas is enough: no
torchvision operator is ever called here.
"""

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_torchvision_operators() -> None:
    """Import torchvision, declaring its operators first where its own library could not."""
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("torchvision::nms", "torchvision::qnms"):
            torch.library.define(name, _SCHEMA)


declare_torchvision_operators()
