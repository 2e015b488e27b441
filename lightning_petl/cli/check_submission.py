"""Read the configurations of a submission whole, in a process of its own that ``submit`` starts.

Command lines of ``fit`` come as JSON on stdin; their configurations leave as JSON on stdout.
A wrong value is told on stderr, with exit code 2.
"""

import contextlib
import io
import json
import sys
from typing import Any

import yaml

from lightning_petl.cli.main import main as run_command
from lightning_petl.optim.optimizer import accumulation


def main() -> int:
    """Read every command line up to the first wrong one, and return its exit code."""
    texts: list[str] = []
    for argv in json.load(sys.stdin):
        # check prints the configuration, which is the answer here.
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = run_command(["check", *argv])
        if code:
            return code
        texts.append(printed.getvalue())
        try:
            _require_whole_passes(yaml.safe_load(texts[-1]))
        except ValueError as error:
            print(f"lightning-petl: {error}", file=sys.stderr)
            return 2
    json.dump(texts, sys.stdout)
    return 0


def _require_whole_passes(config: dict[str, Any]) -> None:
    """Refuse a global batch that is no whole number of passes over all ranks.

    Raises:
        ValueError: it is none.
    """
    optim = config["model"]["init_args"].get("optim") or {}
    trainer = config["trainer"]
    micro = config["data"]["init_args"].get("batch_size")
    if optim.get("global_batch") is None or micro is None:
        return
    ranks = trainer["num_nodes"] * int(trainer["devices"])
    accumulation(optim["global_batch"], ranks=ranks, micro=micro)


if __name__ == "__main__":
    sys.exit(main())
