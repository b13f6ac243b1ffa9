"""Experiments: measure a swarm on cases with hidden tests, and compare two configurations."""
