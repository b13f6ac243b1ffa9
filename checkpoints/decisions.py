"""What persons have decided about calls of tools, as a session keeps it.

A decision is kept under the name of its call, which says what the person saw: the node, the round and the
place in the conversation; the tool (see `tool_name`); the arguments. So it can be used for no other call,
whatever a received file says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.storage import Cursor
from swarm_graph.checkpoints.swarm_saver import PlainSerializer, threads_of

RESUME = "__resume__"
"""LangGraph's channel for the answers to interrupts."""
_WRITE = ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx")
"""The key of LangGraph's table of writes."""
CALL = "call-"
"""The prefix of the names of calls; without it LangGraph would take them for ids of interrupts."""
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Where a schema has schemas by names that are no keywords."""
_WORDS = ("title", "description", "examples", "$comment")
"""The keywords of a schema that check nothing. A server may change them from start to start."""
_DATA = ("enum", "const", "default")
DECISION = "decision:"
"""The prefix of the names under which a turn keeps decisions."""


def call_name(key: str, pause: Mapping[str, Any]) -> str:
    """The name of a call.

    Args:
        key: Its place in the turn: a hash of the conversation before it.
        pause: What a person is asked about it.

    Raises:
        KeyError: The pause does not say what is asked.
    """
    value = pause["value"]
    return f"{CALL}{key}-{_hash([pause['node'], pause['iteration'], tool_name(value), value['arguments']])}"


def tool_name(value: Mapping[str, Any]) -> str:
    """The name of a tool that says what it is, so that a decision is for no other tool that is called alike.

    It holds the tool's server with its settings, whether that marks the tool as read-only, and what the
    schema allows. The words of descriptions are left out.

    Args:
        value: What a pause says of the tool.

    Raises:
        KeyError: Something is missing.
    """
    shown = [value["server"], value["settings"], value["read_only"], _without_words(value["schema"])]
    return f"{value['tool']}-{_hash(shown)}"


def _without_words(schema: Any, *, is_map: bool = False) -> Any:
    if isinstance(schema, Mapping):
        return {
            key: part
            if key in _DATA and not is_map
            else _without_words(part, is_map=key in _MAPS and not is_map)
            for key, part in schema.items()
            if is_map or key not in _WORDS
        }
    return [_without_words(part) for part in schema] if isinstance(schema, list) else schema


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def is_named(pause: Any) -> bool:
    """Whether something saved is a pause about a call, under the name of the call that it shows."""
    if not isinstance(pause, Mapping) or not isinstance(pause.get("value"), Mapping):
        return False
    name, value = str(pause.get("call")), pause["value"]
    kinds = {
        "tool": str,
        "server": str,
        "settings": str,
        "description": str,
        "arguments": Mapping,
        "schema": Mapping,
    }
    if not all(isinstance(value.get(key), kind) for key, kind in kinds.items()):
        return False
    try:
        return name == call_name(name.removeprefix(CALL).rpartition("-")[0], pause)
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def names_calls(answer: Any) -> bool:
    """Whether an answer to an interrupt is keyed by calls."""
    return isinstance(answer, Mapping) and all(str(key).startswith(CALL) for key in answer)


def without_calls(answer: Any, is_kept: Callable[[str, Any], bool] = lambda *_: False) -> Any:
    """An answer to an interrupt without its decisions about calls.

    Args:
        answer: The answer.
        is_kept: Whether the decision about a call, by its name, stays nevertheless.
    """
    if not isinstance(answer, Mapping):
        return answer
    return {
        key: decision
        for key, decision in answer.items()
        if not str(key).startswith(CALL) or is_kept(str(key), decision)
    }


def forget_decisions(catalogue: Catalogue, session_id: str) -> None:
    """Forget what was decided about calls of tools in a session that the user did not begin."""
    with catalogue.database.transaction() as cursor:
        catalogue.forget_approvals(session_id)
        forget_answers(cursor, session_id, lambda *_: False)


def forget_answers(cursor: Cursor, session_id: str, is_kept: Callable[[str, Any], bool]) -> int:
    """Forget the answers to interrupts that decide about calls.

    The answers that LangGraph keeps are emptied, not deleted, because it counts them.

    Args:
        cursor: A transaction.
        session_id: The session.
        is_kept: Whether the decision about a call, by its name, stays.

    Returns:
        How many decisions are forgotten.
    """
    serializer, forgotten = PlainSerializer(), 0
    where, threads = threads_of(session_id)
    rows = cursor.execute(
        f"SELECT type, value, {', '.join(_WRITE)} FROM writes WHERE channel = ? AND ({where})",
        (RESUME, *threads),
    ).fetchall()
    key = " AND ".join(f"{name} = ?" for name in _WRITE)
    for type_, stored, *of_write in rows:
        value = serializer.loads_typed((type_, stored))
        answers = value if isinstance(value, list) else [value]
        left = [without_calls(one, is_kept) for one in answers]
        if dropped := _count(answers) - _count(left):
            row = (*serializer.dumps_typed(left), *of_write)
            cursor.execute(f"UPDATE writes SET type = ?, value = ? WHERE {key}", row)
            forgotten += dropped
    return forgotten


def _count(answers: Sequence[Any]) -> int:
    return sum(len(one) for one in answers if isinstance(one, Mapping))
