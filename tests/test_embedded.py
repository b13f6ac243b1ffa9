"""Embedded models: llama.cpp's server as a process of its own, shared, and never left over."""

from __future__ import annotations

import gc
import json
import os
import shlex
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_SH, flock
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import warm
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import Page
from servers.tiny_model import write_tiny_model

from swarm_graph import SwarmCoordinator, build_graph, load_config
from swarm_graph.config import settings_of_any
from swarm_graph.errors import ConfigError, ModelError
from swarm_graph.models.embedded_server import MAX_LOG_BYTES, Log
from swarm_graph.models.gguf import NotGGUF, read_header
from swarm_graph.models.shared_server import PROGRAM, private_folder
from swarm_graph.reports.running_node import RunningNode
from swarm_graph.settings import OF_EMBEDDED
from swarm_graph.state import AgentRole

REVIEW = ("run", "x = 1", "--workflow", "review_only", "--session", "s")
SECONDS = 60
SHORT = {"max_tokens": 40}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def tiny(written: Path, tmp_path: Path) -> Path:
    """A file of this test alone: a program keeps its servers until it ends."""
    (tmp_path / "models").mkdir()
    shutil.copy(written, tmp_path / "models" / "tiny.gguf")
    return tmp_path / "models" / "tiny.gguf"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the servers of this test, which all end with it."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder / "swarm-graph"
    for process in servers(folder):
        process.kill()


def servers(runtime: Path) -> list[psutil.Process]:
    """The processes that have a file in a folder open: supervisors, and servers below them."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(PROGRAM) in process.cmdline() and _belongs_to(process, runtime):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _belongs_to(process: psutil.Process, runtime: Path) -> bool:
    supervisor = process if "serve" not in process.cmdline() else process.parent()
    return supervisor is not None and any(
        Path(file.path).is_relative_to(runtime) for file in supervisor.open_files()
    )


def until(condition: Callable[[], Any]) -> Any:
    ends = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return result


def address(runtime: Path) -> dict[str, str]:
    """The address of the only server of a test."""
    (file,) = runtime.glob("*/address")
    found: dict[str, str] = json.loads(file.read_text())
    return found


def environment(runtime: Path, **more: str) -> dict[str, str]:
    return {**warm.ENVIRONMENT, "XDG_RUNTIME_DIR": str(runtime.parent), **more}


def config_of(model: Path, **entry: Any) -> dict[str, Any]:
    return {
        "model_config": {"single_model": {"model": str(model), "api_type": "llamacpp", **entry}},
        "agent_parameters": {"reviewer": SHORT},
    }


def swarm(folder: Path, runtime: Path, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return warm.run(*words, cwd=folder, env=environment(runtime, **env), text=True, given="")


# --- a run ---------------------------------------------------------------------------------------


def test_a_file_is_all_that_a_run_needs(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"agent_parameters": {"reviewer": SHORT}}))
    done = swarm(tmp_path, runtime, *REVIEW, "--model", tiny, HTTP_PROXY="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("swarm-graph: every role asks tiny.gguf (0.1 MB), served on this machine\n")
    until(lambda: not servers(runtime))


def test_its_address_is_recorded_nowhere(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    graph = build_graph("review_only", config=config_of(tiny))
    graph.invoke({"request": "x = 1"})
    (listening,) = (at for process in servers(runtime) for at in process.net_connections("tcp"))
    port, key = address(runtime)["url"].rpartition(":")[2].removesuffix("/v1"), address(runtime)["key"]
    assert listening.laddr == ("127.0.0.1", int(port))
    assert swarm(tmp_path, runtime, *REVIEW, "--model", tiny, "--log-file", "log.jsonl").returncode == 0
    for file in [path for path in tmp_path.rglob("*") if path.is_file() and runtime not in path.parents]:
        content = file.read_bytes()
        assert f":{port}".encode() not in content, file
        assert key.encode() not in content, file


def test_a_request_needs_the_key(tiny: Path, runtime: Path) -> None:
    graph = build_graph("review_only", config=config_of(tiny))
    graph.invoke({"request": "x = 1"})
    url, key = address(runtime).values()
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{url}/models").status_code == 401
        assert client.get(f"{url}/models", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert all(file.stat().st_mode & 0o077 == 0 for file in [runtime, *runtime.rglob("*")])


def test_nothing_is_started_before_a_call(tiny: Path, runtime: Path) -> None:
    build_graph("full", config=config_of(tiny))
    assert not runtime.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--api-type", "llamacpp"), "--api-type llamacpp serves a file: --model FILE.gguf names it"),
        (("--model", "models/tiny.gguf", "--api-key-env", "KEY"), "--api-key-env goes with a server; "),
        (("--model", "no.gguf", "--api-type", "llamacpp"), "cannot read the model '"),
    ],
)
def test_options_that_do_not_go_with_a_file_are_refused(
    words: tuple[str, ...], message: str, tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    assert tiny.exists()
    done = swarm(tmp_path, runtime, *REVIEW, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"swarm-graph: {message}")


def test_a_session_is_resumed_in_another_folder(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    settings = {"agent_parameters": {"reviewer": SHORT}, "limits": {"calls": 1}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert swarm(tmp_path, runtime, *REVIEW, "--model", "models/tiny.gguf").returncode == 1
    (tmp_path / "config.json").write_text(json.dumps({"agent_parameters": {"reviewer": SHORT}}))
    (tmp_path / "other").mkdir()
    done = swarm(tmp_path / "other", runtime, "resume", "s", "--data-dir", "../.swarm", "--json")
    assert json.loads(done.stdout)["phase"] == "complete", done.stderr
    assert tiny.exists()


# --- its life ------------------------------------------------------------------------------------


def test_two_programs_share_a_server_and_their_death_ends_it(
    tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "config.json").write_text(json.dumps(config_of(tiny)))
    runs = []
    for folder in folders:
        folder.mkdir()
        words = (*REVIEW, "--config", "../config.json")
        runs.append(warm.Process(*words, cwd=folder, env=environment(runtime), stdout=subprocess.DEVNULL))
    until(lambda: [*runtime.glob("*/address")])
    assert len(servers(runtime)) == 2  # a supervisor, and llama.cpp below it
    for run in runs:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    until(lambda: not servers(runtime))


def test_a_server_that_dies_is_started_again_and_the_session_ends(tiny: Path, runtime: Path) -> None:
    killed: list[psutil.Process] = []

    def kill_server(event: Any) -> None:
        if event.kind == "call_started" and not killed:
            killed.extend(process for process in servers(runtime) if "serve" in process.cmdline())
            killed[0].kill()

    coordinator = SwarmCoordinator(
        config_of(tiny),
        output_dir=str(tiny.parent / "out"),
        data_dir=str(tiny.parent / "data"),
        on_event=kill_server,
    )
    state = coordinator.run_workflow("x = 1", workflow_type="review_only")
    assert state["phase"] == "complete"
    # The call fails and is repeated, or it finds that no server runs, before it is sent.
    (again,) = (process for process in servers(runtime) if "serve" in process.cmdline())
    assert again != killed[0]


def test_another_file_does_not_take_the_place_of_one_that_was_served(tiny: Path, runtime: Path) -> None:
    graph = build_graph("review_only", config=config_of(tiny))
    graph.invoke({"request": "x = 1"})
    tiny.rename(old := tiny.with_name("old"))
    assert graph.invoke({"request": "x = 1"})["phase"] == "complete", "its server has it in memory"
    for message in ("No such file or directory", "the file was replaced while the session ran; resume it"):
        for process in servers(runtime):
            process.kill()
        with pytest.raises(ModelError, match=message):
            graph.invoke({"request": "x = 1"})
        shutil.copy(old, tiny)
    build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})


def test_a_program_that_ends_after_the_other_keeps_the_server(
    tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})
    first = {process.pid for process in servers(runtime)}
    assert swarm(tmp_path, runtime, *REVIEW, "--model", tiny).returncode == 0
    time.sleep(0.5)
    assert {process.pid for process in servers(runtime)} == first


def test_folders_of_servers_that_nobody_uses_are_removed(tiny: Path, runtime: Path) -> None:
    names = ("old", "new", "used", "alive")
    for name in names:
        (runtime / name).mkdir(mode=0o700, parents=True)
        (runtime / name / "log").write_text("x")
        for lock in ("users", "alive"):
            (runtime / name / lock).touch()
        os.utime(runtime / name / "users", (0, 0) if name != "new" else None)
    runtime.chmod(0o700)
    with (runtime / "used" / "users").open() as users, (runtime / "alive" / "alive").open() as alive:
        flock(users, LOCK_SH)
        flock(alive, LOCK_EX)
        build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})
    assert [name for name in names if (runtime / name).exists()] == ["new", "used", "alive"]


def test_the_live_view_says_that_a_model_is_loading(tiny: Path, runtime: Path) -> None:
    graph, node = build_graph("review_only", config=config_of(tiny)), RunningNode("review_style")
    graph.invoke({"request": "x = 1"})
    assert node.headline().endswith(" s, waits for its turn")
    (start,) = runtime.glob("*/start")
    with ThreadPoolExecutor() as pool:
        with start.open() as lock:
            flock(lock, LOCK_EX)  # nobody can start it
            for process in servers(runtime):
                process.kill()
            again = pool.submit(graph.invoke, {"request": "x = 1"})
            until(lambda: node.headline().endswith(" s, loading model"))
        again.result()
    assert node.headline().endswith("waits for its turn")


def test_a_long_program_keeps_no_server_of_a_graph_that_is_gone(tiny: Path, runtime: Path) -> None:
    build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})
    assert servers(runtime)
    until(lambda: gc.collect() >= 0 and not servers(runtime))


def test_a_log_is_bounded(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for number in range(3 * MAX_LOG_BYTES // 1000):
        log.write(f"{number:05}".encode() + b"x" * 994 + b"\n")
    assert {file.name for file in tmp_path.iterdir()} == {"log", "log.1"}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * MAX_LOG_BYTES + 2000


# --- files that cannot be served -----------------------------------------------------------------


def foreign(path: Path, **changes: Any) -> Path:
    """A GGUF file with only a header."""
    writer = GGUFWriter(path, changes.pop("architecture", "llama"))
    writer.add_context_length(changes.pop("context", 2048))
    writer.add_block_count(changes.pop("layers", 1))
    writer.add_embedding_length(64)
    writer.add_head_count(1)
    if changes.pop("template", True):
        writer.add_chat_template("{{ messages }}")
    if pooling := changes.pop("pooling", 0):
        writer.add_uint32("llama.pooling_type", pooling)
    if parts := changes.pop("parts", 0):
        writer.add_uint16("split.count", parts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def cut(path: Path, tiny: Path) -> None:
    path.write_bytes(tiny.read_bytes()[:60_000])


def huge(path: Path, _tiny: Path) -> None:
    foreign(path)
    os.truncate(path, 2**42)


PROBLEMS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "missing": (
        lambda _, __: None,
        "cannot read the model '{}': No such file or directory; name a GGUF file",
    ),
    "folder": (lambda path, _: path.mkdir(), "the model '{}' is not a file; "),
    "pipe": (lambda path, _: os.mkfifo(path), "the model '{}' is not a file; "),
    "text": (lambda path, _: path.write_text("x = 1\n" * 9), "the model '{}' is not a GGUF file; "),
    "empty": (lambda path, _: path.touch(), "the model '{}' is not a GGUF file; "),
    "cut off": (cut, "the model '{}' is cut off: weights are missing at its end; "),
    "cut in its header": (
        lambda path, tiny: path.write_bytes(tiny.read_bytes()[:2000]),
        "the model '{}' is cut off in its header; ",
    ),
    "hostile count": (
        lambda path, _: path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63)),
        "the model '{}' is broken: it says that 9223372036854775808 things follow; ",
    ),
    "big-endian": (
        lambda path, _: path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0)),
        "the model '{}' is for big-endian machines; ",
    ),
    "base model": (
        lambda path, _: foreign(path, template=False),
        "the model '{}' has no chat template: it is a base model; name an instruct or chat model",
    ),
    "embedding model": (
        lambda path, _: foreign(path, pooling=2),
        "the model '{}' makes embeddings and cannot chat (llama); name a chat model",
    ),
    "projector": (
        lambda path, _: foreign(path, architecture="clip"),
        "the model '{}' is only a part of a model (clip); name the model itself",
    ),
    "too large": (huge, "the model '{}' needs about 4398.3 GB of memory, and this machine has "),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_file_that_cannot_be_served_is_refused_in_one_line(
    name: str, tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    make, message = PROBLEMS[name]
    make(path := tmp_path / "m.gguf", tiny)
    done = swarm(tmp_path, runtime, *REVIEW, "--model", "m.gguf")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"swarm-graph: {message.format(path)}")
    assert not (tmp_path / ".swarm").exists()
    assert not runtime.exists()


def test_a_model_that_is_served_for_embeddings_is_refused_to_roles(
    tiny: Path, runtime: Path, tmp_path: Path
) -> None:
    config = config_of(tiny, embedding=True)
    message = "'tiny.gguf' is served for embeddings, and a role has to chat; name a chat model, "
    with pytest.raises(ConfigError, match=message):
        build_graph("review_only", config=config).invoke({"request": "x = 1"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = swarm(tmp_path, runtime, *REVIEW)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not runtime.exists()


def test_an_architecture_that_llama_cpp_does_not_know_is_named(runtime: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "m.gguf", architecture="mystery\x1b[31m")
    done = swarm(tmp_path, runtime, *REVIEW, "--model", "m.gguf")
    (log,) = runtime.glob("*/log")
    reason = f"unknown model architecture: 'mystery[31m'; its log: {log}"
    assert done.returncode == 1
    assert f"cannot serve '{tmp_path / 'm.gguf'}': {reason}" in done.stderr
    assert "\x1b" not in done.stderr
    assert not servers(runtime)


def test_a_missing_part_of_a_model_is_named(tmp_path: Path) -> None:
    first = foreign(tmp_path / "m-00001-of-00002.gguf", parts=2)
    with pytest.raises(NotGGUF, match=r"has 2 parts, and m-00002-of-00002\.gguf is missing"):
        read_header(first)
    foreign(tmp_path / "m-00002-of-00002.gguf")
    header = read_header(tmp_path / "m-00002-of-00002.gguf")
    assert (header.path, header.parts) == (first, 2)


def test_a_split_model_is_served_through_links(runtime: Path, tmp_path: Path) -> None:
    """As in the cache of Hugging Face's tools, where the name of the target is a hash."""
    (tmp_path / "blobs").mkdir()
    write_tiny_model(tmp_path / "m.gguf", tensors_per_file=5)
    for number, part in enumerate(parts := sorted(tmp_path.glob("m-*.gguf"))):
        target = part.rename(tmp_path / "blobs" / f"hash{number}")
        part.symlink_to(target)
    build_graph("review_only", config=config_of(parts[1])).invoke({"request": "x = 1"})
    assert servers(runtime)


def test_a_name_that_is_not_utf8_is_refused_in_one_line(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"m\xff.gguf")
    shutil.copy(tiny, tmp_path / odd)
    for words in ((*REVIEW, "--model", odd), ("init", "--model", odd)):
        done = swarm(tmp_path, runtime, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "m\ufffd.gguf' has a name that is not UTF-8; rename it, or name a link to it" in done.stderr
    found = swarm(tmp_path, runtime, "init", HOME=str(tmp_path), OPENAI_BASE_URL="http://127.0.0.1:9")
    assert "m\ufffd.gguf: its name is not UTF-8" in found.stdout


def test_without_the_extra_one_line_says_how_to_get_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(_name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("swarm_graph.models.embedded_file.version", not_installed)
    with pytest.raises(ConfigError, match=r"install llama\.cpp: `pip install xllamacpp`"):
        build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})


def test_a_folder_that_others_can_enter_is_not_used(
    tiny: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.mkdir()
    runtime.chmod(0o755)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    assert private_folder() == tmp_path / "tmp" / f"swarm-graph-{os.geteuid()}-servers"
    private_folder().rename(tmp_path / "moved")
    (tmp_path / "tmp" / f"swarm-graph-{os.geteuid()}-servers").symlink_to(tmp_path / "moved")
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with pytest.raises(ModelError, match=r"no folder for its locks \(.*set XDG_RUNTIME_DIR to one"):
        build_graph("review_only", config=config_of(tiny)).invoke({"request": "x = 1"})


@given(changes=st.dictionaries(st.integers(4, 8191), st.integers(0, 255), min_size=1))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_does_harm(changes: dict[int, int], written: Path, tmp_path: Path) -> None:
    content = bytearray(written.read_bytes()[:8192])
    for place, value in changes.items():
        content[place] = value
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with suppress(NotGGUF):
        read_header(path)


# --- the configuration ---------------------------------------------------------------------------


def test_a_path_in_a_config_file_counts_from_its_folder(tiny: Path, tmp_path: Path) -> None:
    relative = str(tiny.relative_to(tmp_path))
    entries = {"single_model": {"model": relative, "api_type": "llamacpp"}}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": entries}))
    (tmp_path / "short.json").write_text(json.dumps({"model": relative}))
    for name in ("config.json", "short.json"):
        entry = load_config(tmp_path / name, environ={}).model_for("coder")
        assert (entry.model, entry.api_type, entry.label) == (str(tiny), "llamacpp", "tiny.gguf")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"url": "http://h"}, "expected no url with api_type llamacpp"),
        ({"api_key_env": "KEY"}, "expected no api_key_env with api_type llamacpp"),
        (
            {"api_type": "openai", "url": "http://h", "threads": 2},
            "expected threads only with api_type llamacpp",
        ),
        ({"num_ctx": 1}, "greater than or equal to 256"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config_of(Path("/m.gguf"), **entry), environ={})


def test_a_name_stays_a_server_s_where_one_is_configured() -> None:
    configured = {"model_config": {"single_model": {"url": "http://h", "model": "a.gguf"}}, "model": "b.gguf"}
    assert load_config(configured, environ={}).model_for("coder").url == "http://h"
    assert load_config({"model": "b.gguf"}, environ={}).model_for("coder").api_type == "llamacpp"


def test_a_received_session_serves_no_file_of_this_machine(tiny: Path) -> None:
    saved = load_config(config_of(tiny), environ={}).redacted()
    assert "model_config" not in settings_of_any(saved)


# --- init and doctor -----------------------------------------------------------------------------


def test_init_offers_files_and_says_what_fits(written: Path, runtime: Path, tmp_path: Path) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    digest = "ab" * 32
    studio, blobs = home / ".lmstudio/models/a/b", home / ".ollama/models/blobs"
    manifests = home / ".ollama/models/manifests/registry.example/library/llama3"
    for folder in (studio, blobs, manifests):
        folder.mkdir(parents=True)
    shutil.copy(written, studio / "tiny.gguf")
    shutil.copy(written, studio / "mmproj-tiny.gguf.part")
    foreign(studio / "embedding.gguf", pooling=1)
    foreign(studio / "projector.gguf", architecture="clip")
    (studio / "loop").symlink_to(studio)
    shutil.copy(written, blobs / f"sha256-{digest}")
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]
    (manifests / "8b").write_text(json.dumps({"layers": layers}))
    (manifests / "broken").write_text('{"layers": [{"mediaType": 1, "digest": "sha256:../../x"}]}')
    done = swarm(here, runtime, "init", HOME=str(home), OPENAI_BASE_URL="http://127.0.0.1:9")
    found = [line for line in done.stdout.splitlines() if line.startswith("found tiny") or "llama3" in line]
    assert len(found) == 2
    assert found[0].startswith("found tiny.gguf (llama, 0.1 MB; LM Studio): needs about 0.3 GB of memory, ")
    assert found[1].startswith("found llama3:8b (llama, 0.1 MB; Ollama): needs about ")
    text = (here / "config.json").read_text()
    assert f'"model": "{studio / "tiny.gguf"}", "api_type": "llamacpp"' in text
    assert '"model_name": "llama3:8b"' in text
    assert "embedding.gguf" not in text + done.stdout
    assert not runtime.exists()


def test_doctor_checks_a_file_and_starts_nothing(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    done = swarm(tmp_path, runtime, "doctor", "--model", tiny)
    assert (
        "ok    file tiny.gguf: llama, 0.1 MB, trained for 32768 tokens; served by xllamacpp " in done.stdout
    )
    assert "ok    file tiny.gguf: needs about 0.3 GB of memory, " in done.stdout
    assert "ok    file tiny.gguf: context of 16384 tokens" in done.stdout
    assert not runtime.exists()


# --- the page ------------------------------------------------------------------------------------


def test_the_page_says_what_works(tiny: Path, runtime: Path, tmp_path: Path) -> None:
    page, file = Page("embedded-models.md"), "models/qwen2.5-coder-7b-instruct-q4_k_m.gguf"
    tiny.rename(tmp_path / file)
    ((_, command),) = page.blocks("console")
    (tmp_path / "limits.json").write_text(
        json.dumps({"agent_parameters": dict.fromkeys(AgentRole, SHORT), "limits": {"calls": 2}})
    )
    _, *words = shlex.split(command.removeprefix("$ "))
    done = swarm(tmp_path, runtime, *words, "--config", "limits.json")
    assert done.stderr.startswith(
        f"swarm-graph: every role asks {Path(file).name} (0.1 MB), served on this machine"
    )
    ((_, text),) = page.blocks("json")
    (tmp_path / "config.json").write_text(text)
    entry = load_config(tmp_path / "config.json", environ={}).model_for("coder")
    assert (entry.model, entry.num_ctx) == (str(tmp_path / file), 32768)
    assert all(f"\n| `{name}` |" in page.text for name in ("slots", *OF_EMBEDDED))
