"""Getting a machine ready."""
