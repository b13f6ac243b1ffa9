"""The command `ui`: sessions in a browser."""

from __future__ import annotations

import secrets
import signal
import sys
import webbrowser
from pathlib import Path

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_TERMINATED, say
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    SessionOptions,
    config_option,
    data_option,
    log_option,
    session_options,
    simulate_option,
)
from swarm_graph.errors import ConfigError
from swarm_graph.state import OUTPUT_DIR

PORT = 8366
OF_THE_EXTRA = ("multipart", "python_multipart", "starlette", "uvicorn")
"""The packages that come with the extra `ui`."""


@click.command(
    short_help="Watch sessions and decide, in a browser.",
    epilog="Example: swarm-graph ui",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="A loopback address; no other is accepted.",
)
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
    "--output-dir",
    default=OUTPUT_DIR,
    show_default=True,
    metavar="DIR",
    help="The folder in which each session gets a folder.",
)
@session_options(config_option, *MODEL_OPTIONS, data_option, simulate_option, log_option)
def ui(
    host: str, port: int, no_browser: bool, read_only: bool, output_dir: str, options: SessionOptions
) -> None:
    """Show sessions in a browser: watch them, start them, answer their pauses, compare them."""
    import asyncio

    from swarm_graph.cli.session_runner import new_config
    from swarm_graph.config import config_path

    config = new_config(options)
    try:
        from swarm_graph.serving.listen import authority_of, listen
        from swarm_graph.web.serve import serve
        from swarm_graph.web.settings import PageSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OF_THE_EXTRA:
            raise
        raise ConfigError("the page needs the extra ui: `pip install 'swarm-graph[ui]'`") from error
    listener = listen(host, port)
    authority, token = authority_of(listener), secrets.token_urlsafe(24)
    hosts = frozenset((authority, f"localhost:{listener.getsockname()[1]}"))
    settings = PageSettings(
        {config_path(options.config_file): config},
        Path(options.data_dir),
        Path(output_dir),
        read_only=read_only,
        hosts=hosts,
    )
    address = f"http://{authority}/login#{token}"
    say(f"open {address} (Ctrl-C ends it)")
    if not no_browser:
        webbrowser.open(address)
    number = asyncio.run(serve(settings, listener, token, say))
    sys.exit(EXIT_TERMINATED if number == signal.SIGTERM else EXIT_INTERRUPTED)
