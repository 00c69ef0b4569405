"""How good a map is, and how fast it is made."""
