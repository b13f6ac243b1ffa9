"""Test runs of ordinary projects: layouts, packages, outcomes, other languages."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from support import sandbox

from swarm_graph.sandbox.runner import run_tests
from swarm_graph.sandbox.testlog import read_test_log
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence

PASSES = "def test_a():\n    from app import x\n\n    assert x == 1\n"


def shown(tests: str | dict[str, str], code: str | dict[str, str] = "x = 1\n", **settings: Any) -> Evidence:
    """The evidence of a test run; a text is the only file of the code, or of the tests."""
    code = {"src/app.py": code} if isinstance(code, str) else code
    tests = {"tests/test_app.py": tests} if isinstance(tests, str) else tests
    return run_tests(code, tests, Execution.model_validate(settings))


CASES = """
import unittest
import pytest
from app import x


class CaseTests(unittest.TestCase):
    def test_x(self):
        self.assertEqual(x, 1)


class TestPlain:
    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_n(self, n):
        assert n

    @pytest.mark.xfail
    def test_known(self):
        assert x == 2


@pytest.mark.skip
def test_later():
    pass
"""
SYSTEM = """
import asyncio, subprocess, sys, tempfile, threading
from pathlib import Path


def test_async():
    async def one():
        return 1

    assert asyncio.run(one()) == 1


def test_threads():
    ran = []
    threads = [threading.Thread(target=ran.append, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ran) == 20


def test_files(tmp_path):
    (tmp_path / "a").write_text("b")
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    assert Path.home().is_dir()


def test_a_child():
    assert subprocess.run([sys.executable, "-c", "exit(3)"]).returncode == 3


def test_the_project_is_where_tests_look_for_it():
    assert (Path(__file__).parents[1] / "src" / "app.py").read_text() == "x = 1\\n"
"""
ORDINARY = {
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef two():\n    return 2\n",
    "tests/helpers.py": "def double(x):\n    return 2 * x\n",
    "tests/test_two.py": "from helpers import double\n\n\ndef test_b(two):\n    assert double(1) == two\n",
    "tests/unit/test_cases.py": CASES,
    "tests/test_system.py": SYSTEM,
    "test_top.py": "from src.app import x\n\n\ndef test_top():\n    assert x == 1\n",
}


def test_what_ordinary_tests_do_works() -> None:
    found = shown(ORDINARY)
    assert found["outcome"] == "passed", found
    assert (found["passed"], found["failed"], found["errored"], found["skipped"]) == (11, 0, 0, 2)
    assert found["sandbox"] == sandbox()


def test_servers_of_their_own_on_loopback() -> None:
    if sandbox() != "bubblewrap":
        pytest.skip("Landlock lets no test listen on a port; docs/sandbox.md says so")
    tests = (
        "import socket\n\n\ndef test_a():\n    with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "        with socket.create_connection(server.getsockname()):\n            pass\n"
    )
    found = shown(tests + "\n\n" + PASSES.replace("test_a", "test_b"))
    assert (found["outcome"], found["passed"]) == ("passed", 2)


CONSTRUCTED = "class TestA:\n    def __init__(self):\n        pass\n\n    def test_a(self):\n        pass\n"
SKIPPED = "import pytest\n\npytest.skip('no', allow_module_level=True)\n\n\n" + PASSES
BAD_SETUP = "import pytest\n\n\n@pytest.fixture(autouse=True)\ndef f():\n    raise OSError\n\n\n" + PASSES
BAD_TEARDOWN = (
    "import pytest\n\n\n@pytest.fixture\ndef f():\n    yield\n    1 / 0\n\n\ndef test_a(f):\n    pass\n"
)


@pytest.mark.parametrize(
    ("tests", "code", "outcome"),
    [
        ("def test_a():\n    import app\n", "import nosuch\n", "failed"),
        ("import app\n\n\ndef test_a():\n    app.f()\n", "def f():\n    g()\n", "failed"),
        ("def test_a():\n    raise SystemExit(0)\n", "", "failed"),
        (BAD_SETUP, "", "failed"),
        (BAD_TEARDOWN, "", "failed"),
        ({"tests/conftest.py": "import nosuch\n", "tests/test_a.py": PASSES}, "", "broken"),
        ({"tests/test_a.py": PASSES, "tests/unit/test_a.py": PASSES}, "", "broken"),
        (CONSTRUCTED, "", "no_tests"),
        (SKIPPED, "", "no_tests"),
    ],
)
def test_outcomes(tests: Any, code: str, outcome: str) -> None:
    found = shown(tests, code)
    assert found["outcome"] == outcome, found


def test_a_crash_names_the_test_that_was_running() -> None:
    found = shown("import ctypes\n\n\ndef test_a():\n    pass\n\n\ndef test_b():\n    ctypes.string_at(0)\n")
    assert (found["outcome"], found["passed"]) == ("failed", 1)
    assert found["reason"] == "its process ended with signal 11, in tests/test_app.py::test_b"


def test_a_test_that_hangs_is_named() -> None:
    found = shown("import time\n\n\ndef test_a():\n    time.sleep(60)\n", limits={"seconds": 2})
    assert (found["outcome"], found["exit_code"]) == ("timed_out", None)
    assert found["reason"] == "it was still running after 2 s, in tests/test_app.py::test_a"


def test_failures_are_trimmed_to_what_a_debugger_needs() -> None:
    tests = "\n\n".join(f"def test_{n}():\n    assert 'x' * 100_000 == {n}\n" for n in range(30))
    found = shown(tests)
    assert (found["failed"], len(found["failures"])) == (30, 10)
    assert all(len(failure["text"]) <= 2100 for failure in found["failures"])
    assert all(len(failure["problem"]) <= 500 for failure in found["failures"])


def test_packages_that_are_there_but_not_allowed_are_not_imported() -> None:
    tests = f"{PASSES}\n\ndef test_b():\n    import click\n"
    refused = shown(tests)
    assert refused["failures"][0]["problem"] == (
        "ModuleNotFoundError: No module named 'click' (not in execution.packages)"
    )
    assert shown(tests, packages=["click"])["outcome"] == "passed"
    assert shown(tests, python=sys.prefix)["outcome"] == "passed"
    assert shown(tests, python=sys.prefix, packages=[])["outcome"] == "broken"


def test_what_an_allowed_package_needs_is_allowed_too() -> None:
    tests = f"import rich.markdown\n\n\n{PASSES}"
    assert shown(tests, packages=["rich"])["outcome"] == "passed"


def test_a_module_of_the_project_may_have_a_package_s_name() -> None:
    code = {"src/click/__init__.py": "own = True\n"}
    assert shown("import click\n\n\ndef test_a():\n    assert click.own\n", code)["outcome"] == "passed"


def test_a_folder_may_have_the_name_of_an_option() -> None:
    found = shown({"--collect-only/test_a.py": PASSES, "-x/test_b.py": PASSES})
    assert (found["outcome"], found["passed"]) == ("passed", 2)


def test_a_command_that_is_not_there_says_so() -> None:
    found = shown({"t.js": ""}, {"a.js": ""}, command=["nosuch-runner"])
    assert (found["outcome"], found["exit_code"]) == ("failed", 127)
    assert found["output"] == "cannot run 'nosuch-runner': No such file or directory"


def test_a_command_finds_the_interpreter() -> None:
    tests = {"t.py": "import sys; sys.exit(4)\n"}
    assert shown(tests, command=["python", "t.py"])["exit_code"] == 4


def test_only_signed_entries_are_read() -> None:
    assert read_test_log(b'0123 {"kind": "end", "exit_code": 0}\n', b"k" * 32) == ([], False)
    assert read_test_log(b"garbage\n\xff\xfe\n", b"k" * 32) == ([], False)
    assert read_test_log(b"", b"k" * 32) == ([], True)
