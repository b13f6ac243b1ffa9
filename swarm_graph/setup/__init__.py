"""Getting a machine ready: a first configuration, checks, measurements."""
