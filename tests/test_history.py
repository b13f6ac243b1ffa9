"""The history of a session, and forks that start from one of its moments."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from storages import ON_BOTH, opened, stored_rows
from support import APPROVED, REFUSED, Crew, Script, config, thread

from swarm_graph import SwarmCoordinator
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import InputError, SwarmError
from swarm_graph.models.invented import Ask
from swarm_graph.sessions.history import Moment, find_moment, moments
from swarm_graph.sessions.history import fork as fork_at
from swarm_graph.sessions.ids import find_session
from swarm_graph.workflows.build import build_graph

REVIEWS = ["review_correctness", "review_performance", "review_style"]
NEXT = [["clarifier"], ["architect"], ["coder"], REVIEWS, ["verdict"], ["coder"], REVIEWS, ["verdict"], []]
ROUNDS = [1, 1, 1, 1, 1, 2, 2, 2, 2]
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def in_two_rounds(ask: Ask) -> str:
    return APPROVED if ask.iteration == 2 else REFUSED


def coordinator(folder: Path, crew: Crew, **sections: Any) -> SwarmCoordinator:
    return SwarmCoordinator(
        config(**sections), data_dir=folder, output_dir=folder / "out", context=crew.context
    )


def two_rounds(folder: Path) -> None:
    """A session `s` that was approved in its second round."""
    crew = Crew({"reviewer": in_two_rounds, "architect": "One file."})
    assert coordinator(folder, crew).run_workflow("Build it", session_id="s")["iteration"] == 2


def past(folder: Path, session: str = "s") -> list[Moment]:
    known = find_session(folder, session)
    with opened(folder) as saver:
        return moments(saver, known)


def fork(folder: Path, at: str, name: str = "f", of: str = "s", **edits: Any) -> None:
    known = find_session(folder, of)
    with opened(folder) as saver:
        fork_at(saver, known, find_moment(moments(saver, known), at), name, edits)


def go_on(folder: Path, script: Script | None = None, name: str = "f") -> tuple[Crew, dict[str, Any]]:
    """Resume a session with a new crew."""
    crew = Crew(script)
    state = coordinator(folder, crew).resume(name)
    return crew, dict(state)


def cli(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(swarm_graph, ["sessions", *arguments, "--data-dir", str(folder)])


def cli_json(folder: Path, *arguments: str) -> Any:
    done = cli(folder, *arguments, "--json")
    assert done.exception is None
    return json.loads(done.stdout)


def kept(folder: Path, session: str = "s") -> dict[str, list[Any]]:
    """Every row of a session in a database, byte for byte."""
    found = stored_rows(folder, session)
    assert {"sessions", "runs", "calls", "checkpoints", "channel_values", "writes"} <= found.keys()
    return found


def sessions(folder: Path) -> list[str]:
    return [row["session"] for row in cli_json(folder, "list")]


# --- moments -------------------------------------------------------------------------------------


@ON_BOTH
def test_moments_name_the_nodes_that_ended_and_that_come_next(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    found = past(tmp_path)
    assert [moment.number for moment in found] == list(range(9))
    assert [list(moment.next) for moment in found] == NEXT
    assert [moment.done for moment in found] == [(), *(moment.next for moment in found[:-1])]
    assert [moment.round for moment in found] == ROUNDS
    assert [moment.time for moment in found] == sorted(moment.time for moment in found)
    assert found[1].state["design"] == ""
    assert found[2].state["design"] == "One file."
    assert [moment.state["code"]["src/a.py"] for moment in found[4:7]] == ["x = 1\n"] * 2 + ["x = 2\n"]
    assert found[-1].state["phase"] == "complete"


def test_a_moment_is_found_by_number_id_node_and_round(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    found = past(tmp_path)
    for moment in found:
        assert find_moment(found, str(moment.number)) is moment
        assert find_moment(found, moment.checkpoint) is moment
    assert find_moment(found, "coder").number == 5
    assert find_moment(found, "coder:1").number == 2
    assert find_moment(found, "coder:2").number == 5
    assert find_moment(found, "review_style").number == 6
    assert find_moment(found, "verdict:1").number == 4


@pytest.mark.parametrize("name", ["tester", "coder:3", "9", "-1", "01", "", "1f1e", "coder 1", "Coder"])
def test_an_unknown_moment_is_refused(name: str, tmp_path: Path) -> None:
    two_rounds(tmp_path)
    message = f"^no checkpoint '{re.escape(name)}'; expected a number from 0 to 8, .*: clarifier, architect, "
    with pytest.raises(InputError, match=message):
        find_moment(past(tmp_path), name)


def test_history_lists_the_moments(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    lines = cli(tmp_path, "history", "s").stdout.splitlines()
    assert lines[0].split() == ["#", "time", "round", "done", "next", "checkpoint"]
    assert len(lines) == 10
    assert re.fullmatch(rf"0  {TIME}  1      \(begin\) +clarifier +[0-9a-f-]{{36}}", lines[1])
    assert re.fullmatch(rf"3  {TIME}  1      coder +{', '.join(REVIEWS)} +[0-9a-f-]{{36}}", lines[4])
    assert re.fullmatch(rf"8  {TIME}  2      verdict +\(end\) +[0-9a-f-]{{36}}", lines[9])


def test_history_as_json_has_the_same(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    rows = cli_json(tmp_path, "history", "s")
    assert [row["next"] for row in rows] == NEXT
    assert [row["done"] for row in rows] == [[], *NEXT[:-1]]
    assert [row["round"] for row in rows] == ROUNDS
    assert [row["checkpoint"] for row in rows] == [moment.checkpoint for moment in past(tmp_path)]
    assert rows[0].keys() == {"number", "checkpoint", "time", "round", "done", "next"}


def test_history_goes_on_in_a_follow_up(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    coordinator(tmp_path, Crew()).run_workflow("More", session_id="s", follow_up=True)
    found = past(tmp_path)
    assert [list(moment.next) for moment in found] == NEXT + NEXT[:5] + [[]]
    assert found[9].done == ()
    assert (found[8].state["request"], found[9].state["request"]) == ("Build it", "More")
    assert find_moment(found, "coder").number == 11


def test_history_of_a_failed_session_ends_before_the_failed_node(tmp_path: Path) -> None:
    coordinator(tmp_path, Crew({"coder": ValueError("no")})).run_workflow("Build it", session_id="s")
    assert [list(moment.next) for moment in past(tmp_path)] == NEXT[:3]


def test_show_names_the_roles_of_a_session(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    shown = cli(tmp_path, "show", "s").stdout
    assert shown.startswith("Session s (standard, simulated): complete, approved\nRequest: Build it\nBegun ")
    assert f"\nFiles in {tmp_path / 'out' / 's'}\n" in shown
    assert re.search(rf"\nRuns:\n  {TIME}  begin, complete, \d+ s, process \d+ on ", shown)
    assert re.search(r"\nT003_code +completed  round 2\n", shown)
    assert re.search(r"\nreviewer +6 ", shown)
    told = cli_json(tmp_path, "show", "s")
    assert (told["phase"], told["parent"], len(told["runs"]), len(told["tasks"])) == ("complete", "", 1, 6)
    assert told["metrics"]["coder"]["total_calls"] == 2


def test_a_session_of_a_kind_that_only_another_version_knows_is_shown(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "swarm.db")) as database, database:
        done = database.execute("UPDATE sessions SET config = json_set(config, '$.workflow.kind', 'deck')")
        assert done.rowcount == 1
    assert cli(tmp_path, "show", "s").stdout.startswith(
        "Session s (standard, simulated): complete, approved\n"
    )


def test_show_at_a_moment_shows_its_state(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    shown = cli(tmp_path, "show", "s", "--at", "coder:2").stdout
    assert shown.startswith("# Request\n\nBuild it\n")
    assert "===== src/a.py =====\nx = 1\n" in shown
    assert "Round 1 - review_style: changes wanted" in shown
    assert "Round 2" not in shown
    state = cli_json(tmp_path, "show", "s", "--at", "2")
    assert (state["design"], state["phase"], state["code"]) == ("One file.", "running", {})


def test_the_list_shows_the_session_worked_on_last_first(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    coordinator(tmp_path, Crew({"tester": ValueError("no")})).run_workflow(
        "Two\nlines", "full", session_id="b"
    )
    lines = cli(tmp_path, "list").stdout.splitlines()
    assert lines[0].split() == ["session", "workflow", "phase", "verdict", "worked", "on", "request"]
    assert re.fullmatch(rf"b +full, simulated +failed +- +{TIME}  Two lines", lines[1])
    assert re.fullmatch(rf"s +standard, simulated +complete +approved +{TIME}  Build it", lines[2])
    rows = cli_json(tmp_path, "list")
    assert [(row["session"], row["simulated"], row["request"]) for row in rows] == [
        ("b", True, "Two\nlines"),
        ("s", True, "Build it"),
    ]


def test_a_long_request_is_one_short_line_of_the_list(tmp_path: Path) -> None:
    coordinator(tmp_path, Crew()).run_workflow("word " * 40, "review_only", session_id="s")
    line = cli(tmp_path, "list").stdout.splitlines()[1]
    assert line.endswith("word word…")
    assert len(line.split("  ")[-1]) == 60


@pytest.mark.parametrize(
    "arguments", [["history", "x"], ["show", "x"], ["show", "x", "--at", "1"], ["fork", "x", "--from", "1"]]
)
def test_an_unknown_session_is_refused(arguments: list[str], tmp_path: Path) -> None:
    assert "no sessions in" in str(cli(tmp_path, *arguments).exception)
    assert not list(tmp_path.iterdir())
    two_rounds(tmp_path)
    refused = cli(tmp_path, *arguments).exception
    assert isinstance(refused, InputError)
    assert str(refused).startswith("no session 'x' in ")


# --- forks ---------------------------------------------------------------------------------------


def test_a_fork_at_the_coder_asks_the_coder_and_later_only(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    rows, history = kept(tmp_path), past(tmp_path)
    fork(tmp_path, "coder", design="Two files.")
    crew, state = go_on(tmp_path)
    assert crew.asked[0] == "coder"
    assert sorted(crew.asked[1:]) == REVIEWS
    assert "Two files." in crew.prompts("coder")[0]
    assert "One file." not in crew.prompts("coder")[0]
    assert "It fails." in crew.prompts("coder")[0]
    assert (state["design"], state["iteration"], state["phase"]) == ("Two files.", 2, "complete")
    assert past(tmp_path) == history
    assert kept(tmp_path) == rows


@ON_BOTH
def test_a_fork_is_a_session_of_its_own(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "coder:1")
    known = find_session(tmp_path, "f")
    assert (known.parent, known.parent_checkpoint) == ("s", past(tmp_path)[2].checkpoint)
    assert (known.workflow, known.request, known.output) == ("standard", "Build it", "")
    assert known.phase == "paused"
    assert find_session(tmp_path, None).session == "f"
    assert [list(moment.next) for moment in past(tmp_path, "f")] == [["coder"]]
    go_on(tmp_path)
    assert (tmp_path / "out/f/project/src/a.py").read_text() == "x = 1\n"
    assert (tmp_path / "out/s/project/src/a.py").read_text() == "x = 2\n"
    told = cli_json(tmp_path, "show", "f")
    assert [run["kind"] for run in told["runs"]] == ["resume"]
    assert [task["node"] for task in told["tasks"]] == ["clarifier", "architect", "coder", *REVIEWS]
    assert {role: agent["total_calls"] for role, agent in told["metrics"].items()} == {
        "coder": 1,
        "reviewer": 3,
    }
    assert f"\nForked from s at checkpoint {known.parent_checkpoint}\n" in cli(tmp_path, "show", "f").stdout
    assert sessions(tmp_path) == ["f", "s"]


@ON_BOTH
def test_a_fork_in_another_round_repeats_that_round(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "coder:1")
    crew, state = go_on(tmp_path, {"reviewer": in_two_rounds})
    assert [(ask.node, ask.iteration) for ask in crew.asks if ask.node == "coder"] == [
        ("coder", 1),
        ("coder", 2),
    ]
    assert len(crew.asks) == 8
    assert (state["iteration"], len(state["reviews"])) == (2, 6)


def test_forks_at_a_number_and_at_a_checkpoint_s_id(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "1", requirements="Only mine.")
    crew, _ = go_on(tmp_path)
    assert crew.asked[:2] == ["architect", "coder"]
    assert len(crew.asks) == 5
    assert "Only mine." in crew.prompts("architect")[0]
    fork(tmp_path, past(tmp_path)[6].checkpoint, "g")
    crew, state = go_on(tmp_path, name="g")
    assert sorted(crew.asked) == REVIEWS
    assert state["code"] == {"src/a.py": "x = 2\n"}


def test_a_fork_at_the_end_asks_no_model_and_can_be_followed_up(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "8", optimization="Mine.")
    assert find_session(tmp_path, "f").phase == "complete"
    crew, state = go_on(tmp_path)
    assert crew.asks == []
    assert state == {**past(tmp_path)[-1].state, "optimization": "Mine."}
    coordinator(tmp_path, crew).run_workflow("More", session_id="f", follow_up=True)
    assert len(crew.asks) == 6
    assert "x = 2" in crew.prompts("coder")[0]
    assert find_session(tmp_path, "s").request == "Build it"


@ON_BOTH
def test_a_fork_of_a_fork(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "coder", "f", design="Two files.")
    go_on(tmp_path, name="f")
    rows = kept(tmp_path), kept(tmp_path, "f")
    fork(tmp_path, "review_style", "g", of="f", code={"src/b.py": "y = 1\n"})
    crew, state = go_on(tmp_path, name="g")
    assert sorted(crew.asked) == REVIEWS
    assert (state["design"], state["code"]) == ("Two files.", {"src/b.py": "y = 1\n"})
    known = find_session(tmp_path, "g")
    assert (known.parent, known.parent_checkpoint) == ("f", past(tmp_path, "f")[1].checkpoint)
    fork(tmp_path, "0", "h", of="f")
    crew, state = go_on(tmp_path, name="h")
    assert (crew.asked[0], state["design"]) == ("coder", "Two files.")
    assert (kept(tmp_path), kept(tmp_path, "f")) == rows


@ON_BOTH
def test_a_fork_of_a_failed_session_can_correct_the_failed_node(tmp_path: Path) -> None:
    crew = Crew({"review_style": ValueError("no")})
    coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    fork(tmp_path, "review_style")
    crew, state = go_on(tmp_path)
    assert sorted(crew.asked) == REVIEWS
    assert state["approved"]
    assert find_session(tmp_path, "s").phase == "failed"


@ON_BOTH
def test_a_fork_of_a_session_of_the_graph_itself(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        graph = build_graph("standard", config=config(), checkpointer=saver)
        graph.invoke({"request": "Build it"}, thread("a/b"), context=Crew().context)
    fork(tmp_path, "coder", of="a/b", design="Two files.")
    crew, _ = go_on(tmp_path)
    assert len(crew.asks) == 4
    assert "Two files." in crew.prompts("coder")[0]


@ON_BOTH
def test_an_existing_session_is_never_forked_over(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    fork(tmp_path, "coder", "f")
    rows = kept(tmp_path), kept(tmp_path, "f")
    for name in ("s", "f"):
        with pytest.raises(InputError, match=f"session '{name}' exists; choose another id"):
            fork(tmp_path, "coder", name)
    assert (kept(tmp_path), kept(tmp_path, "f")) == rows


# --- forks from the command line -----------------------------------------------------------------


def fork_command(folder: Path, at: str, *arguments: str) -> Result:
    return cli(folder, "fork", "s", "--from", at, "--session", "f", *arguments)


def made(folder: Path, at: str, *arguments: str) -> dict[str, Any]:
    """The first state of a fork."""
    done = fork_command(folder, at, "--no-run", *arguments)
    assert done.exception is None, done.exception
    assert done.stdout == ""
    told = (
        r"swarm-graph: made session f from s before .*; continue with `swarm-graph resume f --data-dir .*`\n"
    )
    assert re.fullmatch(told, done.stderr)
    return dict(past(folder, "f")[0].state)


def test_fork_runs_the_new_session(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    rows = kept(tmp_path)
    edit = tmp_path / "design.md"
    edit.write_text("Two files.\n")
    done = fork_command(tmp_path, "coder", "--edit", str(edit), "--output", str(tmp_path / "o"), "--json")
    document = json.loads(done.stdout)
    assert (document["workflow_id"], document["phase"], document["request"]) == ("f", "complete", "Build it")
    assert document["context"]["architecture_architect"]["result"] == "Two files.\n"
    assert {role: agent["total_calls"] for role, agent in document["metrics"].items()} == {
        "coder": 1,
        "reviewer": 3,
    }
    assert (tmp_path / "o/notes.md").read_text().endswith("# Design\n\nTwo files.\n\n")
    assert kept(tmp_path) == rows


def test_fork_names_a_new_session_by_itself(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    done = cli(tmp_path, "fork", "s", "--from", "coder", "--no-run")
    (new,) = set(sessions(tmp_path)) - {"s"}
    command = f"swarm-graph resume {new} --data-dir {tmp_path}"
    assert done.stderr == f"swarm-graph: made session {new} from s before coder; continue with `{command}`\n"


def test_fork_at_the_end_says_so(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    assert "made session f from s before its end;" in fork_command(tmp_path, "8", "--no-run").stderr


def test_plain_text_sets_the_key_that_the_next_node_works_from(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    edit = tmp_path / "edit.md"
    edit.write_text("Mine: {not JSON}")
    for number, key in enumerate(["request", "requirements", "design"]):
        name = f"f{number}"
        arguments = ["fork", "s", "--from", str(number), "--session", name, "--no-run", "--edit", str(edit)]
        assert cli(tmp_path, *arguments).exception is None
        state = past(tmp_path, name)[0].state
        assert dict(state) == {**past(tmp_path)[number].state, key: "Mine: {not JSON}"}
    assert find_session(tmp_path, "f0").request == "Mine: {not JSON}"


def test_files_given_as_markdown_are_written_over_those_that_are_there(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    markdown = "Mine:\n```python path=src/b.py\ny = 1\n```\n"
    state = made(tmp_path, "review_style", "--set", f"code={markdown}")
    assert state["code"] == {"src/a.py": "x = 2\n", "src/b.py": "y = 1\n"}
    crew, ended = go_on(tmp_path)
    assert sorted(crew.asked) == REVIEWS
    assert "y = 1" in crew.prompts("review_style")[0]
    assert ended["code"] == state["code"]


def test_files_given_as_json_replace_all(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    state = made(tmp_path, "review_style", "--set", 'code={"src/b.py": "y = 1\\n"}', "--set", "tests={}")
    assert (state["code"], state["tests"]) == ({"src/b.py": "y = 1\n"}, {})
    go_on(tmp_path)
    assert not (tmp_path / "out/f/project/src/a.py").exists()


def test_edit_may_be_an_object_of_keys_and_set_goes_over_it(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    edit = tmp_path / "edit.json"
    edit.write_text(json.dumps({"design": "Two files.", "diagnosis": "D", "code": {"c.py": "z\n"}}))
    state = made(tmp_path, "coder", "--edit", str(edit), "--set", "diagnosis=a=b", "--set", "requirements=")
    assert (state["design"], state["diagnosis"], state["requirements"]) == ("Two files.", "a=b", "")
    assert state["code"] == {"c.py": "z\n"}


def test_findings_are_edited_as_json(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    finding = {
        "severity": "minor",
        "location": "a.py:1",
        "problem": "Slow.",
        "suggestion": "",
        "seen_by": ["me"],
    }
    state = made(tmp_path, "coder", "--set", f"findings={json.dumps([finding])}")
    assert state["findings"] == [finding]
    crew, _ = go_on(tmp_path)
    assert "Slow." in crew.prompts("coder")[0]
    assert "It fails." not in crew.prompts("coder")[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "'findings' is not allowed: input should be a valid list"),
        (
            '[{"severity": "bad"}]',
            "'findings.0.severity' is not allowed: input should be 'critical', 'major'",
        ),
        ('[{"severity": "minor"}]', "'findings.0.location' is not allowed: field required"),
    ],
)
def test_findings_of_another_form_are_refused(given: str, message: str, tmp_path: Path) -> None:
    two_rounds(tmp_path)
    refused = fork_command(tmp_path, "coder", "--no-run", "--set", f"findings={given}").exception
    assert isinstance(refused, InputError)
    assert str(refused).startswith(message)


OUTSIDE = "code=```python path=../a.py\nx\n```"
NO_KEY = "plain text does not say which key to set before"
WRONG: dict[str, tuple[str, Sequence[str], str]] = {
    "unknown checkpoint": ("tester", [], "no checkpoint 'tester'; expected a number from 0 to 8"),
    "round that was not": ("coder:9", [], "no checkpoint 'coder:9'"),
    "unknown key": ("coder", ["--set", "desing=x"], "'desing' cannot be set; allowed: request, "),
    "key of the graph": ("coder", ["--set", "approved=true"], "'approved' cannot be set"),
    "a person's phase": ("coder", ["--set", "phase=complete"], "'phase' cannot be set"),
    "no equals sign": ("coder", ["--set", "design"], "--set 'design' is not KEY=VALUE; keys: request, "),
    "no key": ("coder", ["--set", "=x"], "'' cannot be set"),
    "number for a text": ("coder", ["--edit", "number.json"], "'code.a.py' is not allowed: input should"),
    "list for a text": ("coder", ["--edit", "list.json"], "'design' is not allowed: input should be a"),
    "broken JSON": ("coder", ["--set", 'code={"a.py":'], "'code' is not valid JSON: "),
    "findings no JSON": ("coder", ["--set", "findings=slow"], "'findings' is not valid JSON: "),
    "no file in it": ("coder", ["--set", "code=x = 1"], "'code' cannot be read as files: "),
    "path out of the project": ("coder", ["--set", OUTSIDE], "'code' cannot be read as files: "),
    "text before reviews": ("review_style", ["--edit", "text.md"], f"{NO_KEY} review_correctness, "),
    "text before the verdict": ("verdict", ["--edit", "text.md"], f"{NO_KEY} verdict; "),
    "text at the end": ("8", ["--edit", "text.md"], f"{NO_KEY} the end; "),
    "edit missing": ("coder", ["--edit", "no.md"], "cannot read the input file 'no.md'"),
    "existing session": ("coder", ["--session", "s"], "session 's' exists; choose another id"),
    "bad session id": ("coder", ["--session", "../x"], "session id '../x' is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_invalid_fork_gives_one_line_and_creates_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, arguments, message = WRONG[name]
    monkeypatch.chdir(tmp_path)
    Path("number.json").write_text('{"code": {"a.py": 1}}')
    Path("list.json").write_text('{"design": ["Two files."]}')
    Path("text.md").write_text("Mine.")
    two_rounds(tmp_path)
    rows = kept(tmp_path)
    refused = fork_command(tmp_path, at, "--no-run", *arguments).exception
    assert isinstance(refused, InputError)
    assert str(refused).startswith(message)
    assert "\n" not in str(refused)
    assert sessions(tmp_path) == ["s"]
    assert kept(tmp_path) == rows


@pytest.mark.parametrize("path", ["../a.py", "/etc/a.py", "", ".git/config"])
def test_files_of_an_object_may_not_leave_the_project(path: str, tmp_path: Path) -> None:
    two_rounds(tmp_path)
    refused = fork_command(
        tmp_path, "coder", "--no-run", "--set", f"code={json.dumps({path: 'x'})}"
    ).exception
    assert isinstance(refused, SwarmError)


def test_a_fork_needs_a_request(tmp_path: Path) -> None:
    two_rounds(tmp_path)
    assert isinstance(fork_command(tmp_path, "0", "--no-run", "--set", "request= ").exception, InputError)


# --- pauses --------------------------------------------------------------------------------------

PAUSES = {"workflow": {"pause_before": ["coder"], "pause_after": ["architect"]}}


@ON_BOTH
def test_a_fork_waits_for_a_person_where_its_parent_does(tmp_path: Path) -> None:
    crew = Crew()
    old = coordinator(tmp_path, crew, **PAUSES)
    assert old.run_workflow("Build it", session_id="s")["phase"] == "paused"
    rows = kept(tmp_path)
    fork(tmp_path, "after_architect", design="Two files.")
    before = len(crew.asks)
    new = coordinator(tmp_path, crew, **PAUSES)
    assert new.resume("f")["phase"] == "paused"
    assert [(pause.place, pause.value) for pause in new.pauses] == [("after architect", "Two files.")]
    assert new.resume("f", "approve")["phase"] == "paused"
    assert [pause.place for pause in new.pauses] == ["before coder"]
    assert new.resume("f", {"edit": "Three files."})["phase"] == "complete"
    assert crew.asked[before] == "coder"
    assert len(crew.asks) == before + 4
    assert "Three files." in crew.prompts("coder")[0]
    assert kept(tmp_path) == rows
    assert find_session(tmp_path, "s").phase == "paused"
    assert old.resume("s")["phase"] == "paused"
    assert [pause.value for pause in old.pauses] == ["One file."]


def test_a_fork_before_the_role_asks_it_again_and_then_waits(tmp_path: Path) -> None:
    coordinator(tmp_path, Crew(), **PAUSES).run_workflow("Build it", session_id="s")
    fork(tmp_path, "architect", requirements="Only mine.")
    crew = Crew({"architect": "Four files."})
    new = coordinator(tmp_path, crew, **PAUSES)
    assert new.resume("f")["phase"] == "paused"
    assert crew.asked == ["architect"]
    assert "Only mine." in crew.prompts("architect")[0]
    assert [pause.value for pause in new.pauses] == ["Four files."]


def test_a_fork_behind_a_pause_does_not_ask_the_person_again(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew(), **PAUSES)
    for decision in (None, "approve", "approve"):
        swarm.resume("s", decision) if decision else swarm.run_workflow("Build it", session_id="s")
    assert swarm.state["phase"] == "complete"
    fork(tmp_path, "coder", design="Two files.")
    crew = Crew()
    assert coordinator(tmp_path, crew, **PAUSES).resume("f")["phase"] == "complete"
    assert len(crew.asks) == 4


def test_plain_text_before_a_pause_sets_the_key_of_its_role(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew(), **PAUSES)
    swarm.run_workflow("Build it", session_id="s")
    swarm.resume("s", "approve")
    (tmp_path / "edit.md").write_text("Two files.")
    state = made(tmp_path, "before_coder", "--edit", str(tmp_path / "edit.md"))
    assert state["design"] == "Two files."
    refused = cli(tmp_path, "fork", "s", "--from", "after_architect", "--edit", str(tmp_path / "edit.md"))
    assert "plain text does not say which key to set before after_architect" in str(refused.exception)


def test_a_pause_before_the_coder_belongs_to_the_round_that_it_opens(tmp_path: Path) -> None:
    crew = Crew({"reviewer": in_two_rounds})
    swarm = coordinator(tmp_path, crew, workflow={"pause_before": ["coder"]})
    swarm.run_workflow("Build it", session_id="s")
    swarm.resume("s", "approve")
    found = past(tmp_path)
    assert [moment.round for moment in found if "before_coder" in moment.next] == [1, 2]
