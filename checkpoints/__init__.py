"""One SQLite file: checkpoints, catalogue of sessions, call journal, transcript, and locks of sessions."""
