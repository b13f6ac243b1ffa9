"""What a session leaves on disk: the saver, the session tables, the call journal."""
