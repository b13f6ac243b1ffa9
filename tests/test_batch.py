"""Task graphs from the command line: `run --tasks`, `batch`, kills, retries of failed tasks."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import warm
from servers.counting_proxy import CountingProxy
from storages import ON_BOTH
from support import write_config
from test_cli import swarm

from swarm_graph.cli.main import main

TASKS = """\
request: A queue
tasks:
  - {task_id: T001, assigned_role: clarifier, description: Analyze}
  - {task_id: T002, assigned_role: architect, description: Split, expands: true, dependencies: [T001]}
  - {task_id: T003, assigned_role: documenter, description: Write, dependencies: [T002]}
  - {task_id: T004, assigned_role: coder, when: "T001.result == 'never'"}
"""
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 20}, "pages": {"type": "integer", "maximum": 9}},
    "required": ["title", "pages"],
}


def documents(folder: Path, count: int) -> None:
    (folder / "docs").mkdir()
    for number in range(1, count + 1):
        (folder / "docs" / f"lao_{number}.txt").write_text(f"Procedure {number}")
    (folder / "extract.md").write_text("Extract title and pages.\n---\n$files")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))


BATCH = ["batch", "docs/*.txt", "--prompt", "extract.md", "--answer", "schema.json", "--session", "lao"]


@ON_BOTH
def test_run_executes_a_task_file(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(TASKS)
    done = swarm("run", "--tasks", "tasks.yaml", "--simulate", "--session", "s", cwd=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert text.startswith("SIMULATED: ")
    assert "Session s (custom): complete: " in text
    assert "T004 skipped: not started: T001.result == 'never' does not hold" in text
    assert (tmp_path / "swarm-output/s/results/T002.part1.md").is_file()
    listed = json.loads(swarm("sessions", "list", "--json", cwd=tmp_path).stdout)
    assert (listed[0]["workflow"], listed[0]["phase"]) == ("custom", "complete")
    shown = swarm("sessions", "show", "s", cwd=tmp_path).stdout.decode()
    assert "T002.part1  completed" in shown
    assert swarm("resume", "s", cwd=tmp_path).returncode == 0


def test_a_dry_run_asks_and_needs_no_model(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(TASKS)
    done = swarm("run", "--tasks", "tasks.yaml", "--dry-run", cwd=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert "4 tasks, at most 4 at once. No model was asked." in text
    assert "Critical path (3 tasks): T001 → T002 → T003" in text
    assert "graph TD;" in text
    assert not (tmp_path / ".swarm").exists()
    drawing = swarm("graph", "--tasks", "tasks.yaml", "--format", "svg", cwd=tmp_path)
    assert drawing.stdout.startswith(b"<svg")
    planned = json.loads(swarm("run", "--tasks", "tasks.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert planned["critical_path"] == ["T001", "T002", "T003"]


@ON_BOTH
def test_a_killed_batch_on_a_real_server_is_resumed(tmp_path: Path, counted: CountingProxy) -> None:
    documents(tmp_path, 24)
    counted.delay = 0.05
    write_config(
        tmp_path,
        model_config={"single_model": {"url": counted.url, "model": "tiny", "slots": 4}},
        workflow={"max_parallel_agents": 8},
    )
    results = tmp_path / "swarm-output" / "lao" / "results"
    process = warm.Process(*BATCH, cwd=tmp_path, stdout=subprocess.DEVNULL)
    while len(list(results.glob("*.json"))) < 8:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.stem for path in results.glob("*.json")}
    account = json.loads(swarm("sessions", "show", "lao", "--json", cwd=tmp_path).stdout)
    assert {task["task_id"] for task in account["tasks"] if task["status"] == "COMPLETED"} >= kept
    done = swarm("resume", "lao", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"complete: 24 tasks, 24 completed" in done.stdout
    assert counted.calls.most_in_flight <= 4
    assert len(counted.calls) <= 24 + 4
    asked = [body["messages"][-1]["content"] for body in counted.calls.bodies]
    assert {text.strip() for text in asked} == {
        f"```text path=lao_{number}.txt\nProcedure {number}\n```" for number in range(1, 25)
    }
    rows = [json.loads(line) for line in (results.parent / "results.jsonl").read_text().splitlines()]
    assert [row["task_id"] for row in rows] == [f"lao_{number}" for number in range(1, 25)]
    for row in rows:
        assert json.loads((results / f"{row['task_id']}.json").read_text())["title"] == row["title"]


@ON_BOTH
def test_only_failed_tasks_are_retried(tmp_path: Path) -> None:
    documents(tmp_path, 5)
    script = tmp_path / "script.md"
    script.write_text("<!-- lao_2 1 -->\nno JSON\n<!-- lao_4 1 -->\nno JSON\n")
    entry: dict[str, Any] = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script)}}
    write_config(tmp_path, model_config={"single_model": entry})
    failed = swarm(*BATCH, cwd=tmp_path)
    assert failed.returncode == 1
    assert b"failed: 5 tasks, 3 completed, 2 failed; finished work is kept" in failed.stdout
    assert b"lao_2, lao_4 failed: the coder's answer holds no JSON object" in failed.stdout
    assert failed.stderr.count(b"\n") == 1
    assert b"`swarm-graph resume lao` asks only for what is missing" in failed.stderr
    table = (tmp_path / "swarm-output/lao/results.csv").read_text()
    assert table.count("COMPLETED") == 3
    again = swarm("batch", "--retry-failed", "--session", "lao", cwd=tmp_path)
    assert again.returncode == 1
    script.write_text("<!-- nobody 1 -->\nx\n")
    done = swarm("batch", "--retry-failed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    calls = json.loads(swarm("sessions", "show", "lao", "--json", cwd=tmp_path).stdout)["metrics"]["coder"]
    assert calls["total_calls"] == 3 + 2 * 2 + 2 * 2 + 2
    assert (tmp_path / "swarm-output/lao/results.csv").read_text().count("COMPLETED") == 5


def test_empty_documents_are_named(tmp_path: Path) -> None:
    documents(tmp_path, 3)
    (tmp_path / "docs/lao_2.txt").write_text("")
    done = swarm(*BATCH, "--simulate", cwd=tmp_path)
    assert done.returncode == 0
    named = tmp_path.resolve() / "docs/lao_2.txt"
    assert done.stderr.decode() == f"swarm-graph: note: 1 of 3 documents are empty: {named}\n"


def test_results_name_the_file_of_each_row(tmp_path: Path) -> None:
    (tmp_path / "row.md").write_text("Look.\n---\n$tag of $source_file")
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant/a.csv").write_text("tag:source_file\n=P-1,5:mine\n")
    (tmp_path / "plant/b.tsv").write_text("tag:note\nP-2:x\n")
    arguments = ["batch", "plant", "--prompt", "row.md", "--delimiter", ":", "--simulate", "--session", "s"]
    done = swarm(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    output = tmp_path / "swarm-output/s"
    with (output / "results.csv").open(newline="") as file:
        rows = [{key: row[key] for key in row if key != "result"} for row in csv.DictReader(file)]
    common = {"role": "coder", "status": "COMPLETED", "remark": ""}
    assert rows == [
        {**common, "task_id": "a_00001", "source_file": "plant/a.csv", "tag": "'=P-1,5",
         "input.source_file": "mine", "note": ""},
        {**common, "task_id": "b_00001", "source_file": "plant/b.tsv", "tag": "P-2",
         "input.source_file": "", "note": "x"},
    ]  # fmt: skip
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [line["source_file"] for line in lines] == ["plant/a.csv", "plant/b.tsv"]
    assert lines[0]["tag"] == "=P-1,5"


def test_only_a_batch_is_retried(tmp_path: Path) -> None:
    swarm("run", "x", "--simulate", "--session", "other", cwd=tmp_path)
    for arguments, said in (
        ([], b"no unfinished custom session in"),
        (["--session", "other"], b"no custom session 'other' in"),
    ):
        refused = swarm("batch", "--retry-failed", *arguments, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, b"")
        assert said in refused.stderr


WRONG = {
    ("batch",): "batch needs --prompt FILE",
    ("batch", "--prompt", "extract.md"): "batch needs an INPUT",
    ("batch", "no.txt", "--prompt", "extract.md"): "there is no file or folder 'no.txt'",
    ("batch", "docs", "--prompt", "no.md", "--simulate"): "no prompt 'no.md'",
    ("batch", "docs", "--prompt", "hole.md", "--simulate"): "unknown hole '$unit'",
    ("batch", "docs", "--prompt", "extract.md", "--answer", "extract.md"): "is not valid JSON",
    (
        "batch",
        "docs",
        "--prompt",
        "extract.md",
        "--role",
        "codr",
    ): "--role: unknown role 'codr'; did you mean 'coder'",
    ("batch", "docs", "--retry-failed"): "--retry-failed takes no INPUT",
    ("batch", "--retry-failed"): "no sessions in '.swarm'",
    ("batch", "--retry-failed", "--dry-run"): "--retry-failed takes no --dry-run",
    ("batch", "--retry-failed", "--role", "coder"): "--retry-failed takes no --role",
    ("batch", "--retry-failed", "--id", "tag"): "--retry-failed takes no --id",
    ("batch", "--retry-failed", "--delimiter", ";"): "--retry-failed takes no --delimiter",
    ("batch", "docs", "--delimiter", ";;"): "--delimiter ';;': expected one character, as in ';', or tab",
    ("batch", "", "--prompt", "extract.md"): "an INPUT is empty",
    ("run", "--workflow", "custom", "x"): "a custom workflow needs --tasks FILE",
    ("run", "--workflow", "full", "--tasks", "tasks.yaml"): "--tasks goes with --workflow custom",
    ("run", "extract.md"): "the request 'extract.md' is the name of a file; --input extract.md reads it",
    ("run", "x", "--dry-run"): "--dry-run needs --tasks FILE",
    ("run", "--tasks", "tasks.yaml", "--require-approval"): "--require-approval does not go with",
    ("run", "--tasks", "tasks.yaml"): "no model is configured",
    ("run", "--tasks", "circle.json", "--dry-run"): "form a cycle: ",
    ("graph", "--tasks", "circle.json"): "form a cycle: ",
}


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_options_that_exclude_each_other_give_one_line(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents(tmp_path, 1)
    (tmp_path / "tasks.yaml").write_text(TASKS)
    circle = [{"task_id": a, "assigned_role": "coder", "dependencies": [b]} for a, b in ("ab", "ba")]
    (tmp_path / "circle.json").write_text(json.dumps(circle))
    (tmp_path / "hole.md").write_text("Look at $unit.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the program's own must not stay
    monkeypatch.setattr("sys.argv", ["swarm-graph", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert WRONG[arguments] in said.err
    assert not (tmp_path / "swarm-output").exists()


def test_the_schema_of_task_files_is_printed(tmp_path: Path) -> None:
    schema = json.loads(swarm("init", "--task-schema", cwd=tmp_path).stdout)
    assert schema["properties"]["tasks"]["items"]["properties"]["when"]["description"]
