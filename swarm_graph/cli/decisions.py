"""What a person at the terminal decides: at a pause, after edits, about a session of somebody else."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import say
from swarm_graph.cli.keyboard import Back, Keyboard
from swarm_graph.cli.options import SessionOptions
from swarm_graph.database_place import place_of
from swarm_graph.errors import InputError
from swarm_graph.state import DOCUMENT

if TYPE_CHECKING:
    from swarm_graph.checkpoints.records import Session
    from swarm_graph.sessions.coordinator import SwarmCoordinator
    from swarm_graph.sessions.fingerprints import Edits
    from swarm_graph.workflows.pauses import Decision, Pause

PAUSE_HELP = """approve   go on
edit      change it first, in your editor
reject    say what is wrong; that becomes an open finding
/back or /quit leaves the session waiting."""
CALL_HELP = """approve   make this call
session   make this call, and every other of this tool in this session, without asking
edit      change the arguments first, in your editor
reject    do not make it, and tell the model why
/back or /quit leaves the session waiting."""
EDITS_HELP = """as-before   go on with what the session began with
anew        ask again what depended on the edited files
stop        change nothing now"""


def can_ask(options: SessionOptions) -> bool:
    """Whether a person at a terminal can answer."""
    return not (options.as_json or options.as_events) and sys.stdin.isatty() and sys.stdout.isatty()


def decide_pauses(coordinator: SwarmCoordinator) -> dict[str, Decision] | None:
    """The decision about each pause of a session, by its id; None if the person leaves one of them open."""
    keyboard = _keyboard(coordinator.data_dir)
    try:
        return {pause.id: _decide(keyboard, pause, coordinator) for pause in coordinator.pauses}
    except (Back, click.exceptions.Exit):
        return None


def named_decision(
    answer: Decision, only: str | None, data_dir: str | Path, session_id: str
) -> Decision | Mapping[str, Decision]:
    """The answer of a command for what waits now, by the ids of the pauses; says which calls it decides.

    So it decides nothing that begins to wait later, because somebody else has answered meanwhile.

    Args:
        answer: The answer.
        only: The node or the call that it is for; None: all that wait.
        data_dir: The folder of the database.
        session_id: The session.

    Raises:
        InputError: Nothing waits at the node or the call.
    """
    from swarm_graph.checkpoints.saver import open_checkpointer
    from swarm_graph.reports.tool_lines import tool_call
    from swarm_graph.workflows.pauses import waiting_pauses

    with open_checkpointer(place_of(data_dir), data_dir=data_dir) as saver:
        waiting = waiting_pauses(saver.get_tuple({"configurable": {"thread_id": session_id}}))
    chosen = [pause for pause in waiting if only in (None, pause.node) or only in pause.names]
    if waiting and not chosen:
        places = ", ".join(pause.place for pause in waiting)
        raise InputError(f"nothing waits at {only!r}, only {places}")
    if only is None and isinstance(answer, Mapping) and "edit" in answer and len(chosen) > 1:
        return answer  # for code and tests at once, but for one call only
    word = answer if isinstance(answer, str) else next(iter(answer))
    for pause in chosen:
        if pause.call:
            call = tool_call(pause.value["tool"], pause.value["arguments"])
            say(f"note: {word}, in {pause.node}: {call}")
    return {pause.id: answer for pause in chosen}


def _decide(keyboard: Keyboard, pause: Pause, coordinator: SwarmCoordinator) -> Decision:
    return _decide_call(keyboard, pause) if pause.call else _decide_pause(keyboard, pause, coordinator)


def _decide_call(keyboard: Keyboard, pause: Pause) -> Decision:
    from swarm_graph.reports.terminal import call_text

    choices = ("approve", "session", "edit", "reject")
    while True:
        click.echo(call_text(pause))
        keyboard.drop_typed()  # before this call was shown
        # No default: an empty line approves nothing.
        choice = keyboard.choose(
            f"Call it ({', '.join(choices)})", {name: name for name in choices}, "", CALL_HELP
        )
        if choice == "approve":
            return "approve"
        if choice == "session":
            return {"approve": "session"}
        if choice == "edit":
            if edited := _edited_call(keyboard, pause):
                return edited
        elif problem := keyboard.line("What is wrong", help="One line; empty: back to the choice."):
            return {"reject": problem}


def _edited_call(keyboard: Keyboard, pause: Pause) -> Decision | None:
    """The call with the arguments as the person's editor leaves them; None if they were not saved."""
    from swarm_graph.roles.approval import read_decision
    from swarm_graph.text import to_json

    text: str | None = to_json(pause.value["arguments"])
    while (text := click.edit(text, extension=".json")) is not None:
        try:
            return read_decision({"edit": text}, pause.to_dict())
        except InputError as error:
            say(str(error))
            keyboard.line("Enter opens the editor again", help="Leave the editor without saving to go back.")
    return None


def _decide_pause(keyboard: Keyboard, pause: Pause, coordinator: SwarmCoordinator) -> Decision:
    from swarm_graph.reports.terminal import pause_text
    from swarm_graph.text import printable

    makes_document = coordinator.state.get("kind") == DOCUMENT
    choices = ["approve", *(["edit"] if pause.edits else []), "reject"]
    question = f"Waiting {pause.place} ({', '.join(choices)})"
    while True:
        click.echo(printable(pause_text(pause, coordinator.roles, makes_document)))
        keyboard.drop_typed()
        choice = keyboard.choose(question, {name: name for name in choices}, "approve", PAUSE_HELP)
        if choice == "approve":
            return "approve"
        if choice == "edit":
            if (edited := _edited(pause, makes_document)) is not None:
                return {"edit": edited}
        elif problem := keyboard.line("What is wrong", help="One line; empty: back to the choice."):
            return {"reject": problem}


def _edited(pause: Pause, makes_document: bool) -> str | None:
    """What a pause edits, as the person's editor leaves it; None if it was not saved."""
    value = pause.value
    if makes_document and pause.edits == "code" and len(value or ()) == 1:
        (value,) = value.values()
    text = value if isinstance(value, str) else json.dumps(value, indent=2)
    return click.edit(text, extension=".md" if makes_document else ".txt")


def decide_after_edits(
    edits: Edits, as_before: bool, anew: bool, options: SessionOptions
) -> tuple[bool, bool]:
    """Whether to go on as before, or to ask anew; a person at a terminal is asked if the options do not say.

    Raises:
        InputError: The options say both.
        click.Abort: The person stops.
    """
    if as_before and anew:
        raise InputError("--as-before and --anew are two answers; give one")
    if edits.note:
        say(f"note: {edits.note}")
    if edits.question and (as_before or anew):
        say(f"note: {edits.question}")
    elif edits.question and can_ask(options):
        click.echo(f"{edits.question[:1].upper()}{edits.question[1:]}.")
        choices = {name: name for name in ("as-before", "anew", "stop")}
        question = f"Go on as before, ask anew, or stop ({', '.join(choices)})"
        choice = _choose(options, question, choices, EDITS_HELP)
        if choice == "stop":
            raise click.Abort
        return choice == "as-before", choice == "anew"
    return as_before, anew


def accepts(session: Session, settings: list[str], options: SessionOptions) -> bool:
    """Whether the person at the terminal agrees to what a session of somebody else recorded."""
    from swarm_graph.text import printable

    click.echo(printable(f"Session {session.session} was not started by you on this machine. It recorded:"))
    for setting in reversed(settings):  # the gravest right above the question
        click.echo(f"  {setting}")
    click.echo("Its programs run on this machine, and its servers get your prompts and the keys it names.")
    help = "y: use them, now and later. n: leave the session alone."
    return _choose(options, "Use these settings (y, n)", {"y": "yes", "n": "no"}, help) == "y"


def _choose(options: SessionOptions, question: str, choices: Mapping[str, str], help: str) -> str:
    """One of the choices; the last, which changes nothing, if the person just presses Enter or goes back."""
    keyboard, last = _keyboard(Path(options.data_dir)), [*choices][-1]
    try:
        return keyboard.choose(question, choices, last, help)
    except (Back, click.exceptions.Exit):
        return last


def _keyboard(data_dir: Path) -> Keyboard:
    """A keyboard without what was typed before the question: it answers nothing that nobody had seen."""
    keyboard = Keyboard(data_dir)
    keyboard.drop_typed()
    return keyboard
