"""Connections to model servers: kept, bounded, and closed; a call on one that was closed is sent again."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from langchain_core.messages import HumanMessage
from servers.canned import Canned

from swarm_graph.models import http_clients, slots
from swarm_graph.models.answer import deltas_of
from swarm_graph.models.http_clients import Address, read, requested
from swarm_graph.models.pool import chat_model
from swarm_graph.models.wire import RefusedRequest
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.workflows.build import build_graph

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[str]:
    """A server that serves each connection so; yields its URL."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request of a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(int(length.partition(b":")[2]))


async def asked(url: str, body: bytes = b"{}") -> bytes:
    async with requested("POST", Address(url), body) as response:
        return await response.read()


def test_a_connection_is_kept_for_the_next_call() -> None:
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while True:
            await read_request(reader)
            connections[-1] += 1
            writer.write(OK)

    async def calls() -> None:
        async with served(serve) as url:
            for _ in range(3):
                assert await asked(url) == b"ok"

    asyncio.run(calls())
    assert connections == [3]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_were_closed_keep_no_connections() -> None:
    """A program that makes a loop for each call, and closes it as `loop.close()` alone does."""
    closed = asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        assert await reader.read() == b""
        closed.release()

    def call(url: str) -> None:
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(asked(url)) == b"ok"
        loop.close()

    async def calls() -> None:
        async with served(serve) as url:
            for _ in range(4):
                await asyncio.to_thread(call, url)
            gc.collect()
            async with asyncio.timeout(60):
                for _ in range(3):
                    await closed.acquire()
            http_clients._leave_closed_loops()
            gc.collect()
            await closed.acquire()

    asyncio.run(calls())


def test_a_call_on_a_connection_that_the_server_has_closed_is_sent_again() -> None:
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await read_request(reader))
        writer.write(OK)
        bodies.append(await read_request(reader))  # and closes the connection without an answer

    async def calls() -> None:
        async with served(serve) as url:
            assert await asked(url, b"1") == b"ok"
            assert await asked(url, b"2") == b"ok"

    asyncio.run(calls())
    assert bodies == [b"1", b"2", b"2"]


def test_a_server_that_never_answers_is_asked_once() -> None:
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        bodies.append(await read_request(reader))

    async def call() -> None:
        async with served(serve) as url:
            await asked(url)

    with pytest.raises(aiohttp.ServerDisconnectedError):
        asyncio.run(call())
    assert len(bodies) == 1


def test_a_call_that_is_cancelled_closes_its_connection() -> None:
    async def call() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
            begun.set()
            assert await reader.read() == b""
            ended.set()

        async with served(serve) as url:
            task = asyncio.create_task(asked(url))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await ended.wait()

    asyncio.run(call())


class _Reader:
    done = False

    def feed(self, data: bytes) -> AsyncIterator[bytes]:
        raise AssertionError(data)

    end = feed


def test_a_refusal_has_its_status_its_body_and_its_headers() -> None:
    error = b'{"error": {"message": "later"}}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\ncontent-length: %d\r\n\r\n" % len(error)
        writer.write(head + error)

    async def call() -> None:
        async with served(serve) as url:
            async for _ in read(Address(url), {}, _Reader()):  # type: ignore[arg-type]
                pass

    with pytest.raises(RefusedRequest) as refused:
        asyncio.run(call())
    assert (refused.value.status_code, refused.value.body) == (429, {"message": "later"})
    assert refused.value.response.headers["retry-after"] == "7"


def test_a_call_goes_through_the_configured_proxy() -> None:
    asked_for: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for.append((await reader.readuntil(b"\r\n")).strip())
        await read_request(reader)
        writer.write(OK)

    async def call() -> None:
        async with served(serve) as proxy, requested("POST", Address("http://h.invalid/x", {}, proxy), b"{}"):
            pass

    asyncio.run(call())
    assert asked_for == [b"POST http://h.invalid/x HTTP/1.1"]


def test_neither_the_address_nor_the_model_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_KEY", "SECRET-9")
    for api_type in ("openai", "ollama"):
        entry = ModelEntry(model="m", url="http://h/v1", api_type=api_type, api_key_env="OWN_KEY")
        model = chat_model(entry, AgentParameters())
        assert "SECRET" not in f"{model!r} {vars(model)} {model.__pydantic_private__}"


# --- event loops ---------------------------------------------------------------------------------


async def answer_of(canned: Canned) -> str:
    model = chat_model(ModelEntry(**canned.entry), AgentParameters())
    texts = [
        delta.text
        async for deltas in deltas_of(model, [HumanMessage("a"), HumanMessage("b")], {})
        for delta in deltas
    ]
    return "".join(texts)


@pytest.mark.parametrize("ollama", [False, True])
def test_one_event_loop_after_the_other_and_beside_each_other(ollama: bool) -> None:
    answers: list[str] = []
    before = {*http_clients._CLIENTS}  # of the loop for synchronous callers, if another test has used it
    with Canned(lambda system, user: f"{system} {user}", ollama=ollama) as canned:

        def ask() -> None:
            answers.append(asyncio.run(answer_of(canned)))

        for _ in range(5):
            ask()
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["a b"] * 10
    assert {*http_clients._CLIENTS} <= before, "each was closed with its loop"


# --- the number of connections -------------------------------------------------------------------


def test_calls_above_the_limit_of_connections_queue_and_no_timeout_counts_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "_NAMED", {slots.CONNECTIONS: slots.Slots(2)})

    def slowly(*_: str) -> str:
        canned.closing.wait(0.3)
        return "Fine."

    with Canned(slowly) as canned:
        model = {**canned.entry, "slots": 20, "retries": 0, "idle_timeout": 1, "timeout": 1}
        graph = build_graph("custom", config={"model_config": {"single_model": model}})
        names = [{"task_id": f"t{number}", "assigned_role": "architect"} for number in range(12)]
        state = graph.invoke({"tasks": names})
        assert {record["status"] for record in state["tasks"].values()} == {"COMPLETED"}
        assert canned.calls.most_in_flight == 2


MANY = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from swarm_graph import build_graph, open_checkpointer

async def all_of(url):
    model = {"url": url, "model": "m", "slots": 1000, "retries": 0}
    settings = {"model_config": {"single_model": model}, "workflow": {"max_parallel_agents": 100}}
    graph = build_graph("review_only", config=settings, checkpointer=open_checkpointer(sys.argv[2]))
    sessions = (
        graph.ainvoke({"request": "x = 1"}, {"configurable": {"thread_id": f"s{number}"}})
        for number in range(200)
    )
    states = await asyncio.gather(*sessions)
    print({state["phase"] for state in states})

asyncio.run(all_of(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_NOFILE")
def test_many_sessions_hold_with_few_descriptors(tmp_path: object) -> None:
    with Canned(lambda *_: '{"findings": [], "approved": true}') as canned:
        command = [sys.executable, "-c", MANY, canned.entry["url"], f"{tmp_path}/swarm.db"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert canned.calls.most_in_flight <= 32
    assert (done.returncode, done.stdout) == (0, "{'complete'}\n"), done.stderr
