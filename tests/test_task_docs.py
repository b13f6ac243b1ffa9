"""docs/task-graphs.md is true: its Python, its YAML and its commands run, its table has every key."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import write_config
from test_cli import swarm

from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.files import read_tasks
from swarm_graph.tasks.spec import TaskSpec

PAGE = (Path(__file__).parents[1] / "docs" / "task-graphs.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_its_python_runs(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "COMPLETED" in done.stdout


def test_its_yaml_is_a_graph(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "tasks.yaml").write_text(text)
    request, specs = read_tasks(tmp_path / "tasks.yaml")
    assert request == "Startup of the LAO reactor"
    assert list(checked_graph(specs)) == ["draft", "check", "mend"]


def test_its_commands_run(tmp_path: Path) -> None:
    (tmp_path / "procedures").mkdir()
    for number in range(3):
        (tmp_path / "procedures" / f"{number}.txt").write_text("Hold at 80 °C.")
    (tmp_path / "extract.md").write_text("Extract the temperature.")
    schema = {"type": "object", "properties": {"celsius": {"type": "integer"}}, "required": ["celsius"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    write_config(tmp_path)
    for line in blocks("console")[0].splitlines():
        done = swarm(*shlex.split(line.removeprefix("$ "), comments=True)[1:], cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    table = (tmp_path / "swarm-output" / "lao" / "results.csv").read_text()
    assert table.startswith("task_id,role,status,files,celsius,remark\n")


def test_its_note_is_printed(tmp_path: Path) -> None:
    (tmp_path / "procedures" / "old").mkdir(parents=True)
    (tmp_path / "procedures" / "p1.txt").write_text("Hold at 80 °C.")
    (tmp_path / "procedures" / "p7.txt").symlink_to("moved.txt")
    (tmp_path / "extract.md").write_text("Extract the temperature.")
    command, note = blocks("console")[1].splitlines()
    done = swarm(*shlex.split(command.removeprefix("$ "))[1:], cwd=tmp_path)
    assert (done.returncode, done.stderr.decode()) == (0, f"{note}\n")


def test_its_table_has_every_key_of_a_task() -> None:
    table = PAGE.partition("| key | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == {*TaskSpec.model_fields}
