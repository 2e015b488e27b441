"""Leave out warnings that tell a user nothing, and what Lightning says of other products."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from data_modules.io.names import visible

_PACKAGES = {"lightning_petl", "data_modules", "lightning"}

# warnings that tell a user nothing, each with the reason

SILENCED = [
    # the frozen trunk is in eval, and is meant to be
    (r"Found \d+ module\(s\) in eval mode at the start of training", UserWarning),
    # each command writes to a folder of its own, so a checkpoint always comes from another one
    (r"The dirpath has changed from", UserWarning),
    # a login node, or one process in an allocation
    (
        r"The `srun` command is available on your system but is not used",
        UserWarning,
    ),
    # what a reader's tap returns may be a view; nobody changes it in place
    (r"FSDP2-wrapped module .* returned a view tensor", UserWarning),
    # a run that goes on finds its own checkpoints
    (r"Checkpoint directory .* exists and is not empty", UserWarning),
    # lightning 2.6 walks batches through a tree API that torch 2.13 has renamed
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
]


@contextmanager
def plainly_told() -> Generator[None]:
    """Leave out what tells a user nothing, and tell a warning of ours in one line, without its place in the code."""
    speaks = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    speaks.addFilter(_no_advertisement)
    before = warnings.formatwarning
    warnings.formatwarning = _formatted
    try:
        with warnings.catch_warnings():
            for message, category in SILENCED:
                warnings.filterwarnings(
                    "ignore", message=message, category=category
                )
            yield
    finally:
        warnings.formatwarning = before
        speaks.removeFilter(_no_advertisement)


def _formatted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    if _PACKAGES.isdisjoint(Path(filename).parts):
        return f"{filename}:{lineno}: {category.__name__}: {message}\n"
    return f"warning: {visible(' '.join(str(message).splitlines()))}\n"


def _no_advertisement(record: logging.LogRecord) -> bool:
    """Return whether a log record is none of the advertisements of Lightning 2.6, at each start of a Trainer."""
    return "💡 Tip: For seamless" not in record.getMessage()
