"""The words of the product as types: the shared state of a run, its tasks, reviews and findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on


class AgentRole(StrEnum):
    """The nine roles that ask a model."""

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
"""The roles that judge code; the answer of each is a review."""


WORKFLOWS = {
    "standard": "swarm_graph.workflows.builtin:standard",
    "full": "swarm_graph.workflows.builtin:full",
    "review_only": "swarm_graph.workflows.builtin:review_only",
    "custom": "swarm_graph.workflows.builtin:custom",
}
"""The function that builds each workflow: it takes Bindings and returns a GraphBuilder."""

DATA_DIR = ".swarm"
"""The default folder of the session database."""
OUTPUT_DIR = "swarm-output"
"""The default folder in which each session gets a folder for its files."""


class TaskStatus(StrEnum):
    """Where a task stands. READY: all that it waits for is done; SKIPPED: it was not begun, see why."""

    PENDING = "PENDING"
    READY = "READY"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


Phase = Literal["running", "paused", "complete", "failed", "not_converged", "over_budget", "cancelled"]
ENDED_PHASES: tuple[Phase, ...] = ("complete", "not_converged")
"""A session in any other phase can be resumed."""

Severity = Literal["critical", "major", "minor", "info"]


class Finding(TypedDict):
    """One remark about the code."""

    severity: Severity
    location: str
    problem: str
    suggestion: str
    seen_by: list[str]
    """The nodes that made this remark."""


Outcome = Literal["passed", "failed", "broken", "no_tests", "timed_out", "stopped", "tampered", "not_run"]
"""What a run of the tests came to. broken: the tests are at fault themselves; stopped: it broke a limit;
tampered: its report cannot be believed."""


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
    """Whether the test is at fault itself."""


class Evidence(TypedDict):
    """What a run of the tests showed."""

    outcome: Outcome
    exit_code: int | None
    """None where it was stopped or not run."""
    passed: int
    failed: int
    errored: int
    skipped: int
    failures: list[Failure]
    """The first of them."""
    reason: str
    """Why it was not run, was stopped, or cannot be believed; empty otherwise."""
    output: str
    """The end of what a command printed."""
    sandbox: str
    seconds: float
    attempt: int
    """Which run of its round it was; more than 1 when the tester had to write the tests again."""


class Review(TypedDict):
    """What one branch says of one round."""

    node: str
    iteration: int
    approved: bool | None
    """None: the answer could not be understood, which never counts as an approval."""
    findings: list[Finding]
    evidence: NotRequired[Evidence]
    """What the run of the tests showed; only `run_tests` has it."""


class Attempt(TypedDict):
    """A round that did not end in an approval, as it was judged."""

    iteration: int
    code: dict[str, str]
    tests: dict[str, str]
    findings: list[Finding]


class TaskRecord(TypedDict):
    """A task as the state keeps it.

    The result of a built-in workflow's task is in the state's own keys (code, design, reviews, ...); a task
    of a custom graph has it here.
    """

    task_id: str
    task_type: str
    node: str
    role: str
    status: str
    iteration: int
    """The round of its latest result."""
    created_at: float
    """When it first started, seconds since the epoch."""
    completed_at: float
    note: NotRequired[str]
    """What a person should know of the answer: repaired, unreadable, files deleted."""
    spec: NotRequired[dict[str, Any]]
    """What the user, or a task that expands, asked for: a `TaskSpec` as plain data."""
    rank: NotRequired[list[int]]
    """Its place in the order added: its number, below that of the task that added it."""
    result: NotRequired[str]
    """The answer as text; files as fenced blocks."""
    value: NotRequired[Any]
    """The answer as plain data where it is typed: what the answer's JSON schema says, or a review."""
    added: NotRequired[list[dict[str, Any]]]
    """The tasks that it added, as `spec` has them."""
    error: NotRequired[str]
    """Why it failed, or which failure kept it from being begun."""


@dataclass
class Task:
    """A unit of a session's work, as the user of a custom graph adds it and as the coordinator shows it.

    The lower part is what came out: `result` is text; `error` says why a task failed or was skipped; times
    are seconds since the epoch. The rest is explained in `swarm_graph.tasks.spec.TaskSpec`.
    """

    task_id: str
    task_type: str
    description: str
    assigned_role: AgentRole
    status: TaskStatus = TaskStatus.PENDING
    priority: int = 5
    dependencies: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    files: list[str] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    when: str | None = None
    expands: bool = False
    result: str | None = None
    error: str | None = None
    created_at: float | None = None
    completed_at: float | None = None


def own_review(node: str, state: SwarmState) -> Review | None:
    """The latest review of a node."""
    own = [review for review in state.get("reviews", []) if review["node"] == node]
    return own[-1] if own else None


def reviewed(old: list[Review], new: list[Review]) -> list[Review]:
    """Reviews with new ones; a node's second review of a round takes the place of its first."""
    again = {(review["node"], review["iteration"]) for review in new}
    return [*(review for review in old if (review["node"], review["iteration"]) not in again), *new]


def merge(old: dict[str, TaskRecord], new: dict[str, TaskRecord]) -> dict[str, TaskRecord]:
    return {**old, **new}


def latest(_old: Phase, new: Phase) -> Phase:
    return new


class SwarmState(TypedDict, total=False):
    """The state that all nodes share: plain JSON-like values."""

    request: str
    """What the user asked for; the caller writes it."""
    requirements: str
    """Markdown: requirements, assumptions, open questions; replaced by the clarifier."""
    design: str
    """Markdown; replaced by the architect."""
    code: dict[str, str]
    """Path to text, the latest complete files; replaced by the coder."""
    changed: list[str]
    """The paths that the coder changed in the last round; replaced by the coder."""
    tests: dict[str, str]
    """Path to text; replaced by the tester."""
    documentation: dict[str, str]
    """Path to text; replaced by the documenter."""
    optimization: str
    """Markdown proposals; replaced by the optimizer, `code` stays what was approved."""
    diagnosis: str
    """Markdown, the causes of the open findings; replaced by the debugger."""
    reviews: Annotated[list[Review], reviewed]
    """What each branch of each round said; appended by reviewers, security and people who reject."""
    findings: list[Finding]
    """The open findings; replaced by the verdict."""
    approved: bool | None
    """Whether every review of the last round approved; replaced by the verdict; None in a task graph."""
    iteration: int
    """The round of coding and reviewing, from 1; the coder opens the next."""
    best: Attempt | None
    """The round with the fewest grave findings so far, while none was approved; kept by the verdict."""
    codes: list[str]
    """A fingerprint of each round's code; kept by the verdict."""
    circling: str
    """Why the rounds go in circles, empty while they do not; written by the verdict."""
    tasks: Annotated[dict[str, TaskRecord], merge]
    """One record a node, by task id; a later round updates it."""
    phase: Annotated[Phase, latest]
    """How far the session is."""


def has_ended(phase: str) -> bool:
    """Whether a session in this phase has ended; otherwise it can be resumed."""
    return phase in ENDED_PHASES


def end_phase(state: SwarmState) -> Phase:
    """The phase of a session whose work has come to its end."""
    return "not_converged" if state.get("circling") else "complete"


@dataclass(frozen=True)
class SwarmContext:
    """Overrides for one run: `graph.invoke(state, thread, context=SwarmContext(...))`; never saved.

    `model`: a LangChain chat model for all roles, or one per role name; when its stream carries metadata
    (`response_metadata`) but no `finish_reason`, the answer counts as cut off. `temperature`: for all roles.
    `clock`: seconds since the epoch, for the times of tasks.
    """

    model: Any | Mapping[str, Any] | None = None
    temperature: float | None = None
    clock: Callable[[], float] | None = None


@dataclass(frozen=True)
class Reply:
    """A model's finished answer. `truncated`: it was cut off at the token limit."""

    text: str
    truncated: bool
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    """Those of the output that were thoughts, where the server says so."""
    estimated: bool = False
    """The server did not count its tokens."""
