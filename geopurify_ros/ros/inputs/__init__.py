"""Topics to posed frames."""
