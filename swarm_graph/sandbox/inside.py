"""The program that runs inside a sandbox: it writes the project, limits itself, runs the tests, reports.

It is handed to the interpreter as text, so nothing of swarm_graph has to be there; that may be any Python
from 3.9 on, with pytest. It reads one JSON document from stdin. Its report goes to what was stdout when it
began, a line of JSON each behind its signature; everything that tests and commands print goes to stderr.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.abc
import importlib.metadata as metadata
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

SET_SECCOMP, SET_NO_NEW_PRIVILEGES = 22, 38
FAILURES = 20
INTERRUPTED = 2
FAILURE_CHARACTERS = 4000
NAME = re.compile(r"[A-Za-z0-9._-]+")
NOT_NATIVE = "async def functions are not natively supported"


class Report:
    """Signed lines: whatever else is written where they go shows. The key itself is not kept."""

    def __init__(self, file_descriptor: int, key: bytes) -> None:
        self._descriptor, self._seal = file_descriptor, hashlib.blake2b(key=key, digest_size=16)

    def send(self, kind: str, **data: Any) -> None:
        line = json.dumps({"kind": kind, **data}).encode()
        seal = self._seal.copy()
        seal.update(line)
        text = seal.hexdigest().encode() + b" " + line + b"\n"
        while text:
            text = text[os.write(self._descriptor, text) :]


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    sys.path[:] = [entry for entry in sys.path if entry]
    sys.dont_write_bytecode = True
    report = Report(os.dup(1), bytes.fromhex(job.pop("key")))
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    limit(job["limits"])
    refuse_calls(bytes.fromhex(job["filter"]))
    report.send("ready")
    for name in ("project", "home", "tmp"):
        Path(job["folder"], name).mkdir(exist_ok=True)
    project = Path(job["folder"], "project")
    os.chdir(project)
    if problems := list(write(project, {**job["code"], **job["tests"]})):
        sys.exit(refuse(problems, job, report))
    if job["command"]:
        run_command(job["command"])
    sys.exit(run_pytest(job, project, report))


def limit(limits: dict[str, int]) -> None:
    """The limits that hold for each process; nothing below can raise them again."""
    import resource

    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def refuse_calls(program: bytes) -> None:
    """Sets up a filter of system calls, for this process and all below it."""
    if not program:
        return

    class Filter(ctypes.Structure):
        _fields_ = (("steps", ctypes.c_ushort), ("program", ctypes.c_char_p))

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    given = Filter(len(program) // 8, program)
    if prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(SET_SECCOMP, 2, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot filter system calls")


def write(project: Path, files: dict[str, str]) -> Iterator[tuple[str, int, str, str]]:
    """Writes the files, and says which cannot be written: path, line, problem, text."""
    for path, text in files.items():
        target = project / path
        try:
            if ".." in target.parts or not target.is_relative_to(project):
                raise ValueError("its path leaves the project")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode(errors="replace"))
        except (OSError, ValueError) as error:
            yield path, 0, f"cannot be written: {error}", ""


def refuse(problems: list[tuple[str, int, str, str]], job: dict[str, Any], report: Report) -> int:
    """Reports files with which nothing can be run. The exit code is pytest's for an interrupted run.

    The tests are at fault only where nothing is wrong with the code.
    """
    by_tests = all(path in job["tests"] for path, *_ in problems)
    for path, line, problem, text in problems:
        place = f"{path}:{line}" if line else path
        sys.stderr.write(f"{place}: {problem}\n")
        report.send(
            "failure",
            test=path,
            when="parse",
            place=place,
            problem=problem,
            text=f"{place}: {text}\n{problem}",
            by_tests=by_tests,
        )
    report.send("end", exit_code=INTERRUPTED)
    return INTERRUPTED


def run_command(command: list[str]) -> None:
    """Becomes the command; its exit code is the run's."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run '{command[0]}': {error.strerror}\n")
        os._exit(127)


# --- pytest -------------------------------------------------------------------------------------------


def run_pytest(job: dict[str, Any], project: Path, report: Report) -> int:
    """Checks that everything parses, then runs the tests. The exit code is pytest's."""
    if problems := list(syntax_errors({**job["code"], **job["tests"]})):
        return refuse(problems, job, report)
    try:
        import pytest
    except ImportError as error:
        report.send("unusable", problem=f"this interpreter has no pytest ({error})")
        return INTERRUPTED
    folders = sorted({str(Path(path).parent) for path in job["tests"] if is_test_file(path)})
    for number, folder in enumerate(folders):
        name = f"{job['canary']}_{number}"
        Path(project, folder, f"{name}.py").write_text(CANARY.format(name=name))
    report.send("defined", tests=sorted(defined_tests(job["tests"])), canaries=len(folders))
    options = ["-q", "--color=no", "--tb=short", "-c", os.devnull, "-p", "no:cacheprovider"]
    options += ["--rootdir", str(project), "--confcutdir", str(project)]
    options += [*allowed_plugins(job["packages"]), *(f"./{folder}" for folder in folders)]
    sys.path[:0] = [str(folder) for folder in (project / "src", project) if folder.is_dir()]
    code = int(pytest.main(options, plugins=[Observer(pytest, report, project, job)]))
    report.send("end", exit_code=code)
    sys.stderr.flush()
    os._exit(code)  # nothing that the code left behind (exit handlers, threads) has a say in it


CANARY = "import pytest\n\n\n@pytest.mark.xfail(strict=True)\ndef {name}():\n    raise AssertionError\n"
"""A test that must fail, under a name that nobody can know: who makes every test pass makes this one pass."""


def is_test_file(path: str) -> bool:
    name = Path(path).name
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def syntax_errors(files: dict[str, str]) -> Iterator[tuple[str, int, str, str]]:
    """What cannot be read as Python: path, line, problem, the line's text."""
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        try:
            compile(text, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            yield path, error.lineno or 0, f"{type(error).__name__}: {error.msg}", (error.text or "").strip()
        except (ValueError, RecursionError, MemoryError) as error:
            yield path, 0, f"{type(error).__name__}: {error}", ""


def defined_tests(tests: dict[str, str]) -> Iterator[str]:
    """The tests that can be seen in the files: each must be reported on, or somebody left it out."""
    for path, text in tests.items():
        if is_test_file(path):
            body = ast.parse(text).body
            yield from (f"{path}::{name}" for name in test_names(body))
            for node in body:
                if isinstance(node, ast.ClassDef) and is_test_class(node):
                    yield from (f"{path}::{node.name}::{name}" for name in test_names(node.body))


def is_test_class(node: ast.ClassDef) -> bool:
    """Whether pytest collects a class: by its name, unless it has a constructor or says no."""
    methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    says_no = any("__test__" in ast.dump(inner) for inner in node.body if isinstance(inner, ast.Assign))
    return node.name.startswith("Test") and not methods & {"__init__", "__new__"} and not says_no


def test_names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            is_fixture = any("fixture" in ast.dump(decorator) for decorator in node.decorator_list)
            if node.name.startswith("test") and not is_fixture:
                yield node.name


def allowed_plugins(packages: list[str] | None) -> list[str]:
    """pytest's options for the plugins of the packages that may be used; None: of all that are there."""
    if packages is None:
        return []
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    allowed = distributions(["pytest", *packages])
    sys.meta_path.insert(0, Guard(allowed))
    names = [
        point.name
        for distribution in metadata.distributions()
        if same(distribution.metadata["Name"]) in allowed
        for point in distribution.entry_points
        if point.group == "pytest11"
    ]
    return [option for name in names for option in ("-p", name)]


def same(name: str) -> str:
    """A distribution's name in its normal form."""
    return name.lower().replace("_", "-").replace(".", "-")


def distributions(names: Iterable[str]) -> set[str]:
    """Distributions by their normalized names, with everything that they require."""
    found: set[str] = set()
    waiting = [same(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        plain = [line for line in required if "extra ==" not in line.partition(";")[2]]
        waiting += [same(match[0]) for match in map(NAME.match, plain) if match]
    return found


class Guard(importlib.abc.MetaPathFinder):
    """Lets code and tests import of the installed packages only those that they may use."""

    def __init__(self, allowed: set[str]) -> None:
        self._allowed = set(modules(allowed))
        self._folders = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if path is not None or name in self._allowed:
            return
        spec = PathFinder.find_spec(name)
        places = [str(spec.origin), *(spec.submodule_search_locations or [])] if spec else []
        if any(place.startswith(self._folders) for place in places):
            raise ModuleNotFoundError(f"No module named {name!r} (not in execution.packages)", name=name)


def modules(allowed: set[str]) -> Iterator[str]:
    """The top-level modules of distributions."""
    for name in allowed:
        with suppress(metadata.PackageNotFoundError):
            for file in metadata.files(name) or []:
                yield file.parts[0].partition(".")[0]


class Observer:
    """The pytest plugin that reports each test's outcome, and of the failing ones what a debugger needs."""

    def __init__(self, pytest: Any, report: Report, project: Path, job: dict[str, Any]) -> None:
        self.pytest, self.report, self.project = pytest, report, str(project) + os.sep
        self.tests, self.canary, self.failures = job["tests"], job["canary"], 0
        self.errors: dict[str, BaseException | None] = {}

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        self.check(str(module_path)[len(self.project) :])

    def pytest_sessionfinish(self) -> None:
        for path in self.tests:
            if path.endswith(".py"):
                self.check(path)

    def check(self, path: str) -> None:
        """Reports a file of the tests that is not any more as it was given."""
        given = self.tests.get(path)
        try:
            same = given is None or Path(self.project, path).read_bytes() == given.encode(errors="replace")
        except OSError:
            same = False
        if not same:
            self.report.send("changed", path=path)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.canary not in nodeid:
            self.report.send("started", test=nodeid)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        error = self.errors[item.nodeid] = call.excinfo.value if call.excinfo else None
        if error is not None and not self.is_excused(item, error):
            self.report.send("raised", test=item.nodeid)

    def is_excused(self, item: Any, error: BaseException) -> bool:
        excuses = (self.pytest.skip.Exception, self.pytest.xfail.Exception)
        return isinstance(error, excuses) or item.get_closest_marker("xfail") is not None

    def pytest_exception_interact(self, call: Any, report: Any) -> None:
        error = call.excinfo.value
        collecting = isinstance(error, self.pytest.Collector.CollectError)
        self.errors[report.nodeid] = error.__cause__ or error if collecting else error

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.send_failure(report, "collect")
        elif report.skipped:
            self.report.send("skipped_file", test=report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.canary in report.nodeid:
            if report.when == "call" or not report.passed:
                self.report.send("canary", failed=report.skipped and hasattr(report, "wasxfail"))
            return
        evaded = report.skipped and self.is_evaded(report.nodeid)
        if report.when == "call" or not report.passed:
            outcome = "failed" if evaded else report.outcome
            self.report.send("outcome", test=report.nodeid, when=report.when, outcome=outcome)
        if report.failed or evaded:
            self.send_failure(report, report.when)

    def is_evaded(self, test: str) -> bool:
        """Whether it was the code under test that called `pytest.skip` or `pytest.xfail`."""
        error = self.errors.get(test)
        frames = list(self.frames(error))
        called = isinstance(error, (self.pytest.skip.Exception, self.pytest.xfail.Exception))
        return called and bool(frames) and frames[-1][0] not in self.tests

    def send_failure(self, report: Any, when: str) -> None:
        self.failures += 1
        if self.failures <= FAILURES:
            self.report.send("failure", test=report.nodeid, when=when, **self.cause(report))

    def cause(self, report: Any) -> dict[str, Any]:
        error = self.errors.pop(report.nodeid, None)
        lines = report.longreprtext.splitlines() or [str(error)]
        text = "\n".join(line for line in lines if line.strip(" ^~"))
        if len(text) > FAILURE_CHARACTERS:
            half = FAILURE_CHARACTERS // 2
            text = text[:half] + "\n[...]\n" + text[-half:]
        frames = list(self.frames(error))
        place = frames[-1] if frames else ("", 0)
        return {
            "place": f"{place[0]}:{place[1]}" if frames else report.nodeid,
            "problem": summary(error, text),
            "text": text,
            "by_tests": self.is_by_tests(error, report, place[0], text),
        }

    def frames(self, error: BaseException | None) -> Iterator[tuple[str, int]]:
        """The places inside the project that a traceback passes through, the innermost last."""
        if isinstance(error, SyntaxError) and str(error.filename).startswith(self.project):
            yield str(error.filename)[len(self.project) :], error.lineno or 0
            return
        trace = getattr(error, "__traceback__", None)
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name.startswith(self.project):
                yield name[len(self.project) :], trace.tb_lineno
            trace = trace.tb_next

    def is_by_tests(self, error: BaseException | None, report: Any, place: str, text: str) -> bool:
        """Whether the test is at fault by itself: it never got to judge the code."""
        if NOT_NATIVE in text or ("fixture '" in text and "' not found" in text):
            return True
        if not hasattr(report, "when") or report.when == "collect":
            return not place or place in self.tests
        return place in self.tests and isinstance(error, (ImportError, NameError, SyntaxError))


def summary(error: BaseException | None, text: str) -> str:
    """One line: what went wrong."""
    if error is None:
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1][:500] if lines else "no reason given"
    said = str(error).strip().splitlines()
    name = type(error).__name__
    if name == "AssertionError" and said:
        return said[0][:500]
    return (f"{name}: {said[0]}" if said else name)[:500]


main()
