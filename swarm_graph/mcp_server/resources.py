"""The resources that clients read: reports, findings and files of sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import unquote

from mcp_types import Resource, ResourceTemplate, TextResourceContents

from swarm_graph.errors import InputError
from swarm_graph.mcp_server.results import ROOT, file_of, findings_of, report_of, session_uri
from swarm_graph.mcp_server.status import MAX_REQUEST_CHARACTERS, open_sessions
from swarm_graph.text import cut, printable, shortened, to_json

MAX_LISTED_SESSIONS = 20
TEMPLATES = [
    ResourceTemplate(
        name="report",
        uri_template="swarm://session/{id}/report",
        description="The report of a session.",
        mime_type="text/markdown",
    ),
    ResourceTemplate(
        name="findings",
        uri_template="swarm://session/{id}/findings",
        description="The open findings of a session.",
        mime_type="application/json",
    ),
    ResourceTemplate(
        name="file",
        uri_template="swarm://session/{id}/files/{+path}",
        description="The text of a file of a session; `result` lists the paths.",
        mime_type="text/plain",
    ),
]


async def listed_resources(data_dir: Path) -> list[Resource]:
    """The reports and findings of the sessions that were worked on last."""
    return await asyncio.to_thread(_listed, data_dir)


def _listed(data_dir: Path) -> list[Resource]:
    with open_sessions(data_dir) as saver:
        sessions = saver.catalogue.sessions(experiment="")[:MAX_LISTED_SESSIONS] if saver else []
    return [
        Resource(
            name=f"{session.session} {template.name}",
            uri=session_uri(session.session, template.name),
            description=shortened(
                printable(f"{template.description} {session.request}"), MAX_REQUEST_CHARACTERS
            ),
            mime_type=template.mime_type,
        )
        for session in sessions
        for template in TEMPLATES[:2]
    ]


async def read_resource(data_dir: Path, uri: str) -> TextResourceContents:
    """The text of a resource.

    Raises:
        InputError: There is no such resource.
    """
    session_id, kind, path = _parts(uri)
    if kind == "report":
        text, form = await asyncio.to_thread(report_of, data_dir, session_id), "text/markdown"
    elif kind == "findings":
        rows = await asyncio.to_thread(findings_of, data_dir, session_id)
        text, form = to_json(rows), "application/json"
    else:
        text, form = await asyncio.to_thread(file_of, data_dir, session_id, path), "text/plain"
    return TextResourceContents(uri=uri, text=text, mime_type=form)


def _parts(uri: str) -> tuple[str, str, str]:
    """The session, the kind and the path of a URI. Raises InputError if it is none of ours."""
    session_id, _, rest = uri.removeprefix(ROOT).partition("/")
    kind, _, path = rest.partition("/")
    is_ours = uri.startswith(ROOT) and session_id
    if not is_ours or (kind, bool(path)) not in (("report", False), ("findings", False), ("files", True)):
        forms = ", ".join(template.uri_template for template in TEMPLATES)
        raise InputError(f"there is no resource {cut(uri, 200)!r}; expected {forms}")
    return unquote(session_id), kind, unquote(path)
