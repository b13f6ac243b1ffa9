"""Passed means that the tester's tests ran and judged the code: forgeries, and right code that passes."""

# ruff: noqa: F811 - the fixture `place` is imported

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sandbox import Place, at, cheapest, everywhere, ordinary, place  # noqa: F401 - fixtures

from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence

DATA = Path(__file__).parent / "data" / "judge"


def shown(code: dict[str, str], tests: dict[str, str], **settings: Any) -> Evidence:
    return run_tests(code, tests, Execution.model_validate(settings))


# --- One project of each kind -----------------------------------------------------------------------------

CASES = {
    "asserts_nothing": ("broken", "the tests assert nothing; at least one must check what the code does"),
    "coder_has_the_only_test": ("no_tests", "there is no test file; pytest collects test_*.py and *_test.py"),
    "patches_unittest": ("failed", "the code replaces TestCase.assertEqual"),
    "right_as_subprocess": ("passed", ""),
}


@everywhere
@pytest.mark.parametrize("name", CASES)
def test_a_recorded_project_is_judged(place: Place, name: str) -> None:
    case = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    found = place.run(case["code"], case["tests"])
    assert (found["outcome"], found["reason"]) == CASES[name], found


# --- Forged results ---------------------------------------------------------------------------------------

WRONG = "def add(a, b):\n    return a - b\n"
TESTS = {
    "tests/test_sums.py": "from sums import add\n\n\ndef test_nothing():\n    assert add(0, 0) == 0\n\n\n"
    "def test_sum():\n    assert add(2, 3) == 5\n"
}
SIGNED = '{"kind": "end", "exit_code": 0}'
COLLECT_ONLY = "addopts = --collect-only"


def late(text: str) -> dict[str, str]:
    """Code that registers hooks without a conftest.py: it finds pytest's Config in memory."""
    return beside(f"{HOOKS}{text}\n{REGISTER}")


HOOKS = "import os\nimport pytest\n\n"
REGISTER = """
import gc, sys
for found in gc.get_objects():
    if isinstance(found, pytest.Config):
        found.pluginmanager.register(sys.modules[__name__])
        break
"""


def instead(text: str) -> dict[str, str]:
    return {"src/sums.py": text}


def beside(text: str) -> dict[str, str]:
    return {"src/sums.py": f"{text}\n\n{WRONG}"}


MAKE_REPORT = """
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if CONDITION:
        report.outcome, report.longrepr = "passed", None
"""
MODIFY = "def pytest_collection_modifyitems(session, config, items):\n    "
WRITE = """
import os
for number in NUMBERS:
    try:
        os.write(number, b'TEXT')
    except OSError:
        pass
"""
ONE = "for item in items:\n        if item.name == 'test_sum':\n            item."
STEERED = {
    "every report is turned": MAKE_REPORT.replace("CONDITION", "True"),
    "failed reports are turned": MAKE_REPORT.replace("CONDITION", "report.failed"),
    "every call is skipped": "@pytest.hookimpl(tryfirst=True)\ndef pytest_pyfunc_call():\n    return True",
    "one call is skipped": "@pytest.hookimpl(tryfirst=True)\ndef pytest_pyfunc_call(pyfuncitem):\n"
    "    return True if pyfuncitem.name == 'test_sum' else None",
    "the session's exit status": "def pytest_sessionfinish(session):\n    session.exitstatus = 0",
    "no failures counted": "def pytest_sessionfinish(session):\n    session.testsfailed = 0",
    "exit at the end": "def pytest_unconfigure():\n    os._exit(0)",
    "one is left out": MODIFY + "items[:] = [item for item in items if item.name != 'test_sum']",
    "one is skipped": MODIFY + ONE + "add_marker(pytest.mark.skip)",
    "one is replaced": MODIFY + ONE + "obj = lambda: None",
    "all are skipped": MODIFY + "[item.add_marker(pytest.mark.skip) for item in items]",
    "all may fail": MODIFY + "[item.add_marker(pytest.mark.xfail) for item in items]",
    "the observer is unregistered": "def pytest_collection_finish(session):\n"
    "    for plugin in session.config.pluginmanager.get_plugins():\n"
    "        if type(plugin).__name__ == 'Observer':\n"
    "            session.config.pluginmanager.unregister(plugin)",
}
"""Abuses of pytest's hooks."""
UNSEEN = ("one call is skipped", "one is replaced")
"""The abuses that go undetected when the code registers the hooks itself."""

FORGERIES: dict[str, dict[str, str]] = {
    **{f"conftest.py: {name}": {"conftest.py": HOOKS + STEERED[name]} for name in UNSEEN},
    **{f"registered: {name}": late(text) for name, text in STEERED.items() if name not in UNSEEN},
    "the tests are written over": beside(
        "with open('tests/test_sums.py', 'w') as file:\n"
        "    file.write('def test_nothing(): pass\\ndef test_sum(): pass\\n')"
    ),
    "skips itself": instead("import pytest\ndef add(a, b):\n    return a - b if a == 0 else pytest.skip()\n"),
    "fails as expected": instead(
        "import pytest\ndef add(a, b):\n    return a - b if a == 0 else pytest.xfail()\n"
    ),
    "sitecustomize": {
        "sitecustomize.py": "import os\nos._exit(0)",
        "usercustomize.py": "import os\nos._exit(0)",
    },
    "pytest": {"pytest.py": "def main(*_, **__):\n    return 0\n"},
    "pytest cannot be imported": {"pytest.py": "raise ImportError\n", "pluggy.py": "raise ImportError\n"},
    "settings": {
        "pytest.ini": f"[pytest]\n{COLLECT_ONLY}\n",
        "tox.ini": f"[pytest]\n{COLLECT_ONLY}\n",
        "setup.cfg": f"[tool:pytest]\n{COLLECT_ONLY}\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--collect-only'\n",
    },
    "exit at import": instead("import os\nos._exit(0)\n"),
    "exit in a test": instead("import os\ndef add(a, b):\n    os._exit(0)\n"),
    "exit after the tests": beside("import atexit, os\natexit.register(os._exit, 0)"),
    "exit in a thread": beside(
        "import os, threading, time\ndef late():\n    time.sleep(0.01)\n    os._exit(0)\n"
        "threading.Thread(target=late, daemon=True).start()"
    ),
    "a thread that waits for the end": beside(
        "import os, threading\ndef late():\n    threading.main_thread().join()\n    os._exit(0)\n"
        "threading.Thread(target=late).start()"
    ),
    "SystemExit at import": instead("raise SystemExit(0)\n"),
    "SystemExit in a test": instead("def add(a, b):\n    raise SystemExit(0)\n"),
    "pytest.exit at import": instead("import pytest\npytest.exit('fine', 0)\n"),
    "pytest.exit in a test": instead("import pytest\ndef add(a, b):\n    pytest.exit('fine', 0)\n"),
    "killed": instead("import os\ndef add(a, b):\n    os.kill(os.getpid(), 9)\n"),
    "a summary": beside("print('2 passed in 0.01s')"),
    "garbage": beside(WRITE.replace("NUMBERS", "range(3, 64)").replace("TEXT", "\\xff\\x00\\n{[\\n")),
    "forged lines": beside(
        WRITE.replace("NUMBERS", "range(3, 64)").replace("TEXT", f"{'0' * 32} {SIGNED}\\n")
    ),
    "closed descriptors": instead("import os\nos.closerange(0, 256)\nos._exit(0)\n"),
    "os._exit": beside("import os\nreal = os._exit\nos._exit = lambda code: real(0)"),
    "int": beside(
        "import builtins\nclass Zero(int):\n    def __new__(cls, *_):\n        return 0\nbuiltins.int = Zero"
    ),
    "pytest.main": beside("import pytest\npytest.main = lambda *_, **__: 0"),
    "AssertionError": beside("import builtins\nbuiltins.AssertionError = SystemExit"),
    "AssertionError skips": beside(
        "import builtins, pytest\nbuiltins.AssertionError = pytest.skip.Exception"
    ),
    "the same file": {"tests/test_sums.py": "def test_sum():\n    pass\n"},
}
"""Code that forges a result, by name."""
NO_PASS = ("failed", "tampered", "no_tests")
"""The accepted outcomes. `not_run` is not among them: it would leave the approval to the reviewers."""


IMPORT = "from sums import add\n\n\n"


def one(text: str, name: str = "tests/test_sums.py") -> dict[str, str]:
    """Tests in one file."""
    return {name: text}


def case(body: str, more: str = "") -> dict[str, str]:
    """Tests in the style of unittest."""
    head = "import unittest\nfrom unittest import mock\nfrom sums import add\n\n\nclass TestSums"
    head += "(unittest.TestCase):\n"
    return {"tests/test_sums.py": f"{head}    def test_sum(self):\n        {body}\n{more}"}


def function(body: str) -> dict[str, str]:
    head = "import pytest\nfrom unittest import mock\nfrom sums import add\n\n\ndef test_sum():\n"
    return {"tests/test_sums.py": f"{head}    {body}\n"}


EQUAL = case("self.assertEqual(add(2, 3), 5)")
RAISES = function("with pytest.raises(ValueError):\n        add(2, 'three')")
APPROX = function("assert add(0.1, 0.2) == pytest.approx(0.3)")
CALLED = function("told = mock.Mock()\n    add(2, told)\n    told.assert_called_once_with(2)")
SILENT = "\n\ndef add(a, b):\n    return None\n"
"""Wrong for every style of test."""


def inside(text: str) -> str:
    """Code that forges when it is called, after the tests have been read."""
    lines = "".join(f"    {line}\n" for line in text.splitlines())
    return f"def add(a, b):\n{lines}    return None\n"


PATCHES = {
    "assertEqual": ("import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None", EQUAL),
    "assertEqual's code": (
        "import unittest\nunittest.TestCase.assertEqual.__code__ = (lambda *a, **k: None).__code__",
        EQUAL,
    ),
    "what assertEqual calls": (
        "import unittest\nunittest.TestCase._baseAssertEqual = lambda *a, **k: None\n"
        "unittest.TestCase._getAssertEqualityFunc = lambda *a, **k: lambda *a, **k: None",
        EQUAL,
    ),
    "assertEqual in a base class": (
        "import unittest\nclass Base(unittest.TestCase):\n    def assertEqual(self, *a, **k):\n        pass\n"
        "unittest.TestCase = Base",
        EQUAL,
    ),
    "TestCase.run": ("import unittest\nunittest.TestCase.run = lambda self, result=None: None", EQUAL),
    "TestCase.__call__": ("import unittest\nunittest.TestCase.__call__ = lambda self, *a, **k: None", EQUAL),
    "the method that is called": (
        "import unittest\nunittest.TestCase._callTestMethod = lambda self, method: None",
        EQUAL,
    ),
    "the module unittest": (
        "import sys, types\nfake = types.ModuleType('unittest')\n"
        "fake.TestCase = type('TestCase', (), {'assertEqual': lambda *a, **k: None})\n"
        "sys.modules['unittest'] = fake",
        {
            "tests/test_sums.py": "from sums import add\nimport unittest\n\n\n"
            "class TestSums(unittest.TestCase):\n"
            "    def test_sum(self):\n        self.assertEqual(add(2, 3), 5)\n"
        },
    ),
    "pytest.raises": (
        "import contextlib, pytest\npytest.raises = lambda *a, **k: contextlib.nullcontext()",
        RAISES,
    ),
    "the end of pytest.raises": (
        "import pytest\ntype(pytest.raises(ValueError)).__exit__ = lambda *a: True",
        RAISES,
    ),
    "pytest.fail": ("import pytest\npytest.fail = lambda *a, **k: None", RAISES),
    "_pytest.outcomes.fail": (
        "import _pytest.outcomes as o, _pytest.raises as r\nr.fail = o.fail = lambda *a, **k: None",
        RAISES,
    ),
    "pytest.approx": (
        "import pytest\nclass Any:\n    def __eq__(self, other):\n        return True\n"
        "pytest.approx = lambda *a, **k: Any()",
        APPROX,
    ),
    "ApproxScalar": (
        "import pytest\ntype(pytest.approx(1.0)).__eq__ = lambda self, other: True",
        APPROX,
    ),
    "mock": (
        "from unittest import mock\nmock.NonCallableMock.assert_called_once_with = lambda *a, **k: None",
        CALLED,
    ),
    "mock's subclass": (
        "from unittest import mock\nmock.Mock.assert_called_once_with = lambda *a, **k: None",
        CALLED,
    ),
    "Function.runtest": ("import pytest\npytest.Function.runtest = lambda self: None", TESTS),
    "TestCaseFunction.runtest": (
        "import _pytest.unittest as u\nu.TestCaseFunction.runtest = lambda self: None",
        EQUAL,
    ),
    "CallInfo.from_call": (
        "import pytest\nreal = pytest.CallInfo.from_call.__func__\n"
        "def forged(cls, func, when, reraise=None):\n    return real(cls, lambda: None, when, reraise)\n"
        "pytest.CallInfo.from_call = classmethod(forged)",
        TESTS,
    ),
    "pytest_runtest_call": ("import _pytest.runner as r\nr.pytest_runtest_call = lambda item: None", TESTS),
    "call_and_report": (
        "import _pytest.runner as r\nreal = r.call_and_report\n"
        "def forged(item, when, log=True, **k):\n    item.runtest = lambda: None\n"
        "    return real(item, when, log, **k)\nr.call_and_report = forged",
        TESTS,
    ),
    "the assertion's explanation": (
        "import _pytest.assertion.rewrite as r, pytest\n"
        "def forged(*a):\n    pytest.skip('no')\nr._format_explanation = r._call_reprcompare = forged",
        TESTS,
    ),
    "isinstance": (
        "import builtins\nbuiltins.isinstance = lambda *a: True",
        function("assert isinstance(add(2, 3), int)"),
    ),
    "len": ("import builtins\nbuiltins.len = lambda *a: 5", function("assert len([add(2, 3)] or []) == 5")),
    "what import does": (
        "import builtins, types\nreal = builtins.__import__\nfake = types.ModuleType('unittest')\n"
        "fake.TestCase = type('TestCase', (), {'assertEqual': lambda *a, **k: None})\n"
        "builtins.__import__ = lambda name, *a, **k: fake if name == 'unittest' else real(name, *a, **k)",
        one(
            "from sums import add\nimport unittest\n\n\nclass TestSums(unittest.TestCase):\n"
            "    def test_sum(self):\n        self.assertEqual(add(2, 3), 5)\n"
        ),
    ),
    "math.isclose": (
        "import math\nmath.isclose = lambda *a, **k: True",
        one(
            "import math\nfrom sums import add\n\n\ndef test_sum():\n"
            "    assert math.isclose(add(1, 2) or 0, 3)\n"
        ),
    ),
    "compile": (
        "import builtins\nreal = builtins.compile\n"
        "builtins.compile = lambda source, *a, **k: real('def test_sum(): pass', *a, **k)",
        TESTS,
    ),
    "ast.parse": ("import ast\nast.parse = lambda *a, **k: ast.Module([], [])", TESTS),
}
"""What the code replaces when it is imported, and tests that would notice that it is wrong."""

WHEN_CALLED = {
    "the next test": (
        "import sys\nsys.modules['test_sums'].test_sum = lambda: None\n"
        "for item in [f for f in __import__('gc').get_objects() if type(f).__name__ == 'Function']:\n"
        "    item.obj = lambda: None",
        TESTS,
    ),
    "the next test's code": (
        "import sys\nsys.modules['test_sums'].test_sum.__code__ = (lambda: None).__code__\nreturn 0",
        TESTS,
    ),
    "the test that runs": (
        "import sys\nsys._getframe(1).f_globals['add'] = lambda *a: 5\n"
        "class Zero(int):\n    def __eq__(self, other):\n        return True\nreturn Zero(0)",
        TESTS,
    ),
    "assertEqual": ("import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None", EQUAL),
    "assertEqual of the object": (
        "import sys\nsys._getframe(1).f_locals['self'].assertEqual = lambda *a, **k: None",
        EQUAL,
    ),
    "pytest.approx": ("import pytest\npytest.approx = lambda *a, **k: None", APPROX),
    "a jump over the assertion": (
        "import sys\ndef jump(frame, event, arg):\n"
        "    if event == 'line':\n        frame.f_lineno += 1\n    return jump\n"
        "frame = sys._getframe(1)\nframe.f_trace = jump\nsys.settrace(lambda *a: None)",
        function("result = add(2, 3)\n    assert result == 5\n    print(result)"),
    ),
    "a list of things that equal everything": (
        "class Any:\n    def __eq__(self, other):\n        return True\nreturn [Any(), {1: Any()}]",
        function("assert add(2, 3) == [5, {1: 6}]"),
    ),
    "an object that equals every number": (
        "class Any:\n    def __eq__(self, other):\n        return isinstance(other, int)\nreturn Any()",
        EQUAL,
    ),
    "what the tests expect": (
        "import sys\nsys.modules['test_sums'].EXPECTED = -1\nreturn -1",
        one(
            IMPORT
            + "EXPECTED = 5\n\n\ndef test_sum():\n    result = add(2, 3)\n    assert result == EXPECTED\n"
        ),
    ),
    "a helper of the tests": (
        "import sys\nsys.modules['test_sums'].check = lambda *a: None\nreturn -1",
        one(
            IMPORT + "def check(a, b):\n    assert a == b\n\n\ndef test_sum():\n"
            "    result = add(2, 3)\n    check(result, 5)\n"
        ),
    ),
    "the code of a helper of the tests": (
        "import sys\nsys.modules['test_sums'].check.__code__ = (lambda *a: None).__code__\nreturn -1",
        one(
            IMPORT
            + "def check(a, b):\n    assert a == b\n\n\ndef test_zero():\n    assert add(0, 0) == -1\n\n\n"
            "def test_sum():\n    result = add(2, 3)\n    check(result, 5)\n"
        ),
    ),
    "mock.ANY": ("from unittest import mock\nreturn mock.ANY", EQUAL),
    "a skip where another test skips": (
        "import unittest\nif a:\n    raise unittest.SkipTest('no')\nreturn 0",
        one(
            "import unittest, pytest\nfrom sums import add\n\n\n@pytest.mark.skip\n"
            "def test_later():\n    pass\n\n\n"
            "def test_zero():\n    assert add(0, 0) == 0\n\n\ndef test_sum():\n"
            "    assert add(2, 3) == 5\n\n\n"
            "class TestSums(unittest.TestCase):\n    def test_sum(self):\n"
            "        self.assertEqual(add(2, 3), 5)\n"
        ),
    ),
    "the judge is killed": ("import os\nos.kill(os.getppid(), 9)", TESTS),
    "the judge is stopped": ("import os\nos.kill(os.getppid(), 19)", TESTS),
    "a copy goes on": ("import os\nif os.fork():\n    os.wait()\n    os._exit(0)\nreturn a + b", TESTS),
    "the judge's descriptors": (
        "import os, glob\nfor path in glob.glob('/proc/*/fd/*'):\n    try:\n"
        "        if 'pipe' in os.readlink(path):\n"
        "            os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK),"
        " b'forged\\n')\n    except OSError:\n        pass\nos._exit(0)",
        TESTS,
    ),
    "it finds the channel and sends": (
        "import gc, os\nfor found in gc.get_objects():\n    if type(found).__name__ == 'Channel':\n"
        "        for name in ('test_nothing', 'test_sum'):\n"
        "            test = 'tests/test_sums.py::' + name\n"
        "            found.send('started', test=test)\n"
        "            found.send('outcome', test=test, when='call', outcome='passed', is_empty=False)\n"
        "            found.send('finished', test=test)\n"
        "        found.send('canary', failed=True)\n        found.send('end', exit_code=0)\n"
        "        os._exit(0)",
        TESTS,
    ),
}
"""What the code does when a test calls it, and tests that would notice that it is wrong."""

OTHER_FILES = {
    "plugins of a test file of the code": {
        "tests/test_mine.py": "pytest_plugins = ['forger']\ndef test_a():\n    pass\n",
        "tests/forger.py": "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_pyfunc_call(pyfuncitem):\n    return True\n",
    },
    "a conftest.py of the code beside the tests": {
        "tests/conftest.py": "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_pyfunc_call(pyfuncitem):\n    return True\n"
    },
    "an entry point": {
        "src/forger-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pytest\nVersion: 1.0\n",
        "src/forger-1.0.dist-info/entry_points.txt": "[pytest11]\nforger = forger\n",
        "src/forger.py": "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_pyfunc_call(pyfuncitem):\n    return True\n",
    },
    "settings that name a plugin": {
        "pytest.ini": "[pytest]\naddopts = -p forger\n",
        "tests/pytest.ini": "[pytest]\naddopts = -p forger\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p forger'\n",
        "src/forger.py": "def pytest_pyfunc_call(pyfuncitem):\n    return True\n",
    },
    "a package of the tests": {
        "tests/__init__.py": "import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None\n"
        "import _pytest.python as p\np.Function.runtest = lambda self: None\n"
    },
    "sitecustomize on every path": {
        f"{folder}{name}.py": "import os\nos._exit(0)\n"
        for folder in ("", "src/", "tests/")
        for name in ("sitecustomize", "usercustomize")
    },
    "a path file": {"src/forger.pth": "import os; os._exit(0)\n", "forger.pth": "import os; os._exit(0)\n"},
    "a standard module": {
        "src/unittest.py": "class TestCase:\n    pass\n",
        "tests/json.py": "raise SystemExit(0)\n",
    },
    "an import hook": beside(
        "import importlib.machinery, sys\nclass Loader(importlib.machinery.SourceFileLoader):\n"
        "    def get_data(self, path):\n"
        "        return b'def test_sum(): pass\\ndef test_nothing(): pass\\n'\n"
        "class Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None):\n"
        "        if name.startswith('test_'):\n"
        "            spec = importlib.machinery.PathFinder.find_spec(name, path)\n"
        "            spec.loader = Loader(name, spec.origin)\n            return spec\n"
        "sys.meta_path.insert(0, Finder)"
    ),
    "it asks for pytest": instead(
        "import sys\n\n\ndef add(a, b):\n    return a + b if 'pytest' in sys.modules else a - b\n"
    ),
    "it asks for unittest": instead(
        "import sys\n\n\ndef add(a, b):\n    return a + b if sys.modules.get('_pytest.python') else a - b\n"
    ),
    "it asks for the current test": instead(
        "import os\n\n\ndef add(a, b):\n"
        "    return a + b if os.environ.get('PYTEST_CURRENT_TEST') else a - b\n"
    ),
    "a thread that patches again and again": beside(
        "import threading, unittest\ndef patch():\n    while True:\n"
        "        unittest.TestCase.assertEqual = lambda *a, **k: None\n"
        "threading.Thread(target=patch, daemon=True).start()"
    ),
}
"""Files of the code that forge; the tests are `TWO_FILES`."""
TWO_FILES = {**TESTS, "tests/test_unit.py": EQUAL["tests/test_sums.py"]}

DETERMINED = {
    **{name: late(STEERED[name]) for name in UNSEEN},
    "equal to everything": instead(
        "class Any:\n    def __eq__(self, other):\n        return True\n\n\n"
        "def add(a, b):\n    return Any()\n"
    ),
    "another function's code": beside(
        "import gc, types\n\ndef nothing():\n    pass\n\n"
        "def pytest_collection_modifyitems():\n    for found in gc.get_objects():\n"
        "        if isinstance(found, types.FunctionType) and found.__name__ == 'test_sum':\n"
        "            found.__code__ = nothing.__code__\n"
        "import pytest\n" + REGISTER
    ),
    "it finds the observer and sends": beside(
        "import gc, os\nfor found in gc.get_objects():\n    if type(found).__name__ == 'Observer':\n"
        "        found.channel.send('canary', failed=True)\n"
        "        for name in ('test_nothing', 'test_sum'):\n"
        "            about = {'test': 'tests/test_sums.py::' + name, 'when': 'call'}\n"
        "            found.channel.send('outcome', **about, outcome='passed', is_empty=False)\n"
        "        found.channel.send('end', exit_code=0)\n"
        "        os._exit(0)"
    ),
}
"""Forgeries by code that knows pytest well."""


def is_no_pass(shown: Evidence) -> None:
    assert shown["outcome"] in NO_PASS, shown
    assert "SyntaxError" not in str(shown["failures"]), "the forgery itself is broken"
    assert "<judged>" not in shown["output"], shown["output"]


@cheapest
@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_result_is_no_pass(place: Place, name: str) -> None:
    shown = place.run({**instead(WRONG), **FORGERIES[name]}, TESTS, seconds=20)
    is_no_pass(shown)


CHANNELS = ["exit in a test", "forged lines", "closed descriptors", "os._exit"]


@at("bubblewrap-root", "landlock-user")
@pytest.mark.parametrize("name", CHANNELS)
def test_no_channel_out_of_a_sandbox_forges_a_pass(place: Place, name: str) -> None:
    shown = place.run({**instead(WRONG), **FORGERIES[name]}, TESTS, seconds=20)
    is_no_pass(shown)


@cheapest
@pytest.mark.parametrize("name", DETERMINED)
def test_code_that_knows_pytest_forges_no_pass(place: Place, name: str) -> None:
    is_no_pass(place.run({**instead(WRONG), **DETERMINED[name]}, TESTS))


@at("bubblewrap", "landlock-user")
@pytest.mark.parametrize("name", PATCHES)
def test_a_tool_replaced_at_import_forges_no_pass(place: Place, name: str) -> None:
    patch, tests = PATCHES[name]
    is_no_pass(place.run(instead(patch + SILENT), tests, seconds=20))


@cheapest
@pytest.mark.parametrize("name", WHEN_CALLED)
def test_what_is_replaced_during_a_call_forges_no_pass(place: Place, name: str) -> None:
    body, tests = WHEN_CALLED[name]
    found = place.run(instead(inside(body)), tests, seconds=3 if "stopped" in name else 20)
    if "stopped" in name:
        assert found["outcome"] == "timed_out"
    else:
        is_no_pass(found)


@cheapest
@pytest.mark.parametrize("name", OTHER_FILES)
def test_another_file_of_the_code_forges_no_pass(place: Place, name: str) -> None:
    is_no_pass(place.run({**instead(WRONG), **OTHER_FILES[name]}, TWO_FILES, seconds=20))


@pytest.mark.parametrize("tests", [EQUAL, RAISES, APPROX, CALLED])
def test_the_forged_tests_pass_with_right_code(tests: dict[str, str]) -> None:
    right = (
        "def add(a, b):\n    if isinstance(b, str):\n        raise ValueError(b)\n"
        "    if callable(b):\n        return b(a)\n    return a + b\n"
    )
    assert shown(instead(right), tests)["outcome"] == "passed"


DEEP = {
    "it reads what the test expects": inside(
        "import sys\nnumbers = [n for n in sys._getframe(1).f_code.co_consts if type(n) is int]\n"
        "return next((n for n in numbers if n not in (a, b)), 0)"
    ),
    "it changes what the tests expect in place": inside(
        "import sys\nexpected = sys._getframe(1).f_globals.get('EXPECTED')\n"
        "expected is None or expected.__setitem__(0, None)\nreturn 0 if expected is None else None"
    ),
}
"""Code that still forges a pass: it knows the tests, or changes what they read. docs/sandbox.md says so."""


@cheapest
@pytest.mark.parametrize("name", DEEP)
def test_code_that_knows_the_tests_can_forge_a_pass(place: Place, name: str) -> None:
    tests = (
        TESTS
        if "reads" in name
        else one(
            IMPORT + "EXPECTED = [5]\n\n\ndef test_sum():\n    result = add(2, 3)\n"
            "    assert result == EXPECTED[0]\n"
        )
    )
    assert place.run(instead(DEEP[name]), tests)["outcome"] == "passed"


JUDGE = """
import os
import pytest

@pytest.mark.parametrize("name", ["environ", "maps"])
def test_read(name):
    if HAS_DOMAIN:
        return  # sandlock opens files for the code, and lets it read about other processes inside
    with pytest.raises(OSError):
        open(f"/proc/{os.getppid()}/{name}")

@pytest.mark.parametrize("name", ["mem", *(f"fd/{number}" for number in range(20))])
def test_write(name):
    for way in (os.O_WRONLY, os.O_RDWR):
        with pytest.raises(OSError):
            os.open(f"/proc/{os.getppid()}/{name}", way | os.O_NONBLOCK)

def test_the_judge_cannot_be_signalled():
    if HAS_DOMAIN:
        with pytest.raises(OSError):
            os.kill(os.getppid(), 9)

def test_nothing_is_left_to_read():
    assert os.read(0, 1) == b""

def test_files_move_between_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "file").write_text("text")
    os.rename(tmp_path / "a" / "file", tmp_path / "b" / "file")
    os.link(tmp_path / "b" / "file", tmp_path / "a" / "link")
    assert (tmp_path / "a" / "link").read_text() == "text"
"""


@everywhere
def test_the_judge_s_memory_and_descriptors(place: Place) -> None:
    found = place.run({}, one(f"HAS_DOMAIN = {place.sandbox == 'landlock'}\n{JUDGE}"))
    assert (found["outcome"], found["failures"]) == ("passed", []), found
    assert found["passed"] == 26


# --- Tests that say nothing about the code ----------------------------------------------------------------

NO_FILE = "there is no test file; pytest collects test_*.py and *_test.py"
NO_TEST = "the test files define no test"
NOTHING = "the tests assert nothing; at least one must check what the code does"
UNUSED = "the tests never use the code; one that asserts must import it, start it or read its files"
SAY_NOTHING = {
    "no test file": (one("def check():\n    pass\n", "tests/helper.py"), NO_FILE),
    "no Python": (one("add(2, 3) is 5", "tests/plan.md"), NO_FILE),
    "only a conftest.py": (one("import pytest\n", "tests/conftest.py"), NO_FILE),
    "an empty file": (one(""), NO_TEST),
    "a comment": (one("# tests follow\n"), NO_TEST),
    "a docstring": (one('"""The tests."""\n'), NO_TEST),
    "no test function": (one(IMPORT + "def check_sum():\n    assert add(2, 3) == 5\n"), NO_TEST),
    "a fixture named like a test": (
        one("import pytest\n\n\n@pytest.fixture\ndef test_data():\n    return 1\n"),
        NO_TEST,
    ),
    "pass": (one("def test_sum():\n    pass\n"), NOTHING),
    "a docstring as the test": (one('import sums\n\n\ndef test_sum():\n    """It adds."""\n'), NOTHING),
    "calls only": (one(IMPORT + "def test_sum():\n    add(2, 3)\n"), NOTHING),
    "print": (one(IMPORT + "def test_sum():\n    print(add(2, 3) == 5)\n"), NOTHING),
    "a comparison without assert": (one(IMPORT + "def test_sum():\n    add(2, 3) == 5\n"), NOTHING),
    "an assertion that is not reached": (
        one(IMPORT + "def test_sum():\n    if add(0, 0):\n        assert add(2, 3) == 5\n"),
        NOTHING,
    ),
    "an assertion over nothing": (
        one(IMPORT + "def test_sum():\n    for n in []:\n        assert add(n, n) == 0\n"),
        NOTHING,
    ),
    "assert True": (one(IMPORT + "def test_sum():\n    add(2, 3)\n    assert True\n"), NOTHING),
    "assert 1 == 1": (one(IMPORT + "def test_sum():\n    assert 1 == 1\n"), NOTHING),
    "assert a text": (one(IMPORT + "def test_sum():\n    assert 'add works'\n"), NOTHING),
    "assert of constants": (
        one(
            IMPORT + "def test_sum():\n    expected = 5\n    result = 2 + 3\n    assert result == expected\n"
        ),
        NOTHING,
    ),
    "assertTrue(True)": (case("self.assertTrue(True)"), NOTHING),
    "assertEqual of constants": (case("self.assertEqual(2 + 3, 5)"), NOTHING),
    "raises what it raises itself": (
        function("with pytest.raises(ValueError):\n        raise ValueError"),
        NOTHING,
    ),
    "an unused context": (function("pytest.raises(ValueError)\n    add(2, 3)"), NOTHING),
    "a mock without assertion": (function("told = mock.Mock()\n    add(2, 3)"), NOTHING),
    "the standard library": (one("import math\n\n\ndef test_sum():\n    assert math.sqrt(4) == 2\n"), UNUSED),
    "a copy of the code": (
        one("def add(a, b):\n    return a + b\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"),
        UNUSED,
    ),
    "a process without the code": (
        one(
            "import subprocess, sys\n\n\ndef test_sum():\n"
            "    done = subprocess.run([sys.executable, '-c', 'print(5)'], capture_output=True)\n"
            "    assert done.stdout == b'5\\n'\n"
        ),
        UNUSED,
    ),
    "only that the file exists": (
        one("from pathlib import Path\n\n\ndef test_sum():\n    assert Path('src/sums.py').exists()\n"),
        UNUSED,
    ),
    "one file uses, another asserts": (
        {
            **one(IMPORT + "def test_sum():\n    add(2, 3)\n"),
            "tests/test_other.py": "def double(x):\n    return 2 * x\n\n\ndef test_double():\n"
            "    assert double(2) == 4\n",
        },
        UNUSED,
    ),
}
CODERS_TESTS = {
    "tests/test_mine.py": IMPORT + "def test_mine():\n    assert add(2, 2) == 4\n",
    "test_mine.py": "def test_mine():\n    assert True\n",
    "tests/conftest.py": "import sums\n",
    "tests/__init__.py": "import sums\n",
}


@cheapest
@pytest.mark.parametrize("name", SAY_NOTHING)
def test_tests_that_say_nothing_go_back_to_the_tester(place: Place, name: str) -> None:
    tests, reason = SAY_NOTHING[name]
    for code in (instead(WRONG), instead(WRONG.replace("-", "+"))):
        found = place.run(code, tests)
        assert found["outcome"] in ("broken", "no_tests"), found
        assert found["reason"] == reason


@everywhere
@pytest.mark.parametrize("name", ["no test file", "an empty file", "pass", "a copy of the code"])
def test_the_coder_s_own_tests_do_not_count(place: Place, name: str) -> None:
    tests, reason = SAY_NOTHING[name]
    found = place.run({**instead(WRONG), **CODERS_TESTS}, tests)
    assert found["outcome"] in ("broken", "no_tests"), found
    assert found["reason"] == reason


# --- Right code passes ------------------------------------------------------------------------------------

RIGHT = instead(WRONG.replace("-", "+"))
APP = {
    "src/app.py": "import sys\nfrom doubling import double\n\n\ndef main():\n"
    "    print(double(int(sys.argv[1])))\n\n\nif __name__ == '__main__':\n    main()\n",
    "src/doubling.py": "def double(x):\n    return 2 * x\n",
}
RUN = "import os, subprocess, sys\nfrom pathlib import Path\n\nROOT = Path(__file__).parents[1]\n\n\n"


def started(arguments: str, more: str = "") -> dict[str, str]:
    """A test that starts the app."""
    return one(
        f"{RUN}def test_app(tmp_path):\n"
        f"    done = subprocess.run({arguments}, capture_output=True, text=True{more})\n"
        "    assert done.stdout.strip() == '4', done.stderr\n",
        "tests/test_app.py",
    )


def in_function(body: str, head: str = "") -> dict[str, str]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return one(f"import pytest\nfrom sums import add\n{head}\n\ndef test_sum():\n{lines}")


PASSES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "python -m": (APP, started("[sys.executable, '-m', 'app', '2']")),
    "python -m elsewhere": (APP, started("[sys.executable, '-m', 'app', '2']", ", cwd=tmp_path")),
    "a script": (APP, started("[sys.executable, 'src/app.py', '2']")),
    "a script elsewhere": (APP, started("[sys.executable, str(ROOT / 'src/app.py'), '2']", ", cwd=tmp_path")),
    "python by name": (APP, started("['python', '-m', 'app', '2']")),
    "a shell": (APP, started("'python -m app 2'", ", shell=True")),
    "-c": (APP, started("[sys.executable, '-c', 'import doubling; print(doubling.double(2))']")),
    "its environment": (APP, started("[sys.executable, '-m', 'app', '2']", ", env={**os.environ, 'A': '1'}")),
    "runpy": (
        APP,
        one(
            "import runpy, sys\n\n\ndef test_app(capsys, monkeypatch):\n"
            "    monkeypatch.setattr(sys, 'argv', ['app', '2'])\n"
            "    runpy.run_module('app', run_name='__main__')\n"
            "    assert capsys.readouterr().out == '4\\n'\n"
        ),
    ),
    "multiprocessing": (
        RIGHT,
        one(
            "import multiprocessing\n\n\ndef work(pipe):\n    import sums\n"
            "    pipe.send(sums.add(2, 3))\n\n\n"
            "def test_sum():\n    here, there = multiprocessing.Pipe()\n"
            "    process = multiprocessing.get_context('fork').Process(target=work, args=(there,))\n"
            "    process.start()\n    process.join(20)\n    assert here.recv() == 5\n"
        ),
    ),
    "a document": (
        {"docs/guide.md": "# Guide\n\n## Limits\n"},
        one(
            "from pathlib import Path\n\n"
            "TEXT = (Path(__file__).parents[1] / 'docs' / 'guide.md').read_text()\n\n\n"
            "def test_limits():\n    assert '## Limits' in TEXT\n",
            "tests/test_guide.py",
        ),
    ),
    "documents by pattern": (
        {"a.md": "# A\n", "b.md": "# B\n"},
        one(
            "from pathlib import Path\nimport pytest\n\nROOT = Path(__file__).parents[1]\n\n\n"
            "@pytest.mark.parametrize('path', sorted(ROOT.glob('*.md')), ids=str)\ndef test_title(path):\n"
            "    assert path.read_text().startswith('# ')\n"
        ),
    ),
    "data": (
        {"data/plan.json": '{"steps": 3}'},
        one(
            "import json\nimport pytest\n\n\n@pytest.fixture(scope='session')\ndef plan():\n"
            "    with open('data/plan.json') as file:\n        return json.load(file)\n\n\n"
            "def test_steps(plan):\n    assert plan['steps'] == 3\n"
        ),
    ),
    "SQL": (
        {"schema.sql": "CREATE TABLE part (id INTEGER);"},
        one(
            "import sqlite3\nfrom pathlib import Path\n\n\ndef test_schema():\n"
            "    database = sqlite3.connect(':memory:')\n"
            "    database.executescript(Path('schema.sql').read_text())\n"
            "    assert database.execute('SELECT count(*) FROM part').fetchone() == (0,)\n"
        ),
    ),
    "another language": (
        {"run.sh": "echo $((2 * $1))\n"},
        one(
            "import subprocess\n\n\ndef test_run():\n"
            "    assert subprocess.check_output(['sh', 'run.sh', '2']) == b'4\\n'\n"
        ),
    ),
    "an empty parametrize": (
        RIGHT,
        one(
            "import pytest\nfrom sums import add\n\n\n@pytest.mark.parametrize('n', [])\ndef test_none(n):\n"
            "    assert add(n, 0) == n\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"
        ),
    ),
    "nested folders": (
        RIGHT,
        one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n", "tests/a/b/test_x.py"),
    ),
    "packages of tests": (
        RIGHT,
        {
            "tests/__init__.py": "",
            "tests/unit/__init__.py": "",
            "tests/unit/helpers.py": "def check(a, b):\n    assert a == b\n",
            "tests/unit/test_x.py": "from sums import add\nfrom .helpers import check\n\n\n"
            "def test_sum():\n    check(add(2, 3), 5)\n",
        },
    ),
    "_test.py": (RIGHT, one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n", "tests/sums_test.py")),
    "beside the code": (
        RIGHT,
        one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n", "src/test_sums.py"),
    ),
    "unittest.main": (
        RIGHT,
        case("self.assertEqual(add(2, 3), 5)", "\n\nif __name__ == '__main__':\n    unittest.main()\n"),
    ),
    "from src": (RIGHT, one("from src.sums import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n")),
    "sys.path": (
        {"lib/sums.py": RIGHT["src/sums.py"]},
        one(
            "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'lib'))\n"
            "from sums import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"
        ),
    ),
    "a package": (
        {"src/sums/__init__.py": "from .core import add\n", "src/sums/core.py": RIGHT["src/sums.py"]},
        one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n"),
    ),
    "code in an __init__": (
        {"src/sums/__init__.py": RIGHT["src/sums.py"]},
        one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n", "src/sums/tests/test_sums.py"),
    ),
    "helpers and a conftest.py": (
        RIGHT,
        {
            "tests/conftest.py": "import pytest\nimport sums\n\n\n@pytest.fixture\n"
            "def adder():\n    return sums.add\n",
            "tests/helpers.py": "def check(left, right):\n    assert left == right\n",
            "tests/test_sums.py": "from helpers import check\n\n\ndef test_sum(adder):\n"
            "    check(adder(2, 3), 5)\n",
        },
    ),
    "a second file, with the code loaded": (
        RIGHT,
        {
            "tests/test_a.py": IMPORT + "def test_nothing():\n    add(2, 3)\n",
            "tests/test_b.py": "import importlib\n\n\ndef test_sum():\n"
            "    assert importlib.import_module('sums').add(2, 3) == 5\n",
        },
    ),
    "importorskip": (
        RIGHT,
        {
            **one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n"),
            "tests/test_more.py": "import pytest\npytest.importorskip('nosuch')\n\n\n"
            "def test_a():\n    pass\n",
        },
    ),
    "skipped and expected failures": (
        RIGHT,
        one(
            "import pytest, unittest\nfrom sums import add\n\n\n@pytest.mark.skip\n"
            "def test_later():\n    pass\n\n\n"
            "@pytest.mark.xfail\ndef test_known():\n    assert add(2, 3) == 6\n\n\n"
            "@pytest.mark.xfail(strict=True, raises=TypeError)\ndef test_type():\n    add(2, 'x')\n\n\n"
            "def test_sum():\n    assert add(2, 3) == 5\n"
        ),
    ),
    "a smoke test beside": (
        RIGHT,
        one(IMPORT + "def test_call():\n    add(2, 3)\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"),
    ),
    "raises": (RIGHT, in_function("with pytest.raises(TypeError, match='unsupported'):\n    add(1, 'x')")),
    "raises with a function": (RIGHT, in_function("pytest.raises(TypeError, add, 1, 'x')")),
    "raises in a variable": (
        RIGHT,
        one(
            "import contextlib, pytest\nfrom sums import add\n\n\n@pytest.mark.parametrize('b, expected', [\n"
            "    (1, contextlib.nullcontext()), ('x', pytest.raises(TypeError))])\n"
            "def test_sum(b, expected):\n    with expected:\n        add(1, b)\n"
        ),
    ),
    "raises by its name": (
        RIGHT,
        in_function(
            "with raises(TypeError) as caught:\n    add(1, 'x')\nassert caught.value",
            "from pytest import raises\n",
        ),
    ),
    "raises of its own": (
        RIGHT,
        in_function(
            "with assert_raises(TypeError):\n    add(1, 'x')\nassert add(2, 3) == 5",
            "import contextlib\n\n@contextlib.contextmanager\ndef assert_raises(kind):\n"
            "    try:\n        yield\n"
            "    except kind:\n        pass\n",
        ),
    ),
    "approx": (RIGHT, in_function("assert add(0.1, 0.2) == pytest.approx(0.3)")),
    "pytest.fail": (RIGHT, in_function("if add(2, 3) != 5:\n    pytest.fail('wrong')")),
    "raise AssertionError": (RIGHT, in_function("if add(2, 3) != 5:\n    raise AssertionError('wrong')")),
    "try and else": (
        RIGHT,
        in_function("try:\n    add(1, 'x')\nexcept TypeError:\n    pass\nelse:\n    pytest.fail('no error')"),
    ),
    "a return": (RIGHT, in_function("if add(0, 0):\n    return\nassert add(2, 3) == 5\nreturn None")),
    "many lines": (
        RIGHT,
        in_function("assert (\n    add(\n        2,\n        3,\n    )\n    == 5\n), (\n    'text'\n)"),
    ),
    "a chain of comparisons": (RIGHT, in_function("assert 4 < add(2, 3) <= 5 and not add(0, 0) or False")),
    "an assignment in an assertion": (RIGHT, in_function("assert (total := add(2, 3)) == 5\nassert total")),
    "mock": (
        {
            "src/sums.py": "import time\n\n\ndef add(a, b):\n    time.sleep(9)\n"
            "    print(a)\n    return a + b\n"
        },
        one(
            "from unittest import mock\nfrom unittest.mock import patch\nimport sums\n\n\n"
            "@mock.patch('sums.time.sleep')\n@patch('builtins.print')\ndef test_sum(told, slept):\n"
            "    sums.add(2, 3)\n    slept.assert_called_once_with(9)\n    told.assert_called()\n\n\n"
            "def test_open():\n"
            "    with patch('builtins.open', mock.mock_open(read_data='x')), patch('time.sleep'):\n"
            "        assert open('nosuch').read() == 'x'\n        assert sums.add(2, 3) == 5\n\n\n"
            "def test_len(monkeypatch):\n    monkeypatch.setattr('builtins.len', lambda x: 7)\n"
            "    monkeypatch.setattr(sums.time, 'sleep', lambda s: None)\n    assert sums.add(2, 3) == 5\n"
        ),
    ),
    "unittest": (
        RIGHT,
        one(
            "import unittest\nfrom sums import add\n\nunittest.TestCase.maxDiff = None\n\n\n"
            "class Base(unittest.TestCase):\n    maxDiff = None\n    longMessage = True\n\n"
            "    def assertSum(self, a, b, c):\n        self.assertEqual(add(a, b), c)\n\n\n"
            "class SumTests(Base):\n    def setUp(self):\n        self.two = 2\n\n"
            "    @classmethod\n    def setUpClass(cls):\n        cls.three = 3\n\n"
            "    def tearDown(self):\n        self.assertEqual(self.two, 2)\n\n"
            "    def test_sum(self):\n        self.assertSum(self.two, self.three, 5)\n\n"
            "    def test_several(self):\n        for n in range(3):\n            with self.subTest(n=n):\n"
            "                self.assertEqual(add(n, 0), n)\n\n"
            "    def test_error(self):\n        with self.assertRaises(TypeError) as caught:\n"
            "            add(1, 'x')\n"
            "        self.assertIn('unsupported', str(caught.exception))\n"
            "        self.assertRaises(TypeError, add, 1, 'x')\n\n"
            "    @unittest.skip('later')\n    def test_later(self):\n        pass\n\n"
            "    @unittest.expectedFailure\n    def test_known(self):\n"
            "        self.assertEqual(add(2, 3), 6)\n\n\n"
            "class AsyncTests(unittest.IsolatedAsyncioTestCase):\n    async def test_sum(self):\n"
            "        self.assertEqual(add(2, 3), 5)\n"
        ),
    ),
    "doctest": (
        {"src/sums.py": 'def add(a, b):\n    """\n    >>> add(2, 3)\n    5\n    """\n    return a + b\n'},
        one(
            "import doctest\nimport sums\n\n\ndef test_docs():\n    assert doctest.testmod(sums) == (0, 1)\n"
        ),
    ),
    "equality of the code's own": (
        {
            "src/money.py": "class Money:\n    def __init__(self, n):\n        self.n = n\n\n"
            "    def __eq__(self, other):\n        return self.n == getattr(other, 'n', other)\n\n\n"
            "class Modulo(Money):\n    def __eq__(self, other):\n"
            "        return (self.n - getattr(other, 'n', other)) % 2 == 0\n\n\n"
            "def money(n):\n    return Money(n)\n\n\ndef modulo(n):\n    return Modulo(n)\n"
        },
        one(
            "from money import money, modulo\n\n\ndef test_money():\n    assert money(3) == 3\n"
            "    assert [money(3)] == [money(3)]\n    assert modulo(3) == modulo(5)\n"
            "    assert modulo(3) == 7\n"
        ),
    ),
    "a matcher is what was asked for": (
        {"src/matchers.py": "class Anything:\n    def __eq__(self, other):\n        return True\n"},
        one("from matchers import Anything\n\n\ndef test_any():\n    assert Anything() == 5\n"),
    ),
    "a plugin of pytest is what was asked for": (
        {"src/slow.py": "import pytest\n\n\n@pytest.fixture\ndef slow():\n    return 5\n"},
        one("pytest_plugins = ['slow']\n\n\ndef test_slow(slow):\n    assert slow == 5\n"),
    ),
    "a tracer is what was asked for": (
        {
            "src/tracer.py": "import sys\n\n\ndef trace(function):\n    seen = []\n"
            "    sys.settrace(lambda *event: seen.append(event[1]))\n    try:\n"
            "        function()\n    finally:\n"
            "        sys.settrace(None)\n    return seen\n"
        },
        one("from tracer import trace\n\n\ndef test_trace():\n    assert trace(lambda: None) == ['call']\n"),
    ),
    "its own print and open": (
        {
            "src/sums.py": "import builtins, gettext\ngettext.NullTranslations().install()\n"
            "plain = builtins.print\nbuiltins.print = lambda *a, **k: plain(*a, **k)\n\n\n"
            "def add(a, b):\n    return a + b\n"
        },
        one(IMPORT + "def test_sum():\n    assert add(2, 3) == 5\n"),
    ),
    "globals of the tests' own": (
        RIGHT,
        one(
            "from sums import add\n\nTOTAL = 0\nseen = None\n\n\ndef setup_module(module):\n"
            "    module.seen = []\n\n\n"
            "def test_one():\n    global TOTAL\n    TOTAL = add(TOTAL, 1)\n    assert TOTAL == 1\n\n\n"
            "def test_two(monkeypatch):\n    monkeypatch.setitem(globals(), 'TOTAL', 5)\n"
            "    assert add(TOTAL, 0) == 5\n"
            "    assert seen == []\n"
        ),
    ),
    "reload": (
        RIGHT,
        in_function("import importlib, sums\nimportlib.reload(sums)\nassert sums.add(2, 3) == 5"),
    ),
    "tests in a thread": (
        RIGHT,
        in_function(
            "import threading\nfound = []\n"
            "thread = threading.Thread(target=lambda: found.append(add(2, 3)))\n"
            "thread.start()\nthread.join(20)\nassert found == [5]"
        ),
    ),
    "a test that forks": (
        RIGHT,
        in_function(
            "import os\nchild = os.fork()\nif child == 0:\n    os._exit(add(2, 3))\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5"
        ),
    ),
    "byte order and encodings": (
        RIGHT,
        one(
            "\ufeff# -*- coding: utf-8 -*-\n"
            + IMPORT
            + "def test_grün():\n    assert add('ä', 'ö') == 'äö'\n"
        ),
    ),
    "generated tests": (
        RIGHT,
        one(
            IMPORT + "def make(n):\n    def test():\n        assert add(n, n) == 2 * n\n    return test\n\n\n"
            "for n in range(3):\n    globals()[f'test_{n}'] = make(n)\n"
        ),
    ),
    "tests of a base class": (
        RIGHT,
        {
            "tests/base.py": "from sums import add\n\n\nclass Sums:\n    def test_sum(self):\n"
            "        assert add(2, 3) == self.five\n",
            "tests/test_sums.py": "from base import Sums\n\n\nclass TestSums(Sums):\n    five = 5\n",
        },
    ),
    "decorated tests": (
        RIGHT,
        one(
            "import functools\nfrom sums import add\n\n\ndef twice(test):\n    @functools.wraps(test)\n"
            "    def run():\n        test()\n        test()\n    return run\n\n\n"
            "@twice\ndef test_sum():\n    assert add(2, 3) == 5\n"
        ),
    ),
    "many assertions": (RIGHT, in_function("for n in range(200_000):\n    assert add(n, 1) == n + 1")),
    "random classes and nodes": (
        RIGHT,
        one(
            IMPORT + "class TestOuter:\n    class TestInner:\n        def test_sum(self):\n"
            "            assert add(2, 3) == 5\n\n"
            "    def test_match(self):\n        match add(2, 3):\n            case 5:\n"
            "                assert add(1, 1) == 2\n"
            "            case _:\n                raise AssertionError\n"
        ),
    ),
}


@cheapest
@pytest.mark.parametrize("name", PASSES)
def test_right_code_passes(place: Place, name: str) -> None:
    code, tests = PASSES[name]
    found = place.run(code, tests)
    assert (found["outcome"], found["reason"], found["failures"]) == ("passed", "", []), found


STARTED = [
    "python -m",
    "python -m elsewhere",
    "a script",
    "-c",
    "multiprocessing",
    "a document",
    "unittest",
    "mock",
]


@at("bubblewrap-root", "landlock")
@pytest.mark.parametrize("name", STARTED)
def test_right_code_passes_in_every_sandbox(place: Place, name: str) -> None:
    code, tests = PASSES[name]
    assert place.run(code, tests)["outcome"] == "passed"


@pytest.mark.parametrize("way", ["relative", "../link", "../link/bin/python", "bin/python"])
def test_the_way_to_an_interpreter(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(sys.prefix)
    (here / "bin").symlink_to(Path(sys.prefix) / "bin")
    monkeypatch.chdir(here)
    python = os.path.relpath(Path(sys.prefix) / "bin" / "python") if way == "relative" else way
    tests = one(
        "import sys\nfrom sums import add\n\n\ndef test_sum():\n"
        f"    assert (add(2, 3), sys.prefix) == (5, {os.path.realpath(sys.prefix)!r})\n"
    )
    assert shown(RIGHT, tests, python=python)["outcome"] == "passed"
