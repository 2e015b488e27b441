"""Jobs on a SLURM cluster: ``submit``, ``status``, ``cancel`` and ``logs``. Only ``check`` imports torch."""
