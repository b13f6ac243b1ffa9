"""Signatures of what persons have decided about calls of tools, in a database that others may write to.

A decision that lies in a PostgreSQL database counts if the user who runs the session has signed it: whoever
may write there could otherwise approve calls. A file is its user's own, and needs no such signatures.
They lie among the steps of the session, and are forgotten with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.catalogue import REPLACE_STEP, Catalogue
from swarm_graph.checkpoints.decisions import DECISION, forget_answers
from swarm_graph.checkpoints.signatures import is_signed_text, sign_text
from swarm_graph.checkpoints.steps import approval_of
from swarm_graph.checkpoints.storage import Cursor

_PURPOSE = "swarm_graph decision 1"
_IN_SESSION = ("", 0)
"""The task and the round of what belongs to the whole session."""


def sign_decisions(catalogue: Catalogue, session_id: str, decisions: Mapping[str, Any]) -> None:
    """Sign what a person of this process has decided.

    Args:
        catalogue: The catalogue of the session.
        session_id: The session.
        decisions: The decisions, by the name of the call, or of the approval for the session.
    """
    if catalogue.database.is_file:
        return
    insert = "INSERT INTO steps (session, task, iteration, name, value) VALUES (?, ?, ?, ?, ?)"
    with catalogue.database.transaction() as cursor:
        for name, decision in decisions.items():
            text = _text(session_id, name, decision)
            row = (session_id, *_IN_SESSION, _step(text), json.dumps(sign_text(text)))
            cursor.execute(f"{insert} {REPLACE_STEP}", row)


def is_signed_decision(catalogue: Catalogue, session_id: str, name: str, decision: Any) -> bool:
    """Whether the user has decided so about a call, or an approval for the session; in a file always True."""
    if catalogue.database.is_file:
        return True
    text = _text(session_id, name, decision)
    query = "SELECT value FROM steps WHERE session = ? AND task = ? AND iteration = ? AND name = ?"
    with catalogue.database.view() as cursor:
        row = cursor.execute(query, (session_id, *_IN_SESSION, _step(text))).fetchone()
    return row is not None and is_signed_text(text, str(row[0]).strip('"'))


def is_decision(step: str) -> bool:
    """Whether a step with this name holds a decision, or an approval for the session."""
    return step.startswith((DECISION, approval_of("")))


def forget_unsigned(source: Catalogue, cursor: Cursor, session_id: str) -> int:
    """Forget the decisions of a copied session that the user has not signed: in a file all would count.

    Args:
        source: The catalogue that the session was copied from, with the signatures.
        cursor: A transaction of the database with the copy.
        session_id: The session.

    Returns:
        How many are forgotten; none if the session comes from a file.
    """
    if source.database.is_file:
        return 0

    def is_signed(name: str, decision: Any) -> bool:
        return is_signed_decision(source, session_id, name, decision)

    query = "SELECT task, iteration, name, value FROM steps WHERE session = ?"
    decided = [row for row in cursor.execute(query, (session_id,)).fetchall() if is_decision(row[2])]
    unsigned = [row[:3] for row in decided if not is_signed(row[2], json_value(row[3]))]
    delete = "DELETE FROM steps WHERE session = ? AND task = ? AND iteration = ? AND name = ?"
    cursor.executemany(delete, [(session_id, *row) for row in unsigned])
    return len(unsigned) + forget_answers(cursor, session_id, is_signed)


def json_value(text: Any) -> Any:
    """A value from its JSON in the database; None if another program has changed it."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _text(session_id: str, name: str, decision: Any) -> str:
    return json.dumps([_PURPOSE, session_id, name, decision], sort_keys=True)


def _step(text: str) -> str:
    return f"signed:{sha256(text.encode()).hexdigest()}"
