"""What the README says is so: its Python runs, its commands exist, its demo output is the real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import sandbox
from test_sandbox import need

ROOT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).parent / "swarm-graph"
README = (ROOT / "README.md").read_text()
PICTURE = ROOT / "docs" / "assets" / "terminal.svg"
REQUEST = "Create a Python class for managing a FIFO queue"
SVG = "{http://www.w3.org/2000/svg}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def demo(folder: Path, **environment: str) -> str:
    """What the run of the picture prints."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SWARM_")}
    done = subprocess.run(
        [PROGRAM, "run", REQUEST, "--workflow", "full", "--simulate", "--session", "queue"],
        cwd=folder,
        env={**ours, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_the_picture_shows_what_the_demo_prints(tmp_path: Path) -> None:
    assert pictured().startswith(f'$ swarm-graph run "{REQUEST}" --workflow full')
    assert demo(tmp_path).startswith(summary(sandbox())), "run `make picture`"


@pytest.mark.slow
def test_the_demo_runs_its_tests_on_a_machine_without_bubblewrap(tmp_path: Path) -> None:
    need("landlock")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("setpriv", "chmod", "rm"):
        (programs / name).symlink_to(shutil.which(name) or "")
    assert demo(tmp_path, PATH=str(programs)).startswith(summary("landlock"))


def summary(sandbox: str) -> str:
    """The end of the picture, on a machine with this sandbox."""
    shown = pictured()
    return re.sub(r"(?<=sandbox: )\w+", sandbox, shown[shown.index("SIMULATED") :].strip())


def pictured() -> str:
    """The text of the README's picture."""
    rows: dict[float, str] = {}
    for text in ElementTree.fromstring(PICTURE.read_text(encoding="utf-8")).iter(f"{SVG}text"):
        if "clip-path" in text.attrib:
            height = float(text.attrib["y"])
            rows[height] = rows.get(height, "") + (text.text or "")
    return "\n".join(row.replace("\xa0", " ").rstrip() for _, row in sorted(rows.items()))


def test_the_picture_is_small_and_refers_to_nothing() -> None:
    picture = PICTURE.read_text(encoding="utf-8")
    assert len(picture) < 60_000
    assert set(re.findall(r"\w+://[\w./]+", picture)) <= {"http://www.w3.org/2000/svg"}
    assert all(place.startswith("#") for place in re.findall(r"url\(([^)]*)\)", picture))


def test_every_command_has_an_example_that_names_it() -> None:
    from swarm_graph.cli.main import swarm_graph

    for name, command in swarm_graph.commands.items():
        assert f"swarm-graph {name}" in (command.epilog or ""), name


def test_commands_of_the_readme_exist() -> None:
    from swarm_graph.cli.main import swarm_graph

    named = set(re.findall(r"swarm-graph ([a-z]+)", README)) - {"alone"}
    assert named <= set(swarm_graph.commands)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "docs"} <= named <= targets


def test_every_runtime_dependency_is_named_with_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = README.partition("## What it depends on")[2]
    for requirement in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        name = re.split(r"[><=\[]", requirement)[0]
        assert re.search(rf"\b{re.escape(name)}\b", table), name


def test_the_number_of_notebooks_is_right() -> None:
    words = ("ten", "eleven", "twelve", "thirteen")
    number = words[len([*(ROOT / "notebooks").glob("*.ipynb")]) - 10]
    assert f"`notebooks/`: {number} Jupyter notebooks" in (ROOT / "README.md").read_text()
    assert f"the {number} notebooks in `notebooks/`" in (ROOT / "docs/index.md").read_text()
