"""The custom workflow: tasks in the input state, routes, expansions, failures, resumes, with every saver."""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from support import APPROVED, REFUSED, Crew, config, thread

from swarm_graph import AgentRole, SwarmCoordinator, Task, TaskStatus, build_graph, open_checkpointer
from swarm_graph.errors import ConfigError, InputError, ModelError, Stopped, UnfinishedSession
from swarm_graph.models.invented import Ask
from swarm_graph.roles.run import RunOptions, StopFlag
from swarm_graph.tasks.results import csv_table, result_row

TYPED = {
    "type": "object",
    "properties": {"kind": {"enum": ["pump", "valve"]}, "count": {"type": "integer"}},
    "required": ["kind"],
}


def task(name: str, *dependencies: str, role: str = "documenter", **more: Any) -> dict[str, Any]:
    return {
        "task_id": name,
        "assigned_role": role,
        "description": f"Do {name}.",
        "dependencies": list(dependencies),
        **more,
    }


def given(tasks: list[Any], **more: Any) -> Any:
    """The input of a custom graph."""
    return {"tasks": tasks, **more}


def named(ask: Ask) -> str:
    return f"I am {ask.node}."


def crew(**script: Any) -> Crew:
    return Crew({"documenter": named, **script})


def expansion(*tasks: dict[str, Any], plan: str = "The plan.") -> str:
    return json.dumps(
        {"plan": plan, "tasks": [{"assigned_role": "documenter", "description": "d", **one} for one in tasks]}
    )


def run(tasks: list[Any], crew: Crew, **settings: Any) -> dict[str, Any]:
    graph = build_graph("custom", config=config(**settings))
    return dict(graph.invoke(given(tasks), context=crew.context)["tasks"])


def statuses(tasks: dict[str, Any]) -> dict[str, str]:
    return {name: record["status"] for name, record in tasks.items()}


# --- prompts and answers of tasks ----------------------------------------------------------------


def test_a_prompt_holds_request_data_files_and_results_of_dependencies(tmp_path: Path) -> None:
    (tmp_path / "pump.txt").write_text("Pump P-101")
    actors = crew()
    tasks = [task("a"), task("b", "a", metadata={"doc_id": 7}, files=[str(tmp_path / "pump.txt")])]
    graph = build_graph("custom", config=config())
    graph.invoke(given(tasks, request="Parse LAO"), context=actors.context)
    prompt = actors.prompts("b")[0]
    assert "You are the documenter" in prompt
    for expected in ("Parse LAO", "Do b.", '"doc_id": 7', "pump.txt", "Pump P-101", 'task="a"', "I am a."):
        assert expected in prompt
    assert "I am" not in actors.prompts("a")[0]


def test_every_role_answers_in_its_own_form() -> None:
    tasks = [task(role, role=role) for role in AgentRole]
    done = run(tasks, Crew())
    assert set(statuses(done).values()) == {"COMPLETED"}
    assert done["clarifier"]["result"].startswith("## Requirements")
    assert "path=src/a.py" in done["coder"]["result"]
    assert done["reviewer"]["value"] == {"approved": True, "verdict": "approve", "findings": []}


def test_a_prompt_of_the_task_shows_its_data_and_takes_plain_text(tmp_path: Path) -> None:
    prompt = tmp_path / "extract.md"
    prompt.write_text("Extract from $unit, as the $role.\n---\nHere: $files")
    (tmp_path / "a.txt").write_text("The text")
    actors = crew(coder="No file, only words.")
    tasks = [
        task("a", role="coder", prompt=str(prompt), files=[str(tmp_path / "a.txt")], metadata={"unit": "U-1"})
    ]
    assert run(tasks, actors)["a"]["result"] == "No file, only words."
    assert actors.asks[0].prompt.startswith("Extract from U-1, as the coder.\nHere: ```")


def test_a_typed_answer_is_checked_and_asked_for_again_once() -> None:
    answers = iter(['{"kind": "pmp"}', 'Sure: {"kind": "pump", "count": 2}'])
    actors = crew(coder=lambda _: next(answers))
    done = run([task("a", role="coder", answer=TYPED)], actors)["a"]
    assert done["value"] == {"kind": "pump", "count": 2}
    assert done["note"] == "repaired"
    assert "'pmp' is not one of" in actors.prompts("a")[1]
    assert json.dumps(TYPED) in actors.prompts("a")[0]


def test_a_typed_answer_that_never_fits_fails_its_task() -> None:
    with pytest.raises(ModelError, match="a: the coder's answer holds no JSON object"):
        run([task("a", role="coder", answer=TYPED)], crew(coder="no"))


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (str(2**70), "count is a number of more than 64 bits"),
        ("NaN", "count is nan"),
        ("1e999", "count is inf"),
        ("[" * 300 + "]" * 300, "count.0.0.0… is nested more than 64 deep"),
    ],
)
def test_a_typed_answer_that_cannot_be_kept_fails_its_task_only(odd: str, why: str, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"kind": {"type": "string"}}}
    actors = crew(a=f'{{"kind": "pump", "count": {odd}}}')
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        with pytest.raises(ModelError, match=f"cannot be kept: {why}"):
            graph.invoke(given([task("a", answer=schema), task("b")]), thread(), context=actors.context)
        actors.script["a"] = '{"kind": "pump", "count": 1}'
        done = graph.invoke(None, thread(), context=actors.context)
    assert statuses(done["tasks"]) == {"a": "COMPLETED", "b": "COMPLETED"}


def test_an_unexpected_error_fails_one_task_only() -> None:
    class Saver(InMemorySaver):
        async def aput(self, config: RunnableConfig, *rest: Any) -> RunnableConfig:
            if config["configurable"]["thread_id"].endswith("a"):
                raise TypeError("cannot be packed")
            return await super().aput(config, *rest)

    graph = build_graph("custom", config=config(), checkpointer=Saver())
    with pytest.raises(ModelError, match=r"1 of 2 tasks failed \(a\); .*a: unexpected TypeError: cannot be"):
        graph.invoke(given([task("a"), task("b")]), thread(), context=crew().context)
    assert statuses(graph.get_state(thread()).values["tasks"]) == {"a": "FAILED", "b": "COMPLETED"}


def test_a_task_may_have_its_own_model_and_parameters() -> None:
    entry = {"model": "small", "api_type": "simulated"}
    models = {"mode": "multi", "multi_model": {"documenter": entry, "big": {**entry, "model": "large"}}}
    coordinator = SwarmCoordinator(config(model_config=models, features={"enable_checkpointing": False}))
    coordinator.add_task(Task("a", "t", "d", AgentRole.DOCUMENTER))
    coordinator.add_task(
        Task("b", "t", "d", AgentRole.DOCUMENTER, model="big", parameters={"temperature": 0.1})
    )
    coordinator.run_workflow("", "custom")
    assert {call["task"]: call["model"] for call in coordinator._run.tracker.calls} == {
        "a": "small",
        "b": "large",
    }
    with pytest.raises(ConfigError, match=r"task 'c': no model 'bg'; entries of .*: documenter, big"):
        build_graph("custom", config=config(model_config=models)).invoke(given([task("c", model="bg")]))


# --- routes --------------------------------------------------------------------------------------

ROUTED = [
    task("draft"),
    task("check", "draft", role="reviewer"),
    task("mend", when="check.verdict == 'revise'"),
    task("keep", when="check.verdict == 'approve'"),
    task("end", "mend", "keep"),
    task("after", "mend"),
]


@pytest.mark.parametrize(
    ("verdict", "goes", "stays"), [(APPROVED, "keep", "mend"), (REFUSED, "mend", "keep")]
)
def test_conditions_choose_a_branch_and_branches_join(verdict: str, goes: str, stays: str) -> None:
    actors = crew(reviewer=verdict)
    done = run(ROUTED, actors)
    assert (done[goes]["status"], done[stays]["status"], done["end"]["status"]) == (
        "COMPLETED",
        "SKIPPED",
        "COMPLETED",
    )
    assert done[stays]["note"] == f"not started: {done[stays]['spec']['when']} does not hold"
    assert f"I am {goes}." in actors.prompts("end")[0]
    if stays == "mend":
        assert done["after"]["note"] == "not started: all its dependencies were skipped"
        assert "after" not in actors.asked


def test_a_condition_on_a_skipped_task_does_not_hold() -> None:
    tasks = [task("a"), task("b", when="a.result == 'x'"), task("c", "a", when="b.result != 'y'")]
    done = run(tasks, crew())
    assert done["c"]["note"] == "not started: b.result != 'y' reads 'b', which was skipped"


def test_a_condition_that_fails_fails_its_task() -> None:
    with pytest.raises(ModelError, match=r"b: the condition 'a.result > 1' fails: .*a has result"):
        run([task("a"), task("b", when="a.result > 1")], crew())


# --- expansions ----------------------------------------------------------------------------------


def test_a_task_adds_tasks_and_its_dependents_wait_for_them() -> None:
    answer = expansion({"task_id": "x"}, {"task_id": "y", "dependencies": ["x"]})
    actors = crew(split=answer)
    done = run([task("end", "split"), task("split", role="architect", expands=True, priority=9)], actors)
    assert actors.asked == ["split", "split.x", "split.y", "end"]
    assert done["split.y"]["spec"]["dependencies"] == ["split", "split.x"]
    assert done["split.y"]["spec"]["priority"] == 9
    assert done["split.y"]["rank"] == [1, 1]
    prompt = actors.prompts("end")[0]
    assert "The plan." in prompt
    assert "I am split.x." in prompt
    assert "I am split.y." in prompt


def test_an_added_task_may_add_tasks_and_a_cycle_in_an_answer_is_asked_again() -> None:
    circle = expansion({"task_id": "x", "dependencies": ["y"]}, {"task_id": "y", "dependencies": ["x"]})
    answers = iter([circle, expansion({"task_id": "x", "expands": True})])
    actors = crew(split=lambda _: next(answers), **{"split.x": expansion({"task_id": "z"})})
    run([task("split", role="architect", expands=True), task("end", "split")], actors)
    assert "form a cycle" in actors.prompts("split")[1]
    assert actors.asked[2:] == ["split.x", "split.x.z", "end"]


def test_an_endless_expansion_is_bounded() -> None:
    endless = crew(architect=expansion({"task_id": "x", "assigned_role": "architect", "expands": True}))
    tasks = [task("a", role="architect", expands=True), task("b")]
    with pytest.raises(ModelError, match=r"1 of 10 tasks failed .*workflow.max_tasks \(10\) is reached"):
        run(tasks, endless, workflow={"max_tasks": 10})
    assert len(endless.asked) == 9
    assert "b" in endless.asked


def test_an_expansion_of_too_many_tasks_is_refused_as_a_whole() -> None:
    actors = crew(architect=expansion(*({"task_id": f"x{n}"} for n in range(5))))
    with pytest.raises(ModelError, match="adds 5 tasks, but only 3 more are allowed"):
        run([task("a", role="architect", expands=True)], actors, workflow={"max_tasks": 4})
    assert actors.asked == ["a", "a"]


# --- failures and resumes ------------------------------------------------------------------------

RAGGED = [
    task("a"),
    task("bad", "a"),
    task("hangs", "bad"),
    task("deeper", "hangs"),
    task("c", "a"),
    task("routed", "c", when="c.result == 'never'"),
]


GOOD = expansion({"task_id": "good"})
EMPTY = ""
"""An answer that stays invalid after the repair question."""


def open_saver(name: str, folder: Path) -> Any:
    if name == "memory":
        return InMemorySaver()
    if name == "sqlite":
        return SqliteSaver(sqlite3.connect(folder / "x.db", check_same_thread=False))
    return open_checkpointer(folder / "swarm.db")


@pytest.mark.parametrize("name", ["ours", "memory", "sqlite"])
def test_a_failure_skips_its_dependents_and_a_resume_asks_only_these(name: str, tmp_path: Path) -> None:
    saver = open_saver(name, tmp_path)
    graph = build_graph("custom", config=config(), checkpointer=saver)
    with pytest.raises(
        ModelError, match=r"1 of 6 tasks failed \(bad\) and 2 that depend on them were not started"
    ):
        graph.invoke(given(RAGGED), thread(), context=crew(bad=EMPTY).context)
    kept = graph.get_state(thread()).values["tasks"]
    assert statuses(kept) == {
        "a": "COMPLETED", "bad": "FAILED", "hangs": "SKIPPED", "deeper": "SKIPPED", "c": "COMPLETED",
        "routed": "SKIPPED",
    }  # fmt: skip
    assert kept["deeper"]["error"] == "not started: 'bad' failed"
    mended = crew()
    done = graph.invoke(None, thread(), context=mended.context)["tasks"]
    assert mended.asked == ["bad", "hangs", "deeper"]
    assert [done[name]["result"] for name in ("a", "bad", "deeper")] == [
        "I am a.",
        "I am bad.",
        "I am deeper.",
    ]
    assert "error" not in done["bad"]
    assert graph.invoke(None, thread(), context=mended.context)["tasks"] == done
    if name == "sqlite":
        saver.conn.close()


def test_a_resume_asks_a_failed_added_task_and_its_dependents(tmp_path: Path) -> None:
    parts = expansion({"task_id": "x"}, {"task_id": "y", "dependencies": ["x"]}, {"task_id": "z"})
    tasks = [task("split", role="architect", expands=True), task("end", "split")]
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        with pytest.raises(ModelError, match=r"1 of 5 tasks failed \(split\.x\) and 2 that depend on them"):
            graph.invoke(given(tasks), thread(), context=crew(split=parts, **{"split.x": EMPTY}).context)
        mended = crew()
        done = graph.invoke(None, thread(), context=mended.context)["tasks"]
    assert mended.asked == ["split.x", "split.y", "end"]
    assert set(statuses(done).values()) == {"COMPLETED"}
    for added in ("x", "y", "z"):
        assert f"I am split.{added}." in mended.prompts("end")[0]


def test_an_added_task_cannot_take_an_existing_id() -> None:
    answers = iter([expansion({"task_id": "a"}), expansion({"task_id": "b.c"})])
    for wrong in ("has the id of another task", "holds a dot"):
        actors = crew(split=lambda ask: next(answers) if "problem" not in ask.prompt else GOOD)
        tasks = [task("split", role="architect", expands=True), task("split.a")]
        done = run(tasks, actors)
        assert wrong in actors.prompts("split")[1]
        assert done["split.good"]["result"] == "I am split.good."
        assert done["split.a"]["result"] == "I am split.a."


def stopping(at: str) -> tuple[Crew, RunOptions]:
    """A crew that stops the run at one of its tasks, and the options of such a run."""
    stop = StopFlag()

    def answer(ask: Ask) -> str:
        if ask.node == at:
            stop.set()
        return named(ask)

    crew = Crew({"documenter": answer})
    return crew, RunOptions(crew.context.model, clock=crew.context.clock, stop=stop)


@pytest.mark.parametrize("name", ["ours", "memory", "sqlite", "async"])
def test_a_stopped_run_keeps_finished_tasks_in_their_threads(name: str, tmp_path: Path) -> None:
    """Also with a saver that is not ours: no finished task is asked again."""
    tasks = [task("a"), task("b", "a"), task("c", "b"), task("d", "c")]

    async def with_async_saver() -> tuple[list[str], Any]:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "y.db")) as saver:
            graph = build_graph("custom", config=config(), checkpointer=saver)
            _, options = stopping("b")
            with pytest.raises(Stopped):
                await graph.ainvoke(given(tasks), thread(), context=options)
            again = crew()
            return again.asked, (await graph.ainvoke(None, thread(), context=again.context), again.asked)

    def with_saver() -> tuple[Any, list[str]]:
        saver = open_saver(name, tmp_path)
        graph = build_graph("custom", config=config(), checkpointer=saver)
        _, options = stopping("b")
        with pytest.raises(Stopped):
            graph.invoke(given(tasks), thread(), context=options)
        again = crew()
        state = graph.invoke(None, thread(), context=again.context)
        if name == "sqlite":
            saver.conn.close()
        return state, again.asked

    state, asked = asyncio.run(with_async_saver())[1] if name == "async" else with_saver()
    assert asked == ["c", "d"]
    assert {one: record["result"] for one, record in state["tasks"].items()} == {
        one: f"I am {one}." for one in "abcd"
    }


def test_a_follow_up_runs_new_tasks_and_takes_no_old_result(tmp_path: Path) -> None:
    for saver in (open_checkpointer(tmp_path / "swarm.db"), InMemorySaver()):
        graph = build_graph("custom", config=config(), checkpointer=saver)
        graph.invoke(given([task("a"), task("b")]), thread(), context=crew().context)
        again = Crew({"documenter": lambda ask: f"{ask.node} anew."})
        state = graph.invoke(given([task("a")]), thread(), context=again.context)
        assert {name: record["result"] for name, record in state["tasks"].items()} == {"a": "a anew."}


def test_new_tasks_for_an_unfinished_session_are_refused(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        with pytest.raises(ModelError):
            graph.invoke(given([task("a")]), thread(), context=crew(a=EMPTY).context)
        with pytest.raises(UnfinishedSession):
            graph.invoke(given([task("b")]), thread(), context=crew().context)


def test_an_ended_session_leaves_no_threads_of_its_tasks(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        graph.invoke(given(RAGGED), thread("s"), context=crew().context)
        graph.invoke(given(RAGGED[:1]), thread("s2"), context=crew().context)
        assert saver.catalogue.sessions()[0].request == "1 tasks"
    with closing(sqlite3.connect(tmp_path / "swarm.db")) as database:
        for table in ("checkpoints", "writes", "channel_values"):
            threads = {row[0] for row in database.execute(f"SELECT DISTINCT thread_id FROM {table}")}
            assert threads <= {"s", "s2"}


def test_a_cap_of_one_and_the_order_hold_after_a_resume(tmp_path: Path) -> None:
    tasks = [task(f"t{n}", priority=n % 3) for n in range(9)]
    settings = {"workflow": {"max_parallel_agents": 1}}
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(**settings), checkpointer=saver)
        before, options = stopping("t8")
        with pytest.raises(Stopped):
            graph.invoke(given(tasks), thread(), context=options)
        after = crew()
        graph.invoke(None, thread(), context=after.context)
    assert [*before.asked, *after.asked] == ["t2", "t5", "t8", "t1", "t4", "t7", "t0", "t3", "t6"]


# --- callers -------------------------------------------------------------------------------------


def test_invoke_and_ainvoke_give_the_same_state_also_inside_a_running_loop() -> None:
    graph = build_graph("custom", config=config())

    async def inside() -> Any:
        return graph.invoke(given(RAGGED), context=crew().context)

    states = [
        graph.invoke(given(RAGGED), context=crew().context),
        asyncio.run(graph.ainvoke(given(RAGGED), context=crew().context)),
        asyncio.run(inside()),
    ]
    assert states[0] == states[1] == states[2]


def test_the_tasks_stream_their_tokens_and_events_through_the_graph() -> None:
    graph = build_graph("custom", config=config())
    parts = list(graph.stream(given(RAGGED[:1]), context=crew().context, stream_mode=["messages", "custom"]))
    texts = [part for mode, part in parts if mode == "messages"]
    events = [part for mode, part in parts if mode == "custom"]
    assert "".join(message.text for message, _ in texts) == "I am a."
    assert texts[0][1]["task"] == "a"
    kinds = [event["swarm_event"] for event in events]
    assert kinds == ["graph_started", "task_started", "call_started", "call_ended", "task_ended"]


def test_the_graph_checks_its_input_before_anything_is_written(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph("custom", config=config(), checkpointer=saver)
        wrong: list[tuple[Any, str]] = [
            ({}, "there are no tasks"),
            ({"request": "Build it"}, "there are no tasks"),
            ({"tasks": "T1"}, "the tasks are not a list"),
            ({"tasks": [task("a", "a")]}, "depends on itself"),
            ({"tasks": [task("a", files=["/nowhere/x.txt"])]}, "there is no file '/nowhere/x.txt'"),
            ("Build it", "the input is not an object"),
        ]
        for wrongly, expected in wrong:
            with pytest.raises(InputError, match=expected):
                graph.invoke(wrongly, thread())
        with pytest.raises(ConfigError, match=r"task 'a': no prompt 'extract\.md'"):
            graph.invoke(given([task("a", prompt="extract.md")]), thread())
        assert saver.catalogue.sessions() == []


def test_without_a_model_the_error_names_init_and_simulate() -> None:
    with pytest.raises(ConfigError, match="swarm-graph init"):
        build_graph("custom", config={}).invoke(given([task("a")]))


def test_pauses_are_refused_for_a_task_graph() -> None:
    with pytest.raises(ConfigError, match="do not apply to a custom workflow"):
        build_graph("custom", config=config(workflow={"pause_before": ["coder"]}))


# --- the coordinator -----------------------------------------------------------------------------


def test_the_coordinator_runs_added_tasks_and_shows_each(tmp_path: Path) -> None:
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path, output=tmp_path / "out", context=crew(bad=EMPTY).context
    )
    for one in RAGGED:
        coordinator.add_task(Task(**{"task_type": "work", **one}))
    with pytest.raises(InputError, match="two tasks have the id 'a'"):
        coordinator.add_task(Task("a", "work", "", AgentRole.CODER))
    with pytest.raises(InputError, match="run them with workflow_type='custom'"):
        coordinator.run_workflow("Build it")
    state = coordinator.run_workflow("", workflow_type="custom")
    assert state["phase"] == "failed"
    by_id = {one.task_id: one for one in coordinator.completed_tasks}
    assert list(by_id) == ["a", "bad", "hangs", "deeper", "c", "routed"]
    assert (by_id["a"].result, by_id["a"].task_type, by_id["a"].priority) == ("I am a.", "work", 5)
    assert by_id["bad"].status == TaskStatus.FAILED
    assert (
        by_id["bad"].error
        == "bad: the documenter's answer is empty (after one repair question); try a stronger model"
    )
    assert (by_id["hangs"].status, by_id["hangs"].error) == (TaskStatus.SKIPPED, "not started: 'bad' failed")
    document = coordinator.document()
    assert document["context"]["work_a"]["result"] == "I am a."
    assert [row["status"] for row in document["completed_tasks"]].count("SKIPPED") == 3
    assert coordinator.get_metrics_summary()["agents"]["documenter"]["total_calls"] == 4

    mended = crew()
    coordinator.context = mended.context
    assert coordinator.resume(coordinator.session_id)["phase"] == "complete"
    assert mended.asked == ["bad", "hangs", "deeper"]
    assert (tmp_path / "out" / "results" / "deeper.md").read_text() == "I am deeper.\n"


def test_the_files_of_a_custom_session(tmp_path: Path) -> None:
    code = "```python path=src/{}.py\nx = '{}'\n```"
    actors = Crew({
        "one": code.format("a", "one"), "two": code.format("a", "two"),
        "tests": "```python path=tests/t.py\nx\n```",
        "typed": '{"kind": "pump", "count": 3}', "doc": "=1+1", "review": REFUSED,
    })  # fmt: skip
    tasks = [
        task("two", "one", role="coder"),
        task("one", role="coder"),
        task("tests", role="tester"),
        task("typed", role="coder", answer=TYPED, metadata={"tag": "P-101"}),
        task("doc", metadata={"tag": "@x"}),
        task("review", role="reviewer"),
    ]
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path, output=tmp_path / "out", context=actors.context
    )
    for one in tasks:
        coordinator.add_task(Task(**{"task_type": "work", **one}))
    coordinator.run_workflow("", "custom")
    out = tmp_path / "out"
    assert (out / "project" / "src" / "a.py").read_text() == "x = 'two'\n"
    assert (out / "project" / "tests" / "t.py").exists()
    assert json.loads((out / "results" / "typed.json").read_text()) == {"kind": "pump", "count": 3}
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert rows[3] == {
        "task_id": "typed", "role": "coder", "status": "COMPLETED", "tag": "P-101", "kind": "pump",
        "count": 3, "remark": "",
    }  # fmt: skip
    table = (out / "results.csv").read_text()
    assert table.splitlines()[0] == "task_id,role,status,tag,kind,count,result,remark"
    assert "doc,documenter,COMPLETED,'@x,,,'=1+1," in table
    assert "It fails." in (out / "review_results.txt").read_text()
    assert "=====" not in (out / "results" / "one.md").read_text()
    assert "===== one =====" in (out / "generated_code.txt").read_text()
    assert "P-101" not in (out / "generated_code.txt").read_text()


def test_no_column_of_the_table_hides_another() -> None:
    answer = '{"status": "open", "role": "pump", "title": "T", "remark": "r", "result": 1}'
    data = {"status": "new", "title": "given", "result": "x", "unit": "U\r1\r\n2"}
    tasks = [
        task("a", answer={"type": "object", "properties": {"title": {}}}, metadata=data),
        task(
            "b", metadata=data, answer={"type": "object", "properties": {"title": {}}}, when="a.title == ''"
        ),
    ]
    done = run(tasks, crew(a=answer))
    assert result_row(done["a"]) == {
        "task_id": "a", "role": "documenter", "status": "COMPLETED", "input.status": "new",
        "input.title": "given", "input.result": "x", "unit": "U\r1\r\n2", "answer.status": "open",
        "answer.role": "pump", "title": "T", "answer.remark": "r", "answer.result": 1, "remark": "",
    }  # fmt: skip
    assert result_row(done["b"])["input.title"] == "given"
    assert "title" not in result_row(done["b"])
    assert [
        line["unit"] for line in csv.DictReader(csv_table([result_row(done["a"])]).splitlines(keepends=True))
    ] == ["U\n1\n2"]


def test_metadata_wins_over_built_in_holes_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("Sort $description by $role and $größe.\n---\n$request")
    data = {"description": "the pump", "role": "its age", "request": "a column", "größe": "its size"}
    actors = crew()
    run([task("a", prompt=str(tmp_path / "own.md"), metadata=data)], actors)
    assert actors.prompts("a")[0] == "Sort the pump by its age and its size.\na column"


def test_swaps_of_models_are_counted(tmp_path: Path) -> None:
    entry = {"api_type": "simulated", "slots": 1}
    models = {
        "mode": "multi",
        "multi_model": {"documenter": {**entry, "model": "A"}, "other": {**entry, "model": "B"}},
    }
    for affine, expected in ((True, 1), (False, 3)):
        settings = {"model_config": models, "workflow": {"enable_parallel": False}}
        coordinator = SwarmCoordinator(
            config(**settings), data_dir=tmp_path / str(affine), output=tmp_path / f"out-{affine}"
        )
        for number in range(4):
            priority = 5 if affine else 9 - number
            other: dict[str, Any] = {"model": "other"} if number % 2 else {}
            coordinator.add_task(
                Task(f"t{number}", "t", "d", AgentRole.DOCUMENTER, priority=priority, **other)
            )
        coordinator.run_workflow("", "custom")
        assert coordinator.get_metrics_summary()["model_swaps"] == expected
