"""How a model calls tools is found out by a few questions, whatever its server does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage

from swarm_graph.config import load_config
from swarm_graph.models.pool import ToolMode
from swarm_graph.setup.measure import WAYS, _check_tools
from swarm_graph.state import Reply, ToolCall
from swarm_graph.tools.tool_probe import BOX, MODES, Probe, probe

NATIVE = ToolCall("open_box", {"color": "red"}, "call00001")
WRITTEN = '<tool_call>{"name": "open_box", "arguments": {"color": "blue"}}</tool_call>'
BOUND = '{"tool": "open_box", "arguments": {"color": "green"}}'


def reply(text: str = "", *calls: ToolCall) -> Reply:
    return Reply(text, truncated=False, input_tokens=1, output_tokens=1, tool_calls=calls)


Answers = Mapping[ToolMode, Sequence[Reply | None]]


def found(answers: Answers, tries: int = 1, modes: Sequence[ToolMode] = MODES) -> Probe:
    """What is found out about a model that gives these answers, in turn, to questions of each way."""
    left = {mode: [*given] for mode, given in answers.items()}

    async def ask(
        messages: list[BaseMessage], schema: Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]
    ) -> Reply | None:
        assert "box" in messages[-1].text
        return left["native" if tools else "action" if schema else "text"].pop(0)

    return asyncio.run(probe(ask, tries, modes))


@pytest.mark.parametrize(
    ("answers", "mode"),
    [
        ({"native": [reply("", NATIVE)]}, "native"),
        ({"native": [reply(f"<think>hm</think>{WRITTEN}")]}, "native"),
        ({"native": [None], "action": [reply(BOUND)]}, "action"),
        ({"native": [reply("It is 7.")], "action": [reply('{"tool": "answer"}')]}, "action"),
        ({"native": [reply("", NATIVE._replace(problem="no JSON"))], "action": [reply(BOUND)]}, "action"),
        ({"native": [reply("", ToolCall("open", {}))], "action": [reply(BOUND)]}, "action"),
        (
            {"native": [reply("", ToolCall("open_box", {"color": "pink"}))], "action": [reply(BOUND)]},
            "action",
        ),
        ({"native": [reply("It is 7.")], "action": [None], "text": [reply(BOUND)]}, "text"),
        ({"native": [None], "action": [reply("It is 7.")], "text": [reply("It is 7.")]}, "text"),
    ],
)
def test_the_first_way_that_works_is_taken(answers: Answers, mode: ToolMode) -> None:
    assert found(answers).mode == mode


def test_most_of_three_questions_count_and_no_more_are_asked_than_needed() -> None:
    called, said = reply("", NATIVE), reply("It is 7.")
    assert found({"native": [called, said, called]}, 3) == Probe("native", {"native": 3}, {"native": 2})
    assert found({"native": [called, called]}, 3).asked == {"native": 2}
    given: Answers = {"native": [said, said], "action": [None]}
    assert found(given, 3, MODES[:2]) == Probe(
        "text", {"native": 2, "action": 1}, {"native": 0, "action": 0}, frozenset({"action"})
    )


@pytest.mark.parametrize(
    ("setting", "probed", "ok", "cure"),
    [
        ("auto", Probe("action", {"native": 2, "action": 2}, {"native": 0, "action": 2}), True, ""),
        ("native", Probe("action", {"native": 2, "action": 2}, {"native": 0, "action": 2}), None, "action"),
        ("auto", Probe("text", {"text": 2}, {"text": 0}), None, "give its roles no tools"),
    ],
)
def test_the_setting_that_follows(setting: str, probed: Probe, ok: bool | None, cure: str) -> None:
    entry = {"url": "http://127.0.0.1:9/v1", "model": "m", "tool_calls": setting}
    config = load_config({"model_config": {"single_model": entry}}, environ={})
    check = _check_tools("measured m", config.entries[0], probed)
    assert (check.ok, cure in check.cure) == (ok, True)
    assert all(WAYS[mode] in check.text for mode in probed.made)


def test_the_box_of_the_question_opens() -> None:
    assert asyncio.run(BOX.tool.ainvoke({"color": "blue"})) == "The number in the blue box is 42."
