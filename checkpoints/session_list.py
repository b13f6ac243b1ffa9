"""A page of the list of sessions, filtered and sorted by the database: quick with 10,000 of them, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.experiments import OPEN_TESTS
from swarm_graph.checkpoints.locks import running_among
from swarm_graph.checkpoints.portable_sql import among, total
from swarm_graph.checkpoints.records import checked, object_or_empty
from swarm_graph.checkpoints.storage import dicts
from swarm_graph.state import ENDED_PHASES

REQUEST_CHARACTERS = 200
"""Of a request, in a row of the list."""
ORDERS = {
    "updated": "updated_at DESC, rowid DESC",
    "created": "created_at DESC, rowid DESC",
    "id": "session, rowid",
    "workflow": "workflow, updated_at DESC, rowid DESC",
    "phase": "phase, updated_at DESC, rowid DESC",
}
"""How a list can be sorted."""
VERDICTS = {
    "approved": "approved = 1",
    "not approved": f"approved = 0 AND phase IN ({', '.join(map(repr, ENDED_PHASES))})",
    "none": f"(approved IS NULL OR approved = 0 AND phase NOT IN ({', '.join(map(repr, ENDED_PHASES))}))",
}
"""The verdicts by which a list can be filtered, as `verdict_word` has them."""
ALL = "all"
"""In place of an experiment: sessions of all, and those of none."""
RUNNING = "running"
INTERRUPTED = "interrupted"
"""The phase of a session that says `running` while nobody works on it. It is never stored."""

_TELLS = f"experiment NOT IN ({OPEN_TESTS})"
"""What the trials of an A/B test have shown is not listed before it has ended."""
_SPENT = ("cost", "input_tokens", "output_tokens")
_ROW = f"""
SELECT session, workflow, phase, iteration, simulated, parent, created_at, updated_at, config,
    CASE WHEN {_TELLS} THEN approved END AS approved,
    substr(request, 1, {REQUEST_CHARACTERS + 1}) AS request,
    CASE WHEN {_TELLS} THEN findings END AS findings,
    {
    ", ".join(
        f"(SELECT {total(name)} FROM calls WHERE calls.session = sessions.session) AS {name}"
        for name in _SPENT
    )
},
    (SELECT pid FROM runs WHERE runs.session = sessions.session ORDER BY id DESC LIMIT 1) AS pid,
    (SELECT host FROM runs WHERE runs.session = sessions.session ORDER BY id DESC LIMIT 1) AS host,
    (SELECT outcome FROM test_runs WHERE {_TELLS} AND test_runs.session = sessions.session AND kind = 'run'
        ORDER BY time DESC LIMIT 1) AS tests
FROM sessions WHERE """


@dataclass(frozen=True)
class ListQuery:
    """Which sessions to list.

    Attributes:
        text: What the id or the request contains; upper and lower case are the same.
        phase: The phase; empty for any.
        workflow: The workflow; empty for any.
        verdict: One of VERDICTS; empty for any.
        order: One of ORDERS.
        experiment: The experiment whose trials to list; empty: sessions that are none; `all` for all.
    """

    text: str = ""
    phase: str = ""
    workflow: str = ""
    verdict: str = ""
    order: str = "updated"
    experiment: str = ""


@dataclass(frozen=True)
class ListedSession:
    """A row of the list of sessions.

    Attributes:
        session: Its id.
        workflow: The name of its workflow.
        phase: As recorded; `interrupted` if it says `running` while no process works on it.
        approved: The verdict; None without one, and for trials of an A/B test that has not ended.
        iteration: The last round of the last run.
        simulated: Whether every model was simulated.
        parent: The session that it was forked from.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
        request: The beginning of the latest request.
        kind: What it makes; None if the configuration does not say.
        rounds: The greatest number of rounds.
        findings: How many findings are open.
        cost: Of all its calls.
        input_tokens: Of all its calls.
        output_tokens: Of all its calls.
        pid: The process of the last run.
        host: The machine of the last run.
        tests: The outcome of the latest test run; None without one.
    """

    session: str
    workflow: str
    phase: str
    approved: bool | None
    iteration: int | None
    simulated: bool
    parent: str
    created_at: float
    updated_at: float
    request: str
    kind: str | None
    rounds: int | None
    findings: float | None
    cost: float
    input_tokens: float
    output_tokens: float
    pid: int | None
    host: str | None
    tests: str | None


@dataclass(frozen=True)
class SessionList:
    """A page of a list.

    Attributes:
        rows: The sessions of the page.
        total: How many sessions match.
    """

    rows: list[ListedSession]
    total: int


def session_list(catalogue: Catalogue, query: ListQuery, limit: int, offset: int = 0) -> SessionList:
    """A page of the sessions that match.

    Args:
        catalogue: The catalogue.
        query: Which sessions, in which order.
        limit: The greatest number of rows.
        offset: How many sessions to leave out at the beginning.
    """
    where, values = _conditions(catalogue, query)
    order = ORDERS.get(query.order, ORDERS["updated"])
    with catalogue.database.view() as cursor:
        (count,) = cursor.execute(f"SELECT count(*) FROM sessions WHERE {where}", values).fetchone()
        page = cursor.execute(
            f"SELECT session FROM sessions WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        ).fetchall()
        ids = [id for (id,) in page]
        rows = {row["session"]: row for row in dicts(cursor.execute(_ROW + among("session", ids), ids))}
    alive = running_among(catalogue, [id for id in ids if rows[id]["phase"] == RUNNING])
    return SessionList([_listed(rows[id], alive) for id in ids], count)


def workflows_and_phases(catalogue: Catalogue) -> tuple[list[str], list[str]]:
    """The names of the workflows of all sessions, and their recorded phases."""
    with catalogue.database.view() as cursor:
        found = [
            sorted(str(name) for (name,) in cursor.execute(f"SELECT DISTINCT {column} FROM sessions"))
            for column in ("workflow", "phase")
        ]
    return found[0], found[1]


def experiments_of_sessions(catalogue: Catalogue) -> list[str]:
    """The experiments whose trials are among the sessions, the newest first."""
    query = "SELECT experiment FROM sessions WHERE experiment != '' GROUP BY 1 ORDER BY max(created_at) DESC"
    with catalogue.database.view() as cursor:
        return [str(name) for (name,) in cursor.execute(query)]


def paused_sessions(catalogue: Catalogue, limit: int) -> list[str]:
    """The ids of the sessions that wait, the most recently updated first; trials wait for nobody."""
    query = (
        "SELECT session FROM sessions WHERE phase = 'paused' AND experiment = '' "
        "ORDER BY updated_at DESC, rowid DESC LIMIT ?"
    )
    with catalogue.database.view() as cursor:
        return [str(session) for (session,) in cursor.execute(query, [limit])]


def _conditions(catalogue: Catalogue, query: ListQuery) -> tuple[str, list[Any]]:
    """The condition of a list, and its values."""
    conditions, values = ["1 = 1"], []
    if query.experiment != ALL:
        conditions.append("experiment = ?")
        values.append(query.experiment)
    if query.text:
        escaped = query.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        conditions.append(
            " OR ".join(f"lower({name}) LIKE lower(?) ESCAPE '\\'" for name in ("session", "request"))
        )
        values += [f"%{escaped}%"] * 2
    if query.workflow:
        conditions.append("workflow = ?")
        values.append(query.workflow)
    if query.verdict in VERDICTS:
        conditions += [VERDICTS[query.verdict], _TELLS]
    if query.phase in (RUNNING, INTERRUPTED):
        alive = _alive(catalogue)
        is_alive = among("session", alive)
        conditions.append(f"phase = 'running' AND {'' if query.phase == RUNNING else 'NOT '}({is_alive})")
        values += alive
    elif query.phase:
        conditions.append("phase = ?")
        values.append(query.phase)
    return " AND ".join(f"({one})" for one in conditions), values


def _alive(catalogue: Catalogue) -> list[str]:
    """The sessions on which somebody works now."""
    with catalogue.database.view() as cursor:
        names = cursor.execute("SELECT session FROM sessions WHERE phase = 'running'").fetchall()
    return [*running_among(catalogue, [name for (name,) in names])]


def _listed(row: dict[str, Any], alive: Collection[str]) -> ListedSession:
    """A row as it is now. Raises StorageError for values that we do not write."""
    columns = {name: value for name, value in row.items() if name != "config"}
    is_interrupted = row["phase"] == RUNNING and row["session"] not in alive
    workflow = object_or_empty(row["config"]).get("workflow")
    settings = workflow if isinstance(workflow, Mapping) else {}
    return checked(
        ListedSession,
        {
            **columns,
            "phase": INTERRUPTED if is_interrupted else row["phase"],
            "approved": None if row["approved"] is None else bool(row["approved"]),
            "simulated": bool(row["simulated"]),
            "kind": settings.get("kind"),
            "rounds": settings.get("max_iterations"),
            "findings": _findings(row["findings"]),
        },
    )


def _findings(text: str | None) -> float | None:
    """The sum of the findings by severity."""
    if text is None:
        return None
    return sum(count for count in object_or_empty(text).values() if isinstance(count, (int, float)))
