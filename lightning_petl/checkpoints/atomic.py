"""Write checkpoints so that a file of that name is always complete, and read them without trust."""

import io
import os
from pathlib import Path
from typing import Any

from data_modules import compat as compat  # before what imports torchvision

# isort: split
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from typing_extensions import override

from data_modules.io.atomic import write_whole
from lightning_petl.checkpoints.files import read


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint under a temporary name, then rename it: a killed run leaves no half file."""

    @override
    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Write ``checkpoint``; where that fails, a previous file of that name is untouched.

        Raises:
            OSError: the file could not be written.
        """
        # torch.save onto a full disk raises a RuntimeError; a write of bytes tells the reason as an OSError
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getbuffer())

    @override
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = lambda storage, loc: (
            storage
        ),  # the default of Lightning
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint. No code in it is run, whatever ``weights_only`` says.

        Raises:
            ValueError: it is damaged, or asks for classes that no checkpoint holds.
        """
        if "://" in str(path):
            return super().load_checkpoint(path, map_location, weights_only=True)
        try:
            return read(Path(path), mapped=False)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
