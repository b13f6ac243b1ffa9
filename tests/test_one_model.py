"""`--url`, `--model`, `--api-type` and `--api-key-env`: one model for all roles."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm
from pages import Page
from servers.counting_proxy import CountingProxy
from servers.llama import Llama
from servers.loopback import Handler, Loopback
from servers.ollama_front import OllamaFront
from support import SIMULATED, dead_port, write_config

from swarm_graph.config import load_config
from swarm_graph.state import AgentRole

REVIEW = ("run", "x = 1", "--workflow", "review_only", "--session", "s")


def environment(**more: str) -> dict[str, str]:
    """An environment in which no server is found but the named ones."""
    dead = f"http://127.0.0.1:{dead_port()}"
    return {**warm.ENVIRONMENT, "OPENAI_BASE_URL": dead, "OLLAMA_HOST": dead, **more}


def swarm(folder: Path, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = warm.run(*words, cwd=folder, env=environment(**env), text=True, given="")
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


def asked(folder: Path, session: str = "s") -> dict[str, Any]:
    """The model that a session recorded for all roles."""
    shown = json.loads(swarm(folder, "sessions", "show", session, "--json").stdout)
    config = load_config(shown["config"], environ={})
    entries = [config.model_for(role).model_dump() for role in AgentRole]
    assert all(entry == entries[0] for entry in entries)
    return entries[0]


class KeyedHandler(Handler):
    """Lists a model to those who have the key."""

    def do_GET(self) -> None:  # noqa: N802
        keyed = self.headers.get("Authorization") == "Bearer sk-plant-key"
        status = 401 if not keyed else 200 if self.path == "/v1/models" else 404
        self.reply(status, {"data": [{"id": "secret-model"}]} if status == 200 else {})


@pytest.fixture
def keyed() -> Iterator[Loopback]:
    with Loopback("http://127.0.0.1:9", KeyedHandler) as server:
        yield server


# --- run -----------------------------------------------------------------------------------------


def test_a_server_and_a_model_are_all_that_a_run_needs(llama: Llama, tmp_path: Path) -> None:
    done = swarm(tmp_path, *REVIEW, "--url", llama.url, "--model", "tiny")
    assert done.stderr.startswith(f"swarm-graph: every role asks tiny at {llama.url} (llama.cpp)\n")
    assert (asked(tmp_path)["url"], asked(tmp_path)["api_type"]) == (llama.url, "openai")


def test_a_port_is_enough_where_there_is_one_model(llama: Llama, tmp_path: Path) -> None:
    port = llama.root.rpartition(":")[2]
    done = swarm(tmp_path, *REVIEW, "--url", port, "--json")
    assert f"every role asks tiny at {llama.url} (llama.cpp), the only model there" in done.stderr
    assert json.loads(done.stdout)["phase"] == "complete"


def test_ollama_is_asked_by_its_own_api_wherever_it_answers(ollama: OllamaFront, tmp_path: Path) -> None:
    done = swarm(tmp_path, *REVIEW, "--url", f"{ollama.root}/v1", "--model", "tiny")
    assert f"every role asks tiny:latest at {ollama.root} (ollama)" in done.stderr
    assert all("options" in body for body in ollama.calls.bodies)


def test_over_a_config_it_replaces_the_models_of_all_roles(llama: Llama, tmp_path: Path) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m"}
    coder = {"url": llama.url, "model": "m", "timeout": 77.0, "api_key_env": "NO_KEY", "fallbacks": ["dead"]}
    models = {"mode": "multi", "single_model": dead, "multi_model": {"coder": coder, "dead": dead}}
    write_config(tmp_path, model_config=models)
    done = swarm(tmp_path, *REVIEW, "--url", llama.url, NO_KEY="sk-of-that-server")
    assert done.stderr.startswith(
        f"swarm-graph: every role asks tiny at {llama.url} (llama.cpp), the only model there, "
        "in place of the configured models\n"
    )
    entry = asked(tmp_path)
    assert (entry["timeout"], entry["api_key_env"], entry["fallbacks"]) == (77.0, "NO_KEY", [])


def test_a_model_alone_is_one_of_the_configured_servers(
    llama: Llama, ollama: OllamaFront, tmp_path: Path
) -> None:
    there = {"url": ollama.root, "model": "tiny", "api_type": "ollama", "timeout": 77.0}
    write_config(tmp_path, model_config={"single_model": there})
    swarm(tmp_path, *REVIEW, "--model", "tiny-files")
    assert {**asked(tmp_path), **there, "model": "tiny-files:latest"} == asked(tmp_path)
    both = {"single_model": {"url": llama.url, "model": "tiny"}, "multi_model": {"other": there}}
    write_config(tmp_path, model_config=both)
    swarm(tmp_path, *REVIEW[:-1], "both", "--model", "tiny-tests")
    assert asked(tmp_path, "both")["url"] == ollama.root
    done = swarm(tmp_path, *REVIEW[:-1], "entry", "--model", "other")
    assert f"tiny at {ollama.root} (multi_model.other)" in done.stderr
    assert asked(tmp_path, "entry") == {**asked(tmp_path, "both"), "model": "tiny"}


def test_a_model_alone_is_one_of_the_servers_found(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    command = (*REVIEW, "--model", "tiny-files")
    done = swarm(tmp_path, *command, OPENAI_BASE_URL=llama.url, OLLAMA_HOST=ollama.root)
    assert f"tiny-files:latest at {ollama.root} (ollama), the only server found that has it" in done.stderr


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "several": (("--url", "OLLAMA"), "(ollama) has 3 models; choose with --model: tiny:latest, tiny-files"),
    "misspelt": (("--url", "LLAMA", "--model", "tinny"), "no model 'tinny'; did you mean 'tiny'? the server"),
    "part": (("--url", "OLLAMA", "--model", "FILES"), "did you mean 'tiny-files:latest'?"),
    "unlike": (("--url", "LLAMA", "--model", "gpt"), "no model 'gpt'; the server at"),
    "dead": (("--url", "1", "--model", "m"), "no model server answers at http://127.0.0.1:1: "),
    "no url": (("--url", "ftp://x", "--model", "m"), "--url 'ftp://x': expected a URL such as"),
    "password": (("--url", "http://a:sk-1@h", "--model", "m"), "the variable that --api-key-env names"),
    "other api": (("--url", "LLAMA", "--api-type", "ollama"), "is llama.cpp; leave --api-type out"),
    "no api": (("--url", "LLAMA", "--api-type", "claude"), "--api-type 'claude': expected openai or ollama"),
    "api alone": (("--api-type", "ollama"), "--api-type needs --url"),
    "key alone": (("--api-key-env", "KEY"), "--api-key-env needs --url URL or --model NAME"),
    "no key": (("--url", "LLAMA", "--api-key-env", "NO_SUCH"), "variable 'NO_SUCH' is not set"),
    "empty url": (("--url", ""), "--url is empty; give a value, or leave the option out"),
    "empty model": (("--model", ""), "--model is empty; give a value"),
    "simulated": (("--url", "LLAMA", "--simulate"), "--simulate asks no server; leave it out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_found_is_one_line_and_begins_nothing(
    name: str, llama: Llama, ollama: OllamaFront, tmp_path: Path
) -> None:
    words, message = WRONG[name]
    urls = {"LLAMA": llama.root, "OLLAMA": ollama.root}
    done = swarm(tmp_path, *REVIEW, *(urls.get(word, word) for word in words), code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "sk-1" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_service_needs_both_names_to_be_used_unchecked(tmp_path: Path) -> None:
    class NoList(Handler):
        def do_GET(self) -> None:  # noqa: N802
            self.reply(404, {})

        def do_POST(self) -> None:  # noqa: N802
            self.body()
            self.reply(401, {})

    with Loopback("http://127.0.0.1:9", NoList) as server:
        done = swarm(tmp_path, *REVIEW, "--url", server.root, "--model", "m", code=2)
        assert "is this the model server's port? --api-type TYPE --model NAME use it unchecked" in done.stderr
        given = ("--url", f"{server.root}/v1", "--model", "m", "--api-type", "openai")
        done = swarm(tmp_path, *REVIEW, *given, code=1)
        assert f"every role asks m at {server.root}/v1 (unchecked: it does not list models" in done.stderr


def test_a_key_stays_in_its_variable(keyed: Loopback, tmp_path: Path) -> None:
    done = swarm(tmp_path, *REVIEW, "--url", keyed.root, code=2, PLANT="sk-plant-key")
    assert "it requires an API key; --api-key-env NAME names the environment variable" in done.stderr
    told = swarm(
        tmp_path, "doctor", "--url", keyed.root, "--api-key-env", "PLANT", code=0, PLANT="sk-plant-key"
    )
    assert "has the model secret-model" in told.stdout
    wrong = swarm(tmp_path, *REVIEW, "--url", keyed.root, "--api-key-env", "PLANT", code=2, PLANT="sk-wrong")
    assert "it refuses the API key" in wrong.stderr
    assert "sk-wrong" not in wrong.stderr


# --- resume --------------------------------------------------------------------------------------


def test_a_killed_run_resumes_without_options_and_asks_only_for_the_rest(
    llama: Llama, tmp_path: Path
) -> None:
    write_config(tmp_path, model_config={"single_model": {"url": "http://127.0.0.1:9/v1", "model": "m"}})
    with CountingProxy(llama.root) as proxy:
        command = (*REVIEW, "--url", proxy.url, "--model", "tiny")
        proxy.delay = 0.5
        with warm.Process(*command, cwd=tmp_path, env=environment()) as process:
            while len(proxy.calls) < 4 and process.poll() is None:
                time.sleep(0.01)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        before, proxy.delay = len(proxy.calls), 0.0
        swarm(tmp_path, "resume", "s")
        assert before < len(proxy.calls) <= before + 8
        assert asked(tmp_path)["url"] == proxy.url


def test_the_file_is_read_again_but_the_models_stay_those_of_the_command_line(
    llama: Llama, tmp_path: Path
) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    write_config(tmp_path, model_config={"single_model": dead}, limits={"calls": 1})
    swarm(tmp_path, *REVIEW, "--url", llama.url, code=1)
    write_config(tmp_path, model_config={"single_model": dead}, limits={"calls": 20})
    done = swarm(tmp_path, "resume", "s")
    assert "in place of" not in done.stderr
    assert asked(tmp_path)["url"] == llama.url


def test_a_resume_takes_another_server(llama: Llama, tmp_path: Path) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    write_config(tmp_path, model_config={"single_model": dead}, limits={"calls": 40})
    assert "cannot be reached" in swarm(tmp_path, *REVIEW, code=1).stderr
    with CountingProxy(llama.root) as proxy:
        done = swarm(tmp_path, "resume", "s", "--url", proxy.url, "--model", "tiny")
        assert len(proxy.calls) >= 4
    assert "note: the session began with other settings" not in done.stderr


def test_a_resume_that_stops_says_how_to_go_on_with_its_server(llama: Llama, tmp_path: Path) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    write_config(tmp_path, model_config={"single_model": dead}, limits={"calls": 4})
    swarm(tmp_path, *REVIEW, code=1)
    done = swarm(tmp_path, "resume", "s", "--url", llama.url, code=1)
    again = f"swarm-graph resume s --url {llama.url} --model tiny --api-type openai"
    assert f"`{again}`" in done.stderr
    write_config(tmp_path, model_config={"single_model": dead}, limits={"calls": 1})
    done = swarm(tmp_path, *REVIEW[:-1], "t", "--url", llama.url, code=1)
    assert "`swarm-graph resume t`" in done.stderr  # it has recorded the model


def test_options_are_ones_own_servers_for_a_received_session(llama: Llama, tmp_path: Path) -> None:
    sender, receiver = (
        environment(XDG_DATA_HOME=str(tmp_path / name)) for name in ("sender's home", "receiver's home")
    )
    folder = tmp_path / "project"
    folder.mkdir()
    other = tmp_path / "other.json"
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "m", "retries": 0}
    other.write_text(json.dumps({"model_config": {"single_model": dead}, "proxy": dead["url"]}))
    warm.run(*REVIEW, "--config", str(other), cwd=folder, env=sender, given=b"")
    other.unlink()
    shutil.rmtree(folder / "swarm-output")
    refused = warm.run("resume", "s", cwd=folder, env=receiver, given=b"")
    assert (refused.returncode, b"was not started by you" in refused.stderr) == (2, True)
    with CountingProxy(llama.root) as proxy:
        done = warm.run("resume", "s", "--url", proxy.url, cwd=folder, env=receiver, given=b"")
        assert len(proxy.calls) >= 4
    assert done.returncode == 0, done.stderr


# --- the other commands --------------------------------------------------------------------------


def test_batch_takes_a_model_of_the_server_or_an_entry(
    llama: Llama, ollama: OllamaFront, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("P-101 leaks.\n")
    (tmp_path / "p.md").write_text("Summarise.\n---\n$files\n")
    batch = ("batch", "a.txt", "--prompt", "p.md", "--role", "documenter", "--session")
    swarm(tmp_path, *batch, "s", "--url", ollama.root, "--model", "tiny")
    assert asked(tmp_path)["url"] == ollama.root
    entries = {"big": {"url": llama.url, "model": "tiny"}}
    write_config(tmp_path, model_config={**SIMULATED["model_config"], "multi_model": entries})
    done = swarm(tmp_path, *batch, "e", "--model", "big")
    assert "(multi_model.big), in place of the configured models" in done.stderr
    assert asked(tmp_path, "e")["url"] == llama.url


def test_tasks_that_name_models_run_on_the_one(llama: Llama, tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(
        "tasks: {a: {assigned_role: documenter, model: big, description: Explain.}}\n"
    )
    swarm(tmp_path, "run", "--tasks", "tasks.yaml", "--url", llama.url, "--session", "s")
    assert asked(tmp_path)["url"] == llama.url


def test_the_menu_takes_the_model_too(llama: Llama, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = ("interactive", "--url", llama.url)
    with warm.Process(
        *command, cwd=tmp_path, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, b"3\nx = 1\nEND\n")
        seen = b""
        while b"Files in swarm-output/" not in seen and process.poll() is None:
            seen += os.read(ours, 65536)
        process.kill()
    os.close(ours)
    assert f"every role asks tiny at {llama.url}".encode() in seen


def test_doctor_checks_a_server_without_a_file(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    done = swarm(tmp_path, "doctor", "--url", llama.url, "--model", "tiny", "--measure")
    assert f"server {llama.root}: has the model tiny" in done.stdout
    assert "measured tiny: tokens per second" in done.stdout
    several = swarm(tmp_path, "doctor", "--url", ollama.root, code=1)
    assert "FAIL  model: the server at" in several.stdout
    assert "choose with --model: tiny:latest" in several.stdout
    none = swarm(tmp_path, "doctor", code=1)
    assert "no model is configured → name one with --url URL --model NAME" in none.stdout


def test_init_writes_a_config_for_the_named_servers(
    llama: Llama, ollama: OllamaFront, tmp_path: Path
) -> None:
    done = swarm(tmp_path, "init", llama.root, ollama.root)
    assert f"found llama.cpp at {llama.url}: tiny\n" in done.stdout
    assert done.stdout.endswith("try it:\n  swarm-graph run 'Create a thread-safe FIFO queue'\n")
    urls = {entry.url for entry in load_config(tmp_path / "config.json", environ={}).entries}
    assert urls == {llama.url, ollama.root}
    done = swarm(tmp_path, "init", "my.json", "--url", ollama.root, "--model", "tiny-files")
    assert done.stdout.endswith("FIFO queue' --config my.json\n")
    (entry,) = load_config(tmp_path / "my.json", environ={}).entries
    assert (entry.url, entry.model) == (ollama.root, "tiny-files:latest")


def test_init_keeps_the_name_of_the_key(keyed: Loopback, tmp_path: Path) -> None:
    swarm(tmp_path, "init", keyed.root, "--api-key-env", "PLANT", PLANT="sk-plant-key")
    (entry,) = load_config(tmp_path / "config.json", environ={}).entries
    assert (entry.model, entry.api_key_env) == ("secret-model", "PLANT")
    assert "sk-plant-key" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("1",), "no model server answers at http://127.0.0.1:1"),
        (("http:/x",), "http:/x"),
        (("a.json", "b.json"), "init writes one file, not a.json and b.json"),
        (("LLAMA", "--model", "tinny"), "did you mean 'tiny'?"),
        (("http://me:sk-1@h",), "expected no password in the URL"),
        (("--api-key-env", "KEY"), "--api-key-env goes with one URL"),
    ],
)
def test_init_refuses_what_it_cannot_find(
    words: tuple[str, ...], message: str, llama: Llama, tmp_path: Path
) -> None:
    done = swarm(tmp_path, "init", *(llama.root if word == "LLAMA" else word for word in words), code=2)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_without_a_server_names_both_ways(tmp_path: Path) -> None:
    done = swarm(tmp_path, "init")
    if "found no model server" in done.stdout:  # nothing else listens on the usual ports of this machine
        assert "name yours: --url URL --model NAME, or `swarm-graph init URL`" in done.stdout
        assert "put your model there, then `swarm-graph doctor` checks it" in done.stdout


# --- the documentation ---------------------------------------------------------------------------


def test_the_commands_of_the_page_do_what_it_says(llama: Llama, ollama: OllamaFront, tmp_path: Path) -> None:
    page = Page("model-servers.md")
    lines = [line.removeprefix("$ ") for _, block in page.blocks("console") for line in block.splitlines()]
    assert len(lines) == 4
    here = {"http://127.0.0.1:1234/v1": llama.url, "http://127.0.0.1:11434": ollama.root}
    here |= {"1234": llama.root.rpartition(":")[2], "qwen2.5-coder": "tiny"}
    for line in lines:
        _, *words = (here.get(word, word) for word in shlex.split(line))
        done = warm.run(*words, cwd=tmp_path, env=environment(), text=True, given="")
        assert done.returncode == (1 if words[0] == "run" else 0), (
            done.stderr
        )  # the tiny model writes no code
        assert words[0] == "init" or f"every role asks tiny at {llama.url} (llama.cpp)" in done.stderr
    assert load_config(tmp_path / "both.json", environ={}).models.mode == "multi"
    ((_, code),) = page.blocks("python")
    exec(code, {})
