"""The tools of a configuration for people: which roles have them, which calls wait for a person, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from swarm_graph.config import SwarmConfig
from swarm_graph.config_source import unknown_name
from swarm_graph.errors import InputError, ToolError
from swarm_graph.tools.mcp_servers import McpServers
from swarm_graph.tools.names import matches, may_mean
from swarm_graph.tools.role_tools import approval_setting, built_in_tools
from swarm_graph.tools.tool import GetProject, Project, Tool

NO_FILES = "the tools of `project` read the files of a session; name some with --repo DIR or --input FILE"


def no_files() -> Project:
    """Stands for the files of a session where tools are only shown. Raises InputError when one reads them."""
    raise InputError(NO_FILES)


class ListedTool(NamedTuple):
    """A tool, with its roles and its approval in the configuration.

    Attributes:
        tool: The tool.
        approval: The setting by which each call waits for a person; empty if none does.
        roles: The roles that have it.
    """

    tool: Tool
    approval: str
    roles: list[str]


class Overview(NamedTuple):
    """The tools that a configuration can offer.

    Attributes:
        tools: The built-in tools, then those of the MCP servers in the order of the configuration.
        problems: Why a server's tools are missing, by the server's name.
    """

    tools: list[ListedTool]
    problems: dict[str, str]

    def unmatched(self, config: SwarmConfig) -> list[str]:
        """Names and globs in `tools` and `approve` that are the name of no tool, as `tools.coder: time.nope`.

        Tools of a server with a problem, or that is disabled, are not known, so their names are left out.
        """
        disabled = {name for name, server in config.mcp_servers.items() if server.disabled}
        unknown, names = {*self.problems, *disabled}, [listed.tool.name for listed in self.tools]
        given = [
            f"tools.{role}: {pattern}"
            for role, patterns in config.tools.items()
            for pattern in patterns
            if pattern.partition(".")[0] not in unknown
            and not any(matches(name, [pattern]) for name in names)
        ]
        asking = [
            f"approve: {pattern}"
            for pattern in config.approve
            if pattern.replace("__", ".").partition(".")[0] not in unknown
            and not any(may_mean(pattern, name) for name in names)
        ]
        return [*given, *asking]


async def overview(
    config: SwarmConfig, servers: McpServers, project: GetProject, names: Sequence[str] | None = None
) -> Overview:
    """The built-in tools and those of MCP servers, which are started or reached, all at once.

    Args:
        config: The configuration.
        servers: The connections to its servers.
        project: The files that the built-in tools read.
        names: The servers; default: all that are not disabled.
    """
    if names is None:
        names = [name for name, server in config.mcp_servers.items() if not server.disabled]
    answers = await asyncio.gather(*(servers.tools(name) for name in names), return_exceptions=True)
    tools = built_in_tools(project, config)
    problems = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, ToolError):
            problems[name] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            tools += answer
    return Overview([_listed(config, tool) for tool in tools], problems)


async def find_tool(config: SwarmConfig, servers: McpServers, project: GetProject, name: str) -> ListedTool:
    """A tool by its name, or by its name as models see it. No server is started but the tool's own.

    Raises:
        InputError: There is no such tool.
        ToolError: Its server cannot be started or reached.
    """
    own = [server for server in config.mcp_servers if name.startswith((f"{server}.", f"{server}__"))]
    found = await overview(config, servers, project, own)
    for problem in found.problems.values():
        raise ToolError(problem)
    for listed in found.tools:
        if name in (listed.tool.name, listed.tool.wire_name):
            return listed
    known = [*(listed.tool.name for listed in found.tools), *config.mcp_servers]
    raise InputError(unknown_name("tool", name, known))


class ServerOverview(NamedTuple):
    """What an MCP server offers.

    Attributes:
        about: Its own name and version.
        tools: Its tools, with what the configuration says of them.
        resources: Its resources: URI and description.
        prompts: Its prompts: name with arguments, and description.
        left_out: What cannot be used, and why.
        log: Its log file.
    """

    about: str
    tools: list[ListedTool]
    resources: list[tuple[str, str]]
    prompts: list[tuple[str, str]]
    left_out: list[str]
    log: str


async def server_overview(config: SwarmConfig, servers: McpServers, name: str) -> ServerOverview:
    """What an MCP server offers; it is started or reached.

    Raises:
        ToolError: It cannot be started or reached.
    """
    offer = await servers.offer(name)
    return ServerOverview(
        offer.about,
        [_listed(config, tool) for tool in offer.tools],
        [(resource.name, resource.description) for resource in offer.resources],
        [(prompt.name, prompt.description) for prompt in offer.prompts],
        offer.left_out,
        str(servers.log_path(name)),
    )


def _listed(config: SwarmConfig, tool: Tool) -> ListedTool:
    roles = [role for role, patterns in config.tools.items() if matches(tool.name, patterns)]
    return ListedTool(tool, approval_setting(tool, config), roles)
