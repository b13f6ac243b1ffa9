"""What people read stays short: loops of a model, long lists, settings, rates and costs that mean nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import APPROVED, REFUSED, Crew, config

from swarm_graph import SwarmCoordinator, SwarmManager
from swarm_graph.cli.main import swarm_graph
from swarm_graph.config import settings_in_words
from swarm_graph.reports.terminal import session_text
from swarm_graph.roles.findings import finding_line
from swarm_graph.state import Finding
from swarm_graph.text import shortened, without_loops

LOOPS = {
    "is_even returns the wrong value. " * 40: "is_even returns the wrong value. … repeated 40 times ",
    "Look:\n" + "x = 1\n" * 40 + "end": "Look:\nx = 1 … repeated 40 times\nend",
    "a b\nc\n" * 30 + "a b": "a b\nc … repeated 30 times\na b",
    "no " * 16 + "yes": "no … repeated 16 times yes",
    "fix" * 50: "fix … repeated 50 times",
}
PLAIN = ["", "one", "very very very very good", "-" * 70, "a fine text.\n\nWith lines.", "1 2 3 " * 3]


@pytest.mark.parametrize("text", LOOPS)
def test_what_a_model_repeats_over_and_over_stands_once(text: str) -> None:
    assert without_loops(text) == LOOPS[text]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert without_loops(text) == text


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("x" * 1500, 3) == "xxx… (1,500 characters in all)"
    assert shortened("xyz", 3) == "xyz"


def finding(**fields: Any) -> Finding:
    empty = Finding(severity="major", location="", problem="", suggestion="", seen_by=[])
    return Finding(**{**empty, **fields})  # type: ignore[typeddict-item]


def test_a_finding_without_a_place_or_a_problem_reads_well() -> None:
    assert finding_line(finding(problem="is_even is wrong")) == "[major] is_even is wrong"
    assert finding_line(finding(location="a.py:3")) == "[major] a.py:3"
    assert finding_line(finding(location="a.py:3", problem="wrong")) == "[major] a.py:3 — wrong"
    for problem in ("wrong", "wrong."):
        line = finding_line(finding(problem=problem, suggestion="Mend it."))
        assert line == "[major] wrong. Suggestion: Mend it."
    assert finding_line(finding(problem="Wrong", suggestion="wrong.")) == "[major] Wrong"


def test_a_finding_in_a_loop_is_short() -> None:
    looping = finding(problem="The value is wrong. " * 50, suggestion="word " * 400 + "end")
    assert finding_line(looping) == (
        "[major] The value is wrong. … repeated 50 times. Suggestion: word … repeated 400 times end"
    )
    long = finding(problem=" ".join(map(str, range(500))))
    assert finding_line(long, 20) == "[major] 0 1 2 3 4 5 6 7 8 9… (1,889 characters in all)"


def test_settings_that_differ_are_said_in_words() -> None:
    models = [
        f"model_config.multi_model.{role}.{name}" for role in ("coder", "tester") for name in ("url", "model")
    ]
    others = [
        "model_config.multi_model.a.b.url",
        "agent_parameters.coder.max_tokens",
        "limits.max_calls",
        "prompts_dir",
    ]
    assert settings_in_words([*models, *others]) == (
        "the models of coder, tester, a (url, model, b.url); the parameters of coder (max_tokens); "
        "limits (max_calls); the prompts"
    )
    single = [
        f"model_config.single_model.{name}" for name in ("url", "model", "api_type", "timeout", "retries")
    ]
    assert settings_in_words(["model_config.mode", *single]) == (
        "the models (mode); the model (url, model, api_type and 2 more)"
    )
    tools = ["tools.coder", "tools.tester", "tool_limits.calls", "mcp_servers.time.env.TZ", "mcp_servers.git"]
    assert settings_in_words([*tools, "approve"]) == (
        "the tools of coder, tester; tool_limits (calls); the MCP servers time, git (env.TZ); approve"
    )
    memory = [
        "memory.recall.coder",
        "memory.recall.tester",
        "memory.embeddings.url",
        "memory.embeddings.model",
    ]
    assert settings_in_words([*memory, "memory.vector_store.path", "memory.remember"]) == (
        "what is recalled by coder, tester; the embedding model (url, model); the vector store (path); "
        "memory (remember)"
    )
    assert settings_in_words(["what it recorded cannot be read"]) == "what it recorded cannot be read"


def run(folder: Path, name: str, *, prices: bool = False, **script: Any) -> SwarmCoordinator:
    settings = config(workflow={"max_iterations": 1})
    if prices:
        model = {
            **settings.models.model_dump(mode="json")["single_model"],
            "prices": {"input": 1, "output": 2},
        }
        settings = config(workflow={"max_iterations": 1}, model_config={"single_model": model})
    coordinator = SwarmCoordinator(
        settings, data_dir=folder / ".swarm", output_dir=folder / "out", context=Crew(script).context
    )
    coordinator.run_workflow("Build it", session_id=name)
    return coordinator


def cli(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(swarm_graph, ["sessions", *arguments, "--data-dir", str(folder / ".swarm")])


def test_the_list_of_sessions_has_verdicts(tmp_path: Path) -> None:
    run(tmp_path, "good", reviewer=APPROVED)
    run(tmp_path, "bad", reviewer=REFUSED)
    run(tmp_path, "broken", coder=ValueError("no"))
    rows = json.loads(cli(tmp_path, "list", "--json").stdout)
    assert {row["session"]: row["verdict"] for row in rows} == {
        "good": "approved", "bad": "not approved", "broken": "",
    }  # fmt: skip


def test_a_comparison_names_the_files_and_shows_their_differences_on_request(tmp_path: Path) -> None:
    run(tmp_path, "one")
    run(tmp_path, "two", coder="```python path=src/a.py\n" + "y = 2\n" * 300 + "```")
    short, whole = cli(tmp_path, "compare", "one", "two"), cli(tmp_path, "compare", "one", "two", "--diff")
    assert "Files from one to two: 1 changed: src/a.py (+300 -1)\n" in short.stdout
    assert short.stdout.count("\n") < 40
    assert "--diff shows how the files differ" in short.stderr
    assert whole.stdout.count("\n+y = 2") == 300
    assert "--diff" not in whole.stderr
    manager = SwarmManager(data_dir=tmp_path / ".swarm")
    assert manager.compare_sessions("one", "two").changes == {"two": {"src/a.py": (300, 1)}}


def test_figures_that_mean_nothing_are_left_out(tmp_path: Path) -> None:
    shown = run(tmp_path, "one")._repr_html_()
    run(tmp_path, "two")
    manager = SwarmManager(data_dir=tmp_path / ".swarm")
    overview = manager.generate_report(tmp_path / "report.txt")
    manager.generate_report(tmp_path / "report.html")
    manager.session_report("one", tmp_path / "one.html")
    texts = [
        shown,
        overview.text(),
        cli(tmp_path, "show", "one").stdout,
        cli(tmp_path, "compare", "one", "two").stdout,
        manager.analyze_session("one", quiet=True)._repr_html_(),
        (tmp_path / "one.html").read_text().partition("<h2>Calls</h2>")[0],  # prompts speak of costs
        (tmp_path / "report.html").read_text(),
    ]
    for text in texts:
        assert "reviewer" in text or "open findings" in text
        assert "simulated" in text.lower()
        for meaningless in ("tokens/s", "tokens per second", "cost"):
            assert meaningless not in text
    figures = manager.analyze_session("one", quiet=True).figures()
    assert {"tokens_per_second", "cost"} <= figures.keys(), "the JSON keeps them"


def test_a_cost_is_shown_where_there_are_prices(tmp_path: Path) -> None:
    run(tmp_path, "one", prices=True)
    assert "cost" in cli(tmp_path, "show", "one").stdout


def test_a_batch_names_its_folder_and_counts(tmp_path: Path) -> None:
    crew = Crew({"documenter": lambda ask: ValueError("broken") if ask.node == "t3" else "Fine."})
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out", context=crew.context
    )
    for number in range(50):
        coordinator.add_task({"task_id": f"t{number}", "assigned_role": "documenter"})
    coordinator.run_workflow("", "custom", session_id="b")
    text = session_text(coordinator, "swarm-graph")
    assert "Session b (custom): failed: 50 tasks, 49 completed, 1 failed" in text
    assert "  t3 failed: " in text
    assert "results.csv, results.jsonl, swarm_state_b.json, results/ (49 files)\n" in text
    assert text.count("\n") < 10
    account = cli(tmp_path, "show", "b").stdout
    assert re.search(r"\nt3 +failed +round 1 +.*broken", account)
    assert "… and 49 of 50 tasks more, 49 completed\n" in account
    assert account.count("\n") < 20


def test_a_coordinator_without_a_session_says_so(tmp_path: Path) -> None:
    assert "No session yet" in SwarmCoordinator(config(), data_dir=tmp_path)._repr_html_()
