"""Hold the folder of a run: its lock, its log, and the signals that stop it."""
