"""Training the image tower of the built-in encoder."""
