"""Programs beside the node: players, doctor, demo."""
