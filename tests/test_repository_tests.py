"""A repository's own tests in the sandboxes: what they find, cannot reach, and cannot forge."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from repositories import commit_files, fingerprint, git, make_repository
from support import sandbox
from test_sandbox import need

from swarm_graph.errors import ConfigError, SandboxError
from swarm_graph.repository.snapshot import Snapshot, snapshot
from swarm_graph.repository.test_commands import BaseFiles, TestCommand, find_test_command
from swarm_graph.repository.test_settings import source_folders
from swarm_graph.sandbox import project_copy
from swarm_graph.sandbox.report import Report
from swarm_graph.sandbox.repository_tests import run_repository_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence

SANDBOXES = ("bubblewrap", "landlock")
CALC = {
    "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["tests"]\naddopts = "-x -q"\n',
    "src/calc/__init__.py": "from calc.sums import add\n",
    "src/calc/sums.py": "def add(a, b):\n    return a + b\n",
    "tests/conftest.py": "import pytest\n\n\n@pytest.fixture\ndef two():\n    return 2\n",
    "tests/unit/test_sums.py": (
        "import pytest\nfrom calc import add\n\n\n@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_add(n, two):\n    assert add(n, two) == n + 2\n\n\n"
        "def test_known_bug():\n    assert add('1', 1) == 2\n\n\n"
        "@pytest.mark.skip(reason='later')\ndef test_later():\n    pass\n"
    ),
    "tests/test_text.py": "def test_text():\n    assert 'a'.upper() == 'A'\n",
}


def settings(**given: Any) -> Execution:
    return Execution.model_validate(given)


def base(folder: Path, files: Mapping[str, str | bytes]) -> Snapshot:
    """The only commit of a new repository with these files."""
    repository = make_repository(folder / "user", files)
    return snapshot(repository, git(repository, "rev-parse", "HEAD"))


def run_own(
    of: Snapshot, changed: Mapping[str, str] = {}, deleted: Collection[str] = (), **given: Any
) -> Evidence:
    """The evidence of the tests that a commit's files tell of."""
    command = find_test_command(BaseFiles(of))
    assert command is not None
    written = {path: text.encode() for path, text in changed.items()}
    return run_repository_tests(of, written, deleted, command, settings(**given))


@pytest.fixture(scope="module")
def calc(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return base(tmp_path_factory.mktemp("calc"), CALC)


@pytest.fixture(params=SANDBOXES)
def box(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


# --- pytest ---------------------------------------------------------------------------------------


def test_each_test_of_a_project_has_a_result(calc: Snapshot, box: str) -> None:
    before = fingerprint(calc.git.folder)
    found = run_own(calc, sandbox=box)
    assert (found["outcome"], found["exit_code"], found["sandbox"]) == ("failed", 1, box)
    assert found["results"] == {
        "passed": [
            "tests/test_text.py::test_text",
            "tests/unit/test_sums.py::test_add[1]",
            "tests/unit/test_sums.py::test_add[2]",
        ],
        "failed": ["tests/unit/test_sums.py::test_known_bug"],
        "errored": [],
        "skipped": ["tests/unit/test_sums.py::test_later"],
    }
    [failure] = found["failures"]
    assert failure["place"] == "src/calc/sums.py:2"
    assert failure["problem"].startswith("TypeError: can only concatenate str")
    assert "tests/unit/test_sums.py:11: in test_known_bug" in failure["text"]
    assert found["rests_on"] == "the exit code and report of `python -m pytest`, found by pyproject.toml"
    assert fingerprint(calc.git.folder) == before


def test_the_change_lies_over_the_commit(calc: Snapshot) -> None:
    right = {"src/calc/sums.py": "def add(a, b):\n    return int(a) + int(b)\n"}
    found = run_own(calc, right, ["tests/test_text.py"])
    assert (found["outcome"], found["exit_code"], found["passed"], found["skipped"]) == ("passed", 0, 3, 1)
    assert found["reason"] == ""


def test_what_lies_in_the_working_tree_plays_no_part(tmp_path: Path) -> None:
    of = base(tmp_path, {"tests/test_a.py": "import pytest\n\n\ndef test_a():\n    assert True\n"})
    (of.git.folder / "tests" / "test_b.py").write_text("def test_b():\n    assert False\n")
    (of.git.folder / "tests" / "test_a.py").write_text("broken(")
    found = run_own(of)
    assert (found["outcome"], found["passed"]) == ("passed", 1)


def test_one_file_that_cannot_be_collected_hides_no_other(calc: Snapshot) -> None:
    found = run_own(calc, {"tests/test_text.py": "import nosuch\n"})
    assert found["results"]["errored"] == ["tests/test_text.py"]
    assert found["passed"] == 2
    problems = {failure["test"]: failure["problem"] for failure in found["failures"]}
    assert problems["tests/test_text.py"] == "ModuleNotFoundError: No module named 'nosuch'"


def test_what_the_copy_holds(tmp_path: Path) -> None:
    """Modes and links as committed; no .git; the user's folder is not there."""
    of = base(tmp_path, {"run.sh": "#!/bin/sh\nexit 0\n", "a.txt": "a\n"})
    user = of.git.folder
    (user / "run.sh").chmod(0o755)
    (user / "link").symlink_to("a.txt")
    (user / "out").symlink_to(str(user))
    tests = (
        "import os, subprocess\nfrom pathlib import Path\n\n\ndef test_copy():\n"
        "    assert subprocess.run(['./run.sh']).returncode == 0\n"
        "    assert Path('link').read_text() == 'a\\n' and os.path.islink('out')\n"
        "    assert not Path('.git').exists()\n"
        f"    assert not Path('out/a.txt').exists() and not Path({str(user)!r}).exists()\n"
        "    assert subprocess.run(['git', 'status']).returncode == 128\n"
    )
    commit = commit_files(user, {"test_copy.py": tests}, "Second")
    need("bubblewrap")
    found = run_own(snapshot(user, commit), sandbox="bubblewrap")
    assert found["outcome"] == "passed", found["failures"]


def test_a_path_below_a_link_takes_its_place(tmp_path: Path) -> None:
    of = base(tmp_path, {"test_a.py": "def test_a():\n    assert open('link/a.txt').read() == 'ours'\n"})
    (of.git.folder / "link").symlink_to(tmp_path)
    commit = commit_files(of.git.folder, {}, "Second")
    found = run_own(snapshot(of.git.folder, commit), {"link/a.txt": "ours"}, **unsafe())
    assert found["outcome"] == "passed", found
    assert not (tmp_path / "a.txt").exists()


def unsafe() -> dict[str, Any]:
    """Settings that use no sandbox at all."""
    return {"sandbox": "docker", "unsafe": True}


def test_a_thousand_files_and_limits_that_leave_room_for_them(tmp_path: Path, box: str) -> None:
    many = {f"data/{number}.txt": f"{number}\n" for number in range(1200)}
    big = {"data/big.bin": secrets.token_bytes(6 << 20)}
    tests = (
        "from pathlib import Path\n\n\ndef test_a():\n    assert len(list(Path('data').iterdir())) == 1201\n"
    )
    of = base(tmp_path, {**many, **big, "test_a.py": tests})
    found = run_own(of, sandbox=box, limits={"files": 100, "disk_mb": 2})
    assert found["outcome"] == "passed", found


def test_a_repository_that_cannot_be_copied_is_told(
    calc: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_repository(tmp_path / "user", {"test_a.py": "def test_a():\n    pass\n"})
    blob = git(user, "rev-parse", "HEAD:test_a.py")
    inner = tree(user, [(b"100644 test_a.py", blob)])
    top = tree(user, [(b"40000 ..", inner), (b"100644 test_a.py", blob)])
    commit = git(user, "commit-tree", "-m", "Evil", top)
    found = run_own(snapshot(user, commit))
    assert found["outcome"] == "not_run"
    assert found["reason"] == "the repository has the path '../test_a.py', which git itself would not write"
    monkeypatch.setattr(project_copy, "MAX_BYTES", 1 << 10)
    assert run_own(calc)["reason"] == "the repository has 0 MiB of files; at most 0 are copied"


def tree(folder: Path, entries: list[tuple[bytes, str]]) -> str:
    """The id of a tree that git would not make."""
    data = b"".join(name + b"\0" + bytes.fromhex(blob) for name, blob in entries)
    made = subprocess.run(
        ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
        cwd=folder,
        input=data,
        capture_output=True,
        check=True,
    )
    return made.stdout.decode().strip()


def test_settings_of_pytest_are_the_base_commits(calc: Snapshot) -> None:
    """The change must not choose which tests run."""
    other = CALC["pyproject.toml"].replace("-x -q", "-k test_text")
    found = run_own(calc, {"pyproject.toml": other, "pytest.ini": "[pytest]\naddopts = --collect-only\n"})
    assert (found["outcome"], found["failed"]) == ("failed", 1)
    assert (
        "pyproject.toml is the base commit's here: the change edits its settings of pytest" in found["reason"]
    )
    assert "pytest.ini is the base commit's here" in found["reason"]
    harmless = run_own(calc, {"pyproject.toml": CALC["pyproject.toml"] + '\n[project]\nname = "calc"\n'})
    assert harmless["reason"] == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.py", "from setuptools import setup\nsetup(name='calc', package_dir={'': 'lib'})\n"),
        ("setup.cfg", "[options]\npackage_dir =\n    =lib\n"),
        ("setup.cfg", "[options]\npackages = find:\n[options.packages.find]\nwhere = lib\n"),
        ("pyproject.toml", "[tool.setuptools]\npackage-dir = {'' = 'lib'}\n"),
        ("pyproject.toml", "[tool.setuptools.packages.find]\nwhere = ['lib', '/etc', '../x']\n"),
    ],
)
def test_the_folders_that_modules_are_imported_from(tmp_path: Path, name: str, text: str) -> None:
    of = base(tmp_path, {name: text, "lib/calc.py": ""})
    assert source_folders(BaseFiles(of), of.files) == ["lib", "."]


def test_a_conftest_that_the_change_edits_is_told(calc: Snapshot) -> None:
    found = run_own(calc, {"tests/conftest.py": CALC["tests/conftest.py"] + "\n"})
    assert found["reason"] == "the change edits tests/conftest.py, which the tests rest on"


# --- unittest, and other languages ----------------------------------------------------------------

UNITTEST = {
    "app.py": "def double(x):\n    return 2 * x\n",
    "tests/__init__.py": "",
    "tests/test_app.py": (
        "import unittest\nfrom app import double\n\n\nclass DoubleTest(unittest.TestCase):\n"
        "    def test_two(self):\n        self.assertEqual(double(1), 2)\n\n"
        "    def test_wrong(self):\n        self.assertEqual(double(1), 3)\n\n"
        "    def test_error(self):\n        double(None)\n\n"
        "    @unittest.skip('later')\n    def test_later(self):\n        pass\n\n"
        "    def test_parts(self):\n        for n in (1, 2):\n"
        "            with self.subTest(n=n):\n                self.assertEqual(double(n), 2)\n"
    ),
    "tests/test_broken.py": "import unittest\nimport nosuch\n",
}


def test_unittest_reports_each_test(tmp_path: Path) -> None:
    found = run_own(base(tmp_path, UNITTEST))
    assert (found["outcome"], found["exit_code"]) == ("failed", 1)
    assert found["results"]["passed"] == ["tests.test_app.DoubleTest.test_two"]
    assert found["results"]["skipped"] == ["tests.test_app.DoubleTest.test_later"]
    assert sorted(found["results"]["failed"]) == [
        "tests.test_app.DoubleTest.test_error",
        "tests.test_app.DoubleTest.test_parts",
        "tests.test_app.DoubleTest.test_wrong",
    ]
    assert found["results"]["errored"] == ["tests.test_broken"]
    problems = {failure["test"]: (failure["place"], failure["problem"]) for failure in found["failures"]}
    assert problems["tests.test_app.DoubleTest.test_wrong"] == ("tests/test_app.py:10", "2 != 3")
    assert problems["tests.test_broken"][1] == "ModuleNotFoundError: No module named 'nosuch'"


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Skips where a program is not installed; in CI the test fails."""
    missing = [name for name in names if not shutil.which(name)]
    is_skipped = bool(missing) and not os.environ.get("CI")
    return pytest.mark.skipif(is_skipped, reason=f"{', '.join(missing)} is not installed")


C_PROJECT = {
    "twice.c": "int twice(int x) { return 2 * x; }\n",
    "test_twice.c": "int twice(int);\nint main(void) { return twice(2) == 4 ? 0 : 1; }\n",
    "Makefile": "test: check_twice\n\t./check_twice\n\ncheck_twice: twice.c test_twice.c\n\tcc -o $@ $^\n",
}


@needs_program("cc", "make")
def test_make_builds_and_tests_c(tmp_path: Path) -> None:
    need("bubblewrap")
    of = base(tmp_path, C_PROJECT)
    found = run_own(of, sandbox="bubblewrap")
    assert (found["outcome"], found["exit_code"]) == ("passed", 0), found
    assert found["rests_on"] == "the exit code of `make test`, found by Makefile"
    wrong = run_own(of, {"twice.c": "int twice(int x) { return 3 * x; }\n"}, sandbox="bubblewrap")
    assert (wrong["outcome"], wrong["exit_code"]) == ("failed", 2)
    assert "Error 1" in wrong["output"]


@needs_program("cc", "make", "cmake", "ctest")
def test_ctest_configures_builds_and_names_what_failed(tmp_path: Path) -> None:
    need("bubblewrap")
    lists = (
        "cmake_minimum_required(VERSION 3.10)\nproject(twice C)\nenable_testing()\n"
        "add_executable(check_twice twice.c test_twice.c)\nadd_test(NAME twice COMMAND check_twice)\n"
    )
    of = base(tmp_path, {**C_PROJECT, "Makefile": "", "CMakeLists.txt": lists})
    assert run_own(of, sandbox="bubblewrap")["outcome"] == "passed"
    wrong = run_own(of, {"twice.c": "int twice(int x) { return 3 * x; }\n"}, sandbox="bubblewrap")
    assert (wrong["outcome"], wrong["results"]["failed"]) == ("failed", ["twice"])


@needs_program("node", "npm")
def test_npm_runs_the_script_of_the_package(tmp_path: Path) -> None:
    need("bubblewrap")
    tests = (
        "const test = require('node:test');\nconst assert = require('node:assert');\n"
        "const twice = require('./twice.js');\n"
        "test('twice two', () => assert.strictEqual(twice(2), 4));\n"
    )
    package = '{"name": "twice", "scripts": {"test": "node --test --test-reporter=spec"}}'
    of = base(
        tmp_path, {"package.json": package, "twice.js": "module.exports = x => 2 * x;\n", "a.test.js": tests}
    )
    found = run_own(of, sandbox="bubblewrap")
    assert (found["outcome"], found["exit_code"]) == ("passed", 0), found
    wrong = run_own(of, {"twice.js": "module.exports = x => 3 * x;\n"}, sandbox="bubblewrap")
    assert wrong["outcome"] == "failed"
    assert "twice two" in wrong["results"]["failed"]


def test_a_program_that_is_not_in_the_sandbox_is_named(calc: Snapshot) -> None:
    found = run_repository_tests(calc, {}, [], TestCommand(("nosuch-runner",), "x"), settings())
    assert found["outcome"] == "not_run"
    assert found["reason"] == (
        "the sandbox cannot run 'nosuch-runner' (No such file or directory); lend the folder that it is in "
        "with execution.readable"
    )


def test_a_toolchain_that_is_lent_is_on_the_path(calc: Snapshot, tmp_path: Path, box: str) -> None:
    program = tmp_path / "tools" / "bin" / "our-runner"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'test adds ... ok'\ntouch {tmp_path}/tools/written\nexit 0\n")
    program.chmod(0o755)
    lent = settings(sandbox=box, readable=[str(tmp_path / "tools")])
    found = run_repository_tests(calc, {}, [], TestCommand(("our-runner",), "x"), lent)
    assert (found["outcome"], found["passed"]) == ("passed", 1), found
    assert not (tmp_path / "tools" / "written").exists()


def test_a_folder_that_is_not_there_cannot_be_lent(calc: Snapshot) -> None:
    with pytest.raises(ConfigError, match=r"execution\.readable: '/nosuch' is not a folder"):
        run_own(calc, readable=["/nosuch"])


def test_packages_of_node_that_are_lent_are_linked(tmp_path: Path, box: str) -> None:
    package = tmp_path / "node_modules" / "colours" / "index.js"
    package.parent.mkdir(parents=True)
    package.write_text("module.exports = 'red'\n")
    of = base(tmp_path, {"package.json": "{}"})
    shows = TestCommand(("cat", "node_modules/colours/index.js"), "x")
    lent = settings(sandbox=box, readable=[str(tmp_path / "node_modules")])
    assert run_repository_tests(of, {}, [], shows, lent)["outcome"] == "passed"
    assert run_repository_tests(of, {}, [], shows, settings(sandbox=box))["outcome"] == "failed"


# --- A virtual environment that is lent ---------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without pytest, with one package that was put there by hand."""
    folder = tmp_path_factory.mktemp("lent") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "colours.py").write_text("RED = 1\n")
    return folder


USES_COLOURS = {
    "test_red.py": (
        "import unittest\nimport sys\nimport colours\n\n\nclass RedTest(unittest.TestCase):\n"
        "    def test_red(self):\n        self.assertEqual(colours.RED, 1)\n\n"
        "    def test_it_cannot_be_changed(self):\n        with self.assertRaises(OSError):\n"
        "            open(colours.__file__, 'a')\n"
    )
}


def test_a_lent_environment_is_used_and_cannot_be_changed(
    tmp_path: Path, environment: Path, box: str
) -> None:
    of = base(tmp_path, USES_COLOURS)
    found = run_own(of, sandbox=box, python=str(environment))
    assert (found["outcome"], found["passed"]) == ("passed", 2), found
    assert run_own(of, sandbox=box)["results"]["errored"] == ["test_red"]


def test_a_lent_environment_without_pytest_is_told(calc: Snapshot, environment: Path) -> None:
    found = run_own(calc, python=str(environment))
    assert (found["outcome"], found["reason"]) == ("not_run", "this interpreter has no pytest")


def test_plugins_of_ours_are_no_plugins_of_the_project(tmp_path: Path) -> None:
    tests = "def test_a(pytestconfig):\n    assert not pytestconfig.pluginmanager.hasplugin('xdist')\n"
    of = base(tmp_path, {"test_a.py": tests})
    assert run_own(of)["outcome"] == "passed"
    assert run_own(of, python=sys.prefix)["outcome"] == "failed"


# --- Hostile repositories ---------------------------------------------------------------------------


def test_tests_reach_nothing_outside(tmp_path: Path, box: str) -> None:
    secret = tmp_path / ".ssh" / "id"
    secret.parent.mkdir()
    secret.write_text("secret")
    tests = (
        "import os, socket\nimport pytest\n\n\n"
        f"@pytest.mark.parametrize('path', [{str(secret)!r}, '/etc/shadow', '/root/.ssh/id_rsa'])\n"
        "def test_read(path):\n    with pytest.raises(OSError):\n        open(path).read()\n\n\n"
        f"@pytest.mark.parametrize('path', [{str(tmp_path / 'evil')!r}, '/usr/evil', '../../../../evil'])\n"
        "def test_write(path):\n    with pytest.raises(OSError):\n        open(path, 'w')\n\n\n"
        "def test_network():\n    with pytest.raises(OSError):\n"
        "        socket.create_connection(('127.0.0.1', 22), 1)\n\n\n"
        "def test_environment():\n    assert 'SWARM_TEST_SECRET' not in os.environ\n"
    )
    of = base(
        tmp_path, {"conftest.py": f"open({str(tmp_path)!r} + '/x', 'w') if 0 else None\n", "test_a.py": tests}
    )
    found = run_own(of, sandbox=box)
    assert (found["outcome"], found["passed"]) == ("passed", 8), found["failures"]
    assert not (tmp_path / "evil").exists()


STOPS = {
    "endless": "while True:\n        pass",
    "forks": (
        "import os\n    while True:\n        try:\n            os.fork()\n        except OSError:\n"
        "            pass"
    ),
    "floods": "import os\n    while True:\n        os.write(2, b'x' * 100_000)",
}


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_takes_too_much_is_stopped(name: str, tmp_path: Path) -> None:
    of = base(tmp_path, {"test_a.py": f"def test_a():\n    {STOPS[name]}\n"})
    found = run_own(of, limits={"seconds": 2})
    assert found["outcome"] in ("timed_out", "stopped"), found
    assert found["exit_code"] is None
    if name == "endless":
        assert found["reason"].startswith("it was still running after 2 s")


def test_the_disk_is_bounded_beyond_the_copy(tmp_path: Path, box: str) -> None:
    tests = (
        "def test_a():\n    with open('big', 'wb') as file:\n        while True:\n"
        "            file.write(b'x' * (1 << 20))\n"
    )
    found = run_own(base(tmp_path, {"test_a.py": tests}), sandbox=box, limits={"disk_mb": 8})
    assert found["outcome"] in ("failed", "stopped"), found


FORGED = {
    "exit 0 in the middle": ("import os; os._exit(0)", "tampered", "exit code 0 before the tests were over"),
    "exit 0 at import": ("", "tampered", "exit code 0 before the tests were over"),
    "an early end": (
        "import pytest; pytest.exit('enough', returncode=0)",
        "tampered",
        "it ended before 1 test that it collected had run, in test_a.py::test_a",
    ),
    "an interrupt": ("raise KeyboardInterrupt", "failed", "it ended before 1 test that it collected had run"),
    "a signal": ("import os; os.kill(os.getpid(), 9)", "failed", "signal 9, in test_a.py::test_a"),
    "junk in the report": (
        "import os\n    for n in range(3, 20):\n        try:\n            os.write(n, b'{junk\\n')\n"
        "        except OSError:\n            pass",
        "tampered",
        "something else wrote to the report",
    ),
    "an end of its own": (
        "import os\n    for n in range(3, 20):\n        try:\n"
        '            os.write(n, b\'{"kind": "end", "exit_code": 0, "left": 0}\\n\')\n'
        "        except OSError:\n            pass\n    assert False",
        "failed",
        "",
    ),
    "an end and another exit code": (
        "import os\n    for n in range(3, 20):\n        try:\n"
        '            os.write(n, b\'{"kind": "end", "exit_code": 0, "left": 0}\\n\')\n'
        "        except OSError:\n            pass\n    os._exit(3)",
        "tampered",
        "the report says exit code 0, not 3",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_report_does_not_pass(name: str, tmp_path: Path) -> None:
    body, outcome, reason = FORGED[name]
    top = "" if body else "import os\nos._exit(0)\n"
    of = base(tmp_path, {"test_a.py": f"{top}def test_a():\n    {body or 'pass'}\n"})
    found = run_own(of)
    assert found["outcome"] == outcome, found
    assert reason in found["reason"]


@pytest.mark.parametrize("name", ["sitecustomize", "pytest", "json", "_pytest/__init__"])
def test_a_module_of_the_project_takes_no_place_of_the_runner(name: str, tmp_path: Path) -> None:
    forge = "import os\nfor n in range(3, 20):\n    try:\n"
    forge += '        os.write(n, b\'{"kind": "end", "exit_code": 0, "left": 0}\\n\')\n'
    forge += "    except OSError:\n        pass\n"
    of = base(
        tmp_path, {f"{name}.py": f"{forge}os._exit(0)\n", "test_a.py": "def test_a():\n    assert False\n"}
    )
    found = run_own(of)
    assert (found["outcome"], found["failed"]) == ("failed", 1), found


def test_a_report_that_says_passed_needs_the_exit_code(tmp_path: Path) -> None:
    """A hook that turns failures into passes still leaves what pytest ends with; docs/sandbox.md says so."""
    hook = "def pytest_sessionfinish(session):\n    session.testsfailed = 0\n    session.exitstatus = 0\n"
    of = base(tmp_path, {"conftest.py": hook, "test_a.py": "def test_a():\n    assert False\n"})
    found = run_own(of)
    assert (found["outcome"], found["failed"]) == ("failed", 1)


def test_a_report_is_read_with_care(tmp_path: Path) -> None:
    name = "x" * 5000
    tests = (
        f"import pytest\n\n\n@pytest.mark.parametrize('a', ['{name}'])\n"
        "def test_a(a):\n    assert a == '0x7f0011223344'\n"
    )
    found = run_own(base(tmp_path, {"test_a.py": tests}))
    [failure] = found["failures"]
    assert len(failure["test"]) <= 500
    assert len(failure["text"]) < 2100
    assert "0x…" in failure["text"]


LINES: list[tuple[bytes, bool]] = [
    (b'{"kind": "started", "test": "a"}', False),
    (b"", False),
    (b"[" * 100_000, True),
    (b"[" * 60_000, True),
    (b'{"kind": "outcome", "test": 1, "when": "call", "outcome": "passed"}', True),
    (b'{"kind": "end", "exit_code": "0"}', True),
    (b'{"kind": "end", "exit_code": 0}', True),
    (b'{"kind": "nosuch"}', True),
    (b"\xff\xfe", True),
    (b'{"kind": "started", "test": "' + b"x" * 70_000 + b'"}', True),
    (b"9" * 10_000, True),
]


@pytest.mark.parametrize(("line", "foreign"), LINES)
def test_a_line_of_the_report(line: bytes, foreign: bool) -> None:
    assert Report(line + b"\n").foreign is foreign


def test_text_of_the_report_is_safe_to_print_and_store() -> None:
    entry = {
        "kind": "failure",
        "test": "a\x1b[2J\ud800b",
        "place": "p",
        "problem": "x\ny",
        "text": "\x1b]0;t\x07",
    }
    [failure] = Report(json.dumps(entry).encode()).failures
    assert (failure["test"], failure["problem"], failure["text"]) == ("a[2Jb", "x y", "]0;t")


def test_odd_paths_are_no_trouble(tmp_path: Path) -> None:
    odd = "+\x1b[1m/test_a.py"  # before `-` in git's order
    of = base(tmp_path, {odd: "def test_a():\n    pass\n", "-x/test_b.py": "def test_b():\n    pass\n"})
    found = run_own(of)
    assert (found["outcome"], found["passed"]) == ("passed", 2), found
    assert "found by +[1m/test_a.py" in found["rests_on"]


# --- Where nothing runs -------------------------------------------------------------------------


def test_off_and_no_sandbox_are_said(calc: Snapshot) -> None:
    assert run_own(calc, mode="off")["reason"] == "execution.mode is off"
    found = run_own(calc, sandbox="docker")
    assert found["outcome"] == "not_run"
    assert found["reason"].startswith("no sandbox can be used here (docker: ")
    with pytest.raises(SandboxError, match="no sandbox can be used here"):
        run_own(calc, mode="required", sandbox="docker")


def test_without_a_sandbox_where_the_user_agrees(calc: Snapshot, caplog: pytest.LogCaptureFixture) -> None:
    found = run_own(calc, **unsafe())
    assert "the tests run WITHOUT a sandbox" in caplog.text
    assert (found["outcome"], found["sandbox"], found["passed"]) == ("failed", "none (unsafe)", 3)


def test_a_run_is_cancelled(tmp_path: Path) -> None:
    of = base(tmp_path, {"test_a.py": "import time\n\n\ndef test_a():\n    time.sleep(60)\n"})
    cancelled = threading.Event()
    threading.Timer(1, cancelled.set).start()
    found = run_repository_tests(
        of, {}, [], TestCommand(("python", "-m", "pytest"), "x"), settings(), cancelled
    )
    assert found["outcome"] == "stopped"
    assert found["reason"].startswith("it was cancelled")


def test_the_sandbox_is_the_best_one(calc: Snapshot) -> None:
    assert run_own(calc)["sandbox"] == sandbox()
