"""The command `models`: what is known of each model in each role, and which would be chosen now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote

import click

from swarm_graph.cli.console import print_result
from swarm_graph.cli.options import SessionOptions, config_option, data_option, json_option, session_options
from swarm_graph.state import DATA_DIR


@click.command(
    short_help="Show what is known of each model in each role.",
    epilog="Example: swarm-graph models --config config.json",
)
@session_options(config_option, data_option, json_option)
def models(options: SessionOptions) -> None:
    """Show for each role and model what was measured, and which model a session would ask now.

    Solved cases come from `eval` and from the tests of your sessions; `doctor --measure` adds speeds. No
    server is asked. Sessions that somebody else began, and simulated answers of real models, do not count.
    """
    from swarm_graph.config import load_config
    from swarm_graph.reports.model_evidence import model_table, model_table_text
    from swarm_graph.sessions.exploring import evidence_of

    table = model_table(load_config(options.config_file), evidence_of(Path(options.data_dir)))
    if table.measure:
        table = replace(table, measure=table.measure + _same_options(options))
    print_result(table.to_dict(), model_table_text(table), options.as_json)


def _same_options(options: SessionOptions) -> str:
    """The options of this command, for another one that is to read the same files."""
    given = {
        "--config": options.config_file,
        "--data-dir": options.data_dir if Path(options.data_dir) != Path(DATA_DIR) else None,
    }
    return "".join(f" {name} {quote(value)}" for name, value in given.items() if value)
