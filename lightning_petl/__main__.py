"""Start the program: ``lightning-petl`` and ``python -m lightning_petl`` are the same."""

import sys

if sys.platform == "win32":
    # Before all other imports: they need signals and locks that Windows does not have.
    sys.stderr.write(
        "lightning-petl: it needs Linux, and this is Windows; WSL 2 is a Linux. macOS is untested\n"
    )
    sys.exit(2)

from lightning_petl.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
