"""Simulated models of known skill: how often they are right, what they know, and files that are refused."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from swarm_graph.config import load_config, settings_of_any
from swarm_graph.errors import ConfigError
from swarm_graph.models.ask import QUESTION_NODE, Ask
from swarm_graph.models.keys import check_model
from swarm_graph.models.known_answers import load_known_answers
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.settings import ModelEntry, Simulation

ENTRY = {"when": "Sort the list.", "right": {"coder": "right"}, "wrong": {"coder": ["wrong 1", "wrong 2"]}}


def written(folder: Path, entries: Any) -> str:
    path = folder / "answers.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries), encoding="utf-8")
    return str(path)


def model(path: str, skill: float, name: str = "m", **simulation: Any) -> SimulatedChatModel:
    settings = Simulation(skill=skill, answers=path, **simulation)
    return SimulatedChatModel.of(ModelEntry(model=name, api_type="simulated", simulation=settings))


def ask(simulated: SimulatedChatModel, prompt: str, role: str = "coder", node: str = "") -> str:
    async def answered() -> str:
        who: RunnableConfig = {"metadata": {"role": role, "node": node or role}}
        return "".join([part.text async for part in simulated.astream([HumanMessage(prompt)], who)])

    return asyncio.run(answered())


def test_a_known_question_is_answered_right_as_often_as_the_skill_says(tmp_path: Path) -> None:
    path = written(tmp_path, [ENTRY])
    prompts = [f"Case {number}. Sort the list." for number in range(400)]
    told = [ask(model(path, 0.35), prompt) for prompt in prompts]
    assert told == [ask(model(path, 0.35), prompt) for prompt in prompts]
    assert {*told} == {"right", "wrong 1", "wrong 2"}
    assert 0.28 <= told.count("right") / 400 <= 0.42  # three standard errors
    assert {ask(model(path, 1), prompt) for prompt in prompts[:9]} == {"right"}
    assert "right" not in {ask(model(path, 0), prompt) for prompt in prompts[:9]}
    for other in (model(path, 0.35, seed=1), model(path, 0.35, name="another")):
        assert told[:40] != [ask(other, prompt) for prompt in prompts[:40]]


def test_other_questions_are_answered_as_without_a_skill(tmp_path: Path) -> None:
    simulated, plain = model(written(tmp_path, [ENTRY]), 1), SimulatedChatModel()
    for prompt, role, node in [
        ("Sort it.", "coder", ""),
        ("Sort the list.", "tester", ""),
        ("Sort the list.", "coder", QUESTION_NODE),
    ]:
        assert ask(simulated, prompt, role, node) == ask(plain, prompt, role, node)


def test_the_longest_text_decides_and_a_text_may_be_a_part_of_a_word(tmp_path: Path) -> None:
    def entry(when: str, role: str = "coder") -> dict[str, Any]:
        return {"when": when, "right": {role: when}, "wrong": {role: ["-"]}}

    texts = ["queue", "a queue of pumps", "a queue of pumps, reversed", "ue of pump"]
    known = load_known_answers(written(tmp_path, [*map(entry, texts), entry("a queue of pumps!", "tester")]))

    def found(prompt: str) -> str:
        answer = known.find(Ask("coder", "coder", 1, 1, prompt))
        return answer.right if answer else ""

    assert found("Write a queue of pumps!") == "a queue of pumps"
    assert found("Write a queue of pumps, reversed.") == "a queue of pumps, reversed"
    assert found("Write queues.") == "queue"
    assert found("Rogue of pumps") == "ue of pump"
    assert found("Write a stack.") == ""


def test_a_prompt_is_compared_with_few_of_many_entries(tmp_path: Path) -> None:
    entries = [
        {**ENTRY, "when": f"def function_{number}(values):\n    return sorted the list of values\n"}
        for number in range(5000)
    ]
    known = load_known_answers(written(tmp_path, entries))
    counted = 0

    class Prompt(str):
        def __contains__(self, text: str) -> bool:  # type: ignore[override]
            nonlocal counted
            counted += 1
            return super().__contains__(text)

    prompt = Prompt(f"Complete this.\n{entries[4321]['when']}" + "sorted the list of values" * 100)
    assert known.find(Ask("coder", "coder", 1, 1, prompt))
    assert counted == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "Invalid JSON"),
        ({}, "should be a valid array"),
        ([{"when": "x"}], "0.right: Field required"),
        ([{**ENTRY, "when": ""}], "0.when: .*at least 1"),
        ([{**ENTRY, "wrong": {"coder": []}}], "0.wrong.coder: .*at least 1"),
        ([{**ENTRY, "right": {"codr": "x"}}], "0.right.codr.*: .*'coder'"),
        ([{**ENTRY, "wrong": {"tester": ["x"]}}], "0: .*must name the same roles"),
        ([ENTRY, {**ENTRY, "hint": 1}], "1.hint: Extra inputs"),
        ([{**ENTRY, "right": {"coder": 7}}], "0.right.coder: .*valid string"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model(written(tmp_path, content), 0.5)
    assert "\n" not in str(caught.value)
    assert "answers.json" in str(caught.value)


def test_a_pipe_or_a_huge_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="expected a file"):
        load_known_answers(str(tmp_path / "pipe"))
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(2**40)
    with pytest.raises(ConfigError, match="expected at most"):
        load_known_answers(str(tmp_path / "huge"))
    with pytest.raises(ConfigError, match=r"cannot read the known answers .*No such file"):
        load_known_answers(str(tmp_path / "none"))


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    for text in ("old", "newer"):
        path = written(tmp_path, [{**ENTRY, "right": {"coder": text}}])
        assert ask(model(path, 1), "Sort the list.") == text


def test_a_skill_without_answers_and_answers_without_a_skill_are_refused() -> None:
    for simulation, message in [
        (Simulation(skill=0.5), "simulation.skill needs simulation.answers"),
        (Simulation(answers="x.json"), "simulation.answers needs simulation.skill"),
    ]:
        entry = ModelEntry(model="m", api_type="simulated", simulation=simulation)
        for check in (SimulatedChatModel.of, check_model):
            with pytest.raises(ConfigError, match=message):
                check(entry)


def test_a_received_session_s_answers_are_no_setting_without_trust() -> None:
    models = {"model": "m", "api_type": "simulated", "simulation": {"skill": 0.5}}
    named = {**models, "simulation": {"skill": 0.5, "answers": "/etc/passwd"}}
    assert "model_config" in settings_of_any({"model_config": {"single_model": models}})
    assert "model_config" not in settings_of_any({"model_config": {"single_model": named}})
    assert load_config({"model_config": {"single_model": models}}).is_simulated
