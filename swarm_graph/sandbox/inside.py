"""The program inside a sandbox: write the project, set limits, run the tests, write the test log.

The interpreter gets it as text (`python -c`), so it must stay one file that imports nothing of swarm_graph
and runs on any Python from 3.9 on; only pytest must be installed. It reads one JSON document, the job, from
stdin. The test log goes to the original stdout. Whatever tests and commands print goes to stderr.
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
from typing import Any, NamedTuple

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
INTERRUPTED = 2
"""pytest's exit code for an interrupted run."""
MAX_FAILURES = 20
MAX_TRACEBACK_CHARACTERS = 4000
MAX_PROBLEM_CHARACTERS = 500
PACKAGE_NAME = re.compile(r"[A-Za-z0-9._-]+")
NEEDS_ASYNC_PLUGIN = "async def functions are not natively supported"


class TestLog:
    """Writes signed entries, so that the host can tell them from anything else written to the descriptor.

    An entry is one line: its signature, a space, and a JSON object with the key `kind`. The log keeps a keyed
    hash state instead of the key, so that the code under test does not find the key in it.
    """

    def __init__(self, descriptor: int, key: bytes) -> None:
        self._descriptor, self._keyed_hash = descriptor, hashlib.blake2b(key=key, digest_size=16)

    def add(self, kind: str, **data: Any) -> None:
        """Append an entry, past Python's buffers: the process may end without flushing them."""
        entry = json.dumps({"kind": kind, **data}).encode()
        signature = self._keyed_hash.copy()
        signature.update(entry)
        line = signature.hexdigest().encode() + b" " + entry + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]


class FileProblem(NamedTuple):
    """A file of the project that prevents a test run."""

    path: str
    line: int
    """0 if no line is to blame."""
    problem: str
    text: str = ""
    """The text of that line."""


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    # With -c the first entry is "", the current folder: code there could replace pytest or a standard module.
    sys.path[:] = [entry for entry in sys.path if entry]
    sys.dont_write_bytecode = True
    log = TestLog(os.dup(1), bytes.fromhex(job.pop("key")))
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    set_limits(job["limits"])
    install_filter(bytes.fromhex(job["filter"]))
    log.add("ready")
    for name in ("project", "home", "tmp"):
        Path(job["folder"], name).mkdir(exist_ok=True)
    project = Path(job["folder"], "project")
    os.chdir(project)
    if problems := list(write_files(project, {**job["code"], **job["tests"]})):
        sys.exit(refuse(problems, job, log))
    if job["command"]:
        run_command(job["command"])
    sys.exit(run_pytest(job, project, log))


def set_limits(limits: dict[str, int]) -> None:
    """Set the kernel's limits for each process; no child can raise them again."""
    import resource

    for name, value in limits.items():
        kind = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def install_filter(program: bytes) -> None:
    """Install a filter of system calls for this process and its children; an empty one does nothing."""
    if not program:
        return

    class Filter(ctypes.Structure):  # struct sock_fprog
        _fields_ = (("steps", ctypes.c_ushort), ("program", ctypes.c_char_p))

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    filter_ = Filter(len(program) // 8, program)
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "cannot filter system calls")


def write_files(project: Path, files: dict[str, str]) -> Iterator[FileProblem]:
    """Write the files (path to text), and yield those that cannot be written."""
    for path, text in files.items():
        target = project / path
        try:
            if ".." in target.parts or not target.is_relative_to(project):
                raise ValueError("its path leaves the project")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode(errors="replace"))
        except (OSError, ValueError) as error:
            yield FileProblem(path, 0, f"cannot be written: {error}")


def refuse(problems: list[FileProblem], job: dict[str, Any], log: TestLog) -> int:
    """Log the files that prevent a test run, and return the exit code.

    The tests are at fault only if nothing is wrong with the code.
    """
    by_tests = all(problem.path in job["tests"] for problem in problems)
    for path, line, problem, text in problems:
        place = f"{path}:{line}" if line else path
        sys.stderr.write(f"{place}: {problem}\n")
        log.add(
            "failure",
            test=path,
            when="parse",
            place=place,
            problem=problem,
            text=f"{place}: {text}\n{problem}",
            by_tests=by_tests,
        )
    log.add("end", exit_code=INTERRUPTED)
    return INTERRUPTED


def run_command(command: list[str]) -> None:
    """Replace this process by the command; its exit code becomes the test run's."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run '{command[0]}': {error.strerror}\n")
        os._exit(127)


# --- pytest -------------------------------------------------------------------------------------------


def run_pytest(job: dict[str, Any], project: Path, log: TestLog) -> int:
    """Check that every file parses, then run pytest and end the process with its exit code.

    It returns only if the tests cannot be run.
    """
    if problems := list(syntax_errors({**job["code"], **job["tests"]})):
        return refuse(problems, job, log)
    try:
        import pytest
    except ImportError as error:
        log.add("unusable", problem=f"this interpreter has no pytest ({error})")
        return INTERRUPTED
    folders = sorted({str(Path(path).parent) for path in job["tests"] if is_test_file(path)})
    for number, folder in enumerate(folders):
        name = f"{job['canary']}_{number}"
        Path(project, folder, f"{name}.py").write_text(CANARY.format(name=name))
    log.add("defined", tests=sorted(defined_tests(job["tests"])), canaries=len(folders))
    # `-c /dev/null` and `--confcutdir`: the code's own pytest settings must not steer the test run.
    options = ["-q", "--color=no", "--tb=short", "-c", os.devnull, "-p", "no:cacheprovider"]
    options += ["--rootdir", str(project), "--confcutdir", str(project)]
    # `./` keeps a folder such as `--collect-only` from being taken for an option.
    options += [*allow_packages(job["packages"]), *(f"./{folder}" for folder in folders)]
    sys.path[:0] = [str(folder) for folder in (project / "src", project) if folder.is_dir()]
    exit_code = int(pytest.main(options, plugins=[Observer(pytest, log, project, job)]))
    log.add("end", exit_code=exit_code)
    sys.stderr.flush()
    os._exit(exit_code)  # exit handlers and threads that the code left behind must not change the exit code


CANARY = "import pytest\n\n\n@pytest.mark.xfail(strict=True)\ndef {name}():\n    raise AssertionError\n"
"""A test that must fail, under a random name: code that makes every test pass makes the canary pass too."""


def is_test_file(path: str) -> bool:
    """Whether pytest collects a file by default."""
    name = Path(path).name
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def syntax_errors(files: dict[str, str]) -> Iterator[FileProblem]:
    """The Python files that cannot be compiled."""
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        try:
            compile(text, path, "exec", dont_inherit=True)
        except SyntaxError as error:
            problem = f"{type(error).__name__}: {error.msg}"
            yield FileProblem(path, error.lineno or 0, problem, (error.text or "").strip())
        except (ValueError, RecursionError, MemoryError) as error:
            yield FileProblem(path, 0, f"{type(error).__name__}: {error}")


def defined_tests(tests: dict[str, str]) -> Iterator[str]:
    """The ids of the tests that the files define; the host checks that the log has a result for each."""
    for path, text in tests.items():
        if is_test_file(path):
            body = ast.parse(text).body
            yield from (f"{path}::{name}" for name in test_names(body))
            for node in body:
                if isinstance(node, ast.ClassDef) and is_test_class(node):
                    yield from (f"{path}::{node.name}::{name}" for name in test_names(node.body))


def is_test_class(node: ast.ClassDef) -> bool:
    """Whether pytest collects a class: by its name, unless it has a constructor or sets `__test__`."""
    methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    opts_out = any("__test__" in ast.dump(inner) for inner in node.body if isinstance(inner, ast.Assign))
    return node.name.startswith("Test") and not methods & {"__init__", "__new__"} and not opts_out


def test_names(body: list[ast.stmt]) -> Iterator[str]:
    """The names of the test functions in a module's or class's body."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            is_fixture = any("fixture" in ast.dump(decorator) for decorator in node.decorator_list)
            if node.name.startswith("test") and not is_fixture:
                yield node.name


# --- Packages that may be imported --------------------------------------------------------------------


def allow_packages(packages: list[str] | None) -> list[str]:
    """Block imports of other packages, and return pytest's options for the plugins of the allowed ones.

    None allows all installed packages.
    """
    if packages is None:
        return []
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    allowed = with_dependencies(["pytest", *packages])
    sys.meta_path.insert(0, ImportGuard(allowed))
    names = [
        point.name
        for distribution in metadata.distributions()
        if normalized(distribution.metadata["Name"]) in allowed
        for point in distribution.entry_points
        if point.group == "pytest11"
    ]
    return [option for name in names for option in ("-p", name)]


def normalized(name: str) -> str:
    """The normalized name of a distribution (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


def with_dependencies(names: Iterable[str]) -> set[str]:
    """The normalized names of distributions and of everything that they require."""
    closure: set[str] = set()
    waiting = [normalized(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in closure:
            continue
        closure.add(name)
        try:
            requirements = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        without_extras = [line for line in requirements if "extra ==" not in line.partition(";")[2]]
        waiting += [normalized(match[0]) for match in map(PACKAGE_NAME.match, without_extras) if match]
    return closure


class ImportGuard(importlib.abc.MetaPathFinder):
    """Refuses to import installed packages that are not allowed; other finders find everything else."""

    def __init__(self, allowed: set[str]) -> None:
        self._allowed = set(top_level_modules(allowed))
        self._site_packages = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if path is not None or name in self._allowed:
            return
        spec = PathFinder.find_spec(name)
        places = [str(spec.origin), *(spec.submodule_search_locations or [])] if spec else []
        if any(place.startswith(self._site_packages) for place in places):
            raise ModuleNotFoundError(f"No module named {name!r} (not in execution.packages)", name=name)


def top_level_modules(distributions: set[str]) -> Iterator[str]:
    """The top-level modules and packages that distributions install."""
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            for file in metadata.files(name) or []:
                yield file.parts[0].partition(".")[0]


# --- The pytest plugin --------------------------------------------------------------------------------


class Observer:
    """The pytest plugin that logs each test's outcome, and for failures what a debugger needs."""

    def __init__(self, pytest: Any, log: TestLog, project: Path, job: dict[str, Any]) -> None:
        self.pytest, self.log, self.project = pytest, log, str(project) + os.sep
        self.tests, self.canary, self.failures = job["tests"], job["canary"], 0
        self.errors: dict[str, BaseException | None] = {}
        """The exception of each failed test or file, by node id."""

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        self.check_unchanged(str(module_path)[len(self.project) :])

    def pytest_sessionfinish(self) -> None:
        for path in self.tests:
            if path.endswith(".py"):
                self.check_unchanged(path)

    def check_unchanged(self, path: str) -> None:
        """Log a file of the tests that is not as it was written."""
        text = self.tests.get(path)
        try:
            unchanged = text is None or Path(self.project, path).read_bytes() == text.encode(errors="replace")
        except OSError:
            unchanged = False
        if not unchanged:
            self.log.add("changed", path=path)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.canary not in nodeid:
            self.log.add("started", test=nodeid)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        # Logged here and not from pytest's report, which a hook of the code can turn into a pass.
        error = self.errors[item.nodeid] = call.excinfo.value if call.excinfo else None
        if error is not None and not self.is_excused(item, error):
            self.log.add("raised", test=item.nodeid)

    def is_excused(self, item: Any, error: BaseException) -> bool:
        """Whether the exception is a skip, or the test is marked as expected to fail."""
        excuses = (self.pytest.skip.Exception, self.pytest.xfail.Exception)
        return isinstance(error, excuses) or item.get_closest_marker("xfail") is not None

    def pytest_exception_interact(self, call: Any, report: Any) -> None:
        error = call.excinfo.value
        collecting = isinstance(error, self.pytest.Collector.CollectError)
        self.errors[report.nodeid] = error.__cause__ or error if collecting else error

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.log_failure(report, "collect")
        elif report.skipped:
            self.log.add("skipped_file", test=report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.canary in report.nodeid:
            if report.when == "call" or not report.passed:
                self.log.add("canary", failed=report.skipped and hasattr(report, "wasxfail"))
            return
        evaded = report.skipped and self.is_evaded(report.nodeid)
        if report.when == "call" or not report.passed:
            outcome = "failed" if evaded else report.outcome
            self.log.add("outcome", test=report.nodeid, when=report.when, outcome=outcome)
        if report.failed or evaded:
            self.log_failure(report, report.when)

    def is_evaded(self, test: str) -> bool:
        """Whether the code under test, not the test, called `pytest.skip` or `pytest.xfail`."""
        error = self.errors.get(test)
        frames = list(self.project_frames(error))
        is_skip = isinstance(error, (self.pytest.skip.Exception, self.pytest.xfail.Exception))
        return is_skip and bool(frames) and frames[-1][0] not in self.tests

    def log_failure(self, report: Any, when: str) -> None:
        self.failures += 1
        if self.failures <= MAX_FAILURES:
            self.log.add("failure", test=report.nodeid, when=when, **self.explain(report))

    def explain(self, report: Any) -> dict[str, Any]:
        """Place, problem, shortened traceback of a failure, and whether the test itself is at fault."""
        error = self.errors.pop(report.nodeid, None)
        lines = report.longreprtext.splitlines() or [str(error)]
        text = "\n".join(line for line in lines if line.strip(" ^~"))
        if len(text) > MAX_TRACEBACK_CHARACTERS:
            half = MAX_TRACEBACK_CHARACTERS // 2
            text = text[:half] + "\n[...]\n" + text[-half:]
        frames = list(self.project_frames(error))
        path, line = frames[-1] if frames else ("", 0)
        return {
            "place": f"{path}:{line}" if frames else report.nodeid,
            "problem": one_line(error, text),
            "text": text,
            "by_tests": self.is_by_tests(error, report, path, text),
        }

    def project_frames(self, error: BaseException | None) -> Iterator[tuple[str, int]]:
        """Path and line of each frame of a traceback inside the project, innermost last."""
        if isinstance(error, SyntaxError) and str(error.filename).startswith(self.project):
            yield str(error.filename)[len(self.project) :], error.lineno or 0
            return
        trace = getattr(error, "__traceback__", None)
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name.startswith(self.project):
                yield name[len(self.project) :], trace.tb_lineno
            trace = trace.tb_next

    def is_by_tests(self, error: BaseException | None, report: Any, path: str, text: str) -> bool:
        """Whether the test itself is at fault: it failed before it could judge the code."""
        if NEEDS_ASYNC_PLUGIN in text or ("fixture '" in text and "' not found" in text):
            return True
        if not hasattr(report, "when") or report.when == "collect":
            return not path or path in self.tests
        return path in self.tests and isinstance(error, (ImportError, NameError, SyntaxError))


def one_line(error: BaseException | None, text: str) -> str:
    """The exception in one line; the last line of the traceback if there is no exception."""
    if error is None:
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1][:MAX_PROBLEM_CHARACTERS] if lines else "no reason given"
    message = str(error).strip().splitlines()
    name = type(error).__name__
    if name == "AssertionError" and message:
        return message[0][:MAX_PROBLEM_CHARACTERS]
    return (f"{name}: {message[0]}" if message else name)[:MAX_PROBLEM_CHARACTERS]


main()
