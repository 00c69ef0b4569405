"""What a user asks of the node: queries and map services."""
