"""The command `mcp`: swarm_graph as an MCP server."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_TERMINATED, say
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    REPOSITORY_OF_TASKS,
    SessionOptions,
    config_option,
    data_option,
    kind_option,
    log_option,
    max_sessions_option,
    no_memory_option,
    output_dir_option,
    prompts_option,
    session_options,
    simulate_option,
)
from swarm_graph.errors import ConfigError, InputError

if TYPE_CHECKING:
    from swarm_graph.mcp_server.settings import ServerSettings

PORT = 8365
OF_THE_EXTRA = ("mcp", "mcp_types", "starlette", "uvicorn")
"""The packages that come with the extra `mcp`."""


class _Access(NamedTuple):
    """What the command line allows clients."""

    workflows: tuple[str, ...]
    folder: str | None
    max_sessions: int
    allow_answers: bool
    read_only: bool
    output_dir: str


@click.command(
    short_help="Let editors and other agents start sessions, over MCP.",
    epilog="Example: swarm-graph mcp --folder docs --workflow standard",
)
@click.option("--http", is_flag=True, help="Serve HTTP on this machine, in place of stdin and stdout.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="With --http: 0 takes any free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="With --http: a loopback address; no other is accepted.",
)
@click.option(
    "--token-env",
    metavar="NAME",
    help="With --http: the variable with the token of clients; default: a file that only you can read.",
)
@click.option(
    "-w",
    "--workflow",
    "workflows",
    multiple=True,
    metavar="W",
    help="A workflow that clients may start; repeatable. Default: all but task graphs.",
)
@click.option("--folder", metavar="DIR", help="Clients may add files of this folder to a request.")
@max_sessions_option
@click.option(
    "--allow-answers",
    is_flag=True,
    help="Clients may answer pauses: you vouch that a person decides there.",
)
@click.option("--read-only", is_flag=True, help="Clients may look at sessions, and start none.")
@output_dir_option
@session_options(
    config_option,
    *MODEL_OPTIONS,
    no_memory_option,
    data_option,
    simulate_option,
    prompts_option,
    kind_option,
    log_option,
    *REPOSITORY_OF_TASKS,
)
def mcp(
    http: bool,
    port: int,
    host: str,
    token_env: str | None,
    workflows: tuple[str, ...],
    folder: str | None,
    max_sessions: int,
    allow_answers: bool,
    read_only: bool,
    output_dir: str,
    options: SessionOptions,
) -> None:
    """Serve MCP clients, such as editors and other agents: they start sessions and read their results.

    Without --http the client starts this command and speaks with it over stdin and stdout. What a client may
    do is decided here: it names no model, no configuration and no file outside of --folder. Pauses are
    answered in a terminal, with `swarm-graph resume ID`, unless --allow-answers is given. When the server
    ends, its sessions stop and can be resumed.
    """
    import asyncio

    access = _Access(workflows, folder, max_sessions, allow_answers, read_only, output_dir)
    settings = _settings(options, access)
    try:
        from swarm_graph.mcp_server.http_transport import url_of
        from swarm_graph.mcp_server.server import serve
        from swarm_graph.serving.listen import listen
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_THE_EXTRA:
            raise
        raise ConfigError("the MCP server needs the package mcp: `pip install 'mcp>=2.3'`") from error
    listener, token = None, ""
    if http:
        listener = listen(host, port)
        token = _token(token_env)
        say(f"MCP at {url_of(listener)}; Ctrl-C ends it")
    elif token_env:
        raise InputError("--token-env needs --http; over stdin and stdout no token is used")
    elif sys.stdin.isatty():
        say("speaking MCP on stdin and stdout, as an MCP client expects; Ctrl-C ends it")
    if number := asyncio.run(serve(settings, say, listener, token)):
        sys.exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)


def _settings(options: SessionOptions, access: _Access) -> ServerSettings:
    """The settings of the server; the configuration is checked now, not at the first request."""
    from swarm_graph.cli.one_repository import tell_of_repository
    from swarm_graph.cli.session_runner import new_config, prepare_imports
    from swarm_graph.config import config_path

    config = new_config(options)
    if config.repo:
        tell_of_repository(config.repo, options.data_dir)
    prepare_imports(config)
    from swarm_graph.mcp_server.settings import ServerSettings, allowed_workflows

    return ServerSettings(
        config,
        config_path(options.config_file),
        Path(options.data_dir),
        Path(access.output_dir),
        allowed_workflows(config, access.workflows),
        Path(access.folder) if access.folder else None,
        access.max_sessions,
        access.allow_answers,
        access.read_only,
    )


def _token(variable: str | None) -> str:
    """The token of clients; a line says where it is, never what it is."""
    from swarm_graph.serving.client_token import own_token, token_file, token_of_variable

    if variable:
        return token_of_variable(variable)
    token = own_token()
    say(f"clients need the token in {token_file()}")
    return token
