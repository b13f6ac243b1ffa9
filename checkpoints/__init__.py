"""One SQLite file: checkpoints, catalogue, call journal, transcript, memory, and locks of sessions."""
