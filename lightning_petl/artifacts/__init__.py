"""The adapter artifact: the folder that is shared, without the frozen trunk."""
