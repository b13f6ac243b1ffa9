"""One database, a file or a server: checkpoints, catalogue, journal, transcript, memory, locks."""
