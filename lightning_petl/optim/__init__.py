"""Configure optimizers, their parameter groups and their learning rate schedules."""
