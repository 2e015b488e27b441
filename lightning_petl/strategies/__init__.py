"""How one training runs on many devices: DDP, FSDP2, precision, SLURM tasks."""
