"""Tasks as users write them: what is accepted, and what is refused with one line before anything runs."""

from __future__ import annotations

from datetime import date
from typing import Any

import jsonschema
import pytest

from swarm_graph import AgentRole, Task, TaskStatus
from swarm_graph.errors import InputError
from swarm_graph.tasks.conditions import Condition
from swarm_graph.tasks.dependencies import checked_graph, waits_for
from swarm_graph.tasks.spec import TaskSpec, task_specs, tasks_schema


def task(name: str, *dependencies: str, **more: Any) -> dict[str, Any]:
    return {"task_id": name, "assigned_role": "coder", "dependencies": list(dependencies), **more}


def graph(*tasks: Any) -> dict[str, TaskSpec]:
    return checked_graph(task_specs(list(tasks), list(AgentRole)))


def test_tasks_come_as_tasks_as_dicts_and_by_id() -> None:
    one = Task("T1", "coding", "Write it", AgentRole.CODER, TaskStatus.PENDING, 8, ["T0"], {"count": 287})
    spec = task_specs([one])[0]
    assert (spec.task_id, spec.description, spec.priority) == ("T1", "Write it", 8)
    assert (spec.dependencies, spec.metadata, spec.task_type) == (["T0"], {"count": 287}, "coding")
    assert task_specs({"T1": {"assigned_role": "tester"}})[0].assigned_role == AgentRole.TESTER
    assert TaskSpec.model_validate(spec.to_dict()) == spec


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


ENDLESS: dict[str, Any] = {}
ENDLESS["again"] = ENDLESS
PAGES = {"type": "object", "properties": {"pages": {"type": "integer"}}}
CYCLE = [task("a", "c"), task("b", "a"), task("c", "b"), task("d")]
REFUSED: dict[str, tuple[list[Any], str]] = {
    "no task": ([], "there are no tasks"),
    "an id twice": ([task("a"), task("b"), task("a")], "two tasks have the id 'a'"),
    "an unknown dependency": (
        [task("T001"), task("b", "T0001")],
        "depends on 'T0001', which does not exist; did you mean",
    ),
    "itself": ([task("a", "a")], "task 'a' depends on itself"),
    "a cycle": (CYCLE, "form a cycle: "),
    "a cycle by conditions": ([task("a", when="b.x > 1"), task("b", "a")], "form a cycle: "),
    "an unknown role": (
        [{**task("a"), "assigned_role": "codr"}],
        "unknown role 'codr'; did you mean 'coder'",
    ),
    "no role": ([{"task_id": "a"}], "assigned_role: field required"),
    "an id that names no file": (
        [task("../a")],
        "task_id: '../a' cannot name a file; expected letters, digits",
    ),
    "an id that is a number": (
        [{**task("a"), "task_id": 10}],
        "task_id: expected text, got 10; quote it",
    ),
    "an unknown key": (
        [task("a", dependancies=[])],
        "unknown key 'dependancies'; did you mean 'dependencies'?",
    ),
    "not an object": (["a"], "task 1 is not an object"),
    "an unknown parameter": ([task("a", parameters={"temprature": 1})], "unknown parameter 'temprature'"),
    "a parameter that is too large": ([task("a", parameters={"temperature": 9})], "less than or equal to 2"),
    "an invalid schema": ([task("a", answer={"type": "objct"})], "is not a JSON Schema"),
    "a schema that would be fetched": (
        [task("a", answer={"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:9/x.json"}}})],
        "the reference 'http://127.0.0.1:9/x.json' leads to another document",
    ),
    "a reference to nowhere": (
        [task("a", answer={"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}})],
        "the reference '#/$defs/y' leads nowhere",
    ),
    "a schema that is a cycle": ([task("a", answer={"type": "object", "$ref": "#"})], "form a cycle"),
    "a schema nested too deep": ([task("a", answer=deep(150))], "is nested more than 64 deep"),
    "a number beyond 64 bits": ([task("a", metadata={"n": 2**63})], "metadata.n is a number of more than"),
    "no number": ([task("a", metadata={"x": [0.5, float("nan")]})], "metadata.x.1 is nan"),
    "half a character": ([task("a", description="\ud800")], "description holds half a character"),
    "no plain data": ([task("a", metadata={"when": date(2026, 2, 3)})], "metadata.when is a date"),
    "a key that is no text": ([task("a", metadata={1: "x"})], "metadata has the key 1"),
    "data without end": ([task("a", metadata=ENDLESS)], "is nested more than 64 deep"),
    "a schema of no object": ([task("a", answer={"type": "string"})], "expected a JSON Schema of an object"),
    "a condition with a call": ([task("b"), task("a", when="open('b')")], "may not use call"),
    "a condition that breaks off": ([task("b"), task("a", when="b.x ==")], "cannot be parsed"),
    "a condition on nothing": ([task("a", when="1 == 1")], "names no task"),
    "a condition on an unknown task": (
        [task("a", when="zz.x == 1")],
        "depends on 'zz', which does not exist",
    ),
    "a condition on a value that a task does not have": (
        [task("b"), task("a", when="b.verdict == 'revise'")],
        "task 'a': the condition \"b.verdict == 'revise'\" reads 'verdict', but 'b' has only result",
    ),
    "a condition on a value that an answer does not have": (
        [task("b", answer=PAGES), task("a", when="b.page > 1")],
        "reads 'page', but 'b' has only result, pages",
    ),
    "a condition on a task as a whole": ([task("b"), task("a", when="b == 1")], "names no value of b"),
    "an expansion with a form": ([task("a", expands=True, answer={"type": "object"})], "a task that expands"),
    "a completed task": (
        [Task("a", "t", "d", AgentRole.CODER, TaskStatus.COMPLETED)],
        "is COMPLETED; expected status PENDING",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_tasks_are_refused_with_one_line(case: str) -> None:
    tasks, expected = REFUSED[case]
    with pytest.raises(InputError) as refusal:
        graph(*tasks)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_cycle_is_printed_in_its_order() -> None:
    with pytest.raises(InputError, match="cycle") as refusal:
        graph(*CYCLE)
    names = str(refusal.value).rpartition(": ")[2].split(" → ")
    assert names[0] == names[-1]
    assert sorted(names[1:]) == ["a", "b", "c"]


def test_a_long_cycle_and_a_long_chain_need_no_recursion() -> None:
    chain = [task(f"t{n}", *([f"t{n - 1}"] if n else [])) for n in range(10_001)]
    assert len(graph(*chain)) == 10_001
    with pytest.raises(InputError) as refusal:
        graph(*chain[1:], task("t0", "t10000"))
    assert len(str(refusal.value)) < 200


def test_conditions_may_read_every_value_that_a_task_can_have() -> None:
    open_ended = {"type": "object", "anyOf": [PAGES, {"type": "object"}]}
    review, typed, free = task("r"), task("p", answer=PAGES), task("f", answer=open_ended)
    when = "r.verdict == 'revise' and p.pages > 2 and f.anything == 1 and tasks['p'].result != ''"
    assert "x" in graph({**review, "assigned_role": "security"}, typed, free, task("x", when=when))


def test_a_task_waits_for_the_tasks_in_its_condition() -> None:
    tasks = graph(
        task("T1"), task("T-2"), task("c", "T1", when="tasks['T-2'].result > 'a' and T1.result != ''")
    )
    assert waits_for(tasks["c"]) == ["T1", "T-2"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("T.verdict == 'revise'", True),
        ("T.verdict != 'revise' or T.n >= 3", True),
        ("not (T.n in [1, 2])", True),
        ("T.deep.inner.x == 1", True),
        ("T.text == None", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    values = {"verdict": "revise", "n": 3, "text": "t", "deep": {"inner": {"x": 1}}}
    assert Condition(text).holds({"T": values}) is holds


@pytest.mark.parametrize(
    "text",
    [
        "T.__class__",
        "T.x.__class__.__mro__",
        "T.x % T.n",
        "T.nothing == 1",
        "T.x * 1000000000 == 'a'",
        "T.x < 3",
    ],
)
def test_a_failing_condition_names_the_values_of_the_task(text: str) -> None:
    with pytest.raises(InputError, match="T has x, n"):
        Condition(text).holds({"T": {"x": "a%d%d", "n": 1}})


@pytest.mark.parametrize(
    "text",
    ["T.x()", "(lambda: 1)() == T.x", "[y for y in T.x]", "T.x ** 9 > 1", "T.x if T.y else 1", "f'{T.x}'"],
)
def test_a_condition_is_made_of_comparisons_only(text: str) -> None:
    with pytest.raises(ValueError, match="may not use"):
        Condition(text)


def test_the_schema_for_editors_accepts_the_same_tasks() -> None:
    schema = tasks_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    check.validate({"request": "r", "tasks": [task("a", "b", when="b.x == 1", expands=False)]})
    with pytest.raises(jsonschema.ValidationError):
        check.validate({"tasks": [{**task("a"), "assigned_role": "The Coder"}]})
