"""Read headers of containers, streams and pictures, so that fewer pictures are decoded."""
