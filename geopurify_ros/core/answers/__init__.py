"""Text to labels (METHODS 1.10)."""
