"""Roles see passages from memory: which ones, where in the prompt, and how many in a small context."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from memories import RULE, RULES, BrokenStore, HangingStore, recalled, remember, remember_in, remembering
from procedures import PROCEDURES
from repositories import commit_files, make_repository
from servers.canned import Canned
from support import ANSWERS, Crew, config, thread, write_config
from test_tool_loop import Caller, call, crew, results

from swarm_graph import SwarmCoordinator, SwarmMemory, build_graph, open_checkpointer, open_store
from swarm_graph.cli.main import swarm_graph
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.events import Event
from swarm_graph.memory import patience, work
from swarm_graph.memory import recall as recall_module
from swarm_graph.memory.store import SwarmStore
from swarm_graph.prompts.template import read
from swarm_graph.state import DATABASE, SwarmContext

REQUEST: Any = {"request": "Write the valve command with its limit switch."}
RECALL = {"recall": {"architect": 2, "reviewer": 1}}
FINDING = (
    '{"findings": [{"severity": "major", "location": "src/valve.py", "problem": "It waits for no limit '
    'switch, against plant rule 7.", "suggestion": "Wait 5 s for it."}], "approved": false}'
)


def data_of(prompt: str) -> str:
    """What a prompt shows between the tags of memory; empty if it has no such block."""
    found = re.search(r"<(memory(?:-[0-9a-f]{12})?)>\n(.*)\n</\1>", prompt, re.DOTALL)
    return found[2] if found else ""


# --- an A/B on the simulated model ---------------------------------------------------------------


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A folder with the plant's rules in memory, and a reviewer that knows them only from there."""
    remember_in(tmp_path)
    script = f"<!-- when: {RULE} -->\n\n<!-- reviewer 1 -->\n\n{FINDING}\n"
    (tmp_path / "session.md").write_text(script)
    model = {
        "model": "simulated",
        "api_type": "simulated",
        "simulation": {"script": str(tmp_path / "session.md")},
    }
    write_config(
        tmp_path,
        model_config={"single_model": model},
        workflow={"max_iterations": 1},
        memory={"recall": {"reviewer": 2}},
    )
    return tmp_path


def run(folder: Path, *arguments: str, request: str = REQUEST["request"]) -> dict[str, Any]:
    """The state JSON of a session that the command line runs."""
    command = [
        "run", request, "-c", str(folder / "config.json"), "--data-dir", str(folder),
        "-o", str(folder / "out"), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(swarm_graph, [*command, *arguments])
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def plant_findings(document: dict[str, Any]) -> list[str]:
    """The places of the findings that rest on the plant's rule."""
    found: list[dict[str, str]] = document["findings"]
    return [finding["location"] for finding in found if "plant rule 7" in finding["problem"]]


def test_the_finding_is_made_with_memory_and_not_without(plant: Path) -> None:
    assert plant_findings(run(plant)) == ["src/valve.py"]
    assert plant_findings(run(plant, "--no-memory")) == []


def test_no_memory_holds_for_a_resume(plant: Path) -> None:
    """A session that began without memory goes on without, and one that began with it can go on without."""
    pause = json.loads((plant / "config.json").read_text()) | {
        "workflow": {"max_iterations": 1, "pause_before": ["coder"]}
    }
    (plant / "config.json").write_text(json.dumps(pause))

    def begun(session: str, *arguments: str) -> None:
        command = [
            "run",
            "Valves",
            "-c",
            str(plant / "config.json"),
            "--data-dir",
            str(plant),
            "--session",
            session,
        ]
        assert CliRunner().invoke(swarm_graph, [*command, *arguments]).exit_code == 3

    def resumed(session: str, *arguments: str) -> list[str]:
        command = ["resume", session, "--data-dir", str(plant), "--approve", "--json", *arguments]
        done = CliRunner().invoke(swarm_graph, command)
        assert done.exit_code == 0, done.output
        return plant_findings(json.loads(done.stdout))

    begun("with")
    begun("without", "--no-memory")
    begun("changed")
    assert len(resumed("with")) == 1
    assert resumed("without") == []
    assert resumed("changed", "--no-memory") == []


# --- the prompt ----------------------------------------------------------------------------------


def test_each_role_sees_its_passages_best_first_below_the_shared_data() -> None:
    crew = Crew()
    graph = build_graph(config=config(memory=RECALL), store=remembering())
    state = graph.invoke(REQUEST, context=crew.context)
    assert recalled(state, "architect") == ["rules.md", "tags.md"]
    assert [len(recalled(state, f"review_{one}")) for one in ("correctness", "performance", "style")] == [
        1,
        1,
        1,
    ]
    ((_, prompt),) = [ask.prompt.split("\n\n", 1) for ask in crew.asks if ask.node == "architect"]
    block = data_of(prompt)
    assert block.startswith(f"1. From rules.md, p. 1:\n```text\n{RULE}\n```\n\n2. From tags.md, p. 1:\n")
    assert prompt.index("</request>") < prompt.index("<memory>") < prompt.index("The block `memory`")
    assert "memory" not in crew.prompts("coder")[0]


def test_without_a_passage_the_prompt_has_no_byte_of_memory() -> None:
    with_memory, without = Crew(), Crew()
    state = build_graph(config=config(memory=RECALL), store=InMemoryStore()).invoke(
        REQUEST, context=with_memory.context
    )
    bare = build_graph(config=config()).invoke(REQUEST, context=without.context)
    assert {ask.prompt for ask in with_memory.asks} == {ask.prompt for ask in without.asks}
    assert [one["passages"] for one in state["recalled"]] == [[]] * 4
    assert {key: value for key, value in state.items() if key != "recalled"} == bare


def test_a_prompt_may_place_the_passages_itself(tmp_path: Path) -> None:
    data = read("architect").partition("\n---\n")[2]
    (tmp_path / "architect.md").write_text(f"Design.\n---\n<memory>\n$memory\n</memory>\n\n{data}")
    with_memory, without = Crew(), Crew()
    settings: dict[str, Any] = {"prompts_dir": str(tmp_path)}
    build_graph(config=config(**settings, memory=RECALL), store=remembering()).invoke(
        REQUEST, context=with_memory.context
    )
    build_graph(config=config(**settings)).invoke(REQUEST, context=without.context)
    (prompt,) = with_memory.prompts("architect")
    assert prompt.count("<memory>") == 1
    assert prompt.index(RULE) < prompt.index("<request>")
    assert data_of(without.prompts("architect")[0]) == "(none)"


def test_own_roles_and_own_workflows_recall(tmp_path: Path) -> None:
    (tmp_path / "estimator.yaml").write_text(
        "prompt: Estimate the work.\nreads: [request, memory_of_man]\nwrites: estimate\n"
    )
    (tmp_path / "recalling.py").write_text(
        "def estimates(graph):\n    graph.connect('__start__', graph.place('estimator'))\n"
        "    graph.connect('estimator', '__end__')\n"
    )
    (tmp_path / "estimator.yaml").write_text("prompt: Estimate the work.\nwrites: estimate\n")
    settings = config(
        roles={"estimator": str(tmp_path / "estimator.yaml")},
        workflows={"estimates": "recalling:estimates"},
        code_dir=str(tmp_path),
        memory={"recall": {"estimator": 1}},
    )
    crew = Crew({"estimator": "Two days."})
    workflow: Any = "estimates"
    state = build_graph(workflow, config=settings, store=remembering()).invoke(REQUEST, context=crew.context)
    assert recalled(state, "estimator") == ["rules.md"]
    assert RULE in data_of(crew.prompts("estimator")[0])


def test_tasks_recall_once_for_all_parts_of_their_files(tmp_path: Path) -> None:
    log = tmp_path / "log.md"
    log.write_text("\n\n".join(f"# Day {day}\n\n" + "All valves were quiet. " * 40 for day in range(6)))
    task = {
        "task_id": "Sum", "assigned_role": "documenter", "files": [str(log)], "split": 400,
        "description": "Which valve commands lack a limit switch?", "metadata": {"memory": "by heart"},
    }  # fmt: skip
    crew = Crew({"documenter": "None."})
    with open_checkpointer(":memory:") as saver:
        graph = build_graph(
            "custom",
            config=config(memory={"recall": {"documenter": 2}}),
            store=remembering(),
            checkpointer=saver,
        )
        state = graph.invoke(
            {"tasks": [task, {"task_id": "Other", "assigned_role": "coder"}]}, thread(), context=crew.context
        )
    assert len(crew.prompts("Sum")) > 3
    assert all(
        RULE in data_of(prompt) and "by heart" not in data_of(prompt) for prompt in crew.prompts("Sum")
    )
    assert recalled(state, "Sum") == ["rules.md", "tags.md"]
    assert "recalled" not in state["tasks"]["Sum"]
    assert "memory" not in crew.prompts("Other")[0]


def test_roles_on_a_repository_recall(tmp_path: Path) -> None:
    make_repository(tmp_path / "plant", {"valve.py": "OPEN = 1\n"})
    crew = Crew()
    settings = config(memory={"recall": {"architect": 1}}, repo={"path": str(tmp_path / "plant")})
    state = build_graph(config=settings, store=remembering()).invoke(REQUEST, context=crew.context)
    assert recalled(state, "architect") == ["rules.md"]
    assert RULE in data_of(crew.prompts("architect")[0])


def test_a_review_of_a_range_recalls_by_the_names_in_its_files(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "plant", {"valve.py": "OPEN = 1\n"})
    commit_files(
        folder, {"valve.py": "OPEN = 1\n\n\ndef limit_switch() -> int:\n    return OPEN\n"}, "Read it"
    )
    settings = config(memory={"recall": {"reviewer": 1}}, repo={"path": str(folder), "diff": "HEAD~1..."})
    state = build_graph("review_only", config=settings, store=remembering()).invoke(
        {"request": "Review it."}, context=Crew().context
    )
    assert recalled(state, "review_security") == ["rules.md"]


# --- the question to memory ----------------------------------------------------------------------

ENTRY = "Write a permit checker for entry into vessels: gas readings, attendant, expiry of the test."
REQUIREMENTS = """1. The module is written in Python 3.11 with type hints and docstrings.
2. Inputs are validated; invalid values raise ValueError with a clear message.
3. Oxygen, flammable gas and toxic gas are checked; a reading expires.
4. All functions are covered by unit tests; errors are logged, and no exception is swallowed.
Open points: the exact format of the configuration file is not specified."""
DESIGN = """## Overview
The package has three modules. The model is kept free of input and output so that it can be tested alone.
## Interfaces
`VesselEntry.step()` is called once per cycle by the caller, who passes the current time; there is no sleep.
## Errors
An invalid configuration raises ValueError at start-up. Unexpected input leads to a safe state and is logged.
## Tests
Unit tests cover each transition, the limits, one value above and below each, and the loss of each input."""


@pytest.fixture(scope="module")
def procedures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmMemory]:
    with SwarmMemory(tmp_path_factory.mktemp("procedures") / DATABASE) as memory:
        memory.add(PROCEDURES)
        yield memory


def test_what_a_role_reads_does_not_drown_the_request(procedures: SwarmMemory) -> None:
    """Requirements, designs and pasted code are full of words that any text has."""
    crew = Crew({"clarifier": REQUIREMENTS, "architect": DESIGN})
    roles = ("clarifier", "architect", "coder", "reviewer")
    graph = build_graph(config=config(memory={"recall": dict.fromkeys(roles, 2)}), store=procedures.store)
    code = "def configuration(module, file, errors, values, tests): ...\n" * 20
    for request in (ENTRY, f"{ENTRY}\n```python\n{code}```"):
        state = graph.invoke({"request": request}, context=crew.context)
        for node in ("clarifier", "architect", "coder", "review_correctness", "review_style"):
            assert recalled(state, node) == ["SF-203.md", "SF-203.md"], node


def test_code_in_a_bare_request_is_recalled_by_the_names_that_it_defines(procedures: SwarmMemory) -> None:
    code = """from enum import Enum


class BurnerState(Enum):
    PURGE = 1


class BurnerSequence:
    def gas_test_valid(self) -> bool: ...

    def light_pilot(self) -> None: ...


def main() -> None: ...
"""
    graph = build_graph(
        "review_only", config=config(memory={"recall": {"reviewer": 2}}), store=procedures.store
    )
    state = graph.invoke({"request": f"Review this code:\n```python\n{code}```"}, context=Crew().context)
    assert {*recalled(state, "review_style")} == {"OP-110.md"}


def test_a_task_without_words_of_its_own_recalls_by_the_names_of_its_files(
    procedures: SwarmMemory, tmp_path: Path
) -> None:
    (tmp_path / "gas_test_furnace.md").write_text("It was made at eight.")
    task = {
        "task_id": "Sum", "assigned_role": "documenter", "description": "Summarise the file.",
        "files": [str(tmp_path / "gas_test_furnace.md")],
    }  # fmt: skip
    settings = config(memory={"recall": {"documenter": 1}})
    graph = build_graph("custom", config=settings, store=procedures.store)
    assert recalled(graph.invoke({"tasks": [task]}, context=Crew().context), "Sum") == ["OP-110.md"]


def test_copies_of_a_document_take_one_place(tmp_path: Path) -> None:
    text = (PROCEDURES / "OP-110.md").read_text()
    for name in ("OP-110.md", "old.md", "archive/OP-110.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "OP-111.md").write_text((PROCEDURES / "OP-111.md").read_text())
    with SwarmMemory(":memory:") as memory:
        memory.add(tmp_path)
        question = "how long is the firebox of the furnace purged with steam"
        found = asyncio.run(recall_module.recall(memory.store, question, 3)).passages
    first = found[0].citation
    assert all(name in first for name in ("; also in ", "old.md", "OP-110.md"))
    assert len({passage.text.partition("\n\n")[2] for passage in found}) == 3


# --- a small context -----------------------------------------------------------------------------


@contextmanager
def small_context(tokens: int) -> Iterator[tuple[Canned, list[str]]]:
    """A server with a context of so many tokens, and the prompts that it is sent."""
    prompts: list[str] = []

    def answer(_: str, user: str) -> str:
        prompts.append(user)
        return "One module." if "You are the architect" in user else str(ANSWERS["clarifier"])

    with Canned(answer, ollama=True) as server:
        server.shown = {"model_info": {"general.architecture": "llama", "llama.context_length": tokens}}
        yield server, prompts


def test_passages_are_dropped_from_the_last_on_and_everybody_is_told(tmp_path: Path) -> None:
    texts = {f"{n}.md": f"Valve command and limit switch. {'The pump. ' * (520 + n)}" for n in range(4)}
    memory = {"recall": {"architect": 4}}
    parameters = {"architect": {"max_tokens": 500}}
    with small_context(8192) as (server, prompts):
        settings = config(
            model_config={"single_model": server.entry}, memory=memory, agent_parameters=parameters
        )
        events: list[Event] = []
        coordinator = SwarmCoordinator(
            settings,
            data_dir=tmp_path,
            output_dir=tmp_path / "out",
            store=remembering(texts),
            on_event=events.append,
        )
        coordinator.run_workflow(REQUEST["request"], session_id="s")
    state: Any = coordinator.state
    shown = recalled(state, "architect")
    assert 0 < len(shown) < 4
    note = f"{len(shown)} of 4 recalled passages shown: the context has no room"
    assert shown == [f"{n}.md" for n in range(len(shown))]
    assert note in state["tasks"]["T002_design"]["note"]
    (entry,) = state["recalled"]
    assert entry["note"] == note
    (event,) = [event for event in events if event.kind == "recalled"]
    assert event.data == {
        "passages": len(shown),
        "characters": sum(len(texts[one].strip()) for one in shown),
        "sources": [f"{one}, p. 1" for one in shown],
        "note": note,
    }
    (prompt,) = [prompt for prompt in prompts if "<memory>" in prompt]
    assert f"{len(shown)}. From" in prompt
    assert f"{len(shown) + 1}. From" not in prompt
    kinds = [event.kind for event in events if event.node == "architect"]
    assert kinds.index("recalled") < kinds.index("call_started")


def test_files_are_split_only_for_their_own_size_and_then_leave_room_for_passages(tmp_path: Path) -> None:
    """A file that fits alone stays whole, without the passage; parts of a longer one have room for it."""
    log = tmp_path / "log.md"
    task = {
        "task_id": "Sum",
        "assigned_role": "documenter",
        "description": "Which valve command has no limit switch?",
        "files": [str(log)],
        "split": "auto",
    }

    def shown(lines: int) -> tuple[list[str], str]:
        log.write_text("".join(f"{n:04} The pump P-102 ran without a stop.\n" for n in range(lines)))
        with small_context(8192) as (server, prompts):
            settings = config(
                model_config={"single_model": server.entry},
                agent_parameters={"documenter": {"max_tokens": 500, "num_ctx": 8192}},
                memory={"recall": {"documenter": 1}},
            )
            texts = {"rules.md": f"{RULE} {'It is so. ' * 400}"}
            graph = build_graph("custom", config=settings, store=remembering(texts))
            state = graph.invoke({"tasks": [task]})
        return [data_of(prompt)[:11] for prompt in prompts], str(state["tasks"]["Sum"].get("note", ""))

    blocks, note = shown(480)
    assert blocks == [""]
    assert "0 of 1 recalled passages shown" in note
    blocks, note = shown(560)
    assert blocks == ["1. From rul"] * 3  # two parts, and their joining
    assert "asked in 2 parts" in note


# --- stores --------------------------------------------------------------------------------------


def indexed() -> InMemoryStore:
    store = InMemoryStore(
        index={"dims": 16, "embed": DeterministicFakeEmbedding(size=16), "fields": ["text"]}
    )
    remember(store, RULES)
    return store


@pytest.mark.parametrize("make", [remembering, indexed])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_any_store_of_langgraph_works(make: Any, way: str) -> None:
    graph = build_graph(config=config(memory=RECALL), store=make())
    context = Crew().context
    state = (
        graph.invoke(REQUEST, context=context)
        if way == "sync"
        else asyncio.run(graph.ainvoke(REQUEST, context=context))
    )
    assert len(recalled(state, "architect")) == 2
    assert all(not one["note"] for one in state["recalled"])


@pytest.mark.parametrize("way", ["sync", "async", "coordinator"])
def test_a_store_for_synchronous_callers_serves_all(way: str, tmp_path: Path) -> None:
    context, given = Crew().context, config(memory=RECALL)
    with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
        store.setup()
        remember(store, RULES)
        graph = build_graph(config=given, store=store)
        if way == "sync":
            state = graph.invoke(REQUEST, context=context)
        elif way == "async":
            state = asyncio.run(graph.ainvoke(REQUEST, context=context))
        else:
            coordinator = SwarmCoordinator(given, data_dir=tmp_path, context=context, store=store)
            state = coordinator.run_workflow(REQUEST["request"])
    assert recalled(state, "architect") == ["rules.md", "tags.md"]


def test_a_store_of_one_event_loop_serves_others_unless_its_loop_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_config, context = config(memory=RECALL), Crew().context

    async def recall_in_another_loop() -> tuple[list[str], list[str]]:
        async with AsyncSqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
            await store.setup()
            await asyncio.to_thread(remember, store, RULES)
            graph = build_graph(config=graph_config, store=store)
            state = await asyncio.to_thread(graph.invoke, REQUEST, context=context)
            monkeypatch.setattr(work, "MAX_WAIT", 0.1)
            waiting = graph.invoke(REQUEST, context=context)  # as in a notebook
            return recalled(state, "architect"), [one["note"] for one in waiting["recalled"]]

    sources, notes = asyncio.run(recall_in_another_loop())
    assert sources == ["rules.md", "tags.md"]
    assert all("use the async one, such as `await graph.ainvoke(...)`" in note for note in notes)


def test_what_is_no_store_is_refused_at_once(tmp_path: Path) -> None:
    with SwarmMemory(tmp_path / "swarm.db") as memory:
        mistakes: list[Any] = ["swarm.db", memory]
        for wrong in mistakes:
            for build in (build_graph, SwarmCoordinator):
                with pytest.raises(
                    InputError, match=r"store: expected a LangGraph store, .* open_store\(path\)"
                ):
                    build(store=wrong)


def test_a_store_that_fails_loses_no_run() -> None:
    state = build_graph(config=config(memory=RECALL), store=BrokenStore()).invoke(
        REQUEST, context=Crew().context
    )
    reason = "nothing was recalled: memory cannot be searched (no server at 127.0.0.1:5432 is it started?)"
    assert state["phase"] == "complete"
    assert {one["note"] for one in state["recalled"]} == {reason}
    assert state["tasks"]["T002_design"]["note"] == reason


def test_tasks_of_a_batch_recall_by_their_documents(tmp_path: Path) -> None:
    remember_in(tmp_path)
    write_config(tmp_path, memory={"recall": {"coder": 1}})
    for name, text in {"a": "The valve and its limit switch.", "b": "Who paints the railings?"}.items():
        (tmp_path / f"{name}.md").write_text(text)
    (tmp_path / "prompt.md").write_text("List what is asked.")
    command = [
        "batch", str(tmp_path / "*.md"), "--prompt", str(tmp_path / "prompt.md"), "--simulate", "--json",
        "-c", str(tmp_path / "config.json"), "--data-dir", str(tmp_path), "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = CliRunner().invoke(swarm_graph, command)
    assert done.exit_code == 0, done.output
    state = json.loads(done.stdout)
    assert (recalled(state, "a"), recalled(state, "b")) == (["rules.md"], ["paint.md"])


@pytest.mark.parametrize("in_threads", [True, False])
def test_a_store_that_never_answers_stops_no_run(in_threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(patience, "ENDING_S", 0.05)
    store, context = HangingStore(), Crew().context
    graph = build_graph(config=config(memory=RECALL), store=store)
    if in_threads:
        state = graph.invoke(REQUEST, context=context)
    else:
        state = asyncio.run(graph.ainvoke(REQUEST, context=context))
    reason = (
        "nothing was recalled: memory cannot be searched (the store HangingStore did not answer within "
        "0.05 s; does its server run?)"
    )
    assert state["phase"] == "complete"
    assert {one["note"] for one in state["recalled"]} == {reason}
    store.end.set()


def test_of_parallel_searches_each_tells_its_own_problem(tmp_path: Path) -> None:
    """A search that ends well takes nothing away from one that went without vectors at the same time."""
    both_ask, asked = asyncio.Event(), list[str]()

    class Flaky(DeterministicFakeEmbedding):
        async def aembed_query(self, text: str) -> list[float]:
            asked.append(text)
            if len(asked) == 2:
                both_ask.set()
            await both_ask.wait()
            if "valve" in text:
                raise ConnectionError("the server is gone")
            return self.embed_query(text)

    async def both(store: SwarmStore) -> list[str]:
        searches = (recall_module.recall(store, question, 2) for question in ("valve", "pump"))
        return [found.note for found in await asyncio.gather(*searches)]

    with open_store(tmp_path / DATABASE, index={"dims": 8, "embed": Flaky(size=8)}) as store:
        remember(store, RULES)
        valve, pump = asyncio.run(both(store))
    assert valve.startswith("searched by words alone: the embeddings of the store's index fail")
    assert pump == ""


def test_a_large_store_without_an_index_says_how_much_of_it_was_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work, "PAGE", 1)
    monkeypatch.setattr(recall_module, "MAX_RANKED", 3)
    found = asyncio.run(recall_module.recall(remembering(), "valve paint", 4))
    assert [passage.source for passage in found.passages] == ["tags.md", "rules.md"]  # not paint.md, the last
    assert found.note == "only 3 memories were searched: the store has no index"


def test_own_nodes_get_the_store_as_in_langgraph(tmp_path: Path) -> None:
    (tmp_path / "noting.py").write_text(
        "def look(state, *, store):\n"
        "    return {'design': store.search(('swarm', 'memory'), query='paint')[0].key}\n"
        "def noting(graph):\n"
        "    graph.add_node('look', look)\n"
        "    graph.connect('__start__', 'look')\n"
        "    graph.connect('look', '__end__')\n"
    )
    settings = config(
        workflows={"noting": "noting:noting"}, code_dir=str(tmp_path), memory={"recall": {"coder": 1}}
    )
    workflow: Any = "noting"
    remember_in(tmp_path)
    with open_checkpointer(tmp_path / DATABASE) as saver:
        state = build_graph(workflow, config=settings, checkpointer=saver).invoke(REQUEST, thread())
    assert state["design"] == "0000000003/0001"


@pytest.mark.parametrize("memory", [RECALL, {"remember": "ask"}])
@pytest.mark.parametrize("saver", [None, InMemorySaver()])
def test_memory_without_a_place_is_refused_when_the_graph_is_built(memory: Any, saver: Any) -> None:
    with pytest.raises(ConfigError, match=r"no store to search.*open_checkpointer.*store=\.\.\."):
        build_graph(config=config(memory=memory), checkpointer=saver)
    assert build_graph(config=config(memory={}), checkpointer=saver).store is None


def test_a_coordinator_without_a_database_needs_a_store(tmp_path: Path) -> None:
    settings = config(memory=RECALL, features={"enable_checkpointing": False})
    with pytest.raises(ConfigError, match=r"memory needs features\.enable_checkpointing"):
        SwarmCoordinator(settings, output_dir=tmp_path).run_workflow("Valves")
    coordinator = SwarmCoordinator(settings, output_dir=tmp_path, store=remembering(), context=Crew().context)
    assert recalled(coordinator.run_workflow("The valve tags"), "architect") == ["tags.md", "rules.md"]


def test_reviewers_recall_side_by_side(tmp_path: Path) -> None:
    remember_in(tmp_path)
    with open_checkpointer(tmp_path / DATABASE) as saver:
        graph = build_graph(config=config(memory={"recall": {"reviewer": 4}}), checkpointer=saver)

        async def both() -> list[Any]:
            runs = [graph.ainvoke(REQUEST, thread(name), context=Crew().context) for name in "abcd"]
            return [*await asyncio.gather(*runs)]

        states = asyncio.run(both())
    nodes = ["review_correctness", "review_performance", "review_style"]
    found = [[recalled(state, node) for node in nodes] for state in states]
    assert found == [[found[0][0]] * 3] * 4
    assert found[0][0][0] == "rules.md"


# --- other ways of asking ------------------------------------------------------------------------


def test_a_question_about_the_session_recalls_as_its_role_does(tmp_path: Path) -> None:
    remember_in(tmp_path)
    crew, events = Crew({"architect": "Because of rule 7."}), list[Event]()
    coordinator = SwarmCoordinator(
        config(memory={"recall": {"architect": 1}}),
        data_dir=tmp_path,
        output_dir=tmp_path / "out",
        context=crew.context,
    )
    coordinator.run_workflow("Write a parser.", session_id="s")
    asyncio.run(coordinator.aask("When do the pumps trip, P-101?", on_event=events.append))
    assert "1. From pumps.md, p. 1:" in data_of(crew.asks[-1].prompt)
    assert [event.data["sources"] for event in events if event.kind == "recalled"] == [["pumps.md, p. 1"]]
    assert recalled(coordinator.state, "architect") == []  # no word of the request is in memory


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_role_searches_memory_with_a_tool(way: str, tmp_path: Path) -> None:
    remember_in(tmp_path)

    def play(messages: list[BaseMessage]) -> AIMessage:
        found = results(messages)
        return AIMessage(found[0]) if found else call("memory__search", question="limit switch", limit=1)

    model, settings = Caller(play=play), config(memory={}, tools={"architect": ["memory.search"]})
    with open_checkpointer(tmp_path / DATABASE) as saver:
        graph = build_graph(config=settings, checkpointer=saver)
        state: Any = in_way(graph, way, crew(architect=model))
        (record,) = saver.catalogue.tool_calls("t")
    assert f"````text\n1. From rules.md, p. 1:\n```text\n{RULE}\n```\n````" in state["design"]
    assert "2. From" not in state["design"]
    assert (record.tool, record.result and record.result.outcome) == ("memory.search", "answered")
    assert model.offered[0] == ["memory__search"]
    assert "recalled" not in state


def in_way(graph: Any, way: str, context: SwarmContext) -> Any:
    if way == "sync":
        return graph.invoke(REQUEST, thread(), context=context)
    return asyncio.run(graph.ainvoke(REQUEST, thread(), context=context))


def test_without_memory_there_is_no_tool_for_it() -> None:
    with pytest.raises(ConfigError, match=r"'memory\.search' needs memory; add \"memory\": {}"):
        build_graph(config=config(tools={"architect": ["memory.search"]}))
    settings = config(memory={}, tools={"architect": ["memory.search", "project.*"]}).without_memory()
    assert settings.tools == {"architect": ["project.*"]}
    assert not settings.uses_memory
    model = Caller(play=lambda _: AIMessage("Done."))
    build_graph(config=config(tools={"architect": ["*"]})).invoke(REQUEST, context=crew(architect=model))
    assert "memory__search" not in model.offered[0]
