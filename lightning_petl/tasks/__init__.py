"""Wire trunk, adapters, head, loss and metrics together in LightningModules."""

from data_modules import (
    compat as compat,
)  # before lightning, which imports torchvision
