"""Frames to a map: what the cameras saw, lifted into voxels (METHODS 1.3, 1.8)."""
