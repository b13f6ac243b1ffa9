"""Connections to MCP servers: real ones from the registries, and one that misbehaves in every way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from anyio import BrokenResourceError
from langchain_core.messages import ToolMessage
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification
from servers.mcp_servers import filesystem_server, odd_server, program, sqlite_server
from servers.odd_http_mcp_server import OddHttp
from support import Crew, config, dead_port, sandbox

from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.retention import clean_up
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import ToolError
from swarm_graph.roles.run import RunContext
from swarm_graph.sessions.removal import remove_belongings
from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.mcp_log import ServerLog
from swarm_graph.tools.mcp_servers import McpServers
from swarm_graph.tools.mcp_stdio import StdioTransport
from swarm_graph.tools.tool import Tool
from swarm_graph.workflows.build import build_graph

DAY = 86400
SECONDS = 30
"""How long a test waits for something that has to happen."""


@asynccontextmanager
async def running(
    folder: Path,
    *,
    limits: ToolLimits | None = None,
    proxy: str | None = None,
    secrets: Sequence[str] = (),
    **servers: dict[str, Any],
) -> AsyncIterator[McpServers]:
    settings = {name: McpServer.model_validate(given) for name, given in servers.items()}
    limits = limits or ToolLimits(seconds=SECONDS)
    connections = McpServers(settings, limits, proxy=proxy, secrets=secrets, logs=folder / "logs")
    try:
        yield connections
    finally:
        await connections.close()


async def tools_of(connections: McpServers, name: str = "odd") -> dict[str, Tool]:
    return {tool.name.partition(".")[2]: tool for tool in await connections.tools(name)}


async def call(tools: dict[str, Tool], name: str, /, **arguments: Any) -> Any:
    return await tools[name].tool.ainvoke(arguments)


def with_odd(
    folder: Path,
    test: Callable[[McpServers, dict[str, Tool]], Coroutine[Any, Any, None]],
    *modes: str,
    limits: ToolLimits | None = None,
    secrets: Sequence[str] = (),
    **settings: Any,
) -> str:
    """Run a test with our own server; returns the server's log."""

    async def run() -> None:
        odd = {**odd_server(*modes), **settings}
        async with running(folder, limits=limits, secrets=secrets, odd=odd) as connections:
            await test(connections, await tools_of(connections))

    asyncio.run(run())
    logs = sorted((folder / "logs").glob("odd.log*"), reverse=True)
    return "".join(log.read_text() for log in logs)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, as far as it can: a zombie waits only for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(*pids: int) -> None:
    ends = time.monotonic() + SECONDS
    while not all(map(is_gone, pids)):
        assert time.monotonic() < ends, [pid for pid in pids if not is_gone(pid)]
        time.sleep(0.02)


# --- servers from the registries -----------------------------------------------------------------


@pytest.mark.slow
def test_servers_from_the_registries_work(tmp_path: Path) -> None:
    repository, database = tmp_path / "repository", tmp_path / "data.db"
    repository.mkdir()
    (repository / "a.txt").write_text("milk and honey\n")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)

    async def run() -> None:
        async with running(
            tmp_path,
            time={"command": program("mcp-server-time"), "args": ["--local-timezone", "UTC"]},
            git={"command": program("mcp-server-git"), "args": ["--repository", str(repository)]},
            files=filesystem_server(str(repository)),
            sqlite=sqlite_server(str(database)),
        ) as connections:
            clock, git, files, sql = await asyncio.gather(
                *(tools_of(connections, name) for name in ("time", "git", "files", "sqlite"))
            )
            assert clock["convert_time"].read_only
            assert set(clock["convert_time"].schema["properties"]) == {
                "source_timezone",
                "time",
                "target_timezone",
            }
            converted = await call(
                clock, "convert_time", source_timezone="UTC", time="12:00", target_timezone="Asia/Tokyo"
            )
            assert "T21:00:00+09:00" in converted

            status = await call(git, "git_status", repo_path=str(repository))
            assert "a.txt" in status
            assert git["git_status"].read_only
            assert not git["git_add"].read_only
            await call(git, "git_add", repo_path=str(repository), files=["a.txt"])

            assert await call(files, "read_text_file", path=str(repository / "a.txt")) == "milk and honey\n"
            refused = await call(files, "read_text_file", path="/etc/hostname")
            assert isinstance(refused, ToolMessage)
            assert refused.status == "error"
            assert "outside" in str(refused.content)

            await call(sql, "create_table", query="CREATE TABLE cows (name TEXT)")
            await call(sql, "write_query", query="INSERT INTO cows VALUES ('Berta')")
            assert "Berta" in await call(sql, "read_query", query="SELECT * FROM cows")
            await call(sql, "append_insight", insight="cows have names")
            assert "cows have names" in await call(sql, "read_resource", uri="memo://insights")
            assert "dairy" in await call(sql, "get_prompt", name="mcp-demo", arguments={"topic": "dairy"})
            assert "memo://insights" in sql["read_resource"].description

    asyncio.run(run())
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM cows").fetchall() == [("Berta",)]
    staged = subprocess.run(
        ["git", "-C", str(repository), "diff", "--cached", "--name-only"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert staged.stdout == "a.txt\n"


# --- the connection ------------------------------------------------------------------------------


def test_calls_of_all_tasks_run_at_once_over_one_process(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        hanging = asyncio.create_task(call(tools, "hang"))
        echoes = await asyncio.gather(*(call(tools, "echo", text=f"{n}") for n in range(50)))
        assert echoes == [f"{n}" for n in range(50)]
        parents = {json.loads(await call(tools, "family"))[0] for _ in range(2)}
        assert len(parents) == 1
        assert not hanging.done()
        hanging.cancel()

    log = with_odd(tmp_path, test)
    assert log.count("started") == 1


def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        hanging = asyncio.create_task(call(tools, "hang"))
        await call(tools, "echo", text="it has begun")
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert len(json.loads(await call(tools, "cancelled"))) == 1

    with_odd(tmp_path, test)


def test_a_call_without_an_answer_ends_in_time(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        with pytest.raises(TimeoutError, match=r"'odd' did not answer in 0\.5 s"):
            await call(tools, "hang")
        assert len(json.loads(await call(tools, "cancelled"))) == 1

    with_odd(tmp_path, test, limits=ToolLimits(seconds=0.5))


def test_a_dead_server_is_started_again_and_a_call_is_not_made_twice(tmp_path: Path) -> None:
    record = tmp_path / "calls"

    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        with pytest.raises(ToolError) as caught:
            await call(tools, "crash", record=str(record))
        assert "it ended with exit code 3: out of cheese" in str(caught.value)
        assert "whether the call was made is not known" in str(caught.value)
        assert await call(tools, "echo", text="back") == "back"
        pid = json.loads(await call(tools, "family"))[0]
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
        assert await call(tools, "echo", text="again") == "again"
        assert await call(tools, "crash_once", record=str(tmp_path / "once")) == "second time"

    log = with_odd(tmp_path, test)
    assert record.read_text() == "called\n"
    assert log.count("[swarm_graph] started again") == 3
    assert "out of cheese" in log


def test_the_number_of_restarts_is_bounded(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        for _number in range(6):
            with pytest.raises(ToolError, match="exit code 3"):
                await call(tools, "crash")
        with pytest.raises(ToolError, match=r"it was started 6 times in this run.*exit code 3"):
            await call(tools, "echo")

    with_odd(tmp_path, test)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (odd_server("crash_at_start"), "it ended with exit code 7: no licence found"),
        ({**odd_server("silent"), "start_seconds": 0.3}, r"it did not start in 0\.3 s"),
        ({"command": "no-such-program"}, "cannot start 'no-such-program': No such file or directory"),
        ({**odd_server(), "cwd": "/no/such/folder"}, "in '/no/such/folder': No such file or directory"),
        ({**odd_server(), "env": {"ODD_KEY": "${ODD_NO_KEY}"}}, "the environment variable 'ODD_NO_KEY'"),
        (
            {"url": f"http://127.0.0.1:{dead_port()}/mcp"},
            r"http://127\.0\.0\.1:\d+/mcp: no answer: All connection attempts failed \(start it there, or",
        ),
        ({**odd_server("endless", "slow"), "start_seconds": 1}, "it did not say in 1 s what it offers"),
    ],
)
def test_a_server_that_does_not_start_ends_in_one_line(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    async def run() -> None:
        async with running(tmp_path, odd=settings) as connections:
            for _ in range(2):
                with pytest.raises(ToolError, match=message) as caught:
                    await connections.tools("odd")
                assert re.fullmatch(r"MCP server 'odd': .*; its log: .*/logs/odd\.log", str(caught.value))

    asyncio.run(run())
    assert re.search(message, (tmp_path / "logs" / "odd.log").read_text())


def test_a_server_that_ends_before_the_first_message_has_a_reason(tmp_path: Path) -> None:
    async def run() -> str:
        server_log = ServerLog(tmp_path / "odd.log", ())
        transport = StdioTransport(["no-such-program"], dict(os.environ), None, server_log)
        ping = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="ping"))
        with suppress(BrokenResourceError):
            async with transport.streams() as (_, sender):
                while True:
                    await sender.send(ping)
                    await asyncio.sleep(0)
        return transport.problem

    assert asyncio.run(run()).startswith("it ended with exit code 127: cannot start 'no-such-program'")


def test_only_configured_servers_that_are_not_disabled_are_used(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path, odd={**odd_server(), "disabled": True}) as connections:
            assert await connections.tools("odd") == []
            with pytest.raises(ToolError, match="no MCP server 'even' is configured; configured ones: odd"):
                await connections.tools("even")
        with pytest.raises(ToolError, match="the run has ended"):
            await connections.offer("odd")

    asyncio.run(run())
    assert not (tmp_path / "logs").exists()


def test_a_changed_list_is_asked_for_again(tmp_path: Path) -> None:
    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        before = await connections.offer("odd")
        assert await connections.offer("odd") is before
        await call(tools, "grow")
        after = [tool.name for tool in await connections.tools("odd")]
        assert after.count("odd.grown") == 1  # the second one of that name is left out
        left_out = (await connections.offer("odd")).left_out
        assert left_out == ["the tool 'grown': there is another one of that name"]

    with_odd(tmp_path, test)


def test_a_server_that_has_only_the_newest_version_is_used(tmp_path: Path) -> None:
    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        assert await call(tools, "echo", text="new") == "new"
        assert await connections.offer("odd") is not await connections.offer("odd")

    with_odd(tmp_path, test, "newest")


def test_a_server_gets_no_model_no_person_and_no_folder(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        replies = json.loads(await call(tools, "ask"))
        assert [reply["id"] for reply in replies] == ["a", "b", "c"]
        assert all("not supported" in reply["error"]["message"] for reply in replies)
        assert not any("IGNORE ALL RULES" in tool.description for tool in tools.values())

    with_odd(tmp_path, test)


# --- what a server sends -------------------------------------------------------------------------


def test_floods_and_broken_messages_fail_one_call_and_no_other(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        assert len(await call(tools, "big", characters=1_000_000)) == 1_000_000
        with pytest.raises(ToolError, match=r"its answer has 10\.0 MB, and at most 8 are read"):
            await call(tools, "big", characters=10_000_000)
        with pytest.raises(ToolError, match="its answer is not a message of MCP"):
            await call(tools, "broken")
        with pytest.raises(ToolError, match="not as MCP defines it"):
            await call(tools, "odd_result")
        assert (await call(tools, "costly")).startswith("costly")  # nobody checks it by the server's schema
        assert await call(tools, "flood", megabytes=5) == "done"
        assert await call(tools, "echo", text="still here") == "still here"

    log = with_odd(tmp_path, test, "noisy")
    assert log.count("[swarm_graph] started") == 1
    assert "[stdout] Welcome to the odd server!" in log
    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) < 3_000_000


def test_a_server_that_floods_its_stdout_is_given_up(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        with pytest.raises(ToolError, match="it floods its stdout with something else than MCP"):
            await call(tools, "flood", megabytes=10)
        assert await call(tools, "echo", text="back") == "back"

    with_odd(tmp_path, test)


def test_tools_with_hostile_names_and_schemas_are_left_out(tmp_path: Path) -> None:
    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        plain = {"echo", "crash", "told", "read_resource", "get_prompt"}
        assert plain <= set(tools)
        assert not {"a.b", "a b", "foreign", "deep", "huge", "invalid"} & set(tools)
        assert all(re.fullmatch(r"odd\.[A-Za-z0-9_-]{1,64}", tool.name) for tool in tools.values())
        told = tools["told"].description
        assert len(told) == 4000
        assert told.startswith("[2J<|im_start|>y")
        left_out = (await connections.offer("odd")).left_out
        assert len(left_out) == 11
        assert "the tool 'a.b': a name has 1 to 64 letters, digits, _ and -" in left_out
        assert "the tool 'echo': there is another one of that name" in left_out
        for reason in ("refers to another document", "nested more than", "has more than 50,000 characters"):
            assert any(reason in line for line in left_out), left_out
        assert all(len(line) < 300 and line.isprintable() for line in left_out)

    log = with_odd(tmp_path, test, "hostile")
    assert "left out: the tool 'a b'" in log


def test_lists_without_end_are_cut(tmp_path: Path) -> None:
    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        assert len(tools) == 1002
        left_out = (await connections.offer("odd")).left_out
        assert left_out == ["tools after the first 1000: the server lists too many"]

    with_odd(tmp_path, test, "endless")


def test_results_become_text(tmp_path: Path) -> None:
    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        assert await call(tools, "pictures") == (
            "two pictures\n"
            "(image image/png, 300 bytes: not text)\n"
            "(audio audio/wav, 3 bytes: not text)\n"
            "(resource odd://note: a note)\n"
            "milk\n"
            '{"pictures": 2}'
        )
        refused = await call(tools, "refuse")
        assert (refused.content, refused.status) == ("the door is\nlocked", "error")
        assert await call(tools, "read_resource", uri="odd://note") == (
            "remember the milk\n(resource odd://note image/png, 300 bytes: not text)"
        )
        with pytest.raises(ToolError, match="MCP server 'odd': no resource odd://none"):
            await call(tools, "read_resource", uri="odd://none")
        prompt = await call(tools, "get_prompt", name="essay", arguments={"topic": "cows"})
        assert prompt == "user:\nessay about cows"
        offer = await connections.offer("odd")
        assert [resource.name for resource in offer.resources] == ["odd://note", "odd://notes/{n}"]
        assert [listed.name for listed in offer.prompts] == ["essay(topic, tone?)"]
        # Names that LangChain's own tools keep for themselves are arguments like others.
        odd_names = {"config": "a", "run_manager": "b", "self": "c", "callbacks": "d", "args": "e"}
        assert json.loads(await call(tools, "echo", **odd_names)) == odd_names

    with_odd(tmp_path, test)


# --- secrets and the environment -----------------------------------------------------------------


def test_a_server_gets_the_named_environment_and_no_secret_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_SECRET", "sk-0123456789abcdef")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-model-0123456789")

    async def test(connections: McpServers, tools: dict[str, Tool]) -> None:
        environment = json.loads(await call(tools, "environment"))
        assert set(environment) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "ODD_KEY", "PLAIN"}
        assert environment["ODD_KEY"] == "key=***"
        assert environment["PLAIN"] == "seen"
        assert environment["HOME"] == os.environ["HOME"]
        assert await call(tools, "echo", text="a model's is sk-model-0123456789") == "a model's is ***"

        offer = await connections.offer("odd")
        assert "sk-0123456789abcdef" not in repr(offer)
        assert tools["texts"].schema["properties"]["x"] == {
            "type": "string",
            "description": "as ***",
            "default": "***",
            "enum": ["***", "b"],
        }
        assert len(offer.left_out) == 4

    env = {"ODD_KEY": "key=${ODD_SECRET}", "PLAIN": "seen"}
    log = with_odd(tmp_path, test, "telltale", secrets=["sk-model-0123456789"], env=env)
    assert "my key is key=***" in log
    assert "sk-0123456789abcdef" not in log
    assert (tmp_path / "logs" / "odd.log").stat().st_mode & 0o077 == 0


def test_a_server_repeats_paths_and_no_key_of_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT_FOLDER", str(tmp_path))
    monkeypatch.setenv("TZ", "Asia/Vientiane")
    monkeypatch.setenv("OTHER_TOKEN", "token-0123456789")
    monkeypatch.setenv("OTHER_KEY", "/" + "k" * 300)
    other = {"command": "other", "args": ["--key=${OTHER_KEY}"], "env": {"TOKEN": "${OTHER_TOKEN}"}}
    odd = {**odd_server(), "env": {"FOLDER": "${PLANT_FOLDER}", "ZONE": "${TZ}"}}
    text = f"{tmp_path} in Asia/Vientiane, "

    async def run() -> None:
        async with running(tmp_path, odd=odd, other=other) as connections:
            tools = await tools_of(connections)
            answer = await call(tools, "echo", text=f"{text}token-0123456789, {'k' * 300}")
            assert answer == f"{text}***, ***"

    asyncio.run(run())
    keys = RunContext(config(mcp_servers={"other": other})).keys
    assert {"token-0123456789", "/" + "k" * 300} <= set(keys)


# --- the end -------------------------------------------------------------------------------------

HOLDER = """
import asyncio, json, os, sys, time
from pathlib import Path
from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.mcp_servers import McpServers

async def main():
    settings = McpServer.model_validate(json.loads(sys.argv[1]))
    servers = McpServers({"odd": settings}, ToolLimits(), logs=Path(sys.argv[2]))
    tools = {tool.name: tool.tool for tool in await servers.tools("odd")}
    pids = json.loads(await tools["odd.family"].ainvoke({}))
    if not (fork := os.fork()):
        time.sleep(600)
    print(json.dumps([*pids, fork]), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
"""A program that holds a connection until it is killed; a fork of it lives on."""


@pytest.mark.slow
def test_a_server_and_its_children_end_with_our_process_even_if_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, json.dumps(odd_server("stubborn")), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        *pids, fork = json.loads(holder.stdout.readline())
        assert not any(map(is_gone, pids))
        holder.send_signal(signal.SIGKILL)
    try:
        wait_until_gone(*pids)
        assert not is_gone(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


@pytest.mark.slow
def test_a_server_that_ignores_its_end_is_killed_with_its_children(tmp_path: Path) -> None:
    pids: list[int] = []

    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        pids.extend(json.loads(await call(tools, "family")))

    with_odd(tmp_path, test, "stubborn")
    assert all(map(is_gone, pids))


def test_a_server_ends_when_the_process_that_watches_it_is_killed(tmp_path: Path) -> None:
    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        server, watcher, child = json.loads(await call(tools, "family"))
        os.kill(watcher, signal.SIGKILL)
        wait_until_gone(watcher, server)
        os.kill(child, signal.SIGKILL)  # nobody watches over what had left the group
        assert json.loads(await call(tools, "family"))[0] != server

    with_odd(tmp_path, test, "stubborn")


def test_a_loop_that_ends_without_a_close_takes_the_server_along(tmp_path: Path) -> None:
    async def run() -> list[int]:
        servers = McpServers({"odd": McpServer.model_validate(odd_server())}, ToolLimits(), logs=tmp_path)
        pids: list[int] = json.loads(await call(await tools_of(servers), "family"))
        return pids

    wait_until_gone(*asyncio.run(run()))


def test_the_logs_of_a_session_lie_beside_its_database_and_go_with_it(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        swarm = build_graph(
            "review_only", config=config(mcp_servers={"odd": odd_server()}), checkpointer=saver
        )
        swarm.invoke({"request": "x = 1"}, {"configurable": {"thread_id": "a/b"}}, context=Crew().context)
        journal = Journal(saver.catalogue, "a/b", has_answers=False)
        servers = RunContext(swarm.bindings.config, journal=journal).tool_servers(swarm.bindings.config)

        async def use() -> None:
            await servers.tools("odd")
            await servers.close()

        asyncio.run(use())
        log = tmp_path / "mcp-logs" / "a%2Fb" / "odd.log"
        assert servers.log_path("odd") == log
        assert "started" in log.read_text()
        clean_up(saver, older_than_s=-DAY, keep=0, before_removal=remove_belongings)
        assert not log.parent.exists()


# --- the sandbox ---------------------------------------------------------------------------------


def test_a_sandboxed_server_has_no_network_and_only_its_folders(tmp_path: Path) -> None:
    assert sandbox() == "bubblewrap" or pytest.skip("needs bubblewrap")
    writable, readable, hidden = (tmp_path / name for name in ("writable", "readable", "hidden"))
    for folder in (writable, readable, hidden):
        folder.mkdir()
        (folder / "a.txt").write_text(folder.name)
    interpreter = [sys.prefix, sys.base_prefix, str(Path(__file__).parent)]
    settings: dict[str, Any] = {
        "sandbox": True,
        "folders": [str(writable)],
        "readable": [str(readable), *interpreter],
    }

    async def test(_: McpServers, tools: dict[str, Tool]) -> None:
        assert await call(tools, "read", path=str(writable / "a.txt")) == "writable"
        assert await call(tools, "read", path=str(readable / "a.txt")) == "readable"
        assert await call(tools, "read", path=str(hidden / "a.txt")) == "No such file or directory"
        assert await call(tools, "read", path="/etc/passwd") == "No such file or directory"
        assert await call(tools, "write", path=str(writable / "b.txt")) == "written"
        assert await call(tools, "write", path=str(readable / "b.txt")) == "Read-only file system"
        assert await call(tools, "write", path="/usr/b.txt") == "Read-only file system"
        with closing(socket.create_server(("127.0.0.1", 0))) as listening:
            answer = await call(tools, "connect", port=listening.getsockname()[1])
        assert answer in ("Connection refused", "Network is unreachable")
        assert int(await call(tools, "processes")) < 6
        environment = json.loads(await call(tools, "environment"))
        assert environment["HOME"] == "/tmp"
        assert environment["PLAIN"] == "seen"

    with_odd(tmp_path, test, **settings, env={"PLAIN": "seen"})
    assert (writable / "b.txt").read_text() == "written"


def test_a_sandbox_that_cannot_work_says_what_it_lacks(tmp_path: Path) -> None:
    assert sandbox() == "bubblewrap" or pytest.skip("needs bubblewrap")

    async def run() -> None:
        async with running(
            tmp_path,
            hidden={"command": str(tmp_path / "server"), "sandbox": True},
            missing={"command": "cat", "sandbox": True, "folders": [str(tmp_path / "nowhere")]},
        ) as connections:
            (tmp_path / "server").write_text("#!/bin/sh\n")
            (tmp_path / "server").chmod(0o755)
            with pytest.raises(ToolError, match=r"does not show its program '.*/server': add"):
                await connections.tools("hidden")
            with pytest.raises(ToolError, match=r"the folder '.*/nowhere', which does not exist"):
                await connections.tools("missing")

    asyncio.run(run())


# --- servers at a URL ----------------------------------------------------------------------------


@contextmanager
def http_server(token: str) -> Iterator[str]:
    """The URL of a server made with the package mcp, which wants a token."""
    command = [sys.executable, str(Path(__file__).parent / "servers" / "http_mcp_server.py"), token]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"
        finally:
            server.kill()


def test_a_server_at_a_url_is_used_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{dead_port()}")
    monkeypatch.setenv("COUNTER_TOKEN", "token-0123456789\n")
    monkeypatch.setenv("OTHER_TOKEN", "token-9876543210")
    monkeypatch.setenv("TORN_TOKEN", "token-987654\n3210")

    async def run(url: str) -> None:
        async with running(
            tmp_path,
            counter={"url": url, "token_env": "COUNTER_TOKEN"},
            wrong={"url": url, "token_env": "OTHER_TOKEN"},
            unset={"url": url, "token_env": "NO_TOKEN"},
            torn={"url": url, "token_env": "TORN_TOKEN"},
        ) as connections:
            tools = await tools_of(connections, "counter")
            answers = await asyncio.gather(*(call(tools, "count", by=1) for _ in range(10)))
            assert sorted(map(int, answers)) == [*range(1, 11)]
            await call(tools, "grow")
            async with asyncio.timeout(SECONDS):  # the news comes on another stream than the answer
                while "grown" not in await tools_of(connections, "counter"):
                    pass
            with pytest.raises(ToolError, match="answered HTTP 401: it wants another token"):
                await connections.tools("wrong")
            with pytest.raises(ToolError, match="the environment variable 'NO_TOKEN', which is not set"):
                await connections.tools("unset")
            with pytest.raises(ToolError, match="'TORN_TOKEN' holds no token: not all of it is printable"):
                await connections.tools("torn")

    with http_server("token-0123456789") as url:
        asyncio.run(run(url))
    logs = "".join(file.read_text() for file in (tmp_path / "logs").iterdir())
    assert "token-0123456789" not in logs
    assert "token-9876543210" not in logs


def test_an_odd_server_at_a_url_gets_no_further(tmp_path: Path) -> None:
    async def run(root: str) -> None:
        async with running(
            tmp_path,
            odd={"url": f"{root}/mcp"},
            moved={"url": f"{root}/moved"},
            nothing={"url": f"{root}/nothing"},
            plain={"url": f"https{root.removeprefix('http')}/mcp"},
        ) as connections:
            tools = await tools_of(connections)
            with pytest.raises(ToolError, match="its answer has more than 8 MB"):
                await call(tools, "big")
            assert await call(tools, "forget") == "a new session"
            with pytest.raises(ToolError, match="not followed; use that URL as the endpoint"):
                await connections.tools("moved")
            with pytest.raises(ToolError, match=r"/nothing: it answered HTTP 404 without a message of MCP"):
                await connections.tools("nothing")
            with pytest.raises(ToolError, match=r"https://.*: no answer: .*does it speak TLS\?"):
                await connections.tools("plain")

    async def through_proxy(root: str) -> None:
        async with running(tmp_path, proxy=root, odd={"url": "http://nowhere.invalid/mcp"}) as connections:
            assert len(await connections.tools("odd")) == 2

    with closing(socket.create_server(("127.0.0.1", 0))) as elsewhere:
        with OddHttp(elsewhere.getsockname()[1]) as server:
            asyncio.run(run(server.root))
            server.asked.clear()
            asyncio.run(through_proxy(server.root))
            assert {path for path, _ in server.asked} == {"http://nowhere.invalid/mcp"}
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


# --- nothing else --------------------------------------------------------------------------------

WATCHED = """
import asyncio, json, sys
from pathlib import Path
seen = []

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        seen.append([*arguments[1][:2]])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        seen.append([str(arguments[0]), arguments[1] if len(arguments) > 1 else None])

sys.addaudithook(watch)
from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.mcp_servers import McpServers

async def main():
    settings = {name: McpServer.model_validate(given) for name, given in json.loads(sys.argv[1]).items()}
    servers = McpServers(settings, ToolLimits(), logs=Path(sys.argv[2]))
    before = sorted({name.split(".")[0] for name in sys.modules} & {"mcp", "mcp_types"})
    for name in settings:
        for tool in await servers.tools(name):
            if tool.name in ("odd.echo", "counter.count"):
                await tool.tool.ainvoke({"text": "x", "by": 1})
    await servers.close()
    print(json.dumps({"seen": seen, "before": before}))

asyncio.run(main())
"""


def watched(folder: Path, **servers: dict[str, Any]) -> dict[str, Any]:
    """What a program that uses MCP servers has connected to, and the packages that it had loaded before."""
    tempting = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_TRACES_EXPORTER": "otlp",
        "LANGSMITH_TRACING": "false",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED, json.dumps(servers), str(folder)],
        env={**os.environ, **tempting, "COUNTER_TOKEN": "token-0123456789"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_no_socket_is_opened_to_anything_but_the_configured_servers(tmp_path: Path) -> None:
    with http_server("token-0123456789") as url:
        counter = {"url": url, "token_env": "COUNTER_TOKEN"}
        found = watched(tmp_path, odd=odd_server("hostile", "noisy"), counter=counter)
    port = int(url.split(":")[2].split("/")[0])
    assert {(host, int(number)) for host, number in found["seen"]} == {("127.0.0.1", port)}
    assert found["before"] == []


def test_without_the_package_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp_types", None)

    async def run() -> None:
        async with running(tmp_path, odd=odd_server()) as connections:
            with pytest.raises(ToolError, match=re.escape("`pip install 'mcp>=2.3'`")):
                await connections.tools("odd")

    asyncio.run(run())
