"""The nine roles, one short file each."""
