"""Training students: scenes, teachers, distillation (METHODS 1.4 to 1.7)."""
