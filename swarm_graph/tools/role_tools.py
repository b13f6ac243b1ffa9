"""The tools of a role: the user's own, then those that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, get_type_hints

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from swarm_graph.config import SwarmConfig
from swarm_graph.config_source import closest_match, unknown_name
from swarm_graph.errors import ConfigError
from swarm_graph.tool_settings import MEMORY_TOOL, McpServer
from swarm_graph.tools.names import matches, may_mean
from swarm_graph.tools.tool import GetProject, Project, Tool

if TYPE_CHECKING:
    from swarm_graph.tools.mcp_servers import McpServers
    from swarm_graph.tools.memory import SearchMemory

GetServers = Callable[[], "McpServers"]


async def tools_of(
    role: str,
    config: SwarmConfig,
    own: Sequence[BaseTool],
    project: GetProject,
    servers: GetServers,
    memory: SearchMemory | None = None,
) -> list[Tool]:
    """The tools of a role, in the order in which they are offered.

    Args:
        role: The role.
        config: The configuration, whose `tools` names tools for roles.
        own: LangChain tools of the user's own for the role.
        project: Returns the files of the session.
        servers: Returns the connections to the MCP servers; called only if the role needs one.
        memory: Searches the memory of the graph; None if it has none.

    Raises:
        ToolError: An MCP server cannot be started or reached.
    """
    found = {tool.name: tool for tool in map(_own_tool, own)}
    patterns = config.tools.get(role, [])
    built_in = built_in_tools(project, config, memory) if patterns else []
    of_servers: dict[str, list[Tool]] = {}
    for pattern in patterns:
        for name in _servers_of(pattern, config.mcp_servers):
            if name not in of_servers:
                of_servers[name] = await servers().tools(name)
        candidates = [*built_in, *(tool for tools in of_servers.values() for tool in tools)]
        for tool in candidates:
            if fnmatchcase(tool.name, pattern):
                found.setdefault(tool.name, tool)
    return [_as_configured(tool, config) for tool in found.values()]


def _as_configured(tool: Tool, config: SwarmConfig) -> Tool:
    settings = config.mcp_servers[tool.server].fingerprint if tool.server else ""
    return replace(tool, settings=settings, asks=bool(approval_setting(tool, config)))


def check_names(config: SwarmConfig, own: Mapping[str, Sequence[BaseTool]]) -> None:
    """Refuse what no run could use: an unknown role, server or built-in tool.

    Args:
        config: The configuration.
        own: LangChain tools of the user's own, by role.

    Raises:
        ConfigError: A name is unknown; the message names the nearest one.
    """
    for role, tools in own.items():
        if role not in config.role_names:
            raise ConfigError(f"tools: {unknown_name('role', role, config.role_names)}")
        for tool in tools:
            if not isinstance(tool, BaseTool):
                raise ConfigError(
                    f"tools of {role}: expected LangChain tools (`@tool`, `BaseTool`), found {tool!r:.60}"
                )
            if problem := _never_given(tool):
                raise ConfigError(f"tools of {role}: {tool.name} could never be called: {problem}")
        names = [tool.name for tool in tools]
        taken = [*names, *(one.name for one in built_in_tools(_no_project, config))]
        if twice := [name for name in names if taken.count(name) > 1]:
            raise ConfigError(f"tools of {role}: two tools have the name {twice[0]!r}; rename one")
    for role, patterns in config.tools.items():
        for pattern in patterns:
            _check_pattern(f"tools.{role}", pattern, config)
    given = [tool.name for tools in own.values() for tool in tools]
    for pattern in config.approve:
        _check_approval(pattern, config, given)


def _check_pattern(setting: str, pattern: str, config: SwarmConfig) -> None:
    names = [tool.name for tool in built_in_tools(_no_project, config)]
    if any(fnmatchcase(name, pattern) for name in names) or _servers_of(
        pattern, config.mcp_servers, disabled=True
    ):
        return
    if fnmatchcase(MEMORY_TOOL, pattern):
        raise ConfigError(f"{setting}: '{pattern}' needs memory; add \"memory\": {{}} to the configuration")
    groups = {name.partition(".")[0] for name in names}
    group, dot, _ = pattern.partition(".")
    if group in groups and dot:
        raise ConfigError(f"{setting}: {unknown_name('tool', pattern, names)}")
    known = [*sorted(groups), *config.mcp_servers]
    match = closest_match(group, known)
    hint = f"did you mean {match!r}?" if match else f"known: {', '.join(known)}"
    raise ConfigError(f"{setting}: '{pattern}' names no built-in tool and no server in mcp_servers; {hint}")


def _check_approval(pattern: str, config: SwarmConfig, given: Sequence[str]) -> None:
    """Refuse a name in `approve` that can mean no tool: calls that were to wait would not."""
    names = [*given, *(tool.name for tool in built_in_tools(_no_project, config))]
    if any(may_mean(pattern, name) for name in names):
        return
    server = pattern.replace("__", ".").partition(".")[0].casefold()
    if any(fnmatchcase(name.casefold(), server) for name in config.mcp_servers):
        return  # `tools list` and doctor ask the servers
    is_bare = "." not in pattern and "__" not in pattern
    if is_bare and (config.mcp_servers or not given):
        return  # a tool of any server, or one that another program gives in Python
    known = [*names, *(f"{name}.*" for name in config.mcp_servers)]
    raise ConfigError(f"approve: {unknown_name('tool', pattern, known)}")


def _servers_of(pattern: str, servers: Mapping[str, McpServer], *, disabled: bool = False) -> Iterable[str]:
    """The servers whose tools a name or glob may mean."""
    server, _, _ = pattern.partition(".")
    return [
        name
        for name, settings in servers.items()
        if (disabled or not settings.disabled) and fnmatchcase(name, server)
    ]


def built_in_tools(
    project: GetProject, config: SwarmConfig, memory: SearchMemory | None = None
) -> list[Tool]:
    """Every built-in tool; the one that searches memory only if memory is configured.

    Args:
        project: Returns the files of the session.
        config: The configuration.
        memory: Searches the memory of the graph; None if it has none, or only names are asked for.
    """
    from swarm_graph.tools.project import project_tools
    from swarm_graph.tools.snippet import sandbox_tools

    characters = config.tool_limits.characters
    tools = [
        *project_tools(project, characters),
        *sandbox_tools(project, config.execution, characters),
    ]
    if config.memory is not None:
        from swarm_graph.tools.memory import memory_tool  # it is of no use without memory

        tools.append(memory_tool(memory))
    return tools


def _no_project() -> Project:
    raise NotImplementedError("only the names of the tools are asked for")


def _own_tool(tool: BaseTool) -> Tool:
    function: dict[str, Any] = convert_to_openai_tool(tool)["function"]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    args_schema = tool.args_schema
    if not isinstance(args_schema, dict):
        schema = dict(schema)
        for name in _filled_in(tool):
            schema["properties"] = {key: one for key, one in schema["properties"].items() if key != name}
            schema["required"] = [key for key in schema.get("required", []) if key != name]
        if getattr(args_schema, "model_config", {}).get("extra") != "allow":
            schema["additionalProperties"] = False  # Pydantic would drop the others without a word
    return Tool(tool.name, tool, schema, tool.description)


def _filled_in(tool: BaseTool) -> list[str]:
    """The arguments of a tool's class that LangChain fills in, though its schema shows them."""
    if isinstance(tool, StructuredTool):
        return []
    try:
        hints = get_type_hints(type(tool)._run)
    except Exception:  # a foreign class can name types that do not exist
        return []
    return [name for name, hint in hints.items() if hint is RunnableConfig]


def _never_given(tool: BaseTool) -> str:
    """Why a tool never gets one of its arguments; empty if it gets all."""
    if isinstance(tool.args_schema, dict):
        return ""
    shown = getattr(tool.tool_call_schema, "model_fields", {})
    if "config" in shown and isinstance(tool, StructuredTool):
        return "LangChain keeps the name 'config' for itself; rename the argument"
    for name, argument in getattr(tool.get_input_schema(), "model_fields", {}).items():
        if argument.is_required() and name not in shown:
            return (
                f"nothing injects its argument '{name}'; give it a default, or wrap it in a tool without it"
            )
    return ""


def approval_setting(tool: Tool, config: SwarmConfig) -> str:
    """Why each call of a tool waits for a person; empty if its calls do not wait.

    A call waits as `approve` says, and if its server neither marks the tool read-only nor has it in `allow`.
    """
    for pattern in config.approve:
        if may_mean(pattern, tool.name):
            return f"approve: {pattern}"
    if not tool.server or tool.read_only:
        return ""
    allow = config.mcp_servers[tool.server].allow
    is_allowed = matches(tool.name, [*allow, *(f"{tool.server}.{name}" for name in allow)])
    return "" if is_allowed else "not marked read-only"
