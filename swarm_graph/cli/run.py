"""The commands that run sessions: `run` and `resume`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

import click

from swarm_graph.cli.batch import dry_run_option, run_tasks
from swarm_graph.cli.decisions import decide_after_edits, named_decision
from swarm_graph.cli.display import Display
from swarm_graph.cli.inputs import read_inputs
from swarm_graph.cli.options import (
    Option,
    SessionOptions,
    all_session_options,
    kind_option,
    read_edit,
    resuming_options,
)
from swarm_graph.cli.session_runner import (
    RUNNER,
    THE_TERMINAL,
    new_coordinator,
    resuming_coordinator,
    run_session,
)
from swarm_graph.errors import InputError
from swarm_graph.state import CHANGE, WORKFLOWS, OwnWorkflow

if TYPE_CHECKING:
    from swarm_graph.checkpoints.records import Session, TaskFileKind
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmResult
    from swarm_graph.tasks.spec import TaskSpec
    from swarm_graph.workflows.pauses import Decision

*_OTHERS, _LAST = WORKFLOWS
WORKFLOW_HELP = (
    f"{', '.join(_OTHERS)}, {_LAST} (a graph of tasks), or one of `workflows` in the configuration."
)

approval_option: Option = click.option(
    "--require-approval", is_flag=True, help="Exit with 4 if the result is not approved."
)


class TaskGraphInput(NamedTuple):
    """The request and the tasks of a custom workflow, and the file that they come from."""

    request: str
    specs: list[TaskSpec]
    file: str = ""


@click.command(
    short_help="Run a workflow on a request, or a task graph.",
    epilog='Example: swarm-graph run "Create a CSV parser" --workflow full --output parser',
)
@click.argument("request", required=False)
@click.option("-w", "--workflow", help=f"{WORKFLOW_HELP} Default: standard.")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="A file to add to the request: text, PDF, Word, Excel …; repeatable.",
)
@click.option("--tasks", metavar="FILE", help="The task graph of a custom workflow: .yaml, .json or .csv.")
@dry_run_option
@click.option("--session", metavar="ID", help="The id of the session; default: the time and four characters.")
@click.option("--follow-up", is_flag=True, help="Continue an ended --session with a new request.")
@click.option(
    "--explore", is_flag=True, help="Draw the models of roles that may have several, to learn about them."
)
@approval_option
@kind_option
@all_session_options
def run(
    request: str | None,
    workflow: str | None,
    inputs: tuple[str, ...],
    tasks: str | None,
    dry_run: bool,
    session: str | None,
    follow_up: bool,
    explore: bool,
    require_approval: bool,
    options: SessionOptions,
) -> None:
    """Run a workflow on REQUEST (`-`: read it from stdin), or with --tasks a task graph.

    The tasks of a graph see REQUEST, if there is one, as the purpose of the whole work.
    """
    if follow_up and not session:
        raise InputError("--follow-up needs --session ID: which session is asked for more?")
    if tasks or workflow == "custom":
        if explore:
            raise InputError("--explore draws the models of a session's roles; tasks have batch --explore N")
        graph = _task_graph(request, inputs, tasks, workflow, require_approval, options)
        files: list[tuple[TaskFileKind, str]] = [("tasks", graph.file)]
        run_tasks(graph.request, graph.specs, session, options, files, follow_up=follow_up, dry_run=dry_run)
        return
    if dry_run:
        raise InputError("--dry-run needs --tasks FILE; `swarm-graph graph` draws the other workflows")
    if not request and not inputs and options.diff is not None:
        request = f"Review the change {options.diff}"
    text = whole_request(request, inputs, options)
    display = Display(options)
    coordinator = new_coordinator(options, display)

    async def work(coordinator: SwarmCoordinator) -> SwarmResult:
        return await coordinator.arun_workflow(
            text,
            OwnWorkflow(workflow or "standard"),
            session_id=session,
            follow_up=follow_up,
            kind=options.kind,
            explore=int(explore),
        )

    run_session(coordinator, display, work, require_approval=require_approval)


def _task_graph(
    request: str | None,
    inputs: tuple[str, ...],
    tasks: str | None,
    workflow: str | None,
    require_approval: bool,
    options: SessionOptions,
) -> TaskGraphInput:
    """The input of a custom workflow. Raises InputError for options that do not go together."""
    from swarm_graph.tasks.files import read_tasks

    if not tasks:
        raise InputError("a custom workflow needs --tasks FILE, as in swarm-graph run --tasks tasks.yaml")
    if workflow not in (None, "custom"):
        raise InputError(f"--tasks goes with --workflow custom, not with '{workflow}'")
    if require_approval:
        raise InputError("--require-approval does not go with a task graph, which has no verdict of its own")
    request_in_file, specs = read_tasks(tasks, None)  # with the configuration its roles are known
    whole = whole_request(request, inputs, options) if request or inputs else request_in_file
    return TaskGraphInput(whole, specs, tasks)


@click.command(
    short_help="Go on with a session; finished work is not repeated.",
    epilog="Example: swarm-graph resume 20231205_143022_4f2a",
)
@click.argument("session", required=False)
@click.option("--approve", is_flag=True, help="Answer a pause: continue; make the call of a tool.")
@click.option(
    "--approve-session",
    is_flag=True,
    help="Make the call of a tool, and every other of this tool in the session, without asking.",
)
@click.option(
    "--edit",
    metavar="FILE",
    help="Answer a pause: continue with this text, or with a JSON object of keys or arguments.",
)
@click.option(
    "--reject",
    metavar="TEXT",
    help="Answer a pause: TEXT becomes an open finding, or what the tool's caller is told.",
)
@click.option(
    "--only", metavar="NAME", help="Answer only the pause at this node, or this call; default: all pauses."
)
@click.option("--inputs", metavar="DIR", help="The folder that now holds the input files of a batch.")
@click.option("--as-before", is_flag=True, help="After edits: go on with the recorded prompts and tasks.")
@click.option("--anew", is_flag=True, help="After edits: ask again what depended on them.")
@approval_option
@resuming_options
def resume(
    session: str | None,
    approve: bool,
    approve_session: bool,
    edit: str | None,
    reject: str | None,
    only: str | None,
    inputs: str | None,
    as_before: bool,
    anew: bool,
    require_approval: bool,
    options: SessionOptions,
) -> None:
    """Resume SESSION (default: the newest that has not ended). Finished work is not repeated.

    Without --config it uses the config file that the session began with, as it is today; if that file is
    gone, the recorded configuration. What somebody else's session recorded is used only after you agree, or
    with --trust-session. A session that waits for a person needs one of the answers. If a prompt, an input or
    a task file was edited, and finished work rests on it, it needs --as-before or --anew.
    """
    from swarm_graph.sessions.ids import find_session

    answer = given_decision(approve, edit, reject, only, approve_session=approve_session)
    found = find_session(Path(options.data_dir), session)
    display = Display(options)
    coordinator = resuming_coordinator(options, found, display)
    as_before, anew = decide_after_edits(coordinator.edits(found), as_before, anew, options)
    decision = named_decision(answer, only, options.data_dir, found.session) if answer else None
    if found.kind == CHANGE and RUNNER.get() is None:
        _fetch_commits(coordinator, found)

    async def work(coordinator: SwarmCoordinator) -> SwarmResult:
        return await coordinator.aresume(
            found.session,
            decision,
            as_before=as_before,
            anew=anew,
            inputs=inputs,
            decided_by=THE_TERMINAL,
        )

    run_session(coordinator, display, work, require_approval=require_approval)


def _fetch_commits(coordinator: SwarmCoordinator, session: Session) -> None:
    """Take the commits that workers have made for a session, if it is in a PostgreSQL database."""
    from swarm_graph.database_place import is_server

    if is_server(coordinator.database):
        from swarm_graph.workers.submit import fetch_commits

        fetch_commits(coordinator.database, coordinator.data_dir, session, coordinator.config.repo)


def given_decision(
    approve: bool, edit: str | None, reject: str | None, only: str | None, *, approve_session: bool = False
) -> Decision | None:
    """The answer to a pause that the options give; None when they give none.

    Raises:
        InputError: They give two answers, or name a node without an answer.
    """
    answers: dict[str, Decision] = {}
    if approve:
        answers["--approve"] = "approve"
    if approve_session:
        answers["--approve-session"] = {"approve": "session"}
    if edit is not None:
        answers["--edit"] = {"edit": read_edit(edit)}
    if reject is not None:
        answers["--reject"] = {"reject": reject}
    if len(answers) > 1:
        raise InputError(f"{' and '.join(answers)} are two answers; give one")
    if only and not answers:
        raise InputError("--only needs an answer: --approve, --edit FILE or --reject TEXT")
    return next(iter(answers.values()), None)


def whole_request(request: str | None, inputs: tuple[str, ...], options: SessionOptions) -> str:
    """The request with its input files as text, each as a fenced block with its path.

    Raises:
        InputError: There is no request, or it names a file.
    """
    from swarm_graph.roles.file_blocks import fenced

    if request and os.path.isfile(request):  # noqa: PTH113 - a text may be no path at all
        raise InputError(f"the request '{request}' is the name of a file; --input {quote(request)} reads it")
    text = _stdin() if request == "-" else request or ""
    files = fenced(read_inputs(inputs, options))
    whole = "\n\n".join(part for part in (text.strip(), files) if part)
    if not whole:
        raise InputError(
            'the request is empty; type it in quotes, as in swarm-graph run "Create a CSV parser"'
        )
    return whole


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError("the request on stdin is not UTF-8 text") from error
