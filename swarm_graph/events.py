"""Events: what happens in a run. Progress views, metrics, logs and traces all read the same stream of events.

Nodes write events to LangGraph's `custom` stream as dicts (`Event.to_dict`); `parse_event` reads them back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

VERSION = 1
"""Version of the JSON lines that `event_line` writes; every incompatible change raises it."""

Kind = Literal[
    "session_started",
    "session_ended",
    "models_chosen",
    "pause_answered",
    "graph_started",
    "task_started",
    "part_started",
    "recalled",
    "call_started",
    "tokens",
    "call_ended",
    "answer_read",
    "tool_started",
    "tool_waiting",
    "tool_ended",
    "task_ended",
    "task_failed",
    "task_added",
    "task_skipped",
    "task_stopped",
    "tests_started",
    "tests_ended",
    "candidate_chosen",
    "verdict",
    "committed",
    "remembered",
    "node_ended",
]


@dataclass(frozen=True)
class Event:
    """One event of a run. docs/events.md has the same keys as a table.

    Attributes:
        kind: The kind; it decides which keys `data` has.
        time: Seconds since the epoch.
        session: The session's id.
        node: The node of the graph; in a custom session the task's id.
        role: The role that asks a model; empty for other nodes.
        task: The task's id.
        iteration: The round, from 1; 0 outside of rounds.
        data: By kind:

            - session_started: workflow, nodes (names), max_iterations, usual_seconds (of past sessions of the
              workflow with the same models, or None), seconds_before (worked in earlier runs), resumed,
              done (nodes that earlier runs finished in the present round)
            - session_ended: workflow, phase, approved, findings (number of open ones), output, pauses (where
              it waits for a person)
            - models_chosen, when roles may have several models: models (by role: entry and reason), tasks (of
              a task graph that explores: the entry of each task that was drawn for it)
            - pause_answered, when a person has decided at a pause: pause (its id), place (as in
              `before coder`), decision (approved, session, edited, rejected), remark, by (who decided, and
              where)
            - graph_started, only in custom sessions: tasks (number), done (number)
            - task_started: task_type
            - part_started, only if the files of a task are split: parts (number), part (from 1; 0 when the
              answers for all parts are joined), place (in the files, such as `p. 4-7`)
            - recalled, when a role has searched memory: passages (number), characters, sources (of each
              passage, as in "P-101.pdf, p. 4"), note (what limited the search or left passages out)
            - call_started: attempt, repair (the repair question after an unreadable answer), model, server,
              queued_s
            - tokens: output_tokens so far (estimated), text and thoughts since the previous `tokens` event
            - call_ended: attempt, repair, model, server, outcome, finish_reason, queued_s, first_token_s,
              seconds, input_tokens, prompt_tokens_evaluated (those that the server's prefix cache did not
              hold, or None), output_tokens, reasoning_tokens, cut_tokens (estimated, of a call that did not
              end), estimated (the server counted no tokens), cost, error
            - answer_read, only if there is something to say: repair, problem (why the answer could not be
              used as it was), note (what was mended or left out)
            - tool_started: number (of the call in its turn, from 1), tool, server (the MCP server, or empty),
              arguments
            - tool_waiting, when a call waits for a person: number, tool, server, arguments
            - tool_ended: number, tool, server, arguments, outcome, characters (of the whole result), cut
              (whether it was cut), decision (of a person: approved, session, edited, rejected, or empty),
              seconds
            - task_ended: note; in custom sessions also record (the task's), and kept (its result comes from
              an earlier run)
            - task_failed: task_type, error
            - task_added: record
            - task_skipped: task_type, and error or note
            - tests_ended: the evidence of the test run without its failures
            - candidate_chosen, only with several candidates of the coder: number, candidates (how many there
              are), reason
            - verdict: approved, findings (number), exit_code (of the tests)
            - committed, only of sessions that change a repository: commit (its id), branch, files (number),
              added, deleted (numbers of lines), note (files that are not in the worktree, and why)
            - remembered, when a session ends with something worth keeping: kept (number of memories), offered
              (number that wait for a person), note
            - node_ended, only for nodes of a user's workflow that have no other events: functions, pauses;
              and for the node `coder` where it begins several candidates
    """

    kind: Kind
    time: float
    session: str
    node: str
    role: str = ""
    task: str = ""
    iteration: int = 0
    data: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The event as a part of LangGraph's custom stream; `parse_event` is the inverse."""
        return {
            "swarm_event": self.kind,
            **{name: value for name, value in vars(self).items() if name != "kind"},
        }


def event_line(event: Event) -> str:
    """An event as one line of JSON with a newline, as `--json-events` prints it (docs/events.md)."""
    fields = {name: value for name, value in vars(event).items() if name not in ("kind", "data")}
    document = {"version": VERSION, "event": event.kind, **fields, "data": event.data}
    return json.dumps(document, ensure_ascii=False) + "\n"


def parse_event(part: Any) -> Event | None:
    """The event in one part of a custom stream; None for a part that other code wrote."""
    if not isinstance(part, dict) or "swarm_event" not in part:
        return None
    fields = {key: value for key, value in part.items() if key != "swarm_event"}
    return Event(kind=part["swarm_event"], **fields)
