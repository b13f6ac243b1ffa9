"""Task graphs on the command line: what `run --tasks` shares with it, and `batch`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.console import say
from swarm_graph.cli.options import Option, read_file, session_options
from swarm_graph.cli.session_runner import carry_out, coordinator_for
from swarm_graph.errors import InputError
from swarm_graph.state import AgentRole

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmState
    from swarm_graph.tasks.spec import TaskSpec

ROLES = [str(role) for role in AgentRole]

dry_run_option: Option = click.option(
    "--dry-run", is_flag=True, help="Ask nobody: print order, critical path, calls, tokens and the drawing."
)


@click.command(
    epilog="Example: swarm-graph batch 'procedures/*.txt' --prompt extract.md --role coder --session lao"
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--prompt", metavar="FILE", help="What to do with each; it may show $files or a row's $column.")
@click.option("--role", default="coder", show_default=True, type=click.Choice(ROLES), help="Who does it.")
@click.option(
    "--answer", metavar="FILE", help="The JSON schema of a typed answer; its values become columns."
)
@click.option("--model", metavar="NAME", help="An entry of multi_model; default: the role's model.")
@click.option("--id", "id_column", metavar="COLUMN", help="What names a row; default: its number.")
@click.option("--session", metavar="ID", help="Default: the time and four characters.")
@click.option("--retry-failed", is_flag=True, help="Go on with --session (default: the newest unfinished).")
@dry_run_option
@session_options
def batch(
    inputs: tuple[str, ...],
    prompt: str | None,
    role: str,
    answer: str | None,
    model: str | None,
    id_column: str | None,
    session: str | None,
    retry_failed: bool,
    dry_run: bool,
    as_events: bool,
    as_json: bool,
    simulate: bool,
    output: str | None,
    data_dir: str,
    config_file: str | None,
) -> None:
    """Do one task per document or row, side by side as far as the servers allow.

    INPUT is a file, a folder or a quoted pattern; a .csv or .jsonl file gives a task a row. Results are one
    file each, and results.csv and results.jsonl with all. `resume` goes on after a stop.
    """
    from swarm_graph.reports.terminal import some
    from swarm_graph.sessions.ids import find_session
    from swarm_graph.tasks.files import batch_tasks

    if retry_failed:
        if given := _of_new_work(click.get_current_context()):
            raise InputError(
                f"--retry-failed takes no {given[0]}: the session knows its own; name it with --session"
            )
        known = find_session(Path(data_dir), session, workflow="custom")
        coordinator = coordinator_for(config_file, simulate, data_dir, output, known=known)
        carry_out(
            coordinator, lambda: coordinator.aresume(known.session), as_json=as_json, as_events=as_events
        )
        return
    if not inputs or not prompt:
        missing = "an INPUT" if prompt else "--prompt FILE"
        raise InputError(f"batch needs {missing}, as in swarm-graph batch 'docs/*.txt' --prompt extract.md")
    schema = read_schema(answer) if answer else None
    prompt = prompt if "/" in prompt or "." in prompt else f"./{prompt}"
    specs = batch_tasks(inputs, AgentRole(role), prompt, answer=schema, model=model, id_column=id_column)
    if empty := [name for spec in specs for name in spec.files if not Path(name).stat().st_size]:
        say(f"note: {len(empty)} of {len(specs)} documents are empty: {some(empty)}")
    coordinator = coordinator_for(config_file, simulate, data_dir, output)
    if dry_run:
        show_plan("", specs, coordinator.config, as_json)
        return
    work_off(coordinator, "", specs, session, as_json=as_json, as_events=as_events)


OF_NEW_WORK = {
    "inputs": "INPUT", "prompt": "--prompt", "role": "--role", "answer": "--answer", "model": "--model",
    "id_column": "--id", "dry_run": "--dry-run",
}  # fmt: skip
"""What says what a new batch is to do, by the names of the parameters."""


def _of_new_work(context: click.Context) -> list[str]:
    """The arguments and options of a new batch that a command line gives."""
    default = click.core.ParameterSource.DEFAULT
    return [word for name, word in OF_NEW_WORK.items() if context.get_parameter_source(name) is not default]


def work_off(
    coordinator: SwarmCoordinator,
    request: str,
    specs: Sequence[TaskSpec],
    session: str | None = None,
    *,
    follow_up: bool = False,
    as_json: bool = False,
    as_events: bool = False,
) -> None:
    """Runs tasks as a custom session."""
    for spec in specs:
        coordinator.add_task(spec)

    async def work() -> SwarmState:
        return await coordinator.arun_workflow(request, "custom", session_id=session, follow_up=follow_up)

    carry_out(coordinator, work, as_json=as_json, as_events=as_events)


def show_plan(request: str, specs: Sequence[TaskSpec], config: SwarmConfig, as_json: bool) -> None:
    """Prints the plan of a task graph, and its drawing where that can be read."""
    from swarm_graph.roles.turn import Crew
    from swarm_graph.tasks.dependencies import checked_graph
    from swarm_graph.tasks.dry_run import DRAWN, mermaid, plan, plan_text
    from swarm_graph.tasks.prompting import check_tasks
    from swarm_graph.text import plain_text, to_json

    graph = checked_graph(specs)
    check_tasks(graph, Crew(config), overridden=config.models.single_model is None)
    made = plan(graph, config, request)
    if as_json:
        sys.stdout.write(to_json({**vars(made), "tasks": len(graph)}))
        return
    text = plan_text(made, graph, config.workflow.parallel)
    if len(graph) <= DRAWN:
        text += f"\n{mermaid(graph)}"
    else:
        text += "\nThe drawing is left out; `swarm-graph graph --tasks FILE --output graph.svg` makes it.\n"
    sys.stdout.write(plain_text(text))


def read_schema(name: str) -> dict[str, Any]:
    """A JSON schema from a file. InputError when it is none."""
    try:
        schema = json.loads(read_file(name))
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{name}' is not valid JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InputError(f"'{name}' holds no JSON schema: expected an object")
    return schema
