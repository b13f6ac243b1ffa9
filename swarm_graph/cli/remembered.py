"""What a session leaves for memory when it ends: a person at a terminal decides about what it offers."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import say
from swarm_graph.cli.decisions import can_ask
from swarm_graph.cli.keyboard import Back, Keyboard
from swarm_graph.cli.options import SessionOptions
from swarm_graph.errors import SwarmError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarm_graph.memory.experience import Offer
    from swarm_graph.memory.swarm_memory import SwarmMemory
    from swarm_graph.sessions.coordinator import SwarmCoordinator

CHOICES = {"y": "yes", "n": "no", "all": "all", "none": "none", "later": "later"}
HELP = """y       keep it: roles may recall it in later sessions
n       drop it
all     keep this one and the rest
none    drop this one and the rest
later   leave it and the rest waiting; `swarm-graph memory offers` lists them
In the configuration, memory.remember "off" offers nothing, and "on" keeps without asking."""


def say_remembered(coordinator: SwarmCoordinator, options: SessionOptions) -> None:
    """Say what a session has left for memory; a person at a terminal decides about what it offers."""
    remembered = coordinator.remembered
    if remembered is None:
        return
    if remembered.note:
        say(f"note: {remembered.note}")
    if remembered.kept:
        say(f"kept in memory: {len(remembered.kept)}; `swarm-graph memory list` shows what is kept")
    waiting = len(remembered.offered)
    if waiting and can_ask(options):
        waiting = _decide(coordinator, remembered.offered)
    if waiting:
        say(f"offered for memory: {waiting}; `swarm-graph memory offers` shows what waits for you")


def _decide(coordinator: SwarmCoordinator, ids: Sequence[str]) -> int:
    """Ask about each of the offers; how many of them still wait."""
    from swarm_graph.memory.swarm_memory import SwarmMemory

    try:
        with SwarmMemory(coordinator.database, memory=coordinator.config.memory) as memory:
            return _decide_each(memory, ids, Keyboard(Path(coordinator.data_dir)))
    except SwarmError as error:  # the session has ended well
        say(str(error))
        return len(ids)


def _decide_each(memory: SwarmMemory, ids: Sequence[str], keyboard: Keyboard) -> int:
    waiting = [offer for offer in memory.offers() if offer.id in ids]
    for number, offer in enumerate(waiting, 1):
        choice = _choice(keyboard, offer, f"{number} of {len(waiting)}")
        if choice == "later":
            return len(waiting) - number + 1
        is_last = choice in ("all", "none")
        chosen = [one.id for one in waiting[number - 1 :]] if is_last else [offer.id]
        if choice in ("y", "all"):
            memory.accept(chosen)
            say_problem(memory)
        else:
            memory.reject(chosen)
        if is_last:
            break
    return 0


def _choice(keyboard: Keyboard, offer: Offer, number: str) -> str:
    from swarm_graph.text import printable

    click.echo(printable(f"Offered for memory, {number}:\n{offer_text(offer)}"), nl=False)
    keyboard.drop_typed()  # before this offer was shown
    try:
        return keyboard.choose(f"Remember it ({', '.join(CHOICES)})", CHOICES, "later", HELP)
    except (Back, click.exceptions.Exit):
        return "later"


def offer_text(offer: Offer) -> str:
    """An offer for people: id, kind, evidence, what it would replace, and its text."""
    lines = [f"{offer.id}  {offer.kind}: {offer.about}", f"  {offer.evidence}"]
    if offer.replaces:
        edited = " that you have edited" if offer.replaces_edited else ""
        lines.append(f"  It would replace a memory{edited}: `swarm-graph memory show {offer.id}`")
    return "\n".join([*lines, indent(offer.text, "    "), ""])


def say_problem(memory: SwarmMemory) -> None:
    """Say if the embedding model could not be asked, or not for all texts, and what helps."""
    if memory.problem:
        say(f"note: {memory.problem}")
