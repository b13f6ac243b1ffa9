"""Invented answers: the right form for any role or JSON schema, with content that says it is made up."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm_graph.state import AgentRole

ROLE_FORMS = ("Clarification", "Judgement")
"""The titles of the JSON schemas that roles have of their own."""


@dataclass(frozen=True)
class Ask:
    """What a simulated model is asked, and by whom."""

    role: str
    node: str
    iteration: int
    attempt: int
    prompt: str
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer is to fit."""

    @property
    def has_own_form(self) -> bool:
        """Whether a task wants another answer than its role's."""
        return self.schema is not None and self.schema.get("title") not in ROLE_FORMS


def dice_for(seed: int, ask: Ask) -> random.Random:
    text = f"{seed}|{ask.role}|{ask.node}|{ask.iteration}|{ask.attempt}|{ask.prompt}"
    return random.Random(hashlib.sha256(text.encode()).digest())


def invented(ask: Ask, dice: random.Random) -> str:
    """An answer in the form that the role's prompt asks for; its content is made up and says so."""
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
    if ask.schema and ask.has_own_form:
        return json.dumps(_Inventor(ask.schema, f"Simulated {ask.node} {mark}", dice).value(ask.schema))
    if ask.role == AgentRole.CLARIFIER:
        return json.dumps(
            {
                "requirements": [f"Simulated requirement of {ask.node} {mark}."],
                "assumptions": [],
                "open_questions": [],
            }
        )
    if ask.role in (AgentRole.REVIEWER, AgentRole.SECURITY):
        finding = {
            "severity": "major",
            "location": "src/simulated.py:answer",
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


_FULL, _LEAST = 4, 40


class _Inventor:
    """Invents values that fit the usual parts of a JSON schema; patterns and formats are none of them."""

    def __init__(self, root: Mapping[str, Any], text: str, dice: random.Random) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        resource = DRAFT202012.create_resource(root)
        self._resolver = Registry[Any]().with_resource("", resource).resolver("")
        self._text, self._dice = text, dice

    def value(self, schema: Any, depth: int = 0) -> Any:
        """A value; below `_FULL` levels, where a schema may hold itself, with as little in it as it may."""
        if not isinstance(schema, Mapping) or depth > _LEAST:
            return None
        sparse = depth > _FULL
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
                inner = schema.get("properties", {})
                named = schema.get("required", ()) if sparse else inner
                return {name: self.value(inner.get(name, {}), depth + 1) for name in named}
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
        most = schema.get("maximum", schema.get("exclusiveMaximum", low + 10) - 1)
        low = low if {"minimum", "exclusiveMinimum"} & schema.keys() else min(low, most)
        first, last = math.ceil(low), math.floor(min(most, low + 9))
        return self._dice.randint(first, last) if first <= last else (low + most) / 2
