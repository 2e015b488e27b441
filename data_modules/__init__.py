"""Video clips from files to batches. Imports nothing of ``lightning_petl``."""

from data_modules import (
    compat as compat,
)  # before lightning, which imports torchvision
