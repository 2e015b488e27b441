"""LightningModules: the wiring of trunk, adapters, head, loss and metrics."""

import data_modules.compat as compat  # before lightning, which imports torchvision
