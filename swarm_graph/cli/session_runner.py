"""What the commands that work on sessions share: options, signals, pauses, the result and its exit code."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_APPROVED,
    EXIT_PAUSED,
    EXIT_TERMINATED,
    end,
    print_no_more,
    program,
    say,
)
from swarm_graph.cli.options import DATA_DIR, PROMPTS
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.checkpoints.records import Session
    from swarm_graph.config import SwarmConfig
    from swarm_graph.events import Event
    from swarm_graph.reports.live import Progress
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.state import SwarmState
    from swarm_graph.workflows.pauses import Decision, Pause


def coordinator_for(
    config_file: str | None, simulate: bool, data_dir: str, output: str | None, known: Session | None = None
) -> SwarmCoordinator:
    """A coordinator; for a session that is `known`, with the configuration that it is to be resumed with."""
    from swarm_graph.config import config_path, load_config
    from swarm_graph.sessions.coordinator import SwarmCoordinator

    source: Any = config_file
    if source is None and known is not None:
        kept = Path(known.config_file)
        source = kept if known.config_file and kept.is_file() else known.config
    config = load_config(source)
    if prompts := click.get_current_context().meta.get(PROMPTS):
        config = config.model_copy(update={"prompts_dir": prompts})
    if simulate or (known is not None and known.simulated):
        config = config.simulated()
    if known is not None:
        config = config.shaped_like(known.config)
        _note_changes(known, config)
    coordinator = SwarmCoordinator(config, data_dir=data_dir, output=output)
    coordinator.config_file = known.config_file if isinstance(source, dict) and known else config_path(source)
    return coordinator


def _note_changes(known: Session, config: SwarmConfig) -> None:
    """Says which settings are not those that a session began with; its run records them too."""
    from swarm_graph.config import changed_settings

    if changed := changed_settings(known.config, config.kept()):
        say(f"note: the session began with other settings: {', '.join(changed)}")


def carry_out(
    coordinator: SwarmCoordinator,
    work: Callable[[], Awaitable[SwarmState]],
    require_approval: bool = False,
    as_json: bool = False,
    as_events: bool = False,
) -> None:
    """Runs a session with its progress on stderr, prints the result, ends with its exit code."""
    from swarm_graph.reports.live import Progress
    from swarm_graph.reports.terminal import failures_text, session_text
    from swarm_graph.text import to_json

    if as_json and as_events:
        raise InputError("--json and --json-events both want stdout; choose one")
    lines = EventLines()
    with Progress(quiet=as_events and sys.stdout.isatty()) as progress:

        def on_event(happened: Event) -> None:
            progress.on_event(happened)
            if as_events:
                lines.write(happened)

        coordinator.on_event = on_event
        stopped_by = asyncio.run(_until_stopped(work(), coordinator, progress))
    phase, session = coordinator.state.get("phase"), coordinator.session_id
    if stopped_by and phase not in ("complete", "paused"):
        how = f"; `{resume_command(coordinator)}` goes on" if session else ""
        end(f"stopped{how}", EXIT_TERMINATED if stopped_by == signal.SIGTERM else EXIT_INTERRUPTED, as_json)
    if phase == "paused" and not (as_json or as_events) and sys.stdin.isatty() and sys.stdout.isatty():
        decisions = {pause.id: _ask(pause) for pause in coordinator.pauses}
        carry_out(coordinator, lambda: coordinator.aresume(session, decisions), require_approval)
        return
    if not as_events:
        sys.stdout.write(to_json(coordinator.document()) if as_json else session_text(coordinator, program()))
        sys.stdout.flush()
    if phase == "paused":
        cure = f"`{resume_command(coordinator)} --approve` (or --edit FILE, --reject TEXT) goes on"
        say(f"waiting for a person; {cure}")
        sys.exit(EXIT_PAUSED)
    if phase == "failed":
        cure = f"`{resume_command(coordinator)}` asks only for what is missing"
        end(f"{failures_text(coordinator)}; {cure}", EXIT_FAILED)
    if phase == "over_budget":
        end(f"{coordinator.stopped_by}; `{resume_command(coordinator)}` goes on", EXIT_FAILED)
    if require_approval and not coordinator.state.get("approved"):
        sys.exit(EXIT_NOT_APPROVED)


async def _until_stopped(
    work: Awaitable[SwarmState], coordinator: SwarmCoordinator, progress: Progress
) -> int | None:
    """Runs the work; one signal lets calls in flight end, a second stops at once. Returns the first."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            task.cancel()
            return
        coordinator.stop()
        grace = coordinator.config.workflow.grace_period
        loop.call_later(grace, task.cancel)
        if calls := coordinator.calls_in_flight:
            what = f"{calls} calls in flight get" if calls > 1 else "the call in flight gets"
            progress.say(f"swarm-graph: stopping: {what} {grace:g} s to end; again stops at once")

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
    return received[0] if received else None


def _ask(pause: Pause) -> Decision:
    """What a person at the terminal decides about a pause."""
    from swarm_graph.reports.terminal import pause_text
    from swarm_graph.text import plain_text

    click.echo(plain_text(pause_text(pause)))
    choices = ["approve", *(["edit"] if pause.edits else []), "reject"]
    choice = click.prompt(f"Waiting {pause.place}", type=click.Choice(choices), default="approve")
    if choice == "edit":
        shown = pause.value if isinstance(pause.value, str) else json.dumps(pause.value, indent=2)
        edited = click.edit(shown)
        return _ask(pause) if edited is None else {"edit": edited}
    return {"reject": click.prompt("What is wrong")} if choice == "reject" else "approve"


class EventLines:
    """Events on stdout, one JSON object a line. When they cannot be written any more the session goes on."""

    def __init__(self) -> None:
        self._read = True

    def write(self, happened: Event) -> None:
        from swarm_graph.events import event_line

        if not self._read:
            return
        try:
            sys.stdout.write(event_line(happened))
            sys.stdout.flush()
        except OSError:
            self._read = False
            print_no_more()


def resume_command(coordinator: SwarmCoordinator) -> str:
    """What to type to go on with a session."""
    elsewhere = coordinator.data_dir != Path(DATA_DIR)
    place = f" --data-dir {shlex.quote(str(coordinator.data_dir))}" if elsewhere else ""
    return f"{program()} resume {coordinator.session_id}{place}"
