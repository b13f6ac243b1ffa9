"""Two or more sessions side by side, and a form to choose them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.session_list import ListQuery, session_list
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.reports.comparison_view import comparison_view
from swarm_graph.text import cut
from swarm_graph.web.addresses import session_address
from swarm_graph.web.pages import page, show
from swarm_graph.web.site import found_session

OFFERED = 20
"""Sessions that the form offers, besides those that are chosen."""
MAX_COMPARED = 12
"""Sessions side by side."""
MAX_QUESTION = 200


def _compared(saver: SwarmSaver | None, ids: list[str], question: str) -> dict[str, Any]:
    """The comparison if there are two sessions; one line if there is one, or too many."""
    chosen = list(dict.fromkeys(ids))
    sessions = [found_session(saver, id)[1] for id in chosen[: MAX_COMPARED + 1]]
    values: dict[str, Any] = {"exists": saver is not None, "chosen": chosen, "question": question}
    if saver is None:
        return values | {"comparison": None, "problem": ""}
    listed = session_list(saver.catalogue, ListQuery(text=question), OFFERED)
    known = {row.session for row in listed.rows}
    rows = [session for session in sessions if session.session not in known] + [*listed.rows]
    problem, comparison = "", None
    if len(sessions) > MAX_COMPARED:
        problem = f"{len(chosen)} sessions are too many to stand side by side; choose {MAX_COMPARED} or fewer"
    elif len(sessions) > 1:
        comparison = comparison_view(saver, sessions)
    elif sessions:
        problem = f"choose another session to compare {cut(chosen[0], 80)!r} with"
    return values | {
        "comparison": comparison,
        "problem": problem,
        "offered": rows,
        "more": max(listed.total - len(listed.rows), 0),
        "session_address": session_address,
    }


async def show_comparison(request: Request) -> Response:
    """The comparison of the sessions that the address names, and the form."""
    ids = request.query_params.getlist("session")
    question = request.query_params.get("q", "").strip()[:MAX_QUESTION]
    return await show(request, "compare.html", _compared, [id for id in ids if id], question)


routes = [page("/compare", show_comparison)]
