"""Reads the configurations of a submission whole, in a process of its own: importing torch takes seconds.

Command lines of ``fit`` come as JSON on stdin; their configurations leave as JSON on stdout. Wrong values are told on
stderr, with exit code 2.
"""

import contextlib
import io
import json
import sys
from typing import Any

import yaml

from lightning_petl.cli import lightning
from lightning_petl.cli.user_code import current_folder_importable
from lightning_petl.optim.optimizer import accumulation


def main() -> int:
    """Read every command line up to the first wrong one."""
    texts: list[str] = []
    for argv in json.load(sys.stdin):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = lightning.run(["check", *argv])
        if code:
            return code
        texts.append(printed.getvalue())
        try:
            _batches(yaml.safe_load(texts[-1]))
        except ValueError as error:
            print(f"lightning-petl: {error}", file=sys.stderr)
            return 2
    json.dump(texts, sys.stdout)
    return 0


def _batches(config: dict[str, Any]) -> None:
    """The global batch is a whole number of passes over all ranks."""
    optim, trainer = config["model"]["init_args"].get("optim") or {}, config["trainer"]
    micro = config["data"]["init_args"].get("batch_size")
    if optim.get("global_batch") is not None and micro is not None:
        accumulation(
            optim["global_batch"],
            ranks=trainer["num_nodes"] * int(trainer["devices"]),
            micro=micro,
        )


if __name__ == "__main__":
    with current_folder_importable():
        sys.exit(main())
