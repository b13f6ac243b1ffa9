"""The workflows on a real llama.cpp server, through its own API, Ollama's, and both in one config."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm
from repositories import fingerprint, git, make_repository
from servers.counting_proxy import CountingProxy
from servers.grammars import (
    DOCUMENT_GRAMMAR,
    FILES_GRAMMAR,
    NO_CHANGE_GRAMMAR,
    TESTS_GRAMMAR,
    TEXT_GRAMMAR,
)
from servers.llama import Llama
from servers.ollama_front import OllamaFront

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import load_config
from swarm_graph.errors import ModelError
from swarm_graph.state import AgentRole, Workflow
from swarm_graph.workflows.build import build_graph

pytestmark = pytest.mark.slow

GRAMMARS = {"coder": FILES_GRAMMAR, "tester": TESTS_GRAMMAR, "debugger": TEXT_GRAMMAR}
ALL_ROLES = [str(role) for role in AgentRole]

Models = Callable[[CountingProxy, OllamaFront], dict[str, Any]]


def parameters(grammars: dict[str, str]) -> dict[str, Any]:
    def of(role: str) -> dict[str, Any]:
        grammar = {"grammar": grammars[role]} if role in grammars else {}
        return {"seed": 7, "max_tokens": 6000, "extra_body": grammar}

    return {role: of(role) for role in ALL_ROLES}


def one_model(proxy: CountingProxy) -> dict[str, Any]:
    return {"single_model": {"url": proxy.url, "model": "tiny", "timeout": 120}}


def llama_only(proxy: CountingProxy, _: OllamaFront) -> dict[str, Any]:
    return one_model(proxy)


def ollama_only(_: CountingProxy, front: OllamaFront) -> dict[str, Any]:
    return {"single_model": {"url": front.root, "model": "tiny", "api_type": "ollama", "timeout": 120}}


def mixed(proxy: CountingProxy, front: OllamaFront) -> dict[str, Any]:
    ollama = ollama_only(proxy, front)["single_model"]
    return {
        **llama_only(proxy, front),
        "mode": "multi",
        "multi_model": {"reviewer": ollama, "tester": ollama},
    }


def run(
    folder: Path, models: dict[str, Any], workflow: Workflow, grammars: dict[str, str]
) -> SwarmCoordinator:
    settings = {
        "model_config": models,
        "agent_parameters": parameters(grammars),
        "workflow": {"max_iterations": 2},
    }
    swarm = SwarmCoordinator(settings, data_dir=folder / ".swarm", output_dir=folder / "out")
    swarm.run_workflow("Count to three", workflow, session_id="s")
    return swarm


@pytest.mark.parametrize("models", [llama_only, ollama_only, mixed])
@pytest.mark.parametrize("workflow", ["review_only", "standard", "full"])
def test_workflows_end_and_count_what_the_servers_count(
    models: Models, workflow: Workflow, counted: CountingProxy, ollama: OllamaFront, tmp_path: Path
) -> None:
    swarm = run(tmp_path, models(counted, ollama), workflow, GRAMMARS)
    assert [task.error for task in swarm.completed_tasks if task.error] == []
    assert swarm.state["phase"] == "complete"
    document = json.loads((tmp_path / "out/s/swarm_state_s.json").read_text())
    agents = document["metrics"].values()
    assert sum(agent["total_calls"] for agent in agents) == len(counted.calls) + len(ollama.calls)
    for key, name in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        server_s = getattr(counted.calls, name) + getattr(ollama.calls, name)
        assert sum(agent[key] for agent in agents) == server_s > 0


def test_a_document_without_a_fence_and_a_checklist_of_the_server_s_grammar(
    counted: CountingProxy, tmp_path: Path
) -> None:
    grammars = {"coder": DOCUMENT_GRAMMAR, "debugger": TEXT_GRAMMAR}
    settings = {
        "model_config": one_model(counted),
        "agent_parameters": parameters(grammars),
        "workflow": {"max_iterations": 1, "kind": "document"},
    }
    swarm = SwarmCoordinator(settings, data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")
    state = swarm.run_workflow("Say what P-101 is for", "full", session_id="s")
    assert state["phase"] == "complete"
    assert state["approved"] is False, "random words name no pump"
    text = (tmp_path / "out/s/generated_document.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert json.loads(state["tests"]["checks/checklist.json"])["items"]
    assert any("'P-101' stands in the request" in finding["problem"] for finding in state["findings"])


@pytest.mark.parametrize("workflow", ["standard", "full"])
def test_a_repository_gets_a_branch_of_what_a_random_model_writes(
    workflow: Workflow, counted: CountingProxy, tmp_path: Path
) -> None:
    repo = make_repository(tmp_path / "repo", {"src/tiny.py": "size = 3\n", "README.md": "# Tiny\n"})
    before = fingerprint(repo)
    settings = {
        "model_config": one_model(counted),
        "agent_parameters": parameters({**GRAMMARS, "documenter": NO_CHANGE_GRAMMAR}),
        "workflow": {"max_iterations": 2},
    }
    swarm = SwarmCoordinator(settings, data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out", repo=repo)
    state = swarm.run_workflow("Count to three", workflow, session_id="s")
    assert (state["phase"], state["approved"]) == ("complete", False)
    assert git(repo, "rev-parse", "swarm/s") == state["commits"][-1]
    assert "src/tiny.py" in git(repo, "diff", "--name-only", "main", "swarm/s")
    assert fingerprint(repo) == before


@pytest.mark.parametrize("models", [llama_only, ollama_only])
def test_killed_at_work_on_a_real_server_a_session_goes_on(
    models: Models, counted: CountingProxy, ollama: OllamaFront, tmp_path: Path
) -> None:
    counted.delay = ollama.delay = 0.3
    settings = {
        "model_config": models(counted, ollama),
        "agent_parameters": parameters(GRAMMARS),
        "workflow": {"max_iterations": 1},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    calls = ollama.calls if models is ollama_only else counted.calls
    arguments = ["run", "Count to three", "--workflow", "full", "--session", "s"]
    with warm.Process(*arguments, cwd=tmp_path) as process:
        while len(calls) < 5:  # two of three branches at work, or the third too
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    in_flight = calls.in_flight
    done = warm.run("resume", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["phase"] == "complete"
    asked = Counter(json.dumps(body) for body in calls.bodies)
    assert sum(times - 1 for times in asked.values()) <= max(in_flight, 3)
    assert max(asked.values()) <= 2
    assert all(asked[json.dumps(body)] == 1 for body in calls.bodies[:3]), "finished work was asked for again"


@pytest.mark.parametrize("models", [llama_only, ollama_only])
@pytest.mark.parametrize("workflow", ["standard", "full"])
def test_without_a_file_in_the_answer_the_coder_is_asked_twice_and_the_run_fails(
    models: Models, workflow: Workflow, counted: CountingProxy, ollama: OllamaFront, tmp_path: Path
) -> None:
    swarm = run(tmp_path, models(counted, ollama), workflow, {})
    assert swarm.state["phase"] == "failed"
    (failed,) = [task for task in swarm.completed_tasks if task.error]
    assert failed.error
    assert failed.error.startswith("coder: the coder's answer holds no file")
    assert swarm.get_metrics_summary()["agents"]["coder"]["total_calls"] == 2


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_the_server_never_sees_more_calls_at_once_than_the_cap(cap: int, counted: CountingProxy) -> None:
    counted.delay = 0.4
    settings = load_config(
        {
            "model_config": one_model(counted),
            "agent_parameters": {"reviewer": {"max_tokens": 40}},
            "workflow": {"max_parallel_agents": cap},
        }
    )
    build_graph("review_only", config=settings).invoke({"request": "x = 1"})
    assert counted.calls.most_in_flight == cap


def test_one_limiter_a_server_over_sessions_threads_and_event_loops(counted: CountingProxy) -> None:
    counted.delay = 0.2
    entry = {**one_model(counted)["single_model"], "slots": 3}
    settings = load_config(
        {
            "model_config": {"single_model": entry},
            "agent_parameters": {"reviewer": {"max_tokens": 20}},
        }
    )
    graph = build_graph("review_only", config=settings)

    async def several() -> None:
        in_threads = [asyncio.to_thread(lambda: graph.invoke({"request": "x = 1"})) for _ in range(2)]
        in_loop = [graph.ainvoke({"request": "x = 1"}) for _ in range(3)]
        await asyncio.gather(*in_threads, *in_loop)

    asyncio.run(several())
    assert counted.calls.most_in_flight == 3


def test_one_graph_over_several_event_loops_and_savers(counted: CountingProxy, tmp_path: Path) -> None:
    """HTTP clients belong to one event loop; a second asyncio.run must not meet those of the first."""
    settings = load_config(
        {
            "model_config": one_model(counted),
            "agent_parameters": {"reviewer": {"max_tokens": 20}},
        }
    )
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("review_only", config=settings, checkpointer=saver)
        for number in range(3):
            thread: Any = {"configurable": {"thread_id": str(number)}}
            asyncio.run(graph.ainvoke({"request": "x = 1"}, thread))
            assert graph.invoke(None, thread)["phase"] == "complete"


def test_a_context_that_is_too_small_is_a_clear_error(llama: Llama) -> None:
    settings = load_config({"model_config": {"single_model": {"url": llama.url, "model": "tiny"}}})
    with pytest.raises(ModelError, match="has a context of 32768 tokens, too small for this prompt of about"):
        build_graph("review_only", config=settings).invoke({"request": "x" * 200_000})


def test_an_unknown_model_is_a_clear_error(ollama: OllamaFront) -> None:
    settings = load_config(
        {"model_config": {"single_model": {"url": ollama.root, "model": "nosuch", "api_type": "ollama"}}}
    )
    with pytest.raises(ModelError, match=r"does not know this model or path .404: model 'nosuch' not found"):
        build_graph("review_only", config=settings).invoke({"request": "x = 1"})
