"""Running one session: its state, files, figures and log while it runs, and its history afterwards."""
