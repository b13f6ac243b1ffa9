"""The page: watch sessions, decide, start and compare them in a browser (`swarm-graph ui`)."""
