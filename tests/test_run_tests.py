"""The node run_tests in a session: which prompts show the evidence, and how it decides the approval."""

from __future__ import annotations

from typing import Any, cast

import pytest
from langgraph.types import Command
from support import Crew, config, thread

from swarm_graph import build_graph, open_checkpointer
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import SandboxError
from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence, SwarmState, Workflow

RIGHT = "```python path=src/sums.py\ndef add(a, b):\n    return a + b\n```"
WRONG = RIGHT.replace("a + b", "a - b")
TESTS = (
    "```python path=tests/test_sums.py\nfrom sums import add\n\n\n"
    "def test_nothing():\n    assert add(0, 0) == 0\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n```"
)
BROKEN = TESTS.replace("import add", "import plus as add")
RUN = {"execution": {"mode": "auto"}}


def in_round(*answers: str) -> Any:
    """A role's answers by round; later rounds get the last one."""
    return lambda ask: answers[min(ask.iteration, len(answers)) - 1]


def in_turn(*answers: str) -> Any:
    """A role's answers in turn; later turns get the last one."""
    left = list(answers)
    return lambda _ask: left.pop(0) if len(left) > 1 else left[0]


def run(crew: Crew, settings: SwarmConfig, workflow: Workflow = "full") -> SwarmState:
    graph = build_graph(workflow, config=settings)
    return cast("SwarmState", graph.invoke({"request": "Add numbers."}, context=crew.context))


def evidence_of(state: Any) -> list[Evidence]:
    """The evidence of the test runs, one a round."""
    return [review["evidence"] for review in state["reviews"] if review["node"] == "run_tests"]


def test_the_debugger_gets_the_real_assertion_and_an_approval_rests_on_exit_code_0() -> None:
    crew = Crew({"coder": in_round(WRONG, RIGHT), "tester": TESTS})
    state = run(crew, config(**RUN))
    first, second = evidence_of(state)
    assert (first["outcome"], first["exit_code"], first["passed"], first["failed"]) == ("failed", 1, 1, 1)
    assert first["failures"][0]["test"] == "tests/test_sums.py::test_sum"
    assert first["failures"][0]["place"] == "tests/test_sums.py:9"
    assert (second["outcome"], second["exit_code"], second["passed"]) == ("passed", 0, 2)
    assert state["approved"] is True
    assert state["iteration"] == 2
    for node in ("debugger", "coder"):
        prompt = crew.prompts(node)[-1]
        assert "assert -1 == 5" in prompt
        assert "exit code 1; 1 passed, 1 failed" in prompt
    assert crew.asked.count("tester") == 2


def test_a_failing_run_is_no_approval_whatever_the_reviewers_say() -> None:
    crew = Crew({"coder": WRONG, "tester": TESTS})
    state = run(crew, config(**RUN, workflow={"max_iterations": 1}))
    assert state["approved"] is False
    [finding] = state["findings"]
    assert finding["location"] == "tests/test_sums.py:9"
    assert finding["problem"] == "Fails: tests/test_sums.py::test_sum: assert -1 == 5"
    assert finding["seen_by"] == ["run_tests"]


def test_broken_tests_go_back_to_the_tester_not_to_the_coder() -> None:
    crew = Crew({"coder": RIGHT, "tester": in_turn(BROKEN, TESTS)})
    state = run(crew, config(**RUN))
    assert crew.asked.count("coder") == 1
    assert "debugger" not in crew.asked
    first, second = crew.prompts("tester")
    assert "<broken_tests>\n(none)\n</broken_tests>" in first
    assert "cannot import name 'plus' from 'sums'" in second
    assert "def test_sum" in second.split("<broken_tests>")[1]
    [shown] = evidence_of(state)
    assert (shown["outcome"], shown["attempt"], state["approved"]) == ("passed", 2, True)


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("```python path=tests/test_a.py\ndef test_a(:\n```", "SyntaxError"),
        ("```python path=tests/test_a.py\nx = 1\n```", "no test was run"),
        ("```python path=tests/helpers.py\nx = 1\n```", "no test was run"),
        ("```python path=tests/test_a.py\ndef test_a(nosuch):\n    pass\n```", "fixture 'nosuch' not found"),
        ("```python path=tests/test_a.py\ndef test_a():\n    nosuch()\n```", "name 'nosuch' is not defined"),
        (
            "```python path=tests/test_a.py\nasync def test_a():\n    pass\n```",
            "async def functions are not natively supported",
        ),
        (
            "```python path=tests/test_a.py\nimport pytest\n@pytest.mark.skip\ndef test_a():\n    pass\n```",
            "no test was run: exit code 0; 0 passed, 0 failed, 0 errored, 1 skipped",
        ),
    ],
)
def test_what_a_test_is_itself_at_fault_for(tests: str, why: str) -> None:
    crew = Crew({"coder": RIGHT, "tester": in_turn(tests, TESTS)})
    state = run(crew, config(**RUN))
    assert why in crew.prompts("tester")[1]
    assert (state["approved"], crew.asked.count("coder")) == (True, 1)


def test_tests_that_stay_broken_are_a_finding_and_no_approval() -> None:
    crew = Crew({"coder": RIGHT, "tester": BROKEN})
    state = run(crew, config(**RUN, workflow={"max_iterations": 1}))
    assert crew.asked.count("tester") == 3
    assert state["approved"] is False
    assert state["findings"][0]["problem"].startswith("The test itself is at fault, not the code: tests/test")


def test_code_that_is_no_python_goes_to_the_debugger() -> None:
    crew = Crew({"coder": in_round("```python path=src/sums.py\ndef add(\n```", RIGHT), "tester": TESTS})
    state = run(crew, config(**RUN))
    assert "SyntaxError: '(' was never closed" in crew.prompts("debugger")[0]
    assert crew.asked.count("tester") == 2
    assert state["approved"] is True


def test_a_name_that_the_code_itself_lacks_is_no_fault_of_the_tests() -> None:
    wrong = "```python path=src/sums.py\nimport nosuch\n\n\ndef add(a, b):\n    return a + b\n```"
    crew = Crew({"coder": in_round(wrong, RIGHT), "tester": TESTS})
    run(crew, config(**RUN))
    assert crew.asked.count("tester") == 2
    assert "No module named 'nosuch'" in crew.prompts("debugger")[0]


def test_standard_runs_tests_when_asked_to() -> None:
    crew = Crew({"coder": in_round(WRONG, RIGHT), "tester": TESTS})
    state = run(crew, config(**RUN, features={"execute_tests": True}), "standard")
    assert [shown["exit_code"] for shown in evidence_of(state)] == [1, 0]
    assert "assert -1 == 5" in crew.prompts("coder")[1]
    assert state["approved"] is True
    assert "run_tests" not in build_graph("standard", config=config(**RUN)).nodes


# --- The gate ------------------------------------------------------------------------------------

NO_SANDBOX = {"sandbox": "docker", "image": None}


def test_without_a_sandbox_auto_says_that_nothing_was_run() -> None:
    crew = Crew({"coder": WRONG, "tester": TESTS})
    state = run(crew, config(execution={"mode": "auto", **NO_SANDBOX}))
    [shown] = evidence_of(state)
    assert (shown["outcome"], shown["exit_code"]) == ("not_run", None)
    assert shown["reason"].startswith("no sandbox can be used here (docker: ")
    assert state["approved"] is True  # the reviewers alone decide


def test_without_a_sandbox_required_refuses_before_anybody_is_asked() -> None:
    crew = Crew({"coder": RIGHT, "tester": TESTS})
    with pytest.raises(SandboxError, match=r"no sandbox can be used here .* install bubblewrap"):
        run(crew, config(execution={"mode": "required", **NO_SANDBOX}))
    assert not crew.asked


def test_off_runs_nothing_and_says_so() -> None:
    crew = Crew({"coder": WRONG, "tester": TESTS})
    state = run(crew, config(execution={"mode": "off"}))
    assert [shown["reason"] for shown in evidence_of(state)] == ["execution.mode is off"]


@pytest.mark.parametrize(("mode", "approved"), [("auto", True), ("required", False)])
def test_a_project_that_cannot_be_run_is_an_approval_only_where_runs_are_not_required(
    mode: str, approved: bool
) -> None:
    crew = Crew({"coder": "```sh path=run.sh\nexit 1\n```", "tester": "```sh path=tests/t.sh\nexit 1\n```"})
    state = run(crew, config(execution={"mode": mode}, workflow={"max_iterations": 1}))
    assert state["approved"] is approved
    assert "set execution.command for other languages" in evidence_of(state)[0]["reason"]


def test_a_command_runs_tests_of_other_languages() -> None:
    code = in_round("```sh path=run.sh\nexit 3\n```", "```sh path=run.sh\necho fine\n```")
    tests = "```sh path=tests/t.sh\nsh run.sh || { echo it failed; exit 3; }\n```"
    crew = Crew({"coder": code, "tester": tests})
    state = run(crew, config(execution={"mode": "required", "command": ["sh", "tests/t.sh"]}))
    assert [shown["exit_code"] for shown in evidence_of(state)] == [3, 0]
    assert "it failed" in crew.prompts("debugger")[0]
    assert state["approved"] is True


# --- Pauses --------------------------------------------------------------------------------------


def test_tests_that_a_person_edits_are_the_ones_that_run() -> None:
    crew = Crew({"coder": RIGHT, "tester": TESTS})
    settings = config(**RUN, workflow={"pause_after": ["tester"], "max_iterations": 1})
    with open_checkpointer(":memory:") as saver:
        graph = build_graph("full", config=settings, checkpointer=saver)
        graph.invoke({"request": "Add numbers."}, thread(), context=crew.context)
        edit = TESTS.replace("== 5", "== 6")
        state = graph.invoke(Command(resume={"edit": edit}), thread(), context=crew.context)
    assert evidence_of(state)[0]["failures"][0]["problem"] == "assert 5 == 6"
    assert state["approved"] is False


def test_the_same_failure_reads_the_same_again() -> None:
    """The journal finds an answer by its question, so a prompt must be the same after a crash."""
    tests = TESTS.replace("assert add(2, 3) == 5", "assert object() == add")
    prompts = []
    for _ in range(2):
        crew = Crew({"coder": RIGHT, "tester": tests})
        run(crew, config(**RUN, workflow={"max_iterations": 2}))
        prompts.append(crew.prompts("debugger"))
    assert prompts[0] == prompts[1]
    assert "0x…" in prompts[0][0]


# --- Files that cannot be used -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ({"src/a.py": "x = 1", "src/a.py/b.py": "x = 1"}, "src/a.py/b.py cannot be written: "),
        ({f"src/{'long' * 100}.py": "x = 1"}, "File name too long"),
        ({"src/big.txt": "x" * (3 << 20)}, "cannot be written: "),
        ({"../evil.py": "x = 1"}, "its path leaves the project"),
        ({"/tmp/evil.py": "x = 1"}, "its path leaves the project"),
    ],
)
def test_files_that_cannot_be_written_are_a_failed_run(code: dict[str, str], why: str) -> None:
    settings = Execution.model_validate({"limits": {"disk_mb": 1}})
    shown = run_tests(code, {"tests/test_a.py": "def test_a():\n    pass\n"}, settings)
    assert (shown["outcome"], shown["exit_code"]) == ("failed", 2)
    assert why in f"{shown['failures'][0]['test']} {shown['failures'][0]['problem']}"


def test_a_project_too_big_for_one_line_of_input_is_run() -> None:
    code = {f"src/part_{number}.py": f"text = '{'x' * 100_000}'\n" for number in range(50)}
    shown = run_tests(
        code, {"tests/test_a.py": "import part_49\ndef test_a():\n    assert part_49.text\n"}, Execution()
    )
    assert shown["outcome"] == "passed"
