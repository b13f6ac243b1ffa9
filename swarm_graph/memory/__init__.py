"""What the swarm remembers across sessions: documents, and what sessions have verified."""
