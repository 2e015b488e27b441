"""LightningModules: the wiring of trunk, adapters, head, loss and metrics."""

from data_modules import compat as compat  # before lightning, which imports torchvision
