"""Every fault of a model server, in both APIs, for plain, typed and streamed answers, as in docs/servers.md.

The server is a real llama.cpp behind a proxy that plays the fault on every call (`servers.faults`).
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from servers.faults import FAULTS as PLAYED
from servers.faults import REASONING, STATUSES, FaultyOllama, FaultyProxy, Plan
from servers.llama import Llama
from servers.odd_streams import ODD_STREAMS
from support import dead_port

from swarm_graph.errors import ModelError
from swarm_graph.workflows.build import build_graph

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "servers.md").read_text(encoding="utf-8")
SERVERS: dict[str, type[FaultyProxy] | type[FaultyOllama]] = {"OpenAI": FaultyProxy, "Ollama": FaultyOllama}
FAULTS = ("refused", *PLAYED)
ANSWERS = ("plain", "typed", "streamed")
CALLS = {
    "no": {1},
    "retries": {2},
    "repair": {1, 2},
    "until timeout": set(range(3, 20)),
    "without it": {5, 7},
    "in turn": {2, 3, 4},
    "retries, in turn": {3, 4, 5},
    "without schema": {1, 2, 3, 4},
    "without reasoning": {3, 4, 5},
    "without extras": {2, 3, 4, 5},
}
"""How many calls reach the server with one retry; a plain answer often needs no repair."""
LIMITS = {
    "silent": {"idle_timeout": 3},
    "early_stop_stall": {"idle_timeout": 3},
    "keep_alive": {"idle_timeout": 2},
    "only_comments": {"timeout": 2},
    "left_open_alive": {"idle_timeout": 3},
    "stall": {"idle_timeout": 3},
    "left_open": {"idle_timeout": 3},
    "loading": {"timeout": 4},
}
"""Limits that end a fault early. All other faults keep the default limits, so that load does not matter."""

UNCHANGED = ("prose", "fenced", "slow_first_token", "no_usage", "reasoning")


@dataclass
class Outcome:
    """The result of a session. `streamed`: the last attempt's text in the stream; `thoughts`: all in it."""

    answer: str = ""
    approved: bool | None = None
    note: str = ""
    error: str = ""
    streamed: str = ""
    thoughts: str = ""


def table() -> dict[tuple[str, str], tuple[str, str, str]]:
    """The page's table: the retries and the two outcomes by fault and API."""
    rows = {}
    for line in re.findall(r"^\| (\w+ \| (?:both|OpenAI|Ollama) \| .*) \|$", PAGE, re.MULTILINE):
        fault, api, *told = [cell.strip() for cell in line.split("|")]
        for one in SERVERS if api == "both" else (api,):
            rows[fault, one] = (told[0], told[1], told[2])
    return rows


TABLE = table()


def settings(server: FaultyProxy | FaultyOllama, **entry: Any) -> dict[str, Any]:
    api_type = "ollama" if isinstance(server, FaultyOllama) else "openai"
    limits = LIMITS.get(server.plan.fault, {})
    model = {"url": server.url, "model": "tiny", "api_type": api_type, "retries": 1, **limits, **entry}
    return {
        "model_config": {"single_model": model},
        "agent_parameters": {
            "reviewer": {"max_tokens": 400, "seed": 3, "top_p": 0.9, "reasoning": "low"}
            if api_type == "openai"
            else {"max_tokens": 400, "seed": 3},
            "architect": {"max_tokens": 400, "seed": 3, "top_p": 0.9, "reasoning": "low"}
            if api_type == "openai"
            else {"max_tokens": 400, "seed": 3},
        },
        "workflow": {"reviewers": ["style"]},
    }


def session(kind: str, config: dict[str, Any]) -> Outcome:
    """Run a session with one answer: a reviewer's (typed) or an architect's (plain and streamed)."""
    outcome = Outcome()
    try:
        if kind == "typed":
            state = build_graph("review_only", config=config).invoke({"request": "x = 1"})
            (record,) = state["tasks"].values()
            (review,) = state["reviews"]
            outcome.approved, outcome.note = review["approved"], record.get("note", "")
            outcome.answer = str(review["findings"])
            return outcome
        graph = build_graph("custom", config=config)
        given = {"tasks": [{"task_id": "t", "description": "Design it", "assigned_role": "architect"}]}
        texts: dict[int, str] = {}
        for mode, part in graph.stream(given, stream_mode=["messages", "values"]):
            if mode == "messages":
                token, metadata = part
                texts[metadata["attempt"]] = texts.get(metadata["attempt"], "") + token.text
                outcome.thoughts += token.additional_kwargs.get("reasoning_content", "")
            else:
                state = part
        record = state["tasks"]["t"]
        outcome.answer, outcome.note = record["result"], record.get("note", "")
        outcome.streamed = texts[max(texts)]
    except ModelError as error:
        outcome.error = str(error).partition("\n")[0]
    return outcome


@pytest.mark.parametrize("api", SERVERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_page_says_what_happens(fault: str, api: str, llama: Llama) -> None:
    again, plain, typed = TABLE[fault, api]
    expected = {"plain": plain, "typed": typed, "streamed": plain}

    def cell(kind: str) -> tuple[Outcome, int]:
        with SERVERS[api](llama.root, Plan(fault)) as server:
            refused = {"url": f"http://127.0.0.1:{dead_port()}/v1"} if fault == "refused" else {}
            outcome = session(kind, settings(server, **refused))
            return outcome, len(server.calls)

    with ThreadPoolExecutor(len(ANSWERS)) as threads:
        cells = dict(zip(ANSWERS, threads.map(cell, ANSWERS), strict=True))
    for kind, (outcome, calls) in cells.items():
        told = expected[kind]
        if told.startswith("fails: "):
            assert told.removeprefix("fails: ") in outcome.error, kind
            assert outcome.error.count(";") >= 1, "it says what to do"
        elif told == "no approval":
            assert (outcome.error, outcome.approved) == ("", None), kind
            assert "unreadable: " in outcome.note
        else:
            assert outcome.error == "", kind
            assert outcome.answer, kind
            assert outcome.approved is not None or kind != "typed"
        assert calls in ({0} if fault == "refused" else CALLS[again]), kind
    taken = cells["streamed"][0]
    if plain == "taken" and fault in (*ODD_STREAMS, *UNCHANGED):
        assert taken.streamed.strip() == taken.answer.strip()
    assert (taken.thoughts == REASONING) == (fault == "reasoning")
    if fault == "think":
        assert "<think>" not in taken.answer


@pytest.mark.parametrize("words", ["string", "text"])
@pytest.mark.parametrize("fault", ["refuse_fields", "loading", "overflow", "unauthorized", "error_inside"])
def test_what_a_server_says_is_found_however_it_says_it(
    fault: str, words: Literal["string", "text"], llama: Llama
) -> None:
    again, plain, _ = TABLE[fault, "OpenAI"]
    with FaultyProxy(llama.root, Plan(fault, words=words)) as server:
        outcome = session("plain", settings(server))
        assert len(server.calls) in CALLS[again]
    assert bool(outcome.answer) == (plain == "taken")
    assert plain.removeprefix("fails: ").replace("taken", "") in outcome.error


@pytest.mark.parametrize("location", ["http://127.0.0.1:1/?key=SECRET-9", "/v1"])
def test_a_redirect_that_repeats_the_key_does_not_show_it(
    location: str, llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "SECRET-9")
    monkeypatch.setitem(STATUSES, "redirect", (307, "moved", {"Location": location}))
    with FaultyProxy(llama.root, Plan("redirect")) as server:
        outcome = session("plain", settings(server, api_key_env="OWN_KEY"))
    assert f"redirects to {location.replace('SECRET-9', '***')} (307)" in outcome.error


@pytest.mark.parametrize("api", SERVERS)
def test_an_error_in_a_stream_that_repeats_the_key_does_not_show_it(
    api: str, llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "SECRET-9")
    monkeypatch.setitem(ODD_STREAMS, "error_first", lambda api, _: iter([api.error("SECRET-9 has no money")]))
    with SERVERS[api](llama.root, Plan("error_first")) as server:
        outcome = session("plain", settings(server, api_key_env="OWN_KEY"))
    assert "broke off: *** has no money" in outcome.error


def test_what_a_server_says_cannot_move_the_cursor(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATUSES, "bad_request", (400, "bad\x1b[2J\u202e\x00 thing", {}))
    with FaultyProxy(llama.root, Plan("bad_request")) as server:
        outcome = session("plain", settings(server))
    assert "answered 400: error: bad[2J thing;" in outcome.error


def test_the_page_has_every_fault() -> None:
    assert set(TABLE) == {(fault, api) for fault in FAULTS for api in SERVERS}
