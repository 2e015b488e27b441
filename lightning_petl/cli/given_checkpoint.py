"""Check the checkpoint that a user names, before anything is built."""

from pathlib import Path

from lightning_petl.runs.folder import CHECKPOINTS, content


def check_checkpoint(path: str) -> None:
    """Refuse a checkpoint that is not there or cannot be read.

    Raises:
        ValueError: it is one of them.
    """
    # A remote one is left to Lightning, which reads it with fsspec.
    if "://" in path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"ckpt_path: {path} is no file; give that of a "
            f"checkpoint, as runs/mine/{CHECKPOINTS}/last.ckpt"
        )
    why = content(Path(path))
    if isinstance(why, str):
        raise ValueError(f"ckpt_path: {path} cannot be read: {why}")


def require_optimizer(path: str) -> None:
    """Refuse to go on from a checkpoint without the state of the optimizer.

    Raises:
        ValueError: it has none.
    """
    if "://" in path:
        return
    state = content(Path(path))
    needed = {"optimizer_states", "lr_schedulers"}
    if isinstance(state, dict) and not needed <= state.keys():
        raise ValueError(
            f"ckpt_path: {path} holds weights alone, as "
            "checkpoint.save_weights_only writes them: test and export take "
            "it, but no training goes on from it; give a whole checkpoint"
        )
