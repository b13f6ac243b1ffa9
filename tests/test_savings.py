"""Where tokens went and what they bought, against sessions of which each call is known."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import APPROVED, Crew, Script, config

from swarm_graph import SwarmCoordinator, SwarmManager
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import InputError
from swarm_graph.models.ask import Ask
from swarm_graph.reports.savings import Savings
from swarm_graph.reports.savings_report import savings
from swarm_graph.state import WorkflowName

Answer = Callable[[Ask], str]


def refusal(place: str, problem: str) -> str:
    finding = {"severity": "major", "location": place, "problem": problem, "suggestion": ""}
    return json.dumps({"findings": [finding], "approved": False})


def code(*texts: str) -> Answer:
    return lambda ask: f"```python path=src/a.py\nx = '{texts[ask.iteration - 1]}'\n```"


def by_round(*answers: str) -> Answer:
    return lambda ask: answers[ask.iteration - 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session that ends in its last round; one that changes nothing; one review; one trial."""
    folder = tmp_path_factory.mktemp("savings")
    review = {"reviewers": {"standard": ["correctness", "style"]}, "max_iterations": 3}

    def run(session: str, workflow: WorkflowName, script: Script) -> None:
        SwarmCoordinator(
            config(workflow=review), data_dir=folder, output_dir=folder / "out", context=Crew(script).context
        ).run_workflow("Build it", workflow, session_id=session)

    run(
        "useful",
        "standard",
        {
            "coder": code("a", "b", "c"),
            "review_correctness": by_round(refusal("src/a.py:1", "It fails."), APPROVED, APPROVED),
            "review_style": by_round(
                refusal("src/a.py:1", "A poor name."), refusal("src/a.py:9", "A long line."), APPROVED
            ),
        },
    )
    run(
        "stuck",
        "full",
        {
            "coder": code("a", "a"),
            "reviewer": by_round(*[refusal("src/a.py:1", "It fails.")] * 2),
            "security": by_round(APPROVED, APPROVED),
        },
    )
    run("trial", "single", {"coder": code("a")})
    with closing(sqlite3.connect(folder / "swarm.db")) as database, database:
        database.execute("UPDATE sessions SET experiment = 'e1' WHERE session = 'trial'")
    return folder


@pytest.fixture
def manager(folder: Path) -> SwarmManager:
    return SwarmManager(folder / "out", data_dir=folder)


def tokens(folder: Path, where: str) -> int:
    query = f"SELECT sum(input_tokens + output_tokens) FROM calls WHERE session != 'trial' AND ({where})"
    with closing(sqlite3.connect(folder / "swarm.db")) as database:
        (total,) = database.execute(query).fetchone()
    return int(total)


def bought(figures: Savings) -> dict[str, tuple[int, int | None, int | None]]:
    return {
        one.what: (one.count, one.of, one.spent.tokens if one.spent else None) for one in figures.purchases
    }


def test_roles_are_charged_with_their_calls_and_trials_are_left_out(
    manager: SwarmManager, folder: Path
) -> None:
    report = manager.savings()
    assert (len(report.measured.sessions), len(report.simulated.sessions), report.left_out) == (0, 2, 1)
    roles = report.simulated.roles
    assert {role: spent.tokens for role, spent in roles.items()} == {
        role: tokens(folder, f"role = '{role}'") for role in roles
    }
    assert report.simulated.spent.tokens == tokens(folder, "1")
    assert [*roles] == sorted(roles, key=lambda role: -roles[role].tokens)


def test_what_calls_bought(manager: SwarmManager, folder: Path) -> None:
    found = bought(manager.savings().simulated)
    in_vain = "session = 'stuck' AND iteration = 2 AND role IN ('coder', 'reviewer', 'security', 'tester')"
    nothing = (
        "session = 'useful' AND (iteration = 3 AND role = 'reviewer' OR iteration = 2 AND "
        "node = 'review_correctness') OR session = 'stuck' AND role = 'security'"
    )
    assert found == {
        "rounds that changed nothing": (1, 3, tokens(folder, in_vain)),
        "diagnoses after which nothing changed": (1, 1, tokens(folder, "role = 'debugger'")),
        "reviews that found nothing": (5, 10, tokens(folder, nothing)),
        "findings that another reviewer had": (2, 5, None),
        "findings that were there a round later": (1, 4, None),
        "proposals of the optimizer, never applied": (1, None, tokens(folder, "role = 'optimizer'")),
    }


def test_reviewers_and_what_the_swarm_would_have_lost_without_them(
    manager: SwarmManager, folder: Path
) -> None:
    figures = manager.savings("useful").simulated
    style, correctness = sorted(figures.reviewers, key=lambda one: -one.own)
    assert (style.node, style.reviews, style.empty, style.findings, style.own, style.sole) == (
        "review_style", 3, 1, 2, 1, 1,
    )  # fmt: skip
    assert (correctness.reviews, correctness.empty, correctness.findings, correctness.own) == (3, 2, 1, 0)
    lines = {one.name: one for one in figures.alternatives}
    assert lines["without review_style"].saves.tokens == tokens(folder, "node = 'review_style'")
    lost = "1 finding that only it had, 1 of them critical or major; 1 round that it alone did not approve"
    assert lines["without review_style"].loses == lost
    line = lines["without review_style"].line(figures.spent)
    assert line.endswith(f"; assumes that the other calls stay the same; loses {lost}")


def test_a_round_less_and_a_single_call(manager: SwarmManager, folder: Path) -> None:
    figures = manager.savings().simulated
    shorter, single = figures.alternatives[-2:]
    assert shorter.name == "max_iterations one less (1 session with all rounds used)"
    last = tokens(folder, "session = 'useful' AND iteration = 3 AND role IN ('coder', 'reviewer')")
    assert shorter.saves.tokens == last
    assert shorter.loses.startswith("1 approval and 0 first passes")
    assert single.name == "workflow single (2 sessions)"
    assert single.saves.tokens == tokens(folder, "NOT (role = 'coder' AND iteration = 1)")
    assert single.loses == "1 approval, as single has no verdict"


def test_simulated_sessions_stand_apart_and_prices_are_recomputed(folder: Path, tmp_path: Path) -> None:
    models = {
        "multi_model": {
            "coder": {"model": "big", "prices": {"input": 10, "output": 30}},
            "default": {"model": "small", "prices": {"input": 1, "output": 2}},
        }
    }
    with (
        closing(sqlite3.connect(folder / "swarm.db")) as source,
        closing(sqlite3.connect(tmp_path / "swarm.db")) as copy,
    ):
        source.backup(copy)
        copy.execute(
            "UPDATE sessions SET simulated = 0, config = json_set(config, '$.model_config', json(?)) "
            "WHERE session = 'useful'",
            (json.dumps(models),),
        )
        copy.execute(
            "UPDATE calls SET server = 'http://127.0.0.1', cost = (10.0 * input_tokens + 30 * output_tokens) "
            "/ 1e6, prompt_tokens_evaluated = input_tokens - 5 WHERE session = 'useful'"
        )
        copy.commit()
    report = SwarmManager(data_dir=tmp_path).savings()
    assert [one.row.session for one in report.measured.sessions] == ["useful"]
    assert [one.row.session for one in report.simulated.sessions] == ["stuck"]
    spent = report.measured.spent
    cheaper = report.measured.alternatives[-1]
    assert cheaper.name == "all calls at the prices of small"
    assert cheaper.saves.cost == pytest.approx((9 * spent.input_tokens + 28 * spent.output_tokens) / 1e6)
    assert bought(report.measured)["prompt tokens that a server had cached"][:2] == (
        5 * spent.calls,
        spent.input_tokens,
    )
    text = report.text()
    assert text.index("Measured: 1 session") < text.index("SIMULATED: 1 session")
    assert "none of them says so" in text[text.index("SIMULATED") :]


def test_a_follow_up_has_rounds_of_its_own(tmp_path: Path) -> None:
    for follow_up in (False, True):
        crew = Crew({"coder": code("a", "b"), "review_style": by_round(refusal("x", "y"), APPROVED)})
        SwarmCoordinator(
            config(), data_dir=tmp_path, output_dir=tmp_path / "out", context=crew.context
        ).run_workflow("Build it", session_id="s", follow_up=follow_up)
    figures = SwarmManager(data_dir=tmp_path).savings().simulated
    assert figures.spent.calls == tokens_of_calls(tmp_path)
    assert {one.node: one.reviews for one in figures.reviewers}["review_style"] == 2
    style = next(one for one in figures.reviewers if one.node == "review_style")
    assert style.spent.calls == 2


def tokens_of_calls(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "swarm.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM calls").fetchone()
    return int(count)


def test_what_cannot_be_read_is_said(folder: Path, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "swarm.db")) as source,
        closing(sqlite3.connect(tmp_path / "swarm.db")) as copy,
    ):
        source.backup(copy)
        copy.execute(
            "UPDATE channel_values SET type = 'pickle' WHERE channel = 'reviews' AND thread_id = 'stuck'"
        )
        copy.execute(
            "UPDATE channel_values SET value = x'81a161' WHERE channel = 'codes' AND thread_id = 'useful'"
        )
        copy.execute("UPDATE sessions SET config = '[[' WHERE session = 'stuck'")
        copy.commit()
    figures = SwarmManager(data_dir=tmp_path).savings().simulated
    assert figures.spent.tokens == tokens(folder, "1")
    assert "The rounds of 2 sessions: their checkpoints cannot be read." in figures.unknown
    assert not figures.reviewers


def swarm(folder: Path, *arguments: str) -> Result:
    command = ["sessions", "report", "--savings", *arguments, "--data-dir", str(folder)]
    return CliRunner().invoke(swarm_graph, command, catch_exceptions=False)


def test_the_report_is_printed_in_80_columns_or_written(
    manager: SwarmManager, folder: Path, tmp_path: Path
) -> None:
    printed = swarm(folder).output
    assert max(map(len, printed.splitlines())) <= 80
    for words in ("SIMULATED: 2 sessions", "1 session of experiments left out", "do not add them up"):
        assert words in " ".join(printed.split())
    assert "review_style" not in swarm(folder, "--session", "stuck").output
    page, text = tmp_path / "s.html", tmp_path / "s.txt"
    swarm(folder, str(page), "--html")
    swarm(folder, str(text))
    assert text.read_text().splitlines()[2:] == printed.splitlines()[2:]
    html = page.read_text()
    assert "<script" not in html
    assert "saves" in html
    assert json.dumps(manager.savings().to_dict())
    assert "<table" in manager.savings()._repr_html_()
    with pytest.raises(InputError, match="--html writes HTML"):
        swarm(folder, "s.txt", "--html")
    with pytest.raises(InputError, match="no session 'none'"):
        swarm(folder, "--session", "none")


def test_more_sessions_need_no_more_queries(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "fewer").mkdir()
    counts = []
    for place, removed in ((folder, ""), (tmp_path / "fewer", "useful")):
        if removed:
            with (
                closing(sqlite3.connect(folder / "swarm.db")) as source,
                closing(sqlite3.connect(place / "swarm.db")) as copy,
            ):
                source.backup(copy)
                copy.execute("DELETE FROM sessions WHERE session = ?", (removed,))
                copy.commit()
        queries: list[str] = []
        with open_checkpointer(place / "swarm.db") as saver:
            saver.conn.set_trace_callback(queries.append)
            assert savings(saver).simulated.sessions
            saver.conn.set_trace_callback(None)
        counts.append(sum("SELECT" in query for query in queries))
    assert counts[0] == counts[1] > 0


def test_trials_alone_are_no_sessions(folder: Path, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(folder / "swarm.db")) as source,
        closing(sqlite3.connect(tmp_path / "swarm.db")) as copy,
    ):
        source.backup(copy)
        copy.execute("UPDATE sessions SET experiment = 'e1'")
        copy.commit()
    assert swarm(tmp_path).output.endswith("No session spent anything.\n")


def test_candidates_that_lose_are_counted_by_their_calls(tmp_path: Path) -> None:
    crew = Crew({f"coder_{number}": code("a", "b") for number in (1, 2, 3)} | {
        "review_style": by_round(refusal("src/a.py:1", "A poor name."), APPROVED),
    })  # fmt: skip
    given = config(workflow={"candidates": 3, "reviewers": {"standard": ["style"]}})
    SwarmCoordinator(
        given, data_dir=tmp_path, output_dir=tmp_path / "out", context=crew.context
    ).run_workflow("Build it", session_id="s")
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as database:
        rows = database.execute(
            "SELECT iteration, node, sum(input_tokens + output_tokens) FROM calls GROUP BY 1, 2"
        ).fetchall()
    spent = {(iteration, node): total for iteration, node, total in rows}
    figures = SwarmManager(data_dir=tmp_path).savings().simulated
    (past,) = figures.sessions
    assert past.chosen
    assert past.chosen["iteration"] == 2
    lost = [spent[2, f"coder_{number}"] for number in (1, 2, 3) if number != past.chosen["number"]]
    assert bought(figures)["candidates that were not chosen, last round"] == (2, 3, sum(lost))
    assert "Which candidate 1 round chose: the last choice is kept." in figures.unknown
    lines = {one.name: one for one in figures.alternatives}
    others = sum(total for (_, node), total in spent.items() if node in ("coder_2", "coder_3"))
    assert lines["candidates: 1 (1 session with several)"].saves.tokens == others
    kept = spent[1, "coder_1"]
    assert lines["workflow single (1 session)"].saves.tokens == sum(spent.values()) - kept
