"""`doctor --measure`: tiny calls to real servers, and the proposed settings."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from servers.counting_proxy import CountingProxy
from servers.faults import FaultyOllama, FaultyProxy, Plan
from servers.llama import Llama, running_llama
from support import SIMULATED, dead_port, write_config

from swarm_graph.cli.models import models
from swarm_graph.cli.setup import doctor
from swarm_graph.config import load_config
from swarm_graph.setup.checks import Check
from swarm_graph.setup.measure import FanOut, Measurement, _checks, measure


def measured(url: str, **entry: Any) -> list[Check]:
    settings = {"model_config": {"single_model": {"url": url, "model": "tiny", **entry}}}
    return asyncio.run(measure(load_config(settings, environ={})))


def told(checks: list[Check]) -> str:
    return "\n".join(f"{check.text} → {check.cure}" for check in checks)


def test_a_real_server_is_measured(llama: Llama) -> None:
    with CountingProxy(llama.root) as proxy:
        checks = measured(proxy.url)
        assert len(proxy.calls) >= 1 + 1 + 2 + 1
        assert {body["max_tokens"] for body in proxy.calls.bodies} == {64, 512, 1024}
        assert sum("tools" in body for body in proxy.calls.bodies) >= 1
        assert [body.get("id_slot") for body in proxy.calls.bodies].count(0) == 5
    text = told(checks)
    assert "tokens per second: " in text
    assert " with 1 at once, " in text
    assert "calls at once are worth it" in text or "it seems busy" in text
    assert "a JSON schema binds its answers" in text
    assert (
        'calls of a tool: by its server\'s API 0 of 2, as a bound action 2 of 2; "tool_calls": "action"'
        in text
    )
    assert {check.name for check in checks} == {"measured tiny"}


@pytest.mark.parametrize("kind", [FaultyProxy, FaultyOllama])
def test_what_a_server_lacks_is_told(kind: type[FaultyProxy] | type[FaultyOllama], llama: Llama) -> None:
    api_type = "ollama" if kind is FaultyOllama else "openai"
    with kind(llama.root, Plan("no_usage")) as server:
        assert "its server counts no tokens" in told(measured(server.url, api_type=api_type))
    with kind(llama.root, Plan("odd_usage")) as server:
        assert "its server counts no tokens" in told(measured(server.url, api_type=api_type))
    with kind(llama.root, Plan("no_end")) as server:
        (check,) = measured(server.url, api_type=api_type)
        assert (check.ok, "cut the answer off before its end" in check.text) == (False, True)
    with kind(llama.root, Plan("only_thoughts")) as server:
        text = told(measured(server.url, api_type=api_type))
        assert "it thinks before it answers" in text
        assert "unknown whether a JSON schema binds its answers" in text
    with kind(llama.root, Plan("ignore_format")) as server:
        assert "a JSON schema does not bind its answers" in told(measured(server.url, api_type=api_type))


def test_one_slot_that_is_slow_gets_one_call_and_more_time(tmp_path: Path) -> None:
    with (
        running_llama(tmp_path, slots=1) as narrow,
        CountingProxy(narrow.root, delay=0.2) as proxy,
    ):
        text = told(measured(proxy.url, slots=4, timeout=4))
    if "it seems busy" not in text:
        assert 'set "timeout": ' in text
        assert 'set "slots": 1' in text


def test_calls_that_bring_nothing_more_are_not_proposed() -> None:
    assert Measurement(None, 4, {1: 100.0, 2: 190.0, 4: 200.0}).best == 2
    assert Measurement(None, 4, {1: 100.0, 2: 101.0}).best == 1
    assert Measurement(None, 4, {1: 100.0, 2: 200.0, 4: 390.0}).best == 4


def test_a_first_call_that_waits_longer_has_loaded_the_model() -> None:
    assert Measurement(None, 1, loading_s=9.0, first_token_s=1.0).load_s == 8.0
    assert Measurement(None, 1, loading_s=1.9, first_token_s=1.0).load_s is None
    assert Measurement(None, 1, loading_s=0.4, first_token_s=0.01).load_s is None


def test_what_doctor_measures_is_kept_for_the_choice_of_models(llama: Llama, tmp_path: Path) -> None:
    config = write_config(tmp_path, model_config={"single_model": {"url": llama.url, "model": "tiny"}})
    options = ["--config", str(config), "--data-dir", str(tmp_path)]
    done = CliRunner().invoke(doctor, [*options, "--output", str(tmp_path), "--measure"])
    shown = CliRunner().invoke(models, [*options, "--json"])
    (rate, *others) = {row["tokens_per_s"] for row in json.loads(shown.stdout)["rows"]}
    assert not others
    assert (rate is None) == ("it seems busy" in done.stdout)


@pytest.mark.parametrize(
    ("measurement", "doubt"),
    [
        (Measurement(None, 4, {1: 1.0, 2: 15.0}), "2 calls at once were more than twice as fast as 1"),
        (Measurement(None, 4, repeats={2: [3.0, 9.0]}), "equal calls gave 3 and 9 tokens per second"),
        (
            Measurement(None, 4, first_token_s=16.0, token_s=0.1),
            "the first token of a tiny call took 16 s",
        ),
        (Measurement(None, 4, {1: 4.0, 2: 8.5}, repeats={1: [3.0, 4.0]}), ""),
        (Measurement(None, 4, {1: 400.0, 2: 1000.0}, repeats={1: [100.0, 400.0]}), ""),  # too short to say
        (Measurement(None, 4, first_token_s=16.0, token_s=0.5), ""),  # slow, not busy
    ],
)
def test_a_busy_server_is_doubted(measurement: Measurement, doubt: str) -> None:
    assert measurement.doubt == doubt


def test_figures_in_doubt_propose_nothing(llama: Llama) -> None:
    config = load_config({"url": llama.url, "model": "tiny", "api_type": "openai"}, environ={})
    busy = Measurement(None, 4, {1: 1.0, 2: 15.0}, first_token_s=15.99, token_s=0.1)
    first, *others = _checks(config, config.entries[0], busy)
    assert (first.ok, "it seems busy: 2 calls at once" in first.text) == (None, True)
    assert first.cure.startswith("measure again when nothing else uses it")
    assert not any('set "' in check.cure for check in others)


@pytest.mark.parametrize(
    ("all_slots", "one_slot", "now", "cure"),
    [
        (3.0, 1.0, False, 'set "slot_per_session": true'),
        (3.0, 1.0, True, ""),
        (1.0, 3.0, True, 'set "slot_per_session": false'),
        (1.0, 3.0, False, ""),
        (1.0, 1.1, True, ""),
        (1.1, 1.0, False, ""),
    ],
)
def test_one_slot_for_a_session_is_proposed_where_it_was_faster(
    all_slots: float, one_slot: float, now: bool, cure: str, llama: Llama
) -> None:
    config = load_config({"url": llama.url, "model": "tiny", "api_type": "openai"}, environ={})
    entry = config.entries[0].model_copy(update={"slot_per_session": now})
    found = Measurement(None, 4, {1: 50.0}, fan_out=FanOut(all_slots, one_slot))
    (check,) = (check for check in _checks(config, entry, found) if "begin alike" in check.text)
    assert check.text == f"4 calls that begin alike: {all_slots} s on all slots, {one_slot} s on one"
    assert check.cure == cure


def test_the_command_adds_what_it_measured(llama: Llama, tmp_path: Path) -> None:
    path = write_config(tmp_path, model_config={"single_model": {"url": llama.url, "model": "tiny"}})
    folders = ["--data-dir", str(tmp_path / "d"), "--output", str(tmp_path / "o")]
    done = CliRunner().invoke(doctor, ["--config", str(path), "--measure", *folders])
    assert done.exit_code == 0
    assert "measured tiny: tokens per second: " in done.stdout
    path = write_config(tmp_path, **SIMULATED)
    done = CliRunner().invoke(doctor, ["--config", str(path), "--measure", *folders])
    assert "every model is simulated; there is nothing to measure" in done.stdout


def test_a_dead_server_is_one_failed_check() -> None:
    (check,) = measured(f"http://127.0.0.1:{dead_port()}/v1")
    assert check.ok is False
    assert "cannot be reached" in check.text
    assert "is the server running at" in check.cure
