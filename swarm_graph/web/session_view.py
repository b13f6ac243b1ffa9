"""What the page of a session shows, part by part, as of an event of the session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import NamedTuple

from markupsafe import Markup
from starlette.requests import Request

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.database_place import is_server
from swarm_graph.reports.decision_view import DecisionView
from swarm_graph.reports.listing import current_phase
from swarm_graph.reports.session_report import PARTS, Part, SessionReport, page_of_calls
from swarm_graph.sessions.history import pauses_of
from swarm_graph.state import CHANGE, CHANGE_KEYS, QUEUED, has_ended
from swarm_graph.text import printable
from swarm_graph.web.addresses import Addresses
from swarm_graph.web.pages import csrf_of, environment, query_number, session_id_of
from swarm_graph.web.site import Site, found_session, site_of
from swarm_graph.web.writing import Writing, now_writing

_OF_NODES = (
    "task_started", "task_ended", "task_failed", "task_stopped", "call_started", "call_ended",
    "tests_started", "tests_ended", "tool_started", "tool_waiting", "tool_ended",
)  # fmt: skip
_OF_DECISIONS = ("session_started", "session_ended", "pause_answered")
PAGE_PARTS: Mapping[str, Part] = {
    "actions": Part("Actions", _OF_DECISIONS),
    "decisions": Part("Waiting for a person", _OF_DECISIONS),
    "writing": Part("Now", ("session_started", "session_ended", "phase", *_OF_NODES)),
}
"""The parts that only the page has: they say what is so now."""
FIRST_WHILE_RUNNING = ("header", "actions", "decisions", "graph", "writing")
"""The parts at the top of the page while the session runs; the others follow as in a report."""
FIRST = ("header", "actions", "decisions")
"""The parts at the top of the page at any other time: what came of the session comes next."""
OF_STATE = ("header", "decisions", "tasks", "rounds", "candidates", "change", "files", "recalled")
"""The parts that show a session's state, which is committed after the events that tell of it."""
FRAGMENT_HEADER = "x-part"
"""A request with it gets a part alone, without the page around it."""
CSRF_HOLE = secrets.token_hex(16)
"""What a kept part has in place of a reader's CSRF token."""

_LATER: Mapping[str, Callable[[SessionReport], object]] = {
    "change": lambda report: "repo" in report.state,
    "files": lambda report: any(report.state.get(key) for key in (*CHANGE_KEYS, "requirements", "tasks")),
    "timeline": lambda report: report.call_count,
    "tools": lambda report: report.more_tool_calls or report.tool_calls,
    "recalled": lambda report: report.state.get("recalled"),
    "calls": lambda report: report.call_count,
}
"""The parts that come when a reader gets near them, or follows their link; all others come with the page.

The value tells whether the part will have something to show; to make it only to know that takes long.
"""


class ShownPart(NamedTuple):
    """A part as the page shows it.

    Attributes:
        name: Its name.
        title: Its heading.
        refresh: The kinds of messages after which it is shown anew.
        is_there: Whether it has something to show now; later it may.
        html: What it shows; None if it comes later.
    """

    name: str
    title: str
    refresh: tuple[str, ...]
    is_there: bool
    html: Markup | None


class SessionView:
    """What the page of a session shows. It must be used while the database is open.

    Args:
        site: The site.
        saver: The open database.
        session_id: The session.
        csrf: The CSRF token of the reader.
        first_call: The first call that the part `calls` shows, from 0.

    Attributes:
        after: The latest event. It is read first, so what is shown may be newer, and is never older.
        checkpoint: The latest checkpoint, read as early.
        phase: The phase.
        report: The data of the parts.
        page: The addresses.

    Raises:
        NotFound: There is no such session.
    """

    def __init__(
        self, site: Site, saver: SwarmSaver | None, session_id: str, csrf: str, first_call: int = 0
    ) -> None:
        saver, self.session = found_session(saver, session_id)
        self._site, self._saver, self._csrf = site, saver, csrf
        self.after = saver.catalogue.transcript.latest(session_id)
        self.checkpoint = saver.latest_id(session_id)
        self.phase = current_phase(saver.catalogue, self.session)
        self.first_call = first_call
        self.report = SessionReport(saver, self.session, calls=page_of_calls(first_call))
        self.page = Addresses(session_id)

    @property
    def title(self) -> str:
        """The title of its page."""
        return printable(f"{self.session.session} · {self.phase} - swarm_graph")

    @property
    def file_report(self) -> SessionReport:
        """The data of the saved report."""
        return SessionReport(self._saver, self.session)

    @cached_property
    def writing(self) -> Writing:
        """What its nodes do now."""
        at_work = self.phase == "running"
        return now_writing(self._saver.catalogue, self.session.session) if at_work else Writing()

    @cached_property
    def decisions(self) -> list[DecisionView]:
        """The pauses at which the session waits for a person."""
        return [DecisionView(pause) for pause in pauses_of(self._saver, self.session)]

    @property
    def can_resume(self) -> bool:
        """Whether it goes on without a decision."""
        at_work = self.phase == "running" or self.is_in_queue
        return not (at_work or has_ended(self.phase) or self.decisions)

    @property
    def is_in_queue(self) -> bool:
        """Whether it waits for a worker. One that was copied into a file waits for nobody."""
        return self.phase == QUEUED and is_server(self._site.settings.place)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, so that a follow-up can ask it for more."""
        return has_ended(self.phase)

    @property
    def changes_repository(self) -> bool:
        """Whether it changes a repository, so that its change can be applied."""
        return self.session.kind == CHANGE and self.session.workflow != "review_only"

    def part(self, name: str) -> Markup:
        """A part as HTML; empty if it has nothing to show."""
        key = (self.session.session, name, self.first_call if name == "calls" else 0)
        version = (self.after, self.checkpoint, self.phase, self.session.updated_at)
        html = self._site.parts.rendered(key, version, partial(self._render, name))
        return Markup(html.replace(CSRF_HOLE, self._csrf))

    def _render(self, name: str) -> str:
        if name in PARTS and not self.report.has(name):
            return ""
        return (
            environment()
            .get_template(f"parts/{name}.html")
            .render(
                view=self,
                report=self.report,
                page=self.page,
                path=self.page.own,
                csrf=CSRF_HOLE,
                user=None,
                read_only=self._site.settings.read_only,
            )
            .strip()
        )

    def shown(self, name: str, *, whole: bool = False) -> ShownPart:
        """A part as the page shows it.

        Args:
            name: Its name.
            whole: Whether it must be there at once.
        """
        part = all_parts()[name]
        refresh = (*part.refresh, "state") if name in OF_STATE else part.refresh
        is_eager = whole or name not in _LATER or (name == "calls" and self.first_call > 0)
        html = self.part(name) if is_eager else None
        is_there = bool(html) if is_eager else bool(_LATER[name](self.report))
        return ShownPart(name, part.title, refresh, is_there, html)

    @property
    def names(self) -> list[str]:
        """The parts that the session may have, in their order."""
        first = FIRST_WHILE_RUNNING if self.phase == "running" else FIRST
        order = dict.fromkeys((*first, *all_parts()))
        return [name for name in order if name != "tasks" or self.session.workflow == "custom"]


def all_parts() -> dict[str, Part]:
    """The parts of the page: those of a report in their order, and beside the graph who writes now."""
    parts: dict[str, Part] = {}
    for name, part in PARTS.items():
        parts[name] = part
        if name == "graph":
            parts["writing"] = PAGE_PARTS["writing"]
    return {**parts, **PAGE_PARTS}


def view_of(request: Request, saver: SwarmSaver | None) -> SessionView:
    """What the page of the session in an address shows.

    Raises:
        NotFound: There is no such session.
    """
    session_id, first_call = session_id_of(request), query_number(request.query_params, "calls")
    return SessionView(site_of(request), saver, session_id, csrf_of(request), first_call)
