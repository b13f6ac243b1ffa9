"""Runs a session for a command: signals, pauses, the result and the exit code."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swarm_graph.cli.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_APPROVED,
    EXIT_PAUSED,
    EXIT_TERMINATED,
    end,
    program,
    say,
)
from swarm_graph.cli.decisions import accepts, can_ask, decide_pauses
from swarm_graph.cli.display import Display
from swarm_graph.cli.one_model import given_model, with_given_choices, with_given_model
from swarm_graph.cli.one_repository import moved_repository, tell_of_repository, with_given_repository
from swarm_graph.cli.options import SessionOptions
from swarm_graph.database_place import place_of
from swarm_graph.state import has_ended

if TYPE_CHECKING:
    import asyncio

    from swarm_graph.checkpoints.records import Session
    from swarm_graph.config import SwarmConfig
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.sessions.resume import ResumeConfig
    from swarm_graph.state import SwarmResult

THE_TERMINAL = "the terminal"
"""Who decides at a pause."""
Work = Callable[["SwarmCoordinator"], Awaitable["SwarmResult"]]
"""Runs or resumes a session on a coordinator."""
RUNNER: ContextVar[Callable[[SwarmCoordinator, Display, Work, bool], None] | None] = ContextVar(
    "runner", default=None
)
"""What takes the sessions of commands in place of `run_session`: `submit` leaves them to workers."""


def new_config(options: SessionOptions) -> SwarmConfig:
    """The configuration of a new session."""
    from swarm_graph.config import load_config

    config = with_given_model(load_config(options.config_file), options)
    if options.prompts:
        config = config.model_copy(update={"prompts_dir": options.prompts})
    if options.kind:
        config = config.with_kind(options.kind)
    config = with_given_repository(config, options)
    if options.no_memory:
        config = config.without_memory()
    return with_given_choices(config.simulated() if options.simulate else config, options)


def new_coordinator(options: SessionOptions, display: Display | None = None) -> SwarmCoordinator:
    """A coordinator for a new session."""
    from swarm_graph.config import config_path

    config = new_config(options)
    if config.repo:
        tell_of_repository(config.repo, options.data_dir)
    prepare_imports(config)
    from swarm_graph.sessions.coordinator import SwarmCoordinator

    return SwarmCoordinator(
        config,
        data_dir=options.data_dir,
        output=options.output,
        on_event=display.on_event if display else None,
        config_origin=config_path(options.config_file),
    )


def prepare_imports(config: SwarmConfig) -> None:
    """Call before LangChain is imported."""
    if not config.features.langsmith:
        from swarm_graph.cli.without_langsmith import leave_out_langsmith

        leave_out_langsmith()


def resuming_coordinator(
    options: SessionOptions, session: Session, display: Display | None = None, *, only: str = ""
) -> SwarmCoordinator:
    """A coordinator with the configuration to resume a session with; says what differs from its start.

    Args:
        options: The options of the command.
        session: The session. If somebody else began it and there is no other configuration, a person at a
            terminal is asked whether to use what it recorded.
        display: Shows the session while it runs.
        only: The only group of settings that the command uses; empty: all.

    Raises:
        UntrustedSession: Somebody else began it, and nobody can be asked or the answer is no.
    """
    from swarm_graph.config import settings_in_words
    from swarm_graph.errors import UntrustedSession
    from swarm_graph.sessions.trust import is_trusted, recorded_settings, trust

    data_dir = Path(options.data_dir)
    if options.trust_session:
        if options.config_file is None and not is_trusted(data_dir, session):
            used = "; ".join(recorded_settings(session)) or "nothing of its own"
            say(f"note: session '{session.session}' is yours from now on, with what it recorded: {used}")
        session = trust(data_dir, session)
    try:
        resume = _resume_config(options, session, only)
    except UntrustedSession as refused:
        if not can_ask(options) or not accepts(session, refused.settings, options):
            raise
        resume = _resume_config(options, trust(data_dir, session), only)
    if resume.changed:
        say(f"note: the session began with other settings: {settings_in_words(resume.changed)}")
    prepare_imports(resume.config)
    from swarm_graph.sessions.coordinator import SwarmCoordinator

    return SwarmCoordinator(
        resume.config,
        data_dir=options.data_dir,
        output=options.output,
        on_event=display.on_event if display else None,
        config_origin=resume.origin,
        database=place_of(options.data_dir),
    )


def _resume_config(options: SessionOptions, session: Session, only: str) -> ResumeConfig:
    from swarm_graph.sessions.resume import resume_config
    from swarm_graph.sessions.trust import is_trusted

    found = resume_config(
        session,
        options.config_file,
        trusted=is_trusted(Path(options.data_dir), session),
        prompts_dir=options.prompts,
        simulate=options.simulate or session.simulated,
        repo=moved_repository(options),
        uses={only} if only else _used_groups(options, session),
        own_models=partial(with_given_model, options=options) if given_model(options) else None,
    )
    found = found._replace(config=with_given_choices(found.config, options))
    return found.without_memory() if options.no_memory else found


def _used_groups(options: SessionOptions, session: Session) -> AbstractSet[str]:
    """The groups of settings that a resume uses, without those that the command line gives."""
    from swarm_graph.sessions.trust import GROUPS, SERVERS

    if has_ended(session.phase):
        return frozenset()
    servers = SERVERS if options.simulate or given_model(options) else frozenset()
    prompts = {"prompts_dir"} if options.prompts else set()
    return GROUPS - servers - prompts


class Ending(NamedTuple):
    """How a run ended for the command line.

    Attributes:
        code: The exit code; 0 if the session is complete.
        message: A line for people; empty if the summary says it all.
        printed: Whether the summary was printed.
    """

    code: int = 0
    message: str = ""
    printed: bool = True


def run_session(
    coordinator: SwarmCoordinator, display: Display, work: Work, *, require_approval: bool = False
) -> None:
    """Run a session, print its result, and exit with its exit code unless that is 0.

    Args:
        coordinator: The coordinator; its events go to the display.
        display: Shows the session while it runs.
        work: Runs or resumes the session.
        require_approval: Whether a session without approval has an exit code of its own.
    """
    if runner := RUNNER.get():
        runner(coordinator, display, work, require_approval)
        return
    ending = run_to_end(coordinator, display, work, require_approval=require_approval)
    if ending.message:
        end(ending.message, ending.code, display.options.as_json and not ending.printed)
    if ending.code:
        sys.exit(ending.code)


def run_to_end(
    coordinator: SwarmCoordinator, display: Display, work: Work, *, require_approval: bool = False
) -> Ending:
    """Run a session and print its result; at pauses a person at a terminal is asked. See `run_session`."""
    import asyncio

    options = display.options
    with display:
        stopped_by = asyncio.run(_run_until_stopped(work, coordinator, display))
    phase, session_id = coordinator.state.get("phase"), coordinator.session_id
    if stopped_by and phase not in ("complete", "paused"):
        cure = f"; continue with `{resume_command(coordinator)}`" if session_id else ""
        code = EXIT_TERMINATED if stopped_by == signal.SIGTERM else EXIT_INTERRUPTED
        return Ending(code, f"stopped{cure}", printed=False)
    if phase == "paused" and can_ask(options) and (decisions := decide_pauses(coordinator)):
        return run_to_end(
            coordinator,
            display,
            lambda coordinator: coordinator.aresume(session_id, decisions, decided_by=THE_TERMINAL),
            require_approval=require_approval,
        )
    print_session(coordinator, options)
    if coordinator.remembered:
        from swarm_graph.cli.remembered import say_remembered

        say_remembered(coordinator, options)
    return ending(coordinator, require_approval=require_approval)


def print_session(coordinator: SwarmCoordinator, options: SessionOptions) -> None:
    """Print the summary of a session, or its state JSON."""
    from swarm_graph.reports.terminal import session_text
    from swarm_graph.text import to_json

    if options.as_events:
        return
    document = coordinator.document()
    sys.stdout.write(to_json(document) if options.as_json else session_text(coordinator, program()))
    sys.stdout.flush()


def ending(
    coordinator: SwarmCoordinator, *, require_approval: bool = False, is_submitted: bool = False
) -> Ending:
    """How the run of a session ended, from its phase; workers go on with one that was submitted."""
    from swarm_graph.reports.terminal import failed_call_command, failures_text

    words = ("submit", "resume") if is_submitted else ("resume",)
    phase, resume = coordinator.state.get("phase"), resume_command(coordinator, *words)
    if phase == "paused":
        calls = any(pause.call for pause in coordinator.pauses)
        others = f"{'--approve-session, ' if calls else ''}--edit FILE, --reject TEXT"
        answer = f"waiting for a person; answer with `{resume} --approve` (or {others})"
        return Ending(EXIT_PAUSED, answer)
    if phase == "failed":
        command = failed_call_command(coordinator, program())
        answer = f"`{command}` shows the answer; " if command else ""
        missing = f"{answer}`{resume}` asks only for what is missing"
        return Ending(EXIT_FAILED, f"{failures_text(coordinator)}; {missing}")
    if phase == "over_budget":
        return Ending(EXIT_FAILED, f"{coordinator.stopped_by}; continue with `{resume}`")
    if phase == "cancelled":  # no signal has stopped it
        return Ending(EXIT_FAILED, f"stopped by another process; continue with `{resume}`")
    unapproved = require_approval and not coordinator.state.get("approved")
    return Ending(EXIT_NOT_APPROVED if unapproved else 0)


async def _run_until_stopped(work: Work, coordinator: SwarmCoordinator, display: Display) -> int | None:
    """Run the session. The first signal lets calls in flight finish, a second one cancels them.

    Returns:
        The number of the first signal; None when there was none.
    """
    import asyncio

    task = asyncio.ensure_future(work(coordinator))
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            task.cancel()
            return
        coordinator.stop()
        grace_s = coordinator.config.workflow.grace_period
        loop.call_later(grace_s, task.cancel)
        if calls := coordinator.calls_in_flight:
            what = f"{calls} calls in flight get" if calls > 1 else "the call in flight gets"
            display.say(f"swarm-graph: stopping: {what} {grace_s:g} s to end; a second signal stops now")

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows Ctrl-C raises KeyboardInterrupt, see cli/main.py
            loop.add_signal_handler(number, stop, number)
    _suspend_with(display, loop)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
    return received[0] if received else None


def _suspend_with(display: Display, loop: asyncio.AbstractEventLoop) -> None:
    """Let Ctrl-Z erase the live view before it stops the process, and `fg` draw it again."""
    import threading

    def suspend() -> None:
        display.hide()
        loop.remove_signal_handler(signal.SIGTSTP)  # what it does by itself is to stop the process
        # To this thread: the process is stopped when the call returns, and `fg` goes on below.
        signal.pthread_kill(threading.get_ident(), signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, suspend)
        display.show()

    if hasattr(signal, "SIGTSTP"):  # Windows has no job control
        loop.add_signal_handler(signal.SIGTSTP, suspend)


def resume_command(coordinator: SwarmCoordinator, *words: str) -> str:
    """The command that resumes the session of a coordinator; `words` is the command if not `resume`."""
    from swarm_graph.reports.terminal import place_words, session_command

    command = session_command(
        program(), *(words or ("resume",)), coordinator.session_id, **place_words(coordinator)
    )
    return f"{command}{_model_options(coordinator)}"


def _model_options(coordinator: SwarmCoordinator) -> str:
    """The options that name the model of this run, if the session has not recorded them when it began."""
    from swarm_graph.sessions.ids import get_session
    from swarm_graph.shorthand import SHORTHAND

    given = {key: value for key in SHORTHAND if (value := getattr(coordinator.config, key))}
    session = (
        get_session(coordinator.data_dir, coordinator.session_id, coordinator.database) if given else None
    )
    if session is None or all(session.config.get(key) == value for key, value in given.items()):
        return ""
    return "".join(f" --{key.replace('_', '-')} {shlex.quote(value)}" for key, value in given.items())
