"""Furniture built from parts, beside that of the catalogue."""
