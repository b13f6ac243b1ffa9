"""Pauses for a person before or after a role: LangGraph interrupts that a person approves, edits or rejects.

A pause is a node of its own beside the role's node. The role's answer is in the checkpoint while the person
decides, and no model is called again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import interrupt

from swarm_graph.errors import InputError
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.role import Role
from swarm_graph.state import Finding, Review, SwarmState, own_review
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

Decision: TypeAlias = str | Mapping[str, Any]
"""`"approve"`, `{"edit": text or {key: value}}` or `{"reject": remark}`."""

FORMS = 'expected "approve", {"edit": text or {key: value}} or {"reject": "what is wrong"}'


@dataclass(frozen=True)
class Pause:
    """A place where a session waits for a person.

    Attributes:
        when: Before or after the role's node.
        node: The role's node.
        role: The role.
        iteration: The round.
        edits: The key of the state that an edit as plain text replaces; empty where there is none.
        editable: The keys that an edit as an object may name.
        value: What the key `edits` holds.
        id: LangGraph's id of the interrupt.
    """

    when: Literal["before", "after"]
    node: str
    role: str
    iteration: int
    edits: str
    editable: list[str]
    value: Any
    id: str = ""

    @property
    def place(self) -> str:
        """Where the session waits, as in `before coder`."""
        return f"{self.when} {self.node}"


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
    question = {key: value for key, value in asdict(pause).items() if key != "id"}
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
    writes = saved.pending_writes or [] if saved else []
    answered = {task for task, channel, _ in writes if channel != INTERRUPT}
    interrupts = [
        one
        for task, channel, values in writes
        if channel == INTERRUPT and task not in answered
        for one in values
    ]
    return [
        Pause(**{key: value for key, value in one.value.items() if key != "problem"}, id=one.id)
        for one in interrupts
        if isinstance(one.value, Mapping) and "when" in one.value
    ]


def resume_values(decision: Any, pauses: list[Pause], state: SwarmState, roles: Roles) -> dict[str, Decision]:
    """The resume value for LangGraph: a decision by the id of its interrupt.

    Args:
        decision: One decision for all pauses, or an object keyed by nodes or interrupt ids.
        pauses: The pauses at which the session waits.
        state: The present state.
        roles: All roles of the graph.

    Raises:
        InputError: A decision cannot be used; nothing was written.
    """
    named = {**{pause.node: pause for pause in pauses}, **{pause.id: pause for pause in pauses}}
    if isinstance(decision, Mapping) and decision and decision.keys() <= named.keys():
        chosen = [(named[name], one) for name, one in decision.items()]
    else:
        _check_nodes(decision, pauses)
        chosen = [(pause, decision) for pause in pauses]
    for pause, one in chosen:
        _check_decision(one, pause, state, roles)
    return {pause.id: one for pause, one in chosen}


def _check_nodes(decision: Any, pauses: list[Pause]) -> None:
    names = decision.keys() - {"edit", "reject"} if isinstance(decision, Mapping) else ()
    if unknown := [name for name in names if name not in {pause.node for pause in pauses}]:
        places = ", ".join(pause.place for pause in pauses)
        raise InputError(f"nothing waits at {unknown[0]!r}, only {places}; {FORMS}")


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
