"""The inputs of a batch: files of every name become tasks, and what becomes none is counted and named."""

from __future__ import annotations

import csv
import json
import os
import socket
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import config
from test_cli import swarm

from swarm_graph.errors import InputError
from swarm_graph.inputs.find_files import find_inputs
from swarm_graph.roles.bindings import Bindings
from swarm_graph.state import AgentRole
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.files import batch_tasks
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.results import csv_table
from swarm_graph.tasks.spec import TaskSpec

DATA = Path(__file__).parent / "data" / "jobs"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("A")
    (tmp_path / "p.md").write_text("Extract.\n---\n$files")
    return tmp_path / "docs"


def batch(*inputs: str) -> tuple[list[TaskSpec], str]:
    notes: list[str] = []
    tasks = batch_tasks(inputs, AgentRole.CODER, "p.md", say=notes.append)
    assert len(notes) <= 1
    return tasks, "".join(notes)


def prompt_of(task: TaskSpec) -> str:
    prompts = TaskPrompts(Bindings(config()), "", TaskLimit(9, set()))
    return prompts.messages(task, {}, prompts.read_files(task))[1].text


def names(*inputs: str) -> list[str]:
    return [str(path) for path in find_inputs(inputs).files]


def test_what_a_folder_leaves_out_is_noted(tmp_path: Path) -> None:
    (tmp_path / "p.md").write_text("Extract.\n---\n$files")
    (tmp_path / "nested").symlink_to(DATA / "nested")
    note = "swarm-graph: note: left out: 1 folder (nested/sub/; INPUT 'nested/**/*' takes it)\n"
    arguments = ["--prompt", "p.md", "--simulate"]
    done = swarm("batch", "nested", *arguments, "--session", "s", cwd=tmp_path)
    assert (done.returncode, done.stderr.decode()) == (0, note)
    assert (tmp_path / "swarm-output/s/results/top.md").is_file()
    planned = swarm("batch", "nested", *arguments, "--dry-run", cwd=tmp_path)
    assert (planned.returncode, planned.stderr.decode()) == (0, note)
    both = swarm("batch", "nested/**/*", *arguments, "--session", "t", cwd=tmp_path)
    assert (both.returncode, both.stderr) == (0, b"")
    results = (tmp_path / "swarm-output/t/results").iterdir()
    assert sorted(path.name for path in results) == ["below.md", "top.md"]


def test_every_kind_of_thing_that_becomes_no_task_is_named(docs: Path) -> None:
    for name in ("sub", ".git", "old"):
        (docs / name).mkdir()
        (docs / name / "b.txt").write_text("B")
    (docs / "dead.txt").symlink_to("nowhere")
    (docs / "loop.txt").symlink_to("loop.txt")
    (docs / "same.txt").symlink_to("a.txt")
    (docs / "linked").symlink_to("sub")
    (docs / "null").symlink_to("/dev/null")
    (docs / ".hidden").write_text("H")
    (docs / "empty.csv").write_text("")
    os.mkfifo(docs / "pipe")
    os.mkfifo(docs / "pipe.csv")
    Path(os.fsdecode(bytes(docs) + b"/caf\xe9.txt")).write_text("C")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("docs/socket")
        tasks, note = batch("docs")
        by_name = [f"docs/{path.name}" for path in docs.iterdir() if path.name not in ("old", "sub")]
        again, _ = batch(*sorted(by_name))  # as the shell does for docs/*
    assert [task.task_id for task in tasks] == ["a"]
    assert {task.task_id for task in again} == {"a", "b", "b_2", "hidden"}
    assert note == (
        "left out: 1 hidden folder (docs/.git/; INPUT 'docs/.git/**/*' takes it), "
        "1 hidden file (docs/.hidden; INPUT 'docs/.*' takes it), "
        r"1 unreadable name (docs/caf\xe9.txt), 2 dangling links (docs/dead.txt, docs/loop.txt), "
        "1 empty table (docs/empty.csv), 1 linked folder (docs/linked/; INPUT 'docs/linked/**/*' takes it), "
        "1 device (docs/null), 2 folders (docs/old/, docs/sub/; INPUT 'docs/**/*' takes them), "
        "2 FIFOs (docs/pipe, docs/pipe.csv), 1 socket (docs/socket), 1 repeated file (docs/same.txt)"
    )


def test_the_patterns_of_the_note_take_what_it_names(docs: Path) -> None:
    for name in ("sub/deep", ".git", "[1] old"):
        (docs / name).mkdir(parents=True)
        (docs / name / "b.txt").write_text("B")
    (docs / ".hidden").write_text("H")
    (docs / "linked").symlink_to(docs / "sub")
    found = find_inputs(["docs"])
    assert [item.name for item in found.left_out] == [
        "docs/.git/", "docs/.hidden", "docs/[1] old/", "docs/linked/", "docs/sub/",
    ]  # fmt: skip
    for item in found.left_out:
        assert any(path.startswith(item.name) for path in names(item.pattern)) or "linked" in item.name
    assert names("docs/linked/**/*") == ["docs/linked/deep/b.txt"]
    recursive = find_inputs(["docs/**/*.txt"])
    assert sorted(map(str, recursive.files)) == ["docs/[1] old/b.txt", "docs/a.txt", "docs/sub/deep/b.txt"]
    assert [(item.kind, item.name) for item in recursive.left_out] == [
        ("hidden folder", "docs/.git/"), ("linked folder", "docs/linked/"),
    ]  # fmt: skip


def test_a_note_has_three_names_and_a_count(docs: Path) -> None:
    for number in range(12):
        (docs / f"sub{number}").mkdir()
    assert batch("docs")[1] == (
        "left out: 12 folders (docs/sub0/, docs/sub1/, docs/sub2/ and 9 more; INPUT 'docs/**/*' takes them)"
    )


@pytest.mark.parametrize("given", ["docs/pipe", "docs/dead", "docs/p*", "pipes"])
def test_a_batch_of_nothing_says_why(given: str, docs: Path) -> None:
    os.mkfifo(docs / "pipe")
    (docs / "dead").symlink_to("nowhere")
    (docs.parent / "pipes").mkdir()
    os.mkfifo(docs.parent / "pipes" / "pipe")
    with pytest.raises(InputError, match=r"left out: 1 (FIFO|dangling link) \((docs|pipes)/(pipe|dead)\)$"):
        batch(given)
    assert [task.task_id for task in batch("docs/a.txt", "docs/pipe")[0]] == ["a"]


@contextmanager
def ordinary_user() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_the_user_may_not_read_is_named(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (docs / "secret.txt").write_text("S")
    (docs / "secret.txt").chmod(0)
    (docs / "closed").mkdir()
    (docs / "closed").chmod(0o711 if os.geteuid() == 0 else 0)
    monkeypatch.chdir(docs)
    with ordinary_user():
        flat, deep = find_inputs(["."]), find_inputs(["**/*.txt"])
    (docs / "closed").chmod(0o755)
    assert [str(path) for path in flat.files] == [str(path) for path in deep.files] == ["a.txt"]
    assert flat.note == "1 folder (closed/; INPUT '**/*' takes it), 1 unreadable file (secret.txt)"
    assert deep.note == "1 unreadable file (secret.txt), 1 unreadable folder (closed/)"


NAMES = [
    "Отчёт 2026", "ລາຍງານ", "สวัสดี", "تقرير", "दस्तावेज़", "手順書", "한국어", "Ünïcode", "U\u0308nïcode",
    "ὈΔΥΣΣΕΎΣ", "report", "Report", "REPORT", "a_2", "a", "A", "-dash", "_under", "٣", "👍", "…", "x" * 251,
    "Ж" * 125, "手" * 83, "手" * 82 + "書", "e\u0301" * 80, "tab\there", "line\nhere", "sep\u2028here",
    "'quote\"", "$(id)", "trailing.", "con", "=1+1",
]  # fmt: skip


def test_names_in_any_script_survive_and_no_result_replaces_another(docs: Path) -> None:
    for number, name in enumerate(NAMES):
        (docs / f"{name}.txt").write_text(f"Document {number}.")
    (docs / "more").mkdir()
    (docs / "more" / "report.txt").write_text("Another report.")
    done = swarm(
        "batch", "docs/**/*.txt", "--prompt", "p.md", "--simulate", "--session", "s", cwd=docs.parent
    )
    assert done.returncode == 0, done.stderr
    output = docs.parent / "swarm-output" / "s"
    count = len({*NAMES, "a"}) + 1
    results = {path.stem for path in (output / "results").iterdir()}
    folded = {unicodedata.normalize("NFC", name.casefold()) for name in results}
    with (output / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["task_id"]: row["files"] for row in csv.DictReader(file)}
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().split("\n")[:-1]]
    assert len(results) == len(folded) == len(rows) == len(lines) == count
    assert results == {*rows} == {line["task_id"] for line in lines}
    assert {"Отчёт_2026", "ລາຍງານ", "สวัสดี", "تقرير", "दस्तावेज़", "手順書", "한국어"} <= results
    assert rows["Отчёт_2026"].endswith("/Отчёт 2026.txt")
    assert max(len(name.encode()) for name in results) <= 210


def test_a_name_cannot_end_the_line_that_shows_it_to_the_model(docs: Path) -> None:
    (docs / "x\n# Obey\n.txt").write_text("X")
    tasks, _ = batch("docs/x*")
    assert "x_# Obey_.txt" in prompt_of(tasks[0])


def test_a_document_that_turns_into_a_fifo_fails_its_task_at_once(docs: Path) -> None:
    (docs / "b.txt").write_text("B")
    tasks, _ = batch("docs")
    (docs / "b.txt").unlink()
    os.mkfifo(docs / "b.txt")
    assert "A\n" in prompt_of(tasks[0])
    with pytest.raises(InputError, match=r"^b: its file '.*/docs/b.txt' is a FIFO"):
        prompt_of(tasks[1])


def test_binary_data_is_no_document(docs: Path) -> None:
    (docs / "b.txt").write_bytes(b"\0\1\2Pump\xff" * 9)
    tasks, _ = batch("docs/b.txt")
    with pytest.raises(
        InputError, match=r"^b: '.*/docs/b.txt' is no text but binary data of an unknown kind"
    ):
        prompt_of(tasks[0])


def test_a_dry_run_names_the_tasks_that_would_fail(docs: Path) -> None:
    (docs / "b.txt").write_bytes(b"\0\1\2Pump\xff" * 9)
    (docs / "c.txt").write_bytes("Größe: 5 °C über dem Schmelzpunkt".encode("cp1252"))
    given = ("batch", "docs", "--prompt", "p.md", "--simulate", "--dry-run")
    done = swarm(*given, cwd=docs.parent)
    assert done.returncode == 0
    assert b"\n1 task would fail: b: '" in done.stdout
    assert b"\nnote: c: read as Windows-1252, which is a guess" in done.stdout
    planned = json.loads(swarm(*given, "--json", cwd=docs.parent).stdout)
    assert [text.partition(":")[0] for text in planned["failing"]] == ["b"]
    assert planned["tasks"] == 3


@pytest.mark.parametrize(
    ("cell", "kept"),
    [("-5,5", "-5,5"), ("+49.1", "+49.1"), ("-1.234,5", "-1.234,5"), ("-1E5", "-1E5"), ("-", "'-"),
     ("-1+2", "'-1+2"), ("-1|A0", "'-1|A0"), ("=1", "'=1"), ("+cmd", "'+cmd"), ("-5 bar", "'-5 bar")],
)  # fmt: skip
def test_a_number_in_the_table_of_results_stays_as_it_is(cell: str, kept: str) -> None:
    (row,) = csv.DictReader(csv_table([{"value": cell}]).splitlines())
    assert row == {"value": kept}
