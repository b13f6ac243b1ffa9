"""An MCP server whose tool adds a line to a file, which the disk has when the call ends.

python tests/chaos/note_server.py FILE
"""

import os
import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes")


@server.tool()
def note(text: str) -> str:
    """Note a text."""
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    return f"noted {text}"


if __name__ == "__main__":
    server.run()
