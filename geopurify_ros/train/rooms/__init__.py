"""Generated rooms: furnished, rendered and labelled."""
