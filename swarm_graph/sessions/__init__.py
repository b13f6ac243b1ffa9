"""Running one session and keeping its files."""
