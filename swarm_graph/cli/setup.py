"""The commands that set a machine up: `init` and `doctor`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import program
from swarm_graph.cli.one_model import given_model, with_given_model
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    SessionOptions,
    key_option,
    let_name_database,
    model_option,
    session_options,
    url_option,
)
from swarm_graph.database_place import place_of
from swarm_graph.errors import InputError, StorageError
from swarm_graph.state import DATA_DIR, OUTPUT_DIR

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.settings import ModelEntry
    from swarm_graph.setup.checks import Check

IS_URL = re.compile(
    r"\w+://|[a-zA-Z]\w+:/|:?\d+(/|$)|localhost(:|/|$)|\[?[\da-fA-F]*:[\da-fA-F:.]*:|[\w.-]+:\d+(/|$)|[\d.]+$"
)
"""An argument of `init` that is no file: with a scheme, a port, an address, or a host and a port."""


@click.command(
    short_help="Check config, servers, models and folders.",
    epilog="Example: swarm-graph doctor --config config.json",
)
@click.option(
    "-c", "--config", "config_file", metavar="FILE", callback=let_name_database,
    help="Default: $SWARM_CONFIG, then config.json.",
)  # fmt: skip
@click.option(
    "--data-dir", default=DATA_DIR, envvar="SWARM_DATA_DIR", show_default=True, help="The folder to check."
)
@click.option(
    "-o", "--output", metavar="DIR", default=OUTPUT_DIR, show_default=True, help="The folder to check."
)
@session_options(*MODEL_OPTIONS)
@click.option("--database", is_flag=True, help="Check only the session database in the data folder.")
@click.option(
    "--repair", is_flag=True, help="With --database: save what can be read, and keep the old file beside it."
)
@click.option(
    "--measure", "measured", is_flag=True, help="Also make tiny calls to each model, and propose settings."
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON document.")
def doctor(database: bool, repair: bool, measured: bool, options: SessionOptions) -> None:
    """Check config, servers, models, context, slots and folders, and say how to fix each problem.

    With --url or --model it checks that model in place of the configured ones. Without --measure no prompt
    is sent. Exit code 1 when a check failed.
    """
    import asyncio

    from swarm_graph.config import load_config
    from swarm_graph.errors import ConfigError
    from swarm_graph.setup.checks import checks_text, failed_check
    from swarm_graph.setup.database_checks import examine_database
    from swarm_graph.setup.doctor import examine
    from swarm_graph.text import printable, to_json

    data_dir = Path(options.data_dir)
    if repair and not database:
        raise InputError("--repair needs --database; `swarm-graph doctor --database --repair` repairs it")
    if measured and database:
        raise InputError("--measure asks the models, --database looks at the sessions; choose one")
    if database:
        checks = examine_database(place_of(data_dir), data_dir, repair=repair)
    else:
        config, failed = load_config(options.config_file), []
        try:
            config = with_given_model(config, options)
        except ConfigError as error:
            failed = [failed_check("model", str(error))]
        output_dir = Path(options.output or OUTPUT_DIR)
        checks = asyncio.run(
            examine(config, data_dir=data_dir, output_dir=output_dir, servers=failed or None)
        )
        if measured and not failed:
            checks += _measured(config, data_dir)
    text = to_json([vars(check) for check in checks]) if options.as_json else printable(checks_text(checks))
    sys.stdout.write(text)
    if any(check.ok is False for check in checks):
        sys.exit(1)


def _measured(config: SwarmConfig, data_dir: Path) -> list[Check]:
    """The checks of `doctor --measure`; the speeds that it finds are kept in the database, for `models`."""
    import asyncio

    from swarm_graph.checkpoints.model_evidence import put_speed
    from swarm_graph.checkpoints.saver import open_checkpointer
    from swarm_graph.setup.checks import Check
    from swarm_graph.setup.measure import Measurement, measure

    measured: list[tuple[ModelEntry, Measurement]] = []
    checks = asyncio.run(measure(config, lambda *speed: measured.append(speed)))
    if not measured:
        return checks
    try:
        with open_checkpointer(place_of(data_dir), data_dir=data_dir) as saver:
            for entry, found in measured:
                speed = (found.first_token_s, found.token_s, found.load_s)
                put_speed(saver.catalogue, entry.server, entry.label, *speed)
    except StorageError as error:
        checks.append(Check("measured speeds", None, f"are not kept: {error}"))
    return checks


@click.command(
    short_help="Write a config for the model servers that it finds.",
    epilog="Example: swarm-graph init http://gpu-server:8000/v1",
)
@click.argument("places", nargs=-1, metavar="[URL]... [FILE]")
@session_options(url_option, model_option, key_option)
@click.option(
    "--preset",
    type=click.Choice(["minimal", "optimal", "high-performance"]),
    default="optimal",
    show_default=True,
    help="The hardware: a laptop, a server with one GPU, a server with several.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--yes", is_flag=True, help="Do not ask before the file is written.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a config file instead.")
@click.option("--task-schema", is_flag=True, help="Print the JSON Schema of a task file instead.")
def init(
    places: tuple[str, ...],
    preset: str,
    force: bool,
    yes: bool,
    schema: bool,
    task_schema: bool,
    options: SessionOptions,
) -> None:
    """Write a commented config to FILE (config.json) for the model servers at each URL.

    Without a URL it looks for servers on this machine: 127.0.0.1, and what OPENAI_BASE_URL and OLLAMA_HOST
    name, and for GGUF files, which need no server. With --model the config has only that model. No prompt is
    sent.
    """
    import asyncio

    from swarm_graph.config import config_schema
    from swarm_graph.models.embedded_file import extra_problem
    from swarm_graph.models.find_model import NO_SERVER
    from swarm_graph.models.gguf_folders import FoundFiles
    from swarm_graph.settings import MODEL_PLACEHOLDER
    from swarm_graph.setup.init import (
        MAX_FILES,
        config_text,
        file_text,
        find_servers,
        keep_existing,
        next_command,
        servable_files,
        write_config,
    )
    from swarm_graph.text import to_json

    if task_schema:
        from swarm_graph.tasks.spec import tasks_schema

        sys.stdout.write(to_json(tasks_schema()))
        return
    if schema:
        sys.stdout.write(to_json(config_schema()))
        return
    urls, path = _urls_and_path(places)
    keep_existing(path, force=force)
    urls += filter(None, [options.url])
    if options.api_key_env and len(urls) != 1:
        raise InputError("--api-key-env goes with one URL: the server that wants the key")
    given = given_model(options)
    files, problems = FoundFiles([], []) if urls else servable_files(given)
    servers = [] if given.model and files else asyncio.run(find_servers(urls, given))
    for server in servers:
        click.echo(f"found {server.kind} at {server.url}: {', '.join(server.models) or 'no model'}")
    for file in files[:MAX_FILES]:
        click.echo(f"found {file_text(file)}")
    if len(files) > MAX_FILES:
        click.echo(f"and {len(files) - MAX_FILES} more files; --model FILE.gguf names one")
    if files and (missing := extra_problem()):
        click.echo(missing)
    if problems and not (servers or files):
        click.echo(f"could not search {'; '.join(problems)}")
    if not (servers or files):
        click.echo(f"{NO_SERVER}; the config will have a place for it, marked {MODEL_PLACEHOLDER}")
    if sys.stdin.isatty() and not yes and not click.confirm(f"Write {path}?", default=True):
        return
    write_config(path, config_text(servers, preset, options.api_key_env, files), force=force)
    click.echo(f"wrote {path}; {next_command(servers, path, program(), files)}")


def _urls_and_path(places: tuple[str, ...]) -> tuple[list[str], Path]:
    """The URLs and the file among the arguments of `init`. Raises InputError for two files."""
    urls = [place for place in places if IS_URL.match(place)]
    files = [place for place in places if place not in urls]
    if len(files) > 1:
        raise InputError(f"init writes one file, not {' and '.join(files)}; a URL begins with http://")
    return urls, Path(files[0] if files else "config.json")
