"""Read the configurations of a submission or a sweep whole, in a process of its own that the command starts.

Command lines of ``fit`` come as JSON on stdin; their configurations leave as JSON on stdout.
A wrong value is told on stderr, with exit code 2. With ``--built`` the model of each is built
without memory, too.
"""

import contextlib
import io
import json
import sys
from typing import Any

import yaml

from lightning_petl.cli.errors import told_to_the_user
from lightning_petl.cli.main import main as run_command
from lightning_petl.cli.summary import on_meta
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
            config = yaml.safe_load(texts[-1])
            _require_whole_passes(config)
            if "--built" in sys.argv:
                _build(config)
        except ValueError as error:
            # The parser that builds a model wraps what its parts raise.
            told = told_to_the_user(error) or str(error)
            print(f"lightning-petl: {told}", file=sys.stderr)
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
    # "auto" and lists are only known to the machine that trains.
    if not str(trainer["devices"]).isdecimal():
        return
    ranks = trainer["num_nodes"] * int(trainer["devices"])
    accumulation(optim["global_batch"], ranks=ranks, micro=micro)


def _build(config: dict[str, Any]) -> None:
    """Build a model on the meta device, as far as its configuration says.

    Raises:
        ValueError: its parts do not go together.
    """
    data = config["data"]["init_args"]
    model = config["model"]
    model["init_args"]["backbone"]["init_args"] |= {
        "weights": "random",
        "image_size": data["image_size"],
        "num_frames": data["sampling"]["init_args"]["num_frames"],
    }
    # The number of classes, which the files of the data say, decides nothing here.
    model["init_args"]["labels"] = ["0", "1"]
    on_meta(model)


if __name__ == "__main__":
    sys.exit(main())
