"""A user's own classes, from the folder where a command is given."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def current_folder_importable() -> Generator[None]:
    """Let a configuration name classes of modules in the current folder, as ``my_package.GateAdapter``.

    The folder comes behind all others, so that a file of the user's, whatever its name, stands before no module that is
    installed. An installed program does not have the folder at all.
    """
    folder = os.getcwd()
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
