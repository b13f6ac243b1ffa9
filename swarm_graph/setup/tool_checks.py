"""Checks of the tools that roles may call: MCP servers are started, or reached, and ended again."""

from __future__ import annotations

from collections.abc import Iterator

from swarm_graph.config import SwarmConfig
from swarm_graph.models.keys import keys_of
from swarm_graph.setup.checks import Check
from swarm_graph.text import format_count
from swarm_graph.tools.mcp_servers import McpServers
from swarm_graph.tools.overview import Overview, no_files, overview


async def check_tools(config: SwarmConfig) -> list[Check]:
    """Checks of the MCP servers, and of the names in `tools`. No tool is called."""
    servers = McpServers(
        config.mcp_servers, config.tool_limits, proxy=config.proxy, secrets=keys_of(config.entries)
    )
    try:
        found = await overview(config, servers, no_files)
    finally:
        await servers.close()
    return [*_check_servers(config, found), *_check_names(config, found)]


def _check_servers(config: SwarmConfig, found: Overview) -> Iterator[Check]:
    for name, server in config.mcp_servers.items():
        title = f"MCP server {name}"
        if server.disabled:
            yield Check(title, True, "is left out (disabled)")
            continue
        if problem := found.problems.get(name):
            text, _, log = problem.removeprefix(f"MCP server '{name}': ").rpartition("; its log: ")
            if text:
                yield Check(title, False, text, f"correct mcp_servers.{name}; its log: {log}")
            else:  # it was not tried, and the problem names its cure: the package mcp, or a folder for logs
                yield Check(title, False, problem, f'do that, or set "disabled": true in mcp_servers.{name}')
            continue
        tools = [listed for listed in found.tools if listed.tool.server == name]
        asking = sum(bool(listed.approval) for listed in tools)
        text = f"{format_count(len(tools), 'tool')}, calls of {asking} wait for a person"
        if server.command:
            text += "; in a sandbox" if server.sandbox else "; without a sandbox: it may do what you may do"
        if any(listed.roles for listed in tools):
            yield Check(title, True, text)
        else:
            yield Check(title, None, f"{text}; no role has them", f'add "{name}.*" to a role in "tools"')


def _check_names(config: SwarmConfig, found: Overview) -> Iterator[Check]:
    for unmatched in found.unmatched(config):
        text = f"{unmatched} is the name of no tool"
        ok = None if unmatched.startswith("approve") else False  # a program may give such a tool in Python
        yield Check("tools", ok, text, "`swarm-graph tools list` shows their names")
