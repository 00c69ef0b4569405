"""Maps, answers and diagnostics to topics."""
