"""Several methods trained side by side on one pass of the frozen trunk."""
