"""Reading sessions: people and pages."""
