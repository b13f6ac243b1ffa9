"""Tools that roles call: built-in ones, the user's own, those of MCP servers; how models write calls."""
