"""Names of roles and workflows: the built-in ones, and those that a configuration adds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, PlainSerializer, WithJsonSchema

from swarm_graph.config_source import closest_match, unknown_name
from swarm_graph.state import WORKFLOWS, AgentRole, SwarmState

_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
OwnName = Annotated[str, Field(pattern=_PATTERN)]
"""The name of a role or workflow of the user's own. It becomes the name of a node and of a prompt."""
RoleName = Annotated[AgentRole | OwnName, Field(union_mode="left_to_right")]
"""One of the nine roles, or the name of one in `roles`; SwarmConfig checks which names there are."""

ROLE_NAMES_FOR_EDITORS: dict[str, Any] = {"anyOf": [{"enum": list(AgentRole)}, {"pattern": _PATTERN}]}
"""The JSON Schema of a role's name as a key: pydantic writes none for a union."""

GIVEN_IN_PYTHON = "(given in Python)"
"""What a session records of a role or workflow that a program gave as an object."""
YAML = (".yaml", ".yml")
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
"""module:attribute, both dotted if need be."""
_TAKEN_ROLES = re.compile(
    r"repair|task|typed|expand|question|tasks|verdict|run_tests|check_document|complete|(?:review|before|after)_.*"
)
"""Names of other prompts and nodes."""


def is_yaml(reference: str) -> bool:
    """Whether a role is named by the path of its YAML file."""
    return reference.endswith(YAML)


def _reference(value: Any) -> Any:
    """An object as it is; a path made absolute, because a resume may start in another folder."""
    if not isinstance(value, str):
        if value is None or isinstance(value, (bool, int, float, list, Mapping)):
            raise ValueError("expected 'module:attribute', or for a role the path of a YAML file")
        return value
    if is_yaml(value):
        return str(Path(value).absolute())
    if value != GIVEN_IN_PYTHON and not _REFERENCE.fullmatch(value):
        raise ValueError("expected 'module:attribute', or for a role the path of a YAML file")
    return value


def _recorded(value: Any) -> str:
    return value if isinstance(value, str) else GIVEN_IN_PYTHON


def _check_role_name(name: str) -> str:
    if name in list(AgentRole):
        raise ValueError("it is one of the nine roles; choose another name")
    if _TAKEN_ROLES.fullmatch(name) or name in SwarmState.__annotations__:
        raise ValueError("a node, a prompt or a key of the state has this name; choose another one")
    return name


def _check_workflow_name(name: str) -> str:
    if name in WORKFLOWS:
        raise ValueError("it is a built-in workflow; choose another name")
    return name


OwnCode = Annotated[
    Any,
    AfterValidator(_reference),
    PlainSerializer(_recorded, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""A role or workflow as the configuration names it, or in Python the object itself."""
OwnRoles = dict[Annotated[OwnName, AfterValidator(_check_role_name)], OwnCode]
OwnWorkflows = dict[Annotated[OwnName, AfterValidator(_check_workflow_name)], OwnCode]


class NameProblem(NamedTuple):
    """A name in a configuration that it does not know: the keys that lead to it, and what is wrong."""

    path: tuple[str, ...]
    message: str


def name_problems(data: Mapping[str, Any]) -> Iterator[NameProblem]:
    """What is wrong with the names of roles and workflows in a configuration.

    Args:
        data: It, in the file's shape, not yet checked.
    """
    roles = [*AgentRole, *_keys(data, "roles")]
    for group in ("agent_parameters", "tools"):
        for name in _keys(data, group):
            if name not in roles:
                yield NameProblem((group,), unknown_name("role", name, roles))
    for name in _keys(data.get("memory"), "recall"):
        if name not in roles:
            yield NameProblem(("memory", "recall"), unknown_name("role", name, roles))
    models = data.get("model_config", data.get("models"))
    for name, entry in _items(models, "multi_model"):
        meant = closest_match(name, roles)
        if meant and name not in roles and not re.match(rf"{meant}[\d_-]", name):
            path = ("model_config", "multi_model")
            yield NameProblem(path, f"unknown role {name!r}; did you mean {meant!r}?")
        elif name not in roles and isinstance(entry, Mapping) and "any_of" in entry:
            message = f"any_of is a choice for a role, and {unknown_name('role', name, roles)}"
            yield NameProblem(("model_config", "multi_model", name), message)
    workflow = data.get("workflow")
    for key in ("pause_before", "pause_after"):
        for name in _strings(workflow, key):
            if name not in roles:
                yield NameProblem(("workflow", key), unknown_name("role", name, roles))
    yield from _reviewed(workflow, [*WORKFLOWS, *_keys(data, "workflows")])


def _reviewed(workflow: Any, workflows: list[str]) -> Iterator[NameProblem]:
    known = [name for name in workflows if name != "custom"]
    for name in _keys(workflow, "reviewers"):
        if name not in known:
            *others, last = map(repr, known)
            message = f"input should be {', '.join(others)} or {last}"
            yield NameProblem(("workflow", "reviewers", name), message)


def _keys(group: Any, name: str) -> list[str]:
    """The keys of an object in a group; none where there is no object."""
    return [key for key, _ in _items(group, name)]


def _items(group: Any, name: str) -> list[tuple[str, Any]]:
    value = group.get(name) if isinstance(group, Mapping) else None
    return [(str(key), one) for key, one in value.items()] if isinstance(value, Mapping) else []


def _strings(group: Any, name: str) -> list[str]:
    value = group.get(name) if isinstance(group, Mapping) else None
    return [one for one in value if isinstance(one, str)] if isinstance(value, (list, tuple)) else []
