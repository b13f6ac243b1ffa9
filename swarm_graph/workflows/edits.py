"""What a person may set in the state, in a pause or in a fork, and the form that it must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from swarm_graph.errors import InputError, UnreadableAnswer
from swarm_graph.roles.answered_change import deleted_files, repository_files, repository_of
from swarm_graph.roles.answered_document import read_documents
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.file_blocks import check_no_file_is_a_folder, project_path, read_files
from swarm_graph.roles.registry import Roles
from swarm_graph.state import CHANGE_KEYS, DOCUMENT, Finding, SwarmState, changed_texts


def editable_keys(roles: Roles) -> tuple[str, ...]:
    """The keys of the state that a person may set."""
    written = [key for form in ("text", "files", "data") for key in roles.keys_of(form)]
    return ("request", *written, "findings")


def state_value(key: str, value: Any, state: SwarmState, roles: Roles) -> Any:
    """A value that a person sets, in the form of the state.

    Args:
        key: The key of the state.
        value: Text, a list of findings (or its JSON), or files. Files are an object of paths and texts (or
            its JSON), which replaces all files, or Markdown with a fenced block for each file, which
            replaces only these files. A document may stand there as it is, without a fence. A typed answer
            is an object (or its JSON).
        state: The present state.
        roles: The roles of the session, which say what each key holds.

    Raises:
        InputError: The key cannot be set, or the value has another form.
    """
    if key not in editable_keys(roles):
        raise InputError(f"'{key}' cannot be set; allowed: {', '.join(editable_keys(roles))}")
    if key == "request" and not (isinstance(value, str) and value.strip()):
        raise InputError("the request is empty; say what you want built or reviewed")
    if key in roles.keys_of("files"):
        return _files(key, value, state)
    if key in roles.keys_of("data"):
        return _typed(key, from_json(key, value), roles)
    if key == "findings":
        return validated(list[Finding], key, from_json(key, value))
    return validated(str, key, value)


def _files(key: str, value: Any, state: SwarmState) -> dict[str, str]:
    try:
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            check_encodable(key, value)
            old = cast("dict[str, str]", state.get(key, {}))
            is_document = key == "code" and state.get("kind") == DOCUMENT
            return (read_documents(value, old) if is_document else read_files(value)).over(old)
        texts = validated(dict[str, str], key, from_json(key, value))
        files = {project_path(path): text for path, text in texts.items()}
        check_no_file_is_a_folder(files)
    except UnreadableAnswer as problem:
        raise InputError(f"'{key}' cannot be read as files: {problem}") from problem
    if key == "code" and not files:
        raise InputError("'code' would hold no file")
    return files


def check_paths(key: str, files: Mapping[str, str], state: SwarmState) -> None:
    """Check the files that a person sets in a session that changes a repository, as those of a role are.

    Raises:
        InputError: A path must not be written, or is in another key of the state.
    """
    if not (repo := repository_of(state)):
        return
    there = repository_files(repo, changed_texts(state), deleted_files(state))
    held: dict[str, dict[str, str]] = {
        name: cast("Any", state).get(name) or {} for name in (*CHANGE_KEYS, key)
    }
    for path, text in files.items():
        if held[key].get(path) == text:
            continue
        if other := next((name for name in CHANGE_KEYS if name != key and path in held[name]), ""):
            raise InputError(f"'{path}' is in '{other}'; edit it there")
        if why := there.why_not(path, text):
            raise InputError(f"'{path}' must not be changed: {why}; leave it out of '{key}'")


def _typed(key: str, value: Any, roles: Roles) -> dict[str, Any]:
    """A typed answer that a person gives. Raises InputError unless it fits the role that writes the key."""
    data: dict[str, Any] = validated(dict[str, Any], key, value)
    role = next(role for role in roles.all() if role.writes == key)
    try:
        role.read(final_message(json.dumps(data)), {})
    except UnreadableAnswer as problem:
        raise InputError(f"'{key}' is not what '{role.role}' answers: {problem}") from problem
    return data


def from_json(key: str, value: Any) -> Any:
    """A value that may be given as JSON text. Raises InputError for text that is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{key}' is not valid JSON: {error}") from error


def validated(form: Any, key: str, value: Any) -> Any:
    """A value of a type that pydantic can check. Raises InputError, with the place, for another type."""
    check_encodable(key, value)
    try:
        return TypeAdapter(form).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (key, *first["loc"])))
        raise InputError(f"'{where}' is not allowed: {first['msg'].lower()}") from error


def check_encodable(name: str, value: Any) -> None:
    """Raises InputError for text that no file can hold: a surrogate without its other half."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"'{name}' holds half of a character; expected UTF-8 text") from error
    except RecursionError as error:
        raise InputError(f"'{name}' is nested too deep") from error
    except TypeError:  # no plain data: the check of its type says so
        return
