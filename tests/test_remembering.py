"""What sessions have verified when they end: what counts, and what does not. All but the models is real."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from langgraph.store.memory import InMemoryStore
from repositories import git, make_repository
from servers.canned import Canned
from support import Crew, sandbox
from terminal import Terminal
from test_repair import execute
from warm import run

from swarm_graph import SwarmCoordinator, aio
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import load_config
from swarm_graph.events import Event
from swarm_graph.memory.experience import Offer, Remembered
from swarm_graph.memory.namespaces import CANDIDATES, EXPERIENCE, MEMORY
from swarm_graph.memory.store import SwarmStore, open_store
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.sessions.history import find_moment, fork, moments
from swarm_graph.sessions.remembering import remember_session, without_credentials
from swarm_graph.state import SwarmContext, SwarmState
from swarm_graph.testing import APPROVED, DOCUMENT_ANSWERS

MODELS: dict[str, Any] = {
    "model_config": {
        "single_model": {"model": "scripted", "api_type": "openai", "url": "http://127.0.0.1:9/v1"}
    },
    "execution": {"mode": "off"},
}
"""A configuration of a real server; the models of a program answer in its place."""
DOCUMENT: dict[str, Any] = {"workflow": {"kind": "document"}}
"""Its checks run no program, so its sessions are quick."""
REQUEST = "Write the procedure for the valve"
NOTE = "nothing of this session is remembered"


def finding(problem: str, severity: str = "major", location: str = "docs/a.md:3") -> str:
    made = {"severity": severity, "location": location, "problem": problem, "suggestion": "Say how slowly."}
    return json.dumps({"findings": [made], "approved": False})


def refused_once(problem: str, **more: str) -> dict[str, Any]:
    """The reviewer finds a mistake in the first round; the coder's second round is another text."""
    refusal = finding(problem, **more)
    return {"reviewer": lambda ask: refusal if ask.iteration == 1 else APPROVED}


class Swarm:
    """Runs sessions in one data folder, and reads what they have left in its store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, list[Event]()

    def coordinator(self, script: dict[str, Any] | None = None, **sections: Any) -> SwarmCoordinator:
        sections = {"memory": {"remember": "on"}, **DOCUMENT, **sections}
        return SwarmCoordinator(
            load_config({**MODELS, **sections}, environ={}),
            data_dir=self.folder,
            output_dir=self.folder / "out",
            context=Crew(script).context,
            on_event=self.events.append,
        )

    def run(
        self,
        session: str,
        script: dict[str, Any] | None = None,
        *,
        request: str = REQUEST,
        follow_up: bool = False,
        **sections: Any,
    ) -> SwarmCoordinator:
        coordinator = self.coordinator(script, **sections)
        coordinator.run_workflow(request, "full", session_id=session, follow_up=follow_up)
        return coordinator

    def values(self, *namespace: str) -> list[dict[str, Any]]:
        with open_store(self.folder / "swarm.db") as store:
            found = [item.value for item in store.search(namespace, limit=100)]
        return sorted(found, key=lambda value: str(value["evidence"]))

    def memories(self, kind: str) -> list[dict[str, Any]]:
        return self.values(*EXPERIENCE, kind)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        return self.values(*CANDIDATES)

    @property
    def offers(self) -> list[Offer]:
        with open_store(self.folder / "swarm.db") as store:
            return SwarmMemory(store).offers()


@pytest.fixture
def swarm(tmp_path: Path) -> Swarm:
    return Swarm(tmp_path)


# --- designs -------------------------------------------------------------------------------------


def test_an_approved_design_with_checks_that_hold_is_kept(swarm: Swarm) -> None:
    coordinator = swarm.run("a")
    assert coordinator.state["approved"]
    (memory,) = swarm.memories("design")
    assert memory["text"].startswith(f"{REQUEST}\n\n## Outline")
    checks = coordinator.state["reviews"][-1]["evidence"]["passed"]
    what = "approved design for the request in its first line"
    assert memory["place"].startswith(f"{what}, round 1, {checks} of {checks} checks hold; approved by ")
    kinds = [event.kind for event in swarm.events]
    assert kinds.index("remembered") < kinds.index("session_ended")
    assert [event.data for event in swarm.events if event.kind == "remembered"] == [
        {"kept": 1, "offered": 0, "note": ""}
    ]


def test_with_memory_off_nothing_is_computed_or_stored(swarm: Swarm) -> None:
    for number, memory in enumerate([None, {"remember": "off"}, {}]):
        assert swarm.run(f"s{number}", memory=memory).remembered is None
    with open_checkpointer(swarm.folder / "swarm.db") as saver:
        assert not saver.database.has_memory
    assert not any(event.kind == "remembered" for event in swarm.events)


def test_an_unapproved_design_is_not_remembered(swarm: Swarm) -> None:
    script = {"reviewer": finding("The valve may be opened too fast.")}
    coordinator = swarm.run("a", script, workflow={"kind": "document", "max_iterations": 1})
    assert coordinator.state["approved"] is False
    assert coordinator.remembered == ([], [], "")


def test_a_design_that_only_models_approved_waits_for_a_person(swarm: Swarm) -> None:
    untested: dict[str, Any] = {"workflow": {"kind": "code"}}  # its tests are not run
    assert swarm.run("a", **untested).remembered == ([], [], "")
    swarm.run("b", memory={"remember": "ask"}, **untested)
    (offer,) = swarm.offers
    assert "round 1, no tests were run; approved by reviewer, security" in offer.evidence


def test_a_design_whose_tests_fail_is_not_remembered(swarm: Swarm) -> None:
    tests = "```python path=tests/test_a.py\nfrom a import x\n\n\ndef test_a():\n    assert x == %d\n```"
    sandbox()
    sections: dict[str, Any] = {
        "workflow": {"kind": "code", "max_iterations": 1},
        "execution": {"mode": "required"},
    }
    assert swarm.run("a", {"tester": tests % 2}, **sections).remembered == ([], [], "")
    swarm.run("b", {"tester": tests % 1}, **sections)
    assert "1 of 1 tests passed" in swarm.memories("design")[0]["evidence"]


def test_a_follow_up_is_about_both_requests(swarm: Swarm) -> None:
    swarm.run("a")
    swarm.run("a", request="Add the pump", follow_up=True)
    about = {memory["about"] for memory in swarm.memories("design")}
    assert about == {REQUEST, f"{REQUEST} Then: Add the pump"}


def test_a_long_design_is_cut_and_says_so(swarm: Swarm) -> None:
    outline = "## Outline\n- `# A`: scope\n- `## Steps`: what is done\n" + "x" * 9000
    swarm.run("a", {**DOCUMENT_ANSWERS, "architect": outline})
    text = swarm.memories("design")[0]["text"]
    assert len(text) < 5000
    assert text.endswith(f"[cut: 4000 of {len(outline)} characters shown]")


# --- findings ------------------------------------------------------------------------------------

SAME_TEXT = str(DOCUMENT_ANSWERS["coder"]).replace("{round}", "1")
PROBLEM = "The speed of opening the valve is not given."


def test_a_mistake_of_two_sessions_is_kept_with_its_cure(swarm: Swarm) -> None:
    first = swarm.run("a", refused_once(PROBLEM))
    assert first.state["iteration"] == 2
    assert swarm.memories("finding") == []
    assert [candidate["sessions"] for candidate in swarm.candidates] == [["a"]]
    swarm.run("b", refused_once("Speed of opening valves isn't given"), request="Write another one")
    (memory,) = swarm.memories("finding")
    assert memory["text"] == (
        "Speed of opening valves isn't given (major, in a .md file)\n"
        "Cure: Say how slowly.\n"
        "```diff\n@@ -2,3 +2,3 @@\n \n-It is 1.\n+It is 2.\n \n```"
    )
    assert "session b, " in memory["evidence"]
    assert "round 2, cured what reviewer found in round 1; " in memory["evidence"]
    assert memory["evidence"].endswith("; also in session a")
    assert swarm.candidates == []


@pytest.mark.parametrize(
    ("why", "script"),
    [
        ("it is minor", refused_once(PROBLEM, severity="minor")),
        ("it has too few words", refused_once("It fails.")),
        ("it comes back", {"reviewer": finding(PROBLEM)}),
        (
            "it comes back in other words",
            {
                "reviewer": lambda ask: finding(
                    ["", PROBLEM, "The valve: opening speed is given nowhere"][ask.iteration]
                )
            },
        ),
        (
            "it comes back in quite other words, from the same reviewer about the same file",
            {
                "reviewer": lambda ask: finding(
                    ["", PROBLEM, "How fast is the valve turned? It must say."][ask.iteration]
                )
            },
        ),
        (
            "another file changed",
            {
                **refused_once(PROBLEM, location="docs/b.md:1"),
                "coder": f"{DOCUMENT_ANSWERS['coder']}\n```markdown path=docs/b.md\n# B\n\nThe same.\n```",
            },
        ),
        (
            "its reviewer could not be read in the next round",
            {"reviewer": lambda ask: finding(PROBLEM) if ask.iteration == 1 else "I cannot say."},
        ),
        ("nothing changed", {**refused_once(PROBLEM), "coder": SAME_TEXT}),
    ],
)
def test_a_mistake_without_a_cure_is_no_candidate(why: str, script: dict[str, Any], swarm: Swarm) -> None:
    limits: dict[str, Any] = {"workflow": {"kind": "document", "max_iterations": 2}}
    swarm.run("a", script, memory={"remember": "ask"}, **limits)
    assert swarm.candidates == [], why


def test_forks_resumes_and_follow_ups_are_no_second_session(swarm: Swarm) -> None:
    swarm.run("a", refused_once(PROBLEM))
    swarm.coordinator().resume("a")
    swarm.run("a", refused_once(PROBLEM), request="Once more", follow_up=True)
    with open_checkpointer(swarm.folder / "swarm.db") as saver:
        session = saver.catalogue.get("a")
        assert session is not None
        history = moments(saver, session)
        fork(saver, session, find_moment(history, "coder:1"), "forked", {})
    swarm.coordinator(refused_once(PROBLEM)).resume("forked")
    assert swarm.memories("finding") == []
    assert [candidate["sessions"] for candidate in swarm.candidates] == [["a"]]


def test_a_third_session_recalls_what_two_have_cured(swarm: Swarm) -> None:
    for session in ("a", "b"):
        swarm.run(session, refused_once(PROBLEM), request=f"Write procedure {session}")
    crew = Crew()
    memory = {"remember": "on", "recall": {"architect": 4, "reviewer": 4}}
    third = swarm.coordinator(memory=memory)
    third.context = crew.context
    third.run_workflow("Write how a valve is opened, with its speed", "full", session_id="c")
    for role in ("architect", "reviewer"):
        (prompt,) = crew.prompts(role)
        assert f"\n{PROBLEM} (major, in a .md file)\nCure: " in prompt
        assert "session b, mistake of several sessions, with its cure, round 2, cured what reviewer" in prompt
    with open_store(swarm.folder / "swarm.db") as store:  # each is found by what it is about
        assert store.search(MEMORY, query="an approved design for a request, a mistake of sessions") == []


# --- the tests of a repository -------------------------------------------------------------------

PROJECT = {
    "calc.py": "def add(a, b):\n    return a + b\n",
    "tests/test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n",
    "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\n',
}
CHANGE = "```python path=calc.py\ndef add(a, b):\n    return %s\n```"


@pytest.mark.parametrize(("sum", "passes"), [("b + a", True), ("a - b", False)])
def test_the_tests_of_a_repository_that_pass_before_and_after(sum: str, passes: bool, swarm: Swarm) -> None:
    sandbox()
    repo = make_repository(swarm.folder / "repo", PROJECT)
    git(repo, "remote", "add", "origin", "https://ann:s3cret@git.example/calc.git?token=s3cret")
    script = {"coder": CHANGE % sum, "tester": "NO CHANGE: the tests are enough."}
    swarm.run(
        "a", script, repo={"path": str(repo)}, workflow={"max_iterations": 1}, execution={"mode": "required"}
    )
    memories = swarm.memories("tests")
    if not passes:
        assert memories == []
        return
    assert memories[0]["text"].startswith(
        "The own tests of the repository https://git.example/calc.git ran and passed. "
        "Their result is the exit code and report of `"
    )
    assert (
        "round 1, before the change 1 of 1 tests passed, after it 1 of 1 tests passed"
        in (memories[0]["evidence"])
    )
    with open_store(swarm.folder / "swarm.db") as store:
        assert "s3cret" not in str(store.search(("swarm",), limit=100))


@pytest.mark.parametrize(
    ("address", "clean"),
    [
        ("https://ann:secret@host/a.git", "https://host/a.git"),
        ("https://token@host:8443/a.git?private_token=x#y", "https://host:8443/a.git"),
        ("ssh://git@host/a.git", "ssh://host/a.git"),
        ("git@host:team/a.git", "git@host:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_the_address_of_a_remote_has_no_credentials(address: str, clean: str) -> None:
    assert without_credentials(address) == clean


# --- whose sessions, and which models ------------------------------------------------------------


def test_what_simulated_models_invent_is_not_remembered(swarm: Swarm) -> None:
    simulated: dict[str, Any] = {
        "model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}}
    }
    coordinator = swarm.run("a", **simulated)
    assert coordinator.remembered == (
        [], [], f"{NOTE}: a model of it is simulated, and its answers are invented"
    )  # fmt: skip
    assert swarm.values(*MEMORY) == []


def test_one_simulated_role_is_enough(swarm: Swarm) -> None:
    single = MODELS["model_config"]["single_model"]
    multi = {"security": {"model": "simulated", "api_type": "simulated"}, "default": single}
    models = {"mode": "multi", "single_model": single, "multi_model": multi}
    coordinator = swarm.coordinator(model_config=models)
    model = coordinator.context.model if coordinator.context else None
    others = {role: model for role in DOCUMENT_ANSWERS if role != "security"}
    coordinator.context = SwarmContext(model=others)
    coordinator.run_workflow(REQUEST, "full", session_id="a")
    assert coordinator.state["approved"]
    assert coordinator.remembered is not None
    assert coordinator.remembered.note.startswith(f"{NOTE}: a model of it is simulated")


def test_a_received_session_is_remembered_only_when_it_is_trusted(
    swarm: Swarm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pause: dict[str, Any] = {"workflow": {"kind": "document", "pause_after": ["coder"]}}
    swarm.run("a", **pause)
    sent = tmp_path_factory.mktemp("received")
    (sent / "swarm.db").write_bytes((swarm.folder / "swarm.db").read_bytes())
    received = Swarm(sent)
    coordinator = received.coordinator(**pause)
    coordinator.resume("a", "approve")
    assert coordinator.remembered is not None
    assert coordinator.remembered.note.startswith(f"{NOTE}: somebody else began it; --trust-session")
    assert received.values(*MEMORY) == []
    trusting = received.coordinator(**pause)
    trusting.resume("a", trust_session=True)
    assert trusting.remembered is not None
    assert len(trusting.remembered.kept) == 1


def test_a_task_graph_has_nothing_to_remember(swarm: Swarm) -> None:
    coordinator = swarm.coordinator(workflow={})
    coordinator.add_task({"task_id": "T1", "assigned_role": "coder", "description": "Write it"})
    coordinator.run_workflow("", "custom", session_id="a")
    assert coordinator.remembered == ([], [], "")


def test_keys_are_masked(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789abcdef")
    entry = {**MODELS["model_config"]["single_model"], "api_key_env": "MY_KEY"}
    outline = f"{DOCUMENT_ANSWERS['architect']}\nThe key is sk-0123456789abcdef."
    script = {**DOCUMENT_ANSWERS, "architect": outline}
    swarm.run("a", script, request="Use sk-0123456789abcdef", model_config={"single_model": entry})
    assert "0123456789abcdef" not in str(swarm.memories("design"))
    assert "The key is ***." in swarm.memories("design")[0]["text"]


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_full_disk_fails_no_session_and_leaves_nothing_half(swarm: Swarm) -> None:
    outline = f"{DOCUMENT_ANSWERS['architect']}\n{'x' * 9000}"
    coordinator = swarm.run("a", {**refused_once(PROBLEM), "architect": outline}, memory=None)
    config = load_config({**MODELS, "memory": {"remember": "on"}}, environ={})
    with open_checkpointer(swarm.folder / "swarm.db") as saver:
        store, ended = SwarmStore.on(saver.database), cast("SwarmState", coordinator.state)
        store.put(("mine",), "item", {"text": "makes the tables"})

        def attempt() -> Remembered:
            work = remember_session("a", ended, config, saver=saver, store=store, configured=())
            return aio.run(work)

        with saver.database.view() as cursor:
            (pages,) = cursor.execute("PRAGMA page_count").fetchone()
            (limit,) = cursor.execute(f"PRAGMA max_page_count = {pages}").fetchone()
        assert limit == pages
        note = attempt().note
        assert note.startswith(f"{NOTE}: ")
        assert "the disk is full" in note
        assert note.endswith("; `swarm-graph resume a` tries again")
        assert store.search(("swarm",)) == []
        with saver.database.view() as cursor:
            cursor.execute("PRAGMA max_page_count = 1000000")
        assert len(attempt().kept) == 1
        assert len(store.search(CANDIDATES)) == 1


def test_a_store_of_a_program_remembers_too(swarm: Swarm) -> None:
    store = InMemoryStore()
    coordinator = SwarmCoordinator(
        load_config({**MODELS, **DOCUMENT, "memory": {"remember": "on"}}, environ={}),
        data_dir=swarm.folder,
        output_dir=swarm.folder / "out",
        context=Crew().context,
        store=store,
    )
    coordinator.run_workflow(REQUEST, "full")
    assert coordinator.remembered is not None
    assert [item.key for item in store.search(EXPERIENCE)] == coordinator.remembered.kept
    assert swarm.values("swarm") == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_remembering import Swarm, refused_once, PROBLEM
from swarm_graph.memory.store import SwarmStore

open_on = SwarmStore.on

def remember(folder, left):
    def kill(statement):
        nonlocal left
        left -= "memory_" in statement and not statement.startswith("SELECT")
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on(database, *rest):
        database.connection.set_trace_callback(kill)
        return open_on(database, *rest)

    SwarmStore.on = on
    Swarm(folder).run("a", refused_once(PROBLEM), memory={{"remember": "ask"}})
    os._exit(0)

for moment in range(1, 100, 4):
    folder = Path(sys.argv[1], str(moment))
    folder.mkdir()
    if not (child := os.fork()):
        remember(folder, moment)
    status = os.waitpid(child, 0)[1]
    print(moment, os.waitstatus_to_exitcode(status), flush=True)
    if not status:
        break
"""


@pytest.mark.slow
def test_killed_while_it_remembers_a_session_offers_all_or_nothing_and_once(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    ended = {int(moment): int(code) for moment, code in lines}
    assert [*ended.values()] == [*[-signal.SIGKILL] * (len(ended) - 1), 0]
    assert len(ended) > 3
    for moment, code in ended.items():
        swarm = Swarm(tmp_path / str(moment))
        whole = (len(swarm.offers), len(swarm.candidates))
        assert whole in ([(1, 1)] if code == 0 else [(0, 0), (1, 1)])
        for _ in range(2):
            swarm.coordinator(memory={"remember": "ask"}).resume("a")
            assert (len(swarm.offers), len(swarm.candidates)) == (1, 1)


# --- at the terminal -----------------------------------------------------------------------------

ASKED = "Remember it (y, n, all, none, later) [later]:"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Canned]:
    """A model server that answers each role of a document session; config.json names it."""

    def answer(system: str, user: str) -> str:
        role = re.search(r"^You are (?:the|a) (\w+)", f"{system}\n{user}", re.MULTILINE)
        return str(DOCUMENT_ANSWERS.get(role[1] if role else "", APPROVED)).replace("{round}", "1")

    with Canned(answer) as server:
        models = {"model_config": {"single_model": server.entry}}
        sections = {"workflow": {"kind": "document"}, "memory": {"remember": "ask"}}
        (tmp_path / "config.json").write_text(json.dumps({**MODELS, **models, **sections}))
        yield server


def offered(folder: Path) -> list[Offer]:
    return Swarm(folder / ".swarm").offers


def kept(folder: Path) -> list[dict[str, Any]]:
    return Swarm(folder / ".swarm").memories("design")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("typed", "is_kept", "is_offered"),
    [("y\n", 1, 0), ("n\n", 0, 0), ("all\n", 1, 0), ("none\n", 0, 0), ("\n", 0, 1), ("\x04", 0, 1)],
)
def test_a_person_at_a_terminal_decides(typed: str, is_kept: int, is_offered: int, tmp_path: Path) -> None:
    with Terminal(tmp_path, "run", REQUEST, "--workflow", "full") as terminal:
        terminal.expect("approved in round 1")
        terminal.expect("Offered for memory, 1 of 1:")
        terminal.expect(f"design: {REQUEST}")
        terminal.expect("checks hold; approved by ")
        terminal.answer(ASKED, typed)
        assert terminal.end() == 0
    assert (len(kept(tmp_path)), len(offered(tmp_path))) == (is_kept, is_offered)
    assert ("shows what waits for you" in terminal.seen) == bool(is_offered)


def test_several_offers_are_decided_one_by_one(server: Canned, tmp_path: Path) -> None:
    answer = server.script

    def reviewed(system: str, user: str) -> str:
        is_first = "It is 1." in user
        if re.search("^You are the coder", f"{system}\n{user}", re.MULTILINE) and PROBLEM in user:
            return answer(system, user).replace("It is 1.", "It is 2.")
        if re.search("^You are a reviewer", f"{system}\n{user}", re.MULTILINE) and is_first:
            return finding(PROBLEM)
        return answer(system, user)

    server.script = reviewed
    done = run("run", REQUEST, "--workflow", "full", "--session", "a", cwd=tmp_path, text=True)
    assert "approved in round 2" in done.stdout
    with Terminal(tmp_path, "run", REQUEST, "--workflow", "full", "--session", "b") as terminal:
        terminal.expect("Offered for memory, 1 of 2:")
        terminal.answer(ASKED, "?\n")
        terminal.expect('memory.remember "off" offers nothing')
        terminal.answer(ASKED, "n\n")
        terminal.expect("Offered for memory, 2 of 2:")
        terminal.expect(PROBLEM)
        terminal.answer(ASKED, "later\n")
        terminal.expect("offered for memory: 1; `swarm-graph memory offers` shows what waits for you")
        assert terminal.end() == 0
    (waiting,) = [offer.id for offer in offered(tmp_path) if "session b" in offer.evidence]
    assert run("memory", "accept", waiting, cwd=tmp_path).returncode == 0
    assert kept(tmp_path) == []
    (memory,) = Swarm(tmp_path / ".swarm").memories("finding")
    assert memory["evidence"].endswith("; also in session a; kept by a person")
    shown = run("memory", "list", cwd=tmp_path, text=True)
    assert "session b" in shown.stdout


@pytest.mark.usefixtures("server")
def test_offers_are_listed_accepted_and_rejected(tmp_path: Path) -> None:
    def memory(*arguments: str) -> Any:
        return run("memory", *arguments, cwd=tmp_path, text=True)

    assert memory("offers").returncode == 2, "nothing is remembered yet"
    for request in ("Write one", "Write another", "Write a third"):
        assert run("run", request, "--workflow", "full", cwd=tmp_path).returncode == 0
    shown = memory("offers")
    assert "design: Write one\n  session " in shown.stdout
    assert shown.stderr == ""
    listed = json.loads(memory("offers", "--json").stdout)
    assert [offer["about"] for offer in listed] == ["Write one", "Write another", "Write a third"]
    ids = [offer["id"] for offer in listed]
    (received := tmp_path / "received").mkdir()
    shutil.copy(tmp_path / ".swarm" / "swarm.db", received)
    execute(received / "swarm.db", "UPDATE sessions SET signatures = NULL")
    noted = memory("offers", "--data-dir", "received").stderr
    assert noted.startswith(f"swarm-graph: note: {ids[0]}, {ids[1]}")
    assert noted.endswith("the evidence is only what the database says\n")
    refused = memory("accept", ids[0], "0123456789")
    assert refused.returncode == 2
    assert "no offer '0123456789' waits; `swarm-graph memory offers` lists the 3 that do" in refused.stderr
    assert memory("accept", ids[0]).stdout == "kept in memory: 1\n"
    assert memory("reject", ids[1], ids[2]).stdout == "dropped: 2\n"
    assert memory("offers").stdout == "no offers wait for you\n"
    assert [value["about"] for value in kept(tmp_path)] == ["Write one"]


@pytest.mark.usefixtures("server")
def test_nobody_is_asked_without_a_terminal(tmp_path: Path) -> None:
    forgetful = run("run", REQUEST, "--workflow", "full", "--no-memory", cwd=tmp_path, text=True)
    assert forgetful.returncode == 0
    assert "memory" not in forgetful.stderr
    done = run("run", REQUEST, "--workflow", "full", "--json", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert "swarm-graph: offered for memory: 1; `swarm-graph memory offers` shows what waits" in done.stderr
    assert json.loads(done.stdout)
    assert kept(tmp_path) == []
