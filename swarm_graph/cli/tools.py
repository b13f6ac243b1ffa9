"""The group `tools`: list the tools of the configuration, show one as models see it, and try a call."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from swarm_graph.cli.console import EXIT_FAILED, EXIT_NOT_APPROVED, EXIT_USAGE, end, print_result, say
from swarm_graph.cli.decisions import can_ask
from swarm_graph.cli.inputs import read_inputs
from swarm_graph.cli.options import (
    REPOSITORY_OF_TASKS,
    SessionOptions,
    config_option,
    json_option,
    session_options,
)
from swarm_graph.cli.session_runner import new_config
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.state import SwarmState
    from swarm_graph.tools.mcp_servers import McpServers
    from swarm_graph.tools.overview import ListedTool, ServerOverview
    from swarm_graph.tools.tool import GetProject

Found = TypeVar("Found")

HEADS = ("tool", "server", "read-only", "waits for a person", "roles")
OUTCOMES = {"answered": 0, "wrong_arguments": EXIT_USAGE}
"""The exit codes of `try` by the outcome of the call; after any other outcome EXIT_FAILED."""


@click.group(
    invoke_without_command=True,
    short_help="List, show and try the tools of roles.",
    epilog="Example: swarm-graph tools list",
)
@click.pass_context
def tools(context: click.Context) -> None:
    """List the tools that roles can call, show them as models see them, and try a call.

    The MCP servers of the configuration are started, or reached, and ended again.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _with_servers(config: SwarmConfig, work: Callable[[McpServers], Awaitable[Found]]) -> Found:
    """Do some work with the MCP servers of the configuration, end the servers, and return the result."""
    import asyncio

    from swarm_graph.models.keys import keys_of
    from swarm_graph.tools.mcp_servers import McpServers

    async def connected() -> Found:
        servers = McpServers(
            config.mcp_servers, config.tool_limits, proxy=config.proxy, secrets=keys_of(config.entries)
        )
        try:
            return await work(servers)
        finally:
            await servers.close()

    return asyncio.run(connected())


def _project(config: SwarmConfig, files: Sequence[str], options: SessionOptions) -> GetProject:
    """The files that built-in tools see: those of --input, or those of the repository, or none."""
    from swarm_graph.roles.project_files import project_of_files, project_of_state

    if files or not config.repo:
        texts = read_inputs(files, options)
        return lambda: project_of_files(texts)
    from swarm_graph.workflows.repository import resolve

    repo = resolve(config.repo)
    return lambda: project_of_state(cast("SwarmState", {"repo": repo}))


@tools.command(
    "list",
    short_help="List the tools, and the roles that have them.",
    epilog="Example: swarm-graph tools list --config config.json",
)
@session_options(config_option, json_option)
def list_(options: SessionOptions) -> None:
    """List every tool that the configuration can offer: built-in ones, and those of its MCP servers.

    A server that cannot be started or reached is named on stderr, and the exit code is 1. Tools that a
    program gives in Python are not known here. "read-only" is what an MCP server claims of its own tool.
    """
    from swarm_graph.text import text_table, without_empty_columns
    from swarm_graph.tools.overview import no_files, overview

    config = new_config(options)
    found = _with_servers(config, lambda servers: overview(config, servers, no_files))
    for problem in found.problems.values():
        say(problem)
    for unmatched in found.unmatched(config):
        say(f"note: {unmatched} is the name of no tool")
    document = {
        "tools": [_as_json(listed) for listed in found.tools],
        "problems": [{"server": name, "problem": problem} for name, problem in found.problems.items()],
    }
    table = text_table(*without_empty_columns(HEADS, [_row(listed) for listed in found.tools]))
    print_result(document, table, options.as_json)
    if found.problems:
        sys.exit(EXIT_FAILED)


def _row(listed: ListedTool) -> tuple[str, ...]:
    tool, approval, roles = listed
    return tool.name, tool.server, "yes" if tool.read_only else "no", approval or "no", ", ".join(roles)


def _as_json(listed: ListedTool) -> dict[str, Any]:
    tool, approval, roles = listed
    return {
        "tool": tool.name,
        "server": tool.server,
        "read_only": tool.read_only,
        "approval": approval,
        "roles": roles,
    }


@tools.command(
    "show",
    short_help="Show a tool as models see it, or an MCP server.",
    epilog="Example: swarm-graph tools show project.read",
)
@click.argument("name", metavar="TOOL")
@session_options(config_option, json_option)
def show(name: str, options: SessionOptions) -> None:
    """Show a tool: its description, its arguments, and what of both a model sees. Or show an MCP server.

    TOOL is the name of a tool, or of an MCP server of the configuration.
    """
    from swarm_graph.tools.overview import find_tool, no_files, server_overview

    config = new_config(options)
    if name in config.mcp_servers:
        found = _with_servers(config, lambda servers: server_overview(config, servers, name))
        print_result(*_server_page(name, found), options.as_json)
        return
    listed = _with_servers(config, lambda servers: find_tool(config, servers, no_files, name))
    print_result(*_page(listed), options.as_json)


def _page(listed: ListedTool) -> tuple[dict[str, Any], str]:
    """A tool as JSON and as text."""
    from swarm_graph.tools.descriptions import function_of

    tool, (_, server, read_only, approval, roles) = listed.tool, _row(listed)
    function = function_of(tool)["function"]
    document = {
        **_as_json(listed),
        "description": tool.description,
        "arguments": tool.schema,
        "shown_to_models": function,
    }
    shown = _inline(function)
    lines = [
        tool.name,
        f"server: {server}" if server else "built in",
        f"read-only: {read_only}{', as the server claims' if server else ''}",
        f"waits for a person: {approval}",
        f"roles: {roles or 'none'}",
        f"\n{tool.description.strip()}",
        f"\n{_arguments_table(tool.schema)}" if tool.schema.get("properties") else "\nno arguments\n",
        f"a model sees {len(shown):,} characters: {shown}",
    ]
    return document, "".join(f"{line}\n" for line in lines)


def _server_page(name: str, found: ServerOverview) -> tuple[dict[str, Any], str]:
    """A server as JSON and as text."""
    from swarm_graph.text import text_table, without_empty_columns

    document = {
        "server": name,
        "about": found.about,
        "tools": [_as_json(listed) for listed in found.tools],
        "resources": [{"uri": uri, "description": text} for uri, text in found.resources],
        "prompts": [{"prompt": prompt, "description": text} for prompt, text in found.prompts],
        "left_out": found.left_out,
        "log": found.log,
    }
    tables: list[tuple[tuple[str, ...], Sequence[tuple[str, ...]]]] = [
        (HEADS, [_row(listed) for listed in found.tools]),
        (("resource", ""), found.resources),
        (("prompt", ""), found.prompts),
    ]
    shown = [text_table(*without_empty_columns(heads, rows)) for heads, rows in tables if rows]
    left_out = [f"left out: {line}\n" for line in found.left_out]
    head = f"{name}: {found.about}\nlog: {found.log}\n"
    return document, "\n".join([head, *shown, *left_out])


def _arguments_table(schema: Mapping[str, Any]) -> str:
    from swarm_graph.text import text_table, without_empty_columns

    required = schema.get("required", ())
    rows = [
        (
            name,
            _type(one),
            "yes" if name in required else "no",
            _text(one, "default"),
            _text(one, "description"),
        )
        for name, one in schema["properties"].items()
    ]
    heads = ("argument", "type", "required", "default", "")
    return text_table(*without_empty_columns(heads, rows))


def _type(schema: object) -> str:
    """The type of an argument in a word or two. A server's schema may be anything."""
    if not isinstance(schema, Mapping):
        return ""
    if isinstance(choices := schema.get("anyOf"), list):
        return " or ".join(filter(None, map(_type, choices)))
    named = schema.get("enum") or schema.get("type") or ""
    return named if isinstance(named, str) else _inline(named)


def _text(schema: object, key: str) -> str:
    value = schema.get(key, "") if isinstance(schema, Mapping) else ""
    return " ".join(value.split()) if isinstance(value, str) else _inline(value)


def _inline(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@tools.command(
    "try",
    short_help="Call a tool as a role would.",
    epilog="Example: swarm-graph tools try project.search text=pump --repo .",
)
@click.argument("name", metavar="TOOL")
@click.argument("arguments", metavar="[ARGUMENT=VALUE]...", nargs=-1)
@click.option(
    "--input", "files", metavar="FILE", multiple=True, help="A file that built-in tools see; repeatable."
)
@click.option("--yes", is_flag=True, help="Do not ask before a call that waits for a person in a session.")
@session_options(config_option, *REPOSITORY_OF_TASKS, json_option)
def try_(
    name: str, arguments: tuple[str, ...], files: tuple[str, ...], yes: bool, options: SessionOptions
) -> None:
    """Call TOOL as a role would: its arguments are checked, its time and its result are limited.

    The arguments are one JSON object, or ARGUMENT=VALUE each. Exit code 0 with a result, 1 when the call
    failed, 2 for wrong arguments, 4 when the person refused it.
    """
    from swarm_graph.models.keys import keys_of
    from swarm_graph.tool_settings import MEMORY_TOOL
    from swarm_graph.tools.calling import call_tool
    from swarm_graph.tools.overview import find_tool, no_files

    config = new_config(options)
    project = _project(config, files, options)

    async def call(servers: McpServers) -> None:
        listed = await find_tool(config, servers, project, name)
        if listed.tool.name.startswith("project.") and not (files or config.repo):
            no_files()
        if listed.tool.name == MEMORY_TOOL:
            raise InputError("`swarm-graph memory search QUESTION` shows what this tool finds")
        given = read_arguments(arguments, listed.tool.schema)
        if listed.approval and not yes:
            _ask(listed, given, options)
        result = await call_tool(listed.tool, given, config.tool_limits, keys_of(config.entries))
        document = {"tool": listed.tool.name, "arguments": given, **result._asdict()}
        print_result(document, f"{result.text}\n", options.as_json)
        outcome = result.outcome.replace("_", " ")
        say(f"{listed.tool.name}: {outcome} after {result.seconds:.2f} s, {result.characters:,} characters")
        if code := OUTCOMES.get(result.outcome, EXIT_FAILED):
            sys.exit(code)

    _with_servers(config, call)


def read_arguments(given: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call as a person types them: one JSON object, or `name=value` each.

    Args:
        given: The words of the command line.
        schema: The schema of the tool's arguments. A value is text where it says so, else JSON if it can be.

    Raises:
        InputError: They cannot be read.
    """
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        try:
            found = json.loads(given[0])
        except (ValueError, RecursionError) as error:
            raise InputError(f"the arguments are no JSON object: {error}") from error
        return dict(found)
    found = {}
    for word in given:
        name, is_given, value = word.partition("=")
        if not is_given:
            raise InputError(f"'{word}' is no argument; give NAME=VALUE, or one JSON object in quotes")
        if name in found:
            raise InputError(f"the argument '{name}' is given twice")
        found[name] = _value(value, schema.get("properties", {}).get(name))
    return found


def _value(text: str, schema: object) -> Any:
    """A value as a person types it. A server's schema may be anything."""
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _ask(listed: ListedTool, arguments: Mapping[str, Any], options: SessionOptions) -> None:
    """Ask the person at the terminal before a call. Raises InputError if nobody can be asked."""
    from swarm_graph.text import printable

    name = listed.tool.name
    if not can_ask(options):
        raise InputError(f"calls of '{name}' wait for a person ({listed.approval}); --yes calls it")
    click.echo(printable(f"{name} {_inline(arguments)}"))
    if not click.confirm(f"Call it? It waits for a person: {listed.approval}", default=False):
        end(f"{name} was not called", EXIT_NOT_APPROVED, options.as_json)
