"""Find a user's own classes in the current folder, and our own packages everywhere else."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning_petl

_PACKAGE = "data_modules"


@contextmanager
def current_folder_last() -> Generator[None]:
    """Let a configuration name classes of modules in the current folder, as ``my_package.GateAdapter``.

    The folder comes behind all others, so that a file of the user's, whatever its name, hides
    no module that is installed. ``python -m lightning_petl`` has it in front, and an installed
    program does not have it at all.
    """
    folder = os.getcwd()
    # Restored behind the command, for main(argv) may be called in a program of the user's.
    before = list(sys.path)
    others = [entry for entry in before if entry not in ("", folder)]
    sys.path[:] = [*others, folder]
    try:
        yield
    finally:
        sys.path[:] = before


def require_own_packages() -> None:
    """Refuse a package ``data_modules`` that is not the one of this program.

    Raises:
        ValueError: another folder of that name would be imported in its place.
    """
    ours = Path(lightning_petl.__file__).resolve().parent.with_name(_PACKAGE)
    # Found and not imported: the wrong package could run anything.
    spec = find_spec(_PACKAGE)
    found = spec.origin if spec is not None else None
    if found is not None and Path(found).resolve().parent == ours:
        return
    raise ValueError(
        f"the package {_PACKAGE} of this program is in "
        f"{ours}, but Python finds {found or 'none'}: rename "
        "that one, take its folder out of PYTHONPATH, or "
        "install lightning_petl in an environment of its own"
    )
