"""swarm_graph as an MCP server: other programs start sessions, answer their pauses and read their results."""
