"""What a user types: the commands, their options, and how errors are told."""
