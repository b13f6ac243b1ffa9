"""The command `interactive`: a menu, a request, and then a conversation about the session."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.batch import tasks_work
from swarm_graph.cli.chat import Chat
from swarm_graph.cli.console import say
from swarm_graph.cli.display import Display
from swarm_graph.cli.keyboard import HOW_TO_END, Back, Keyboard
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    SessionOptions,
    config_option,
    data_option,
    kind_option,
    no_memory_option,
    prompts_option,
    repo_option,
    session_options,
    simulate_option,
)
from swarm_graph.cli.session_runner import Work, new_coordinator, resuming_coordinator
from swarm_graph.database_place import place_name, place_of
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.state import Kind, OwnWorkflow, Workflow

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.tasks.spec import TaskSpec

MENU = """Select a workflow:
  1. STANDARD  clarify, design, code, three reviews
  2. FULL      all roles: also tests, security, docs
  3. REVIEW    four reviews of code that you paste
  4. CUSTOM    your own task graph, from a file or typed here
  5. EARLIER   go on with a session of before
  6. CHANGE    change a git repository, on a branch of its own"""
KEYS = "  b back, q quit, ? help"
WORKFLOWS: dict[str, Workflow] = {"1": "standard", "2": "full", "3": "review_only"}
CHOICES = {"1": "standard", "2": "full", "3": "review", "4": "custom", "5": "earlier", "6": "change"}
MENU_HELP = """A workflow turns a request into a result; `swarm-graph graph` draws one.
STANDARD is the shortest. REVIEW only reviews what you paste. CHANGE leaves your own files as they are.
After the result you go on: a follow-up, a question, or the next request.
What you type is kept in the data folder, for the arrow keys."""
REQUEST_HELP = f"Type or paste the request, also many lines. {HOW_TO_END}."
MAX_EARLIER = 9
"""Earlier sessions that the menu lists."""


@click.command(
    short_help="Choose from a menu, then talk about the result.",
    epilog="Example: swarm-graph interactive --simulate",
)
@session_options(
    config_option,
    *MODEL_OPTIONS,
    no_memory_option,
    data_option,
    prompts_option,
    kind_option,
    repo_option,
    simulate_option,
)
def interactive(options: SessionOptions) -> None:
    """Choose a workflow from a menu, type the request, and go on talking about the result.

    Every prompt knows /help, /back and /quit. Ctrl-C goes back, Ctrl-D quits.
    """
    if not sys.stdin.isatty():
        raise InputError("interactive needs a terminal; use `swarm-graph run REQUEST`")
    coordinator = new_coordinator(options)
    check_models(coordinator)
    keyboard, own = Keyboard(Path(options.data_dir)), own_choices(coordinator.config)
    lines = [
        MENU,
        *(f"  {number}. {name.upper():9} a workflow of yours" for number, name in own.items()),
        KEYS,
    ]
    while True:
        click.echo("\n".join(lines))
        try:
            choice = keyboard.choose("Workflow", {**CHOICES, **own}, "1", MENU_HELP)
        except Back as back:
            if back.interrupted:
                raise KeyboardInterrupt from None
            say("this is the first menu; q quits")
            continue
        try:
            _begin(choice, keyboard, options)
        except SwarmError as error:
            say(str(error))
        except (Back, click.Abort):
            click.echo()


def own_choices(config: SwarmConfig) -> dict[str, str]:
    """The user's own workflows by their numbers in the menu."""
    return {str(number): name for number, name in enumerate(config.workflows, len(CHOICES) + 1)}


def check_models(coordinator: SwarmCoordinator) -> None:
    """Say what is wrong with the models and their servers, before anything is typed. No prompt is sent.

    Raises:
        ConfigError: No workflow can run.
    """
    import asyncio

    from swarm_graph.setup.server_checks import check_servers

    problems = [problem for workflow in WORKFLOWS.values() if (problem := _problem(coordinator, workflow))]
    # A task graph may use the entries of multi_model although no role does.
    if len(problems) == len(WORKFLOWS) and not coordinator.config.models.multi_model:
        raise problems[0]
    for check in asyncio.run(check_servers(coordinator.config)):
        if check.ok is False:
            say(f"warning: {check.name}: {check.text}; {check.cure}")


def _problem(coordinator: SwarmCoordinator, workflow: Workflow) -> SwarmError | None:
    try:
        coordinator.check(workflow)
    except SwarmError as error:
        return error
    return None


def _begin(choice: str, keyboard: Keyboard, options: SessionOptions) -> None:
    """Begin or take up a session, and talk about it until the person goes back."""
    display = Display(options)
    if choice == "5":
        _take_up(keyboard, options, display)
        return
    if choice == "6" and not options.repo:
        folder = keyboard.line(
            "Repository", ".", "A folder in it. Your files, index and branches stay as they are."
        )
        options = replace(options, repo=folder)
        display = Display(options)
    coordinator = new_coordinator(options, display)
    if choice == "4":
        request, specs, file = _task_graph(keyboard, coordinator.config.role_names)
        work = tasks_work(coordinator, request, specs, [("tasks", file)] if file else [], kind=options.kind)
    else:
        workflow = {**WORKFLOWS, "6": "standard", **own_choices(coordinator.config)}[choice]
        coordinator.check(workflow)  # before anything is typed
        work = _request(keyboard, workflow, options.kind, is_change=coordinator.config.repo is not None)
    Chat(keyboard, coordinator, display).run(work)


def _request(keyboard: Keyboard, workflow: str, kind: Kind | None, *, is_change: bool) -> Work:
    """Ask for a request; returns what runs the workflow on it."""
    question = "What is to be changed?" if is_change else "What would you like to build?"
    click.echo("Paste what is to be reviewed" if workflow == "review_only" else question)
    click.echo(f"({HOW_TO_END}; Ctrl-C goes back, /help helps)\n{'-' * min(get_terminal_size().columns, 80)}")
    while not (text := keyboard.text(REQUEST_HELP)).strip():
        say("the request is empty; type it, then Ctrl-D or a line END below it")
    return lambda coordinator: coordinator.arun_workflow(text, OwnWorkflow(workflow), kind=kind)


def _take_up(keyboard: Keyboard, options: SessionOptions, display: Display) -> None:
    """Ask for an earlier session, resume it if it has not ended, and talk about it."""
    from swarm_graph.reports.listing import session_rows, session_table
    from swarm_graph.sessions.ids import find_session, open_catalogue
    from swarm_graph.text import printable

    data_dir = Path(options.data_dir)
    with open_catalogue(data_dir) as catalogue:
        rows = session_rows(catalogue, catalogue.sessions(experiment="")[:MAX_EARLIER])
    if not rows:
        name = place_name(data_dir, place_of(data_dir))
        raise InputError(f"no sessions in '{name}'; choose a workflow to begin one")
    numbered = [{**row, "session": f"{number}. {row['session']}"} for number, row in enumerate(rows, 1)]
    click.echo(printable(session_table(numbered)), nl=False)
    answer = keyboard.line("Session (a number or an id)", "1", "A session that has not ended is resumed.")
    by_number = {str(number): row["session"] for number, row in enumerate(rows, 1)}
    session = find_session(data_dir, by_number.get(answer, answer))
    coordinator = resuming_coordinator(options, session, display)
    Chat(keyboard, coordinator, display).resume(session.session)


def _task_graph(keyboard: Keyboard, roles: list[str]) -> tuple[str, list[TaskSpec], str]:
    """A request, tasks, and their file; without a file the tasks are typed one by one."""
    from swarm_graph.tasks.files import read_tasks
    from swarm_graph.tasks.spec import task_specs

    if name := keyboard.line("Task file (empty: type the tasks here)", help="A .yaml, .json or .csv file."):
        return *read_tasks(name, roles), name
    tasks: list[dict[str, Any]] = []
    while description := keyboard.line("What is to be done (empty: no more)"):
        role = keyboard.choose("Role", {role: role for role in roles}, "coder", f"Roles: {', '.join(roles)}")
        earlier = [task["task_id"] for task in tasks]
        after = keyboard.line(f"After which of {' '.join(earlier)} (empty: none)") if earlier else ""
        tasks.append(
            {
                "task_id": f"T{len(tasks) + 1:03d}",
                "assigned_role": role,
                "description": description,
                "dependencies": after.replace(",", " ").split(),
            }
        )
    return "", task_specs(tasks, roles), ""
