"""Roles and workflows of the user's own: named in a configuration, they work everywhere by their names."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import warm
from langgraph.graph import END, START
from langgraph.types import Command
from servers.llama import Llama
from support import CODE, SIMULATED, Crew, thread, write_config
from support import config as simulated
from typing_extensions import TypedDict

from swarm_graph import (
    Files,
    GraphBuilder,
    OwnWorkflow,
    Role,
    SwarmCoordinator,
    SwarmState,
    build_graph,
    is_done,
    load_config,
)
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.events import Event
from swarm_graph.roles.registry import Roles
from swarm_graph.state import AgentRole, Kind
from swarm_graph.tasks.expansion import Expansion, expansion_form

ESTIMATE = """\
prompt: You are the estimator.
reads: [code, translation]
writes: estimate
answer:
  type: object
  properties: {hours: {type: number}}
  required: [hours]
max_tokens: 900
temperature: 0.1
"""
MINE, W, E = map(OwnWorkflow, ("mine", "w", "e"))
translator = Role(
    "translator", reads=("request", "code"), writes="translation", prompt="You are the translator."
)


class Counted(TypedDict, total=False):
    lines: int


def count(state: SwarmState) -> Counted:
    return {"lines": sum(len(text.splitlines()) for text in state["code"].values())}


def mine(graph: GraphBuilder) -> None:
    """coder → [reviewers] → verdict → *revise*: coder | count → translator → estimator."""
    graph.connect(START, graph.place("coder"))
    reviews = graph.reviewers("mine", "style")
    for name in reviews:
        graph.connect("coder", name)
    graph.verdict(reviews)
    graph.show(Counted)
    graph.add_node("count", count)
    graph.branch(
        "verdict",
        lambda state: "done" if is_done(state, graph.max_iterations) else "revise",
        {"revise": "coder", "done": "count"},
    )
    graph.connect("count", graph.place(translator))
    graph.connect("translator", graph.place("estimator"))
    graph.connect("estimator", END)


def line(graph: GraphBuilder, *roles: str) -> None:
    """The roles one after the other."""
    places = [START, *(graph.place(role) for role in roles), END]
    for start, end in pairwise(places):
        graph.connect(start, end)


def settings(tmp_path: Path, **more: Any) -> Any:
    (tmp_path / "estimator.yaml").write_text(ESTIMATE)
    roles = {"translator": translator, "estimator": str(tmp_path / "estimator.yaml"), **more.pop("roles", {})}
    return simulated(roles=roles, workflows={"mine": mine, **more.pop("workflows", {})}, **more)


def crew(**script: Any) -> Crew:
    return Crew({"translator": "# Anleitung", "estimator": '{"hours": 3}', **script})


def test_an_own_workflow_with_own_roles_is_like_any_other(tmp_path: Path) -> None:
    models, events = crew(), list[Event]()
    swarm = SwarmCoordinator(
        settings(tmp_path),
        context=models.context,
        data_dir=tmp_path / "data",
        output=tmp_path / "out",
        on_event=events.append,
    )
    state: Any = swarm.run_workflow("Add.", MINE, session_id="s")
    assert models.asked == ["coder", "review_style", "translator", "estimator"]
    assert (state["phase"], state["approved"], state["lines"]) == ("complete", True, 1)
    assert (state["translation"], state["estimate"]) == ("# Anleitung", {"hours": 3})
    prompt = models.prompts("estimator")[0]
    assert "<translation>\n# Anleitung\n</translation>" in prompt
    assert '"hours"' in prompt  # the schema
    notes = (tmp_path / "out" / "notes.md").read_text()
    assert "# Translator\n\n# Anleitung\n" in notes
    assert '# Estimator\n\n```json\n{\n  "hours": 3\n}\n```' in notes
    document = json.loads((tmp_path / "out" / "swarm_state_s.json").read_text())
    assert json.loads(document["context"]["estimator_estimator"]["result"]) == {"hours": 3}
    assert [task.assigned_role for task in swarm.completed_tasks][2:] == ["translator", "estimator"]
    assert swarm.get_metrics_summary()["agents"]["translator"]["total_calls"] == 1
    assert [event.node for event in events if event.kind == "node_ended"] == ["count", "complete"]
    again: Any = swarm.run_workflow("More.", MINE, session_id="s", follow_up=True)
    assert (again["phase"], again["iteration"]) == ("complete", 1)
    assert "# Anleitung" not in models.prompts("translator")[1]


def test_a_workflow_without_reviews_is_neither_approved_nor_refused(tmp_path: Path) -> None:
    config = settings(tmp_path, workflows={"short": lambda graph: line(graph, "coder", "translator")})
    swarm = SwarmCoordinator(config, context=crew().context, data_dir=tmp_path, output=tmp_path / "out")
    state = swarm.run_workflow("Add.", OwnWorkflow("short"))
    assert (state["phase"], state["approved"]) == ("complete", None)


def test_rounds_go_on_until_approved(tmp_path: Path) -> None:
    refused = json.dumps({"findings": [{"severity": "major", "problem": "No {round}."}], "approved": False})
    models = crew(review_style=refused, coder=CODE)
    graph = build_graph(MINE, config=settings(tmp_path, workflow={"max_iterations": 2}))
    state: Any = graph.invoke({"request": "Add."}, context=models.context)
    assert models.asked.count("coder") == 2
    assert (state["phase"], state["approved"], state["iteration"]) == ("complete", False, 2)


def test_a_role_that_writes_files_adds_them_to_the_project(tmp_path: Path) -> None:
    packer = Role("packer", reads=("code",), writes="packaging", answer=Files, prompt="You pack.")
    config = simulated(
        roles={"packer": packer}, workflows={"pack": lambda graph: line(graph, "coder", "packer")}
    )
    models = Crew({"packer": "```toml path=pyproject.toml\n[project]\n```"})
    swarm = SwarmCoordinator(config, context=models.context, data_dir=tmp_path, output=tmp_path / "out")
    swarm.run_workflow("Add.", OwnWorkflow("pack"))
    assert (tmp_path / "out/project/pyproject.toml").read_text() == "[project]\n"
    assert (tmp_path / "out/project/src/a.py").exists()


def test_parameters_models_and_names_of_a_role(tmp_path: Path) -> None:
    entries = {"estimator": {"model": "big", "api_type": "simulated"}}
    models = {"mode": "multi", **SIMULATED["model_config"], "multi_model": entries}
    config = settings(tmp_path, model_config=models, agent_parameters={"estimator": {"temperature": 0.9}})
    parameters = Roles(config).parameters("estimator")
    assert (parameters.temperature, parameters.max_tokens) == (0.9, 900)
    assert config.model_for("estimator").model == "big"
    assert config.role_names[9:] == ["translator", "estimator"]
    with pytest.raises(ConfigError, match="unknown role 'estimater'; did you mean 'estimator'"):
        settings(tmp_path, agent_parameters={"estimater": {}})
    with pytest.raises(ConfigError, match="unknown role 'translater'; did you mean 'translator'"):
        settings(tmp_path, workflow={"pause_before": ["translater"]})
    assert (
        load_config(config, overrides={"workflow": {"max_iterations": 1}}).roles["translator"] is translator
    )


def test_pauses_around_an_own_role(tmp_path: Path) -> None:
    pauses = {"pause_before": ["translator"], "pause_after": ["estimator"]}
    config, models = settings(tmp_path, workflow=pauses), crew()
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        graph = build_graph(MINE, config=config, checkpointer=saver)
        graph.invoke({"request": "Add."}, thread(), context=models.context)
        assert "translator" not in models.asked
        waiting: Any = graph.invoke(Command(resume="approve"), thread(), context=models.context)
        assert waiting["__interrupt__"][0].value["edits"] == "estimate"
        with pytest.raises(InputError, match=r"'estimate' is not what 'estimator' answers: .*hours"):
            graph.invoke(Command(resume={"edit": {"estimate": {"days": 1}}}), thread())
        state: Any = graph.invoke(Command(resume={"edit": '{"hours": 8}'}), thread(), context=models.context)
        assert (state["phase"], state["estimate"]) == ("complete", {"hours": 8})


def test_after_a_pause_functions_that_ran_are_known(tmp_path: Path) -> None:
    events = list[Event]()
    given = settings(tmp_path, workflow={"pause_before": ["translator"]})
    swarm = SwarmCoordinator(given, context=crew().context, data_dir=tmp_path, on_event=events.append)
    swarm.run_workflow("Add.", MINE, session_id="s")
    swarm.resume("s", "approve")
    done = [event.data["done"] for event in events if event.kind == "session_started"]
    assert done == [[], ["coder", "review_style", "verdict", "count"]]


# --- documents -----------------------------------------------------------------------------------


BOTH: tuple[Kind, ...] = ("code", "document")


def checked(graph: GraphBuilder) -> None:
    """coder → [reviewers, tester → tests or checks] → verdict → translator."""
    graph.connect(START, graph.place("coder"))
    reviews = graph.reviewers("checked", "correctness")
    for name in [*reviews, graph.place("tester")]:
        graph.connect("coder", name)
    graph.verdict(reviews, run_tests=True)
    graph.connect("verdict", graph.place("translator"))
    graph.connect("translator", END)


def test_an_own_workflow_makes_documents_too(tmp_path: Path) -> None:
    models, checks = crew(), OwnWorkflow("checked")
    given = settings(tmp_path, workflows={"checked": checked})
    swarm = SwarmCoordinator(given, context=models.context, data_dir=tmp_path, output=tmp_path / "out")
    state: Any = swarm.run_workflow("Write a procedure.", checks, session_id="s", kind="document")
    assert (state["approved"], state["translation"]) == (True, "# Anleitung")
    assert swarm.document()["evidence"][0]["sandbox"] == "none, only text was checked"
    assert swarm.files
    assert swarm.files.files()[0] == "generated_document.md"
    assert "You are the coder" in models.prompts("coder")[0]
    assert "Open the valve slowly." in models.prompts("translator")[0]
    code, document = (build_graph(checks, config=given.with_kind(kind)).nodes for kind in BOTH)
    assert code.keys() ^ document.keys() == {"run_tests", "check_document"}


def test_an_own_role_may_differ_for_documents(tmp_path: Path) -> None:
    of_documents = Role(
        "", writes="translation", prompt="You translate a procedure.", text_file="anleitung.md"
    )
    roles = {"translator": replace(translator, document=of_documents)}
    prompts = {}
    for kind in BOTH:
        models = crew()
        swarm = SwarmCoordinator(
            settings(tmp_path, roles=roles), context=models.context, data_dir=tmp_path, output=tmp_path / kind
        )
        swarm.run_workflow("Write.", MINE, kind=kind)
        prompts[kind] = models.prompts("translator")[0]
    assert "You translate a procedure." in prompts["document"]
    assert "You are the translator." in prompts["code"]
    assert (tmp_path / "document" / "anleitung.md").is_file()
    assert not (tmp_path / "code" / "anleitung.md").exists()


def test_a_folder_of_prompts_replaces_an_own_role_s_for_documents(tmp_path: Path) -> None:
    (folder := tmp_path / "prompts" / "document").mkdir(parents=True)
    (folder / "translator.md").write_text("You translate a procedure.\n")
    prompts = {}
    for kind in BOTH:
        models = crew()
        given = settings(tmp_path, prompts_dir=str(tmp_path / "prompts"), workflow={"kind": kind})
        build_graph(MINE, config=given).invoke({"request": "Write."}, context=models.context)
        prompts[kind] = models.prompts("translator")[0]
    assert "You are the translator." in prompts["code"]
    assert prompts["document"].endswith("\n\nYou translate a procedure.")
    assert "<request>\nWrite.\n</request>" in prompts["document"]  # the data is that of the role


def test_tasks_of_own_roles_in_a_document_session(tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = [
        {"task_id": "a", "assigned_role": "coder", "description": "Write."},
        {"task_id": "b", "assigned_role": "translator", "description": "Translate.", "dependencies": ["a"]},
    ]
    swarm = SwarmCoordinator(
        settings(tmp_path), context=crew().context, data_dir=tmp_path, output=tmp_path / "out"
    )
    for task in tasks:
        swarm.add_task(task)
    swarm.run_workflow("", "custom", kind="document")
    assert (tmp_path / "out" / "generated_document.md").read_text().startswith("# A")
    assert [task.result for task in swarm.completed_tasks][1] == "# Anleitung"


# --- configurations ------------------------------------------------------------------------------


def test_two_configurations_in_one_process_do_not_mix() -> None:
    """Both have a role and a workflow of the same names, and run at the same time."""
    results: dict[str, Any] = {}

    def run(language: str) -> None:
        role = Role("writer", reads=("request",), writes="text", prompt=f"You write {language}.")
        config = simulated(roles={"writer": role}, workflows={"w": lambda graph: line(graph, "writer")})
        models = Crew({"writer": lambda ask: language if f"write {language}" in ask.prompt else "mixed"})
        for _ in range(5):
            state: Any = build_graph(W, config=config).invoke({"request": "r"}, context=models.context)
            results.setdefault(language, set()).add(state["text"])

    threads = [threading.Thread(target=run, args=[language]) for language in ("German", "French")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert results == {"German": {"German"}, "French": {"French"}}
    with pytest.raises(InputError, match="unknown workflow 'w'; known workflows: standard"):
        build_graph(W, config=simulated())


def test_tasks_name_own_roles(tmp_path: Path) -> None:
    def plan(_ask: Any) -> str:
        tasks = [{"task_id": "x", "assigned_role": "translator", "description": "German."}]
        return json.dumps({"plan": "p", "tasks": tasks})

    models = crew(architect=plan, split=plan)
    swarm = SwarmCoordinator(
        settings(tmp_path), context=models.context, data_dir=tmp_path, output=tmp_path / "o"
    )
    swarm.add_task({"task_id": "cost", "assigned_role": "estimator"})
    swarm.add_task(
        {"task_id": "split", "assigned_role": "architect", "expands": True, "when": "cost.hours > 2"}
    )
    swarm.run_workflow("r", "custom")
    results = {task.task_id: task.result for task in swarm.completed_tasks}
    assert json.loads(results["cost"] or "") == {"hours": 3}
    assert results["split.x"] == "# Anleitung"
    assert "More roles of this team: translator, estimator." in models.prompts("split")[0]
    with pytest.raises(InputError, match="task 'z': unknown role 'estimater'; did you mean 'estimator'"):
        swarm.add_task({"task_id": "z", "assigned_role": "estimater"})
    swarm.add_task({"task_id": "cost", "assigned_role": "estimator"})
    swarm.add_task({"task_id": "b", "assigned_role": "coder", "when": "cost.days > 1"})
    with pytest.raises(InputError, match="reads 'days', but 'cost' has only result, hours"):
        swarm.run_workflow("r", "custom")


def test_the_form_of_expansions_stays_that_of_the_nine_without_own_roles() -> None:
    """It is part of the key under which the journal finds an answer."""
    assert expansion_form(()) is Expansion
    assert expansion_form(("translator",)).model_json_schema()["$defs"]["AgentRole"]["enum"] == [
        *AgentRole,
        "translator",
    ]


# --- files and modules ---------------------------------------------------------------------------

MODULE = """\
from langgraph.graph import END, START
from swarm_graph import Role

{role} = Role("{role}", reads=("code",), writes="text", prompt="You write.")


def flow(graph):
    graph.connect(START, graph.place("coder"))
    graph.connect("coder", graph.place("{role}"))
    graph.connect("{role}", graph.place("estimator"))
    graph.connect("estimator", END)
"""
SLOW = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 600}}


def project(folder: Path, module: str, **sections: Any) -> Path:
    """A config file that names a module beside it, and a YAML role in a folder."""
    (folder / f"{module}.py").write_text(MODULE.format(role="writer"))
    (folder / "roles").mkdir(exist_ok=True)
    (folder / "roles/estimator.yaml").write_text(ESTIMATE.replace("translation", "text"))
    roles = {"writer": f"{module}:writer", "estimator": "roles/estimator.yaml"}
    return write_config(folder, roles=roles, workflows={"mine": f"{module}:flow"}, **sections)


def test_references_are_relative_to_the_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    path = project(folder, "own_roles_relative")
    monkeypatch.chdir(tmp_path)
    config = load_config(path)
    assert config.redacted()["roles"]["estimator"] == str(folder / "roles/estimator.yaml")
    assert config.redacted()["code_dir"] == str(folder)
    assert "estimator" in build_graph(MINE, config=config).get_graph().draw_mermaid()


def test_a_module_of_the_same_name_from_elsewhere_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    build_graph(MINE, config=project(tmp_path / "a", "own_roles_twice"))
    with pytest.raises(ConfigError, match=r"another module of the name 'own_roles_twice' already, '.*/a/"):
        build_graph(MINE, config=project(tmp_path / "b", "own_roles_twice"))


def killed(tmp_path: Path) -> None:
    """Session s, killed while its last role asks; the roles before it have ended."""
    models = {"mode": "multi", **SIMULATED["model_config"], "multi_model": {"estimator": SLOW}}
    project(tmp_path, "own_roles_killed", model_config=models)
    process = warm.Process("run", "x", "--workflow", "mine", "--session", "s", cwd=tmp_path)
    notes = tmp_path / "swarm-output/s/notes.md"
    while not (notes.is_file() and "# Writer" in notes.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    project(tmp_path, "own_roles_killed")


def resumed(folder: Path, *words: str, code: int = 0) -> str:
    done = warm.run("resume", "s", *words, cwd=folder)
    assert done.returncode == code, done.stderr
    return str(done.stderr.decode())


def calls(folder: Path) -> dict[str, int]:
    document = json.loads((folder / "swarm-output/s/swarm_state_s.json").read_text())
    return {role: figures["successful_calls"] for role, figures in document["metrics"].items()}


def test_a_killed_session_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    killed(tmp_path)
    resumed(tmp_path)
    assert calls(tmp_path) == {"coder": 1, "writer": 1, "estimator": 1}


def test_a_session_of_one_s_own_resumes_without_its_config_file(tmp_path: Path) -> None:
    path = project(tmp_path, "own_roles_kept", workflow={"pause_after": ["writer"]})
    assert warm.run("run", "x", "--workflow", "mine", "--session", "s", cwd=tmp_path).returncode == 3
    path.unlink()
    resumed(tmp_path, "--approve")
    assert calls(tmp_path) == {"coder": 1, "writer": 1, "estimator": 1}


def test_an_edit_of_a_yaml_role_is_noticed(tmp_path: Path) -> None:
    killed(tmp_path)
    yaml = tmp_path / "roles/estimator.yaml"
    yaml.write_text(yaml.read_text().replace("max_tokens: 900", "max_tokens: 901"))
    told = resumed(tmp_path)  # no finished task rests on it
    assert f"used as it is now: '{yaml}'" in told


def test_an_edit_on_which_finished_work_rests_is_a_decision(tmp_path: Path) -> None:
    project(tmp_path, "own_roles_edited", workflow={"pause_after": ["estimator"]})
    assert warm.run("run", "x", "--workflow", "mine", "--session", "s", cwd=tmp_path).returncode == 3
    yaml = tmp_path / "roles/estimator.yaml"
    yaml.write_text(yaml.read_text().replace("You are", "You were"))
    told = resumed(tmp_path, "--approve", code=2)
    assert "estimator" in told
    assert "--as-before" in told
    resumed(tmp_path, "--approve", "--as-before")
    assert calls(tmp_path)["estimator"] == 1


# --- trust ---------------------------------------------------------------------------------------


def test_a_received_session_imports_nothing(tmp_path: Path) -> None:
    theirs, mine_ = tmp_path / "theirs", tmp_path / "mine"
    theirs.mkdir()
    project(theirs, "own_roles_sent", workflow={"pause_after": ["writer"]})
    trace = tmp_path / "trace"
    sender = {**warm.ENVIRONMENT, "XDG_DATA_HOME": str(tmp_path / "sender")}
    receiver = {**warm.ENVIRONMENT, "XDG_DATA_HOME": str(tmp_path / "receiver")}
    begin = warm.run("run", "x", "--workflow", "mine", "--session", "s", cwd=theirs, env=sender)
    assert begin.returncode == 3
    module = theirs / "own_roles_sent.py"
    module.write_text(f"open({str(trace)!r}, 'w')\n{module.read_text()}")
    mine_.mkdir()
    shutil.copytree(theirs / ".swarm", mine_ / ".swarm")

    def swarm(*words: str, code: int) -> str:
        done = (
            warm.run(*words, cwd=mine_, env=receiver, stdin=b"" if False else None)
            if False
            else warm.run(*words, cwd=mine_, env=receiver, given=b"")
        )
        assert done.returncode == code, done.stderr
        return str(done.stderr.decode())

    told = swarm("resume", "s", "--approve", code=2)
    assert "not started by you" in told
    assert told.index("roles.writer") < told.index("--config")
    for words in (["sessions", "show", "s"], ["sessions", "list"], ["sessions", "report", "r.html"]):
        swarm(*words, code=0)
    swarm("sessions", "history", "s", code=2)
    assert not trace.exists()
    swarm("resume", "s", "--approve", "--trust-session", code=0)
    assert trace.exists()


# --- messages ------------------------------------------------------------------------------------

YAML = {
    "not yaml": ("a: [", "is not valid YAML: line 1"),
    "no keys": ("- a", "holds no keys; expected prompt, reads"),
    "unknown key": ("prompt: You.\nread: [code]\n", "unknown key 'read'; did you mean 'reads'?"),
    "unknown state": ("prompt: You.\nreads: [desgin]\n", "unknown key 'desgin'; did you mean 'design'?"),
    "a hole": ("prompt: Use $tests.\nreads: [code]\n", r"unknown hole '\$tests'; expected \$code"),
    "a dollar": ("prompt: It costs $5 here.\n", r"a '\$' that begins no hole"),
    "no prompt": ("reads: [code]\n", "the role 'r' has no prompt; write it in the role, or as r.md"),
    "a missing file": ("prompt: gone.md\n", "no prompt '.*gone.md'"),
    "a bad schema": ("prompt: You are.\nanswer: {type: array}\n", "answer: .*JSON Schema of an object"),
    "a taken key": ("prompt: You are.\nwrites: tasks\n", "no role may write 'tasks'"),
    "the coder's key": ("prompt: You are.\nwrites: code\n", "'code' holds files; use a key of its own"),
    "its own name": ("prompt: You are.\nwrites: r\n", "'r', which is the name of a role"),
    "a path": ("prompt: You are.\ntext_file: ../x.txt\n", "expected a name such as r.txt"),
    "the coder's file": ("prompt: You are.\ntext_file: generated_code.txt\n", "the file of another role"),
    "too warm": ("prompt: You are.\ntemperature: 3\n", "temperature: 3 is not allowed"),
}


@pytest.mark.parametrize("case", YAML)
def test_a_wrong_yaml_role_is_one_line(case: str, tmp_path: Path) -> None:
    text, expected = YAML[case]
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=expected) as refused:
        build_graph("full", config=simulated(roles={"r": str(tmp_path / "r.yaml")}))
    assert "\n" not in str(refused.value)


CODE_ERRORS = {
    "syntax": ("def", "cannot import 'MODULE': .*MODULE.py, line 1: SyntaxError"),
    "raises": ("1 / 0", "cannot import 'MODULE': ZeroDivisionError: division by zero"),
    "exits": ("raise SystemExit(3)", "cannot import 'MODULE': SystemExit: 3"),
    "imports": ("import not_there_at_all", "cannot import 'MODULE': .*'not_there_at_all'"),
    "no attribute": ("rolle = 1", "MODULE.py' has no 'role'; did you mean 'rolle'"),
    "no role": ("role = 1", "roles.r: expected a Role, found a int"),
}


@pytest.mark.parametrize("case", CODE_ERRORS)
def test_an_import_that_fails_is_one_line_with_its_cause(case: str, tmp_path: Path) -> None:
    text, expected = CODE_ERRORS[case]
    module = f"own_roles_wrong_{list(CODE_ERRORS).index(case)}"
    (tmp_path / f"{module}.py").write_text(f"{text}\n")
    path = write_config(tmp_path, roles={"r": f"{module}:role"})
    with pytest.raises(ConfigError, match=expected.replace("MODULE", module)) as refused:
        build_graph("full", config=path)
    assert "\n" not in str(refused.value)


def nowhere(graph: GraphBuilder) -> None:
    graph.connect(START, graph.place("coder"))


def unreached(graph: GraphBuilder) -> None:
    line(graph, "coder")
    graph.connect(graph.place("tester"), END)


def early(graph: GraphBuilder) -> None:
    graph.connect("coder", graph.place("tester"))


def unjudged(graph: GraphBuilder) -> None:
    graph.connect(START, graph.place("coder"))
    graph.branch("coder", lambda _: "a", {"a": "verdict"})


def renamed(graph: GraphBuilder) -> None:
    graph.place("coder", "author")


def untested(graph: GraphBuilder) -> None:
    graph.connect(START, graph.place("coder"))
    graph.verdict(graph.reviewers("w", "style"), run_tests=True)


FLOWS: dict[str, tuple[Any, str]] = {
    "leads nowhere": (nowhere, "the node 'coder' leads nowhere; connect it"),
    "not reached": (unreached, "nothing leads to the node 'tester'"),
    "connected before it is placed": (early, "the node 'coder' is not placed yet; placed so far: tester"),
    "no verdict": (unjudged, r"'verdict' is not placed yet; graph.verdict\(reviews\) places it"),
    "no reviews": (lambda graph: graph.verdict([]), "a verdict needs reviews"),
    "unknown role": (lambda graph: graph.place("codr"), "unknown role 'codr'; did you mean 'coder'"),
    "twice": (lambda graph: line(graph, "coder", "coder"), "two nodes have the name 'coder'"),
    "renamed": (renamed, "the node of the coder has its name"),
    "no tester": (untested, "the node 'tester' is not placed yet"),
    "raises": (lambda graph: graph.oops(), "AttributeError: .*oops"),
    "no function": (3.5, "expected 'module:attribute'"),
    "a string": ("own_roles_nothing:x", "there is no module 'own_roles_nothing' on the Python path"),
    "as recorded": ("(given in Python)", "workflows.w: a program gave it as an object"),
}


@pytest.mark.parametrize("case", FLOWS)
def test_a_wrong_workflow_is_one_line(case: str) -> None:
    flow, expected = FLOWS[case]
    with pytest.raises(ConfigError, match=expected) as refused:
        build_graph(W, config=simulated(workflows={"w": flow}))
    assert "\n" not in str(refused.value)


# --- a real server -------------------------------------------------------------------------------


def test_an_own_role_asks_a_real_server(tmp_path: Path, llama: Llama) -> None:
    """llama.cpp enforces the schema of a YAML role."""
    models = {"single_model": {"url": llama.url, "model": llama.alias, "api_type": "openai"}}
    (tmp_path / "estimator.yaml").write_text(ESTIMATE.replace("reads: [code, translation]\n", ""))
    config = load_config(
        {
            "model_config": models,
            "roles": {"estimator": str(tmp_path / "estimator.yaml")},
            "workflows": {"e": lambda graph: line(graph, "estimator")},
        },
        environ={},
    )
    state: Any = build_graph(E, config=config).invoke({"request": "Build a pump."})
    assert isinstance(state["estimate"]["hours"], int | float)
