"""The calls of a session as data for its report: of models with prompt, thoughts and answer, and of tools."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.transcript import Call, Message
from swarm_graph.reports.call_log import figures_of, model_of, outcome_of, place_of
from swarm_graph.reports.tool_lines import asked_call, tool_call, tool_decision, tool_figures, tool_outcome
from swarm_graph.text import format_count

MAX_CHARACTERS, MAX_WHOLE_CHARACTERS = 20_000, 200_000
"""Characters of a text that are shown: among other calls, and of a call that is shown alone."""


class ShownText(NamedTuple):
    """A text, or its beginning, and how many characters are left out."""

    text: str
    more: int = 0


class ShownMessage(NamedTuple):
    """A message of a prompt; without its text if a call above has the same one."""

    role: str
    text: ShownText | None


@dataclass(frozen=True)
class ShownCall:
    """A call of a model.

    Attributes:
        number: Its number in the database; 0 if it has none.
        title: Where it was made, and how it ended.
        about: Its model and its figures.
        prompt: The messages.
        prompt_size: Their length in words.
        thoughts: What the model thought; None without thoughts.
        thoughts_size: Their length in words.
        answer: The answer; None without one.
        notes: Further lines: calls of tools in the answer, problems, what is missing.
    """

    number: int
    title: str
    about: str
    prompt: list[ShownMessage]
    prompt_size: str
    thoughts: ShownText | None
    thoughts_size: str
    answer: ShownText | None
    notes: list[str]


@dataclass(frozen=True)
class ShownToolCall:
    """A call of a tool.

    Attributes:
        title: The call in one line.
        outcome: How it ended.
        has_failed: Whether it ended with anything but a result.
        about: Where it was made, with its figures and what a person decided.
        arguments: The arguments as JSON; None if they are not kept.
        result: The result; None without one.
        missing: Why texts are missing; empty if none is.
    """

    title: str
    outcome: str
    has_failed: bool
    about: str
    arguments: ShownText | None
    result: ShownText | None
    missing: str


def shown_calls(calls: Iterable[Call], *, running: bool) -> list[ShownCall]:
    """Calls among others: long texts are cut, and a message of a prompt stands once.

    Args:
        calls: The calls.
        running: Whether their session runs, so that an open call may still get its answer.
    """
    seen, shown = set[Message](), list[ShownCall]()
    for call in calls:
        shown.append(shown_call(call, seen, limit=MAX_CHARACTERS, running=running))
        seen.update(call.prompt)
    return shown


def shown_call(
    call: Call,
    seen: AbstractSet[Message] = frozenset(),
    *,
    limit: int = MAX_WHOLE_CHARACTERS,
    running: bool,
) -> ShownCall:
    """A call.

    Args:
        call: The call.
        seen: The messages that stand above already.
        limit: Characters of a text.
        running: Whether its session runs, so that an open call may still get its answer.
    """
    named = (("problem", call.problem), ("note", call.note), ("error", call.error), ("", call.missing))
    return ShownCall(
        number=call.number,
        title=f"{place_of(call)}: {outcome_of(call, running=running)}",
        about=f"{model_of(call)}; {figures_of(call)}",
        prompt=[
            ShownMessage(message.role, None if message in seen else _cut(message.text, limit))
            for message in call.prompt
        ],
        prompt_size=format_count(sum(len(message.text) for message in call.prompt), "character"),
        thoughts=_cut(call.thoughts, limit),
        thoughts_size=format_count(len(call.thoughts), "character"),
        answer=_cut(call.answer, limit),
        notes=[
            *(f"calls a tool: {asked_call(tool)}" for tool in call.tool_calls),
            *(f"{name}: {text}" if name else text for name, text in named if text),
        ],
    )


def shown_tool_call(call: ToolRecord, *, running: bool) -> ShownToolCall:
    """A call of a tool; see `shown_call`."""
    decision = tool_decision(call)
    told = [place_of(call), call.server, tool_figures(call), f"a person: {decision}" if decision else ""]
    arguments = json.dumps(dict(call.arguments), indent=2, ensure_ascii=False, default=str)
    return ShownToolCall(
        title=tool_call(call.tool, call.arguments),
        outcome=tool_outcome(call, running=running),
        has_failed=call.result is None or call.result.outcome != "answered",
        about="; ".join(filter(None, told)),
        arguments=_cut(arguments, MAX_CHARACTERS) if call.arguments else None,
        result=_cut(call.result.text, MAX_CHARACTERS) if call.result else None,
        missing=call.missing,
    )


def _cut(text: str, limit: int) -> ShownText | None:
    return ShownText(text[:limit], max(len(text) - limit, 0)) if text else None
