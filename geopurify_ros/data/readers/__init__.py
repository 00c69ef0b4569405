"""Recordings in: one file per format."""
