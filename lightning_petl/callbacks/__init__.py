"""What is guarded, measured and written around a run."""

import data_modules.compat as compat  # before lightning, which imports torchvision
