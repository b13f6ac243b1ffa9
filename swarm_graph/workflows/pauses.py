"""Pauses for a person: LangGraph interrupts that a person approves, edits or rejects.

A pause before or after a role is a node of its own beside the role's node. The role's answer is in the
checkpoint while the person decides, and no model is called again. A pause about the call of a tool is in the
node that makes the call; see `roles/approval.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, TypeAlias

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import interrupt

from swarm_graph.checkpoints.decisions import CALL, RESUME, is_named, names_calls, tool_name, without_calls
from swarm_graph.errors import InputError
from swarm_graph.roles.approval import FORMS as CALL_FORMS
from swarm_graph.roles.approval import SESSION, TOOL, in_words, read_decision
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.role import Role
from swarm_graph.state import Finding, Review, SwarmState, ToolDecision, own_review
from swarm_graph.text import visible
from swarm_graph.workflows.edits import (
    check_encodable,
    check_paths,
    editable_keys,
    from_json,
    state_value,
    validated,
)

INTERRUPT = "__interrupt__"
"""LangGraph's channel for interrupts."""
ERRORS = ("__error__", "__error_source_node__")
"""LangGraph's channels for the errors of a task, which may run again."""

Decision: TypeAlias = str | Mapping[str, Any]
"""`"approve"`, `{"edit": text or {key: value}}` or `{"reject": remark}`; about a call also
`{"approve": "session"}`, and an edit is an object of its arguments."""

DECISIONS = frozenset({"approve", "edit", "reject"})
SHORT = 8
"""Digits of the name of a call that people type."""
FORMS = 'expected "approve", {"edit": text or {key: value}} or {"reject": "what is wrong"}'


@dataclass(frozen=True)
class Pause:
    """A place where a session waits for a person.

    Attributes:
        when: Before or after the role's node, or at the call of a tool in it.
        node: The role's node; in a task graph the task.
        role: The role.
        iteration: The round.
        edits: The key of the state that an edit as plain text replaces; empty where there is none. At a call
            `arguments`: an edit replaces them.
        editable: The keys that an edit as an object may name.
        value: What the key `edits` holds. At a call its tool, server, arguments, the tool's description and
            schema, and whether the server marks it as read-only.
        id: LangGraph's id of the interrupt; at a call with the name of the call, after a dot.
        call: The name of the call.
    """

    when: Literal["before", "after", "tool"]
    node: str
    role: str
    iteration: int
    edits: str
    editable: list[str]
    value: Any
    id: str = ""
    call: str = ""

    @property
    def place(self) -> str:
        """Where the session waits, as in `before coder` or `before a call of files.write in coder`."""
        if self.when == TOOL:
            return f"before a call of {visible(self.value['tool'])} in {self.node}"
        return f"{self.when} {self.node}"

    @property
    def interrupt(self) -> str:
        """LangGraph's id of the interrupt."""
        return self.id.partition(".")[0]

    @property
    def short_call(self) -> str:
        """The name of the call for people to type; empty where none waits."""
        return f"{CALL}{self.call.rpartition('-')[2][:SHORT]}" if self.call else ""

    @property
    def names(self) -> set[str]:
        """What a decision may call the pause.

        Not a node that is called like a decision: an answer could be read in two ways.
        """
        names = {self.node, self.id, self.interrupt, self.call, self.short_call}
        return names - {"", *DECISIONS}

    def to_dict(self) -> dict[str, Any]:
        """The attributes; `call` only at a call."""
        return {key: value for key, value in vars(self).items() if key != "call" or value}


def pause_node(
    when: Literal["before", "after"], node: str, role: Role[Any], roles: Roles
) -> Callable[..., dict[str, Any]]:
    """The node that waits for a person.

    Args:
        when: Before or after the role's node.
        node: The name of the role's node.
        role: The role.
        roles: All roles of the graph.
    """
    edits = role.works_from if when == "before" else role.writes
    editable = [*editable_keys(roles)] if role.works_from else [edits] if edits else []

    def wait(state: SwarmState) -> dict[str, Any]:
        value = own_review(node, state) if edits == "reviews" else state.get(edits)
        pause = Pause(when, node, str(role.role), state.get("iteration", 0), edits, editable, value)
        decision = _decision(pause, state, roles)
        if decision == "approve":
            return {}
        assert isinstance(decision, Mapping)
        if "reject" in decision:
            return rejection_update(decision["reject"], pause, state)
        return edit_update(decision["edit"], pause, state, roles)

    return wait


def _decision(pause: Pause, state: SwarmState, roles: Roles) -> Any:
    """Wait for a person's decision.

    `SwarmGraph` checks a decision before it is taken, but cannot see one that is given to a graph around it.
    Such a decision may turn out to be unusable only here: then the pause says why, and waits again.
    """
    question = {key: value for key, value in pause.to_dict().items() if key != "id"}
    decision = _of_node(interrupt(question), pause)
    while problem := _problem(decision, pause, state, roles):
        decision = _of_node(interrupt({**question, "problem": problem}), pause)
    return decision


def _of_node(answer: Any, pause: Pause) -> Any:
    """The decision for a pause out of an answer, which may be keyed by nodes."""
    return answer[pause.node] if isinstance(answer, Mapping) and pause.node in answer else answer


def _problem(decision: Any, pause: Pause, state: SwarmState, roles: Roles) -> str:
    """Why a decision cannot be used at a pause; empty if it can."""
    try:
        _check_decision(decision, pause, state, roles)
    except InputError as error:
        return str(error)
    return ""


def rejection_update(remark: str, pause: Pause, state: SwarmState) -> dict[str, Any]:
    """The changes of a rejection: the remark is an open finding, and the round is not approved."""
    finding = Finding(severity="major", location="", problem=remark, suggestion="", seen_by=["a person"])
    name = f"person_{pause.when}_{pause.node}"
    review = Review(node=name, iteration=pause.iteration, approved=False, findings=[finding])
    update: dict[str, Any] = {"reviews": [review]}
    if "findings" in pause.editable:
        update["findings"] = [*state.get("findings", []), finding]
    return update


def edit_update(edit: Any, pause: Pause, state: SwarmState, roles: Roles) -> dict[str, Any]:
    """The changes of an edit.

    Args:
        edit: Text for the key `pause.edits`, or an object of keys and values.
        pause: Where the person edits.
        state: The present state.
        roles: All roles of the graph.

    Raises:
        InputError: The edit cannot be used at this pause.
    """
    if isinstance(edit, str) and pause.edits:
        edit = {pause.edits: edit}
    if not isinstance(edit, Mapping):
        what = "nothing can be edited" if isinstance(edit, str) else f"a {type(edit).__name__} is no edit"
        raise InputError(f"{what} {pause.place}; approve it, or reject it with a remark")
    if not edit:
        raise InputError(f"the edit {pause.place} is empty; approve it, or say what to change")
    if wrong := [key for key in edit if key not in pause.editable]:
        allowed = ", ".join(pause.editable) or "nothing"
        raise InputError(f"'{wrong[0]}' cannot be edited {pause.place}; allowed here: {allowed}")
    if "reviews" in edit:
        return {"reviews": [_edited_review(from_json("reviews", edit["reviews"]), pause)]}
    values = {key: state_value(key, value, state, roles) for key, value in edit.items()}
    for key in values.keys() & {*roles.keys_of("files")}:
        check_paths(key, values[key], state)
    return values


def _edited_review(value: Any, pause: Pause) -> Review:
    place = {"node": pause.node, "iteration": pause.iteration}
    review: Review = validated(Review, "reviews", {**value, **place} if isinstance(value, dict) else value)
    return review


# --- answering -----------------------------------------------------------------------------------


def waiting_pauses(saved: CheckpointTuple | None) -> list[Pause]:
    """The pauses at which a saved thread waits for a person."""
    return [pause for task in _tasks(saved).values() for pause in task.pauses()]


class Answer(NamedTuple):
    """What LangGraph keeps of a person's answers to a task, before the task runs again.

    Attributes:
        task: LangGraph's id of the task.
        earlier: The answers to its earlier interrupts.
        answer: The answer to the one at which it waits.
    """

    task: str
    earlier: list[Any]
    answer: Any

    def write(self) -> tuple[list[tuple[str, Any]], str]:
        """The writes for a saver, and their task."""
        return [(RESUME, [*self.earlier, self.answer])], self.task

    def alone(self) -> Answer:
        """The same without what the earlier answers say of calls of tools."""
        return self._replace(earlier=[without_calls(one) for one in self.earlier])


def answers(resume: Mapping[str, Any], saved: CheckpointTuple | None) -> list[Answer]:
    """The answers of `resume_values`, by the tasks that wait for them."""
    return [
        Answer(task, waiting.answers, resume[one.id])
        for task, waiting in _tasks(saved).items()
        for one in waiting.interrupts
        if one.id in resume
    ]


def decisions_of(answers: Iterable[Answer]) -> dict[str, ToolDecision]:
    """The decisions about calls in a person's answers, by the name of the call."""
    return {
        call: decision for one in answers if names_calls(one.answer) for call, decision in one.answer.items()
    }


def decisions_in_words(resume: Mapping[str, Any], pauses: Iterable[Pause]) -> list[dict[str, Any]]:
    """What `resume_values` decides at each pause, as events say it: pause, place, decision and remark."""
    found: list[dict[str, Any]] = []
    for pause in pauses:
        decision = resume.get(pause.interrupt)
        if pause.call:
            decision = decision.get(pause.call) if isinstance(decision, Mapping) else None
        if decision is not None:
            remark = str(decision.get("reject", "")) if isinstance(decision, Mapping) else ""
            said = {"pause": pause.id, "place": pause.place, "decision": in_words(decision), "remark": remark}
            found.append({**said, "node": pause.node, "role": pause.role, "iteration": pause.iteration})
    return found


class _Task:
    """What a checkpoint says of a task of LangGraph's, such as the execution of a node."""

    def __init__(self) -> None:
        self.interrupts: list[Any] = []
        self.answers: list[Any] = []
        self.channels: set[str] = set()

    def pauses(self) -> Iterable[Pause]:
        """The pauses at which it waits."""
        for one in self.interrupts:
            value = one.value
            if not isinstance(value, Mapping) or "when" not in value:
                continue
            if value["when"] != TOOL:
                if not self.channels:
                    yield _pause(value, one.id)
            elif self._waits_for_call(value):
                for pause in filter(is_named, value["pauses"]):
                    yield _pause(pause, f"{one.id}.{pause['call']}")

    def _waits_for_call(self, value: Mapping[str, Any]) -> bool:
        """Whether it waits at an interrupt about calls: it may have waited before, and failed in between."""
        answers = value.get("answers")
        if not isinstance(answers, int) or not isinstance(value.get("pauses"), list):
            return False
        return self.channels <= {RESUME, *ERRORS} and len(self.answers) <= answers


def _pause(value: Mapping[str, Any], id: str) -> Pause:
    return Pause(**{field.name: value[field.name] for field in fields(Pause) if field.name in value}, id=id)


def _tasks(saved: CheckpointTuple | None) -> dict[str, _Task]:
    tasks: dict[str, _Task] = defaultdict(_Task)
    for task, channel, value in saved.pending_writes or [] if saved else []:
        if channel == INTERRUPT:
            tasks[task].interrupts += value
        else:
            tasks[task].channels.add(channel)
        if channel == RESUME:
            tasks[task].answers += value if isinstance(value, list) else [value]
    return tasks


def resume_values(decision: Any, pauses: list[Pause], state: SwarmState, roles: Roles) -> dict[str, Any]:
    """The resume value for LangGraph: by the id of its interrupt a decision, or decisions by call.

    Args:
        decision: One decision for all pauses, or an object keyed by nodes, calls, or ids of pauses or of
            LangGraph's interrupts.
        pauses: The pauses at which the session waits.
        state: The present state.
        roles: All roles of the graph.

    Raises:
        InputError: A decision cannot be used; nothing was written.
    """
    decision = _by_call(decision, pauses)
    named: dict[str, list[Pause]] = defaultdict(list)
    for pause in pauses:
        for name in pause.names:
            named[name].append(pause)
    if isinstance(decision, Mapping) and decision and decision.keys() <= named.keys():
        chosen = [(pause, one) for name, one in decision.items() for pause in named[name]]
    else:
        _check_nodes(decision, pauses)
        _check_one_edit(decision, pauses)
        chosen = [(pause, decision) for pause in pauses]
    values: dict[str, Any] = {}
    for pause, one in [*chosen, *_also_approved(chosen, pauses)]:
        checked = _checked(one, pause, state, roles)
        if pause.call:
            values.setdefault(pause.interrupt, {})[pause.call] = checked
        else:
            values[pause.interrupt] = checked
    return values


def _by_call(decision: Any, pauses: list[Pause]) -> Any:
    """An answer without LangGraph's ids above decisions that are keyed by calls."""
    if not isinstance(decision, Mapping):
        return decision
    interrupts = {pause.interrupt for pause in pauses if pause.call}
    found: dict[str, Any] = {}
    for name, one in decision.items():
        found |= one if name in interrupts and one and names_calls(one) else {name: one}
    return found


def _also_approved(chosen: list[tuple[Pause, Any]], pauses: list[Pause]) -> list[tuple[Pause, Any]]:
    """The other calls that wait, of the tools that the person approves for the session."""
    tools = {tool_name(pause.value) for pause, one in chosen if pause.call and one == SESSION}
    answered = {pause.id for pause, _ in chosen}
    others = [pause for pause in pauses if pause.call and pause.id not in answered]
    return [(pause, SESSION) for pause in others if tool_name(pause.value) in tools]


def _checked(decision: Any, pause: Pause, state: SwarmState, roles: Roles) -> Any:
    """A decision about a pause in the form in which it is kept. Raises InputError if it cannot be used."""
    if pause.when == TOOL:
        return read_decision(decision, pause.to_dict())
    _check_decision(decision, pause, state, roles)
    return decision


def _check_nodes(decision: Any, pauses: list[Pause]) -> None:
    names = decision.keys() - DECISIONS if isinstance(decision, Mapping) else ()
    if unknown := [name for name in names if name not in {pause.node for pause in pauses}]:
        places = ", ".join(pause.place for pause in pauses)
        forms = CALL_FORMS if all(pause.when == TOOL for pause in pauses) else FORMS
        raise InputError(f"nothing waits at {unknown[0]!r}, only {places}; {forms}")


def _check_one_edit(decision: Any, pauses: list[Pause]) -> None:
    """Raises InputError for the arguments of one call when several pauses wait for an answer."""
    is_edit = isinstance(decision, Mapping) and "edit" in decision
    if is_edit and len(pauses) > 1 and any(pause.call for pause in pauses):
        places = ", ".join(pause.place for pause in pauses)
        node = pauses[0].node
        raise InputError(
            f"an edit is for one call, and the session waits {places}; name a node, as in "
            f'{{{json.dumps(node)}: {{"edit": …}}}} or --only {node}'
        )


def _check_decision(decision: Any, pause: Pause, state: SwarmState, roles: Roles) -> None:
    if decision == "approve":
        return
    if not isinstance(decision, Mapping) or len(decision) != 1 or not decision.keys() <= {"edit", "reject"}:
        raise InputError(f"the decision {pause.place} cannot be used; {FORMS}")
    if "edit" in decision:
        edit_update(decision["edit"], pause, state, roles)
    elif not isinstance(decision["reject"], str) or not decision["reject"].strip():
        raise InputError("a rejection needs a remark: what is wrong?")
    else:
        check_encodable("the remark", decision["reject"])
