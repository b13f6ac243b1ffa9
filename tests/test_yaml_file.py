"""Task files in YAML 1.2: data reaches the prompt as it is written, and each error is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import config
from test_cli import swarm
from test_tables import growth

from swarm_graph.errors import InputError
from swarm_graph.roles.bindings import Bindings
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.files import read_tasks
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.tasks.yaml_file import parse_yaml

DATA = Path(__file__).parent / "data" / "jobs"
TASK = "- task_id: a\n  assigned_role: coder\n  "


def read(folder: Path, text: str) -> list[TaskSpec]:
    (folder / "tasks.yaml").write_text(text)
    return read_tasks(folder / "tasks.yaml")[1]


def prompt_of(spec: TaskSpec) -> str:
    prompts = TaskPrompts(Bindings(config()), "", TaskLimit(9, set()))
    return "\n".join(message.text for message in prompts.messages(spec, {}))


def test_a_task_file_runs_with_its_data_as_it_is_written(tmp_path: Path) -> None:
    (task,) = read_tasks(DATA / "as_written.yaml")[1]
    assert task.metadata == {"country": "NO", "tag": "010", "time": "12:30:00"}
    done = swarm(
        "run", "--tasks", str(DATA / "as_written.yaml"), "--simulate", "--session", "s", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "swarm-output/s/results.csv").read_text()
    assert table.splitlines()[1].startswith("a,documenter,COMPLETED,NO,010,12:30:00,")
    assert (
        '"country": "NO", "tag": "010", "time": "12:30:00"'
        in (tmp_path / "swarm-output/s/results.jsonl").read_text()
    )


WRITTEN = [
    "NO", "no", "yes", "on", "off", "y", "010", "00", "007", "1_000", "0o17", "0x1F", "0b11", "12:30",
    "12:30:00", "190:20:30", "1.10", "1.0", "0.5", ".5", "1.", "1e3", "1.5e3", "+5", "-3", "-0", "287",
    "12345678901234567890", "2026-11-29", "2026-02-30", "2001-12-14t21:59:43.10-05:00", "~", "Null",
    "true", "True", "FALSE", ".nan", ".inf", "-.inf", "1,5", "P-101", "=", "3.0.1",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
@pytest.mark.parametrize("place", ["{{x: {}}}", "{{y: [{{z: {}}}]}}", "{{<<: {{x: {}}}}}"])
def test_data_reaches_the_prompt_as_it_is_written(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("Look.\n---\n<$x>" if "x:" in place else "Look.\n---\n<$y>")
    if "," in text:
        text = f"'{text}'"
    (task,) = read(tmp_path, f"{TASK}metadata: {place.format(text)}\n  prompt: p.md")
    shown = prompt_of(task).replace('"', "")
    text = text.strip("'")
    assert (f"<{text}>" if "x:" in place else f"<[{{z: {text}}}]>") in shown
    everything = prompt_of(task.model_copy(update={"prompt": None})).replace('"', "")
    assert f": {text}\n" in everything


def test_data_that_json_writes_alike_keeps_its_type(tmp_path: Path) -> None:
    (task,) = read(tmp_path, TASK + "metadata: {n: 287, m: -1, f: 0.5, t: true, z: null, s: '5', e: }")
    assert task.metadata == {"n": 287, "m": -1, "f": 0.5, "t": True, "z": None, "s": "5", "e": ""}


def test_keys_and_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    text = (
        f"request: 010\ntasks:\n{TASK}metadata: {{010: a, NO: b, 1.10: c}}\n"
        "  description: 1_0\n  task_type: 010\n- {task_id: '010', assigned_role: coder}\n"
        "- {task_id: b, assigned_role: coder, dependencies: [010]}\n"
    )
    (tmp_path / "tasks.yaml").write_text(text)
    request, tasks = read_tasks(tmp_path / "tasks.yaml")
    assert request == "010"
    assert tasks[0].metadata == {"010": "a", "NO": "b", "1.10": "c"}
    assert (tasks[0].description, tasks[0].task_type, tasks[2].dependencies) == ("1_0", "010", ["010"])


def test_the_other_fields_have_the_types_of_yaml_1_2(tmp_path: Path) -> None:
    fields = "priority: 010\n  expands: yes\n  parameters: {temperature: .5, max_tokens: 0x10}\n  model: ~"
    (task,) = read(tmp_path, TASK + fields)
    assert (task.priority, task.expands, task.model) == (10, True, None)
    assert task.parameters == {"temperature": 0.5, "max_tokens": 16}
    properties = "{x: {minimum: 0.50, enum: [NO, 1e3]}}"
    schema = f"{{type: object, properties: {properties}, additionalProperties: False}}"
    (task,) = read(tmp_path, f"{TASK}answer: {schema}")
    assert task.answer == {
        "type": "object",
        "properties": {"x": {"minimum": 0.5, "enum": ["NO", 1000.0]}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("name", ["NO", "2026-11-29", "yes", "0o8", "1.2.3"])
def test_an_id_that_yaml_1_2_takes_for_text_is_one(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, f"- {{task_id: {name}, assigned_role: coder}}")[0].task_id == name
    assert read(tmp_path, f"{name}: {{assigned_role: coder}}")[0].task_id == name


REFUSED = {
    "an id that is a number": (
        "- task_id: 010\n",
        'line 1: the task_id 010 is a number, and ids are text; quote it: "010"',
    ),
    "an id that is a decimal": ("tasks:\n- task_id: 1.10\n", 'line 2: the task_id 1.10 is a number'),
    "an id that is an exponent": ("- {task_id: 1e3}", "the task_id 1e3 is a number"),
    "an id that is true": ("- {task_id: true}", "the task_id true is a truth value"),
    "an id that is null": ("- {task_id: ~}", "the task_id ~ is null"),
    "a key that is a number": ("tasks:\n  a: {}\n  007: {}", 'line 3: the task_id 007 is a number'),
    "an id in a merge": ("- &a {task_id: 5}", "the task_id 5 is a number"),
    "a tab": (TASK + "\tpriority: 1", "line 3: while scanning for the next token found character"),
    "a key twice": (TASK + "priority: 1\n  priority: 2", "line 4: the key 'priority' occurs twice"),
    "a key twice in data": (TASK + "metadata: {x: {y: 1, y: 2}}", "line 3: the key 'y' occurs twice"),
    "no end": (TASK + "metadata: {", "is not valid YAML: line 3"),
    "no anchor": ("[*a]", "line 1: found undefined alias 'a'"),
    "two documents": ("--- a\n--- b", "line 2: expected a single document"),
    "a control character": ("a: \0", "is not valid YAML: unacceptable character"),
    "python": (TASK + "metadata: !!python/name:os.system ''", "line 3: could not determine a constructor"),
    "a number without end": ("tasks: " + "1" * 5000, "is not valid YAML"),
    "an infinite temperature": (TASK + "parameters: {temperature: .inf}", "is inf"),
    "a deep nest": ("[" * 2000, "is nested too deep"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_error_is_one_line(case: str, tmp_path: Path) -> None:
    text, expected = REFUSED[case]
    with pytest.raises(InputError) as refusal:
        read(tmp_path, text)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_merges_of_merges_stay_small() -> None:
    text = "- &a0 {k: v}\n"
    text += "".join(f"- &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}], z{n}: 1}}\n" for n in range(1, 30))
    assert len(parse_yaml(Path("t.yaml"), text)[-1]) == 30


@pytest.mark.slow
def test_a_long_chain_of_merges_is_refused() -> None:
    text = "- &a0 {k: v}\n" + "".join(f"- &a{n} {{<<: *a{n - 1}, k{n}: v}}\n" for n in range(1, 2000))
    with pytest.raises(InputError, match="the mappings under '<<' come to more than 1000000 values"):
        parse_yaml(Path("t.yaml"), text)


HOSTILE: dict[str, Any] = {
    "anchors": lambda size: "[" + ",".join(f"&a{number} b" for number in range(size // 8)) + "]",
    "aliases": lambda size: "[&a b" + ",*a" * (size // 3) + "]",
    "blanks": lambda size: "a: b" + " " * size + "c",
    "empty lines": lambda size: "a: b" + "\n" * size + "  c",
    "merges": lambda size: "- &a {k: v}\n- {<<: [" + ",".join(["*a"] * (size // 3)) + "]}",
    "digits": lambda size: f"{TASK}metadata: {{x: {'1' * size}.{'0' * size}}}",
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", HOSTILE)
def test_a_file_takes_time_in_proportion_to_its_length(shape: str) -> None:
    assert growth(lambda size: parse_yaml(Path("t.yaml"), HOSTILE[shape](size))) < 40
