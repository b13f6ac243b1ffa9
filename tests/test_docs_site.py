"""The documentation: it builds without a warning and needs no network; what it shows runs and is so."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from pages import DOCS, Page, script
from servers.canned import Canned
from servers.scribe import MODEL, scribe
from support import dead_port, write_config

import swarm_graph
from swarm_graph.cli.main import swarm_graph as program
from swarm_graph.config import DEFAULT_PARAMETERS, config_schema, load_config
from swarm_graph.setup.init import PRESETS
from swarm_graph.workflows.build import build_graph

ROOT = DOCS.parent
REMOTE = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*(?:src|href)=["'](?:https?:)?//""")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return script("reference_pages")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_without_a_warning_and_needs_no_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for page in pages:
        assert not REMOTE.search(page.read_text(encoding="utf-8")), page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_search_works_in_files_and_drawings_need_no_script(site: Path) -> None:
    assert (site / "search" / "search_index.js").is_file()
    page = (site / "how-it-works.html").read_text(encoding="utf-8")
    assert '<script src="assets/iframe-worker.js">' in page
    assert re.search(r'<div class="drawing"><svg\b', page)
    assert 'class="mermaid"' not in page


def test_the_python_reference_has_constructors_and_their_arguments(site: Path) -> None:
    page = html.unescape(
        re.sub(r"<[^>]+>", "", (site / "reference" / "python.html").read_text(encoding="utf-8"))
    )
    for name in ("build_graph", "SwarmCoordinator", "run_workflow", "generate_report", "UnfinishedSession"):
        assert name in page
    assert re.search(r"SwarmCoordinator\(\s*config_file: SwarmConfig \| str", page)
    assert re.search(r"SwarmManager\(\s*output_dir: str \| Path = ", page)
    assert "The folder for the files of every session of this coordinator" in page


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in DOCS.rglob("*.md") if str(page.relative_to(DOCS)) not in menu] == []


def test_reference_pages_are_those_of_the_code(reference: ModuleType) -> None:
    for name, page in reference.PAGES.items():
        kept = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert kept == page(), f"{name}: run `python docs/reference_pages.py`"


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_every_command_and_option_is_documented_and_says_what_it_is_for() -> None:
    page = Page("reference/commands.md").text
    for name, command in commands(program):
        section = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        assert command.help, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (name, option.name)
                assert all(one in section for one in option.opts), (name, option.name)


def test_every_setting_is_documented_under_its_path_in_the_file() -> None:
    page = Page("reference/settings.md").text
    for path in ("model_config.mode", "model_config.single_model.url", "agent_parameters.ROLE.max_tokens"):
        assert path in documented(page)
    groups = (config_schema(), *config_schema()["$defs"].values())
    keys = {key for group in groups for key in group.get("properties", ())}
    assert {path.rpartition(".")[2] for path in documented(page)} >= keys
    for name in config_schema()["$defs"]:
        assert f"## {name}\n" not in page
        assert f"[{name}]" not in page


def documented(page: str) -> set[str]:
    """The paths of the settings that the page has."""
    found, path = set(), ""
    for line in page.splitlines():
        if line.startswith("## "):
            path = "" if line == "## The file" else f"{line[3:].strip('`')}."
        elif key := re.match(r"\| `(\w+)` \|", line):
            found.add(path + key[1])
    return found


def test_the_python_reference_has_every_public_name() -> None:
    named = re.findall(r"^::: swarm_graph\.(?:\w+\.)*(\w+)$", Page("reference/python.md").text, re.MULTILINE)
    assert {*named, "SwarmError"} >= {*swarm_graph.__all__}
    assert "errors" in named


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_first_hour_can_be_followed(tmp_path: Path) -> None:
    with scribe() as server:
        Page("first-hour.md").follow(tmp_path, real=on_this_machine(server))
    assert (tmp_path / "swarm-output" / "pump" / "results" / "report.md").is_file()


def on_this_machine(server: Canned) -> dict[str, str]:
    """What stands for the addresses and the model of the pages."""
    alive, dead = server.root.rpartition(":")[2], dead_port()
    return {
        "127.0.0.1:1234": f"127.0.0.1:{alive}",
        "127.0.0.1:8081": f"127.0.0.1:{dead}",
        "('127.0.0.1', 8081)": f"('127.0.0.1', {dead})",
        MODEL: "canned",
    }


def test_the_page_about_prompts_can_be_followed(tmp_path: Path) -> None:
    page = Page("prompts.md")
    write_config(tmp_path)
    page.follow(tmp_path)
    (tmp_path / "our-prompts" / "review_units.md").write_text("Is every number in the unit it says?")
    packed, own = (
        load_config(write_config(tmp_path, **json.loads(config)), environ={})
        for _, config in page.blocks("json")
    )
    assert packed.prompts_dir == "process-safety"
    assert own.prompts_dir == str(tmp_path / "our-prompts")
    for config in (packed, own):
        build_graph("standard", config=config)


def test_the_sandbox_page_shows_what_is_printed(tmp_path: Path) -> None:
    write_config(tmp_path, execution={"mode": "required"})
    Page("sandbox.md").follow(tmp_path)


@pytest.mark.filterwarnings("error")
def test_configs_of_model_servers_are_read_without_a_warning() -> None:
    blocks = Page("model-servers.md").blocks("json")
    assert len(blocks) == 8
    for _, config in blocks:
        assert load_config(json.loads(config)).entries


def test_tuning_tables_are_those_of_the_program() -> None:
    text = Page("tuning.md").text
    roles = {
        role: (float(temperature), int(tokens))
        for role, temperature, tokens in re.findall(r"^\| (\w+) \| ([\d.]+) \| (\d+) \|$", text, re.MULTILINE)
    }
    assert roles == {str(role): (one.temperature, one.max_tokens) for role, one in DEFAULT_PARAMETERS.items()}
    presets = {
        name: {"enable_parallel": parallel == "true", "max_parallel_agents": int(agents)}
        for name, parallel, agents in re.findall(
            r"^\| ([\w-]+) \| (true|false) \| (\d+) \|", text, re.MULTILINE
        )
    }
    assert presets == PRESETS


FOLLOWED_ELSEWHERE = {
    "memory.md",
    "documents-as-input.md",
    "task-graphs.md",
    "when-something-goes-wrong.md",
    "suites.md",
    "watching.md",
    "many-machines.md",
    "log.md",
    "own-roles.md",
    "repositories.md",
    "embedded-models.md",
    "document-formats.md",
    "mcp-server.md",
    "tools.md",
    "mcp.md",
    "vector-stores.md",
    "ui.md",
    "evaluation.md",
    "candidates.md",
    "model-choice.md",
    "ab-testing.md",
    "reference/commands.md",
}
"""Pages whose blocks have tests of their own: test_task_docs, test_docs, test_watching_docs, test_log_docs,
test_own_roles_docs, test_repository_docs, test_embedded, test_document_docs, test_document_tasks,
test_mcp_docs, test_tools_docs, test_ui_docs, test_vector_store_settings, test_evaluation_docs,
test_ab_docs, test_many_machines_docs, and above."""
FOLLOWED_HERE = {
    "documents.md",
    "first-hour.md",
    "interactive.md",
    "prompts.md",
    "model-servers.md",
    "sandbox.md",
    "events.md",
    "langgraph.md",
    "servers.md",
    "testing.md",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["documents.md", "events.md", "interactive.md", "langgraph.md", "servers.md", "testing.md"],
)
def test_the_blocks_of_a_page_run(name: str, tmp_path: Path) -> None:
    write_config(tmp_path)
    Page(name).follow(tmp_path)


def test_no_page_has_a_block_that_nobody_follows() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    with_blocks = {page for page in pages if Page(page).blocks("console", "python", "json", "yaml")}
    assert with_blocks <= FOLLOWED_ELSEWHERE | FOLLOWED_HERE
