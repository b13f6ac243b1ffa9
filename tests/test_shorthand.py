"""`url` and `model` at the top of a configuration: one model for all roles."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from servers.llama import Llama
from servers.ollama_front import OllamaFront

from swarm_graph import SwarmCoordinator, build_graph
from swarm_graph.config import SwarmConfig, config_schema, load_config
from swarm_graph.errors import ConfigError, NoModel
from swarm_graph.settings import ModelEntry
from swarm_graph.shorthand import SHORTHAND, typed_url
from swarm_graph.state import AgentRole

HERE = "http://127.0.0.1:1234"
THERE = "http://gpu:8000/v1"
CODER = {
    "url": THERE,
    "model": "big",
    "api_key_env": "GPU_KEY",
    "slots": 8,
    "timeout": 60.0,
    "prices": {"input": 2.0},
    "fallbacks": ["small"],
}
SMALL = {"url": HERE, "model": "small", "api_type": "ollama"}
MULTI = {
    "model_config": {"mode": "multi", "single_model": SMALL, "multi_model": {"coder": CODER, "small": SMALL}}
}


def only(config: SwarmConfig) -> ModelEntry:
    """The one model of all roles."""
    entries = {config.model_for(role).model_dump_json() for role in AgentRole}
    assert len(entries) == 1
    return ModelEntry.model_validate_json(entries.pop())


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("1234", "http://127.0.0.1:1234"),
        (":1234", "http://127.0.0.1:1234"),
        (" 1234/v1/ ", "http://127.0.0.1:1234/v1"),
        ("localhost:1234", "http://localhost:1234"),
        ("gpu-server:8000/v1/", "http://gpu-server:8000/v1"),
        ("https://gpu/api/v3", "https://gpu/api/v3"),
        ("http://gpu:8000/v1/chat/completions", "http://gpu:8000/v1"),
        ("http://gpu:11434/api/chat/", "http://gpu:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080/v1", "http://127.0.0.1:8080/v1"),
        ("::1", "http://[::1]"),
        ("[::1]:1234/v1", "http://[::1]:1234/v1"),
    ],
)
def test_a_url_is_read_as_people_type_it(typed: str, url: str) -> None:
    assert typed_url(typed) == url


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("ftp://gpu", "'ftp://gpu': expected a URL such as"),
        ("http:/gpu", "'http:/gpu': expected a URL such as"),
        ("two words", "'two words': expected a URL such as"),
        ("", "expected a URL such as"),
        ("gpu:99999", "'gpu:99999': Port out of range"),
        ("me:sk-secret@gpu:1", "expected no password in the URL"),
        ("http://gpu/v1?key=sk-secret", "expected no '?' in the URL"),
    ],
)
def test_what_is_no_url_is_said_without_its_secrets(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"expected|range") as error:
        typed_url(typed)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_one_model_serves_every_role_and_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config({"url": "gpu:8000", "model": "qwen", "api_key_env": "GPU_KEY"}, environ={})
    entry = only(config)
    assert (entry.url, entry.model, entry.api_key_env) == ("http://gpu:8000", "qwen", "GPU_KEY")
    assert entry.api_type == "auto"
    assert load_config(config) is config
    assert only(load_config(config.redacted(), environ={})) == entry


def test_higher_sources_replace_the_models_of_lower_ones(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(MULTI))
    environ = {"SWARM_URL": "8080", "SWARM_MODEL": "env"}
    assert load_config(path, environ={}).model_for(AgentRole.CODER).model == "big"
    assert only(load_config(path, environ=environ)).model == "env"
    config = load_config(path, environ=environ, overrides={"url": HERE, "model": "typed"})
    assert (only(config).url, only(config).model) == (HERE, "typed")
    path.write_text(json.dumps({"url": THERE, "model": "m"}))
    timeout = {"SWARM_MODEL_CONFIG__SINGLE_MODEL__TIMEOUT": "5"}
    assert only(load_config(path, environ=timeout)).timeout == 5
    assert only(load_config(path, environ={"SWARM_URL": "8080"})).model == "m"


def test_a_server_keeps_its_key_and_a_model_its_prices() -> None:
    same_server = only(load_config(MULTI, overrides={"url": "http://gpu:8000", "model": "other"}))
    assert (same_server.url, same_server.api_key_env, same_server.slots) == (THERE, "GPU_KEY", 8)
    assert (same_server.prices.input, same_server.fallbacks) == (0.0, [])
    same_model = only(load_config(MULTI, overrides={"url": THERE, "model": "big"}))
    assert (same_model.prices.input, same_model.fallbacks) == (2.0, [])
    for other in ("http://gpu:8001/v1", "https://gpu:8000/v1"):
        entry = only(load_config(MULTI, overrides={"url": other, "model": "big"}))
        assert (entry.api_key_env, entry.slots) == (None, None), "a key goes to its own server only"


def test_a_model_alone_is_an_entry_or_a_model_of_the_only_server() -> None:
    config = load_config(MULTI, overrides={"model": "coder"})
    assert only(config).model == "big"
    assert config.fallbacks_of(only(config))[0].model == "small"
    single = {"model_config": {"single_model": SMALL}}
    entry = only(load_config(single, overrides={"model": "other"}))
    assert (entry.url, entry.api_type, entry.model) == (HERE, "ollama", "other")


def test_tasks_that_name_a_model_get_the_one_of_the_command_line() -> None:
    config = load_config(MULTI, overrides={"url": "8080", "model": "one"})
    assert config.model_for(AgentRole.CODER, "small").model == "one"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "8080"}, "config: url: needs a model beside it: its name on the server"),
        ({"model": "m"}, "config: model: 'm' needs a url beside it: the address of its server"),
        ({**MULTI, "model": "m"}, f"needs a url beside it, such as one of {HERE}, {THERE}"),
        ({"api_type": "ollama"}, "config: api_type: needs a url and a model beside it"),
        ({"url": 8080, "model": "m"}, "config: url: expected text, as in"),
        ({"url": "8080", "model": " "}, "config: model: expected text, as in 'NAME'"),
        ({"url": "a b", "model": "m"}, "config: url: 'a b': expected a URL such as"),
        ({"url": "8080", "model": "m", "api_type": "olama"}, '"olama" is not allowed'),
        ({"url": "8080", "model": "m", "api_key_env": "sk-secret"}, "not a key itself"),
        ({"urls": "8080", "model": "m"}, "model: 'm' needs a url"),
        ({"urls": "8080"}, "config: urls: unknown key; did you mean 'url'?"),
        ({"modell": "m"}, "config: modell: unknown key; did you mean 'model'?"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(given, environ={})
    assert message in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_schema_knows_the_keys() -> None:
    assert set(SHORTHAND) <= config_schema()["properties"].keys()


def test_without_a_model_python_is_told_what_python_has() -> None:
    with pytest.raises(NoModel) as error:
        build_graph(config={}).invoke({"request": "x"})
    assert 'load_config a dict with "url" and "model"' in str(error.value)
    assert "--" not in str(error.value)


def test_the_first_call_finds_out_the_api(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    for url in (llama.root, ollama.root, f"{ollama.root}/v1"):
        coordinator = SwarmCoordinator({"url": url, "model": "tiny"}, data_dir=tmp_path, output_dir=tmp_path)
        assert coordinator.run_workflow("x = 1", "review_only")["phase"] == "complete"
    assert len(ollama.calls) == 8, "asked by its own API, wherever it answers"
    assert all("options" in body for body in ollama.calls.bodies)


def test_a_server_that_is_down_at_first_is_asked_when_it_is_up(llama: Llama, tmp_path: Path) -> None:
    config = load_config({"url": "9", "model": "tiny"}, environ={})
    entry = config.model_for(AgentRole.REVIEWER).model_copy(update={"retries": 0})
    down = config.model_copy(update={"models": config.models.model_copy(update={"single_model": entry})})
    coordinator = SwarmCoordinator(down, data_dir=tmp_path, output_dir=tmp_path)
    state = coordinator.run_workflow("x = 1", "review_only", session_id="s")
    assert state["phase"] == "failed"
    again = SwarmCoordinator({"url": llama.root, "model": "tiny"}, data_dir=tmp_path, output_dir=tmp_path)
    assert again.resume("s")["phase"] == "complete"
