"""Task files and the inputs of a batch: what they become, and one line for each error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tables import growth

from swarm_graph.config import load_config
from swarm_graph.errors import InputError
from swarm_graph.roles.bindings import Bindings
from swarm_graph.state import AgentRole
from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.dry_run import critical_path, dry_run, dry_run_text, task_mermaid
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.files import _unique, batch_tasks, read_tasks
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.spec import TaskSpec, task_specs, tasks_schema

YAML = """\
request: A FIFO queue
tasks:
  - task_id: T001
    assigned_role: clarifier
    description: Analyze requirements
    priority: 10
    metadata: {document_type: LAO, count: 287}
  - task_id: T002
    assigned_role: coder
    dependencies: [T001]
    when: "T001.result != ''"
    prompt: prompts/code.md
    files: [data/a.txt]
"""
CSV = """\
task_id,assigned_role,description,priority,dependencies,expands,unit,answer
T001,clarifier,Analyze requirements,10,,,U-1,
T002,coder,"Implement, all",,T001;T000,no,U-2,"{""type"": ""object""}"
T000,architect,,-1,,yes,,
"""


CSV_OF_TABS = "task_id\tassigned_role\tdescription\tsource_file\na\tcoder\tSay, when\tx.xls\n"


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def test_a_graph_in_yaml_and_in_json(tmp_path: Path) -> None:
    import yaml

    write(tmp_path, {"g/tasks.yaml": YAML, "g/tasks.json": json.dumps(yaml.safe_load(YAML))})
    request, tasks = read_tasks(tmp_path / "g" / "tasks.yaml")
    assert request == "A FIFO queue"
    assert (tasks[0].priority, tasks[0].metadata["count"]) == (10, 287)
    assert tasks[1].prompt == str(tmp_path / "g" / "prompts" / "code.md")
    assert tasks[1].files == [str(tmp_path / "g" / "data" / "a.txt")]
    assert read_tasks(tmp_path / "g" / "tasks.json") == (request, tasks)


def test_a_graph_in_csv(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.csv": CSV})
    _, tasks = read_tasks(tmp_path / "tasks.csv")
    assert [task.priority for task in tasks] == [10, 5, -1]
    assert tasks[1].dependencies == ["T001", "T000"]
    assert tasks[1].description == "Implement, all"
    assert tasks[1].answer == {"type": "object"}
    assert [task.expands for task in tasks] == [False, False, True]
    assert [task.metadata["unit"] for task in tasks] == ["U-1", "U-2", ""]


def test_yaml_keeps_dates_as_they_are_written_and_merges(tmp_path: Path) -> None:
    text = (
        "base: &base {assigned_role: coder, priority: 7}\n"
        "other: {<<: *base, priority: 3, metadata: {day: 2026-02-30, at: 2026-02-03}}\n"
    )
    write(tmp_path, {"tasks.yaml": text})
    tasks = read_tasks(tmp_path / "tasks.yaml")[1]
    assert [task.priority for task in tasks] == [7, 3]
    assert tasks[1].metadata == {"day": "2026-02-30", "at": "2026-02-03"}


YAML_TASK = "- task_id: a\n  assigned_role: coder\n  "
BROKEN: dict[str, tuple[str, str | bytes, str]] = {
    "missing": ("tasks.yml", "", "cannot read the file"),
    "binary": ("tasks.json", b"\xff\xfe", "is not UTF-8"),
    "another format": ("tasks.toml", "x = 1", "the name of a task file must end in .yaml, .json or .csv"),
    "yaml": ("tasks.yaml", "tasks: [", "is not valid YAML"),
    "python in yaml": ("tasks.yaml", "!!python/object/apply:os.system [ls]", "is not valid YAML"),
    "json": ("tasks.json", "[{]", "is not valid JSON"),
    "deep json": ("tasks.json", "[" * 100_000, "nested too deep"),
    "nothing": ("tasks.yaml", "", "the tasks are not a list"),
    "a text": ("tasks.json", '"x"', "the tasks are not a list"),
    "an unknown key": ("tasks.yaml", "task: 1\ntasks: []", "unknown key 'task'"),
    "csv without rows": ("tasks.csv", "task_id,assigned_role\n", "expected a header"),
    "csv with a short row": (
        "tasks.csv",
        "task_id,assigned_role\na\n",
        "row 1 does not have one cell per column",
    ),
    "csv with two equal columns": ("tasks.csv", "a,a\n1,2\n", "a different name for each column"),
    "csv with a bad number": (
        "tasks.csv",
        "task_id,assigned_role,priority\na,coder,hi\n",
        "priority: input should be",
    ),
    "json with a key twice": ("tasks.json", '{"tasks": [], "tasks": []}', "the key 'tasks' occurs twice"),
    "yaml with an id twice": (
        "tasks.yaml",
        "a: {assigned_role: coder}\na: {assigned_role: tester}",
        "the key 'a' occurs twice",
    ),
    "json5": ("tasks.json5", "[]", "the name of a task file must end in .yaml, .json or .csv"),
    "yaml with bytes": ("tasks.yaml", YAML_TASK + "metadata: {x: !!binary aGFs}", "metadata.x is a bytes"),
    "yaml that holds itself": ("tasks.yaml", "&a {tasks: *a}", "nested more than 64 deep"),
    "a billion laughs": (
        "tasks.yaml",
        YAML_TASK
        + "metadata:\n  x0: &x0 [a,a,a,a,a,a,a,a,a]\n"
        + "".join(f"  x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9)),
        "too many",
    ),
    "csv with a misspelt column": (
        "tasks.csv",
        "task_id,assigned_role,dependecies\na,coder,\n",
        "unknown column 'dependecies'; did you mean 'dependencies'?",
    ),
    "csv with metadata that is no object": (
        "tasks.csv",
        "task_id,assigned_role,metadata\na,coder,[1]\n",
        "metadata: input should be a valid dictionary",
    ),
    "csv with a bad object": (
        "tasks.csv",
        "task_id,assigned_role,answer\na,coder,{\n",
        "answer: input should be",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_read_gives_one_line(case: str, tmp_path: Path) -> None:
    name, content, expected = BROKEN[case]
    if case != "missing":
        write(tmp_path, {name: content})
    with pytest.raises(InputError) as refusal:
        read_tasks(tmp_path / name)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(st.text(max_size=200))
def test_no_csv_and_no_yaml_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for suffix in ("csv", "yaml", "json"):
        path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
        path.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            read_tasks(path)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


# --- batch ---------------------------------------------------------------------------------------


def batch(*inputs: str, **more: str) -> list[TaskSpec]:
    if not Path("p.md").exists():
        Path("p.md").write_text("Extract the title.")
    return batch_tasks(inputs, AgentRole.CODER, "p.md", **more)  # type: ignore[arg-type]


def test_a_task_per_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        {f"docs/lao_{n}.txt": "x" for n in (1, 2, 10)}
        | {"docs/.hidden": "", "docs/.hidden.txt": "", "b/Ünit 7.md": "", "B/lao_1": ""},
    )
    tasks = batch("docs/*.txt", "docs", "b", "B/lao_1")
    assert [task.task_id for task in tasks] == ["lao_1", "lao_2", "lao_10", "Ünit_7", "lao_1_2"]
    assert tasks[0].files == [str(tmp_path / "docs" / "lao_1.txt")]
    assert tasks[0].prompt == str(tmp_path / "p.md")


def test_a_task_per_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path, {"r.csv": "tag,text\nP-1,a\nP-1,b\n", "r.jsonl": '{"tag": 7, "x": [1]}\n\n{"tag": "q"}\n'}
    )
    assert [task.task_id for task in batch("r.csv", "r.jsonl")] == [
        "r_00001",
        "r_00002",
        "r_00001_2",
        "r_00002_2",
    ]
    tasks = batch("r.csv", "r.jsonl", id_column="tag")
    assert [task.task_id for task in tasks] == ["P-1", "P-1_2", "7", "q"]
    assert tasks[2].metadata == {"tag": 7, "x": [1]}


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "R.JSON", "r.csv", "r.tsv"])
def test_every_file_with_rows_gives_a_task_per_row(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"tag": "P-1", "text": "a"}, {"tag": "P-2", "text": "b, c"}]
    texts = {
        "jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        "json": json.dumps(rows),
        "csv": 'tag,text\nP-1,a\nP-2,"b, c"\n',
        "tsv": "tag\ttext\nP-1\ta\nP-2\tb, c\n",
    }
    texts["ndjson"] = texts["jsonl"]
    write(tmp_path, {f"data/{name}": texts[name.lower().rpartition(".")[2]]})
    tasks = batch(f"data/{name}", id_column="tag")
    assert [(task.task_id, task.metadata) for task in tasks] == [("P-1", rows[0]), ("P-2", rows[1])]
    assert {task.source_file for task in tasks} == {f"data/{name}"}
    assert all(not task.files for task in tasks)


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", "[]", "7", "no JSON", ""])
def test_a_json_file_without_an_array_of_objects_is_a_document(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"r.json": text})
    assert [task.files for task in batch("r.json")] == [[str(tmp_path / "r.json")]]


def test_optional_keys_are_empty_and_unknown_ones_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"p.md": "Look.\n---\n<$tag> <$note> <$source_file>"})
    write(
        tmp_path,
        {"r.jsonl": '{"tag": "P-1"}\n{"tag": "P-2", "note": "old"}\n{"tag": 3, "note": null, "x": 1}'},
    )
    write(tmp_path, {"s.csv": "tag,source_file\nP-4,mine\n"})
    tasks = batch("r.jsonl", "s.csv")
    prompts = TaskPrompts(Bindings(load_config({}, environ={})), "", TaskLimit(9, set()))
    assert [prompts.messages(task, {})[1].text for task in tasks] == [
        "<P-1> <> <r.jsonl>", "<P-2> <old> <r.jsonl>", "<3> <> <r.jsonl>", "<P-4> <> <mine>",
    ]  # fmt: skip
    assert tasks[1].metadata == {"tag": "P-2", "note": "old"}
    write(tmp_path, {"p.md": "Look.\n---\n$tag $note $nte"})
    with pytest.raises(
        InputError, match=r"unknown hole '\$nte'; expected \$tag, \$note, \$x, \$source_file, "
    ):
        batch("r.jsonl", "s.csv")


def test_tasks_in_json_lines_and_in_a_tsv_file(tmp_path: Path) -> None:
    write(tmp_path, {"t.jsonl": '{"task_id": "a", "assigned_role": "coder"}\n', "t.tsv": CSV_OF_TABS})
    assert [task.task_id for task in read_tasks(tmp_path / "t.jsonl")[1]] == ["a"]
    (task,) = read_tasks(tmp_path / "t.tsv")[1]
    assert (task.description, task.metadata) == ("Say, when", {"source_file": "x.xls"})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_decides_the_separator_of_cells(
    separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"r.csv": separator.join(["tag", "größe"]) + "\n" + separator.join(["P-1", '"1,5; 2"'])})
    assert [task.metadata for task in batch("r.csv")] == [{"tag": "P-1", "größe": "1,5; 2"}]
    write(tmp_path, {"one.csv": "tag\nP-1\n"})
    assert [task.metadata for task in batch("one.csv")] == [{"tag": "P-1"}]


@pytest.mark.parametrize(
    ("given", "shown", "wanted"),
    [("r.csv", "$files", "$tag, $size, $metadata"), ("a.txt", "$metadata", "$files")],
)
def test_a_prompt_shows_something_of_its_input(
    given: str, shown: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"r.csv": "tag,size\nP-1,2\n", "a.txt": "x", "p.md": f"Extract.\n---\n{shown}"})
    with pytest.raises(InputError, match=r"shows nothing of .*below its line '---' use one of ") as caught:
        batch(given)
    assert str(caught.value).endswith(f" {wanted}")
    for text in (
        "Extract.",
        f"Extract.\n---\n{wanted.split(', ')[0]}",
        "Extract $metadata $files\n---\nNow.",
    ):
        write(tmp_path, {"p.md": text})
        assert len(batch(given)) == 1


def test_a_document_named_twice_becomes_one_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"docs/a.txt": "x"})
    (tmp_path / "link").symlink_to(tmp_path / "docs")
    assert len(batch("docs/a.txt", "./docs/../docs/*.txt", str(tmp_path / "docs"), "link")) == 1


def test_cells_may_be_long_and_lines_may_hold_any_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long, odd = "x" * 200_000, "a\u2028b\x85c"
    write(tmp_path, {"r.csv": f"tag,text\nP-1,{long}\n", "r.jsonl": f'{{"tag": "{odd}"}}\r\n{{"tag": 2}}'})
    assert batch("r.csv")[0].metadata["text"] == long
    assert [task.metadata["tag"] for task in batch("r.jsonl")] == [odd, 2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", "an INPUT is empty"),
        (
            "b/**x",
            "(cannot read the input 'b/\\*\\*x': Invalid pattern|no files found for the input)",
        ),  # Python 3.13: as *x
        ("n" * 300, "cannot read the input 'nnn.*': File name too long"),
        ("nan.jsonl", "metadata.x is nan"),
        ("half.jsonl", "metadata.x holds half a character"),
        ("no.txt", "there is no file or folder 'no.txt'"),
        ("*.xyz", "no files found for the input"),
        ("empty", "no files found for the input"),
        ("bad.jsonl", "line 2: not valid JSON"),
        ("list.jsonl", "line 1: expected a JSON object"),
        ("none.jsonl", "holds no rows"),
        ("bad.csv", "row 1 does not have one cell per column"),
        ("half.json", "half.json: not valid JSON"),
        ("mixed.json", "item 2 is not an object, but others are"),
        ("twice.jsonl", "line 1: not valid JSON: the key 'a' occurs twice"),
    ],
)
def test_inputs_that_cannot_be_used(
    given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write(tmp_path, {"bad.jsonl": "{}\n{", "list.jsonl": "[1]", "none.jsonl": "\n", "bad.csv": "a,b\n1\n"})
    write(
        tmp_path, {"half.json": '[{"a": 1}', "mixed.json": '[{"a": 1}, 2]', "twice.jsonl": '{"a": 1, "a": 2}'}
    )
    write(tmp_path, {"nan.jsonl": '{"x": NaN}', "half.jsonl": '{"x": "\\ud800"}'})
    with pytest.raises(InputError, match=expected):
        batch(given)


@given(st.lists(st.text(max_size=120), max_size=20))
def test_every_name_makes_a_task_id_of_its_own(names: list[str]) -> None:
    taken: set[str] = set()
    made = [_unique(name, taken) for name in names]
    assert len({one.lower() for one in made}) == len(names)
    for one in made:
        TaskSpec(task_id=one, assigned_role=AgentRole.CODER)


def test_equal_names_are_numbered_in_their_order() -> None:
    taken: set[str] = set()
    made = [_unique("tag", taken) for _ in range(1000)]
    assert made == ["tag", *(f"tag_{number}" for number in range(2, 1001))]
    assert _unique("TAG_7", taken) == "TAG_7_2"
    assert growth(lambda size: [_unique("tag", ids) for ids in [set[str]()] for _ in range(size // 20)]) < 40


@pytest.mark.parametrize("name", ["ລາວ", "Отчёт-1", "नमस्ते", "手順書.2", "a" * 100])
def test_ids_of_any_script_are_ids_for_editors_too(name: str) -> None:
    task = {"task_id": name, "assigned_role": "coder"}
    assert TaskSpec.model_validate(task).task_id == name
    jsonschema.validate({"tasks": [task]}, tasks_schema())


@pytest.mark.parametrize("name", ["a b", "a/b", "_a", "-a", "", "a" * 101, "手" * 90, "a\n", "a:b"])
def test_an_id_that_names_no_file_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^task '{re.escape(name)}': task_id: "):
        task_specs([{"task_id": name, "assigned_role": "coder"}])


# --- dry runs ---------------------------------------------------------------------------------------


def test_the_dry_run_of_a_graph() -> None:
    specs = [
        TaskSpec(task_id="low", assigned_role=AgentRole.TESTER, priority=1),
        TaskSpec(task_id="a", assigned_role=AgentRole.ARCHITECT, expands=True),
        TaskSpec(task_id="b", assigned_role=AgentRole.CODER, dependencies=["a"], priority=9),
        TaskSpec(task_id="c", assigned_role=AgentRole.CODER, when="b.result == 'x'"),
    ]
    graph = checked_graph(specs)
    config = load_config(
        {"model_config": {"single_model": {"model": "m", "api_type": "simulated"}}}, environ={}
    )
    result = dry_run(graph, config, "A queue")
    assert result.order == ["a", "b", "c", "low"]
    assert result.critical_path == ["a", "b", "c"] == critical_path(graph)
    assert result.calls == {"m": 4}
    assert result.output_tokens == 6000 + 4000 + 8000 + 8000
    assert result.input_tokens > 1000
    text = dry_run_text(result, graph, 4)
    assert "1. a (architect, priority 5, adds tasks)" in text
    assert "3. c (coder, priority 5) after b when b.result == 'x'" in text
    assert "1 of the tasks add tasks" in text
    with_tools = config.model_copy(update={"tools": {"coder": ["project.*"]}})
    (note,) = dry_run(graph, with_tools).notes
    assert note.startswith("2 tasks may call tools (12 calls each at most)")
    assert note.endswith(": b, c")
    assert result.notes == []
    drawing = task_mermaid(graph)
    assert 't1["a<br/>architect"];' in drawing
    assert "t2 -->|\"b.result == 'x'\"| t3;" in drawing


def test_the_dry_run_of_many_tasks_is_short() -> None:
    specs = [
        TaskSpec(task_id=f"t{n}", assigned_role=AgentRole.CODER, dependencies=[f"t{n - 1}"] if n else [])
        for n in range(3000)
    ]
    graph = checked_graph(specs)
    text = dry_run_text(dry_run(graph, load_config({}, environ={})), graph, 4)
    assert "… and 2970 more" in text
    assert len(text) < 4000
