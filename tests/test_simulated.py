"""The simulated model: exact repetition, scripts, failures on demand, and a demo that is true."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.ai import add_ai_message_chunks

from swarm_graph.errors import ConfigError, UnreadableAnswer
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import Play, SimulatedChatModel
from swarm_graph.models.simulated_script import Script, load_script
from swarm_graph.nodes.clarifier import Clarification
from swarm_graph.nodes.reviewer import Judgement
from swarm_graph.roles.answers import read, read_typed
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.settings import ModelEntry, Simulation
from swarm_graph.state import AgentRole

ANSWERS: dict[str, type] = {
    "clarifier": Clarification,
    "reviewer": Judgement,
    "security": Judgement,
    "coder": Files,
    "tester": Files,
}
OTHER = "Write a parser."
DEMO = load_script(None)


def kind(name: str) -> type:
    """The answer type of a role or of a reviewer's node."""
    return ANSWERS.get("reviewer" if name.startswith("review") else name, str)


def model(play: Play | None = None, **simulation: Any) -> SimulatedChatModel:
    return SimulatedChatModel(simulation=Simulation(**simulation), play=play)


def about(role: str, node: str = "", iteration: int = 1, attempt: int = 1) -> dict[str, Any]:
    return {"role": role, "node": node or role, "iteration": iteration, "attempt": attempt}


async def chunks(
    simulated: SimulatedChatModel, who: dict[str, Any], prompt: str = OTHER, **arguments: Any
) -> list[AIMessageChunk]:
    messages = [SystemMessage("You answer."), HumanMessage(prompt)]
    return [part async for part in simulated.astream(messages, {"metadata": who}, **arguments)]


def answer(simulated: SimulatedChatModel, who: dict[str, Any], prompt: str = OTHER) -> str:
    first, *others = asyncio.run(chunks(simulated, who, prompt))
    return add_ai_message_chunks(first, *others).text


def outcomes(**simulation: Any) -> list[str]:
    """The outcomes of 200 calls, each in its own round."""
    simulated = model(**simulation)

    async def call(iteration: int) -> str:
        try:
            parts = await chunks(simulated, about("reviewer", iteration=iteration), response_format={})
            read("".join(part.text for part in parts), Judgement)
        except ConnectionError:
            return "failed"
        except UnreadableAnswer:
            return "malformed"
        return "answered"

    async def calls() -> list[str]:
        return [await call(iteration) for iteration in range(1, 201)]

    return asyncio.run(calls())


@pytest.mark.parametrize("role", AgentRole)
def test_an_invented_answer_has_the_form_that_its_role_needs_and_says_what_it_is(role: AgentRole) -> None:
    for iteration in range(1, 9):
        text = answer(model(), about(role, iteration=iteration))
        assert read(text, kind(role))
        assert "imulated" in text or '"approved": true' in text


TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}}},
    "required": ["name"],
}
VALUES: dict[str, Any] = {
    "floats": {"type": "number", "minimum": 0.2, "maximum": 0.8},
    "negative": {"type": "integer", "maximum": -5},
    "exclusive": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
    "anything": True,
    "no choice": {"enum": [], "type": "string"},
    "a choice": {"enum": ["pump", None]},
    "several types": {"type": ["string", "null"], "maxLength": 3},
    "several forms": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    "a list": {"type": "array", "items": {"const": 7}, "minItems": 2},
    "an object without a word": {"properties": {"x": {"type": "integer"}}},
    "itself": {"$ref": "#/$defs/a~1b"},
}


@pytest.mark.parametrize("name", VALUES)
def test_an_invented_answer_fits_a_schema(name: str) -> None:
    schema = {
        "type": "object",
        "properties": {"value": VALUES[name]},
        "required": ["value"],
        "$defs": {"a/b": TREE},
    }
    form = {"json_schema": {"schema": schema}}
    told = SimulatedChatModel().invoke([HumanMessage(OTHER)], response_format=form).text
    if name == "no choice":  # no value fits an empty enum
        assert json.loads(told)
    else:
        assert read_typed(told, schema)


def test_an_answer_depends_on_the_seed_and_on_the_ask_and_on_nothing_else() -> None:
    asks = [
        (0, about("coder"), OTHER),
        (1, about("coder"), OTHER),
        (0, about("tester"), OTHER),
        (0, about("coder", node="coder_2"), OTHER),
        (0, about("coder", iteration=2), OTHER),
        (0, about("coder", attempt=2), OTHER),
        (0, about("coder"), "Write another parser."),
    ]
    first = [answer(model(seed=seed), who, prompt) for seed, who, prompt in asks]
    again = [answer(model(seed=seed), who, prompt) for seed, who, prompt in reversed(asks)]
    assert first == again[::-1]
    assert len(set(first)) == len(asks)


def test_any_number_of_calls_at_once_answer_as_one_after_the_other() -> None:
    simulated = model(tokens_per_s=1e6)
    asks = [about("coder", iteration=iteration) for iteration in range(1, 201)]

    async def together() -> list[str]:
        streams = await asyncio.gather(*(chunks(simulated, who) for who in asks))
        return ["".join(part.text for part in stream) for stream in streams]

    at_once = asyncio.run(together())
    assert at_once == [answer(model(), who) for who in asks]
    assert len(set(at_once)) == 200


@pytest.mark.parametrize("pace", [0, 1e6])
def test_the_pieces_of_a_stream_are_the_answer_and_the_last_carries_its_usage(pace: float) -> None:
    text = "  One\n\n\tabsurdlylongwordwithoutanyspace two. \n"
    simulated = model(lambda _: text, tokens_per_s=pace)
    *pieces, last = asyncio.run(chunks(simulated, about("architect"), "x" * 400))
    assert "".join(piece.text for piece in pieces) == text
    assert (len(pieces) == 1) is (pace == 0)
    assert all(piece.usage_metadata is None for piece in pieces)
    assert last.usage_metadata == {
        "input_tokens": (400 + len("You answer.")) // 4,
        "output_tokens": len(text) // 4,
        "total_tokens": (400 + len("You answer.")) // 4 + len(text) // 4,
    }
    assert last.response_metadata["finish_reason"] == "stop"


def test_an_empty_answer_still_ends() -> None:
    parts = asyncio.run(chunks(model(lambda _: "", tokens_per_s=1e6), about("coder")))
    assert [part.text for part in parts] == [""]
    assert parts[-1].response_metadata["finish_reason"] == "stop"


def test_without_a_caller_it_answers_like_any_chat_model() -> None:
    message = model().invoke("Hello")
    assert message.text.startswith("Simulated answer")
    assert message.usage_metadata
    assert asyncio.run(model().ainvoke("Hello")).text == message.text


@pytest.mark.parametrize(("rate", "outcome"), [("failure_rate", "failed"), ("malformed_rate", "malformed")])
def test_a_rate_is_a_share_of_the_calls_and_repeats(rate: str, outcome: str) -> None:
    some = outcomes(**{rate: 0.3})
    assert some == outcomes(**{rate: 0.3})
    assert some != outcomes(**{rate: 0.3}, seed=1)
    assert set(some) == {"answered", outcome}
    assert 40 <= some.count(outcome) <= 80
    assert set(outcomes(**{rate: 0})) == {"answered"}
    assert set(outcomes(**{rate: 1})) == {outcome}


def test_another_attempt_has_another_chance() -> None:
    simulated = model(failure_rate=0.5)
    results = set()
    for attempt in range(1, 20):
        try:
            results.add(bool(answer(simulated, about("coder", attempt=attempt))))
        except ConnectionError:
            results.add(False)
    assert results == {True, False}


def test_only_typed_answers_are_malformed() -> None:
    assert read(answer(model(malformed_rate=1), about("coder")), Files).written


def test_a_play_answers_raises_or_leaves_it_to_the_script() -> None:
    asked: list[Ask] = []

    def play(ask: Ask) -> str | Exception | None:
        asked.append(ask)
        played: dict[str, str | Exception] = {"coder": "Played.", "tester": TimeoutError("too slow")}
        return played.get(ask.role)

    assert answer(model(play), about("coder", "coder_2", 3, 4)) == "Played."
    assert asked == [Ask("coder", "coder_2", 3, 4, f"You answer.\n{OTHER}")]
    with pytest.raises(TimeoutError, match="too slow"):
        answer(model(play), about("tester"))
    assert answer(model(play), about("architect")).startswith("Simulated architect")


SCRIPT = """\ufeffNotes that nobody reads.
<!-- when: queue -->
<!-- coder 1 -->
first
<!-- coder 3 -->
third
<!-- reviewer 1 -->
any review
<!-- review_style 1 -->
style
<!-- reviewer 2 -->
any review, again
"""


def scripted(path: Path) -> SimulatedChatModel:
    return SimulatedChatModel.of(
        ModelEntry(model="m", api_type="simulated", simulation=Simulation(script=str(path)))
    )


def test_a_script_is_looked_up_by_round_then_node_then_role(tmp_path: Path) -> None:
    path = tmp_path / "script.md"
    path.write_text(SCRIPT, encoding="utf-8")
    simulated = scripted(path)
    asks = {
        ("coder", "coder", 0): "first",
        ("coder", "coder", 1): "first",
        ("coder", "coder", 2): "first",
        ("coder", "coder", 3): "third",
        ("coder", "coder", 9): "third",
        ("reviewer", "review_style", 1): "style",
        ("reviewer", "review_security", 1): "any review",
        ("reviewer", "review_style", 2): "any review, again",
    }
    for (role, node, iteration), text in asks.items():
        assert answer(simulated, about(role, node, iteration), "a queue") == text
    assert answer(simulated, about("architect"), "a queue").startswith("Simulated")
    assert read(answer(simulated, about("coder"), "a stack"), Files).written


def test_a_script_without_a_condition_answers_everything() -> None:
    assert Script("", {("coder", 1): "x"}).answer(Ask("coder", "coder", 1, 1, "anything")) == "x"


def test_a_script_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "script.md"
    for text in ("old", "new"):
        path.write_text(f"<!-- coder 1 -->\n{text}\n")
        assert answer(scripted(path), about("coder")) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"\xff", "cannot read"),
        (b"no answers", "has no answer; begin each with a line"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused_at_once(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "script.md"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        scripted(path)
    assert "\n" not in str(caught.value)


# --- the demo ------------------------------------------------------------------------------------

REQUEST = "Create a Python class for managing a FIFO queue"


@pytest.mark.parametrize(("name", "iteration"), DEMO.answers)
def test_every_answer_of_the_demo_has_the_form_of_its_role(name: str, iteration: int) -> None:
    found: Any = read(DEMO.answers[name, iteration], kind(name))
    if isinstance(found, Judgement):
        assert found.approved is not any(
            remark.severity in ("critical", "major") for remark in found.findings
        )
    if isinstance(found, str):
        assert found == DEMO.answers[name, iteration]


def test_the_demo_has_an_answer_for_every_role_and_focus() -> None:
    focuses = ("correctness", "performance", "security", "style")
    names = {*AgentRole, *(f"review_{focus}" for focus in focuses)}
    assert {name for name, iteration in DEMO.answers if iteration == 1} == names
    assert {name for name, _ in DEMO.answers} == names


def test_the_demo_s_files_are_as_the_prompts_ask_for_them() -> None:
    for name, iteration in DEMO.answers:
        if kind(name) is Files:
            text = DEMO.answers[name, iteration]
            assert fenced(read(text, Files).written) in text


def test_the_demo_s_second_round_approves_and_its_first_does_not() -> None:
    reviews = {key: read(text, Judgement) for key, text in DEMO.answers.items() if kind(key[0]) is Judgement}
    assert all(review.approved for (_, iteration), review in reviews.items() if iteration == 2)
    assert not reviews["reviewer", 1].approved
    assert not reviews["review_correctness", 1].approved


def run_tests(folder: Path, code: int, tests: int) -> str:
    """pytest's summary for the demo's code and tests."""
    for name, iteration in (("coder", code), ("tester", tests)):
        for path, text in read(DEMO.answers[name, iteration], Files).written.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, "tests"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_the_demo_s_story_is_true(tmp_path: Path) -> None:
    for name in ("first", "second", "cured"):
        (tmp_path / name).mkdir()
    assert run_tests(tmp_path / "first", code=1, tests=1) == "2 failed, 14 passed"
    assert run_tests(tmp_path / "second", code=2, tests=2) == "18 passed"
    assert run_tests(tmp_path / "cured", code=2, tests=1) == "16 passed"


def test_the_readme_of_the_demo_prints_what_it_says(tmp_path: Path) -> None:
    text = read(DEMO.answers["documenter", 1], str)
    example = text.partition("## Use\n\n```python\n")[2].partition("```")[0]
    printed = text.partition("It prints\n\n```text\n")[2].partition("```")[0]
    assert example
    assert printed
    for path, code in read(DEMO.answers["coder", 2], Files).written.items():
        (tmp_path / Path(path).name).write_text(code, encoding="utf-8")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == printed


def test_the_demo_answers_its_own_request_and_no_other() -> None:
    requirements = read(answer(model(), about("clarifier"), REQUEST), Clarification).requirements
    assert requirements == json.loads(DEMO.answers["clarifier", 1])["requirements"]
    assert "Simulated" in answer(model(), about("clarifier"), OTHER)
