"""Text-video retrieval."""
