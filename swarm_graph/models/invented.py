"""Invented answers for the simulated model: valid for any role or JSON schema, and marked as simulated."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

# Ask is imported as itself, which re-exports it: tests of users import it from here.
from swarm_graph.models.ask import Ask as Ask
from swarm_graph.models.invented_change import invent_for_change, place_of_change
from swarm_graph.models.invented_document import invent_for_document
from swarm_graph.state import CHANGE, DOCUMENT, REVIEW_ROLES, AgentRole


def dice_for(seed: int | str, ask: Ask) -> random.Random:
    """A random generator that depends on the seed and the question, and on nothing else."""
    text = f"{seed}|{ask.role}|{ask.node}|{ask.iteration}|{ask.attempt}|{ask.prompt}"
    return random.Random(hashlib.sha256(text.encode()).digest())


def invent_answer(ask: Ask, dice: random.Random) -> str:
    """Invent an answer in the form that the role's prompt or the schema requires, marked as simulated."""
    mark = f"{dice.getrandbits(32):08x}"
    if ask.schema and ask.schema.get("title") == "Expansion":
        tasks = [
            {
                "task_id": f"part{n}",
                "assigned_role": "coder",
                "description": f"Part {n} of {ask.node}, {mark}.",
            }
            for n in range(1, dice.randint(2, 4))
        ]
        return json.dumps({"plan": f"Simulated plan of {ask.node} {mark}.", "tasks": tasks})
    if ask.schema and ask.has_task_schema:
        return json.dumps(_Inventor(ask.schema, f"Simulated {ask.node} {mark}", dice).value(ask.schema))
    if ask.is_question:
        return f"Simulated answer {mark}: no model has read the session."
    if ask.kind in _OF_KIND and (answer := _OF_KIND[ask.kind](ask, mark)):
        return answer
    if ask.role == AgentRole.CLARIFIER:
        return json.dumps(
            {
                "requirements": [f"Simulated requirement of {ask.node} {mark}."],
                "assumptions": [],
                "open_questions": [],
            }
        )
    if ask.role in REVIEW_ROLES:
        finding = {
            "severity": "major",
            "location": _place(ask),
            "problem": f"Simulated problem of {ask.node} {mark}.",
            "suggestion": "Simulated suggestion.",
        }
        approved = ask.iteration > 1 or dice.random() < 0.5
        return json.dumps({"findings": [] if approved else [finding], "approved": approved})
    if ask.role == AgentRole.CODER:
        head = f'"""Simulated code of {ask.node} {mark}."""'
        code = f"{head}\n\n\ndef answer() -> int:\n    return {ask.iteration}\n"
        return f"```python path=src/simulated.py\n{code}```"
    if ask.role == AgentRole.TESTER:
        head = f'"""Simulated test of {ask.node} {mark}."""\n\nfrom simulated import answer\n\n\n'
        test = f"{head}def test_answer():\n    assert answer() > 0\n"
        return f"```python path=tests/test_simulated.py\n{test}```"
    return f"Simulated {ask.node or ask.role or 'answer'} {mark}."


_OF_KIND: Mapping[str, Callable[[Ask, str], str]] = {
    DOCUMENT: invent_for_document,
    CHANGE: invent_for_change,
}


def _place(ask: Ask) -> str:
    """The place of an invented finding."""
    if ask.kind == CHANGE:
        return place_of_change(ask)
    return "the first step" if ask.kind == DOCUMENT else "src/simulated.py:answer"


_FULL_DEPTH, _MAX_DEPTH = 4, 40


class _Inventor:
    """Invents values for a JSON schema. Patterns and formats are ignored."""

    def __init__(self, root: Mapping[str, Any], text: str, dice: random.Random) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        resource = DRAFT202012.create_resource(root)
        self._resolver = Registry[Any]().with_resource("", resource).resolver("")
        self._text, self._dice = text, dice

    def value(self, schema: Any, depth: int = 0) -> Any:
        """A value for a schema; below `_FULL_DEPTH` a minimal one, so that recursive schemas end."""
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        sparse = depth > _FULL_DEPTH
        if "$ref" in schema:
            return self.value(self._resolver.lookup(schema["$ref"]).contents, depth + 1)
        for choice in ("anyOf", "oneOf"):
            if options := schema.get(choice):
                return self.value(options[-1 if sparse else 0], depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._dice.choice(schema["enum"])
        kinds = schema.get("type", "object" if "properties" in schema else "string")
        match kinds if isinstance(kinds, str) else kinds[0]:
            case "object":
                properties = schema.get("properties", {})
                names = schema.get("required", ()) if sparse else properties
                return {name: self.value(properties.get(name, {}), depth + 1) for name in names}
            case "array":
                count = schema.get("minItems", 0 if sparse else 1)
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
            case "integer" | "number":
                return self._number(schema)
            case "boolean":
                return self._dice.random() < 0.5
            case "null":
                return None
        longest = schema.get("maxLength", len(self._text))
        return self._text[:longest].ljust(schema.get("minLength", 0), ".")

    def _number(self, schema: Mapping[str, Any]) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)
        low = low if {"minimum", "exclusiveMinimum"} & schema.keys() else min(low, high)
        first, last = math.ceil(low), math.floor(min(high, low + 9))
        return self._dice.randint(first, last) if first <= last else (low + high) / 2
