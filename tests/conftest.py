"""What all tests share."""

import data_modules.compat  # noqa: F401  # before any test imports lightning, which imports torchvision
