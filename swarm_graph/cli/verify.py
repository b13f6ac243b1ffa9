"""The command `verify`: run the tests of a past session again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from swarm_graph.cli.console import EXIT_FAILED, EXIT_NOT_APPROVED, print_result
from swarm_graph.cli.options import (
    SessionOptions,
    config_option,
    data_option,
    json_option,
    session_options,
    trust_option,
)
from swarm_graph.cli.session_runner import resuming_coordinator


@click.command(
    short_help="Run the tests of a past session again.",
    epilog="Example: swarm-graph verify 20231205_143022_4f2a",
)
@click.argument("session")
@session_options(config_option, data_option, json_option, trust_option)
def verify(session: str, options: SessionOptions) -> None:
    """Run the tests of a past session again, on its code, and print the result.

    Exit code 0 when they passed, 4 when not, 1 when they cannot be run.
    """
    from swarm_graph.sandbox.evidence import evidence_line, evidence_text
    from swarm_graph.sessions.ids import find_session

    found = find_session(Path(options.data_dir), session)
    evidence = resuming_coordinator(options, found, only="execution").verify(session)
    outcome = evidence["outcome"]
    details = "" if outcome in ("passed", "not_run") else f"\n{evidence_text(evidence)}"
    text = f"Session {session}: {evidence_line(evidence)}{details}\n"
    print_result({"session": session, **evidence}, text, options.as_json)
    if outcome == "not_run":
        sys.exit(EXIT_FAILED)
    if outcome != "passed":
        sys.exit(EXIT_NOT_APPROVED)
