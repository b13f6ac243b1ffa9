"""Pauses for a person before or after a role: LangGraph interrupts that are approved, edited or rejected.

A pause is a node of its own beside the role's, so what the role answered is kept in the checkpoint while
the person thinks, and no model is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, cast

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import interrupt
from pydantic import TypeAdapter, ValidationError

from swarm_graph.errors import InputError, UnreadableAnswer
from swarm_graph.roles.file_blocks import check_no_file_is_a_folder, project_path, read_files
from swarm_graph.roles.role import Role
from swarm_graph.state import Finding, Review, SwarmState, own_review

INTERRUPT = "__interrupt__"

Decision: TypeAlias = str | Mapping[str, Any]
"""`"approve"`, `{"edit": text or {key: value}}` or `{"reject": remark}`."""

FORMS = 'expected "approve", {"edit": text or {key: value}} or {"reject": "what is wrong"}'
TEXTS = ("request", "requirements", "design", "optimization", "diagnosis")
FILES = ("code", "tests", "documentation")
EDITABLE = (*TEXTS, *FILES, "findings")
"""The keys of the state that a person may set, in a pause or in a fork."""


@dataclass(frozen=True)
class Pause:
    """A place where a session waits for a person.

    `edits`: the key of the state that an edit as plain text replaces, empty where there is none, and
    `value` what it holds; `editable`: the keys that an edit as an object may name; `id`: LangGraph's id
    of the interrupt.
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
        return f"{self.when} {self.node}"


def gate(when: Literal["before", "after"], node: str, role: Role[Any]) -> Callable[..., dict[str, Any]]:
    """The node that waits for a person beside a role's own."""
    edits = role.works_from if when == "before" else role.writes
    editable = [*EDITABLE] if role.works_from else [edits] if edits else []

    def wait(state: SwarmState) -> dict[str, Any]:
        value = own_review(node, state) if edits == "reviews" else state.get(edits)
        pause = Pause(when, node, str(role.role), state.get("iteration", 0), edits, editable, value)
        decision: Decision = interrupt({key: value for key, value in asdict(pause).items() if key != "id"})
        if decision == "approve":
            return {}
        assert isinstance(decision, Mapping)
        if "reject" in decision:
            return rejected(decision["reject"], pause, state)
        return edited(decision["edit"], pause, state)

    return wait


def rejected(remark: str, pause: Pause, state: SwarmState) -> dict[str, Any]:
    """What a rejection changes: the remark is an open finding, and the round is not approved."""
    finding = Finding(severity="major", location="", problem=remark, suggestion="", seen_by=["a person"])
    name = f"person_{pause.when}_{pause.node}"
    review = Review(node=name, iteration=pause.iteration, approved=False, findings=[finding])
    update: dict[str, Any] = {"reviews": [review]}
    if "findings" in pause.editable:
        update["findings"] = [*state.get("findings", []), finding]
    return update


def edited(edit: Any, pause: Pause, state: SwarmState) -> dict[str, Any]:
    """What an edit changes in the state. InputError when it cannot be used here."""
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
        given = _from_json("reviews", edit["reviews"])
        base = {"node": pause.node, "iteration": pause.iteration}
        return {
            "reviews": [_in_form(Review, "reviews", {**given, **base} if isinstance(given, dict) else given)]
        }
    return {key: checked(key, value, state) for key, value in edit.items()}


def checked(key: str, value: Any, state: SwarmState) -> Any:
    """A value that a person sets in the state, in the state's own form. InputError when it has another.

    Files may be given as an object of paths and texts, which replaces them all, or as Markdown with a
    fenced block for each, written over those that are there.
    """
    if key not in EDITABLE:
        raise InputError(f"'{key}' cannot be set; allowed: {', '.join(EDITABLE)}")
    if key == "request" and not (isinstance(value, str) and value.strip()):
        raise InputError("the request is empty; say what you want built or reviewed")
    if key in TEXTS:
        return _in_form(str, key, value)
    if key in FILES:
        return _files(key, value, state)
    return _in_form(list[Finding], key, _from_json(key, value))


def _files(key: str, value: Any, state: SwarmState) -> dict[str, str]:
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            _refuse_half_characters(key, value)
            return read_files(value).over(cast("dict[str, str]", state.get(key, {})))
        files = _in_form(dict[str, str], key, _from_json(key, value))
        clean = {project_path(path): text for path, text in files.items()}
        check_no_file_is_a_folder(clean)
    except UnreadableAnswer as problem:
        raise InputError(f"'{key}' cannot be read as files: {problem}") from problem
    if key == "code" and not clean:
        raise InputError("'code' would hold no file")
    return clean


def _from_json(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{key}' is not valid JSON: {error}") from error


def _in_form(form: Any, key: str, value: Any) -> Any:
    _refuse_half_characters(key, value)
    try:
        return TypeAdapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (key, *first["loc"])))
        raise InputError(f"'{where}' is not allowed: {first['msg'].lower()}") from error


def _refuse_half_characters(name: str, value: Any) -> None:
    """InputError for text that no file can hold: a surrogate without its other half."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"'{name}' holds half of a character; expected UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"'{name}' is nested too deep") from error
    except TypeError:  # no plain data: its form says so
        return


# --- answering -----------------------------------------------------------------------------------


def waiting(saved: CheckpointTuple | None) -> list[Pause]:
    """The pauses at which a saved thread waits for a person."""
    writes = saved.pending_writes or [] if saved else []
    answered = {task for task, channel, _ in writes if channel != INTERRUPT}
    found = [
        (interrupted.value, interrupted.id)
        for task, channel, values in writes
        if channel == INTERRUPT and task not in answered
        for interrupted in values
    ]
    return [Pause(**value, id=id) for value, id in found if isinstance(value, Mapping) and "when" in value]


def answer(decision: Any, pauses: list[Pause], state: SwarmState) -> dict[str, Decision]:
    """The resume value for LangGraph: a decision for every pause, by the interrupt's id.

    One decision answers all pauses; an object keyed by nodes or by interrupt ids answers those that it
    names. InputError, before anything is written, when a decision cannot be used.
    """
    named = {**{pause.node: pause for pause in pauses}, **{pause.id: pause for pause in pauses}}
    if isinstance(decision, Mapping) and decision and decision.keys() <= named.keys():
        chosen = {named[name].id: (named[name], one) for name, one in decision.items()}
    else:
        _refuse_unknown_nodes(decision, pauses)
        chosen = {pause.id: (pause, decision) for pause in pauses}
    for pause, one in chosen.values():
        _check(one, pause, state)
    return {id: one for id, (_, one) in chosen.items()}


def _refuse_unknown_nodes(decision: Any, pauses: list[Pause]) -> None:
    names = decision.keys() - {"edit", "reject"} if isinstance(decision, Mapping) else ()
    if unknown := [name for name in names if name not in {pause.node for pause in pauses}]:
        places = ", ".join(pause.place for pause in pauses)
        raise InputError(f"nothing waits at {unknown[0]!r}, only {places}; {FORMS}")


def _check(decision: Any, pause: Pause, state: SwarmState) -> None:
    if decision == "approve":
        return
    if not isinstance(decision, Mapping) or len(decision) != 1 or not decision.keys() <= {"edit", "reject"}:
        raise InputError(f"the decision {pause.place} cannot be used; {FORMS}")
    if "edit" in decision:
        edited(decision["edit"], pause, state)
    elif not isinstance(decision["reject"], str) or not decision["reject"].strip():
        raise InputError("a rejection needs a remark: what is wrong?")
    else:
        _refuse_half_characters("the remark", decision["reject"])
