"""A/B tests: pairs, looks without peeking, resume, the verdict and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import warm
from support import SIMULATED, sandbox

from swarm_graph import AbResult, compare_configs
from swarm_graph.checkpoints.experiments import Experiments, TrialRow
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import ConfigError, InputError, StorageError
from swarm_graph.settings import SessionLimits

LONGER = {"workflow": {"reviewers": ["correctness", "style", "performance", "security"]}}
"""One reviewer more than usual, so more tokens for every request."""


def written(folder: Path, name: str, **settings: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({**SIMULATED, **settings}))
    return path


def two_configs(folder: Path, count: int = 6, **settings: Any) -> list[str]:
    """A, B, which needs more tokens, and a text file with requests."""
    requests = folder / "requests.txt"
    requests.write_text("# queues\n\n" + "".join(f"Create queue {number}\n" for number in range(count)))
    files = [written(folder, "a.json", **settings), written(folder, "b.json", **settings, **LONGER)]
    return [*map(str, files), str(requests)]


def places(folder: Path) -> dict[str, Any]:
    return {"data_dir": folder / "data", "output_dir": folder / "out"}


def recorded(folder: Path, experiment: str) -> tuple[dict[str, Any], list[TrialRow]]:
    with open_checkpointer(folder / "data" / "swarm.db") as saver:
        experiments = Experiments(saver.database)
        found = experiments.get(experiment)
        assert found is not None
        return found.plan, experiments.trials(experiment)


def test_both_answer_each_request_in_turn_and_the_cheaper_one_wins(tmp_path: Path) -> None:
    a, b, requests = two_configs(tmp_path)
    seen: list[tuple[int, int]] = []
    result = compare_configs(
        a, b, requests, measure="tokens", on_progress=lambda *counts: seen.append(counts), **places(tmp_path)
    )
    assert result.winner_name == "a.json"
    (look,) = result.looks
    assert look.p == 2 / 2**6
    assert look.effect is not None
    assert 1 < look.effect.low <= look.effect.estimate
    assert sorted(seen) == [(done, 12) for done in range(1, 13)]
    plan, trials = recorded(tmp_path, result.experiment)
    assert [trial.case for trial in trials[::2]] == [trial.case for trial in trials[1::2]]
    assert [trial.arm for trial in trials[::2]] == ["a.json", "b.json"] * 3
    assert sorted({trial.case for trial in trials}) == [f"request-00{number}" for number in range(1, 7)]
    assert all(trial.solved is None and trial.judged_at for trial in trials)
    assert plan["rule"]["looks"] == [6]
    settings = [row["setting"] for row in plan["difference"]["settings"]]
    assert settings == ["workflow.reviewers"]
    check_forms(result)
    again = compare_configs(resume=result.experiment, **places(tmp_path))
    assert again.to_dict() == result.to_dict()


def check_forms(result: AbResult) -> None:
    text = result.text()
    words = " ".join(text.split())
    assert "Simulated: no model was asked" in words
    assert "workflow.reviewers  not set  ['correctness', 'style', 'performance', 'security']" in text
    assert f"a.json is better. Tokens: a.json {result.figures[0].tokens / 6:,.0f} per request," in words
    assert "which does not show that it does equally well" in words
    assert "each configuration's own verdict" in words
    assert json.loads(result.to_json())["winner"] == "a"
    assert len(result.to_csv().splitlines()) == 13
    for html in (result.to_html(), result._repr_html_()):
        assert "a.json is better" in html
        assert "http" not in html


def test_a_limit_before_a_look_gives_no_verdict_and_no_outcome(tmp_path: Path) -> None:
    a, b, requests = two_configs(tmp_path, 8)
    options: dict[str, Any] = {"measure": "tokens", "sequential": True, "looks": 2, **places(tmp_path)}
    stopped = compare_configs(a, b, requests, max_sessions=1, limits=SessionLimits(calls=9), **options)
    assert not stopped.has_ended
    assert 0 < stopped.judged < 8
    assert (stopped.winner, stopped.figures, stopped.looks) == (None, (), ())
    assert "No verdict: the test stopped before its next look, which needs 4 pairs" in stopped.verdict
    assert "reached --max-calls 9" in stopped.verdict
    assert stopped.to_csv().strip() == ""
    document = stopped.to_dict()
    assert (document["looks"], document["figures"]) == ([], [])
    result = compare_configs(resume="", **places(tmp_path))
    assert [look.pairs for look in result.looks] == [4, 8]  # 4 pairs have p = 0.13, the bound is 0.003
    assert result.looks[0].winner is None
    assert result.winner_name == "a.json"
    assert "95.1 % interval" in result.verdict
    with pytest.raises(InputError, match=r"no A/B test in .* is left to resume"):
        compare_configs(resume="", **places(tmp_path))


def test_a_sequential_test_ends_at_the_first_look_that_shows_a_difference(tmp_path: Path) -> None:
    a, b, requests = two_configs(tmp_path, 20)
    result = compare_configs(a, b, requests, measure="tokens", sequential=True, looks=2, **places(tmp_path))
    assert [look.pairs for look in result.looks] == [10]
    assert result.looks[0].p == 2 / 2**10
    assert "The test ended early" in result.text()
    assert "10                0.0031                0.002  ended" in result.text()
    _, trials = recorded(tmp_path, result.experiment)
    assert sum(trial.judged_at is not None for trial in trials) == 20


def figures(result: AbResult) -> list[tuple[Any, ...]]:
    return [(request, *(one._replace(seconds=0) for one in pair)) for request, pair in result.pairs.items()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_test_is_resumed_with_the_same_figures(number: int, tmp_path: Path) -> None:
    slow: dict[str, Any] = {"model_config": {"single_model": {
        "model": "slow", "api_type": "simulated", "simulation": {"first_token_s": 0.02},
    }}}  # fmt: skip
    a, b, requests = two_configs(tmp_path, 3, **slow)
    expected = compare_configs(a, b, requests, measure="tokens", **places(tmp_path / "whole"))
    where = ("--data-dir", "data", "--output-dir", "out")
    command = ("ab", a, b, "--requests", requests, "--measure", "tokens", *where)
    process = warm.Process(*command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    lines: list[str] = []
    while "3/6 answers" not in "".join(lines):
        lines.append(process.stderr.readline())
        assert lines[-1]
    process.send_signal(number)
    output, errors = process.communicate()
    said = "".join([*lines, errors])
    assert "Fixed number: one look, after 3 pairs" in said
    assert "shown" not in output
    assert process.wait() == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert "stopped; continue with `swarm-graph ab --resume ab-" in errors
    resumed = warm.run("ab", "--resume", "--json", *where, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    document = json.loads(resumed.stdout)
    result = compare_configs(resume=document["experiment"], **places(tmp_path))
    assert figures(result) == figures(expected)
    assert document["judged"] == 6
    _, trials = recorded(tmp_path, result.experiment)
    with open_checkpointer(tmp_path / "data" / "swarm.db") as saver:
        for trial in trials:
            finished = [
                call for call in saver.catalogue.calls(trial.session) if call["outcome"] == "answered"
            ]
            asked = [(call["node"], call["iteration"]) for call in finished]
            assert len(asked) == len(set(asked)), "an answer was asked for twice"


def test_the_command_adopts_a_winner_and_keeps_the_old_file(tmp_path: Path) -> None:
    two_configs(tmp_path)
    used = tmp_path / "config.json"
    used.write_text('{"limits": {"calls": 999}}')
    done = warm.run(
        "ab", "a.json", "b.json", "--requests", "requests.txt", "--measure", "tokens", cwd=tmp_path
    )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    experiment = said.partition("A/B test ")[2].partition(":")[0]
    assert f"`swarm-graph ab --resume {experiment} --adopt` writes a.json over 'config.json'" in said
    assert said.index("It shows a difference if p") < said.index("1/12 answers")
    assert used.read_text() == '{"limits": {"calls": 999}}'
    for name in ("report.html", "report.txt", "report.json", "trials.csv"):
        assert (tmp_path / "swarm-output" / experiment / name).is_file()
    adopted = warm.run("ab", "--resume", experiment, "--adopt", cwd=tmp_path)
    assert adopted.returncode == 0
    assert b"'config.json' is now a.json; the old one is kept as 'config.before-" in adopted.stderr
    assert used.read_text() == (tmp_path / "a.json").read_text()
    (kept,) = tmp_path.glob("config.before-*.json")
    assert kept.read_text() == '{"limits": {"calls": 999}}'
    written(tmp_path, "a.json", limits={"calls": 3})
    refused = warm.run("ab", "--resume", experiment, "--adopt", cwd=tmp_path)
    assert refused.returncode == 2
    assert b"a.json' has changed since 'ab-" in refused.stderr
    peeked = warm.run("eval", "--show", experiment, cwd=tmp_path)
    assert peeked.returncode == 2
    assert b"is an A/B test" in peeked.stderr


def test_a_plan_of_somebody_else_names_no_file(tmp_path: Path) -> None:
    a, b, requests = two_configs(tmp_path)
    result = compare_configs(a, b, requests, measure="tokens", **places(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    other = warm.ENVIRONMENT | {"XDG_DATA_HOME": str(tmp_path / "key of somebody else")}
    adopt = ("ab", "--resume", result.experiment, "--adopt", "--data-dir", "data")
    refused = warm.run(*adopt, cwd=tmp_path, env=other)
    assert refused.returncode == 2
    assert b"was begun by somebody else" in refused.stderr
    assert (tmp_path / "config.json").read_text() == "{}"
    adopted = warm.run(*adopt, a, b, cwd=tmp_path, env=other)
    assert adopted.returncode == 0, adopted.stderr
    assert (tmp_path / "config.json").read_text() == Path(a).read_text()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("experiment = '../../evil'", "'../../evil' has an id that no experiment can have"),
        ("plan = '[]'", "no JSON object"),
        ("plan = json_set(plan, '$.rule.looks', json('[]'))", "no stopping rule"),
        ("plan = json_set(plan, '$.rule.levels', json('[1.0]'))", "no stopping rule"),
        ("plan = json_set(plan, '$.a.name', 'other.json')", "are not those that its plan names"),
    ],
)
def test_a_record_that_no_test_has_written_is_no_path_and_no_rule(
    change: str, problem: str, ended: Path, tmp_path: Path
) -> None:
    shutil.copytree(ended / "data", tmp_path / "data")
    with open_checkpointer(tmp_path / "data" / "swarm.db") as saver, saver.database.transaction() as cursor:
        cursor.execute(f"UPDATE experiments SET {change}")
        (name,) = cursor.execute("SELECT experiment FROM experiments").fetchone()
    with pytest.raises(StorageError, match=problem):
        compare_configs(resume=name, **places(tmp_path))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test that has ended."""
    folder = tmp_path_factory.mktemp("ended")
    a, b, requests = two_configs(folder, 1)
    compare_configs(a, b, requests, **places(folder))
    return folder


def test_without_a_shown_difference_nothing_is_adopted(tmp_path: Path) -> None:
    two_configs(tmp_path, 3)
    done = warm.run(
        "ab", "a.json", "b.json", "--requests", "requests.txt", "--measure", "tokens", "--adopt", cwd=tmp_path
    )
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "3 pairs are too few to show a difference" in said
    assert "nothing is adopted: no difference is shown" in said
    assert "No difference shown between a.json and b.json" in done.stdout.decode()
    assert not list(tmp_path.glob("config*.json"))


def test_equal_configurations_are_refused_unless_it_is_meant(tmp_path: Path) -> None:
    a, _, requests = two_configs(tmp_path, 2)
    seeded = written(tmp_path, "seeded.json", agent_parameters={"coder": {"seed": 7}})
    with pytest.raises(InputError, match=r"equal \(but for seeds\).*--allow-equal"):
        compare_configs(a, seeded, requests, **places(tmp_path))
    result = compare_configs(a, seeded, requests, allow_equal=True, **places(tmp_path))
    assert result.winner is None
    assert "whatever differs here, chance alone did it" in result.notes[-1]


def test_prompts_differ_by_content_and_workflows_by_side(tmp_path: Path) -> None:
    for name, text in (("one", "Write code."), ("same", "Write code."), ("other", "Write short code.")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "coder.md").write_text(text)
        written(tmp_path, f"{name}.json", prompts_dir=name)
    one, same, other = (str(tmp_path / f"{name}.json") for name in ("one", "same", "other"))
    requests = two_configs(tmp_path, 1)[2]
    with pytest.raises(InputError, match=r"nothing differs between one\.json and same\.json"):
        compare_configs(one, same, requests, **places(tmp_path))
    result = compare_configs(f"full@{one}", other, requests, **places(tmp_path))
    assert (result.a, result.b, result.facts.measure) == ("full@one.json", "other.json", "approved")
    rows = {name: values for name, *values in result.facts.difference.rows}
    assert rows == {"workflow": ["full", "standard"], "prompt coder.md": ["differs", ""]}
    _, trials = recorded(tmp_path, result.experiment)
    with open_checkpointer(tmp_path / "data" / "swarm.db") as saver:
        workflows = {trial.arm: saver.catalogue.get(trial.session) for trial in trials}
        assert {arm: found.workflow for arm, found in workflows.items() if found} == {
            "full@one.json": "full",
            "other.json": "standard",
        }


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing config": ({"b": "nothing.json"}, "cannot read the config 'nothing.json'"),
    "a folder": ({"b": "."}, "is no file"),
    "same file": ({"b": "{folder}/a.json"}, "both configurations are"),
    "unknown workflow": ({"b": "ful@{folder}/b.json"}, "unknown workflow 'ful'; did you mean 'full'"),
    "a request itself": ({"requests": "Write a queue. " * 100}, "this is a text; write it into a file"),
    "no requests": ({"requests": "nothing.txt"}, "no suite 'nothing.txt'"),
    "empty requests": ({"requests": "{folder}/empty.txt"}, "holds no request"),
    "binary requests": ({"requests": "{folder}/binary.txt"}, "not UTF-8 text"),
    "NUL bytes": ({"requests": "{folder}/nul.txt"}, "hold NUL bytes"),
    "duplicates": ({"requests": "{folder}/twice.txt"}, "lines 1 and 3 hold the same request"),
    "huge requests": ({"requests": "{folder}/huge.txt"}, "expected at most 5,000,000"),
    "a table": ({"requests": "{folder}/a.json"}, "a text file with one request a line"),
    "unknown measure": ({"measure": "beauty"}, "unknown measure 'beauty'; known measures: solved"),
    "solved without tests": ({"measure": "solved"}, "needs hidden tests"),
    "no verdict": ({"workflow": "single"}, "approves nothing"),
    "looks alone": ({"looks": 2}, "--looks 2 needs --sequential"),
    "too many looks": ({"looks": 7, "sequential": True}, "only 6 pairs to look at"),
    "unknown test": ({"resume": "ab-x"}, "no A/B test 'ab-x'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_compared_is_refused_before_anything_runs(what: str, tmp_path: Path) -> None:
    a, b, requests = two_configs(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "twice.txt").write_text("one\ntwo\n one \n")
    if what == "huge requests":
        (tmp_path / "huge.txt").write_text("x" * 5_000_001)
    with open_checkpointer(tmp_path / "data" / "swarm.db"):
        pass
    given, problem = REFUSED[what]
    given = {
        key: value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
        for key, value in given.items()
    }
    arguments: dict[str, Any] = {"a": a, "b": b, "requests": requests, **places(tmp_path), **given}
    with pytest.raises((InputError, ConfigError), match=problem) as caught:
        compare_configs(**arguments)
    assert "\n" not in str(caught.value)
    with open_checkpointer(tmp_path / "data" / "swarm.db") as saver:
        assert Experiments(saver.database).all() == []


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    two_configs(tmp_path)
    for arguments, problem in (
        (("a.json",), "two configurations, found 1"),
        ((), "two configurations, found none"),
        (("a.json", "b.json"), "ab needs --requests"),
        (("--resume", "x", "--looks", "3"), "--resume takes no --looks"),
        (("--resume",), "no sessions in"),
    ):
        done = warm.run("ab", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert problem in done.stderr.decode(), done.stderr
        assert done.stderr.count(b"\n") == 1


CASE = "request: |\n  Write the function add_{number}(x), which returns x + {number}, in solution.py.\n"
TEST = "from solution import add_{number}\n\ndef test_sum():\n    assert add_{number}(1) == 1 + {number}\n"
RIGHT = "def add_{number}(x):\n    return x + {number}\n"


def suite_of(folder: Path, count: int) -> Path:
    """A folder of cases with hidden tests, as a user writes them."""
    for number in range(count):
        case = folder / f"add-{number}"
        for path, text in (
            ("case.yaml", CASE),
            ("hidden/test_sum.py", TEST),
            ("solution/solution.py", RIGHT),
            ("wrong/1/solution.py", RIGHT.replace("x + {number}", "x - {number} - 1")),
        ):
            (case / path).parent.mkdir(parents=True, exist_ok=True)
            (case / path).write_text(text.replace("{number}", str(number)))
    return folder


@pytest.mark.slow
def test_hidden_tests_tell_simulated_models_of_known_skill_apart(tmp_path: Path) -> None:
    assert sandbox()
    suite = suite_of(tmp_path / "cases", 8)
    for name, seed, known in (("a.json", 1, 0.05), ("b.json", 2, 0.95)):
        simulation = {"seed": seed, "skill": known}
        entry = {"model": "simulated", "api_type": "simulated", "simulation": simulation}
        (tmp_path / name).write_text(json.dumps({"model_config": {"single_model": entry}}))
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    result = compare_configs(
        a, b, suite, workflow="single", sequential=True, looks=2, allow_equal=True, **places(tmp_path)
    )
    assert result.facts.measure == "solved"
    assert result.winner == "b"
    assert all(outcome.solved is not None for pair in result.pairs.values() for outcome in pair)
    _, trials = recorded(tmp_path, result.experiment)
    assert {trial.score["outcome"] for trial in trials if trial.score} <= {"passed", "failed"}
