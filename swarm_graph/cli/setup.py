"""The commands that set a machine up: `init` and `doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarm_graph.errors import InputError
from swarm_graph.state import DATA_DIR, OUTPUT_DIR


@click.command(epilog="Example: swarm-graph doctor --config config.json")
@click.option("--config", "config_file", metavar="FILE", help="Default: $SWARM_CONFIG, then config.json.")
@click.option(
    "--data-dir", default=DATA_DIR, envvar="SWARM_DATA_DIR", show_default=True, help="The folder to check."
)
@click.option("--output", metavar="DIR", default=OUTPUT_DIR, show_default=True, help="The folder to check.")
@click.option("--database", is_flag=True, help="Check only the session database in the data folder.")
@click.option(
    "--repair", is_flag=True, help="With --database: save what can be read, and keep the old file beside it."
)
@click.option(
    "--measure", "measured", is_flag=True, help="Also make tiny calls to each model, and propose settings."
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON document.")
def doctor(
    config_file: str | None,
    data_dir: str,
    output: str,
    database: bool,
    repair: bool,
    measured: bool,
    as_json: bool,
) -> None:
    """Check config, servers, models, context, slots and folders, and say how to fix each problem.

    Without --measure no prompt is sent. Exit code 1 when a check failed.
    """
    import asyncio

    from swarm_graph.config import load_config
    from swarm_graph.sessions.ids import DATABASE
    from swarm_graph.setup.checks import checks_text
    from swarm_graph.setup.database_checks import examine_database
    from swarm_graph.setup.doctor import examine
    from swarm_graph.setup.measure import measure
    from swarm_graph.text import printable, to_json

    if repair and not database:
        raise InputError("--repair needs --database; `swarm-graph doctor --database --repair` repairs it")
    if measured and database:
        raise InputError("--measure asks the models, --database looks at the sessions; choose one")
    if database:
        checks = examine_database(Path(data_dir) / DATABASE, repair=repair)
    else:
        config = load_config(config_file)
        checks = asyncio.run(examine(config, data_dir=Path(data_dir), output_dir=Path(output)))
        if measured:
            checks += asyncio.run(measure(config))
    text = to_json([vars(check) for check in checks]) if as_json else printable(checks_text(checks))
    sys.stdout.write(text)
    if any(check.ok is False for check in checks):
        sys.exit(1)


@click.command(epilog="Example: swarm-graph init --preset minimal")
@click.argument("path", default="config.json")
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
def init(path: str, preset: str, force: bool, yes: bool, schema: bool, task_schema: bool) -> None:
    """Look for model servers on this machine and write a commented config to PATH.

    Only 127.0.0.1 is looked at, and what OPENAI_BASE_URL and OLLAMA_HOST name. No prompt is sent.
    """
    import asyncio

    from swarm_graph.config import config_schema
    from swarm_graph.models.probe import discover
    from swarm_graph.settings import MODEL_PLACEHOLDER
    from swarm_graph.setup.init import config_text, keep_existing, write_config
    from swarm_graph.text import to_json

    if task_schema:
        from swarm_graph.tasks.spec import tasks_schema

        sys.stdout.write(to_json(tasks_schema()))
        return
    if schema:
        sys.stdout.write(to_json(config_schema()))
        return
    keep_existing(Path(path), force=force)
    servers = asyncio.run(discover())
    for server in servers:
        click.echo(f"found {server.kind} at {server.url}: {', '.join(server.models) or 'no model'}")
    if not servers:
        click.echo(
            f"found no model server; the config will have a place for yours, marked {MODEL_PLACEHOLDER}"
        )
    if sys.stdin.isatty() and not yes and not click.confirm(f"Write {path}?", default=True):
        return
    write_config(Path(path), config_text(servers, preset), force=force)
    click.echo(f"wrote {path}; `swarm-graph doctor` checks it")
