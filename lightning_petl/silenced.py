"""Warnings that tell a user nothing: each with the reason."""

SILENCED = [
    # the frozen trunk is in eval, and is meant to be
    (r"Found \d+ module\(s\) in eval mode at the start of training", UserWarning),
    # each command writes to a folder of its own, so a checkpoint always comes from another one
    (r"The dirpath has changed from", UserWarning),
    # a login node, or one process in an allocation
    (r"The `srun` command is available on your system but is not used", UserWarning),
    # what a reader's tap returns may be a view; nobody changes it in place
    (r"FSDP2-wrapped module .* returned a view tensor", UserWarning),
    # a run that goes on finds its own checkpoints
    (r"Checkpoint directory .* exists and is not empty", UserWarning),
    # lightning 2.6 walks batches through a tree API that torch 2.13 has renamed
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),
]
