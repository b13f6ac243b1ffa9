"""What the tasks of a custom session came to, as files: one each, a table of all, and a project's tree."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.nodes.registry import all_roles, role_named
from swarm_graph.roles.file_blocks import Files, read_files
from swarm_graph.state import SwarmState, TaskRecord, TaskStatus
from swarm_graph.tasks.dependencies import added_by, needs_of
from swarm_graph.tasks.spec import TaskSpec

FOLDER = "results"
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell may not begin with: a spreadsheet would take it for a formula."""
LAST = ("result", "remark")
"""The columns of the table that stand behind the others."""
OWN = ("task_id", "role", "status", "files", *LAST)
"""The columns that every table may have; a task's data or answer of such a name gets another one."""
FINISHED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED)


def is_custom(record: TaskRecord) -> bool:
    return "spec" in record


def in_order(tasks: Mapping[str, TaskRecord]) -> list[TaskRecord]:
    """The tasks of a custom session in the order added."""
    return sorted(filter(is_custom, tasks.values()), key=lambda record: record["rank"])


def result_file(record: TaskRecord) -> str:
    """The name of the file for a task's result."""
    typed = bool(record["spec"].get("answer"))
    return f"{FOLDER}/{record['task_id']}{'.json' if typed else '.md'}"


def result_text(record: TaskRecord) -> str:
    """A task's result as a file has it, with one newline at its end."""
    return f"{record['result'].rstrip()}\n"


def result_files(state: SwarmState) -> dict[str, str]:
    """Every file of a custom session by its name: its results, their table, and those of the roles."""
    tasks = in_order(state.get("tasks", {}))
    if not tasks:
        return {}
    results = {result_file(task): result_text(task) for task in tasks if "result" in task}
    rows = [row(task) for task in tasks if task["status"] in FINISHED]
    tables = {"results.jsonl": json_lines(rows), "results.csv": csv_table(rows)} if rows else {}
    return {**results, **tables, **_by_role(tasks)}


def row(task: TaskRecord) -> dict[str, Any]:
    """A task as a row of the table: who, how it ended, its data, its typed answer's values or its text.

    Data called like a column of OWN or like a value of the answer stands in `input.NAME`, a value of the
    answer called like a column of OWN in `answer.NAME`.
    """
    spec = task["spec"]
    ids = {"task_id": task["task_id"], "role": task["role"], "status": task["status"]}
    files = {"files": " ".join(spec["files"])} if spec.get("files") else {}
    schema = spec.get("answer")
    typed: dict[str, Any] = task.get("value") or {} if schema else {}
    values = {*typed, *schema.get("properties", ())} if schema else set()
    data = _apart(spec.get("metadata", {}), "input", {*OWN, *values})
    answer = _apart(typed, "answer", {*OWN}) if schema else {"result": task.get("result", "")}
    return {**ids, **files, **data, **answer, "remark": task.get("error") or task.get("note") or ""}


def _apart(values: Mapping[str, Any], kind: str, taken: set[str]) -> dict[str, Any]:
    """Values by their columns: their own names, or others where these are taken."""
    return {f"{kind}.{name}" if name in taken else name: value for name, value in values.items()}


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSON, one on a line."""
    return "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in rows)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, with a column for each key; no cell is a formula."""
    text = io.StringIO()
    found = dict.fromkeys(column for one in rows for column in one)
    columns = sorted(found, key=lambda column: column in LAST)
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerow({column: _cell(column) for column in columns})
    writer.writerows({key: _cell(value) for key, value in one.items()} for one in rows)
    return text.getvalue()


def parquet_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as Parquet. InputError without the extra `parquet`."""
    try:
        from pyarrow import BufferOutputStream, Table
        from pyarrow.parquet import write_table
    except ImportError as error:
        raise InputError("Parquet needs the extra: pip install 'swarm-graph[parquet]'") from error
    content = BufferOutputStream()
    write_table(Table.from_pylist(list(rows)), content)
    return bytes(content.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, (int, float)) or value is None:
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(FORMULA) else text


# --- what the roles deliver ----------------------------------------------------------------------


def _by_role(tasks: list[TaskRecord]) -> dict[str, str]:
    """The seed's text files: name to text, with a section for each task."""
    sections: dict[str, list[str]] = {role.text_file: [] for role in all_roles() if role.text_file}
    for task in tasks:
        name = role_named(task["role"]).text_file
        if name and "result" in task and in_own_form(task):
            sections[name].append(f"===== {task['task_id']} =====\n{result_text(task)}")
    return {name: "\n".join(parts) for name, parts in sections.items() if parts}


def in_own_form(task: TaskRecord) -> bool:
    """Whether a task's answer is in its role's own form."""
    return not any(task["spec"].get(key) for key in ("prompt", "answer", "expands"))


def project(state: SwarmState) -> dict[str, str]:
    """The files that coders and testers wrote, as one tree.

    Where tasks wrote the same path, that of the task further down the graph stays, then of the later one.
    """
    tree: dict[str, str] = {}
    for task in _downwards(in_order(state.get("tasks", {}))):
        tree = read_files(task["result"]).over(tree)
    return tree


def _downwards(tasks: list[TaskRecord]) -> list[TaskRecord]:
    """The tasks that wrote files, those that others depend on first."""
    depths: dict[str, int] = {}
    by_id = {task["task_id"]: task for task in tasks}
    specs = {name: TaskSpec.model_validate(task["spec"]) for name, task in by_id.items()}
    added = added_by(by_id)
    for name in specs:
        waiting = [name]
        while waiting:
            needs = needs_of(specs[waiting[-1]], added, lambda one: by_id[one]["rank"])
            if unknown := [need for need in needs if need not in depths]:
                waiting += unknown
            else:
                done = waiting.pop()
                depths[done] = 1 + max((depths[need] for need in needs), default=0)
    wrote = [
        task
        for task in tasks
        if "result" in task and in_own_form(task) and role_named(task["role"]).answer is Files
    ]
    return sorted(wrote, key=lambda task: (depths[task["task_id"]], task["rank"]))
