"""What the catalogue returns: sessions, and the runs that worked on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm_graph.state import SwarmState
from swarm_graph.text import local_time


@dataclass(frozen=True)
class Session:
    """A session as the catalogue knows it; it holds no secret, only names of variables.

    `config`: what it began with, in the file's shape. `output`: the folder of its files, empty when
    the graph was called directly. `parent`: the session that it was forked from, at `parent_checkpoint`.
    The last three say what its last run came to: `findings` are the open ones by severity; `approved` is
    None for a task graph, and while nothing ended.
    """

    session: str
    workflow: str
    request: str
    config: dict[str, Any]
    phase: str
    created_at: float
    updated_at: float
    output: str = ""
    simulated: bool = False
    config_file: str = ""
    parent: str = ""
    parent_checkpoint: str = ""
    approved: bool | None = None
    iteration: int | None = None
    findings: dict[str, int] | None = None


@dataclass(frozen=True)
class WorkingRun:
    """One time that a process worked on a session. `config` is None where it is the session's own.

    `input`: what the graph was given, None for a resume; `base`: the checkpoint that it began at.
    """

    id: int
    session: str
    kind: str
    """begin, follow_up, resume or replay."""
    input: dict[str, Any] | None
    base: str
    config: dict[str, Any] | None
    pid: int
    host: str
    phase: str
    error: str
    started_at: float
    ended_at: float | None

    @property
    def owner(self) -> str:
        """Who it is, for people."""
        return f"process {self.pid} on {self.host}, since {local_time(self.started_at)}"


def session_of(row: Mapping[str, Any]) -> Session:
    known = {"config": json.loads(row["config"]), "simulated": bool(row["simulated"])}
    if row["approved"] is not None:
        known["approved"] = bool(row["approved"])
    if row["findings"] is not None:
        known["findings"] = json.loads(row["findings"])
    return Session(**{**row, **known})


def session_row(session: Session) -> dict[str, Any]:
    findings = None if session.findings is None else json.dumps(session.findings)
    plain = {"config": json.dumps(session.config), "findings": findings}
    return {**vars(session), **plain, "simulated": int(session.simulated)}


def outcome_columns(state: SwarmState) -> dict[str, Any]:
    """What a state has come to, as columns."""
    findings = Counter(finding["severity"] for finding in state.get("findings", []))
    return {
        "approved": state.get("approved", False),
        "iteration": state.get("iteration", 0),
        "findings": json.dumps(dict(findings)),
    }
