"""Running generated code in isolation."""
