"""Tools that roles call: built-in ones, the user's own, those of MCP servers; how calls are read."""
