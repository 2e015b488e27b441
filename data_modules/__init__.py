"""Video clips from files to batches. Imports nothing of ``lightning_petl``."""

import data_modules.compat as compat  # before lightning, which imports torchvision
