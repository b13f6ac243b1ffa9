"""The results of custom tasks as files: one for each task, tables of all tasks, and the project's files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_graph.checkpoints.places import UNMOVED, Places
from swarm_graph.errors import InputError
from swarm_graph.roles.file_blocks import read_files
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.role import Role
from swarm_graph.state import SwarmState, TaskRecord, TaskStatus
from swarm_graph.tasks.dependencies import added_ids, all_dependencies
from swarm_graph.tasks.spec import TaskSpec

RESULTS_DIR = "results"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell with such a first character for a formula, which a model must not smuggle in."""
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?", re.ASCII)
"""A number such as -5,5: the same in a spreadsheet, and no formula."""
LAST_COLUMNS = ("result", "remark")
FIXED_COLUMNS = ("task_id", "role", "status", "files", "source_file", *LAST_COLUMNS)
"""The columns that every table may have; metadata and answers get other column names if theirs is here."""
FINISHED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED)


def is_custom_task(record: TaskRecord) -> bool:
    """Whether a task belongs to a custom graph, not to a built-in workflow."""
    return "spec" in record


def custom_tasks(records: Mapping[str, TaskRecord]) -> list[TaskRecord]:
    """The tasks of a custom session in the order in which they were added."""
    return sorted(filter(is_custom_task, records.values()), key=lambda record: record["rank"])


def result_file(record: TaskRecord) -> str:
    """The file for a task's result, relative to the output folder."""
    is_typed = bool(record["spec"].get("answer"))
    return f"{RESULTS_DIR}/{record['task_id']}{'.json' if is_typed else '.md'}"


def result_text(record: TaskRecord) -> str:
    """A task's result as its file holds it, with one newline at the end."""
    return f"{record['result'].rstrip()}\n"


def result_files(state: SwarmState, roles: Roles, places: Places = UNMOVED) -> dict[str, str]:
    """The files of a custom session, name to text: the results, tables of them, and the roles' text files.

    Args:
        state: The state.
        roles: The roles of the session.
        places: Where the input files of the session are now.
    """
    tasks = custom_tasks(state.get("tasks", {}))
    if not tasks:
        return {}
    results = {result_file(task): result_text(task) for task in tasks if "result" in task}
    rows = [result_row(task, places) for task in tasks if task["status"] in FINISHED]
    tables = {"results.jsonl": json_lines(rows), "results.csv": csv_table(rows)} if rows else {}
    return {**results, **tables, **_role_text_files(tasks, roles)}


# --- the table -----------------------------------------------------------------------------------


def result_row(task: TaskRecord, places: Places = UNMOVED) -> dict[str, Any]:
    """A finished task as a row: id, role, status, its files, metadata, its answer's values or text, remark.

    `files` are the documents of the task, `source_file` is the file that its metadata comes from.

    A metadata key that equals one of FIXED_COLUMNS or a value of the answer becomes `input.KEY`. A value of
    the answer that equals one of FIXED_COLUMNS becomes `answer.KEY`.
    """
    spec = task["spec"]
    ids = {"task_id": task["task_id"], "role": task["role"], "status": task["status"]}
    paths = [places.input_file(name) for name in spec.get("files", ())]
    files = {"files": " ".join(paths)} if paths else {}
    source = {"source_file": spec["source_file"]} if spec.get("source_file") else {}
    schema = spec.get("answer")
    typed: dict[str, Any] = task.get("value") or {} if schema else {}
    answer_names = {*typed, *schema.get("properties", ())} if schema else set()
    metadata = _prefixed_if_taken(spec.get("metadata", {}), "input", {*FIXED_COLUMNS, *answer_names})
    if schema:
        answer = _prefixed_if_taken(typed, "answer", {*FIXED_COLUMNS})
    else:
        answer = {"result": task.get("result", "")}
    return {
        **ids,
        **files,
        **source,
        **metadata,
        **answer,
        "remark": task.get("error") or task.get("note") or "",
    }


def _prefixed_if_taken(values: Mapping[str, Any], prefix: str, taken: set[str]) -> dict[str, Any]:
    return {f"{prefix}.{name}" if name in taken else name: value for name, value in values.items()}


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSON Lines."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with the columns of all rows; no cell is a formula."""
    text = io.StringIO()
    names = dict.fromkeys(column for row in rows for column in row)
    columns = sorted(names, key=lambda column: column in LAST_COLUMNS)
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writerow({column: _cell(column) for column in columns})
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def parquet_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as Parquet. Raises InputError without the extra `parquet`."""
    try:
        from pyarrow import BufferOutputStream, Table
        from pyarrow.parquet import write_table
    except ImportError as error:
        raise InputError("Parquet needs the package pyarrow: `pip install pyarrow`") from error
    content = BufferOutputStream()
    write_table(Table.from_pylist(list(rows)), content)
    return bytes(content.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, (int, float)) or value is None:
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    is_formula = text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


# --- the roles' text files and the project -------------------------------------------------------


def _role_text_files(tasks: list[TaskRecord], roles: Roles) -> dict[str, str]:
    """The text files of the roles, name to text, with a section for each task."""
    sections: dict[str, list[str]] = {role.text_file: [] for role in roles.all() if role.text_file}
    for task in tasks:
        role = roles.find(task["role"])
        name = role.text_file if role else ""
        if name and "result" in task and has_role_form(task):
            sections[name].append(f"===== {task['task_id']} =====\n{result_text(task)}")
    return {name: "\n".join(parts) for name, parts in sections.items() if parts}


def has_role_form(task: TaskRecord) -> bool:
    """Whether a task's answer has the form of its role, such as files or a review."""
    return not any(task["spec"].get(key) for key in ("prompt", "answer", "expands"))


def written_files(state: SwarmState, roles: Roles) -> dict[str, str]:
    """The files that custom tasks of coders and testers wrote, merged: path to text.

    Where tasks wrote the same path, the task further down the graph wins, then the task added later.
    """
    merged: dict[str, str] = {}
    for task in _writers(custom_tasks(state.get("tasks", {})), roles):
        merged = read_files(task["result"]).over(merged)
    return merged


def _writers(tasks: list[TaskRecord], roles: Roles) -> list[TaskRecord]:
    """The tasks that wrote files, dependencies before their dependents."""
    depths = _depths(tasks)
    writers = [
        task
        for task in tasks
        if "result" in task and has_role_form(task) and _writes_files(roles.find(task["role"]))
    ]
    return sorted(writers, key=lambda task: (depths[task["task_id"]], task["rank"]))


def _writes_files(role: Role[Any] | None) -> bool:
    """Whether the results of a role are files; the documenter's is one text, though it becomes a file."""
    return role is not None and role.form == "files" and role.answer is not str


def _depths(tasks: list[TaskRecord]) -> dict[str, int]:
    """The length of the longest path that leads to each task, by its id."""
    records = {task["task_id"]: task for task in tasks}
    specs = {name: TaskSpec.model_validate(record["spec"]) for name, record in records.items()}
    added = added_ids(records)
    depths: dict[str, int] = {}
    for name in specs:
        stack = [name]  # in place of a recursion, which fails on a chain of a thousand tasks
        while stack:
            needs = all_dependencies(specs[stack[-1]], added, lambda task_id: records[task_id]["rank"])
            if missing := [need for need in needs if need not in depths]:
                stack += missing
            else:
                depths[stack.pop()] = 1 + max((depths[need] for need in needs), default=0)
    return depths
