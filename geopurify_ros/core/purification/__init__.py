"""A map made clean: the student's affinity and geometry-guided pooling (METHODS 1.2, 1.9)."""
