"""What happens in a run, as one type: it feeds progress, metrics and logs, and nobody measures twice.

Nodes write events to LangGraph's `custom` stream as plain dicts (`Event.plain`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

VERSION = 1
"""Of the form in which events are written for machines; a change that a reader would notice raises it."""

Kind = Literal[
    "session_started",
    "session_ended",
    "graph_started",
    "task_started",
    "call_started",
    "tokens",
    "call_ended",
    "task_ended",
    "task_failed",
    "task_added",
    "task_skipped",
    "task_stopped",
    "tests_started",
    "tests_ended",
    "verdict",
]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `data` by kind: session_started: workflow, nodes (their names), max_iterations, usual_seconds (of past
    sessions of the workflow with the same models, or None), seconds_before (at work in earlier runs),
    resumed, done (the nodes that had ended before) · session_ended: workflow, phase, approved, findings
    (their number), output · graph_started (of a custom session): tasks, done (their numbers) ·
    call_started: attempt, model, server, queued_s · tokens: output_tokens so far (estimated), text and
    thoughts (what came since the last one) · call_ended: attempt, model, server, outcome, finish_reason,
    queued_s, first_token_s, seconds, input_tokens, output_tokens, reasoning_tokens, cut_tokens
    (estimated, of a call that did not end), estimated (the server counted no tokens), cost, error ·
    task_ended: note; of a custom graph also the task's record, and whether it was kept from an earlier
    run · task_failed: error · task_added: its record · task_skipped: error or note · verdict: approved,
    findings (their number), exit_code (of the tests) · tests_ended: a run's evidence without its
    failures.
    """

    kind: Kind
    time: float
    session: str
    node: str
    role: str = ""
    task: str = ""
    iteration: int = 0
    data: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {
            "swarm_event": self.kind,
            **{name: value for name, value in vars(self).items() if name != "kind"},
        }


def event_line(happened: Event) -> str:
    """An event as one line of JSON for machines (docs/events.md)."""
    known = {name: value for name, value in vars(happened).items() if name not in ("kind", "data")}
    written = {"version": VERSION, "event": happened.kind, **known, "data": happened.data}
    return json.dumps(written, ensure_ascii=False) + "\n"


def event(plain: Any) -> Event | None:
    """The event that a plain dict of the custom stream holds; None when it is somebody else's."""
    if not isinstance(plain, dict) or "swarm_event" not in plain:
        return None
    fields = {key: value for key, value in plain.items() if key != "swarm_event"}
    return Event(kind=plain["swarm_event"], **fields)
