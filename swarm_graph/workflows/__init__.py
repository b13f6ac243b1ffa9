"""The graphs and their rules."""
