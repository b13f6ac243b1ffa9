"""`swarm-graph doctor`: the problems it finds, their cures, its output and exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import warm
from click.testing import CliRunner
from servers.canned_embeddings import CannedEmbeddings
from servers.llama import Llama, running_llama
from servers.ollama_front import OllamaFront
from support import SIMULATED, dead_port, write_config
from test_servers_probe import LISTED, OLLAMA, serving

from swarm_graph.cli.setup import doctor
from swarm_graph.config import load_config
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.setup.checks import Check, checks_text
from swarm_graph.setup.doctor import examine

SIMULATED_ENTRY = {"model": "s", "api_type": "simulated"}


def examined(folder: Path, settings: dict[str, Any]) -> list[Check]:
    config = load_config(settings, environ={})
    return asyncio.run(examine(config, data_dir=folder / ".swarm", output_dir=folder / "out"))


def one(url: str, api_type: str = "openai", **more: Any) -> dict[str, Any]:
    return {"model_config": {"single_model": {"url": url, "model": "tiny", "api_type": api_type, **more}}}


def failed(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.text, check.cure) for check in checks if check.ok is False]


def warned(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.text, check.cure) for check in checks if check.ok is None]


def test_an_ollama_url_with_v1_would_fail_at_the_first_call(ollama: OllamaFront, tmp_path: Path) -> None:
    [(text, cure)] = failed(examined(tmp_path, one(f"{ollama.root}/v1", "ollama")))
    assert text == f"it does not answer at {ollama.root}/v1"
    assert cure == f'set "url": "{ollama.root}"'


def test_a_missing_v1_is_named(tmp_path: Path) -> None:
    with serving(LISTED) as url:
        assert failed(examined(tmp_path, one(url)))[0][1] == f'set "url": "{url}/v1"'


def test_slots_with_a_cache_each_are_named_until_a_session_has_one(llama: Llama, tmp_path: Path) -> None:
    for of_session in (False, True):
        settings = one(f"{llama.root}/v1", slot_per_session=of_session)
        text = checks_text(examined(tmp_path, settings))
        assert ("a cache of its own" in text) is not of_session


def test_prompts_that_no_run_would_find_are_named(llama: Llama, tmp_path: Path) -> None:
    for settings, why in (
        ({"prompts_dir": "gone"}, "prompts_dir 'gone' is not a folder"),
        ({"workflow": {"reviewers": ["safety"]}}, "no prompt 'review_safety.md'"),
    ):
        [(text, _)] = failed(examined(tmp_path, one(f"{llama.root}/v1") | settings))
        assert text.startswith(why)
    checks = examined(tmp_path, one(f"{llama.root}/v1") | {"prompts_dir": "process-safety"})
    text = checks_text(checks)
    assert "process-safety replaces or adds documenter, review_operability, review_safety, security" in text
    assert "its sessions make a document" in text


def test_a_wrong_api_type_names_both_settings(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    [(text, cure)] = failed(examined(tmp_path, one(llama.root, "ollama")))
    assert text == "this is not Ollama but llama.cpp"
    assert cure == f'set "api_type": "openai" and "url": "{llama.root}"'
    assert failed(examined(tmp_path, one(llama.root))) == []
    [(text, cure)] = failed(examined(tmp_path, one(f"{ollama.root}/v1")))
    assert cure == f'set "api_type": "ollama" and "url": "{ollama.root}"'


def test_pauses_are_no_problem_of_task_graphs(tmp_path: Path) -> None:
    assert failed(examined(tmp_path, {**SIMULATED, "workflow": {"pause_after": ["coder"]}})) == []


def test_a_key_that_a_server_wants_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCTOR_TEST_KEY", "wrong")
    with serving({"/v1/models": (401, {"error": "no"})}) as url:
        [(text, cure)] = failed(examined(tmp_path, one(f"{url}/v1")))
        assert text == "it requires an API key"
        assert "api_key_env" in cure
        checks = examined(tmp_path, one(f"{url}/v1", api_key_env="DOCTOR_TEST_KEY"))
    assert failed(checks)[0][0] == "it refuses the API key"
    assert "wrong" not in checks_text(checks)


def test_doctor_asks_through_the_configured_proxy(llama: Llama, tmp_path: Path) -> None:
    settings = one("http://models.invalid/v1") | {"proxy": f"http://127.0.0.1:{dead_port()}"}
    assert "not reachable" in failed(examined(tmp_path, settings))[0][0]
    checks = examined(tmp_path, one("http://models.invalid/v1") | {"proxy": llama.root})
    assert not any("not reachable" in text for text, _ in failed(checks))


def test_without_the_package_mcp_its_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    checks = examined(tmp_path, {**SIMULATED, "mcp_servers": {"time": {"command": "mcp-server-time"}}})
    (found,) = (check for check in checks if check.name == "MCP server time")
    assert found.text == "MCP servers need the package mcp: `pip install 'mcp>=2.3'`"
    assert found.cure == 'do that, or set "disabled": true in mcp_servers.time'


@pytest.mark.slow
def test_mcp_servers_are_started_and_the_names_of_tools_checked(tmp_path: Path) -> None:
    time = {"command": str(Path(sys.executable).parent / "mcp-server-time")}
    servers = {
        "time": time,
        "idle": time,
        "gone": {"command": "no-such-mcp-server"},
        "keyless": {**time, "env": {"TIME_KEY": "${NO_SUCH_VARIABLE}"}},
        "off": {"command": "no-such-mcp-server", "disabled": True},
    }
    tools = {"coder": ["time.get_current_time", "time.nope", "gone.*", "off.*"]}
    approve = ["time.get", "TIME.Get_*", "time__convert_time", "gone.x", "off__x"]
    checks = examined(tmp_path, {**SIMULATED, "mcp_servers": servers, "tools": tools, "approve": approve})
    of_servers = {check.name: check for check in checks if check.name.startswith("MCP server ")}
    assert {name.rpartition(" ")[2]: check.ok for name, check in of_servers.items()} == {
        "time": True, "idle": None, "gone": False, "keyless": False, "off": True,
    }  # fmt: skip
    assert "without a sandbox: it may do what you may do" in of_servers["MCP server time"].text
    assert "no-such-mcp-server" in of_servers["MCP server gone"].text
    assert "NO_SUCH_VARIABLE" in of_servers["MCP server keyless"].text
    assert all(check.cure for check in of_servers.values() if not check.ok)
    assert [(check.ok, check.text) for check in checks if check.name == "tools"] == [
        (False, "tools.coder: time.nope is the name of no tool"),
        (None, "approve: time.get is the name of no tool"),
    ]


def test_the_largest_context_of_all_roles_is_that_of_the_model(tmp_path: Path) -> None:
    with serving(OLLAMA) as url:
        for num_ctx, warnings in ((20000, 0), (5000, 1)):
            settings = {"agent_parameters": {"coder": {"num_ctx": num_ctx}, "tester": {"num_ctx": 4096}}}
            found = warned(examined(tmp_path, one(url, "ollama", model="m") | settings))
            assert len(found) == warnings
    [(text, cure)] = found
    assert text == "context of 5000 tokens; the longest answer (8000) and its prompt need about 12000"
    assert cure == "set num_ctx to 12000 or more in agent_parameters, or lower max_tokens"


def test_a_context_of_another_model_is_not_taken_for_this_one(tmp_path: Path) -> None:
    loaded = {"models": [{"name": "other:latest", "context_length": 100000}]}
    with serving({**OLLAMA, "/api/ps": loaded}) as url:
        checks = examined(tmp_path, one(url, "ollama", model="m"))
    assert "context of 16384 tokens" in {check.text for check in checks}


def test_a_small_llama_cpp_context_names_its_own_option(tmp_path: Path) -> None:
    with running_llama(tmp_path, slots=1, ctx_per_slot=2048) as small:
        settings = one(small.url) | {"workflow": {"enable_parallel": False}}
        [(text, cure)] = failed(examined(tmp_path, settings))
    assert "context of 2048 tokens" in text
    assert text.endswith("answers of the first round will be cut off")
    assert cure == "start it with a larger -c, or lower max_tokens"


def test_models_of_one_server_are_not_reported_twice(llama: Llama, tmp_path: Path) -> None:
    entry = one(llama.url)["model_config"]["single_model"]
    entries = {"coder": entry, "reviewer": {**entry, "timeout": 60}}
    models = {"mode": "multi", "multi_model": entries, "single_model": entry}
    checks = examined(tmp_path, {"model_config": models})
    assert len(checks) == len(set(checks))
    assert sum("llama.cpp" in check.text for check in checks) == 1


def test_a_broken_simulation_script_is_found(tmp_path: Path) -> None:
    entry = {**SIMULATED_ENTRY, "simulation": {"script": str(tmp_path / "nosuch.json")}}
    [(text, _)] = failed(examined(tmp_path, {"model_config": {"single_model": entry}}))
    assert "nosuch.json" in text


def test_a_file_or_a_dangling_link_in_the_place_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / ".swarm").write_text("")
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    checks = examined(tmp_path, {"model_config": {"single_model": SIMULATED_ENTRY}})
    texts = [text for text, _ in failed(checks)]
    assert len(texts) == 2
    assert all("cannot write in" in text for text in texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".swarm", "out"]


def test_the_versions_are_named(tmp_path: Path) -> None:
    [python, *_] = examined(tmp_path, {"model_config": {"single_model": SIMULATED_ENTRY}})
    assert all(name in python.text for name in ("3.", "langgraph", "langchain-openai", "langchain-ollama"))


def test_the_command_prints_one_json_document_and_its_exit_code(llama: Llama, tmp_path: Path) -> None:
    folders = ["--data-dir", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    good = write_config(tmp_path, **one(llama.url))
    result = CliRunner().invoke(doctor, ["--config", str(good), "--json", *folders])
    assert result.exit_code == 0
    assert {tuple(check) for check in json.loads(result.stdout)} == {("name", "ok", "text", "cure")}
    bad = write_config(tmp_path, **one(f"http://127.0.0.1:{dead_port()}/v1"))
    result = CliRunner().invoke(doctor, ["--config", str(bad), "--json", *folders])
    assert result.exit_code == 1
    assert [check["ok"] for check in json.loads(result.stdout)].count(False) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_piped_doctor_is_plain_text(llama: Llama, tmp_path: Path) -> None:
    path = write_config(tmp_path, **one(llama.url))
    ended = warm.run("doctor", "--config", path, cwd=tmp_path, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    assert ended.stdout.endswith("no check failed, 1 warning\n")  # the generated tests are not run


def test_a_config_that_does_not_load_ends_with_one_line_and_2(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"workflow": {"max_iterations": 0}}')
    ended = warm.run("doctor", "--config", path, cwd=tmp_path, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "workflow.max_iterations" in ended.stderr


def test_memory_says_what_there_is_to_recall(tmp_path: Path) -> None:
    def memory() -> tuple[bool | None, str]:
        settings = {**SIMULATED, "memory": {"recall": {"architect": 4}}}
        [check] = [check for check in examined(tmp_path, settings) if check.name == "memory"]
        return check.ok, check.text

    ok, text = memory()
    assert (ok, text.startswith("nothing is remembered in ")) == (None, True)
    database = tmp_path / ".swarm" / "swarm.db"
    assert not database.exists()
    (tmp_path / "P-7.md").write_text("Vent the casing.")
    with SwarmMemory(database) as opened:
        opened.add(tmp_path / "P-7.md")
    assert memory() == (
        True, f"1 document and 0 experiences in '{tmp_path / '.swarm'}'; recalled by architect (4)"
    )  # fmt: skip
    database.write_bytes(b"no database" * 99)
    assert memory()[0] is False


def test_the_embedding_model_is_asked_once(tmp_path: Path) -> None:
    with CannedEmbeddings() as server:
        settings = one("http://127.0.0.1:9/v1") | {
            "memory": {"embeddings": server.settings(model="e5-small")}
        }
        [check] = [check for check in examined(tmp_path, settings) if "embedding" in check.name]
        assert check.ok
        assert check.name == "embedding model e5-small"
        assert f"at {server.root}, vectors of 64 numbers, " in check.text
        assert check.text.endswith("'query: ' before questions, 'passage: ' before passages")
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "text", "cure"),
    [
        (404, "does not know this model", "name one that it has: nomic-embed-text, all-minilm"),
        (401, "refused the key", "set api_key_env"),
        (501, "answered 501: start it with --embeddings", "start the server, with an embedding model"),
    ],
)
def test_an_embedding_model_that_makes_no_vectors_fails(
    tmp_path: Path, status: int, text: str, cure: str
) -> None:
    with CannedEmbeddings(lambda _: (status, {"error": "start it with --embeddings"})) as server:
        server.pages["/v1/models"] = {
            "data": [{"id": "nomic-embed-text"}, {"id": "all-minilm"}, {"id": "llama"}]
        }
        memory = {"embeddings": server.settings()}
        [check] = [check for check in examined(tmp_path, {"memory": memory}) if "embedding" in check.name]
        assert check.ok is False
        assert text in check.text
        assert check.cure.startswith(cure)


def test_an_embedding_model_that_cannot_be_asked_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = {"embeddings": {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m"}}
    assert any("start the server" in cure for _, cure in failed(examined(tmp_path, {"memory": memory})))
    memory = {"embeddings": {"model": str(tmp_path / "gone.gguf"), "api_type": "llamacpp"}}
    assert any("cannot read the model" in text for text, _ in failed(examined(tmp_path, {"memory": memory})))
    monkeypatch.setattr("swarm_graph.setup.memory_checks.find_spec", lambda _: None)
    cures = [cure for text, cure in failed(examined(tmp_path, {"memory": memory})) if "numpy" in text]
    assert cures
