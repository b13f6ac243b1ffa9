"""How a model calls tools, found out by small questions whose answers only a harmless tool knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import StructuredTool

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.models.pool import ToolMode
from swarm_graph.state import Reply, ToolCall
from swarm_graph.tools.action import action_schema, read_action, tools_prompt
from swarm_graph.tools.arguments import WrongArguments, fitted_arguments
from swarm_graph.tools.descriptions import function_of
from swarm_graph.tools.tool import Tool
from swarm_graph.tools.written_calls import written_calls

MODES: tuple[ToolMode, ...] = ("native", "action", "text")
"""The ways of calling, in the order in which they are tried."""

Ask = Callable[
    [list[BaseMessage], Mapping[str, Any] | None, Sequence[Mapping[str, Any]]], Awaitable[Reply | None]
]
"""Asks the model: the messages, the schema that binds its answer, the tools in OpenAI's form.

Returns its answer, or None if its server refuses such a request. An answer that a schema binds comes without
its thoughts; others come with them and with all tokens, as `written_calls` takes them.
"""

COLORS = ("red", "blue", "green")
QUESTION = (
    "Which number is in the {color} box? Nobody knows it yet, so do not guess: open the box with the tool."
)
ACTION = 'Say what you do next with one JSON object: {"tool": "open_box", "arguments": {"color": "…"}}'
TEXT = 'To call a tool, write one JSON object and nothing else: {"tool": "NAME", "arguments": {…}}'


class Probe(NamedTuple):
    """What was found out about a model.

    Attributes:
        mode: The way in which it is to call tools.
        asked: How many questions it was asked in each way that was tried.
        made: How many of them it answered with a call, or with an action.
        refused: The ways in which its server refuses requests.
    """

    mode: ToolMode
    asked: Mapping[ToolMode, int]
    made: Mapping[ToolMode, int]
    refused: frozenset[ToolMode] = frozenset()


async def probe(ask: Ask, tries: int = 1, modes: Sequence[ToolMode] = MODES[:2]) -> Probe:
    """Find out how a model calls tools: by its server's API, else as a bound action, else as text.

    A way works if most of its questions are answered with a call whose arguments fit; a bound action may also
    say that the model can answer. The next way is tried only if one does not work.

    Args:
        ask: Asks the model.
        tries: Questions for each way; no more are asked than it takes to see what most of them do.
        modes: The ways that are tried; if none works, it is `text`.

    Raises:
        ModelError: The model cannot be asked.
    """
    asked: dict[ToolMode, int] = {}
    made: dict[ToolMode, int] = {}
    refused: set[ToolMode] = set()
    for mode in modes:
        asked[mode] = made[mode] = 0
        while (asked[mode] - made[mode]) * 2 < tries and made[mode] * 2 <= tries:
            reply = await ask(*question(mode, COLORS[asked[mode] % len(COLORS)]))
            asked[mode] += 1
            if reply is None:
                refused.add(mode)
                break
            made[mode] += works(mode, reply)
        if made[mode] * 2 > tries:
            return Probe(mode, asked, made, frozenset(refused))
    return Probe("text", asked, made, frozenset(refused))


def question(
    mode: ToolMode, color: str
) -> tuple[list[BaseMessage], dict[str, Any] | None, list[dict[str, Any]]]:
    """The messages, the schema and the tools of one question."""
    asked = QUESTION.format(color=color)
    if mode == "native":
        return [HumanMessage(asked)], None, [function_of(BOX)]
    form = ACTION if mode == "action" else TEXT
    messages: list[BaseMessage] = [HumanMessage(f"{asked}\n\n{tools_prompt([BOX])}\n\n{form}")]
    return messages, action_schema([BOX]) if mode == "action" else None, []


def works(mode: ToolMode, reply: Reply) -> bool:
    """Whether an answer is a call of the tool, or a bound action."""
    if mode != "action":
        return opened(mode, reply) is not None
    try:
        action = read_action(reply.text, [BOX])
    except UnreadableAnswer:
        return False
    return action is None or _color(action) is not None


def opened(mode: ToolMode, reply: Reply) -> str | None:
    """The color of the box that an answer opens; None if it opens none."""
    if mode == "native" and reply.tool_calls:
        calls: Sequence[ToolCall] = reply.tool_calls
    else:
        calls = written_calls(reply.text, {BOX.name: BOX.name}, {BOX.name: ("color",)})
    return _color(calls[0]) if calls else None


def _color(call: ToolCall) -> str | None:
    """The color in a call; None if it calls another tool, or its arguments do not fit."""
    if call.problem or call.name != BOX.name:
        return None
    try:
        return str(fitted_arguments(BOX, call.arguments)["color"])
    except WrongArguments:
        return None


async def _open(color: str) -> str:
    return f"The number in the {color} box is {COLORS.index(color) + 41}."


_SCHEMA = {
    "type": "object",
    "properties": {"color": {"type": "string", "enum": [*COLORS], "description": "The color of the box."}},
    "required": ["color"],
}
BOX = Tool(
    "open_box",
    StructuredTool.from_function(
        coroutine=_open, name="open_box", description="Open a box.", args_schema=_SCHEMA
    ),
    _SCHEMA,
    "Open a box and return the number in it.",
    read_only=True,
)
"""The tool of the questions. Nothing calls it: whether the model does is all that is asked."""
