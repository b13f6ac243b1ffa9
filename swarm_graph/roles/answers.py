"""Reading what models write: JSON amid prose, files in fenced blocks, plain Markdown.

A function here returns the answer or raises UnreadableAnswer, whose text tells the model what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar, cast

from pydantic import BaseModel, ValidationError

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_change import OptionalFiles, read_optional_files
from swarm_graph.roles.answered_document import Documents, read_documents
from swarm_graph.roles.answered_files import read_answered_files
from swarm_graph.roles.chat_markup import FinalMessage, final_message
from swarm_graph.roles.fences import parse
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.json_objects import json_objects
from swarm_graph.text import check_json_like

A = TypeVar("A")
M = TypeVar("M", bound=BaseModel)
NO_FILES: Mapping[str, str] = {}
_OPENING_FENCE = re.compile(r"(?:`{3,}|~{3,})[ \t]*\w*[ \t]*")
_CLOSING_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[ \t]*")


class Reading(NamedTuple, Generic[A]):
    """An answer that was read.

    Attributes:
        answer: The answer.
        note: What was mended in it, for people; empty when nothing was.
        doubt: Why it is probably not meant as it is, for a question to the model; empty when it is plain.
    """

    answer: A
    note: str = ""
    doubt: str = ""


def read(
    answer: str | FinalMessage,
    kind: type[A],
    old: Mapping[str, str] = NO_FILES,
    *,
    shown: Mapping[str, bool] | None = None,
) -> A:
    """The answer in a model's text.

    Args:
        answer: What the model wrote, or the final message in it.
        kind: A pydantic model (read from a JSON object), Files or OptionalFiles (from fenced blocks),
            Documents or str (Markdown).
        old: The files that an answer may change: path to text.
        shown: For files in a repository: which of them the model has seen; see `read_answered_files`.

    Raises:
        UnreadableAnswer: The text holds no such answer.
    """
    message = final_message(answer) if isinstance(answer, str) else answer
    if not message.text.strip():
        raise UnreadableAnswer("the answer is empty")
    if kind is Documents:
        return cast("A", read_documents(message.text, old))
    if kind is OptionalFiles:
        return cast("A", read_optional_files(message.text, old, shown))
    if kind is Files:
        return cast("A", read_answered_files(message.text, old, shown=shown))
    if issubclass(kind, BaseModel):
        return cast("A", _read_model(message, kind))
    return cast("A", _read_markdown(message.text))


def read_typed(answer: str | FinalMessage, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The one JSON object in a model's text that fits a JSON schema.

    Raises:
        UnreadableAnswer: No object fits, or several different ones do.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry

    validator = Draft202012Validator(schema, registry=Registry())  # an empty registry fetches nothing

    def check(candidate: dict[str, Any]) -> dict[str, Any]:
        try:
            check_json_like(candidate)
            error = best_match(validator.iter_errors(candidate))
        except ValueError as odd:
            raise UnreadableAnswer(f"the JSON object cannot be kept: {odd}") from odd
        except RecursionError as circle:
            raise UnreadableAnswer("the JSON schema refers to itself in a circle") from circle
        if error:
            raise _misfit(error.absolute_path, error.message)
        return candidate

    message = final_message(answer) if isinstance(answer, str) else answer
    return _only_one(message, check, set(schema.get("properties", ())))


def _read_markdown(text: str) -> str:
    """Markdown without the fence that some models put around the whole of it."""
    blocks, outside = parse(text)
    if len(blocks) == 1 and not outside.strip() and blocks[0].language in ("", "markdown", "md"):
        text = blocks[0].text
    if not text.strip():
        raise UnreadableAnswer("the answer is empty")
    return text.strip()


def _read_model(message: FinalMessage, model: type[M]) -> M:
    def check(candidate: dict[str, Any]) -> M:
        try:
            return model.model_validate(candidate)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise _misfit(first["loc"], first["msg"]) from error

    answer = _only_one(message, check, set(model.model_fields))
    if getattr(answer, "counts_only_alone", False) and (more := _beside(message, model)):
        raise UnreadableAnswer(f"an approval counts only alone, without {more}: write the JSON object only")
    return answer


def _beside(message: FinalMessage, model: type[BaseModel]) -> str:
    """What a message holds besides one JSON object of a model's fields and a code fence; empty if nothing."""
    text = _without_fence(message.text)
    objects = list(json_objects(text))
    if message.cut or [(found.start, found.end) for found in objects] != [(0, len(text))]:
        return "text before or after it"
    unknown = sorted(objects[0].value.keys() - model.model_fields.keys())
    return f"other keys ({', '.join(unknown)})" if unknown else ""


def _without_fence(text: str) -> str:
    """A text without the fence around it, of which a server may have kept only one half."""
    lines = text.strip().split("\n")
    if _OPENING_FENCE.fullmatch(lines[0]):
        lines = lines[1:]
    if lines and _CLOSING_FENCE.fullmatch(lines[-1]):
        lines = lines[:-1]
    return "\n".join(lines).strip()


def _misfit(where: Iterable[Any], problem: str) -> UnreadableAnswer:
    return UnreadableAnswer(f"the JSON object does not fit: {'.'.join(map(str, where)) or 'it'}: {problem}")


def _only_one(message: FinalMessage, check: Callable[[dict[str, Any]], A], keys: AbstractSet[str]) -> A:
    """The one object in a message that `check` accepts. `check` returns it or raises UnreadableAnswer.

    An object with some of `keys` that does not fit makes the answer ambiguous, and so does another fitting
    object in what may be thoughts: nobody can tell which one is meant and which one is quoted.
    """
    problem = UnreadableAnswer("the answer holds no JSON object")
    fitting: list[A] = []
    broken = False
    for candidate in json_objects(message.text):
        try:
            answer = check(candidate.value)
        except UnreadableAnswer as misfit:
            problem, broken = misfit, broken or bool(keys & candidate.value.keys())
        else:
            if answer not in fitting:
                fitting.append(answer)
        if len(fitting) > 1:
            break
    with suppress(UnreadableAnswer):
        for candidate in json_objects(message.doubtful):
            with suppress(UnreadableAnswer):
                if len(fitting) == 1 and (answer := check(candidate.value)) not in fitting:
                    fitting.append(answer)
    if len(fitting) + broken > 1:
        problem = UnreadableAnswer("the answer holds several JSON objects that differ; write one")
    if len(fitting) != 1 or broken:
        raise problem
    return fitting[0]
