"""MIGRATION.md: each row is so, and what the old documentation shows runs with another import line."""

from __future__ import annotations

import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from support import SIMULATED
from test_config import SEED

import swarm_graph
from swarm_graph import SwarmCoordinator, SwarmManager, Task
from swarm_graph.cli.main import swarm_graph as program
from swarm_graph.config import config_schema, load_config

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "MIGRATION.md").read_text(encoding="utf-8")
IMPORT = "from swarm_graph import AgentRole, SwarmCoordinator, SwarmManager, Task, TaskStatus\n"


def table(title: str) -> list[list[str]]:
    """The rows of the table below a heading, without its head."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def bare(cell: str) -> str:
    return cell.strip("`")


# --- the tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", table("Names"), ids=lambda row: row[0])
def test_a_name_is_where_the_page_says(row: list[str]) -> None:
    old, now = bare(row[0]), bare(row[1])
    assert now == f"swarm_graph.{old}"
    found: Any = swarm_graph
    for part in old.split("."):
        found = getattr(found, part)
    known = {*dir(SwarmCoordinator), *dir(found), *Task.__annotations__}
    known |= {*inspect.signature(found).parameters} if callable(found) else set()
    known |= SwarmCoordinator(SIMULATED).get_metrics_summary().keys()
    assert set(re.findall(r"`(\w+)`", row[2])) <= known


@pytest.mark.parametrize("row", table("Module paths"), ids=lambda row: row[0])
def test_a_module_path_is_there(row: list[str]) -> None:
    assert pkgutil.resolve_name(bare(row[1]))


@pytest.mark.parametrize("row", table("Settings"), ids=lambda row: row[0])
def test_a_setting_is_known_and_accepted_without_a_warning(row: list[str]) -> None:
    value: Any = config_schema()
    for part in bare(row[0]).split("."):
        value = _resolved(value)
        value = value.get("properties", {}).get(part) or value.get("additionalProperties")
        assert value, row[0]


def _resolved(schema: Any) -> Any:
    """What a part of the config's schema refers to; of several forms the first, which is the oldest."""
    if options := schema.get("anyOf") or schema.get("oneOf"):
        schema = next(one for one in options if one.get("type") != "null")
    reference = schema.get("$ref")
    return config_schema()["$defs"][reference.rpartition("/")[2]] if reference else schema


@pytest.mark.parametrize("row", table("Commands"), ids=lambda row: row[0])
def test_a_command_is_there(row: list[str]) -> None:
    _, *words = bare(row[1]).split()
    command: click.Command = program
    for word in words:
        if word.startswith("--"):
            assert any(word in option.opts for option in command.params)
        elif isinstance(command, click.Group):
            command = command.commands[word]
        else:
            assert word in ("full", "review_only")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the old config's shape, in which the full workflow and the manager have run."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "config.json").write_text(json.dumps(SIMULATED))
    run(folder, 'SwarmCoordinator().run_workflow("Create a queue", workflow_type="full", session_id="s")')
    run(folder, "m = SwarmManager(); m.export_metrics('swarm_metrics.csv'); m.generate_report()")
    return folder


def run(folder: Path, code: str) -> str:
    """Runs Python as a script of the old coordinator, with the one changed import."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("row", table("Files"), ids=lambda row: row[0])
def test_a_file_is_written(row: list[str], folder: Path) -> None:
    name = bare(row[0])
    places = [folder] if "sessions" in row[1] else [folder / "swarm-output" / "s"]
    assert [path for place in places for path in place.glob(name)], name
    for below in re.findall(r"`(project\S*)/`", row[1]):
        assert list((folder / "swarm-output" / "s" / below).iterdir())


@pytest.mark.parametrize("row", table("The state JSON"), ids=lambda row: row[0])
def test_a_key_of_the_state_is_there(row: list[str], folder: Path) -> None:
    found: Any = json.loads((folder / "swarm-output/s/swarm_state_s.json").read_text())
    for part in bare(row[0]).split("."):
        if part == "*":
            found = next(iter(found.values())) if isinstance(found, dict) else found[0]
        else:
            found = found[part]
    if bare(row[0]) == "context":
        assert "coding_coder" in found


def test_roadmap_names_what_is_there() -> None:
    told = {row[0]: row[1] for row in table("Where the roadmap stands")}
    for name in re.findall(r"`(\w+)`", told["Streaming responses"]):
        assert hasattr(swarm_graph, name)
    for name in re.findall(r"`(\w+)`", told["Cost optimization (token usage tracking)"]):
        assert f'"{name}"' in json.dumps(config_schema())
    pages = re.findall(r"\((docs/[^)]+)\)", " ".join(told.values()))
    assert pages
    assert [page for page in pages if not (ROOT / page).is_file()] == []
    assert [name for name, where in told.items() if "not available" in where] == []
    setting, command = re.findall(r"`([\w -]+)`", told["Automatic model selection"])[::2]
    assert f'"{setting}"' in json.dumps(config_schema())
    assert command.removeprefix("swarm-graph ") in program.commands


def test_the_import_of_the_page_is_the_one_that_is_tested() -> None:
    assert IMPORT.strip() in PAGE


# --- the old documentation's snippets ------------------------------------------------------------

BASIC = """
coordinator = SwarmCoordinator(config_file="config.json")

# Run standard workflow
coordinator.run_workflow(
    user_request="Create a CSV parser with error handling",
    workflow_type="standard"
)

# Access results
code_task = next(t for t in coordinator.completed_tasks if t.task_type == "coding")
print(code_task.result)

# Get metrics
metrics = coordinator.get_metrics_summary()
print(f"Total tokens used: {sum(m['total_tokens'] for m in metrics['agents'].values())}")
"""
TWO_TASKS = """
coordinator = SwarmCoordinator()

# Define custom tasks
coordinator.add_task(Task(
    task_id="T001",
    task_type="analysis",
    description="Analyze requirements",
    assigned_role=AgentRole.CLARIFIER,
    status=TaskStatus.PENDING,
    priority=10
))

coordinator.add_task(Task(
    task_id="T002",
    task_type="coding",
    description="Implement solution",
    assigned_role=AgentRole.CODER,
    status=TaskStatus.PENDING,
    priority=8,
    dependencies=["T001"]  # Wait for T001 to complete
))

# Execute
coordinator.run_workflow("", workflow_type="custom")
print([t.task_id for t in coordinator.completed_tasks])
"""
ADVANCED = """
coordinator = SwarmCoordinator()

coordinator.add_task(Task(
    task_id="T001_analyze",
    task_type="document_analysis",
    description="Analyze LAO document structure",
    assigned_role=AgentRole.ARCHITECT,
    status=TaskStatus.PENDING,
    priority=10,
    metadata={"document_type": "LAO", "count": 287}
))

coordinator.add_task(Task(
    task_id="T002_extract",
    task_type="extraction",
    description="Extract procedure sections",
    assigned_role=AgentRole.CODER,
    status=TaskStatus.PENDING,
    priority=9,
    dependencies=["T001_analyze"]
))

# Run custom workflow
coordinator.run_workflow("", workflow_type="custom")

# Save detailed results
coordinator.save_state("elara_session.json")
"""
MANAGER = """
manager = SwarmManager()

# Analyze latest session
latest_session = manager.session_files[0]
manager.analyze_session(latest_session)

# Export all metrics
manager.export_metrics("all_metrics.csv")

# Generate report
manager.generate_report("swarm_report.txt")
"""
DOCUMENTS = """
# Parse 287 LAO procedures
coordinator = SwarmCoordinator()

# Custom workflow for batch processing
for doc_num in range(1, 288):
    coordinator.add_task(Task(
        task_id=f"T{doc_num:03d}_parse",
        task_type="document_parse",
        description=f"Parse LAO document {doc_num}",
        assigned_role=AgentRole.CODER,
        status=TaskStatus.PENDING,
        priority=5,
        metadata={"doc_id": doc_num}
    ))

coordinator.run_workflow("", workflow_type="custom")
print(len(coordinator.completed_tasks))
"""
PLANT = '''
coordinator = SwarmCoordinator()
request = """
Distillation column showing erratic pressure control.
Recent changes: Feed composition shift, new PID tuning.
Historical data shows correlation with ambient temperature.
"""

coordinator.run_workflow(request, workflow_type="full")

request = """
Generate startup procedure for LAO reactor:
- Safety interlocks verification
- Equipment lineup
- Pressure/temperature ramp rates
- Quality checks at each stage
"""

coordinator.run_workflow(request, workflow_type="standard")
coordinator.run_workflow("x = 1", workflow_type="review_only")
'''
DEBUGGING = """
import logging
logging.basicConfig(level=logging.DEBUG)

coordinator = SwarmCoordinator()
coordinator.run_workflow("Create a queue")
"""


def test_basic_usage(folder: Path) -> None:
    shown = run(folder, BASIC)
    assert "path=src/" in shown
    assert re.search(r"Total tokens used: \d{4,}", shown)


def test_a_custom_workflow(folder: Path) -> None:
    assert run(folder, TWO_TASKS).endswith("['T001', 'T002']\n")


def test_advanced_usage(folder: Path) -> None:
    run(folder, ADVANCED)
    saved = json.loads((folder / "elara_session.json").read_text())
    assert [task["task_id"] for task in saved["completed_tasks"]] == ["T001_analyze", "T002_extract"]


def test_session_analysis(folder: Path) -> None:
    assert "Session " in run(folder, MANAGER)
    assert (folder / "all_metrics.csv").stat().st_size > 100
    assert (folder / "swarm_report.txt").read_text().startswith("Swarm report")


def test_the_plant_s_documents_and_requests(folder: Path) -> None:
    assert run(folder, DOCUMENTS).endswith("287\n")
    run(folder, PLANT)


def test_debug_mode(folder: Path) -> None:
    run(folder, DEBUGGING)


def test_failed_tasks_are_found(tmp_path: Path) -> None:
    dead = {"url": "http://127.0.0.1:9/v1", "model": "m", "api_type": "openai", "timeout": 7200, "retries": 0}
    (tmp_path / "config.json").write_text(
        json.dumps({"model_config": {"mode": "single", "single_model": dead}})
    )
    shown = run(
        tmp_path,
        """
coordinator = SwarmCoordinator()
coordinator.run_workflow("Create a queue")
failed = [t for t in coordinator.completed_tasks if t.status == TaskStatus.FAILED]
for task in failed:
    print(f"Failed: {task.task_id} - {task.error}")
""",
    )
    assert re.search(r"^Failed: T001_clarify - clarifier: m at \S+ cannot be reached", shown, re.MULTILINE)


CONFIGS = [
    SEED,
    '{"workflow": {"enable_parallel": false, "max_parallel_agents": 1}}',
    '{"workflow": {"enable_parallel": true, "max_parallel_agents": 8}}',
    '{"workflow": {"enable_parallel": false  // Disable parallel execution\n}}',
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", CONFIGS)
def test_its_configs_are_read_without_a_warning(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert load_config(tmp_path / "config.json").redacted()


def test_the_names_that_snippets_use_are_ours() -> None:
    assert {SwarmCoordinator, SwarmManager, Task} <= {
        getattr(swarm_graph, name) for name in swarm_graph.__all__
    }
