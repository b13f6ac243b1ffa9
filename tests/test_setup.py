"""`init`, `doctor` and the probes with real servers, dead ports and services that are not model servers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from servers.llama import Llama
from servers.ollama_front import OllamaFront
from support import dead_port

from swarm_graph.cli.setup import init
from swarm_graph.config import load_config
from swarm_graph.config_source import read_json5
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.models.keys import check_model
from swarm_graph.models.probe import ServerInfo, discover, inspect
from swarm_graph.settings import MODEL_PLACEHOLDER
from swarm_graph.setup.checks import Check, checks_text
from swarm_graph.setup.doctor import examine
from swarm_graph.setup.init import PRESETS, config_text, write_config
from swarm_graph.state import AgentRole

ROOT = Path(__file__).parents[1]


class Something(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"hi")

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def something_else() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Something) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def checks(folder: Path, settings: dict[str, Any]) -> list[Check]:
    config = load_config(settings, environ={})
    return asyncio.run(examine(config, data_dir=folder / ".swarm", output_dir=folder / "out"))


def one(url: str, **more: Any) -> dict[str, Any]:
    return {"model_config": {"single_model": {"url": url, "model": "tiny", **more}}}


def failures(found: list[Check]) -> list[str]:
    return [f"{check.text} → {check.cure}" for check in found if check.ok is False]


def warned(found: list[Check]) -> list[str]:
    return [f"{check.text} → {check.cure}" for check in found if check.ok is None]


def test_llama_cpp_says_what_it_has(llama: Llama) -> None:
    report = asyncio.run(inspect(llama.url))
    assert report.kind == "llama.cpp"
    assert report.models == ("tiny",)
    assert (report.slots, report.context) == (4, 32768)


def test_ollama_says_what_it_has(ollama: OllamaFront) -> None:
    report = asyncio.run(inspect(ollama.root))
    assert report.kind == "ollama"
    assert "tiny:latest" in report.models
    assert len(ollama.calls) == 0


def test_a_dead_port_and_another_service_are_reported_and_never_raise(something_else: str) -> None:
    dead = asyncio.run(inspect(f"http://127.0.0.1:{dead_port()}/v1"))
    assert not dead.reachable
    assert dead.error
    other = asyncio.run(inspect(something_else))
    assert (other.reachable, other.kind) == (True, "unknown")


def test_discovery_finds_the_named_server_and_no_other(
    llama: Llama, something_else: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", llama.url)
    monkeypatch.setenv("OLLAMA_HOST", something_else)
    urls = [report.url for report in asyncio.run(discover())]
    assert llama.url in urls
    assert something_else not in urls


def test_doctor_is_content_with_a_good_config(llama: Llama, tmp_path: Path) -> None:
    found = checks(tmp_path, one(llama.url))
    assert failures(found) == []
    assert warned(found) == []
    assert "4 slots, up to 4 calls at once" in checks_text(found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_says_how_to_mend_each(
    llama: Llama, ollama: OllamaFront, something_else: str, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{dead_port()}/v1"
    coder = one(llama.url)["model_config"]["single_model"]
    only_coder = {"model_config": {"mode": "multi", "multi_model": {"coder": coder}}}
    cases: list[tuple[dict[str, Any], str]] = [
        (one(dead), "not reachable"),
        (
            one(something_else),
            f'does not list models as an OpenAI-compatible server does → set "url": "{something_else}/v1"',
        ),
        (one(f"{ollama.root}/v1"), f'set "api_type": "ollama" and "url": "{ollama.root}"'),
        (one(llama.url, api_type="ollama"), "this is not Ollama"),
        (one(ollama.root, api_type="ollama", model="nosuch"), "ollama pull nosuch"),
        (one(llama.url, api_key_env="NO_SUCH_KEY"), "'NO_SUCH_KEY'"),
        ({}, "no model is configured"),
        (only_coder, "no model for the role 'architect'"),
    ]
    for settings, expected in cases:
        assert expected in "\n".join(failures(checks(tmp_path, settings))), settings


def test_doctor_warns_of_small_contexts_too_few_slots_and_other_names(
    llama: Llama, ollama: OllamaFront, tmp_path: Path
) -> None:
    small = {"agent_parameters": {"coder": {"num_ctx": 2048}}}
    assert "set num_ctx to" in "\n".join(
        failures(checks(tmp_path, one(ollama.root, api_type="ollama") | small))
    )
    assert 'set "slots": 4' in "\n".join(warned(checks(tmp_path, one(llama.url, slots=8))))
    assert "only Ollama knows them" in "\n".join(warned(checks(tmp_path, one(llama.url) | small)))
    assert "whatever model is asked for" in "\n".join(warned(checks(tmp_path, one(llama.url, model="other"))))


def test_doctor_says_that_a_simulated_model_asks_nothing(tmp_path: Path) -> None:
    settings = {"model_config": {"single_model": {"model": "s", "api_type": "simulated"}}}
    found = checks(tmp_path, settings)
    assert failures(found) == []
    assert "every answer is invented" in checks_text(found)


def test_doctor_tries_the_folders(tmp_path: Path) -> None:
    config = load_config(one("http://127.0.0.1:9/v1"), environ={})
    found = asyncio.run(examine(config, data_dir=Path("/proc/x"), output_dir=tmp_path))
    assert "cannot write in /proc" in "\n".join(failures(found))


@pytest.mark.parametrize("preset", PRESETS)
def test_init_writes_a_config_that_loads_for_the_servers_found(
    preset: str, llama: Llama, tmp_path: Path
) -> None:
    reports = [
        asyncio.run(inspect(llama.url)),
        ServerInfo("http://127.0.0.1:11434", "ollama", True, models=("qwen2.5-coder:7b",)),
    ]
    path = tmp_path / "config.json"
    write_config(path, config_text(reports, preset), force=False)
    config = load_config(path, environ={})
    assert config.model_for(AgentRole.CODER).model == "qwen2.5-coder:7b"
    assert config.model_for(AgentRole.REVIEWER).model == "tiny"
    assert config.workflow.parallel == PRESETS[preset]["max_parallel_agents"]
    with pytest.raises(InputError, match="--force replaces it"):
        write_config(path, "{}", force=False)


def test_init_without_a_server_leaves_a_marked_place(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_config(path, config_text([], "minimal"), force=False)
    entry = load_config(path, environ={}).models.single_model
    assert entry
    assert entry.model == MODEL_PLACEHOLDER
    with pytest.raises(ConfigError, match="still says PUT-THE-MODEL-HERE: write a model's name there"):
        check_model(entry)


def test_init_prints_the_schema() -> None:
    schema = json.loads(CliRunner().invoke(init, ["--schema"]).stdout)
    assert "model_config" in schema["properties"]


def test_the_example_names_every_setting() -> None:
    example = read_json5(ROOT / "config.example.json")
    load_config(example, environ={})
    text = (ROOT / "config.example.json").read_text()
    names = _properties(load_config({}).model_json_schema(by_alias=True))
    assert [name for name in names if f'"{name}"' not in text] == []


def _properties(schema: dict[str, Any]) -> set[str]:
    groups = [schema, *schema["$defs"].values()]
    return {name for group in groups for name in group.get("properties", {})}
