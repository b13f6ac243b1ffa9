"""An MCP server over HTTP, by hand, that does what no server should."""

from __future__ import annotations

import json

from servers.loopback import Handler, Loopback


class OddHandler(Handler):
    """An MCP server that redirects elsewhere, answers too much, and forgets its session."""

    server: OddHttp

    def do_POST(self) -> None:  # noqa: N802
        message = json.loads(self.body())
        self.server.asked.append((self.path, message["method"]))
        number, method = message.get("id"), message["method"]
        if self.path == "/nothing":
            self.send_error(404)
        elif self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", f"http://127.0.0.1:{self.server.elsewhere}/mcp")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif number is None:
            self.reply(202, b"")
        elif method == "initialize":
            self.server.sessions += 1
            version = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "odd", "version": "1"}}
            result = {**version, "capabilities": {"tools": {}}}
            data = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Mcp-Session-Id", f"s{self.server.sessions}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("big", "forget")]
            self.reply(200, {"jsonrpc": "2.0", "id": number, "result": {"tools": tools}})
        elif message["params"]["name"] == "big":
            content = [{"type": "text", "text": "x" * 10_000_000}]
            self.reply(200, {"jsonrpc": "2.0", "id": number, "result": {"content": content}})
        elif self.headers["Mcp-Session-Id"] == "s1":
            self.reply(404, "gone")
        else:
            content = [{"type": "text", "text": "a new session"}]
            self.reply(200, {"jsonrpc": "2.0", "id": number, "result": {"content": content}})

    def do_GET(self) -> None:  # noqa: N802
        self.reply(405, "")

    def do_DELETE(self) -> None:  # noqa: N802
        self.reply(200, "")


class OddHttp(Loopback):
    def __init__(self, elsewhere: int) -> None:
        super().__init__("http://127.0.0.1:1", OddHandler)
        self.elsewhere, self.sessions = elsewhere, 0
        self.asked: list[tuple[str, str]] = []
