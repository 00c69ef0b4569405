"""Training the text tower of the built-in encoder."""
