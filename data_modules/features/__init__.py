"""What a frozen trunk computes of a data set, kept on disk."""
