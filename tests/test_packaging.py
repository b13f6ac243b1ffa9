"""What a user installs: the wheel holds the tree's modules and texts, the locks name no host."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from warm import ENVIRONMENT

import swarm_graph
from swarm_graph.memory_settings import VECTOR_STORES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOMS = (
    "serving",
    "models",
    "inputs",
    "repository",
    "sandbox",
    "tools",
    "memory",
    "roles",
    "tasks",
    "workflows",
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
OF_PAGES = {".css", ".html", ".js", ".svg"}
"""What reports and pages are made of."""
HOMES = {
    "swarm_graph": "swarm_graph",
    **{f"swarm_graph/{room}": f"swarm_graph/{room}" for room in ROOMS},
    "nodes": "swarm_graph/nodes",
    "prompts": "swarm_graph/prompts",
    "checkpoints": "swarm_graph/checkpoints",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built, by way of a source distribution, from a copy of the tree, without network."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for folder in HOMES:
        shutil.copytree(
            ROOT / folder,
            tree / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
    for path in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(path, tree)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, tree],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(dist.glob("*.whl")))


def test_wheel_holds_the_tree_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tree = {
        f"{home}/{path.name}"
        for folder, home in HOMES.items()
        for path in (ROOT / folder).iterdir()
        if path.suffix in {".py", ".md"} or path.name == "py.typed"
        if path.name != "README.md"  # for readers of the tree
    }
    prompts = (path for path in (ROOT / "prompts").rglob("*") if path.suffix in {".md", ".json"})
    in_folders = (path.relative_to(ROOT / "prompts") for path in prompts if path.parent.name != "prompts")
    tree |= {f"swarm_graph/prompts/{path.as_posix()}" for path in in_folders}
    pages = (path for room in ("reports", "web") for path in (ROOT / "swarm_graph" / room).rglob("*"))
    tree |= {path.relative_to(ROOT).as_posix() for path in pages if path.suffix in OF_PAGES}
    tree.add("swarm_graph/suites/killed_mutants.json")
    smoke = (path for path in (ROOT / "swarm_graph/suites/smoke").rglob("*") if path.is_file())
    tree |= {path.relative_to(ROOT).as_posix() for path in smoke if "__pycache__" not in path.parts}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == tree


def test_installed_wheel_is_one_import_name(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    top = {path.name for path in tmp_path.iterdir()}
    assert top == {"swarm_graph", f"swarm_graph-{PROJECT['version']}.dist-info"}
    script = "import swarm_graph.nodes as n, swarm_graph.prompts as p, swarm_graph.checkpoints as c\n"
    script += "print(n.__file__, p.__file__, c.__file__, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [Path(line).parent.parent for line in done.stdout.splitlines()] == [tmp_path / "swarm_graph"] * 3


def test_installed_wheel_shows_the_page(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    program = [sys.executable, "-m", "swarm_graph"]
    subprocess.run(
        [*program, "run", "--simulate", "--session", "stack", "Create a stack"],
        env=environment, cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    with (
        subprocess.Popen(
            [*program, "ui", "--no-browser", "--port", "0"],
            env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        ) as page,
        httpx.Client(follow_redirects=True, trust_env=False) as client,
    ):  # fmt: skip
        try:
            assert page.stderr
            address = urlsplit(page.stderr.readline().split("open ")[1].split()[0])
            client.base_url = f"{address.scheme}://{address.netloc}"
            client.headers["origin"] = str(client.base_url).rstrip("/")
            assert client.post("/login", data={"token": address.fragment}).status_code == 200
            shown = client.get("/sessions/stack").raise_for_status().text
            assert "Create a stack" in shown
            for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', shown):
                assert client.get(path).raise_for_status().content
        finally:
            page.terminate()


def test_one_version() -> None:
    assert swarm_graph.__version__ == PROJECT["version"] == version("swarm-graph")


LOCKS = [path.name for path in ROOT.glob("requirements*.txt")]


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))


def test_locks_name_no_host_and_no_path() -> None:
    for lock in LOCKS:
        assert not re.search(r"://|file:|^-|^[./]", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE)


def test_dev_lock_holds_the_runtime_lock() -> None:
    assert pins("requirements.txt") < pins("requirements-dev.txt")


@pytest.mark.parametrize("extra", ["sandbox", "embedded"])
def test_the_lock_of_an_extra_is_a_part_of_the_dev_lock(extra: str) -> None:
    _, _, pinned = (ROOT / f"requirements-{extra}.txt").read_text(encoding="utf-8").partition("\n")
    assert pinned in (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    assert {pin.split("==")[0] for pin in pins(f"requirements-{extra}.txt")} == {
        re.split(r"[><=]", needed)[0] for needed in PROJECT["optional-dependencies"][extra]
    }


@pytest.mark.parametrize("weights", ["requirements-models.txt", "requirements-embeddings.txt"])
def test_no_installation_brings_the_weights_of_the_tests(weights: str) -> None:
    """They take 95 MB each, and the package of one depends on one that takes 20 minutes to compile."""
    (pin,) = pins(weights)
    name = pin.split("==")[0]
    for lock in {*LOCKS, "pyproject.toml"} - {weights}:
        assert name not in (ROOT / lock).read_text(encoding="utf-8"), lock


def test_vector_stores_have_a_lock_of_their_own_with_the_same_versions() -> None:
    """Chroma alone takes 400 MB; the environment of the tests must not get them."""
    ours = dict(pin.split("==") for pin in pins("requirements-dev.txt"))
    theirs = dict(pin.split("==") for pin in pins("requirements-vector-stores.txt"))
    assert {name: ours[name] for name in theirs if name in ours} == {
        name: version for name, version in theirs.items() if name in ours
    }
    for extra in VECTOR_STORES.values():
        needed = {
            re.split(r"[><=]", requirement)[0] for requirement in PROJECT["optional-dependencies"][extra]
        }
        assert needed <= {*theirs}
        assert not needed & {*ours}


def test_a_lock_is_made_with_every_extra() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = re.findall(r"^(?:TESTED_EXTRAS|VECTOR_STORES) = (.*)$", makefile, re.MULTILINE)
    assert sorted(" ".join(extras).split()) == sorted(PROJECT["optional-dependencies"])


def test_runtime_lock_holds_every_dependency() -> None:
    names = {pin.split("==")[0] for pin in pins("requirements.txt")}
    assert {re.split(r"[><=\[]", needed)[0] for needed in PROJECT["dependencies"]} <= names
