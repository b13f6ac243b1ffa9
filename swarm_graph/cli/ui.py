"""The command `ui`: sessions in a browser."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_TERMINATED, say
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    SessionOptions,
    data_option,
    let_name_database,
    log_option,
    max_sessions_option,
    no_memory_option,
    output_dir_option,
    session_options,
    simulate_option,
)
from swarm_graph.errors import ConfigError, InputError

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig

PORT = 8366
OF_THE_EXTRA = ("multipart", "python_multipart", "starlette", "uvicorn")
"""The packages that come with the extra `ui`."""


@click.command(
    short_help="Watch sessions and decide, in a browser.",
    epilog="Example: swarm-graph ui --folder docs --repo .",
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="N",
    help="0 takes any free port.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option("--read-only", is_flag=True, help="Show sessions; start, stop and decide nothing.")
@click.option(
    "-c",
    "--config",
    "config_files",
    multiple=True,
    metavar="FILE",
    callback=let_name_database,
    help="A configuration for new runs; repeatable. Default: $SWARM_CONFIG, then config.json.",
)
@click.option("--folder", metavar="DIR", help="A request may name files of this folder.")
@click.option(
    "--repo",
    "repositories",
    multiple=True,
    metavar="DIR",
    help="A git repository that a run may change or read; repeatable.",
)
@max_sessions_option
@output_dir_option
@click.option(
    "--token-env", metavar="NAME", help="The variable with the token; default: a new token each time."
)
@click.option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate (PEM).")
@click.option("--tls-key", metavar="FILE", help="The key of --tls-cert (PEM).")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Another name of the page, such as that of a proxy with HTTPS; repeatable.",
)
@click.option(
    "--insecure-http",
    is_flag=True,
    help="Serve other machines without TLS: who is on the network can read and change everything.",
)
@session_options(*MODEL_OPTIONS, no_memory_option, data_option, simulate_option, log_option)
def ui(
    host: str,
    port: int,
    no_browser: bool,
    read_only: bool,
    config_files: tuple[str, ...],
    folder: str | None,
    repositories: tuple[str, ...],
    max_sessions: int,
    output_dir: str,
    token_env: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    allowed_hosts: tuple[str, ...],
    insecure_http: bool,
    options: SessionOptions,
) -> None:
    """Show sessions in a browser: watch them, start them, answer their pauses, compare them.

    The page shows all sessions of the database, also those of other processes. The printed address holds a
    token: whoever has it may do what you may. Sessions that the page started stop when it ends; they can be
    resumed.
    """
    import asyncio

    from swarm_graph.cli.browser import open_browser

    configs = _configs(options, config_files)
    _check_extra()
    from swarm_graph.serving.listen import is_loopback, listen
    from swarm_graph.web.origins import page_origins
    from swarm_graph.web.serve import Endpoint, read_certificate, serve
    from swarm_graph.web.settings import PageSettings

    token = _token(token_env)
    tls = read_certificate(tls_cert, tls_key)
    if not (is_loopback(host) or tls or insecure_http):
        raise InputError(
            f"--host {host!r} lets other machines in: add --tls-cert FILE and --tls-key FILE, or "
            "--insecure-http if you trust everybody on the network"
        )
    _check_repositories(repositories)
    listener = listen(host, port, anywhere=True)
    origins = page_origins(listener.getsockname()[:2], tls is not None, allowed_hosts, insecure_http)
    settings = PageSettings(
        configs,
        Path(options.data_dir),
        Path(output_dir),
        Path(folder) if folder else None,
        tuple(map(Path, repositories)),
        max_sessions,
        read_only,
        origins,
    )
    address = f"{origins.own}/login"
    if token_env:
        say(f"open {address} with the token in {token_env} (Ctrl-C ends it)")
    else:
        say(f"open {address}#{token} (Ctrl-C ends it)")
    ready = None if no_browser else lambda code: open_browser(f"{address}#{code}")
    number = asyncio.run(serve(settings, Endpoint(listener, tls), token, say, ready))
    sys.exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)


def _check_extra() -> None:
    """Raises ConfigError if the packages of the extra `ui` are not installed."""
    try:
        import swarm_graph.web.serve  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_THE_EXTRA:
            raise
        raise ConfigError(
            "the page needs the packages of the extra ui: `pip install starlette uvicorn python-multipart`"
        ) from error


def _token(variable: str | None) -> str:
    """The token of users: that of a variable, or a new one."""
    import secrets

    from swarm_graph.serving.client_token import token_of_variable

    return token_of_variable(variable) if variable else secrets.token_urlsafe(24)


def _configs(options: SessionOptions, files: tuple[str, ...]) -> dict[str, SwarmConfig]:
    """The configurations of new runs, checked now and not at the first run, by the paths of their files."""
    from swarm_graph.cli.session_runner import new_config, prepare_imports
    from swarm_graph.config import config_path

    found = {config_path(file): new_config(replace(options, config_file=file)) for file in files or (None,)}
    for config in found.values():
        prepare_imports(config)
    return found


def _check_repositories(folders: tuple[str, ...]) -> None:
    """Raises InputError if one is no git repository."""
    if folders:
        from swarm_graph.workflows.repository import open_repository

        for folder in folders:
            open_repository(folder)
