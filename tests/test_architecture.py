"""Imports go down only: a module imports its own room, and rooms that stand before it in ROOMS; no circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "swarm_graph"

ROOMS = (
    "hall",
    "prompts",
    "checkpoints",
    "serving",
    "models",
    "inputs",
    "repository",
    "sandbox",
    "memory",
    "tools",
    "roles",
    "nodes",
    "tasks",
    "workflows",
    "testing",
    "sessions",
    "workers",
    "reports",
    "suites",
    "experiments",
    "mcp_server",
    "setup",
    "web",
    "cli",
)
"""The ground floor first. The hall is what stands in swarm_graph/ itself."""
ABOVE_ALL = ("__main__",)
"""The program: the one module of the hall that may import every room. `__init__` names rooms in strings."""


def sources() -> dict[str, Path]:
    """Every module's name below swarm_graph, such as `roles.role`, and its file."""
    found = {}
    for path in _files():
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def _files() -> Iterator[Path]:
    yield from PACKAGE.glob("*.py")
    yield from PACKAGE.glob("*/*.py")  # the links nodes, prompts and checkpoints included


def room(module: str) -> str:
    first, _, rest = module.partition(".")
    return first if rest or first in ROOMS else "hall"


def imports(path: Path) -> Iterator[str]:
    """The modules below swarm_graph that a file imports, anywhere in it."""
    known = sources()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        match node:
            case ast.Import(found):
                names = [alias.name for alias in found]
            case ast.ImportFrom(module=str(module), names=found):
                inner = [f"{module}.{alias.name}" for alias in found]
                names = [name if name.removeprefix("swarm_graph.") in known else module for name in inner]
            case _:
                continue
        yield from (name.removeprefix("swarm_graph.") for name in names if name.startswith("swarm_graph."))


def test_every_module_has_a_room() -> None:
    assert {room(module) for module in sources()} <= {*ROOMS}


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_go_down(module: str) -> None:
    if module in (*ABOVE_ALL, "__init__"):
        return
    allowed = ROOMS[: ROOMS.index(room(module)) + 1]
    upward = [name for name in imports(sources()[module]) if room(name) not in allowed]
    assert not upward, f"{module} imports {', '.join(upward)}, which ROOMS has above it"


def test_no_circle_in_a_room() -> None:
    TopologicalSorter({name: {*imports(path)} - {name} for name, path in sources().items()}).prepare()


@pytest.mark.parametrize("name", [name for name in ROOMS if name not in ("hall", "testing")])
def test_a_room_explains_itself(name: str) -> None:
    tree = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1, "a room's __init__.py holds its docstring and nothing else"
