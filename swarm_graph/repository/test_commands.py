"""The command that runs a repository's own tests, found by the files of the base commit.

A change must not choose its own judge, so only files of the base commit are asked. A command is a list of
arguments: no text of a file becomes part of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

from swarm_graph.repository.snapshot import Snapshot
from swarm_graph.repository.test_places import is_own, is_python_test

PYTHON = "python"
"""As the first argument: the interpreter of the test run."""
CONFIGURED = "execution.command"
_NO_NETWORK = "which installs packages, and the sandbox has no network"
_OF_PYTEST = re.compile(r"^(?:(?:import|from) pytest\b|(?:async )?def test|class Test\w*:)", re.MULTILINE)
_NO_NODE_TEST = "no test specified"
"""What `npm init` writes as the script of the tests."""

Files = Mapping[str, bytes] | Mapping[str, str]
"""The files of the base commit by path; the values may be read when they are asked for."""


@dataclass(frozen=True)
class TestCommand:
    """How a repository's tests are run.

    Attributes:
        arguments: The command; `python` stands for the interpreter of the test run.
        found_by: The file, or the setting, that names it.
        note: What may keep it from running; empty if nothing is known.
    """

    __test__: ClassVar = False  # pytest takes the class for a test

    arguments: tuple[str, ...]
    found_by: str
    note: str = ""

    @property
    def text(self) -> str:
        """The command for people."""
        return " ".join(self.arguments)

    @property
    def pytest_arguments(self) -> tuple[str, ...] | None:
        """The arguments of pytest if this command runs it; None for any other command."""
        match self.arguments:
            case [program, *rest] if PurePosixPath(program).name in ("pytest", "py.test"):
                return tuple(rest)
            case [program, "-m", "pytest", *rest] if _is_python(program):
                return tuple(rest)
        return None

    @property
    def unittest_arguments(self) -> tuple[str, ...] | None:
        """The arguments of unittest if this command runs it; None for any other command."""
        match self.arguments:
            case [program, "-m", "unittest", *rest] if _is_python(program):
                return tuple(rest)
        return None


def _is_python(program: str) -> bool:
    return re.fullmatch(r"python[\d.]*", PurePosixPath(program).name) is not None


PYTEST = (PYTHON, "-m", "pytest")


class BaseFiles(Mapping[str, bytes]):
    """The contents of a commit's files, each read from git when it is asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot, self._files = snapshot, snapshot.files

    def __getitem__(self, path: str) -> bytes:
        if path not in self._files:
            raise KeyError(path)
        return self._snapshot.read(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, path: object) -> bool:
        return path in self._files


def find_test_command(files: Files, command: Sequence[str] = ()) -> TestCommand | None:
    """The command that runs a repository's tests; None if no file tells of any.

    pytest comes before the tools that call it (tox, nox, make), because those install packages.

    Args:
        files: The files of the base commit.
        command: The setting `execution.command`; it comes before everything found.
    """
    if command:
        return TestCommand(tuple(command), CONFIGURED)
    return next(filter(None, (find(files) for find in _FINDERS)), None)


def _text(files: Files, path: str) -> str:
    """The text of a file; empty if there is none."""
    if path not in files:
        return ""
    content = files[path]
    return content.decode(errors="replace") if isinstance(content, bytes) else content


# --- Python -------------------------------------------------------------------------------------------


def pytest_settings(files: Files) -> Iterator[str]:
    """The files that hold settings of pytest, the one that pytest reads first."""
    yield from (
        path for path in ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini") if path in files
    )
    if "pytest" in tool_tables(_text(files, "pyproject.toml")):
        yield "pyproject.toml"
    if "[pytest]" in _text(files, "tox.ini"):
        yield "tox.ini"
    if "[tool:pytest]" in _text(files, "setup.cfg"):
        yield "setup.cfg"


def tool_tables(pyproject: str) -> dict[str, Any]:
    """The tables `[tool.NAME]` of a pyproject.toml; none if it cannot be read."""
    with suppress(tomllib.TOMLDecodeError):
        tools = tomllib.loads(pyproject).get("tool")
        return tools if isinstance(tools, dict) else {}
    return {}


def _pytest(files: Files) -> TestCommand | None:
    """pytest, if it is set up, or if something else calls it."""
    for path in pytest_settings(files):
        return TestCommand(PYTEST, path)
    if not any(map(is_python_test, files)):
        return None
    for path in files:
        if PurePosixPath(path).name == "conftest.py" and is_own(path):
            return TestCommand(PYTEST, path)
    for path in ("tox.ini", "noxfile.py"):
        if "pytest" in _text(files, path):
            return TestCommand(PYTEST, path)
    return None


def _python_tests(files: Files) -> TestCommand | None:
    """pytest or unittest, as the test files say."""
    tests = [path for path in files if is_python_test(path)]
    if not tests:
        return _django(files)
    if any(_is_of_pytest(_text(files, path)) for path in tests[:20]):
        return TestCommand(PYTEST, tests[0])
    return _django(files) or TestCommand((PYTHON, "-m", "unittest", *_discover(files, tests)), tests[0])


def _is_of_pytest(text: str) -> bool:
    """Whether unittest would find less in a test file than pytest does; `unittest.mock` says nothing."""
    return "unittest" not in text or _OF_PYTEST.search(text) is not None


def _django(files: Files) -> TestCommand | None:
    is_django = "django" in _text(files, "manage.py")
    return TestCommand((PYTHON, "manage.py", "test"), "manage.py") if is_django else None


def _discover(files: Files, tests: Sequence[str]) -> tuple[str, ...]:
    """The arguments of unittest that find these tests."""
    top = PurePosixPath(tests[0]).parts[0]
    is_in_one_folder = all(path.startswith(f"{top}/") for path in tests)
    if not is_in_one_folder:
        return ("discover",)
    is_package = f"{top}/__init__.py" in files
    return ("discover", "-s", f"./{top}", *(("-t", ".") if is_package else ()))


def _installing(files: Files) -> TestCommand | None:
    """tox or nox, if nothing says what they run."""
    for path, program in (("tox.ini", "tox"), ("tox.toml", "tox"), ("noxfile.py", "nox")):
        if path in files:
            return TestCommand((program,), path, f"it runs {program}, {_NO_NETWORK}")
    return None


# --- Other languages ------------------------------------------------------------------------------------


def _node(files: Files) -> TestCommand | None:
    """The script `test` of a package, run by the package manager that the lock file belongs to."""
    with suppress(ValueError, RecursionError):
        package = json.loads(_text(files, "package.json") or "{}")
        scripts = package.get("scripts") if isinstance(package, dict) else None
        script = scripts.get("test") if isinstance(scripts, dict) else None
        if isinstance(script, str) and script and _NO_NODE_TEST not in script:
            managers = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn"}
            manager = next((name for lock, name in managers.items() if lock in files), "npm")
            return TestCommand((manager, "test"), "package.json")
    return None


def _make(files: Files) -> TestCommand | None:
    """The target `test` or `check` of a makefile."""
    for path in ("GNUmakefile", "makefile", "Makefile"):
        rules = re.findall(r"^([\w./ -]+):(?![:=])", _text(files, path), re.MULTILINE)
        targets = {target for rule in rules for target in rule.split()} & {"test", "check"}
        if targets:
            return TestCommand(("make", "test" if "test" in targets else "check"), path)
    return None


def _cmake(files: Files) -> TestCommand | None:
    """CMake and CTest: configure, build, and run the tests, in one command."""
    if not re.search(
        r"^\s*(enable_testing|include\s*\(\s*CTest)", _text(files, "CMakeLists.txt"), re.M | re.I
    ):
        return None
    build = ("--build-and-test", ".", "build", "--build-generator", "Unix Makefiles")
    return TestCommand(("ctest", *build, "--test-command", "ctest", "--output-on-failure"), "CMakeLists.txt")


def _rake(files: Files) -> TestCommand | None:
    if ".rspec" in files or any(path.startswith("spec/") and path.endswith("_spec.rb") for path in files):
        return TestCommand(("rspec",), ".rspec" if ".rspec" in files else "spec/")
    has_tests = re.search(r"TestTask|task\s*\(?:?[\"']?test\b", _text(files, "Rakefile"))
    return TestCommand(("rake", "test"), "Rakefile") if has_tests else None


def _by_file(names: Sequence[str], *arguments: str) -> Callable[[Files], TestCommand | None]:
    """A finder: one of these files in the top folder means this command."""

    def find(files: Files) -> TestCommand | None:
        found = next((name for name in names if name in files), None)
        return TestCommand(arguments, found) if found else None

    return find


_FINDERS: tuple[Callable[[Files], TestCommand | None], ...] = (
    _pytest,
    _node,
    _by_file(["Cargo.toml"], "cargo", "test", "--offline"),
    _by_file(["go.mod"], "go", "test", "-json", "./..."),
    _by_file(["pom.xml"], "mvn", "--offline", "--batch-mode", "test"),
    _by_file(["build.gradle", "build.gradle.kts"], "gradle", "--offline", "--console=plain", "test"),
    _by_file(["mix.exs"], "mix", "test"),
    _python_tests,
    _rake,
    _by_file(["phpunit.xml", "phpunit.xml.dist"], "phpunit"),
    _make,
    _cmake,
    _installing,
)
