"""Run what a user types: the commands, their options, and the messages about errors."""
