"""Invented answers of sessions that make a document: an outline, the document, the tester's checklist.

They are made of the words of the request, so that the checks of a document find what they look for.
"""

from __future__ import annotations

import json
import re

from swarm_graph.models.ask import Ask
from swarm_graph.state import AgentRole

NOTICE = "**SIMULATED.** No model wrote this; every line is invented. Do not use it."
MAX_STEPS = 12
MAX_TITLE_CHARACTERS = 70
SECTIONS = ("Scope", "Steps", "Open points")

_REQUEST = re.compile(r"<(?P<tag>request(?:-\w+)?)>\n(?P<text>.*?)\n</(?P=tag)>", re.DOTALL)
_ORDER = re.compile(
    r"(?:please\s+)?(?:write|create|make|draft|prepare)\s+(?:us\s+)?(?:an?\s+|the\s+)?", re.IGNORECASE
)
_TAG = re.compile(r"\b[A-Z]{1,5}-?\d{2,5}[A-Z]?\b")


def invent_for_document(ask: Ask, mark: str) -> str:
    """The answer of a role that answers otherwise than in a session that makes code; empty if it does not.

    Args:
        ask: The question.
        mark: What makes this answer differ from others.
    """
    if ask.role == AgentRole.ARCHITECT:
        outline = "\n".join(f"- `## {section}`: simulated" for section in SECTIONS)
        return (
            f"Simulated plan of {ask.node} {mark}.\n\n## Outline\n- `# {_title(ask)}`: simulated\n{outline}\n"
        )
    if ask.role == AgentRole.CODER:
        return f"````markdown path=docs/document.md\n{_document(ask, mark)}````"
    if ask.role == AgentRole.TESTER:
        steps = _steps(ask)
        items = [{"requirement": step, "place": "Steps", "quote": _sentence(step)} for step in steps]
        return json.dumps({"items": items})
    if ask.role == AgentRole.DOCUMENTER:
        return f"# Cover note: {_title(ask)}\n\n{NOTICE}\n\nSimulated {ask.node} {mark}."
    return ""


def _document(ask: Ask, mark: str) -> str:
    steps = "\n".join(f"{number}. {_sentence(step)}" for number, step in enumerate(_steps(ask), 1))
    tags = ", ".join(dict.fromkeys(_TAG.findall(_request(ask)))) or "none"
    return (
        f"# {_title(ask)}\n\n{NOTICE}\n\n"
        f"## Scope\n\nVersion {ask.iteration} ({mark}). Equipment and alarms in the request: {tags}.\n\n"
        f"## Steps\n\n{steps}\n\n"
        "## Open points\n\n1. A competent person releases this document: name ____, date ____.\n"
    )


def _request(ask: Ask) -> str:
    found = _REQUEST.search(ask.prompt)
    return found["text"].strip() if found else ask.node


def _title(ask: Ask) -> str:
    """The first sentence of the request as a title: "Write a startup procedure: …" → "Startup procedure"."""
    first = re.split(r"[:.\n]", _ORDER.sub("", _request(ask), count=1), maxsplit=1)[0].strip()
    words = re.sub(r"[`*_#<>|\[\]]", "", first)[:MAX_TITLE_CHARACTERS].strip() or "Document"
    return words[:1].upper() + words[1:]


def _steps(ask: Ask) -> list[str]:
    """What the request lists, as one step each; else the request itself."""
    listed = _request(ask).partition("\n```")[0].partition(":")[2]
    parts = [part.strip(" .-*\t") for part in re.split(r"[,;\n]|\.\s", listed)]
    return [part for part in parts if len(part) > 3][:MAX_STEPS] or [_title(ask)]


def _sentence(step: str) -> str:
    """A step as a sentence that is long enough to be quoted."""
    words = re.sub(r"[`*_#<>|\[\]]", "", step)
    return f"Carry out: {words}. It is done when a person has seen it."
