"""The git repository that a session changes: its files, map, branch, commits and patch."""
