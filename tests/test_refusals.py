"""Optional fields of a request that a server refuses in whatever words: left out, remembered, and said."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.faults import REFUSALS, STATUSES, FaultyOllama, FaultyProxy, Plan
from servers.llama import Llama
from servers.ollama_front import OllamaFront

from swarm_graph.config import load_config
from swarm_graph.errors import ModelError
from swarm_graph.models.pool import ModelPool
from swarm_graph.models.request import FieldTrial, optional_fields, token_limit
from swarm_graph.settings import AgentParameters, ModelEntry
from swarm_graph.workflows.build import build_graph

SERVERS: dict[str, type[FaultyProxy] | type[FaultyOllama]] = {"openai": FaultyProxy, "ollama": FaultyOllama}
EXTRAS = {"stream_options", "seed", "top_p"}


def graph_of(server: FaultyProxy | OllamaFront, *, retries: int = 1, **parameters: Any) -> Any:
    api = "ollama" if isinstance(server, OllamaFront) else "openai"
    entry = {"url": server.url, "model": "tiny", "api_type": api, "retries": retries}
    config = {
        "model_config": {"single_model": entry},
        "agent_parameters": {"reviewer": {"max_tokens": 300, "seed": 3, **parameters}},
        "workflow": {"reviewers": ["style"]},
    }
    return build_graph("review_only", config=config)


def review(graph: Any) -> str:
    """The note of a review."""
    (record,) = graph.invoke({"request": "x = 1"})["tasks"].values()
    return str(record.get("note", ""))


def has_schema(body: dict[str, Any]) -> bool:
    return "response_format" in body or "format" in body


@pytest.mark.parametrize("api", SERVERS)
@pytest.mark.parametrize("fault", ["samplers", "vocabulary", "validation", "unsupported"])
def test_a_schema_that_is_refused_in_any_words_is_left_out_from_then_on(
    fault: str, api: str, llama: Llama
) -> None:
    with SERVERS[api](llama.root, Plan(fault)) as server:
        graph = graph_of(server)
        note = review(graph)
        first = [has_schema(body) for body in server.calls.bodies]
        refused = 2 if REFUSALS[fault][0] >= 500 else 1  # with one retry
        assert first[: refused + 1] == [True] * refused + [False]
        assert not any(first[refused:])
        assert f"asked without response_format, which {server.root} refuses" in note
        if api == "openai":
            assert all("seed" in body for body in server.calls.bodies), "only the schema is left out"
        review(graph)
        assert not any(has_schema(body) for body in server.calls.bodies[len(first) :]), "it is remembered"


def test_reasoning_that_is_refused_is_left_out_and_the_schema_comes_back(llama: Llama) -> None:
    with FaultyProxy(llama.root, Plan("no_reasoning")) as server:
        graph = graph_of(server, reasoning="low")
        note = review(graph)
        assert f"asked without reasoning_effort, which {server.root} refuses" in note
        assert "asked once without response_format to find that out" in note
        asked = len(server.calls)
        review(graph)
        later = server.calls.bodies[asked:]
        assert later
        assert all(has_schema(body) and "seed" in body for body in later)
        assert not any("reasoning_effort" in body for body in later)


def test_ollama_that_cannot_think_is_asked_without(ollama: OllamaFront) -> None:
    note = review(graph_of(ollama, reasoning=True))
    assert f"asked without think, which {ollama.root} refuses" in note
    assert [body.get("think") for body in ollama.calls.bodies] == [None]


@pytest.mark.parametrize("api", SERVERS)
@pytest.mark.parametrize("fault", ["bad_request", "broken"])
def test_another_error_keeps_its_message_and_blames_no_field(fault: str, api: str, llama: Llama) -> None:
    with SERVERS[api](llama.root, Plan(fault)) as server:
        graph = graph_of(server, reasoning="low" if api == "openai" else None)
        with pytest.raises(ModelError, match=re.escape(STATUSES[fault][1])):
            review(graph)
        failed = server.calls.bodies
        assert len(failed) <= 5
        server.plan.fault = ""
        assert "asked without" not in review(graph)
        assert server.calls.bodies[len(failed)].keys() == failed[0].keys(), "nothing is remembered"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_passing_error_blames_no_field(retries: int, llama: Llama) -> None:
    with FaultyProxy(llama.root, Plan("broken", times=1)) as server:
        assert review(graph_of(server, retries=retries)) == ""
        assert [has_schema(body) for body in server.calls.bodies] == [True, True]


def test_a_prompt_that_does_not_fit_is_said_at_once(llama: Llama) -> None:
    with FaultyProxy(llama.root, Plan("overflow")) as server:
        with pytest.raises(ModelError, match="too small a context"):
            review(graph_of(server))
        assert len(server.calls) == 1


def test_what_one_model_refuses_another_on_the_same_server_gets() -> None:
    pool = ModelPool(load_config({"model_config": {"single_model": {"model": "m", "api_type": "simulated"}}}))
    one, other = (ModelEntry(url="http://h/v1", model=name) for name in ("one", "other"))
    pool.mark_refused(one, "response_format")
    assert pool.refused_fields(one) == {"response_format"}
    assert not pool.refused_fields(other)


@given(
    st.lists(
        st.tuples(st.sampled_from([400, 422, 500, 501]), st.sampled_from(["", "seed", "grammar", "no"]))
    ),
    st.booleans(),
    st.sets(st.sampled_from(["response_format", "think", "reasoning_effort", *EXTRAS])),
)
def test_a_trial_ends_and_leaves_out_only_what_was_carried(
    refusals: list[tuple[int, str]], retried: bool, carried: set[str]
) -> None:
    trial, calls = FieldTrial(retried=retried), 0
    try:
        for calls, (status, words) in enumerate(refusals, start=1):  # noqa: B007
            trial.learn(ModelError("no", status=status, detail=words), carried - trial.left_out)
    except ModelError:
        assert calls <= len(carried) + 2
    assert calls <= len(carried) + 2
    assert trial.refused <= trial.left_out <= carried


def test_fields_of_the_user_are_not_optional() -> None:
    own = AgentParameters(seed=1, extra_body={"seed": 2, "top_p": 1}, reasoning=False)
    entry = ModelEntry(url="http://h/v1", model="m")
    assert optional_fields(entry, own, {}) == {"stream_options", "chat_template_kwargs"}


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "extra_body": {"max_completion_tokens": 9}}, 9),
        ({"max_tokens": 7, "extra_body": {"num_predict": -1}}, None),
        ({"extra_body": {"n_predict": 5, "grammar": "x"}}, 5),
    ],
)
def test_the_limit_of_an_answer(parameters: dict[str, Any], limit: int | None) -> None:
    assert token_limit(parameters) == limit
