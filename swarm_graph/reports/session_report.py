"""A session as people read it: the data of its report, which is a file and a page.

Each property is computed when a template first asks for it, so a page can show a part of a report anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from shlex import quote
from typing import Any, NamedTuple, cast

from langgraph.checkpoint.base import CheckpointTuple

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.reports.analysis import Analysis, analysis
from swarm_graph.reports.candidate_rows import CandidateRow, candidate_rows
from swarm_graph.reports.decided import Decided, decided_of
from swarm_graph.reports.graph_view import GraphView, graph_view
from swarm_graph.reports.header_view import Header, header
from swarm_graph.reports.highlight import Highlighter
from swarm_graph.reports.listing import current_phase
from swarm_graph.reports.node_states import counted
from swarm_graph.reports.recalled_lines import MAX_FOLDED, ShownRecalled, recalled_of, shown_recalled
from swarm_graph.reports.role_figures import RoleRow, role_rows
from swarm_graph.reports.round_codes import round_codes
from swarm_graph.reports.rounds import Round, readable_reviews, rounds_of
from swarm_graph.reports.shown_calls import ShownCall, ShownToolCall, shown_call, shown_calls, shown_tool_call
from swarm_graph.reports.shown_files import (
    ShownChange,
    ShownFile,
    listed_files,
    saved_files,
    shown_change,
    shown_file,
)
from swarm_graph.reports.task_list import TaskRow, first_rows, task_rows
from swarm_graph.reports.templates import file_html
from swarm_graph.reports.timeline import Timeline, timeline
from swarm_graph.sessions.candidates import candidates_line
from swarm_graph.sessions.history import pauses_of
from swarm_graph.sessions.metrics import measured_rates, real_calls, summary
from swarm_graph.sessions.stored_files import stored_files
from swarm_graph.state import Recalled, SwarmState, changed_texts
from swarm_graph.tasks.results import custom_tasks
from swarm_graph.workflows.drawing import NodeState


class Part(NamedTuple):
    """A part of a report: the template `parts/NAME.html`.

    Attributes:
        title: Its heading.
        refresh: The kinds of events after which a page shows it anew.
        shows: Whether a report has something to show there.
    """

    title: str
    refresh: tuple[str, ...] = ()
    shows: Callable[[SessionReport], object] = lambda _: True


MAX_SAVED_CALLS, PAGE_CALLS = 300, 20
"""Calls in a saved report, and on one page of them."""
_CALL_EVENTS = ("call_started", "call_ended")
_GRAPH_EVENTS = ("session_started", "session_ended", "pause_answered", "task_failed", "verdict")
_ROUND_EVENTS = ("task_ended", "tests_ended", "verdict", "session_ended")
_TASK_EVENTS = ("task_started", "task_ended", "task_failed", "task_added", "task_skipped", "session_ended")
_CANDIDATE_EVENTS = ("task_ended", "task_failed", "candidate_chosen", "session_ended")
_TIME_EVENTS = ("call_ended", "tests_ended", "tool_ended", "session_ended")
_HEADER_EVENTS = (
    "session_started", "session_ended", "pause_answered", "call_ended", "tool_ended", "tests_ended",
    "verdict",
)  # fmt: skip
PARTS: Mapping[str, Part] = {
    "header": Part("Session", _HEADER_EVENTS),
    "tasks": Part("Tasks", _TASK_EVENTS, lambda report: report.tasks),
    "rounds": Part("Rounds", _ROUND_EVENTS, lambda report: report.rounds),
    "candidates": Part("Candidates", _CANDIDATE_EVENTS, lambda report: report.candidates),
    "decided": Part("Decisions", ("pause_answered",), lambda report: report.decided),
    "change": Part("Change", ("committed", "session_ended"), lambda report: report.change),
    "files": Part("Files", _ROUND_EVENTS, lambda report: report.files),
    "graph": Part("The graph", _GRAPH_EVENTS),
    "timeline": Part("Timeline", _TIME_EVENTS, lambda report: report.timeline.lanes),
    "tools": Part("Tool calls", ("tool_started", "tool_ended"), lambda report: report.tool_calls),
    "recalled": Part("Recalled from memory", ("recalled",), lambda report: report.recalled),
    "calls": Part("Calls", _CALL_EVENTS, lambda report: report.calls),
}
"""The parts of a report in their order."""


def page_of_calls(first: int) -> slice:
    """The calls on one page of them, from the call at a place, from 0, on."""
    first = min(max(first, 0), sys.maxsize - PAGE_CALLS)
    return slice(first, first + PAGE_CALLS)


class SessionReport:
    """The data of a report. It must be rendered while the database is open.

    Attributes:
        session: The session's row.
        is_own: Whether the user began the session, or has trusted it.
        log_command: The command that shows all calls, for what is left out.
    """

    def __init__(self, saver: SwarmSaver, session: Session, *, calls: slice = slice(MAX_SAVED_CALLS)) -> None:
        """Read nothing yet.

        Args:
            saver: The open database.
            session: The session's row.
            calls: Which calls of models are shown; for a page of them `page_of_calls`.
        """
        self._saver, self.session, self._calls = saver, session, calls
        self._highlighter = Highlighter()
        self.is_own = is_own(saver.catalogue, session)
        self.log_command = f"swarm-graph log {quote(session.session)}"

    def has(self, part: str) -> bool:
        """Whether a part has something to show."""
        return part in PARTS and bool(PARTS[part].shows(self))

    @cached_property
    def saved(self) -> CheckpointTuple | None:
        """The session's latest checkpoint."""
        return self._saver.get_tuple({"configurable": {"thread_id": self.session.session}})

    @cached_property
    def state(self) -> SwarmState:
        """The session's latest state."""
        return cast("SwarmState", self.saved.checkpoint["channel_values"] if self.saved else {})

    @cached_property
    def _call_rows(self) -> list[dict[str, Any]]:
        return self._saver.catalogue.calls(self.session.session)

    @cached_property
    def analysis(self) -> Analysis:
        """The session's figures."""
        return analysis(self._saver.catalogue, self.session, self._call_rows)

    @cached_property
    def header(self) -> Header:
        """What stands above everything else."""
        return header(self._saver.catalogue, self.session, self.analysis, self._call_rows)

    @property
    def waits_at(self) -> list[str]:
        """Where the session waits for a person, as in `before coder`."""
        return [pause.place for pause in pauses_of(self._saver, self.session)]

    @cached_property
    def graph(self) -> GraphView:
        """The drawing of its graph, with the state of each node."""
        return graph_view(self._saver, self.session, self.saved, trusted=self.is_own)

    @cached_property
    def tasks(self) -> list[TaskRow]:
        """The tasks of a task graph; none of another session."""
        if self.session.workflow != "custom":
            return []
        ended = self._saver.catalogue.tasks(self.session.session)
        return task_rows(custom_tasks(self.state.get("tasks", {})), ended, self.graph.states)

    @property
    def task_counts(self) -> dict[NodeState, int]:
        """The number of tasks in each state."""
        return counted(row.state for row in self.tasks)

    @property
    def first_tasks(self) -> list[TaskRow]:
        """The tasks that a file shows."""
        return first_rows(self.tasks)

    @property
    def tasks_left_out(self) -> int:
        """The number of the others."""
        return len(self.tasks) - len(self.first_tasks)

    @cached_property
    def timeline(self) -> Timeline:
        """Calls, test runs and calls of tools over time."""
        return timeline(self._saver.catalogue, self.session, self._call_rows)

    @property
    def roles(self) -> list[RoleRow]:
        """The figures of each role."""
        return role_rows(self.analysis.agents, measured_rates(summary(real_calls(self._call_rows))))

    @cached_property
    def rounds(self) -> list[Round]:
        """The rounds of the session's latest request."""
        codes = round_codes(self._saver, self.session.session)
        return rounds_of(self.state, codes, self._highlighter, trusted=self.is_own)

    @property
    def unreadable_reviews(self) -> int:
        """How many reviews are left out because they cannot be read."""
        return readable_reviews(self.state)[1]

    @property
    def candidates(self) -> list[CandidateRow]:
        """The candidates of the latest round; none if there is one coder."""
        return candidate_rows(self.state)

    @property
    def candidates_line(self) -> str:
        """Which candidate was chosen, and why; empty before that."""
        return candidates_line(self.state)

    @cached_property
    def is_running(self) -> bool:
        """Whether a process works on the session."""
        return current_phase(self._saver.catalogue, self.session) == "running"

    @cached_property
    def decided(self) -> list[Decided]:
        """What people have decided at pauses, up to a number of decisions."""
        return decided_of(self._saver.catalogue, self.session.session)

    @cached_property
    def change(self) -> ShownChange | None:
        """What the session changed in a repository; None if it changes none."""
        return shown_change(self.state, trusted=self.is_own)

    # --- files -----------------------------------------------------------------------------------

    @cached_property
    def files(self) -> dict[str, str]:
        """The files of the session, path to text."""
        return stored_files(self._saver, self.session, self.state)

    @property
    def listed_files(self) -> list[ShownFile]:
        """The files without their texts."""
        return listed_files(self.files)

    @property
    def saved_files(self) -> list[ShownFile]:
        """The files for a saved report: with their texts, as far as these fit."""
        return saved_files(self.files, self._highlighter)

    @cached_property
    def made_paths(self) -> frozenset[str]:
        """The paths of the project's files that the session has written; its folder has them in `project`."""
        return frozenset(changed_texts(self.state))

    def file(self, path: str) -> ShownFile | None:
        """A file with its text, highlighted; None if the session has no such file."""
        return shown_file(path, self.files[path], self._highlighter) if path in self.files else None

    # --- calls -----------------------------------------------------------------------------------

    @cached_property
    def calls(self) -> list[ShownCall]:
        """The calls of models that are shown."""
        found = self._saver.catalogue.transcript.calls(self.session.session, places=self._calls)
        return shown_calls(found, running=self.is_running)

    @cached_property
    def call_count(self) -> int:
        """How many calls of models there are."""
        return self._saver.catalogue.transcript.call_count(self.session.session)

    @property
    def first_call(self) -> int:
        """The place of the first call that is shown, from 0."""
        return self._calls.start or 0

    @property
    def earlier_calls(self) -> int:
        """Where the page of calls before this one begins."""
        return max(self.first_call - PAGE_CALLS, 0)

    @property
    def more_calls(self) -> int:
        """How many calls follow those that are shown."""
        return max(self.call_count - self.first_call - len(self.calls), 0)

    def call(self, number: int) -> ShownCall | None:
        """A call with its whole texts; None if the session has no call of this number."""
        found = self._saver.catalogue.transcript.calls(self.session.session, number=number)
        return next((shown_call(call, running=self.is_running) for call in found), None)

    @cached_property
    def _tool_calls(self) -> list[ToolRecord]:
        return self._saver.catalogue.tool_calls(self.session.session)

    @cached_property
    def tool_calls(self) -> list[ShownToolCall]:
        """The calls of tools, up to a number."""
        return [shown_tool_call(call, running=self.is_running) for call in self._tool_calls[:MAX_SAVED_CALLS]]

    @property
    def more_tool_calls(self) -> int:
        """How many calls of tools are left out."""
        return len(self._tool_calls) - len(self.tool_calls)

    # --- memory ----------------------------------------------------------------------------------

    @cached_property
    def _recalled(self) -> list[Recalled]:
        return recalled_of(self.state)

    @property
    def recalled(self) -> list[ShownRecalled]:
        """What tasks have recalled from memory, up to a number of tasks."""
        return [shown_recalled(one) for one in self._recalled[:MAX_FOLDED]]

    @property
    def more_recalled(self) -> int:
        """How many tasks with recalled passages are left out."""
        return max(len(self._recalled) - MAX_FOLDED, 0)


def report_html(report: SessionReport) -> str:
    """The report as one file, which needs no network. It must be rendered while the database is open."""
    return file_html("report.html", report=report, parts=PARTS)
