"""The calls of tools as text: a call in one line, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.text import cut, format_count, printable

MAX_CALL_CHARACTERS, MAX_VALUE_CHARACTERS = 70, 40
"""Characters of a call in one line, and of one of its arguments."""
DECISIONS = {
    "approved": "approved",
    "session": "approved for the session",
    "edited": "approved with other arguments",
    "rejected": "rejected",
}


def tool_call(tool: str, arguments: Mapping[str, Any], limit: int = MAX_CALL_CHARACTERS) -> str:
    """A call as one line: `project.read(path=src/app.py)`."""
    given = ", ".join(f"{name}={_value(value)}" for name, value in arguments.items())
    return f"{cut(' '.join(printable(f'{tool}({given}').split()), limit - 1)})"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(" ".join(text.split()), MAX_VALUE_CHARACTERS)


def asked_call(call: Mapping[str, Any]) -> str:
    """A call in a model's answer, as the transcript keeps it: `project__read {"path": "src/app.py"}`."""
    arguments = call.get("arguments", call.get("args"))  # versions before 0.2 kept LangChain's form
    return f"{call.get('name')} {json.dumps(arguments, ensure_ascii=False, default=str)}"


def tool_outcome(call: ToolRecord, *, running: bool) -> str:
    """How a call ended, in words."""
    if call.result is None:
        return "no result yet" if running else "no end: its process was killed"
    return call.result.outcome.replace("_", " ")


def tool_decision(call: ToolRecord) -> str:
    """What a person decided about a call, in words; empty if nobody was asked."""
    remark = f": {call.remark}" if call.remark else ""
    return f"{DECISIONS.get(call.decision, call.decision)}{remark}" if call.decision else ""


def tool_figures(call: ToolRecord) -> str:
    """The seconds of a call and the length of its result; empty before its end."""
    if call.result is None:
        return ""
    return f"{call.result.seconds:.1f} s, {format_count(call.result.characters, 'character')}"
