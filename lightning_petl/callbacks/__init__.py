"""What is guarded, measured and written around a run."""

# before lightning, which imports torchvision
import data_modules.compat  # noqa: F401  # pyright: ignore[reportUnusedImport]
