"""What belongs to a session and is shown alone: a file, a call, its tasks, its saved report.

A file is what the session's state makes of its path. No path of an address ever reaches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.reports.session_report import report_html
from swarm_graph.reports.task_list import matching
from swarm_graph.text import cut
from swarm_graph.web.addresses import decoded_path, encoded
from swarm_graph.web.downloads import download
from swarm_graph.web.pages import page, query_number, respond
from swarm_graph.web.session_view import FRAGMENT_HEADER, SessionView, view_of
from swarm_graph.web.site import NotFound, site_of

TASKS_SHOWN, MAX_TASKS_SHOWN = 100, 500


async def show_file(request: Request) -> Response:
    """A file, highlighted; as it is with `?raw=1`."""
    path = decoded_path(request.path_params["path"])

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        if path not in view.report.files:
            raise NotFound(f"the session has no file {cut(path, 80)!r}")
        if request.query_params.get("raw"):
            return download(view.report.files[path], path)
        values = {"file": view.report.file(path), "raw": view.page.file(path, raw=True)}
        return _respond(request, view, "file.html", path, values)

    return await site_of(request).read(shown)


async def show_call(request: Request) -> Response:
    """A call of a model, with its whole texts."""
    number = query_number(request.path_params, "number", -1)

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        call = view.report.call(number) if number >= 0 else None
        if call is None:
            raise NotFound("the session has no such call")
        return _respond(request, view, "call.html", f"call {number}", {"call": call})

    return await site_of(request).read(shown)


async def show_tasks(request: Request) -> Response:
    """Tasks of a task graph: rows for the script, a page for a reader."""
    query = request.query_params
    start, count = query_number(query, "from"), query_number(query, "count", TASKS_SHOWN)
    status, words = query.get("status", ""), query.get("q", "")

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        found = matching(view.report.tasks, state=status, words=words)
        rows = found[start : start + min(count, MAX_TASKS_SHOWN)]
        if FRAGMENT_HEADER in request.headers:
            return respond(request, "parts/task_rows.html", rows=rows)
        given = {"start": start, "count": count, "status": status, "q": words}
        values = {"rows": rows, "total": len(found), "given": given, "states": view.report.task_counts}
        return _respond(request, view, "tasks.html", "tasks", values)

    return await site_of(request).read(shown)


async def save_report(request: Request) -> Response:
    """The session's report as a file that needs no network."""

    def shown(saver: SwarmSaver | None) -> Response:
        view = view_of(request, saver)
        name = f"report-{encoded(view.report.session.session)}.html"
        return download(report_html(view.file_report), name, "text/html")

    return await site_of(request).read(shown)


def _respond(
    request: Request, view: SessionView, template: str, title: str, values: Mapping[str, Any]
) -> Response:
    return respond(
        request, f"session_{template}", view=view, report=view.report, page=view.page, title=title, **values
    )


routes = [
    page("/sessions/{id}/files/{path:path}", show_file),
    page("/sessions/{id}/calls/{number}", show_call),
    page("/sessions/{id}/tasks", show_tasks),
    page("/sessions/{id}/report", save_report),
]
