"""Reading what models write: JSON amid prose, files in fenced blocks, plain Markdown.

A function here returns the answer or raises UnreadableAnswer, whose text tells the model what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.fences import parse
from swarm_graph.roles.file_blocks import Files, read_files
from swarm_graph.roles.thoughts import Separated, separate
from swarm_graph.text import check_json_like, without_lone_surrogates

A = TypeVar("A")
M = TypeVar("M", bound=BaseModel)


def read(text: str, kind: type[A]) -> A:
    """The answer in a model's text.

    Args:
        text: What the model wrote, thoughts included.
        kind: A pydantic model (read from a JSON object), Files (from fenced blocks) or str (Markdown).

    Raises:
        UnreadableAnswer: The text holds no such answer.
    """
    separated = _normalized(text)
    if not separated.answer.strip():
        raise UnreadableAnswer("the answer is empty")
    if kind is Files:
        return cast("A", read_files(separated.answer))
    if issubclass(kind, BaseModel):
        return cast("A", _read_model(separated, kind))
    return cast("A", _read_markdown(separated.answer))


def read_typed(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
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

    return _only_one(_normalized(text), check, set(schema.get("properties", ())))


def unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of key-value pairs, for JSON's `object_pairs_hook`.

    Raises:
        ValueError: A key occurs twice.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key}' stands twice")
        found[key] = value
    return found


def _normalized(text: str) -> Separated:
    return separate(without_lone_surrogates(text).replace("\r\n", "\n"))


def _read_markdown(text: str) -> str:
    """Markdown without the fence that some models put around the whole of it."""
    blocks, outside = parse(text)
    if len(blocks) == 1 and not outside.strip() and blocks[0].language in ("", "markdown", "md"):
        text = blocks[0].text
    if not text.strip():
        raise UnreadableAnswer("the answer is empty")
    return text.strip()


def _read_model(text: Separated, model: type[M]) -> M:
    def check(candidate: dict[str, Any]) -> M:
        try:
            return model.model_validate(candidate)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise _misfit(first["loc"], first["msg"]) from error

    return _only_one(text, check, set(model.model_fields))


def _misfit(where: Iterable[Any], problem: str) -> UnreadableAnswer:
    return UnreadableAnswer(f"the JSON object does not fit: {'.'.join(map(str, where)) or 'it'}: {problem}")


def _only_one(text: Separated, check: Callable[[dict[str, Any]], A], keys: AbstractSet[str]) -> A:
    """The one object in a text that `check` accepts. `check` returns it or raises UnreadableAnswer.

    An object with some of `keys` that does not fit makes the answer ambiguous, and so does another fitting
    object in what may be thoughts: nobody can tell which one is meant and which one is quoted.
    """
    problem = UnreadableAnswer("the answer holds no JSON object")
    fitting: list[A] = []
    broken = False
    for candidate in _objects(text.answer):
        try:
            answer = check(candidate)
        except UnreadableAnswer as misfit:
            problem, broken = misfit, broken or bool(keys & candidate.keys())
        else:
            if answer not in fitting:
                fitting.append(answer)
    with suppress(UnreadableAnswer):
        for candidate in _objects(text.doubtful):
            with suppress(UnreadableAnswer):
                if fitting and (answer := check(candidate)) not in fitting:
                    fitting.append(answer)
    if len(fitting) + broken > 1:
        problem = UnreadableAnswer("the answer holds several JSON objects that differ; write one")
    if len(fitting) != 1 or broken:
        raise problem
    return fitting[0]


# --- JSON objects in a text ----------------------------------------------------------------------

_VALUE_OF_A_KEY = re.compile(r'"\s*:[\s\[]*$')
_BRACES = re.compile(r'[{}]|"(?:[^"\\]|\\.)*(?:"|$)', re.DOTALL)
_OBJECT = re.compile(r'\{\s*"')


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text, in order. Nothing inside a broken object is returned."""
    decoder = json.JSONDecoder(object_pairs_hook=unique_keys, strict=False)
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
            value = json.loads(without_lone_surrogates(json.dumps(value, ensure_ascii=False)))
        except (ValueError, RecursionError):
            end = _end_of_broken(text, position)
        else:
            if not _VALUE_OF_A_KEY.search(text, max(0, position - 40), position):
                yield value
        position = text.find("{", end)


def _end_of_broken(text: str, start: int) -> int:
    """The end of a broken object at `start`, or the start of the next object after a lone brace in prose."""
    depth = 0
    for match in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    if _OBJECT.match(text, start):
        raise UnreadableAnswer("the JSON object is cut off")
    following = _OBJECT.search(text, start)
    return following.start() if following else len(text)
