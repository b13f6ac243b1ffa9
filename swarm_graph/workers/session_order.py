"""What the user signs when a session is submitted: its request and the texts of its prompts.

The signature of the session itself covers its settings (`checkpoints/signatures.py`). Both lie in a database
that others may write to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.signatures import is_signed_text, sign_text
from swarm_graph.sessions.fingerprints import recorded_texts
from swarm_graph.workers.task_job import hash_of

_PURPOSE = "swarm_graph session job 1"


def signed_order(catalogue: Catalogue, session_id: str) -> dict[str, Any]:
    """The arguments of the job of a session."""
    return {"session": session_id, "signature": sign_text(_order(catalogue, session_id))}


def is_signed_order(catalogue: Catalogue, arguments: Mapping[str, Any]) -> bool:
    """Whether this user has submitted the session of a job, and it asks what it asked then."""
    text = _order(catalogue, str(arguments.get("session")))
    return is_signed_text(text, str(arguments.get("signature")))


def _order(catalogue: Catalogue, session_id: str) -> str:
    asked = hash_of(catalogue.request(session_id) or {}), hash_of(recorded_texts(catalogue, session_id))
    return json.dumps([_PURPOSE, *catalogue.database.identities, session_id, *asked])
