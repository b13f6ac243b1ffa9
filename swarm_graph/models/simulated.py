"""The simulated model: invented answers for demos, notebooks and load tests, always labelled as such.

A pure function of seed, role, node, round, attempt and messages, so it repeats exactly and any number
of sessions can use it at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from swarm_graph.config import ModelEntry, Simulation
from swarm_graph.errors import ConfigError
from swarm_graph.state import AgentRole

DEMO = "demo_session.md"
ROLE_FORMS = ("Clarification", "Judgement")
"""The titles of the JSON schemas that roles have of their own."""
_MARK = re.compile(r"^<!-- *(?P<name>[A-Za-z][\w.-]*) +(?P<round>\d+) *-->$", re.MULTILINE)
_WHEN = re.compile(r"^<!-- *when: *(?P<text>.+?) *-->$", re.MULTILINE)


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


Play = Callable[[Ask], str | Exception | None]
"""What to answer; an exception is raised instead; None leaves the answer to the script."""


@dataclass(frozen=True)
class Script:
    """A scripted session: what each node or role answers in each round."""

    when: str
    answers: dict[tuple[str, int], str]

    def answer(self, ask: Ask) -> str | None:
        """Looked up by node, then by role; a round that is not written plays the latest one before it.

        What a role says is no answer to a question that has a form of its own.
        """
        if self.when not in ask.prompt:
            return None
        for iteration in range(max(ask.iteration, 1), 0, -1):
            for name in (ask.node,) if ask.has_own_form else (ask.node, ask.role):
                if (name, iteration) in self.answers:
                    return self.answers[name, iteration]
        return None


def load_script(path: str | None) -> Script:
    """A script file; None: the demo that comes with swarm_graph. ConfigError when it cannot be read."""
    try:
        source = Path(path) if path else resources.files("swarm_graph.models") / DEMO
        text = source.read_text(encoding="utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the simulation script '{path}': {error}") from error
    marks = list(_MARK.finditer(text))
    if not marks:
        raise ConfigError(
            f"the simulation script '{path}' has no answer; begin each with a line <!-- coder 1 -->"
        )
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    when = _WHEN.search(text)
    return Script(
        when=when["text"] if when else "",
        answers={
            (mark["name"], int(mark["round"])): text[mark.end() : end].strip()
            for mark, end in zip(marks, ends, strict=True)
        },
    )


class SimulatedChatModel(BaseChatModel):
    """A LangChain chat model that asks no server. Its answers come from `play`, a script, or are invented."""

    model_name: str = "simulated"
    simulation: Simulation = Simulation()
    play: Play | None = Field(default=None, exclude=True)

    @classmethod
    def of(cls, entry: ModelEntry) -> SimulatedChatModel:
        model = cls(model_name=entry.model, simulation=entry.simulation)
        _ = model.script  # a script that cannot be read is an error now, not at the first call
        return model

    @cached_property
    def script(self) -> Script:
        """What the model answers before it invents anything."""
        return load_script(self.simulation.script)

    @property
    def _llm_type(self) -> str:
        return "simulated-chat"

    def _answer(self, messages: list[BaseMessage], arguments: dict[str, Any]) -> str:
        about = arguments.get("about", {})
        ask = Ask(
            role=str(about.get("role", "")),
            node=str(about.get("node", "")),
            iteration=int(about.get("iteration", 1)),
            attempt=int(about.get("attempt", 1)),
            prompt="\n".join(message.text for message in messages),
            schema=arguments.get("response_format", {}).get("json_schema", {}).get("schema"),
        )
        dice = _dice(self.simulation.seed, ask)
        if dice.random() < self.simulation.failure_rate:
            raise ConnectionError("a simulated failure")
        answer = self.play(ask) if self.play else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            answer = self.script.answer(ask)
        if answer is None:
            answer = invented(ask, _dice(self.simulation.seed, ask))
        broken = "response_format" in arguments and dice.random() < self.simulation.malformed_rate
        return answer[: len(answer) // 2] if broken else answer

    def _message(self, messages: list[BaseMessage], answer: str) -> AIMessage:
        length = sum(len(message.text) for message in messages)
        usage = UsageMetadata(
            input_tokens=max(1, length // 4),
            output_tokens=max(1, len(answer) // 4),
            total_tokens=max(1, length // 4) + max(1, len(answer) // 4),
        )
        metadata = {"model_name": self.model_name, "model_provider": "simulated", "finish_reason": "stop"}
        return AIMessage(answer, usage_metadata=usage, response_metadata=metadata)

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        pace = self.simulation.tokens_per_s
        for piece in re.findall(r"\s*\S{1,12}|\s+$", message.text) if pace else [message.text]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=message.usage_metadata,
                response_metadata=message.response_metadata,
                chunk_position="last",
            )
        )

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Streams an answer; who asks stands in the metadata of `config`, as `Caller` puts it there."""
        async for chunk in super().astream(input, config, about=(config or {}).get("metadata", {}), **kwargs):
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._message(messages, self._answer(messages, kwargs))
        time.sleep(self.simulation.first_token_s)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = self._message(messages, self._answer(messages, kwargs))
        await asyncio.sleep(self.simulation.first_token_s)
        pace = self.simulation.tokens_per_s
        for chunk in self._chunks(message):
            if pace:
                await asyncio.sleep(len(chunk.text) / 4 / pace)
            yield chunk


def _dice(seed: int, ask: Ask) -> random.Random:
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


_FULL, _LEAST = 4, 40
