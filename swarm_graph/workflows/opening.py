"""How a run of a session begins: what LangGraph is given, decided in one place."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal, Protocol, cast

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Command

from swarm_graph.checkpoints.places import Places
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError, UnfinishedSession
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.registry import Roles
from swarm_graph.sandbox.evidence import CHOOSE, RUN_TESTS
from swarm_graph.sandbox.runner import check_execution
from swarm_graph.state import CHANGE, Kind, Repository, SwarmContext, SwarmState, empty_change, empty_state
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.node import TASKS
from swarm_graph.tasks.prompting import check_tasks
from swarm_graph.tasks.spec import TaskSpec, pending_record, task_specs, with_absolute_paths, with_paths
from swarm_graph.text import check_json_like
from swarm_graph.workflows.pauses import Answer, answers, decisions_in_words, resume_values, waiting_pauses

START_CHANNEL = "__start__"
"""LangGraph's channel with the input that no node has taken yet."""

RunKind = Literal["begin", "follow_up", "resume", "replay"]

NAMES: dict[str, str] = {"code": "code", "document": "a document", "change": "a change"}
"""What a session makes, in words."""


@dataclass(frozen=True)
class Prepared:
    """Input of a graph that was checked before anything was written.

    Attributes:
        given: A request, None, or a Command.
        anew: Whether the request is the one that the session works on, to be begun again. Questions that
            have not changed find their answers in the journal.
        is_first: Whether the request must be the first of its session: it is no follow-up.
    """

    given: Any
    anew: bool = False
    is_first: bool = False


@dataclass(frozen=True)
class Opening:
    """How a run begins.

    Attributes:
        kind: What the catalogue records; None when the run is not recorded: an ended session is only read.
        request: The new request, with tasks if it is custom; None for a resume.
        input: The input for LangGraph.
        answers: A person's answers, to be committed before anything runs.
        decided: For each pause that is answered, the data of an event that says so.
    """

    kind: RunKind | None
    request: dict[str, Any] | None
    input: Any
    answers: Sequence[Answer] = ()
    decided: Sequence[Mapping[str, Any]] = ()


class Repositories(Protocol):
    """Finds the repository of a session; see `workflows/repository.py`."""

    def of_request(
        self, request: Mapping[str, Any], saved: CheckpointTuple | None, *, is_new: bool
    ) -> Repository: ...
    def moved(self, values: Mapping[str, Any]) -> Repository | None: ...


def prepare(given: Any, nodes: Collection[str], bindings: Bindings, context: SwarmContext | None) -> Prepared:
    """Check the input of a graph.

    Args:
        given: A request, None to resume, or a Command to answer pauses.
        nodes: The nodes of the graph.
        bindings: Its configuration.
        context: What the caller overrides.

    Raises:
        InputError: The request is empty, or its tasks do not fit together.
        ConfigError: A task has no usable model or prompt, or the interpreter for tests cannot be used.
        SandboxError: Tests are required, and no sandbox is possible.
    """
    if RUN_TESTS in nodes or CHOOSE in nodes:
        is_change = bindings.config.workflow.kind == CHANGE
        check_execution(bindings.config.execution, needs_pytest=not is_change)
    if given is None or isinstance(given, Command):
        return Prepared(given)
    kind = bindings.config.workflow.kind
    if TASKS not in nodes:
        return Prepared(_with_repository(_with_kind(_request(given), kind), bindings.config))
    if not isinstance(given, Mapping):
        raise InputError('the input is not an object; expected {"tasks": [...]}')
    specs = task_specs(given.get("tasks", ()), bindings.config.role_names)
    graph = checked_graph(specs, bindings.roles)
    check_tasks(graph, bindings, supplied=bool(context and context.model))
    request = str(given.get("request") or "")
    _check_encodable(request)
    tasks = [with_absolute_paths(spec, Path()).to_dict() for spec in graph.values()]
    return Prepared(_with_kind({**given, "request": request, "tasks": tasks}, kind))


def _with_kind(request: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """A request that says what the session makes, unless that is code.

    Raises:
        InputError: It says something else than the graph makes.
    """
    if request.get("kind", kind) != kind:
        raise InputError(
            f"the request says kind {request['kind']!r}, and this graph makes {NAMES[kind]}; set "
            "workflow.kind in its configuration"
        )
    return request if kind == "code" else {**request, "kind": kind}


def _with_repository(request: dict[str, Any], config: SwarmConfig) -> dict[str, Any]:
    """A request of the kind `change` with its repository, resolved, if one is named.

    Raises:
        InputError: It cannot be used, or the graph makes something else.
        RepositoryError: Git failed.
    """
    given = request.get("repo")
    if config.workflow.kind != CHANGE:
        if given is None:
            return request
        raise InputError(
            f"the request names the repository {str(given)[:200]!r}, and this graph makes "
            f"{NAMES[config.workflow.kind]}; set workflow.kind to 'change' in its configuration"
        )
    from swarm_graph.workflows.repository import given_repository  # other kinds need no git

    repo = given_repository(given, config.repo)
    return {**request, "repo": repo} if repo else request


def with_recorded_paths(prepared: Prepared, places: Places) -> Prepared:
    """A checked input of a custom workflow whose tasks have their paths as the session records them."""
    if prepared.anew or not isinstance(prepared.given, Mapping):
        return prepared
    tasks = [with_paths(spec, places.recorded).to_dict() for spec in task_specs(prepared.given["tasks"])]
    return replace(prepared, given={**prepared.given, "tasks": tasks})


def open_run(
    prepared: Prepared,
    session: str,
    saved: CheckpointTuple | None,
    *,
    nodes: Collection[str],
    channels: Collection[str],
    roles: Roles,
    opens_round: bool,
    replay: bool,
    pending_request: dict[str, Any] | None,
    left_open: bool,
    before: Callable[[], Mapping[str, Any]] = dict,
    repositories: Repositories | None = None,
) -> Opening:
    """Decide how a run begins.

    Args:
        prepared: The checked input.
        session: The thread id.
        saved: The latest checkpoint of the thread, or the one to replay from.
        nodes: The nodes of the graph.
        channels: The channels of the graph.
        roles: The roles of the graph.
        opens_round: Whether a role of it opens the rounds.
        replay: Whether the run starts at an earlier checkpoint.
        pending_request: The request of a killed run that no checkpoint holds yet: a new one, or one that was
            to begin anew.
        left_open: Whether the catalogue says that the session has not ended, as after a kill right at its
            end.
        before: Returns the state before the request, for a request that begins anew.
        repositories: Finds the repository of the session; None if the graph changes none.

    Raises:
        InputError: There is nothing to resume, no pause to answer, the graph has another shape, or the
            repository of the session cannot be used.
        UnfinishedSession: There is a new request, and the session has not ended.
    """
    given, unfinished = prepared.given, saved is not None and is_unfinished(saved)
    resumed = given is None
    anew = prepared.anew or (resumed and unfinished and pending_request is not None)
    if resumed:
        given = pending_request
    if saved is not None and unfinished:
        _check_shape(session, saved, channels)
    if saved is not None and isinstance(given, Mapping):
        _check_kind(session, saved, given)
    if given is None and saved is None:
        raise InputError(f"no session '{session}' to resume: nothing was saved under this thread_id")
    request = dict(given) if isinstance(given, Mapping) else None
    if request is not None and unfinished and not anew:
        raise UnfinishedSession(
            f"session '{session}' has not ended; resume it with `graph.invoke(None, thread)` or "
            f"`swarm-graph resume {quote(session)}`, or use another thread_id"
        )
    if request is not None and saved is not None and prepared.is_first:
        raise InputError(f"session '{session}' was begun by somebody else just now; use another id")
    if repositories and request is not None:
        request["repo"] = repositories.of_request(request, saved, is_new=not resumed)
    elif repositories and saved is not None:  # also of an ended session: its patch is written again
        given, request = _with_moved_repository(given, saved, repositories)
        anew = anew or request is not None
    kind: RunKind = "resume" if resumed or anew or request is None else "follow_up" if saved else "begin"
    is_recorded = given is not None or unfinished or replay or left_open
    recorded_kind = ("replay" if replay else kind) if is_recorded else None
    if isinstance(given, Command):
        command = _answer(given, session, saved, roles)
        decided = decisions_in_words(command.resume, waiting_pauses(saved)) if command.resume else ()
        return Opening(recorded_kind, request, *_split(command, saved, replay=replay), decided)
    state = before() if anew else None
    new_input = _new_input(request, saved, nodes, roles, opens_round=opens_round, before=state)
    if new_input is not None and "recalled" in channels:
        new_input["recalled"] = {"__overwrite__": []}
    if new_input is not None and "candidates" in channels:
        new_input["candidates"] = {"__overwrite__": []}
    return Opening(recorded_kind, request, new_input)


def _with_moved_repository(
    given: Any, saved: CheckpointTuple, repositories: Repositories
) -> tuple[Any, dict[str, Any] | None]:
    """The input of a resume, and a request in its place, where the repository of the session lies elsewhere.

    A checkpoint may hold the input of a request that no node has taken yet: then the request begins anew.
    """
    values = saved.checkpoint["channel_values"]
    waiting = values.get(START_CHANNEL)
    # An earlier resume has written where it lay then, and no step has ended since.
    written = [{channel: value} for _, channel, value in saved.pending_writes or [] if channel == "repo"]
    source = waiting if isinstance(waiting, Mapping) and "repo" in waiting else [values, *written][-1]
    moved = repositories.moved(source)
    if moved is None:
        return given, None
    if source is waiting:
        return {**waiting, "repo": moved}, {**waiting, "repo": moved}
    command = given if isinstance(given, Command) else Command()
    return replace(command, update={**(command.update or {}), "repo": moved}), None


def _new_input(
    request: dict[str, Any] | None,
    saved: CheckpointTuple | None,
    nodes: Collection[str],
    roles: Roles,
    *,
    opens_round: bool,
    before: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """The input of a new request, or of one that begins anew; None for a resume."""
    if request is None:
        return None
    state = new_request_state(request, nodes, opens_round=opens_round)
    empty: dict[str, Any] = {**empty_state(), **(empty_change() if "repo" in request else {})}
    if before is not None:
        kept = {key: before.get(key, empty[key]) for key in empty_change()} if "repo" in request else {}
        return {**_kept_keys(before, roles), **kept, **state}
    values = saved.checkpoint["channel_values"] if saved else {}
    missing = {key: value for key, value in empty.items() if key not in values}
    return {**missing, **state}


def _kept_keys(values: Mapping[str, Any], roles: Roles) -> dict[str, Any]:
    """The keys that a request leaves in the state, as they were before it; an empty value counts as none."""
    objects: dict[str, Any] = {key: {} for form in ("files", "data") for key in roles.keys_of(form)}
    empty: dict[str, Any] = {**dict.fromkeys(roles.keys_of("text"), ""), **objects}
    return {key: values.get(key, none) for key, none in empty.items()}


def is_unfinished(saved: CheckpointTuple) -> bool:
    """Whether a saved thread began a request and has not ended it."""
    values = saved.checkpoint["channel_values"]
    return START_CHANNEL in values or values.get("phase") in ("running", "paused")


def _check_shape(session: str, saved: CheckpointTuple, channels: Collection[str]) -> None:
    """Raises InputError when a session is on its way to a node that this graph does not have."""
    if missing := [name for name in saved.checkpoint["channel_values"] if name not in channels]:
        raise InputError(
            f"session '{session}' began in a graph of another shape ({', '.join(missing)}); build it "
            "with the workflow, reviewers, pauses and memory that the session began with"
        )


def _check_kind(session: str, saved: CheckpointTuple, request: Mapping[str, Any]) -> None:
    """Raises InputError when a follow-up would make something else than the session has made."""
    values = saved.checkpoint["channel_values"]
    before, now = values.get("kind", "code"), request.get("kind", "code")
    if "phase" in values and before != now:
        raise InputError(
            f"session '{session}' makes {NAMES.get(before, before)}, and this graph {NAMES[now]}; set "
            f"workflow.kind to {before!r}, or use another session"
        )


def _answer(given: Command[Any], session: str, saved: CheckpointTuple | None, roles: Roles) -> Command[Any]:
    """A Command whose decisions are checked and named by LangGraph's interrupt ids."""
    if given.resume is None:
        return given
    pauses = waiting_pauses(saved)
    if not pauses or saved is None:
        raise InputError(f"session '{session}' does not wait for a person; resume it without an answer")
    state = cast("SwarmState", {**saved.checkpoint["channel_values"], **_given_repository(given)})
    return replace(given, resume=resume_values(given.resume, pauses, state, roles))


def _split(
    command: Command[Any], saved: CheckpointTuple | None, *, replay: bool
) -> tuple[Any, Sequence[Answer]]:
    """The input for LangGraph without a person's answers, and the answers.

    LangGraph commits several answers only with what their nodes return; a kill before that would lose them.
    It takes them from a checkpoint that holds them, unless it replays from an earlier one.
    """
    if command.resume is None or replay:
        return command, ()
    rest = replace(command, resume=None)
    return (rest if rest.update or rest.goto else None), answers(command.resume, saved)


def _given_repository(given: Command[Any]) -> dict[str, Any]:
    """Where the repository lies now, if a Command says that."""
    update = given.update if isinstance(given.update, Mapping) else {}
    return {"repo": update["repo"]} if "repo" in update else {}


def new_request_state(
    request: Mapping[str, Any], nodes: Collection[str], *, opens_round: bool
) -> dict[str, Any]:
    """A request with the keys that it resets; other keys that the caller gave stay as given.

    Requirements, design, code, tests and documentation stay: a follow-up starts from them.
    """
    # LangGraph's `Overwrite` as plain JSON: the value replaces the key's, where its reducer would merge it.
    overwrite: dict[str, Any] = {"reviews": {"__overwrite__": []}, "tasks": {"__overwrite__": {}}}
    reset = {
        "approved": False,
        "findings": [],
        "diagnosis": "",
        "phase": "running",
        "iteration": 0 if opens_round else 1,  # a role opens round 1; without one it is open already
        "best": None,
        "codes": [],
        "circling": "",
        "changed": [],
        **overwrite,
    }
    if TASKS not in nodes:
        return {**reset, **request}
    specs = [TaskSpec.model_validate(task) for task in request["tasks"]]
    records = {spec.task_id: pending_record(spec, [number]) for number, spec in enumerate(specs)}
    custom = {"tasks": {"__overwrite__": records}, "children": secrets.token_hex(4), "approved": None}
    return {**reset, **request, **custom}


def _request(given: Any) -> dict[str, Any]:
    request = given.get("request") if isinstance(given, Mapping) else None
    if not isinstance(request, str) or not request.strip():
        raise InputError('the request is empty; expected {"request": "what you want built or reviewed"}')
    _check_encodable(request)
    return dict(given)


def _check_encodable(request: str) -> None:
    """Raises InputError for text that no file and no database can hold."""
    try:
        check_json_like(request)
    except ValueError as error:
        raise InputError("the request holds bytes that are not UTF-8 text") from error
