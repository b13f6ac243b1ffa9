"""The commands `memory offers`, `accept` and `reject`: a person decides about what sessions have verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import print_result, say
from swarm_graph.cli.memory import memory_options, open_memory
from swarm_graph.cli.options import SessionOptions
from swarm_graph.cli.remembered import offer_text, say_problem

if TYPE_CHECKING:
    from swarm_graph.memory.experience import Offer
    from swarm_graph.memory.swarm_memory import SwarmMemory


@click.command(short_help="List what sessions offer for memory.", epilog="Example: swarm-graph memory offers")
@memory_options
def offers(options: SessionOptions) -> None:
    """List what sessions have verified and offer for memory, with its evidence.

    Offers come from sessions with memory.remember "ask". No role sees them until you accept them.
    """
    from swarm_graph.text import first_names

    with open_memory(options) as memory:
        waiting = memory.offers()
        foreign = _foreign(memory, waiting)
    if foreign:
        say(
            f"note: {first_names(foreign)}: of a session that is not yours, or not here any more; "
            "the evidence is only what the database says"
        )
    text = "\n".join(map(offer_text, waiting)) or "no offers wait for you\n"
    print_result([offer._asdict() for offer in waiting], text, options.as_json)


def _foreign(memory: SwarmMemory, offers: Sequence[Offer]) -> list[str]:
    """The ids of the offers whose sessions the user has neither begun nor trusted."""
    from swarm_graph.checkpoints.catalogue import Catalogue
    from swarm_graph.memory.store import SwarmStore
    from swarm_graph.sessions.trust import foreign_sessions

    assert isinstance(memory.store, SwarmStore)
    foreign = foreign_sessions(Catalogue(memory.store.database), {offer.session for offer in offers})
    return [offer.id for offer in offers if offer.session in foreign]


@click.command(short_help="Keep offers as memories.", epilog="Example: swarm-graph memory accept 31b5076fe0")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@memory_options
def accept(ids: tuple[str, ...], options: SessionOptions) -> None:
    """Keep offers as memories, which roles may recall from now on.

    Each replaces an older memory about the same thing. If an ID is unknown, nothing is kept.
    """
    with open_memory(options) as memory:
        memory.accept(ids)
        say_problem(memory)
    print_result({"accepted": [*ids]}, f"kept in memory: {len({*ids})}\n", options.as_json)


@click.command(short_help="Drop offers.", epilog="Example: swarm-graph memory reject 31b5076fe0")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@memory_options
def reject(ids: tuple[str, ...], options: SessionOptions) -> None:
    """Drop offers. What they would have replaced stays. If an ID is unknown, nothing is dropped."""
    with open_memory(options) as memory:
        memory.reject(ids)
    print_result({"rejected": [*ids]}, f"dropped: {len({*ids})}\n", options.as_json)
