"""Talking to model servers. Knows nothing of roles or sessions."""
