"""Making training data and training; what only this needs is in requirements-train.txt."""
