"""Imports go down only: a module imports what stands before it in FLOORS, or its own package folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The floors of the house, the ground floor first, and on each floor the lower step first.
# nodes, prompts and checkpoints stand for all modules of their folders.
FLOORS = (
    ("errors", "plain", "state", "config_source", "config"),
    (
        "events",
        "limits",
        "lanes",
        "scheduler",
        "portal",
        "answers",
        "evidence",
        "findings",
        "prompts",
        "conditions",
        "drawing",
        "tasks",
        "servers",
        "simulated",
        "capacity",
        "window",
        "openai_chat",
        "ollama_chat",
        "models",
        "checkpoints",
        "run",
        "failures",
        "calls",
        "sandbox",
        "execution",
        "asking",
    ),
    ("role",),
    ("nodes",),
    ("run_tests", "verdict", "pauses", "record", "task_turn", "task_graph", "graph", "workflows"),
    (
        "logs",
        "tracing",
        "metrics",
        "task_results",
        "artifacts",
        "setup_config",
        "doctor",
        "measure",
        "html_parts",
        "progress",
        "notebook",
        "session",
        "desk",
        "history",
        "past",
        "task_files",
        "plan",
        "document",
        "coordinator",
        "significance",
        "comparison",
        "overview",
        "html_report",
        "manager",
        "report",
    ),
    (
        "__init__",
        "served",
        "cli_setup",
        "cli_work",
        "cli_tasks",
        "cli_run",
        "cli_sessions",
        "cli",
        "__main__",
    ),
)
STEPS = [module for floor in FLOORS for module in floor]
FOLDERS = ("nodes", "prompts", "checkpoints")


def sources() -> dict[str, Path]:
    """Every module's name below swarm_graph, such as `role` or `nodes.coder`, and its file."""
    modules = {path.stem: path for path in (ROOT / "swarm_graph").glob("*.py")}
    modules |= {f"sandbox.{path.stem}": path for path in (ROOT / "swarm_graph" / "sandbox").glob("*.py")}
    for folder in FOLDERS:
        modules |= {f"{folder}.{path.stem}": path for path in (ROOT / folder).rglob("*.py")}
    return modules


def place(module: str) -> str:
    return module.split(".")[0]


def imports(path: Path) -> Iterator[str]:
    """The modules below swarm_graph that a file imports, anywhere in it; the package itself is `__init__`."""
    places = {place(module) for module in sources()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        match node:
            case ast.Import(found):
                names = [alias.name for alias in found]
            case ast.ImportFrom("swarm_graph", found):
                names = [f"swarm_graph.{a.name if a.name in places else '__init__'}" for a in found]
            case ast.ImportFrom(str(module)):
                names = [module]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "swarm_graph":
                yield rest or "__init__"


def test_every_module_has_its_place() -> None:
    assert not {place(module) for module in sources()} - set(STEPS), "give each its place in FLOORS"


@pytest.mark.parametrize("module", sorted(module for module in sources() if place(module) in STEPS))
def test_imports_go_down(module: str) -> None:
    below = set(STEPS[: STEPS.index(place(module))]) | ({place(module)} & {*FOLDERS, "sandbox"})
    upward = [name for name in imports(sources()[module]) if place(name) not in below]
    assert not upward, f"{module} imports {', '.join(upward)}, which FLOORS has on its own step or above"
