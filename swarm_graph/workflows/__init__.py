"""The graphs and their rules: shapes, pauses, verdict, and how a session begins, resumes and is recorded."""
