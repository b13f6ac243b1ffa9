"""Every notebook runs from top to bottom in a real Jupyter kernel, in its own event loop, offline."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from servers.counting_proxy import CountingProxy
from servers.llama import Llama

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OF_THIS_RUN = re.compile(r"/(?:tmp|home|root|Users)/|\d\d:\d\d:\d\d|0x[0-9a-f]{6}|\d tokens/s")
SIMULATED = '{"model": "simulated", "api_type": "simulated"}'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("jupyter"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the kernel's own sockets
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


def execute(notebook: Any, folder: Path) -> None:
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_runs_again(path: Path, tmp_path: Path) -> None:
    notebook = read(path)
    assert len(notebook.cells) <= 12
    notebook.cells += read(path).cells
    execute(notebook, tmp_path)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_of_no_machine(path: Path) -> None:
    notebook = read(path)
    assert path.stat().st_size < 20_000
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not OF_THIS_RUN.search(json.dumps(outputs))
    assert "simulated" in notebook.cells[0].source, "it says that nothing is asked"


def test_there_are_thirteen() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 14)]


def test_a_notebook_runs_on_a_real_server(
    llama: Llama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("DEBUGGER", "SECURITY", "REVIEWER", "ARCHITECT"):
        monkeypatch.setenv(f"SWARM_AGENT_PARAMETERS__{role}__SEED", "7")
    notebook = read(ROOT / "notebooks" / "07_process_troubleshooting.ipynb")
    with CountingProxy(llama.root) as proxy:
        real = json.dumps({"url": proxy.url, "model": "tiny"})
        for cell in notebook.cells:
            cell.source = cell.source.replace(SIMULATED, real)
        execute(notebook, tmp_path)
        assert len(proxy.calls) >= 8
    assert notebook.cells[-1].outputs[-1]["data"]["text/plain"] == "'complete'"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the built wheel holds, outside of the repository."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, capture_output=True, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize("path", NOTEBOOKS[:5], ids=lambda path: path.stem)
def test_notebook_runs_with_the_wheel_alone(
    path: Path, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    (tmp_path / path.name).write_bytes(path.read_bytes())
    notebook = read(tmp_path / path.name)
    notebook.cells.append(nbformat.v4.new_code_cell("import swarm_graph\nprint(swarm_graph.__file__)"))  # type: ignore[no-untyped-call]
    execute(notebook, tmp_path)
    assert notebook.cells[-1].outputs[0]["text"].startswith(str(installed))
