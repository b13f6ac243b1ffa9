"""An MCP server over streamable HTTP, made with the package mcp, on a free port; it wants a token.

python tests/servers/http_mcp_server.py TOKEN    # prints its port
"""

import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("counter")
calls = 0


@server.tool()
def count(by: int) -> int:
    """Add to a number, and return it."""
    global calls
    calls += by
    return calls


@server.tool()
async def grow(context: Context[Any, Any]) -> str:
    """Get another tool."""
    server.add_tool(lambda: "grown", name="grown", description="new")
    await context.session.send_tool_list_changed()
    return "ok"


class Guarded:
    """Lets only requests with the token through."""

    def __init__(self, app: Any, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != self.expected:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"who are you?"})
            return
        await self.app(scope, receive, send)


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app = Guarded(server.streamable_http_app(), sys.argv[1])
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])


if __name__ == "__main__":
    main()
