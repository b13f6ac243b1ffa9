"""The models that a session has chosen for its roles, and why, in one line each."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.records import Session
from swarm_graph.config import SwarmConfig, recorded_choices
from swarm_graph.text import first_names, printable

Chosen = Mapping[str, Mapping[str, str]]
"""`entry` and `reason` by role."""


def chosen_models(catalogue: Catalogue, session: Session) -> Chosen:
    """The models that a session has chosen, in its latest run."""
    choices = recorded_choices(catalogue.latest_config(session))
    return {role: {"entry": choice.entry, "reason": choice.reason} for role, choice in choices.items()}


def models_of(config: SwarmConfig) -> Chosen:
    """The models that a configuration has chosen."""
    return {
        role: {"entry": choice.chosen, "reason": choice.reason}
        for role, choice in config.choices.items()
        if choice.chosen
    }


def chosen_lines(chosen: Chosen) -> list[str]:
    """A line for each role."""
    return [
        printable(f"{role}: {model['entry']}" + (f" ({model['reason']})" if model["reason"] else ""))
        for role, model in chosen.items()
    ]


def drawn_line(tasks: Mapping[str, str]) -> str:
    """Which tasks ask which model because they explore; empty if none does.

    Args:
        tasks: The entry of each task.
    """
    by_entry: dict[str, list[str]] = {}
    for task, entry in tasks.items():
        by_entry.setdefault(entry, []).append(task)
    drawn = "; ".join(f"{entry} for {first_names(names)}" for entry, names in by_entry.items())
    return printable(f"Models of tasks drawn to explore: {drawn}") if drawn else ""
