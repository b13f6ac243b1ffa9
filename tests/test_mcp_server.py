"""`swarm-graph mcp`, driven by the official client: sessions, pauses, results, kills, and who is let in."""

from __future__ import annotations

import array
import asyncio
import fcntl
import http.client
import json
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import warm
from chaos.model_server import ModelServer
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from repositories import git, make_repository
from servers.mcp_pipes import call, connected, refusal, resource, served
from support import SIMULATED, write_config

from swarm_graph.config import load_config
from swarm_graph.errors import ConfigError
from swarm_graph.mcp_server.server import new_server
from swarm_graph.mcp_server.settings import MAX_MESSAGE_BYTES, ServerSettings
from swarm_graph.serving.client_token import own_token, token_file
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.state import OUTPUT_DIR

LOOKING = {"wait", "status", "result", "sessions"}
TOKEN = "correct-horse-battery-staple"


def asking(folder: Path, server: ModelServer, **workflow: Any) -> None:
    """Write a configuration whose models are those of a server."""
    entry = {"url": server.url, "model": "m", "retries": 0}
    write_config(folder, model_config={"single_model": entry}, workflow={"grace_period": 0, **workflow})


async def until(holds: Callable[[], bool]) -> None:
    """Poll what threads and other processes change."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- a session from start to result --------------------------------------------------------------


def test_a_client_that_starts_the_server_gets_a_session_and_its_files(tmp_path: Path) -> None:
    parameters = StdioServerParameters(command=warm.PROGRAM, args=["mcp", "--simulate"], cwd=tmp_path)

    async def drive() -> None:
        async with Client(parameters) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools.keys() == LOOKING | {"start", "resume", "cancel"}
            for name, tool in tools.items():
                assert tool.annotations
                assert tool.annotations.read_only_hint == (name in LOOKING)
            assert (await client.list_resources()).resources == []

            started = await call(client, "start", request="Create a FIFO queue", session="queue-1")
            assert (started["id"], started["phase"]) == ("queue-1", "running")
            ended = await call(client, "wait", id="queue-1", seconds=240)
            assert (ended["phase"], ended["verdict"]) == ("complete", "approved")
            assert ended["simulated"]
            assert {"architect", "coder", "review_style"} <= {*ended["done"]}

            result = await call(client, "result", id="queue-1", max_characters=5000)
            assert "SIMULATED" in result["report"]
            code = next(row for row in result["files"] if row["path"].endswith("fifo_queue.py"))
            assert code["path"].startswith("project/")
            written = (tmp_path / OUTPUT_DIR / "queue-1" / code["path"]).read_text(encoding="utf-8")
            assert await resource(client, code["uri"]) == written
            assert sum(map(len, result["texts"].values())) < 5100
            assert "[cut: " in [*result["texts"].values()][-1]

            listed = {found.uri for found in (await client.list_resources()).resources}
            assert listed == {f"swarm://session/queue-1/{name}" for name in ("report", "findings")}
            assert await resource(client, "swarm://session/queue-1/report") == result["report"]
            assert json.loads(await resource(client, "swarm://session/queue-1/findings")) == []
            for uri in ("files/../../config.json", "files/etc/passwd", "files/", "log", "report/x"):
                with pytest.raises(MCPError, match=r"there is no resource|has no file"):
                    await resource(client, f"swarm://session/queue-1/{uri}")

            more = await call(
                client, "start", request="Add peek", session="queue-1", follow_up=True, workflow="review_only"
            )
            assert more["id"] == "queue-1"
            await call(client, "wait", id="queue-1", seconds=240)
            (row,) = (await call(client, "sessions", phase="complete"))["sessions"]
            assert (row["id"], row["request"]) == ("queue-1", "Add peek")

    asyncio.run(drive())


# --- pauses --------------------------------------------------------------------------------------


def test_a_client_passes_on_what_a_person_decides(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_after": ["architect"]})

    async def drive(process: warm.Process) -> None:
        async with connected(process) as client:
            await call(client, "start", request="Create a FIFO queue", session="s")
            paused = await call(client, "wait", id="s", seconds=240)
            (pause,) = paused["pauses"]
            assert (paused["phase"], pause["where"], pause["edits"]) == (
                "paused",
                "after architect",
                "design",
            )
            assert pause["shows"]
            assert "call `answer`" in paused["to_answer"]
            assert "waits for a person" in await refusal(client, "resume", id="s")
            answer = {"id": "s", "decision": "approve", "pause": pause["pause"]}
            for wrong, line in (
                ({"pause": "coder-7"}, "no such pause; open:"),
                ({"decision": "reject"}, "`remark` and the decision reject belong together"),
                ({"edit": "A ring."}, "`edit` and the decision edit belong together"),
                (
                    {"decision": "edit", "edit": {"phase": "complete"}},
                    "'phase' cannot be edited after architect",
                ),
                ({"decision": "approve_for_session"}, "cannot be used"),
                ({"decision": "sure"}, "'decision' cannot be used"),
            ):
                assert line in await refusal(client, "answer", **{**answer, **wrong})
            assert (await call(client, "status", id="s"))["pauses"] == [pause]
            await call(client, "answer", **{**answer, "decision": "edit"}, edit="A ring of slots.")
            assert (await call(client, "wait", id="s", seconds=240))["phase"] == "complete"
            notes = await resource(client, "swarm://session/s/files/notes.md")
            assert "A ring of slots." in notes
            assert "waits for nobody" in await refusal(client, "answer", **answer)

    with served("--allow-answers", cwd=tmp_path) as process:
        asyncio.run(drive(process))
        assert process.stdin
        process.stdin.close()
        assert process.wait() == 0


DESIGN = "One file holds a ring of slots, guarded by one lock. " * 10
"""A design that is more than a remark beside a call: the model may repeat both as its answer."""


def test_a_call_of_a_tool_waits_for_a_person_behind_the_client(tmp_path: Path) -> None:
    call_in_text = '<tool_call>{"name": "project.list", "arguments": {"glob": "*\\u202e.py"}}</tool_call>'
    (tmp_path / "script.md").write_text(f"<!-- architect 1 -->\n{DESIGN}\n{call_in_text}\n")
    simulation = {"script": str(tmp_path / "script.md")}
    model = {"single_model": {"model": "m", "api_type": "simulated", "simulation": simulation}}
    tools = {"tools": {"architect": ["project.list"]}, "tool_limits": {"calls": 1}, "approve": ["project.*"]}
    settings = {**SIMULATED, "model_config": model, **tools}

    async def drive() -> None:
        async with Client(in_process(tmp_path, settings, allow_answers=True)) as client:
            await call(client, "start", request="Create a queue", session="s")
            paused = await call(client, "wait", id="s", seconds=240)
            (pause,) = paused["pauses"]
            assert "project.list" in pause["where"]
            assert json.loads(pause["shows"])["arguments"] == {"glob": "*.py"}, (
                "text that turns round is shown"
            )
            assert "no such pause" in await refusal(
                client, "answer", id="s", decision="approve", pause=pause["pause"][:-1]
            )
            answer = {"id": "s", "pause": pause["pause"], "decision": "reject", "remark": "Not now."}
            await call(client, "answer", **answer)
            ended = await call(client, "wait", id="s", seconds=240)
            assert ended["phase"] == "complete", ended
            assert "waits for nobody" in await refusal(client, "answer", **answer)

    asyncio.run(drive())


def test_arguments_that_a_client_is_not_shown_are_not_approved_there(tmp_path: Path) -> None:
    arguments = {"code": "#" * 9000}
    call_in_text = f"<tool_call>{json.dumps({'name': 'sandbox.run', 'arguments': arguments})}</tool_call>"
    (tmp_path / "script.md").write_text(f"<!-- architect 1 -->\n{DESIGN}\n{call_in_text}\n")
    simulation = {"script": str(tmp_path / "script.md")}
    model = {"single_model": {"model": "m", "api_type": "simulated", "simulation": simulation}}
    tools = {"tools": {"architect": ["sandbox.run"]}, "tool_limits": {"calls": 1}, "approve": ["sandbox.*"]}
    settings = {**SIMULATED, "model_config": model, **tools}

    async def drive() -> None:
        async with Client(in_process(tmp_path, settings, allow_answers=True)) as client:
            await call(client, "start", request="Create a queue", session="s")
            (pause,) = (await call(client, "wait", id="s", seconds=60))["pauses"]
            answer = {"id": "s", "pause": pause["pause"]}
            for decision in ("approve", "approve_for_session"):
                refused = await refusal(client, "answer", **answer, decision=decision)
                assert "are longer than `status` shows" in refused
            await call(client, "answer", **answer, decision="reject", remark="Too long.")
            assert (await call(client, "wait", id="s", seconds=60))["phase"] == "complete"

    asyncio.run(drive())


def test_unless_the_operator_says_so_pauses_are_answered_in_a_terminal(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_after": ["architect"]})

    async def drive(process: warm.Process) -> None:
        async with connected(process) as client:
            await call(client, "start", request="Create a FIFO queue", session="s")
            paused = await call(client, "wait", id="s", seconds=240)
            assert "does not take answers" in paused["to_answer"]
            assert "there is no tool 'answer'" in await refusal(client, "answer", id="s", decision="approve")
            command = paused["to_answer"].split("`")[1]
            done = await asyncio.to_thread(warm.run, *shlex.split(command)[1:], cwd=tmp_path)
            assert done.returncode == 0
            assert (await call(client, "status", id="s"))["phase"] == "complete"

    with served("--data-dir", ".swarm", cwd=tmp_path) as process:
        asyncio.run(drive(process))


# --- waiting, stopping, killing ------------------------------------------------------------------


def test_a_client_sees_progress_and_stops_a_session_that_others_cannot_take(tmp_path: Path) -> None:
    steps: list[str] = []

    async def drive(process: warm.Process, server: ModelServer) -> None:
        async with connected(process) as client:
            await call(client, "start", request="Create a queue", session="s")
            waiting = asyncio.create_task(call(client, "wait", steps.append, id="s", seconds=240))
            await until(lambda: steps == ["round 1 of 3: clarifier works"])
            server.release("")
            await until(lambda: "round 1 of 3: architect works" in steps)
            status = await call(client, "status", id="s")
            assert (status["running"], status["done"]) == (["architect"], ["clarifier"])
            assert (await call(client, "wait", id="s", seconds=0))["phase"] == "running"
            assert "runs already" in await refusal(client, "start", request="Another", session="s")
            assert "allows 1; wait" in await refusal(client, "start", request="Another")
            taken = await asyncio.to_thread(warm.run, "resume", "s", cwd=tmp_path, text=True)
            assert "is in use" in taken.stderr
            assert (await call(client, "cancel", id="s"))["phase"] == "cancelled"
            assert (await waiting)["phase"] == "cancelled"
            assert "does not run" in await refusal(client, "cancel", id="s")
            server.held = False
            await call(client, "resume", id="s")
            assert (await call(client, "wait", id="s", seconds=240))["phase"] == "complete"
            assert "has ended" in await refusal(client, "resume", id="s")

    with ModelServer(latency=0, held=True) as server, served("--max-sessions", "1", cwd=tmp_path) as process:
        asking(tmp_path, server)
        asyncio.run(drive(process, server))
        clarifier = server.asked[0].key
        assert [asked.key for asked in server.asked].count(clarifier) == 1, (
            "finished work was asked for again"
        )


def test_a_client_waits_for_a_session_of_the_command_line(tmp_path: Path) -> None:
    async def drive(server: ModelServer) -> None:
        async with Client(in_process(tmp_path)) as client:
            await until(lambda: bool(server.asked))
            waiting = asyncio.create_task(call(client, "wait", id="s", seconds=240))
            assert "is in use" in await refusal(client, "resume", id="s")
            server.held = False
            server.release("")
            assert (await waiting)["phase"] == "complete"

    with ModelServer(latency=0, held=True) as server:
        asking(tmp_path, server)
        run = ("run", "Create a queue", "--session", "s")
        with warm.Process(*run, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            asyncio.run(drive(server))


def test_a_client_cancels_a_session_of_the_command_line(tmp_path: Path) -> None:
    async def drive(server: ModelServer) -> None:
        async with Client(in_process(tmp_path)) as client:
            await until(lambda: bool(server.asked))
            cancelled = await call(client, "cancel", id="s")
            assert cancelled["phase"] == "running"
            assert "another process, which was asked to stop" in cancelled["note"]
            server.release("")
            assert (await call(client, "wait", id="s", seconds=240))["phase"] == "cancelled"
            assert len(server.asked) == 1
            assert "does not run" in await refusal(client, "cancel", id="s")

    with ModelServer(latency=0, held=True) as server:
        asking(tmp_path, server)
        run = ("run", "Create a queue", "--session", "s")
        with warm.Process(*run, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            asyncio.run(drive(server))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_a_session_outlives_its_server(end: signal.Signals | None, tmp_path: Path) -> None:
    """None: the client closes our stdin."""

    async def begin(process: warm.Process, server: ModelServer) -> None:
        async with connected(process) as client:
            await call(client, "start", request="Create a queue", session="s")
            server.release("")
            await until(lambda: len(server.asked) == 2)
            if end == signal.SIGKILL:
                process.send_signal(end)

    async def go_on(process: warm.Process, server: ModelServer) -> None:
        async with connected(process) as client:
            phase = "interrupted" if end == signal.SIGKILL else "cancelled"
            assert (await call(client, "status", id="s"))["phase"] == phase
            server.held = False
            await call(client, "resume", id="s")
            assert (await call(client, "wait", id="s", seconds=240))["phase"] == "complete"

    with ModelServer(latency=0, held=True) as server:
        asking(tmp_path, server)
        with served(cwd=tmp_path) as first:
            asyncio.run(begin(first, server))
            assert first.stdin
            assert first.stderr
            if end is None:
                first.stdin.close()
            elif end != signal.SIGKILL:
                first.send_signal(end)
            said = first.stderr.read().decode()
            codes = {None: 0, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
            assert first.wait() == codes[end]
            assert ("stopping 1 running" in said) == (end != signal.SIGKILL)
            assert "Traceback" not in said
        server.drop()
        with served(cwd=tmp_path) as second:
            asyncio.run(go_on(second, server))
        assert [asked.key for asked in server.asked].count(server.asked[0].key) == 1


def test_every_line_gets_an_answer_and_a_long_one_no_memory(tmp_path: Path) -> None:
    request = {"jsonrpc": "2.0", "method": "ping", "id": 7}
    lone = b'{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"\\ud800"}}'
    lines: list[tuple[bytes, int | None]] = [
        (b"garbage", None),
        (b"[" * 100_000, None),
        (json.dumps([request]).encode(), None),
        (json.dumps({**request, "jsonrpc": "1.0"}).encode(), 7),
        (lone, 8),
        (json.dumps({**request, "params": {"x": "y" * MAX_MESSAGE_BYTES * 8}}).encode(), None),
    ]
    with served("--simulate", cwd=tmp_path) as process:
        assert process.stdin
        assert process.stdout
        for line, number in lines:
            process.stdin.write(b"\r\n" + line + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert (answer["id"], answer["error"]["code"] in (-32700, -32600)) == (number, True)
        before = _peak_kib(process.pid)
        process.stdin.write(b"z" * (32 << 20) + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] is None
        assert _peak_kib(process.pid) - before < 16 << 10


def _peak_kib(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.parametrize("end", [signal.SIGTERM, None])
def test_a_client_that_reads_nothing_cannot_hold_the_server(
    end: signal.Signals | None, tmp_path: Path
) -> None:
    """None: the client closes our stdin."""
    with served("--simulate", cwd=tmp_path) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"garbage\n" * 5000)
        process.stdin.flush()
        asyncio.run(until(partial(_is_full, process.stdout.fileno())))
        if end is None:
            process.stdin.close()
        else:
            process.send_signal(end)
        assert process.wait() == (143 if end else 0)


def _is_full(pipe: int) -> bool:
    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0] > 60_000


def test_a_client_that_dies_with_an_answer_unread_ends_the_server_quietly(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()  # as Node starts its children
    with theirs, ours:
        process = warm.Process(
            "mcp",
            "--simulate",
            cwd=tmp_path,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
        theirs.close()
        ours.sendall(b"garbage\n")
        assert select.select([ours], [], [], 30)[0]
        ours.close()
        with process:
            assert process.stderr
            assert process.stderr.read() == b""
            assert process.wait() == 0


# --- HTTP ----------------------------------------------------------------------------------------


@contextmanager
def web(folder: Path, *arguments: str, **env: str) -> Iterator[tuple[warm.Process, str, list[str]]]:
    """A running server on a free port, its URL, and what it said until it listened."""
    with served("--http", "--port", "0", *arguments, cwd=folder, **env) as process:
        assert process.stderr
        lines: list[str] = []
        while "MCP at" not in (line := process.stderr.readline().decode()):
            assert line, lines
            lines.append(line)
        yield process, line.split()[3].rstrip(";"), lines


@asynccontextmanager
async def browsing(url: str, token: str = TOKEN, mode: str = "auto") -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as connection,
        Client(streamable_http_client(url, http_client=connection), mode=mode) as client,
    ):
        yield client


def post(url: str, *given: Mapping[str, str], **more: str) -> int:
    """The status of a request; a header can be Host."""
    headers = {name: value for one in (*given, more) for name, value in one.items()}
    host, _, path = url.removeprefix("http://").partition("/")
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        connection.request("POST", f"/{path}", b"{}", {"Content-Type": "application/json", **headers})
        return connection.getresponse().status


def test_two_clients_share_the_sessions_of_a_server_on_the_loopback(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_after": ["architect"]})

    async def drive(url: str) -> None:
        async with browsing(url) as first, browsing(url, mode="legacy") as second:
            await asyncio.gather(
                call(first, "start", request="Create a FIFO queue", session="a"),
                call(second, "start", request="Create a FIFO queue", session="b"),
            )
            paused = await asyncio.gather(
                call(first, "wait", id="b", seconds=240), call(second, "wait", id="a", seconds=240)
            )
            assert [one["phase"] for one in paused] == ["paused"] * 2
            pause = paused[1]["pauses"][0]["pause"]
            answer = {"id": "a", "decision": "reject", "remark": "It must be small."}
            assert "'pause' cannot be used: Field required" in await refusal(second, "answer", **answer)
            await call(second, "answer", **answer, pause=pause)
        async with browsing(url) as third:  # who asked has gone, and the session ran on
            ended = await call(third, "wait", id="a", seconds=240)
            assert ended["phase"] in ("complete", "not_converged")
            assert (await call(third, "wait", id="b", seconds=240))["phase"] == "paused"

    with web(tmp_path, "--allow-answers", "--token-env", "TOKEN", TOKEN=TOKEN) as (process, url, _):
        command_line = Path(f"/proc/{process.pid}/cmdline")
        assert not command_line.exists() or TOKEN.encode() not in command_line.read_bytes()
        asyncio.run(drive(url))


def test_progress_comes_over_http_too(tmp_path: Path) -> None:
    steps: list[str] = []

    async def drive(url: str, server: ModelServer) -> None:
        async with browsing(url) as client:
            await call(client, "start", request="Create a queue", session="s")
            waiting = asyncio.create_task(call(client, "wait", steps.append, id="s", seconds=240))
            await until(lambda: steps == ["round 1 of 3: clarifier works"])
            server.held = False
            server.release("")
            assert (await waiting)["phase"] == "complete"

    with ModelServer(latency=0, held=True) as server:
        asking(tmp_path, server)
        with web(tmp_path, "--token-env", "TOKEN", TOKEN=TOKEN) as (_, url, _said):
            asyncio.run(drive(url, server))


def test_strangers_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path)
    home = str(tmp_path / "home")
    with web(tmp_path, XDG_DATA_HOME=home) as (_, url, said):
        (place,) = said
        file = Path(place.split()[-1])
        assert file.is_relative_to(home)
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text().strip()
        known = {"Authorization": f"Bearer {token}"}
        port = url.split(":")[2].partition("/")[0]
        asyncio.run(_list_tools(url, token))
        assert post(url) == 401
        assert post(url, known, Host="rebound.example") == 421
        assert post(url, known, Host=f"rebound.example:{port}") == 421
        for origin in ("https://rebound.example", "null", f"http://127.0.0.1:{port}"):
            assert post(url, known, Origin=origin) == 403
            assert post(url, Origin=origin) == 403
        assert post(url, known, {"Content-Length": str(3 << 20)}) == 413
        assert post(url.replace("/mcp", "/"), known) == 404
        wrong = {"Authorization": f"Bearer {token[:-1]}"}
        assert [post(url, wrong) for _ in range(20)] == [401] * 20
        assert post(url, {"Authorization": f"bearer {token}"}) == 406, "a stranger locked the user out"


async def _list_tools(url: str, token: str) -> None:
    async with browsing(url, token) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} > LOOKING


def test_the_token_is_kept_as_a_secret_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with ThreadPoolExecutor(8) as servers:
        tokens = {*servers.map(lambda _: own_token(), range(8))}
    assert tokens == {own_token()} == {token_file().read_text().strip()}
    assert [*token_file().parent.iterdir()] == [token_file()]
    token_file().chmod(0o644)
    with pytest.raises(ConfigError, match="no secret of yours"):
        own_token()
    token_file().unlink()
    token_file().symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot keep the token"):
        own_token()


# --- what is refused -----------------------------------------------------------------------------


def in_process(place: Path, config: dict[str, Any] | None = None, **settings: Any) -> Any:
    """A server in this process, for what needs no process of its own."""
    given = ServerSettings(
        load_config(SIMULATED if config is None else config),
        data_dir=place / ".swarm",
        output_dir=place / "out",
        **settings,
    )

    return new_server(given, BackgroundSessions(4, print))


WRONG_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("start", {}, "the argument 'request' cannot be used: Field required"),
    ("start", {"request": " \n"}, "the request is empty"),
    ("start", {"request": 7}, "the argument 'request' cannot be used"),
    ("start", {"request": "x" * 200_001}, "at most 200000 characters"),
    ("start", {"request": "x", "workflow": "custom"}, "'custom' is not offered here; choose standard"),
    ("start", {"request": "x", "workflow": "nope"}, "'nope' is not offered here"),
    ("start", {"request": "x", "session": "../s"}, "'../s' is not allowed"),
    ("start", {"request": "x", "follow_up": True}, "follow_up needs `session`"),
    ("start", {"request": "x", "follow_up": True, "session": "s"}, "s"),
    ("start", {"request": "x", "kind": "change"}, "'kind' cannot be used"),
    ("start", {"request": "x", "config": "c.json"}, "there is no argument 'config'; allowed: request"),
    ("start", {"request": "x", "model": "m"}, "there is no argument 'model'"),
    ("start", {"request": "x", "inputs": ["a.txt"] * 21}, "21 input files are too many"),
    ("start", {"request": "x", "inputs": ["/etc/passwd"]}, "name a path relative to"),
    ("start", {"request": "x", "inputs": ["../secret.txt"]}, "no file '../secret.txt' in the server's"),
    ("start", {"request": "x", "inputs": ["link.txt"]}, "no file 'link.txt' in the server's folder"),
    ("start", {"request": "x", "inputs": ["."]}, "no file '.' in the server's folder"),
    ("start", {"request": "x", "inputs": ["a\0b"]}, "is not allowed"),
    ("start", {"request": "x", "inputs": ["broken.pdf"]}, "broken.pdf"),
    ("wait", {"id": "s", "seconds": 1e9}, "less than or equal to 240"),
    ("status", {"id": "s"}, "there is no session 's'; `sessions` lists all"),
    ("result", {"id": "s\n" * 9}, "there is no session"),
    ("resume", {"id": "s"}, "there is no session 's'"),
    ("cancel", {"id": "s"}, "there is no session 's'"),
    ("answer", {"id": "s", "pause": "p", "decision": "approve"}, "there is no session 's'"),
    ("sessions", {"limit": 0}, "greater than or equal to 1"),
    ("drop", {}, "there is no tool 'drop'; there are start, wait"),
]


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    server = in_process(tmp_path, folder=folder, allow_answers=True)

    async def drive() -> None:
        async with Client(server) as client:
            for name, arguments, line in WRONG_CALLS:
                said = await refusal(client, name, **arguments)
                assert line in said
                assert str(tmp_path) not in said

    asyncio.run(drive())
    assert not (tmp_path / ".swarm").exists(), "a refused request left something behind"


def test_input_files_come_from_the_folder_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "spec.txt").write_text("The pump holds 40 litres.")
    server = in_process(tmp_path, folder=tmp_path / "papers")

    async def drive() -> None:
        async with Client(server) as client:
            await call(client, "start", request="Review it", inputs=["spec.txt"], workflow="review_only")
            (row,) = (await call(client, "sessions"))["sessions"]
            assert "path=spec.txt" in row["request"]
            assert "40 litres" in row["request"]

    asyncio.run(drive())
    assert "reads no files" in asyncio.run(_refused(in_process(tmp_path), inputs=["spec.txt"]))


def test_a_client_has_a_range_of_the_repository_reviewed(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "code", {"a.py": "x = 1\n"})
    (repo / "a.py").write_text("x = 2\n")
    git(repo, "commit", "-qam", "Two")
    settings = {**SIMULATED, "repo": {"path": str(repo)}, "workflow": {"pause_after": ["reviewer"]}}
    review = {"request": "Review it"}
    offered = ("review_only", "standard")

    async def drive() -> None:
        server = in_process(tmp_path, settings, allow_answers=True, workflows=offered)
        async with Client(server) as client:
            assert "needs the range to review" in await refusal(client, "start", **review)
            for wrong in ("--output=x", "nowhere..", "HEAD..HEAD"):
                await refusal(client, "start", **review, diff=wrong)
            assert "a diff is for reviews" in await refusal(
                client, "start", request="x", diff="HEAD^!", workflow="standard"
            )
            await call(client, "start", **review, diff="HEAD^!", session="s")
            assert (await call(client, "wait", id="s", seconds=60))["phase"] == "paused"
            while pauses := (await call(client, "status", id="s")).get("pauses"):
                await call(client, "answer", id="s", pause=pauses[0]["pause"], decision="approve")
                ended = await call(client, "wait", id="s", seconds=60)
            assert ended["phase"] == "complete", ended
            assert "has no `diff`" in await refusal(
                client, "start", **review, diff="HEAD^!", session="s", follow_up=True
            )

    asyncio.run(drive())
    assert "needs a repository" in asyncio.run(_refused(in_process(tmp_path), diff="HEAD^!"))
    fixed = {**settings, "repo": {"path": str(repo), "diff": "HEAD^!"}}
    said = asyncio.run(_refused(in_process(tmp_path, fixed), workflow="review_only", diff="HEAD~1"))
    assert "this server reviews the range 'HEAD^!'" in said


async def _refused(server: Any, **more: Any) -> str:
    async with Client(server) as client:
        return await refusal(client, "start", request="x", **more)


def test_without_a_model_the_client_learns_who_names_one(tmp_path: Path) -> None:
    said = asyncio.run(_refused(in_process(tmp_path, {"execution": {"mode": "off"}})))
    assert "no model is configured; whoever runs this server names one with --config FILE" in said


def test_a_server_that_only_shows_has_no_other_tool(tmp_path: Path) -> None:
    async def names() -> set[str]:
        async with Client(in_process(tmp_path, read_only=True, allow_answers=True)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert asyncio.run(names()) == LOOKING


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--http", "--host", "0.0.0.0"], "--host '0.0.0.0' is not of this machine alone"),
        (["--http", "--host", "example.org"], "--host 'example.org' is not of this machine alone"),
        (["--http", "--token-env", "NO_TOKEN"], "the environment variable NO_TOKEN is not set"),
        (["--http", "--token-env", "SHORT"], "the token in SHORT is too short"),
        (["--token-env", "SHORT"], "--token-env needs --http"),
        (["--folder", "nowhere"], "--folder 'nowhere' is no folder"),
        (["--workflow", "custom"], "the workflow 'custom' takes tasks, not a request"),
        (["--workflow", "nope"], "the workflow 'nope' is unknown; expected one of standard"),
    ],
)
def test_the_command_refuses_what_cannot_work(arguments: list[str], line: str, tmp_path: Path) -> None:
    env = {**warm.ENVIRONMENT, "SHORT": "abc"}
    done = warm.run("mcp", "--simulate", *arguments, cwd=tmp_path, env=env, text=True)
    assert done.returncode == 2
    assert line in done.stderr
    assert not done.stdout


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with web(tmp_path, "--simulate", "--token-env", "TOKEN", TOKEN=TOKEN) as (_, url, _said):
        port = url.split(":")[2].partition("/")[0]
        done = warm.run("mcp", "--http", "--simulate", "--port", port, cwd=tmp_path, text=True)
        assert f"port {port}: Address already in use; name another --port" in done.stderr
        assert done.returncode == 2


def test_without_the_extra_the_command_names_the_package(tmp_path: Path) -> None:
    program = "import sys; sys.modules['mcp'] = None; from swarm_graph.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "mcp", "--simulate"],
        cwd=tmp_path, env=warm.ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the MCP server needs the package mcp: `pip install 'mcp>=2.3'`" in done.stderr
