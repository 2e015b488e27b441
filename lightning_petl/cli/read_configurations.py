"""Read whole configurations of ``fit`` in a process of their own, before anything is queued or started."""

import json
import os
import subprocess
import sys

import lightning_petl


def configurations(lines: list[list[str]], *, built: bool = False) -> list[str]:
    """Return the whole configuration of each command line of ``fit``, as YAML.

    They are read in a process of their own, as ``fit`` reads them: importing torch takes
    seconds, and what it leaves in a process would hide what a job lacks.

    Args:
        lines: options of ``fit``, without the command.
        built: build each model without memory, too, which refuses a stack that cannot be.

    Raises:
        ValueError: ``fit`` would refuse one.
    """
    flags = ["--built"] if built else []
    done = subprocess.run(
        # -P: a file of the user's in the current folder must not hide a module.
        [
            sys.executable,
            "-P",
            "-m",
            "lightning_petl.cli.check_submission",
            *flags,
        ],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        env=environment(),
    )
    if done.returncode:
        raise ValueError(_told(done.stderr))
    return json.loads(done.stdout)


def environment() -> dict[str, str]:
    """Return the variables for a process of this program, whose package need not be installed."""
    home = os.path.dirname(os.path.dirname(lightning_petl.__file__))
    given = os.environ.get("PYTHONPATH")
    # An empty entry would stand for the current folder.
    path = f"{home}{os.pathsep}{given}" if given else home
    return os.environ | {"PYTHONPATH": path}


def _told(stderr: str) -> str:
    """Return the last paragraph that the process told, or all that it printed."""
    begin = "lightning-petl: "
    # Warnings of libraries may stand before it.
    told = [line for line in stderr.splitlines() if line.startswith(begin)]
    return told[-1].removeprefix(begin) if told else stderr
