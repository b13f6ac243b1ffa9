"""Calls that models write as text: a corpus of all forms and of answers that only look like them."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from swarm_graph.state import ToolCall
from swarm_graph.text import check_json_like
from swarm_graph.tools.names import wire_name
from swarm_graph.tools.written_calls import MAX_PROSE, is_call, without_calls, written_calls

CORPUS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "data/written_calls.yaml").read_text(encoding="utf-8")
)
ARGUMENTS = {
    "project.read": ("path", "first_line", "lines"),
    "project.list": ("glob",),
    "project.search": ("text", "glob"),
    "time.get_current_time": ("timezone",),
    "files.write": ("path", "content"),
    "search": ("text", "limit"),
}
NAMES = {spelling: name for name in ARGUMENTS for spelling in (name, wire_name(name))}
CALL = '{"name": "project__read", "arguments": {"path": "src/app.py"}}'
FRAMED = f"<tool_call>\n{CALL}\n</tool_call>"
READ = ToolCall("project.read", {"path": "src/app.py"})


def calls_in(text: str) -> list[ToolCall]:
    return written_calls(text, NAMES, ARGUMENTS)


@pytest.mark.parametrize("case", CORPUS, ids=[case["name"] for case in CORPUS])
def test_the_corpus(case: dict[str, Any]) -> None:
    found = calls_in(case["text"])
    assert [[call.name, call.arguments] for call in found] == case["calls"]
    assert any(call.problem for call in found) is case.get("problem", False)
    if not case["calls"]:
        assert without_calls(case["text"], NAMES, ARGUMENTS) == case["text"]


def test_the_corpus_has_both_kinds() -> None:
    calls = sum(bool(case["calls"]) for case in CORPUS)
    assert calls >= 60
    assert len(CORPUS) - calls >= 40


@pytest.mark.parametrize("case", CORPUS, ids=[case["name"] for case in CORPUS])
def test_no_call_without_a_name_that_is_offered(case: dict[str, Any]) -> None:
    assert written_calls(case["text"], {"other__tool": "other.tool"}, {"other.tool": ("path",)}) == []


def test_what_a_text_says_besides_its_calls() -> None:
    behind = "Then I answer.<|im_end|>\n<tool_response>no</tool_response>"
    text = f"<think>hm</think>I read it.\n\n{FRAMED}\n{behind}"
    assert calls_in(text) == [READ]
    assert without_calls(text, NAMES) == "I read it.\n\nThen I answer."


def test_a_long_text_is_an_answer() -> None:
    sentence = "The module reads its settings from a file. "
    short, long = sentence * 20, sentence * (MAX_PROSE // len(sentence) + 1)
    assert calls_in(f"{short}\n{FRAMED}") == [READ]
    assert calls_in(f"{long}\n{FRAMED}") == []
    assert calls_in(f"{FRAMED}\n{short}") == []


def test_an_answer_is_a_call_whatever_tool_it_names() -> None:
    def is_one(text: str) -> bool:
        return is_call(text, NAMES, ARGUMENTS)

    called = [
        FRAMED,
        f"I read it.\n\n{FRAMED.replace('project__read', 'read_file')}",
        '{"tool": "answer"}',
        '{"name": "read_file", "arguments": {"path": "a"}}',
        '[TOOL_CALLS]read_file[ARGS]{"path": "a"}',
        "<function=read_file>\n<parameter=path>a</parameter>\n</function>",
    ]
    assert [text for text in called if not is_one(text)] == []
    answers = [
        "# Design\n\nUse `search`.",
        '{"name": "server", "parameters": {"port": 1}}',
        f"{'The file holds the settings. ' * 20}\n{FRAMED}",
        f"src/a.json\n```json\n{CALL}\n```",
    ]
    assert [text for text in answers if is_one(text)] == []


def test_calls_that_name_no_arguments_need_their_names() -> None:
    flat, positional = '{"tool": "search", "text": "x"}', '```\nsearch("x")\n```'
    for text in (flat, positional):
        assert calls_in(text) == [ToolCall("search", {"text": "x"})]
        assert written_calls(text, NAMES) == []


def test_arguments_that_cannot_be_kept_are_a_problem() -> None:
    for value in ("NaN", "1" + "0" * 30, "[" * 100 + "]" * 100):
        (call,) = calls_in(f'<tool_call>{{"name": "search", "arguments": {{"text": {value}}}}}</tool_call>')
        assert (call.name, call.arguments, bool(call.problem)) == ("search", {}, True)
    (call,) = calls_in('{"name": "search", "arguments": {"text": "\\ud83d"}}')
    assert call.arguments == {"text": "\ufffd"}


# --- mutations ---------------------------------------------------------------------------------------

PIECES = [
    "<tool_call>", "</tool_call>", "<think>", "</think>", "```json\n", "```\n", "\n", " ", '"', "'", "{",
    "}", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "Action: ", "Action Input: ", "<function=",
    "<parameter=path>", "<invoke name=", "functools[", "<|channel|>", "<|message|>", "(", ")", "\\", "name",
    "arguments", "\ufeff", "\u2581", "\x00", "<|im_end|>", "<document>", "</document>", "call:", "<escape>",
    "[", "]", "not_offered",
]  # fmt: skip


def mutated(text: str, chance: random.Random) -> str:
    """A text with some places deleted, doubled, exchanged, or with a piece of markup put in."""
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        piece = chance.choice([*PIECES, "", text[start:end] * 2])
        text = text[:start] + piece + text[end:]
    return text


def test_mutations_never_raise_and_never_invent_a_call() -> None:
    chance = random.Random(20261129)
    for _ in range(60):
        for case in CORPUS:
            text = mutated(case["text"], chance)
            for call in calls_in(text):
                assert call.name in ARGUMENTS
                assert call.name in text or wire_name(call.name) in text
                check_json_like(call.arguments)
                json.dumps(call.arguments).encode()


def test_mutations_without_a_name_hold_no_call() -> None:
    chance = random.Random(7)
    nameless = [case["text"] for case in CORPUS]
    for name in sorted(NAMES, key=len, reverse=True):
        nameless = [text.replace(name, "not_offered") for text in nameless]
    for _ in range(20):
        for text in nameless:
            assert calls_in(mutated(text, chance)) == []


# --- linear time -------------------------------------------------------------------------------------

UNITS = [
    "{", "{\n", "[", "[\n", '{"a":', "<tool_call>", "<tool_call>\n", "</tool_call>", "<think>",
    "<plan></plan>", "<|x|>", "<t>\n", "```\n", "```json\n", "project__read(", "project__read(\n",
    "project__read\n", "project__read\n{}\n", f"{FRAMED}\n", f"{CALL}\n", f"{CALL[:-2]}\n",
    "<function=project__read>", '<invoke name="project__read">\n', "<parameter=path>", "Action: \n",
    "Action: project__read\n", " ", "\n", "`", "call:project__read{", "to=project__read", "[TOOL_CALLS]",
    "[TOOL_CALLS]project__read[ARGS]", "print(x)\n", "x </think>\n", "<document>\n", "</x>", '\\"',
    "<|channel|>analysis<|message|>", "<", "a. <", "* ", "a-", "a = ", "<name> ",
    "<arg_key>a</arg_key><arg_value>b</arg_value>", "{'a': ", "\u273fFUNCTION\u273f: ", "<!-- ",
]  # fmt: skip
HEADS = [
    "",
    "<tool_call>",
    "<tool_call>project__read",
    '{"name": "project__read", "arguments": {"path": "',
    "```json\n",
]


@pytest.mark.parametrize("unit", UNITS)
def test_reading_takes_time_in_proportion_to_the_text(unit: str) -> None:
    for head in HEADS:
        assert _is_linear(head, unit), head


def _is_linear(head: str, unit: str) -> bool:
    """Whether 500 KB take about 10 times as long as 50 KB, and not 100 times."""
    for _ in range(3):
        small, large = (
            _processor_time(head + unit * (size // len(unit)) + " project__read")
            for size in (50_000, 500_000)
        )
        if large < 30 * small + 0.05:
            return True
    return False


def _processor_time(text: str) -> float:
    began = time.process_time()
    calls_in(text)
    return time.process_time() - began
