"""What the database knows of models in each role: solved cases, times of calls, speeds that doctor measured.

A model is known by its name in reports (`ModelEntry.label`), on whatever server it runs: its answers are the
same. A new name, such as that of another quantisation, begins without evidence. Times belong to a name on a
server.

An outcome counts for a role and a model if all calls of the role in that session went to this model:

- a judged trial of an experiment, for every role of it; a trial without a review workflow says nothing of
  reviewers, because its hidden tests do not read their findings;
- but a trial of an A/B test only when the test has ended: before, nobody looks at what it finds;
- the last test run of an ended session, if its tests passed or failed, for the roles in WRITERS.

Nothing counts of a session that the user has neither begun nor trusted. A session with simulated answers
counts for simulated models only. One with several candidates says nothing of its coder: it was chosen.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import OPEN_TESTS
from swarm_graph.checkpoints.portable_sql import among
from swarm_graph.checkpoints.signatures import is_signed_text, own_sessions, sign_text
from swarm_graph.state import ENDED_PHASES, REVIEW_ROLES, AgentRole

WRITERS = (AgentRole.CODER, AgentRole.DEBUGGER, AgentRole.OPTIMIZER)
"""The roles that write what a session's tests run. Not the tester: weak tests would count in its favour."""
MAX_SESSIONS = 1000
"""Only so many sessions with an outcome count, the latest ones: prompts and models change."""
MAX_LOOKED_AT = 4 * MAX_SESSIONS
"""So many are looked at to find them, so that the sessions of others can hide only the oldest."""
MAX_CALLS = 2000
"""The times of so many calls count, the latest ones."""
MAX_SPEEDS = 1000
"""Only so many speeds count, the latest ones."""
MIN_CALLS = 3
"""Fewer calls give no usual time."""
SIMULATED = "simulated"
"""The server of simulated models in the table of calls."""

_ENDED = ", ".join(map(repr, ENDED_PHASES))
_TRIALS = f"""
SELECT trials.session, CAST(coalesce(judged_at, 0) AS DOUBLE PRECISION), solved = 1, 1,
    sessions.workflow = 'review_only'
FROM trials JOIN sessions ON sessions.session = trials.session
WHERE solved IN (0, 1) AND trials.experiment NOT IN ({OPEN_TESTS})
ORDER BY judged_at DESC, number DESC LIMIT ?
"""
_TEST_RUNS = f"""
SELECT session, CAST(coalesce(updated_at, 0) AS DOUBLE PRECISION), outcome = 'passed', 0, 0 FROM (
    SELECT test_runs.session AS session, outcome, sessions.updated_at AS updated_at, row_number() OVER (
        PARTITION BY test_runs.session ORDER BY test_runs.iteration DESC, test_runs.attempt DESC) AS place
    FROM test_runs JOIN sessions ON sessions.session = test_runs.session
    WHERE kind = 'run' AND experiment = '' AND phase IN ({_ENDED})) AS latest
WHERE place = 1 AND outcome IN ('passed', 'failed') ORDER BY updated_at DESC LIMIT ?
"""
_ASKED = """
SELECT DISTINCT session, role, model, server FROM calls
WHERE model IS NOT NULL AND server IS NOT NULL AND """
_TIMES = """
SELECT session, role, model, server, CAST(seconds AS DOUBLE PRECISION), CAST(output_tokens AS BIGINT)
FROM calls
WHERE outcome IN ('answered', 'truncated') AND seconds IS NOT NULL
ORDER BY rowid DESC LIMIT ?
"""
_SPEEDS = """
SELECT server, model, first_token_s, token_s, load_s, measured_at, signature FROM speeds
ORDER BY rowid DESC LIMIT ?
"""


@dataclass(frozen=True)
class Outcomes:
    """How often a model has solved its cases in a role.

    Attributes:
        solved: Of trials and sessions together.
        judged: All that count.
        trials: Of these, the trials of experiments; the others are sessions.
    """

    solved: int = 0
    judged: int = 0
    trials: int = 0


class Speed(NamedTuple):
    """What `doctor --measure` has found of a model on its server.

    Attributes:
        first_token_s: Seconds to the first token of a tiny prompt.
        token_s: Seconds from one token to the next.
        load_s: Seconds in which the server loads the model; None if that was not seen.
        measured_at: Seconds since the epoch.
    """

    first_token_s: float
    token_s: float
    load_s: float | None
    measured_at: float


@dataclass(frozen=True)
class Evidence:
    """All that is known of models.

    Attributes:
        outcomes: By role, model, and whether the model is simulated.
        seconds: The usual seconds of a call, by role, model and server.
        tokens: The usual tokens of an answer, by role.
        speeds: By server and model.
    """

    outcomes: Mapping[tuple[str, str, bool], Outcomes] = field(default_factory=dict)
    seconds: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    speeds: Mapping[tuple[str, str], Speed] = field(default_factory=dict)


NO_EVIDENCE = Evidence()


class _Outcome(NamedTuple):
    solved: bool
    is_trial: bool
    of_review: bool

    def counts_for(self, role: str) -> bool:
        """Whether it says something of a role that took part."""
        if self.is_trial:
            return (role in REVIEW_ROLES) == self.of_review
        return role in WRITERS


def read_evidence(catalogue: Catalogue) -> Evidence:
    """All that a database knows of models. It raises StorageError for an error of the database."""
    with catalogue.database.view() as cursor:
        rows = [
            row
            for query in (_TRIALS, _TEST_RUNS)
            for row in cursor.execute(query, (MAX_LOOKED_AT,)).fetchall()
        ]
        latest_first = sorted(rows, key=lambda row: row[1], reverse=True)
        found = {row[0]: _Outcome(*map(bool, row[2:])) for row in reversed(latest_first)}
        own = _own_sessions(catalogue, [*dict.fromkeys(row[0] for row in latest_first)])
        asked = cursor.execute(_ASKED + among("session", [*own]), [*own]).fetchall()
        times = cursor.execute(_TIMES, (MAX_CALLS,)).fetchall()
        timed = own_sessions(catalogue, [*{row[0] for row in times} - own.keys()]).keys() | own.keys()
        seconds, tokens = _usual(row[1:] for row in times if row[0] in timed)
        judged = [row for row in asked if not (row[1] == AgentRole.CODER and _has_candidates(own[row[0]]))]
        return Evidence(_outcomes(found, judged), seconds, tokens, _speeds(catalogue))


def _own_sessions(catalogue: Catalogue, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The recorded settings of the first MAX_SESSIONS of these sessions that are the user's own."""
    own: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), MAX_SESSIONS):
        own.update(own_sessions(catalogue, ids[start : start + MAX_SESSIONS]))
        if len(own) >= MAX_SESSIONS:
            break
    return {id: own[id] for id in [id for id in ids if id in own][:MAX_SESSIONS]}


def _has_candidates(settings: Mapping[str, Any]) -> bool:
    workflow = settings.get("workflow")
    candidates = workflow.get("candidates", 1) if isinstance(workflow, Mapping) else 1
    return (len(candidates) if isinstance(candidates, list) else candidates) != 1


def _outcomes(
    found: Mapping[str, _Outcome], asked: Iterable[tuple[str, str, str, str]]
) -> dict[tuple[str, str, bool], Outcomes]:
    """The outcomes by role and model.

    Args:
        found: The outcome of each session.
        asked: Session, role, model and server of its calls.
    """
    models: dict[str, dict[str, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for session, role, model, server in asked:
        models[session][role].add((model, server))
    counted: dict[tuple[str, str, bool], Outcomes] = defaultdict(Outcomes)
    for session, by_role in models.items():
        outcome = found[session]
        is_partly_simulated = any(server == SIMULATED for asked in by_role.values() for _, server in asked)
        for role, pairs in by_role.items():
            names = {(model, server == SIMULATED) for model, server in pairs}
            if len(names) > 1 or not outcome.counts_for(role):
                continue
            (model, is_simulated) = names.pop()
            if is_partly_simulated and not is_simulated:
                continue
            before = counted[role, model, is_simulated]
            counted[role, model, is_simulated] = Outcomes(
                before.solved + outcome.solved, before.judged + 1, before.trials + outcome.is_trial
            )
    return dict(counted)


def _usual(
    calls: Iterable[tuple[str, str, str, float, int | None]],
) -> tuple[dict[tuple[str, str, str], float], dict[str, float]]:
    """The median seconds by role, model and server, and the median tokens of answers by role."""
    seconds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    tokens: dict[str, list[int]] = defaultdict(list)
    for role, model, server, taken, answered in calls:
        seconds[role, model, server].append(taken)
        tokens[role].append(answered or 0)
    usual = {key: median(values) for key, values in seconds.items() if len(values) >= MIN_CALLS}
    return usual, {role: median(values) for role, values in tokens.items()}


# --- speeds --------------------------------------------------------------------------------------


def put_speed(
    catalogue: Catalogue, server: str, model: str, first_token_s: float, token_s: float, load_s: float | None
) -> None:
    """Record what `doctor --measure` has found; the time to load stays if it was not seen this time.

    Args:
        catalogue: Of the database.
        server: The server, as `ModelEntry.server` names it.
        model: The model's name in reports.
        first_token_s: See Speed.
        token_s: See Speed.
        load_s: See Speed.
    """
    before = _speeds(catalogue).get((server, model))
    load_s = load_s if load_s is not None or before is None else before.load_s
    speed = Speed(first_token_s, token_s, load_s, time.time())
    with catalogue.database.transaction() as cursor:
        # Not changed in place: the latest speeds are those of the latest rows.
        cursor.execute("DELETE FROM speeds WHERE server = ? AND model = ?", (server, model))
        cursor.execute(
            "INSERT INTO speeds (server, model, first_token_s, token_s, load_s, measured_at, "
            "signature) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (server, model, *speed, sign_text(_signed(server, model, speed))),
        )


def _speeds(catalogue: Catalogue) -> dict[tuple[str, str], Speed]:
    """The speeds that this user has measured; those of a received file are none of ours."""
    with catalogue.database.view() as cursor:
        rows = cursor.execute(_SPEEDS, (MAX_SPEEDS,)).fetchall()
    found: dict[tuple[str, str], Speed] = {}
    for server, model, *figures, signature in rows:
        with suppress(TypeError):  # of bytes, which we never write
            speed = Speed(*figures)
            if is_signed_text(_signed(server, model, speed), str(signature)):
                found[server, model] = speed
    return found


def _signed(server: str, model: str, speed: Speed) -> str:
    return json.dumps(["swarm_graph speed 1", server, model, *speed])
