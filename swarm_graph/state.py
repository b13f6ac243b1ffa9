"""The vocabulary of the product as types: the shared state, tasks, reviews, findings, roles, workflows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypeAlias, TypeVar, cast

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

Value = TypeVar("Value")


class AgentRole(StrEnum):
    """The nine roles that ask a model."""

    # The docstring is in the JSON schema of questions with a role in their answer, so it stays as it is.

    ARCHITECT = "architect"
    CLARIFIER = "clarifier"
    CODER = "coder"
    REVIEWER = "reviewer"
    TESTER = "tester"
    OPTIMIZER = "optimizer"
    DOCUMENTER = "documenter"
    DEBUGGER = "debugger"
    SECURITY = "security"


REVIEW_ROLES = (AgentRole.REVIEWER, AgentRole.SECURITY)
"""The roles that judge code; their answers are reviews."""

WORKFLOWS = {
    "standard": "swarm_graph.workflows.builtin:standard",
    "full": "swarm_graph.workflows.builtin:full",
    "review_only": "swarm_graph.workflows.builtin:review_only",
    "single": "swarm_graph.workflows.builtin:single",
    "custom": "swarm_graph.workflows.builtin:custom",
}
"""The function that builds each workflow: it takes a GraphBuilder, and places and connects its nodes."""

WorkflowName = Literal["standard", "full", "review_only", "single", "custom"]
"""The names of the built-in workflows, for type checkers: they find `build_graph("fulll")`."""

OwnWorkflow = NewType("OwnWorkflow", str)
"""Any other name of a workflow, for type checkers: `build_graph(OwnWorkflow(name))`. It is a plain str."""

Workflow: TypeAlias = WorkflowName | OwnWorkflow

Kind = Literal["code", "document", "change"]
"""What a session makes: new code, a document, or a change of an existing repository."""
KINDS: tuple[Kind, ...] = ("code", "document", "change")
DOCUMENT: Kind = "document"
CHANGE: Kind = "change"

DATA_DIR = ".swarm"
"""The default folder of the session database."""
DATABASE = "swarm.db"
"""The file name of the database in that folder."""
_CODER = re.compile(r"coder(?:_[0-9]+)?")
SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The ids of sessions that we start. A thread of LangGraph may have any other id."""
OUTPUT_DIR = "swarm-output"
"""The default folder in which each session gets a folder for its files."""
COLLECTION = "documents"
"""The collection in memory of documents that are added without a name."""


class TaskStatus(StrEnum):
    """The status of a task.

    READY: its dependencies are finished. SKIPPED: it does not run; its record says why.
    """

    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


Phase = Literal[
    "running", "paused", "complete", "failed", "not_converged", "over_budget", "cancelled", "queued"
]
QUEUED: Phase = "queued"
"""Of a session that waits for a worker."""
MAX_PRIORITY = 1_000_000
"""Of a session in the queue; the least is as far below 0."""
ENDED_PHASES: tuple[Phase, ...] = ("complete", "not_converged")
"""A session in any other phase can be resumed."""

Severity = Literal["critical", "major", "minor", "info"]


class Finding(TypedDict):
    """One remark about the code, by one or more nodes."""

    severity: Severity
    location: str
    problem: str
    suggestion: str
    seen_by: list[str]
    """The nodes that made this remark."""


Outcome = Literal["passed", "failed", "broken", "no_tests", "timed_out", "stopped", "tampered", "not_run"]
"""The outcome of a test run. broken: the tests themselves are wrong; stopped: it exceeded a limit; tampered:
its test log cannot be trusted."""


class Failure(TypedDict):
    """One test that did not pass, or a file that could not be read as Python."""

    test: str
    place: str
    """path:line inside the project."""
    problem: str
    """One line."""
    text: str
    """The trimmed traceback."""
    by_tests: bool
    """Whether the test itself is wrong, not the code."""


class Evidence(TypedDict):
    """The result of a test run, or of the checks of a document."""

    outcome: Outcome
    exit_code: int | None
    """None if the run was stopped or did not start."""
    passed: int
    failed: int
    errored: int
    skipped: int
    failures: list[Failure]
    """The first failures only."""
    reason: str
    """Why the tests did not run, were stopped, or cannot be trusted; of a document, what a person must still
    fill in; empty otherwise."""
    output: str
    """The end of the output of a test command that is not pytest; of a document, the counts of its checks."""
    sandbox: str
    seconds: float
    attempt: int
    """The number of the test run in its round; above 1 after the tester rewrote broken tests."""
    rests_on: NotRequired[str]
    """Of a repository's own tests: their command, and what the outcome rests on."""
    results: NotRequired[dict[str, list[str]]]
    """The names of the tests by result (passed, failed, …): of a repository's own before the change, and of
    the tests of a candidate."""
    by_report: NotRequired[bool]
    """Whether the test runner reported these results; otherwise the command's output names them."""
    ended: NotRequired[bool]
    """Of these results: whether the test runner came to its end and ran every test that it collected."""


class Review(TypedDict):
    """The judgment of one branch on one round."""

    node: str
    iteration: int
    approved: bool | None
    """None: the answer could not be read, which never counts as an approval."""
    findings: list[Finding]
    evidence: NotRequired[Evidence]
    """The result of the test run or of the document's checks; only `run_tests`, `check_document` have it."""


class UnapprovedRound(TypedDict):
    """A round that was not approved, as it was when it was judged."""

    iteration: int
    code: dict[str, str]
    tests: dict[str, str]
    findings: list[Finding]
    deleted: NotRequired[list[str]]
    """Of a repository: the paths that it deleted."""


class TaskRecord(TypedDict):
    """A task in the state.

    The results of built-in workflows are in the keys of the state (code, design, reviews, …); the record of a
    custom task holds its result itself.
    """

    task_id: str
    task_type: str
    node: str
    role: str
    status: str
    iteration: int
    """The round of the latest result."""
    created_at: float
    """When the task first started, in seconds since the epoch."""
    completed_at: float
    note: NotRequired[str]
    """What was unusual about the answer, for people: repaired, unreadable, a fallback asked."""
    spec: NotRequired[dict[str, Any]]
    """The TaskSpec of a custom task, as plain data."""
    rank: NotRequired[list[int]]
    """Orders custom tasks as they were added: the task's number, after its parent's rank."""
    result: NotRequired[str]
    """The answer of a custom task as text; files as fenced blocks."""
    value: NotRequired[Any]
    """A typed answer of a custom task as plain data, or its review."""
    added: NotRequired[list[dict[str, Any]]]
    """The tasks that a custom task added, in the form of `spec`."""
    error: NotRequired[str]
    """Why the task failed, or which failure skipped it."""
    recalled: NotRequired[Recalled]
    """What a custom task has recalled from memory, in its own thread only: the state has it in `recalled`."""


@dataclass
class Task:
    """A unit of work: users add it to a custom graph, and the coordinator returns it with its result.

    `swarm_graph.tasks.spec.TaskSpec` explains the fields that users set.

    Attributes:
        result: The answer as text.
        error: Why the task failed or was skipped.
        created_at: When it started, in seconds since the epoch.
        completed_at: When it finished, in seconds since the epoch.
    """

    task_id: str
    task_type: str
    description: str
    assigned_role: AgentRole | str
    status: TaskStatus = TaskStatus.PENDING
    priority: int = 5
    dependencies: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    files: list[str] = field(default_factory=list)
    split: int | str | None = None
    answer: dict[str, Any] | None = None
    when: str | None = None
    expands: bool = False
    result: str | None = None
    error: str | None = None
    created_at: float | None = None
    completed_at: float | None = None


def own_review(node: str, state: SwarmState) -> Review | None:
    """The latest review of a node; None if it has none."""
    own = [review for review in state.get("reviews", []) if review["node"] == node]
    return own[-1] if own else None


def reviewed(old: list[Review], new: list[Review]) -> list[Review]:
    """Reducer of `reviews`: append; a second review by a node in the same round replaces its first."""
    again = {(review["node"], review["iteration"]) for review in new}
    return [*(review for review in old if (review["node"], review["iteration"]) not in again), *new]


def merge(old: dict[str, TaskRecord], new: dict[str, TaskRecord]) -> dict[str, TaskRecord]:
    """Reducer of `tasks`: a new record replaces the old one of its id."""
    return {**old, **new}


def latest(_old: Value, new: Value) -> Value:
    """Reducer of `phase`, which two roles write that end side by side, and of `repo`: the last one stays."""
    return new


class SwarmState(TypedDict, total=False):
    """The state that all nodes share: plain JSON-like values."""

    request: str
    """What to build or review; written by the caller."""
    kind: Kind
    """What the session makes; set with the request."""
    requirements: str
    """Markdown: requirements, assumptions, open questions; replaced by the clarifier."""
    design: str
    """Markdown; replaced by the architect."""
    code: dict[str, str]
    """Path to text, the latest complete files, or documents; replaced by the coder."""
    changed: list[str]
    """The paths that the coder changed in the last round; replaced by the coder."""
    tests: dict[str, str]
    """Path to text, or the checklist of a document; replaced by the tester."""
    documentation: dict[str, str]
    """Path to text; replaced by the documenter."""
    optimization: str
    """Markdown proposals; replaced by the optimizer. They are not applied to `code`."""
    diagnosis: str
    """Markdown, the causes of the open findings; replaced by the debugger."""
    reviews: Annotated[list[Review], reviewed]
    """The reviews of all rounds; appended by reviewers, security, run_tests or check_document, and rejections
    by a person."""
    findings: list[Finding]
    """The open findings; replaced by the verdict."""
    approved: bool | None
    """Whether the last round was approved; replaced by the verdict. None in a custom workflow."""
    iteration: int
    """The round of coding and reviewing, from 1; increased by the coder."""
    best: UnapprovedRound | None
    """The unapproved round with the fewest grave findings; replaced by the verdict."""
    codes: list[str]
    """A fingerprint of the code of each round; appended by the verdict."""
    circling: str
    """Which earlier round the last one repeats, in words; empty if none. Written by the verdict."""
    tasks: Annotated[dict[str, TaskRecord], merge]
    """A record per task, by task id; a later round replaces it."""
    phase: Annotated[Phase, latest]
    """The phase of the session."""


class Repository(TypedDict):
    """The git repository that a session changes or reviews."""

    path: str
    """The top folder of the user's working tree, absolute. The session only reads it."""
    start: str
    """The revision that the user named, for people: `HEAD`, `main`, `v1.2`."""
    base: str
    """The full id of the commit that the session's branch begins at."""
    branch: str
    """The session's branch, `swarm/<session>`; empty for a review, which makes none."""
    only: list[str]
    """Globs of the paths that may be changed; empty: all."""
    read_only: list[str]
    """Globs of the paths that may not be changed."""
    compared_with: str
    """Of a review: the full id of the commit that `base` is compared with; empty otherwise."""
    not_shown: NotRequired[list[str]]
    """Of a review: what no reviewer sees of the change, as `path (reason)`."""


class ChangeState(SwarmState, total=False):
    """The state of a session that changes a repository.

    `code`, `tests` and `documentation` hold the files that differ from the base commit, each path in one of
    them; their line ends are `\\n`, whatever the repository has.
    """

    repo: Annotated[Repository, latest]
    """The repository; an interrupted step may hold several places where the user has moved it."""
    deleted: list[str]
    """The paths of the base commit that the session deletes; replaced by the coder and the tester."""
    wanted: list[str]
    """The paths that the architect asks to see; replaced by the architect."""
    baseline: Evidence | None
    """The result of the repository's own tests on the base commit; written by run_tests, once."""
    commits: list[str]
    """The ids of the session's commits, oldest first; appended by `commit`."""


class RecalledPassage(TypedDict):
    """A passage from memory, as a prompt has shown it."""

    id: str
    """The id of its memory, as `swarm-graph memory show` takes it."""
    source: str
    """The document, or the session that it comes from."""
    place: str
    """Where in the document: pages, sections or lines; empty if it has none."""
    text: str


class Recalled(TypedDict):
    """What one task has recalled from memory."""

    node: str
    role: str
    task: str
    iteration: int
    passages: list[RecalledPassage]
    """Best first; those that did not fit into the prompt are left out."""
    note: str
    """What limited the search or left passages out; empty if nothing did."""


def recalled_again(old: list[Recalled], new: list[Recalled]) -> list[Recalled]:
    """Reducer of `recalled`: append; a task that runs again in its round replaces what it has recalled."""
    again = {(one["task"], one["iteration"]) for one in new}
    return [*(one for one in old if (one["task"], one["iteration"]) not in again), *new]


class MemoryState(TypedDict, total=False):
    """The key that the state has in addition when roles recall from memory."""

    recalled: Annotated[list[Recalled], recalled_again]
    """What each task has recalled from memory, in order; appended by the roles of `memory.recall`."""


class CandidateRecord(TypedDict):
    """One of several candidates of the coder: its code, and what the tests said about it."""

    number: int
    """From 1."""
    node: str
    iteration: int
    """The round."""
    model: str
    """The label of the model that was asked; empty where the caller supplied one."""
    temperature: float | None
    code: dict[str, str]
    """Path to text, the complete files."""
    error: str
    """Why it has no code; empty if it has."""
    results: dict[str, list[str]]
    """The names of the tests by result (passed, failed, errored, skipped); empty where none ran."""
    group: int
    """The place of its group among those with equal results, from 1 for the best; 0 before the choice."""
    chosen: bool
    reason: str
    """Of the chosen one: why."""


def candidates_again(old: list[CandidateRecord], new: list[CandidateRecord]) -> list[CandidateRecord]:
    """Reducer of `candidates`: a record replaces the earlier one of its number."""
    records = {record["number"]: record for record in [*old, *new]}
    return [records[number] for number in sorted(records)]


class CandidatesState(TypedDict, total=False):
    """The key that the state has in addition when several candidates of the coder are made."""

    candidates: Annotated[list[CandidateRecord], candidates_again]
    """The candidates of the latest round; written by their nodes, judged by `choose`."""


CHANGE_KEYS = ("code", "tests", "documentation")
"""The keys of a ChangeState that hold changed files."""


def changed_texts(state: Mapping[str, Any]) -> dict[str, str]:
    """The files of a session that differ from the base commit: path to text."""
    return {path: text for key in CHANGE_KEYS for path, text in (state.get(key) or {}).items()}


def empty_change() -> ChangeState:
    """The keys that a change adds to the state, before any role has written."""
    return {"deleted": [], "wanted": [], "baseline": None, "commits": []}


class SwarmResult(TypedDict):
    """The state that a run returns: a SwarmState with every key, empty where no role has written.

    `SwarmState` explains the keys.
    """

    request: str
    kind: Kind
    requirements: str
    design: str
    code: dict[str, str]
    changed: list[str]
    tests: dict[str, str]
    documentation: dict[str, str]
    optimization: str
    diagnosis: str
    reviews: list[Review]
    findings: list[Finding]
    approved: bool | None
    iteration: int
    best: UnapprovedRound | None
    codes: list[str]
    circling: str
    tasks: dict[str, TaskRecord]
    phase: Phase
    repo: NotRequired[Repository]
    """This key and the next four: only in sessions on a repository; see `ChangeState`."""
    deleted: NotRequired[list[str]]
    wanted: NotRequired[list[str]]
    baseline: NotRequired[Evidence | None]
    commits: NotRequired[list[str]]
    recalled: NotRequired[list[Recalled]]
    """Only if roles recall from memory; see `MemoryState`."""
    candidates: NotRequired[list[CandidateRecord]]
    """Only if there are several candidates of the coder; see `CandidatesState`."""
    __interrupt__: NotRequired[list[Any]]
    """LangGraph's interrupts, if `invoke` returns because the session waits for a person."""


def empty_state() -> SwarmResult:
    """The state before any role has written."""
    return SwarmResult(
        request="",
        kind="code",
        requirements="",
        design="",
        code={},
        changed=[],
        tests={},
        documentation={},
        optimization="",
        diagnosis="",
        reviews=[],
        findings=[],
        approved=False,
        iteration=0,
        best=None,
        codes=[],
        circling="",
        tasks={},
        phase="running",
    )


def with_every_key(state: Mapping[str, Any]) -> SwarmResult:
    """A state with every key: sessions of earlier versions, and those that never began, lack some."""
    return cast("SwarmResult", {**empty_state(), **state})


def candidate_name(number: int) -> str:
    """The name of the node of a candidate of the coder."""
    return f"coder_{number}"


def begins_round(node: str) -> bool:
    """Whether a node begins a round: the coder, or one of its candidates."""
    return bool(_CODER.fullmatch(node))


def before_rounds(nodes: Sequence[str]) -> list[str]:
    """The nodes that run once: those in front of the coder, in the order of a graph; none without a coder."""
    first = next((place for place, node in enumerate(nodes) if begins_round(node)), 0)
    return list(nodes[:first])


def has_ended(phase: str) -> bool:
    """Whether a session in this phase has ended; otherwise it can be resumed."""
    return phase in ENDED_PHASES


def verdict_word(approved: bool | None, phase: str) -> str:
    """`approved` or `not approved`; empty without a verdict, and while the session may still be approved."""
    if approved:
        return "approved"
    return "" if approved is None or not has_ended(phase) else "not approved"


def end_phase(state: SwarmState) -> Phase:
    """The phase of a session that ends now."""
    return "not_converged" if state.get("circling") else "complete"


@dataclass(frozen=True)
class SwarmContext:
    """Overrides for one run: `graph.invoke(state, thread, context=SwarmContext(...))`; never saved.

    Attributes:
        model: A LangChain chat model for all roles, or one per role name. If its stream carries
            `response_metadata` without a `finish_reason`, the answer counts as cut off.
        temperature: The sampling temperature of all roles.
        clock: Returns the time in seconds since the epoch, for the times of tasks.
    """

    model: Any | Mapping[str, Any] | None = None
    temperature: float | None = None
    clock: Callable[[], float] | None = None


class ToolCall(NamedTuple):
    """A call of a tool in a model's answer.

    Attributes:
        name: The tool as the model named it.
        arguments: Its arguments.
        id: The server's id of the call; empty for a call that was read from text.
        problem: Why the arguments cannot be read; empty if they can.
    """

    name: str
    arguments: dict[str, Any]
    id: str = ""
    problem: str = ""


ToolOutcome = Literal[
    "answered",
    "failed",
    "timed_out",
    "wrong_arguments",
    "unknown_tool",
    "repeated",
    "rejected",
    "not_allowed",
]
"""How a call of a tool ended. rejected: by a person; not_allowed: a person is needed and cannot be asked."""


class ToolResult(NamedTuple):
    """What a call of a tool returned.

    Attributes:
        outcome: How it ended.
        text: The result, or what is wrong; cut to `tool_limits.characters`, without secrets.
        characters: The length of the whole result.
        seconds: How long the call took.
    """

    outcome: ToolOutcome
    text: str
    characters: int
    seconds: float = 0.0


ToolDecision: TypeAlias = str | Mapping[str, Any]
"""A person's decision about a call of a tool: `"approve"`, `{"approve": "session"}` (this tool, in this
session, whatever its arguments), `{"edit": {arguments}}` or `{"reject": remark}`."""


@dataclass(frozen=True)
class Reply:
    """A model's complete answer.

    Attributes:
        truncated: Whether it was cut off at the token limit.
    """

    text: str
    truncated: bool
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    """The output tokens that were thoughts, if the server counts them."""
    cached_tokens: int | None = None
    """The input tokens that the server's prefix cache held; None if the server does not say."""
    estimated: bool = False
    """Whether we estimated the tokens, because the server did not count them."""
    call: int | None = None
    """The id of its call in the transcript; None if that is not kept."""
    key: str = ""
    """The journal's key of its question."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools that it calls by its server's API."""

    @property
    def prompt_tokens_evaluated(self) -> int | None:
        """The input tokens that the cache did not hold; None if the server does not say."""
        return None if self.cached_tokens is None else self.input_tokens - self.cached_tokens
