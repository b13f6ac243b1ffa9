"""A person's approval of a tool's call: what is asked, where the answer comes from, and where it is kept.

An approval names its call (see `checkpoints/decisions.py`): a decision counts only under the name of the call
that it was given for. A decision for all calls of a tool counts in the session in which it was given, as long
as the tool's schema, its server and the server's settings stay the same.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphBubbleUp
from langgraph.types import interrupt

from swarm_graph.checkpoints.decisions import DECISION, call_name, names_calls, tool_name
from swarm_graph.checkpoints.signed_decisions import is_signed_decision
from swarm_graph.checkpoints.steps import Steps
from swarm_graph.errors import InputError
from swarm_graph.roles.emitter import Origin
from swarm_graph.state import ToolDecision
from swarm_graph.text import check_json_like, shortened

if TYPE_CHECKING:
    from swarm_graph.checkpoints.journal import Journal
    from swarm_graph.tools.tool import Tool

TOOL = "tool"
"""What a pause about a call says in `when`."""
SESSION: ToolDecision = {"approve": "session"}
"""The decision that approves all calls of the tool in the session."""
FORMS = 'expected "approve", {"approve": "session"}, {"edit": {arguments}} or {"reject": "what is wrong"}'
MAX_DESCRIPTION = 1000
"""Characters of a tool's description that a pause shows."""

AskPerson = Callable[[Mapping[str, Any]], Awaitable[ToolDecision]]
"""Returns a person's decision about the call of a pause (see `tool_pause`).

If there is none yet, it raises: LangGraph's GraphInterrupt in a role's node, WaitsForPerson in a task.
"""


class WaitsForPerson(GraphBubbleUp):
    """A task waits for a person's decision about the call of a tool.

    Attributes:
        pause: What is asked; see `tool_pause`.
    """

    def __init__(self, pause: Mapping[str, Any]) -> None:
        super().__init__(f"waits for a person: {pause['value']['tool']}")
        self.pause = pause


def tool_pause(tool: Tool, arguments: Mapping[str, Any], origin: Origin, key: str) -> dict[str, Any]:
    """What a person is asked about a call.

    Args:
        tool: The tool.
        arguments: The arguments of the call.
        origin: Where the call comes from.
        key: The place of the call: a hash of the conversation before it, its number, tool and arguments.
    """
    pause = {
        "when": TOOL,
        "node": origin.node,
        "role": origin.role,
        "iteration": origin.iteration,
        "edits": "arguments",
        "editable": ["arguments"],
        "value": {
            "tool": tool.name,
            "server": tool.server,
            "settings": tool.settings,
            "arguments": dict(arguments),
            "description": shortened(tool.description, MAX_DESCRIPTION),
            "read_only": tool.read_only,
            "schema": tool.schema,
        },
    }
    return {**pause, "call": call_name(key, pause)}


async def decision_of(pause: Mapping[str, Any], steps: Steps, ask_person: AskPerson) -> ToolDecision | None:
    """A person's decision about a call; None if there is no checkpointer, so that nobody can be asked.

    A decision is committed before it is returned, and a committed one is not asked for again.

    Args:
        pause: What is asked; see `tool_pause`.
        steps: What the turn has done so far.
        ask_person: Asks the person.
    """
    if not steps.can_wait:
        return None
    name, tool = f"{DECISION}{pause['call']}", tool_name(pause["value"])
    kept: ToolDecision | None = await steps.find(name)
    if kept is not None:
        return kept
    if await steps.is_approved(tool):
        return SESSION
    decision = await ask_person(pause)
    if decision == SESSION:
        await steps.approve_for_session(tool)
    await steps.keep(name, decision)
    return decision


def in_words(decision: ToolDecision) -> str:
    """A decision as the record of its call says it: approved, session, edited or rejected."""
    if decision == SESSION:
        return "session"
    if isinstance(decision, Mapping):
        return "edited" if "edit" in decision else "rejected"
    return "approved"


class Person:
    """Asks a person about calls, in one execution of a node, by LangGraph's interrupt.

    LangGraph hands out answers in the order of the questions, and an execution that follows a kill or another
    answer asks fewer questions than the one before. So each answer is keyed by calls, and answers about other
    calls are skipped.

    Args:
        journal: The journal of the run; None if the checkpointer is not ours.
    """

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self._answers = 0
        self._problems: dict[str, str] = {}

    async def ask(self, pause: Mapping[str, Any]) -> ToolDecision:
        """The decision about one call.

        Raises:
            GraphInterrupt: There is none yet.
        """
        return self.decide([pause])[pause["call"]]

    def decide(self, pauses: Sequence[Mapping[str, Any]]) -> dict[str, ToolDecision]:
        """The decisions about calls, by the names of the calls; at least one.

        Raises:
            GraphInterrupt: There is none yet.
        """
        while True:
            answer = interrupt(
                {
                    "when": TOOL,
                    "answers": self._answers,
                    "pauses": [self._with_problem(one) for one in pauses],
                }
            )
            self._answers += 1
            if decisions := self._usable(answer, pauses):
                return decisions

    def _with_problem(self, pause: Mapping[str, Any]) -> dict[str, Any]:
        """A pause that says why the person's last decision about it cannot be used, if there was one."""
        problem = self._problems.get(pause["call"])
        return {**pause, "problem": problem} if problem else {**pause}

    def _usable(self, answer: Any, pauses: Sequence[Mapping[str, Any]]) -> dict[str, ToolDecision]:
        decisions, is_keyed = {}, names_calls(answer)
        for pause in pauses:
            call = pause["call"]
            self._problems.pop(call, None)
            if not is_keyed:
                self._problems[call] = f'the decision names no call; expected {{"{call}": decision}}'
            elif call in answer and not self._is_given(call, answer[call]):
                self._problems[call] = (
                    "the decision in the database is not signed with your key; decide again"
                )
            elif call in answer:
                try:
                    decisions[call] = read_decision(answer[call], pause)
                except InputError as error:
                    self._problems[call] = str(error)
        return decisions

    def _is_given(self, call: str, decision: Any) -> bool:
        """Whether the user has decided so, and nobody else has written it into the database."""
        journal = self._journal
        return journal is None or is_signed_decision(journal.catalogue, journal.session_id, call, decision)


def read_decision(decision: Any, pause: Mapping[str, Any]) -> ToolDecision:
    """A decision about a call as it is kept: an edit may also be given as JSON text.

    Args:
        decision: What the person gave.
        pause: What was asked; see `tool_pause`.

    Raises:
        InputError: It cannot be used.
    """
    tool = pause["value"]["tool"]
    if decision in ("approve", SESSION):
        return decision if isinstance(decision, str) else SESSION
    if not isinstance(decision, Mapping) or len(decision) != 1 or not decision.keys() <= {"edit", "reject"}:
        raise InputError(f"the decision about {tool} cannot be used; {FORMS}")
    if "edit" in decision:
        return {"edit": _edited_arguments(decision["edit"], pause)}
    remark = decision["reject"]
    if not isinstance(remark, str) or not remark.strip():
        raise InputError("a rejection needs a remark: what is wrong?")
    _check_json_like("the remark", remark)
    return {"reject": remark}


def _edited_arguments(edit: Any, pause: Mapping[str, Any]) -> dict[str, Any]:
    tool = pause["value"]["tool"]
    if isinstance(edit, str):
        try:
            edit = json.loads(edit)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the arguments of {tool} are not valid JSON: {error}") from error
    if not isinstance(edit, Mapping):
        raise InputError(f"the arguments of {tool} are no object; expected {{name: value}}")
    _check_json_like(f"an argument of {tool} cannot be used:", edit)
    from swarm_graph.tools.arguments import misfit  # sessions without tools do not need it

    if problem := misfit(pause["value"]["schema"], edit):
        raise InputError(f"the arguments do not fit {tool}: {problem}")
    return dict(edit)


def _check_json_like(what: str, value: Any) -> None:
    try:
        check_json_like(value)
    except ValueError as error:
        raise InputError(f"{what} {error}") from error
