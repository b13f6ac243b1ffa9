"""Running sessions as the seed's users do: files, state JSON, figures, resume, follow-up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from storages import ON_BOTH, opened, stored_rows
from support import APPROVED, CODE, REFUSED, SIMULATED, Crew, config, thread

from swarm_graph import AgentRole, SwarmCoordinator, Task, TaskStatus
from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.places import Places
from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, InputError, StorageError, UnfinishedSession
from swarm_graph.events import Event
from swarm_graph.models.invented import Ask
from swarm_graph.sessions.ids import validated_session_id
from swarm_graph.state import WorkflowName, empty_state
from swarm_graph.workflows.build import build_graph

NAMES = ["generated_code.txt", "generated_docs.txt", "generated_tests.txt", "notes.md", "review_results.txt"]


def coordinator(
    folder: Path, crew: Crew | None = None, settings: SwarmConfig | None = None
) -> SwarmCoordinator:
    return SwarmCoordinator(
        settings or config(),
        data_dir=folder / ".swarm",
        output_dir=folder / "out",
        context=crew.context if crew else None,
    )


def files(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_full_session_writes_the_seed_s_files(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    state = swarm.run_workflow("Build it", "full", session_id="s1")
    assert state["phase"] == "complete"
    written = files(tmp_path / "out" / "s1")
    project = ["project/README.md", "project/src/a.py", "project/tests/test_a.py"]
    assert sorted(written) == sorted([*NAMES, *project, "swarm_state_s1.json"])
    assert written["project/src/a.py"] == "x = 1\n"
    assert written["generated_code.txt"] == "===== src/a.py =====\nx = 1\n"
    assert "reviewer: approved" in written["review_results.txt"]
    assert swarm.files
    assert swarm.files.files() == sorted(written)


def test_state_json_has_the_seed_s_structure(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    swarm.run_workflow("Build it", "standard", session_id="s1")
    document = json.loads((tmp_path / "out/s1/swarm_state_s1.json").read_text())
    assert document["workflow_id"] == "s1"
    assert document["phase"] == "complete"
    assert document["iteration"] == 1
    coding = document["context"]["coding_coder"]
    assert coding["task_id"] == "T003_code"
    assert "x = 1" in coding["result"]
    assert coding["completed_at"] == 1000.0
    first = document["completed_tasks"][0]
    assert (first["task_id"], first["status"]) == ("T001_clarify", "COMPLETED")
    assert document["metrics"]["reviewer"]["total_calls"] == 3
    swarm.save_state(tmp_path / "mine.json")
    assert json.loads((tmp_path / "mine.json").read_text()) == document


def test_the_seed_s_way_to_read_results(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    swarm.run_workflow(user_request="Create a CSV parser with error handling", workflow_type="standard")
    code_task = next(t for t in swarm.completed_tasks if t.task_type == "coding")
    assert code_task.result == "```python path=src/a.py\nx = 1\n```"
    metrics = swarm.get_metrics_summary()
    assert sum(m["total_tokens"] for m in metrics["agents"].values()) > 0
    assert metrics["agents"]["coder"]["successful_calls"] == 1


@ON_BOTH
def test_a_model_that_fails_does_not_raise_and_resume_asks_only_for_the_rest(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("out of memory")})
    swarm = coordinator(tmp_path, crew)
    state = swarm.run_workflow("Build it", "standard", session_id="s1")
    assert state["phase"] == "failed"
    failed = [t for t in swarm.completed_tasks if t.status == TaskStatus.FAILED]
    assert [(t.task_id, t.task_type) for t in failed] == [("T003_code", "coding")]
    assert "out of memory" in (failed[0].error or "")
    assert (tmp_path / "out/s1/notes.md").is_file()
    crew.script["coder"] = Crew().script["coder"]
    before = len(crew.asks)
    again = coordinator(tmp_path, crew)
    assert again.resume("s1")["phase"] == "complete"
    assert crew.asked[before] == "coder"
    assert again.get_metrics_summary()["agents"]["coder"]["total_calls"] == 2
    assert again.get_metrics_summary()["agents"]["coder"]["successful_calls"] == 1
    assert all(t.status == TaskStatus.COMPLETED for t in again.completed_tasks)


def test_files_after_a_failure_and_a_resume_are_those_of_an_unbroken_run(tmp_path: Path) -> None:
    def late(ask: Ask) -> str:
        return APPROVED if ask.iteration == 2 else REFUSED

    coordinator(tmp_path / "a", Crew({"reviewer": late})).run_workflow("Build it", "full", session_id="s")
    crew = Crew({"reviewer": late, "debugger": ValueError("broken")})
    coordinator(tmp_path / "b", crew).run_workflow("Build it", "full", session_id="s")
    crew.script["debugger"] = Crew().script["debugger"]
    coordinator(tmp_path / "b", crew).resume()
    unbroken, resumed = (files(tmp_path / name / "out" / "s") for name in "ab")
    state = json.loads(unbroken.pop("swarm_state_s.json"))
    resumed_state = json.loads(resumed.pop("swarm_state_s.json"))
    assert resumed == unbroken
    assert resumed_state["context"] == state["context"]


def test_deleted_files_leave_the_project(tmp_path: Path) -> None:
    def code(ask: Ask) -> str:
        if ask.iteration == 1:
            return "```python path=a.py\nx = 1\n```\n```python path=b.py\ny = 1\n```"
        return "DELETE b.py\n```python path=a.py\nx = 2\n```"

    crew = Crew({"coder": code, "reviewer": lambda ask: APPROVED if ask.iteration == 2 else REFUSED})
    state = coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    assert state["code"] == {"a.py": "x = 2\n"}
    assert not (tmp_path / "out/s/project/b.py").exists()


def test_a_file_may_become_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    answers = ["lib.py", "lib.py/a/one.py", "lib.py"]
    crew = Crew({"coder": lambda _: f"```python path={answers.pop(0)}\nx = 1\n```"})
    for number, left in enumerate((["lib.py"], ["lib.py/a/one.py"], ["lib.py"])):
        worker = coordinator(tmp_path, crew)
        state = worker.run_workflow("Build it", session_id="s", follow_up=number > 0)
        assert state["phase"] == "complete"
        project = tmp_path / "out/s/project"
        assert [str(path.relative_to(project)) for path in project.rglob("*.py") if path.is_file()] == left


def test_files_that_no_session_wrote_are_not_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.md").write_text("My own notes.")
    worker = SwarmCoordinator(config(), data_dir=tmp_path, output=mine, context=Crew().context)
    with pytest.raises(InputError, match=r"holds 'notes\.md', which no session of this database wrote"):
        worker.run_workflow("Build it", session_id="s")
    assert files(mine) == {"notes.md": "My own notes."}
    (mine / "notes.md").rename(mine / "own.md")
    for name in ("s", "t"):
        assert worker.run_workflow("Build it", session_id=name)["phase"] == "complete"
    assert (mine / "own.md").read_text() == "My own notes."


def test_a_session_costs_the_same_after_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    places = Catalogue.places

    def counted(self: Catalogue, name: str) -> Places:
        asked.append(name)
        return places(self, name)

    monkeypatch.setattr(Catalogue, "places", counted)
    swarm = SwarmCoordinator(config(), data_dir=tmp_path, output=tmp_path / "all", context=Crew().context)
    costs = []
    for number in range(4):
        asked.clear()
        swarm.run_workflow("Build it", session_id=f"s{number}")
        costs.append(len(asked))
    assert costs[1] == costs[2] == costs[3] < 20


def test_half_a_character_in_a_request_is_refused_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the request holds bytes that are not UTF-8 text"):
        coordinator(tmp_path, Crew()).run_workflow("Build \ud800")
    assert not (tmp_path / "out").exists()


def test_session_started_names_the_nodes_that_ended_before(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("broken")})
    coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    crew.script["coder"] = Crew().script["coder"]
    heard: list[Event] = []
    worker = coordinator(tmp_path, crew)
    worker.on_event = heard.append
    worker.resume("s")
    assert heard[0].data["done"] == ["clarifier", "architect"]
    heard.clear()
    worker.run_workflow("More", session_id="s", follow_up=True)
    assert heard[0].data["done"] == []


@ON_BOTH
def test_an_existing_session_is_refused_and_a_follow_up_is_not(tmp_path: Path) -> None:
    crew = Crew()
    coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    with pytest.raises(InputError, match="session 's' exists"):
        coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    state = coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    assert state["request"] == "More"
    with pytest.raises(InputError, match="no session 'other' to follow up"):
        coordinator(tmp_path, crew).run_workflow("More", session_id="other", follow_up=True)


@ON_BOTH
def test_a_follow_up_of_an_unfinished_session_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("broken")})
    coordinator(tmp_path, crew).run_workflow("Build it", session_id="s")
    before = files(tmp_path / "out")
    with pytest.raises(
        UnfinishedSession, match=r"has not ended \(failed\); resume it with `swarm-graph resume s`"
    ):
        coordinator(tmp_path, crew).run_workflow("More", session_id="s", follow_up=True)
    assert files(tmp_path / "out") == before
    crew.script["coder"] = Crew().script["coder"]
    assert coordinator(tmp_path, crew).resume("s")["request"] == "Build it"


@ON_BOTH
def test_resume_without_an_id_takes_the_newest_unfinished(tmp_path: Path) -> None:
    crew = Crew({"coder": ValueError("broken")})
    coordinator(tmp_path, crew).run_workflow("One", session_id="one")
    coordinator(tmp_path, Crew()).run_workflow("Two", session_id="two")
    crew.script["coder"] = Crew().script["coder"]
    swarm = coordinator(tmp_path, crew)
    swarm.resume()
    assert swarm.session_id == "one"
    with pytest.raises(InputError, match="no unfinished session"):
        swarm.resume()


def test_reading_an_ended_session_leaves_the_configuration(tmp_path: Path) -> None:
    coordinator(tmp_path, Crew()).run_workflow("Build it", session_id="a")
    swarm = coordinator(tmp_path, Crew(), config(workflow={"pause_before": ["coder"]}))
    assert swarm.resume("a")["phase"] == "complete"
    assert swarm.run_workflow("Build it", session_id="b")["phase"] == "paused"


def test_a_coordinator_without_a_config_uses_what_the_session_began_with(tmp_path: Path) -> None:
    def unconfigured() -> SwarmCoordinator:
        return SwarmCoordinator(data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")

    began = {**SIMULATED, "workflow": {"pause_before": ["coder"], "max_iterations": 1}}
    file = tmp_path / "began.json"
    file.write_text(json.dumps(began))
    for session, source in (("from a file", str(file)), ("from a dict", began)):
        first = SwarmCoordinator(source, data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")
        name = session.replace(" ", "-")
        assert first.run_workflow("Build it", session_id=name)["phase"] == "paused"
        swarm = unconfigured()
        assert swarm.resume(name, "approve")["phase"] == "complete"
        assert swarm.config.is_simulated
        assert swarm.config_file == (str(file) if source == str(file) else "")
        assert swarm.last_round == 1
        ended = unconfigured()
        assert ended.resume(name)["phase"] == "complete"
        assert ended.document()["simulated"] is True


def test_a_coordinator_says_what_it_is(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    assert repr(swarm) == "SwarmCoordinator(no session yet)"
    assert "No session yet" in swarm._repr_html_()
    with pytest.raises(InputError, match="there is no session to ask about"):
        swarm.ask("why")
    swarm.run_workflow("Build it", session_id="s")
    assert repr(swarm) == "SwarmCoordinator(session 's', standard: complete)"


@ON_BOTH
def test_a_question_sees_the_result_and_changes_nothing(tmp_path: Path) -> None:
    crew = Crew({"architect": "# Design\n\nA deque.", "your question": "Because appends are fast."})
    swarm = coordinator(tmp_path, crew)
    swarm.run_workflow("Build it", session_id="s")
    before = files(tmp_path / "out")
    rows = stored_rows(tmp_path / ".swarm", "s")
    assert swarm.ask("Why a deque?") == "Because appends are fast."
    (asked,) = crew.prompts("your question")
    assert crew.asks[-1].role == "architect"
    assert "Why a deque?" in asked
    assert "A deque." in asked
    assert CODE.replace("{round}", "1") in asked
    assert files(tmp_path / "out") == before
    assert stored_rows(tmp_path / ".swarm", "s") == rows
    with pytest.raises(InputError, match="the question is empty"):
        swarm.ask(" ")


def test_a_session_that_cannot_start_is_not_confused_with_the_one_before(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    swarm.run_workflow("Build it", session_id="a")
    (tmp_path / "out/b").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot write to the output folder"):
        swarm.run_workflow("Build it", session_id="b")
    assert (swarm.session_id, swarm.state) == ("b", empty_state())
    assert (swarm.completed_tasks, swarm.files) == ([], None)


@pytest.mark.parametrize("workflow", get_args(WorkflowName))
def test_the_state_of_each_workflow_has_every_key(workflow: WorkflowName, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    if workflow == "custom":
        swarm.add_task(Task("a", "task", "Do it", AgentRole.CODER))
    assert swarm.state == empty_state()
    state = swarm.run_workflow("Build it", workflow, session_id="a")
    assert state["phase"] == "complete"
    assert state.keys() >= empty_state().keys()
    assert swarm.resume("a") == state


def test_the_state_of_a_session_that_failed_or_waits_has_every_key(tmp_path: Path) -> None:
    failed = coordinator(tmp_path, Crew({"clarifier": ValueError("broken")})).run_workflow("Build it")
    assert (failed["phase"], failed.keys()) == ("failed", empty_state().keys())
    settings = config(workflow={"pause_before": ["coder"]})
    waiting = build_graph("standard", config=settings).invoke({"request": "Build it"}, context=Crew().context)
    assert waiting.keys() == {*empty_state(), "__interrupt__"}


def test_a_session_of_an_earlier_version_has_every_key(tmp_path: Path) -> None:
    with opened(tmp_path) as saver:
        graph = build_graph("review_only", config=config(), checkpointer=saver)
        graph.invoke({"request": "x = 1"}, thread(), context=Crew().context)
        saved = saver.get_tuple(thread())
        assert saved
        for key in ("design", "codes"):
            saved.checkpoint["channel_values"].pop(key)
            saved.checkpoint["channel_versions"].pop(key)
        saver.put(saved.config, saved.checkpoint, saved.metadata, {})
        assert "codes" not in graph.get_state(thread()).values
        assert graph.invoke(None, thread())["codes"] == []


def test_without_checkpointing_nothing_is_kept(tmp_path: Path) -> None:
    settings = config(features={"enable_checkpointing": False})
    state = coordinator(tmp_path, Crew(), settings).run_workflow("Build it")
    assert state["phase"] == "complete"
    assert not (tmp_path / ".swarm").exists()


def test_events_reach_the_caller_and_a_running_loop_may_call_it(tmp_path: Path) -> None:
    seen: list[Event] = []

    async def in_jupyter() -> Any:
        swarm = coordinator(tmp_path, Crew())
        swarm.on_event = seen.append
        return swarm.run_workflow("Build it", "review_only", session_id="s")

    assert asyncio.run(in_jupyter())["phase"] == "complete"
    ended = [event for event in seen if event.kind == "call_ended"]
    assert {event.session for event in seen if event.kind != "verdict"} == {"s"}
    assert [event.data["outcome"] for event in ended] == ["answered"] * 4


def test_without_a_model_nothing_is_written(tmp_path: Path) -> None:
    swarm = SwarmCoordinator({}, data_dir=tmp_path / ".swarm", output_dir=tmp_path / "out")
    with pytest.raises(ConfigError, match="no model is configured"):
        swarm.run_workflow("Build it")
    assert list(tmp_path.iterdir()) == []


def test_a_symlink_in_the_project_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    project = tmp_path / "out/s/project"
    project.mkdir(parents=True)
    (project / "src").symlink_to(outside)
    with pytest.raises(StorageError, match="is a symlink"):
        coordinator(tmp_path, Crew()).run_workflow("Build it", session_id="s")
    assert list(outside.iterdir()) == []


def test_a_file_where_the_output_should_be_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    crew = Crew()
    with pytest.raises(InputError, match="cannot write to the output folder"):
        coordinator(tmp_path, crew).run_workflow("Build it")
    assert crew.asks == []


@pytest.mark.parametrize("bad", ["../x", ".hidden", "a/b", "a b", "x" * 65, "ä", "-x"])
def test_session_ids_that_could_name_other_files_are_refused(bad: str) -> None:
    with pytest.raises(InputError, match="is not allowed"):
        validated_session_id(bad)


def test_default_session_ids_are_legal_and_differ() -> None:
    ids = {new_session_id() for _ in range(50)}
    assert len(ids) > 45
    assert {validated_session_id(session) for session in ids} == ids


def test_verbose_logging_shows_every_step_on_stderr(tmp_path: Path) -> None:
    code = (
        "from swarm_graph import SwarmCoordinator\n"
        f"settings = {SIMULATED | {'workflow': {'verbose_logging': True}}!r}\n"
        "SwarmCoordinator(settings).run_workflow('x', 'review_only', session_id='s')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "INFO task_ended session=s node=review_style" in done.stderr
