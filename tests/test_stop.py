"""Ctrl-C and SIGTERM: the first lets calls in flight end, the second stops at once; both can be resumed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import warm
from chaos.model_server import ModelServer
from memories import RULES, recalled, remember_in
from servers.canned_embeddings import Answer, CannedEmbeddings, embedded
from storages import ON_BOTH, opened
from support import Crew, config, thread

from swarm_graph import SwarmCoordinator, SwarmMemory, build_graph
from swarm_graph.database_place import place_of
from swarm_graph.errors import Stopped
from swarm_graph.events import Event
from swarm_graph.roles.run import RunOptions, StopFlag


def begun(server: ModelServer, folder: Path, grace: float) -> warm.Process:
    """A review session with all four calls in flight."""
    entry = {"url": server.url, "model": "m", "retries": 0}
    settings = {"model_config": {"single_model": entry}, "workflow": {"grace_period": grace}}
    (folder / "config.json").write_text(json.dumps(settings))
    arguments = ["run", "x = 1", "--workflow", "review_only", "--session", "s"]
    process = warm.Process(*arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(server.asked) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    return process


def resumed(folder: Path) -> dict[str, object]:
    done = warm.run("resume", "s", "--json", cwd=folder)
    assert done.returncode == 0
    found: dict[str, object] = json.loads(done.stdout)
    return found


@ON_BOTH
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_calls_in_flight_end_and_are_kept(number: signal.Signals, tmp_path: Path) -> None:
    with ModelServer(latency=0.2, held=True) as server:
        process = begun(server, tmp_path, grace=60)
        process.send_signal(number)
        assert process.stderr
        said = process.stderr.readline()
        assert re.search(r"stopping: .* in flight gets? 60 s to end; a second signal stops now", said)
        server.release("")
        process.communicate()
        assert process.returncode == 0, "nothing was left to ask after the four calls"
        assert resumed(tmp_path)["phase"] == "complete"
        assert len(server.asked) == 4, "an answer was asked for again"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("grace", [600.0, 0.3])
def test_a_second_signal_or_the_end_of_the_grace_period_stops_at_once(
    grace: float, number: signal.Signals, tmp_path: Path
) -> None:
    with ModelServer(latency=600) as server:
        process = begun(server, tmp_path, grace)
        process.send_signal(number)
        assert process.stderr
        assert "stopping" in process.stderr.readline()
        if grace > 1:
            process.send_signal(number)
        _, errors = process.communicate()
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert errors == "swarm-graph: stopped; continue with `swarm-graph resume s`\n"
        server.latency = 0
        assert resumed(tmp_path)["phase"] == "complete"


@ON_BOTH
def test_stop_ends_a_run_between_two_calls(tmp_path: Path) -> None:
    crew = Crew()
    swarm = SwarmCoordinator(
        config(), data_dir=tmp_path / ".swarm", output=tmp_path / "out", context=crew.context
    )

    def stop_at_the_architect(happened: Event) -> None:
        if (happened.kind, happened.node) == ("call_started", "architect"):
            swarm.stop()

    swarm.on_event = stop_at_the_architect
    assert swarm.run_workflow("Create a queue")["phase"] == "cancelled"
    assert crew.asked == ["clarifier", "architect"]
    swarm.on_event = None
    assert swarm.resume()["phase"] == "complete"
    assert crew.asked.count("architect") == 1


@ON_BOTH
def test_a_stop_does_not_wait_for_memory(tmp_path: Path) -> None:
    """A search of memory is no call that costs anything: it is given up, and made anew by a resume."""
    folder = tmp_path / ".swarm"
    remember_in(folder)

    def script(texts: list[str]) -> Answer:
        if not server.closing.is_set():
            swarm.stop()
        server.closing.wait()
        return embedded(texts)

    with CannedEmbeddings() as server:
        memory = {"recall": {"architect": 2}, "embeddings": server.settings()}
        with SwarmMemory(place_of(folder), memory=memory) as opened:
            assert opened.reindex() == len(RULES)
        server.script = script
        crew = Crew()
        swarm = SwarmCoordinator(
            config(memory=memory), data_dir=folder, output=tmp_path / "out", context=crew.context
        )
        assert swarm.run_workflow("Write the valve command")["phase"] == "cancelled"
        assert crew.asked == ["clarifier"]
        server.script = embedded
        state = swarm.resume()
    assert (state["phase"], crew.asked.count("clarifier")) == ("complete", 1)
    assert recalled(state, "architect")[0] == "rules.md"
    assert {one["note"] for one in state["recalled"]} == {""}


@ON_BOTH
def test_a_stopped_run_of_the_graph_raises_and_can_be_resumed(tmp_path: Path) -> None:
    crew, stop = Crew(), StopFlag()
    stop.set()
    options = RunOptions(crew.context.model, clock=crew.context.clock, stop=stop)
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(Stopped):
            graph.invoke({"request": "x"}, thread(), context=options)
        assert crew.asked == []
        session = saver.catalogue.get("t")
        assert session
        assert session.phase == "cancelled"
        assert graph.invoke(None, thread(), context=crew.context)["phase"] == "complete"


def test_a_stop_does_not_wait_for_calls_that_queue(tmp_path: Path) -> None:
    """With one slot three of four reviews wait in the queue: they never begin."""
    entry = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 0.2}}
    settings = {"model_config": {"single_model": entry}, "workflow": {"enable_parallel": False}}
    swarm = SwarmCoordinator(settings, data_dir=tmp_path / ".swarm", output=tmp_path / "out")
    calls: list[str] = []

    def stop(happened: Event) -> None:
        if happened.kind == "call_started":
            calls.append(happened.node)
            swarm.stop()

    swarm.on_event = stop
    assert swarm.run_workflow("x = 1", "review_only")["phase"] == "cancelled"
    assert len(calls) == 1
    swarm.on_event = lambda happened: calls.append(happened.node) if happened.kind == "call_started" else None
    assert swarm.resume()["phase"] == "complete"
    assert len(calls) == len(set(calls)) == 4
