"""One SQLite file: checkpoints, the catalogue of sessions, the call journal, and the locks of sessions."""
