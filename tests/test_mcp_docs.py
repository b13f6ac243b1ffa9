"""docs/mcp-server.md: its program runs, and its configurations start a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import warm
from mcp import Client, StdioServerParameters
from pages import HOME, Page
from support import write_config


@pytest.mark.slow
def test_its_program_prints_what_it_shows_and_its_configurations_start_a_server(tmp_path: Path) -> None:
    write_config(tmp_path)
    Page("mcp-server.md").follow(tmp_path, real={HOME: str(tmp_path)})

    async def tools(file: str, key: str) -> set[str]:
        entry = json.loads((tmp_path / file).read_text())[key]["swarm-graph"]
        assert entry["command"] == f"{tmp_path}/.venv/bin/swarm-graph"
        parameters = StdioServerParameters(command=warm.PROGRAM, args=entry["args"], cwd="/")
        async with Client(parameters) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    for file, key in (("claude_desktop_config.json", "mcpServers"), (".vscode/mcp.json", "servers")):
        assert {"start", "wait", "result"} <= asyncio.run(tools(file, key))
