"""The list of sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from swarm_graph.checkpoints.session_list import (
    ALL,
    INTERRUPTED,
    ORDERS,
    VERDICTS,
    ListedSession,
    ListQuery,
    experiments_of_sessions,
    paused_sessions,
    session_list,
    workflows_and_phases,
)
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.state import verdict_word
from swarm_graph.text import cut, format_cost, in_one_line
from swarm_graph.web.addresses import session_address
from swarm_graph.web.pages import page, query_number, show
from swarm_graph.web.site import site_of

ROWS = 50
TITLE = "Sessions - swarm_graph"
MAX_COUNTED = 99
"""Sessions that wait, in the title."""
MAX_REQUEST_CHARACTERS = 120
ORDER_NAMES = {
    "updated": "last worked on",
    "created": "begun",
    "id": "id",
    "workflow": "workflow",
    "phase": "phase",
}


class Row(NamedTuple):
    """A row of the list.

    Attributes:
        listed: The session.
        address: Its page.
    """

    listed: ListedSession
    address: str

    @property
    def request(self) -> str:
        """The beginning of the request, on one line."""
        return cut(in_one_line(self.listed.request), MAX_REQUEST_CHARACTERS)

    @property
    def verdict(self) -> str:
        """The verdict; empty without one."""
        listed = self.listed
        word = verdict_word(listed.approved, listed.phase)
        if word != "approved":
            return word
        return {None: word, "passed": "approved, tests passed"}.get(listed.tests, "approved, untested")

    @property
    def round(self) -> str:
        """The last round, and of how many; empty before the first one. A task graph has no rounds."""
        listed = self.listed
        if not listed.iteration or listed.workflow == "custom":
            return ""
        return f"{listed.iteration} of {listed.rounds}" if listed.rounds else str(listed.iteration)

    @property
    def process(self) -> str:
        """Where a running session runs."""
        listed = self.listed
        return f"process {listed.pid} on {listed.host}" if listed.phase == "running" and listed.pid else ""

    @property
    def cost(self) -> str:
        """The cost; empty without prices."""
        return format_cost(self.listed.cost) if self.listed.cost else ""

    @property
    def tokens(self) -> str:
        """The tokens of all calls; empty without a call."""
        tokens = int(self.listed.input_tokens + self.listed.output_tokens)
        return f"{tokens:,}" if tokens else ""


class Listing(NamedTuple):
    """A page of the list.

    Attributes:
        query: What it shows.
        number: The number of the page, from 1.
        total: How many sessions match.
        rows: The sessions.
    """

    query: ListQuery
    number: int
    total: int
    rows: list[Row]

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(-(-self.total // ROWS), 1)

    def address(self, number: int | None = None, base: str = "/") -> str:
        """The address of a page of the same list."""
        given = {name: value for name, value in vars(self.query).items() if value}
        if given.get("order") == "updated":
            del given["order"]
        if (number or self.number) > 1:
            given["page"] = str(number or self.number)
        return f"{base}?{urlencode(given)}" if given else base

    @property
    def rows_address(self) -> str:
        """The address of the rows alone."""
        return self.address(base="/rows")

    @property
    def is_filtered(self) -> bool:
        """Whether the list leaves sessions out."""
        return replace(self.query, order="") != ListQuery(order="")


def _listing(saver: SwarmSaver | None, given: QueryParams) -> dict[str, Any]:
    query = ListQuery(
        given.get("text", "").strip(),
        given.get("phase", ""),
        given.get("workflow", ""),
        given.get("verdict", ""),
        given.get("order", "") if given.get("order") in ORDERS else "updated",
        given.get("experiment", ""),
    )
    after = saver.catalogue.transcript.latest() if saver else 0
    workflows, phases = workflows_and_phases(saver.catalogue) if saver else ([], [])
    experiments = experiments_of_sessions(saver.catalogue) if saver else []
    listing = Listing(query, max(query_number(given, "page"), 1), 0, [])
    if saver:
        found = session_list(saver.catalogue, query, ROWS, (listing.number - 1) * ROWS)
        rows = [Row(listed, session_address(listed.session)) for listed in found.rows]
        listing = listing._replace(total=found.total, rows=rows)
    if "running" in phases:
        phases.insert(phases.index("running") + 1, INTERRUPTED)
    return {
        "title": _title(saver),
        "listing": listing,
        "workflows": workflows,
        "phases": phases,
        "verdicts": [*VERDICTS],
        "orders": ORDER_NAMES,
        "experiments": {ALL: "all sessions", **{name: name for name in experiments}} if experiments else {},
        "after": after,
    }


async def show_sessions(request: Request) -> Response:
    """The list."""
    return await show(request, "sessions.html", _listing, request.query_params)


async def show_rows(request: Request) -> Response:
    """The rows of the list, anew."""
    return await show(request, "session_rows.html", _listing, request.query_params)


def _title(saver: SwarmSaver | None) -> str:
    waiting = len(paused_sessions(saver.catalogue, MAX_COUNTED)) if saver else 0
    return f"({waiting}) {TITLE}" if waiting else TITLE


async def show_title(request: Request) -> Response:
    """The title of the list, with how many sessions wait for a person."""
    return PlainTextResponse(await site_of(request).read(_title))


routes = [page("/", show_sessions), page("/rows", show_rows), page("/title", show_title)]
