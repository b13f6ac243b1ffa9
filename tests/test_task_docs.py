"""docs/task-graphs.md is true: its Python, its YAML and its commands run, its table has every key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import Page
from support import write_config

from swarm_graph.tasks.dependencies import checked_graph
from swarm_graph.tasks.files import read_tasks
from swarm_graph.tasks.spec import TaskSpec

PAGE = Page("task-graphs.md")


def test_its_yaml_is_a_graph(tmp_path: Path) -> None:
    ((_, text),) = PAGE.blocks("yaml")
    (tmp_path / "tasks.yaml").write_text(text)
    request, specs = read_tasks(tmp_path / "tasks.yaml")
    assert request == "Startup of the LAO reactor"
    assert list(checked_graph(specs)) == ["draft", "check", "mend"]


@pytest.mark.slow
def test_its_commands_and_its_python_print_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "procedures").mkdir()
    for number in range(3):
        (tmp_path / "procedures" / f"p{number}.txt").write_text("Hold at 80 °C.")
    (tmp_path / "extract.md").write_text("Extract the temperature.")
    schema = {"type": "object", "properties": {"celsius": {"type": "integer"}}, "required": ["celsius"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    write_config(tmp_path)
    PAGE.follow(tmp_path)
    table = (tmp_path / "swarm-output" / "lao" / "results.csv").read_text()
    assert table.startswith("task_id,role,status,files,celsius,remark\n")


def test_its_table_has_every_key_of_a_task() -> None:
    table = PAGE.text.partition("| key | meaning |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == {*TaskSpec.model_fields}
