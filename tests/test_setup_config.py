"""`swarm-graph init` and config.example.json: every config loads, and says what is left to fill in."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import warm
from click.testing import CliRunner, Result
from servers.llama import Llama
from servers.ollama_front import OllamaFront
from support import dead_port

from swarm_graph.cli.setup import init
from swarm_graph.config import SwarmConfig, config_schema, load_config
from swarm_graph.config_source import read_json5
from swarm_graph.errors import InputError
from swarm_graph.models.probe import ServerInfo, inspect
from swarm_graph.settings import MODEL_PLACEHOLDER
from swarm_graph.setup.doctor import examine
from swarm_graph.setup.init import PRESETS, config_text, write_config
from swarm_graph.state import AgentRole

ROOT = Path(__file__).parents[1]
STUDIO = ServerInfo("http://127.0.0.1:1234/v1", "lm-studio", True, models=("gpt-oss-20b", "qwen-coder"))
OLLAMA = ServerInfo("http://127.0.0.1:11434", "ollama", True, models=("qwen-coder", "llama3.1:8b"))


def written(folder: Path, *reports: ServerInfo, preset: str = "optimal") -> SwarmConfig:
    path = folder / "config.json"
    write_config(path, config_text(reports, preset), force=True)
    return load_config(path, environ={})


def invoked(*arguments: str) -> Result:
    """Run `init` with OLLAMA_HOST at a dead port, so that it finds only servers on the default ports."""
    return CliRunner().invoke(init, arguments, env={"OLLAMA_HOST": f"127.0.0.1:{dead_port()}"})


def test_roles_get_the_models_that_suit_them(tmp_path: Path) -> None:
    config = written(tmp_path, STUDIO, OLLAMA)
    models = {role: (config.model_for(role).server, config.model_for(role).model) for role in AgentRole}
    assert models[AgentRole.CODER] == ("http://127.0.0.1:1234", "qwen-coder")
    assert models[AgentRole.TESTER] == models[AgentRole.DEBUGGER] == models[AgentRole.CODER]
    assert models[AgentRole.REVIEWER] == ("http://127.0.0.1:1234", "gpt-oss-20b")
    assert models[AgentRole.SECURITY] == models[AgentRole.REVIEWER]


def test_the_same_model_on_another_server_is_no_diversity(tmp_path: Path) -> None:
    alone = ServerInfo("http://127.0.0.1:8080/v1", "llama.cpp", True, models=("qwen-coder",))
    config = written(tmp_path, alone, OLLAMA)
    assert config.model_for(AgentRole.REVIEWER).model == "llama3.1:8b"


def test_one_model_makes_a_config_of_one_model(llama: Llama, tmp_path: Path) -> None:
    config = written(tmp_path, asyncio.run(inspect(llama.url)))
    assert config.models.mode == "single"
    assert config.models.multi_model == {}
    assert config.model_for(AgentRole.SECURITY).slots == llama.slots


def test_a_server_without_a_model_keeps_its_address(tmp_path: Path) -> None:
    config = written(tmp_path, ServerInfo("http://127.0.0.1:11434", "ollama", True))
    entry = config.model_for(AgentRole.CODER)
    assert (entry.url, entry.api_type, entry.model) == ("http://127.0.0.1:11434", "ollama", MODEL_PLACEHOLDER)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_a_server_there_are_places_for_both_kinds(preset: str, tmp_path: Path) -> None:
    config = written(tmp_path, preset=preset)
    assert config.workflow.parallel == PRESETS[preset]["max_parallel_agents"]
    text = (tmp_path / "config.json").read_text()
    assert text.count(MODEL_PLACEHOLDER) == 2
    hint = next(line for line in text.splitlines() if "with Ollama" in line)
    other = hint.partition("Ollama: ")[2]
    kept = "\n".join(line for line in text.splitlines() if not line.strip().startswith('"single_model"'))
    (tmp_path / "config.json").write_text(kept.replace(hint, other))
    assert load_config(tmp_path / "config.json", environ={}).model_for(AgentRole.CODER).api_type == "ollama"


def test_doctor_passes_what_init_wrote(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    reports = [asyncio.run(inspect(url)) for url in (llama.url, f"{ollama.root}/v1")]
    for found in (reports, reports[:1], reports[1:]):
        config = written(tmp_path, *found)
        checks = asyncio.run(examine(config, data_dir=tmp_path / "data", output_dir=tmp_path / "out"))
        assert [check for check in checks if not check.ok] == []


@pytest.mark.parametrize("name", ["folder", ".", "..", "x" * 300, "file/config.json"], ids=len)
def test_what_cannot_be_written_is_an_input_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="name another file"):
        write_config(tmp_path / name, "{}", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_existing_file_or_link_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(tmp_path / "nowhere")
    result = invoked(str(tmp_path / "config.json"))
    assert isinstance(result.exception, InputError)
    assert result.exception.exit_code == 2
    assert result.stdout == ""
    assert (tmp_path / "config.json").is_symlink()


def test_nothing_is_asked_without_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    result = invoked(str(path), "--preset", "minimal")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"wrote {path}" in result.stdout
    assert load_config(path, environ={}).workflow.parallel == 1
    assert invoked(str(path), "--force").exit_code == 0
    assert load_config(path, environ={}).workflow.parallel == 4


@pytest.mark.parametrize(("answer", "is_there"), [("n", False), ("y", True)])
def test_on_a_terminal_it_asks_first(answer: str, is_there: bool, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with warm.Process("init", "config.json", stdin=theirs, stdout=subprocess.PIPE, cwd=tmp_path) as child:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        output, _ = child.communicate()
    os.close(ours)
    assert b"Write config.json?" in output
    assert child.returncode == 0
    assert (tmp_path / "config.json").exists() == is_there


def test_the_example_has_every_key_in_its_place() -> None:
    schema, example = config_schema(), read_json5(file := ROOT / "config.example.json")
    shown_in_comment = re.search(r'"repo": null.*(\{.*\})', file.read_text())
    vectors_in_comment = re.search(r'// "vector_store": (\{.+\}),', file.read_text())
    candidates_in_comment = re.search(r'"candidates": 1,.*(\[.+\])', file.read_text())
    assert shown_in_comment
    assert candidates_in_comment
    assert vectors_in_comment
    models = example["model_config"]
    named = [*models["multi_model"].values()]
    choices = [entry for entry in named if "any_of" in entry]
    entries = [models["single_model"], *(entry for entry in named if entry not in choices)]
    places: dict[str, list[dict[str, Any]]] = {
        "SwarmConfig": [example],
        "Models": [models],
        "ModelEntry": entries,
        "AnyOf": choices,
        "Simulation": [entry["simulation"] for entry in entries if "simulation" in entry],
        "AgentParameters": list(example["agent_parameters"].values()),
        "Prices": [entry["prices"] for entry in entries if "prices" in entry],
        "SessionLimits": [example["limits"]],
        "WorkflowSettings": [example["workflow"]],
        "Candidate": json.loads(candidates_in_comment[1]),
        "Execution": [example["execution"]],
        "ExecutionLimits": [example["execution"]["limits"]],
        "DocumentSettings": [example["documents"]],
        "Features": [example["features"]],
        "UiSettings": [example["ui"]],
        "ToolLimits": [example["tool_limits"]],
        "McpServer": list(example["mcp_servers"].values()),
        "RepositorySettings": [json.loads(shown_in_comment[1])],
        "MemorySettings": [example["memory"]],
        "EmbeddingModel": [example["memory"]["embeddings"]],
        "VectorStoreSettings": [json.loads(vectors_in_comment[1])],
    }
    groups = {name: group for name, group in schema["$defs"].items() if "properties" in group}
    groups["SwarmConfig"] = schema
    assert groups.keys() == places.keys()
    for name, group in groups.items():
        shown = set().union(*places[name])
        assert shown == set(group["properties"]), name
