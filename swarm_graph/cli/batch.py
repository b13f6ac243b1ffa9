"""The command `batch`, and what `run --tasks` shares with it: task graphs on the command line.

`tasks/results.py` defines the columns of results.csv.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.console import print_result, say
from swarm_graph.cli.display import Display
from swarm_graph.cli.options import Option, SessionOptions, batch_options, kind_option, read_file
from swarm_graph.cli.session_runner import (
    Work,
    new_config,
    new_coordinator,
    resuming_coordinator,
    run_session,
)
from swarm_graph.errors import InputError
from swarm_graph.state import AgentRole, Kind

if TYPE_CHECKING:
    from swarm_graph.checkpoints.records import TaskFileKind
    from swarm_graph.config import SwarmConfig
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmResult
    from swarm_graph.tasks.repository_files import RepositoryCopies
    from swarm_graph.tasks.spec import TaskSpec


dry_run_option: Option = click.option(
    "--dry-run", is_flag=True, help="Call no model; print order, critical path, calls, tokens and drawing."
)


@click.command(
    short_help="Run one task per document or row of a table.",
    epilog="Example: swarm-graph batch 'procedures/*.txt' --prompt extract.md --role coder --session lao",
)
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "--prompt",
    metavar="FILE",
    help="The prompt for each document or row, a file or a name in --prompts; it may use $files or $column.",
)
@click.option(
    "--role",
    default="coder",
    show_default=True,
    metavar="ROLE",
    help=f"The role that runs the tasks: {', '.join(AgentRole)}, or one of `roles` in the configuration.",
)
@click.option(
    "--answer", metavar="FILE", help="The JSON schema of a typed answer; its values become columns."
)
@click.option(
    "--id",
    "id_column",
    metavar="COLUMN",
    help="The column whose value names a task; default: the number of the row.",
)
@click.option(
    "--delimiter",
    metavar="CHARACTER",
    callback=lambda _context, _option, text: _one_character(text),
    help="What separates the cells of .csv and .tsv files (`tab` for a tab); default: found in each file.",
)
@click.option(
    "--split",
    is_flag=False,
    flag_value="auto",
    metavar="[TOKENS|auto]",
    callback=lambda _context, _option, text: _part_size(text),
    help="Split documents that are too long into parts of this many tokens, or as large as the model's "
    "context allows (auto, also --split alone); ask for each part, and join the answers.",
)
@click.option("--session", metavar="ID", help="The id of the session; default: the time and four characters.")
@click.option("--retry-failed", is_flag=True, help="Resume --session (default: the newest unfinished batch).")
@click.option(
    "--explore",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Let N tasks ask a model that is drawn from those of their role (any_of), to learn about them.",
)
@dry_run_option
@kind_option
@batch_options
def batch(
    inputs: tuple[str, ...],
    prompt: str | None,
    role: str,
    answer: str | None,
    id_column: str | None,
    delimiter: str | None,
    split: int | str | None,
    session: str | None,
    retry_failed: bool,
    explore: int,
    dry_run: bool,
    options: SessionOptions,
) -> None:
    """Run one task per document or row, in parallel as far as the servers allow.

    INPUT is a file, a folder or a quoted pattern; with --repo also one of the commit, as in 'repo:src/*.py'.
    Documents are text, PDF, DOCX, XLSX, PPTX, HTML and EML files. A .csv, .tsv, .jsonl or .ndjson file and a
    .json file with an array of objects give one task per row. Each result is a file; results.csv and
    results.jsonl hold all of them. `resume` continues after a stop.
    """
    from swarm_graph.config_source import unknown_name
    from swarm_graph.tasks.files import batch_tasks
    from swarm_graph.text import first_names

    if retry_failed:
        _retry(session, options)
        return
    if not inputs or not prompt:
        missing = "an INPUT" if prompt else "--prompt FILE"
        raise InputError(f"batch needs {missing}, as in swarm-graph batch 'docs/*.txt' --prompt extract.md")
    if role not in (known := new_config(options).role_names):
        raise InputError(f"--role: {unknown_name('role', role, known)}")
    inputs = tuple(repository_copies(new_config(options), options).inputs(inputs))
    schema = read_schema(answer) if answer else None
    is_name = not ("/" in prompt or "." in prompt or Path(prompt).is_file())
    prompt = prompt if is_name or "/" in prompt or "." in prompt else f"./{prompt}"
    specs = batch_tasks(
        inputs, role, prompt,
        answer=schema, id_column=id_column, delimiter=delimiter,
        prompts_dir=_prompts_dir(options) if is_name else None,
        split=split,
        say=lambda note: say(f"note: {note}"),
    )  # fmt: skip
    if empty := [name for spec in specs for name in spec.files if not Path(name).stat().st_size]:
        say(f"note: {len(empty)} of {len(specs)} documents are empty: {first_names(empty)}")
    names = dict.fromkeys(spec.source_file for spec in specs if spec.source_file)
    tables: list[tuple[TaskFileKind, str]] = [("rows", name) for name in names]
    run_tasks("", specs, session, options, tables, dry_run=dry_run, explore=explore)


def repository_copies(config: SwarmConfig, options: SessionOptions) -> RepositoryCopies:
    """The files of a repository that tasks and inputs name as `repo:PATH`."""
    from swarm_graph.tasks.repository_files import RepositoryCopies

    return RepositoryCopies(config.repo, Path(options.data_dir))


def _prompts_dir(options: SessionOptions) -> str | None:
    """The folder of prompts of a new session."""
    from swarm_graph.config import load_config

    return options.prompts or load_config(options.config_file).prompts_dir


def _one_character(text: str | None) -> str | None:
    """The character of --delimiter. Raises InputError for anything else."""
    character = "\t" if text in ("tab", "\\t") else text
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise InputError(f"--delimiter {character!r}: expected one character, as in ';', or tab")
    return character


def _part_size(text: str | None) -> int | str | None:
    """The value of --split. Raises InputError for anything else than a number of tokens or `auto`."""
    from swarm_graph.tasks.spec import MIN_PART_TOKENS

    if text is None or text == "auto":
        return text
    if not (text.isascii() and text.isdecimal() and int(text) >= MIN_PART_TOKENS):
        raise InputError(
            f"--split {text!r}: expected auto or the tokens of a part, at least {MIN_PART_TOKENS}; "
            "before an INPUT write --split auto"
        )
    return int(text)


def _retry(session_id: str | None, options: SessionOptions) -> None:
    """Resume a batch."""
    from swarm_graph.sessions.ids import find_session

    if given := _options_of_new_batch(click.get_current_context()):
        raise InputError(
            f"--retry-failed takes no {given[0]}: the session knows its own; name it with --session"
        )
    session = find_session(Path(options.data_dir), session_id, workflow="custom")
    display = Display(options)
    coordinator = resuming_coordinator(options, session, display)
    run_session(coordinator, display, lambda coordinator: coordinator.aresume(session.session))


NEW_BATCH = {
    "inputs": "INPUT", "prompt": "--prompt", "role": "--role", "answer": "--answer",
    "id_column": "--id", "delimiter": "--delimiter", "split": "--split",
    "kind": "--kind", "dry_run": "--dry-run", "explore": "--explore",
}  # fmt: skip
"""The arguments and options that describe a new batch, by their parameters."""


def _options_of_new_batch(context: click.Context) -> list[str]:
    """The arguments and options of a new batch that the command line gives."""
    default = click.core.ParameterSource.DEFAULT
    return [word for name, word in NEW_BATCH.items() if context.get_parameter_source(name) is not default]


def run_tasks(
    request: str,
    specs: Sequence[TaskSpec],
    session_id: str | None,
    options: SessionOptions,
    files: Sequence[tuple[TaskFileKind, str]] = (),
    *,
    follow_up: bool = False,
    dry_run: bool = False,
    explore: int = 0,
) -> None:
    """Run tasks as a custom session, or print what that would do.

    Args:
        request: The purpose of the whole work; may be empty.
        specs: The tasks.
        session_id: The id of the session; None for a new one.
        options: The options of the command.
        files: The files that the tasks come from, each with its kind.
        follow_up: Whether the tasks are a follow-up of the session.
        dry_run: Whether to print only.
        explore: How many tasks ask a model that is drawn.
    """
    display = Display(options)
    coordinator = new_coordinator(options, display)
    if dry_run:
        config = coordinator.config
        copies = repository_copies(config, options)
        print_dry_run(request, list(map(copies.task, specs)), config.without_repo(), options.as_json)
        return
    work = tasks_work(
        coordinator,
        request,
        specs,
        files,
        session_id,
        follow_up=follow_up,
        kind=options.kind,
        explore=explore,
    )
    run_session(coordinator, display, work)


def tasks_work(
    coordinator: SwarmCoordinator,
    request: str,
    specs: Sequence[TaskSpec],
    files: Sequence[tuple[TaskFileKind, str]],
    session_id: str | None = None,
    *,
    follow_up: bool = False,
    kind: Kind | None = None,
    explore: int = 0,
) -> Work:
    """Add tasks to a coordinator; returns what runs them. See `run_tasks`."""
    for spec in specs:
        coordinator.add_task(spec)
    for file_kind, file in files:
        coordinator.add_source(file_kind, file)

    async def work(coordinator: SwarmCoordinator) -> SwarmResult:
        return await coordinator.arun_workflow(
            request,
            "custom",
            session_id=session_id,
            follow_up=follow_up,
            kind=kind,
            explore=explore,
        )

    return work


def print_dry_run(request: str, specs: Sequence[TaskSpec], config: SwarmConfig, as_json: bool) -> None:
    """Print what a task graph would do, and its drawing if it is small enough to read."""
    from swarm_graph.roles.bindings import Bindings
    from swarm_graph.tasks.dependencies import checked_graph
    from swarm_graph.tasks.dry_run import MAX_DRAWN_TASKS, dry_run, dry_run_text, task_mermaid
    from swarm_graph.tasks.prompting import check_tasks
    from swarm_graph.tasks.spec import task_specs
    from swarm_graph.workflows.build import with_declared_kind

    config = with_declared_kind(config)
    bindings = Bindings(config)
    graph = checked_graph(task_specs(specs, config.role_names), bindings.roles)
    check_tasks(graph, bindings, supplied=config.models.single_model is None)
    result = dry_run(graph, config, request)
    text = dry_run_text(result, graph, config.workflow.parallel)
    if len(graph) <= MAX_DRAWN_TASKS:
        text += f"\n{task_mermaid(graph)}"
    else:
        text += "\nThe drawing is left out; `swarm-graph graph --tasks FILE --output graph.svg` makes it.\n"
    print_result({**vars(result), "tasks": len(graph)}, text, as_json)


def read_schema(name: str) -> dict[str, Any]:
    """A JSON schema from a file. Raises InputError when there is none in it."""
    try:
        schema = json.loads(read_file(name))
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{name}' is not valid JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InputError(f"'{name}' holds no JSON schema: expected an object")
    return schema
