"""The judged process: it runs pytest on the tests, and the code under test runs inside it.

It reports what happens to the judge (`inside.py`) through a pipe. It does not hold the key of the test log,
and the judge believes a pass only if the marks of the test's source (`marks.py`) agree with it.

Runs inside a sandbox: Python 3.9, no import of swarm_graph. `inside.py` loads it and passes the module
`marks`.
"""

from __future__ import annotations

import ast
import builtins
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata as metadata
import json
import os
import re
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

INTERRUPTED = 2
"""pytest's exit code for an interrupted run."""
MAX_FAILURES = 20
MAX_TRACEBACK_CHARACTERS = 4000
MAX_PROBLEM_CHARACTERS = 500
MAX_INTERFERENCES = 10
MAX_CHECKED_VALUES = 100
METHODS_IN_C = (
    type(None),
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.BuiltinFunctionType,
)
PACKAGE_NAME = re.compile(r"[A-Za-z0-9._-]+")
NO_PARAMETERS = "got empty parameter set"
NEEDS_ASYNC_PLUGIN = "async def functions are not natively supported"


class Job(NamedTuple):
    """What the judge gives to the judged process."""

    project: Path
    code: dict[str, str]
    tests: dict[str, str]
    packages: list[str] | None
    marked: dict[str, Any]
    """The marked Python files of the tests and the canaries, by path."""
    canaries: list[str]
    marks: Any
    """The module."""


class Channel:
    """Sends entries to the judge: a line with a token and a JSON object with the key `kind`.

    The token keeps what the code writes to every descriptor from being taken for an entry.
    """

    def __init__(self, descriptor: int, answers: int, token: str) -> None:
        self._descriptor, self._answers = descriptor, answers
        self._token, self._lock = token.encode() + b" ", threading.Lock()
        self._write, self._read, self._dumps, self._getpid = os.write, os.read, json.dumps, os.getpid
        self._process = os.getpid()

    def announce(self, kind: str, **data: Any) -> None:
        """Send an entry and wait until the judge has read it: what happens next belongs to what it says."""
        self.send(kind, **data)
        if self._getpid() == self._process:
            self._read(self._answers, 1)

    def send(self, kind: str, **data: Any) -> None:
        """Send an entry, past Python's buffers: the process may end without flushing them."""
        if self._getpid() != self._process:
            return  # a copy of the process that a test has forked
        line = self._token + self._dumps({"kind": kind, **data}).encode() + b"\n"
        with self._lock:
            while line:
                line = line[self._write(self._descriptor, line) :]


def run(job: Job, channel: Channel) -> None:
    """Run pytest on the tests and end the process with its exit code."""
    leave, flush = os._exit, sys.stderr.flush
    try:
        import pytest
    except ImportError as error:
        channel.send("unusable", problem=f"this interpreter has no pytest ({error})")
        channel.send("end", exit_code=INTERRUPTED)
        leave(INTERRUPTED)
    preload(job)
    # `-c /dev/null` and `--confcutdir`: the code's own pytest settings must not steer the test run.
    options = ["-q", "--color=no", "--tb=short", "-c", os.devnull, "-p", "no:cacheprovider"]
    options += ["--rootdir", str(job.project), "--confcutdir", str(job.project)]
    options += plugin_options(job.packages)
    files = [path for path in job.marked if job.marks.is_test_file(path)]
    files.sort(key=lambda path: (path not in job.canaries, path))
    options += [f"./{path}" for path in files]  # `./`: a folder may have the name of an option
    exit_code = int(pytest.main(options, plugins=[Observer(pytest, job, channel)]))
    channel.send("end", exit_code=exit_code)
    flush()
    leave(exit_code)  # exit handlers and threads that the code left behind must not change the exit code


def preload(job: Job) -> None:
    """Import what the tests judge with before a module of the code can take its name."""
    used = set().union(*(file.mentions for file in job.marked.values())) if job.marked else set()
    for name in ("unittest", "unittest.mock", "doctest"):
        if name.rpartition(".")[2] in used:
            importlib.import_module(name)


def set_paths(project: Path) -> None:
    """Let tests, and the processes that they start, find the code and the interpreter."""
    folders = [str(folder) for folder in (project / "src", project) if folder.is_dir()]
    sys.path[:0] = folders
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


# --- Packages that may be imported --------------------------------------------------------------------


def plugin_options(packages: list[str] | None) -> list[str]:
    """Block imports of packages that are not allowed, and name the plugins of the others to pytest.

    Args:
        packages: The allowed packages; None allows all installed ones.
    """
    # pytest would search the code's folders for plugins too.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    allowed = None if packages is None else with_dependencies(["pytest", *packages])
    if allowed is not None:
        sys.meta_path.insert(0, ImportGuard(allowed))
    modules = [
        point.value.partition(":")[0]
        for distribution in metadata.distributions()
        if allowed is None or normalized(distribution.metadata["Name"]) in allowed
        for point in distribution.entry_points
        if point.group == "pytest11"
    ]
    return [option for name in dict.fromkeys(modules) for option in ("-p", name)]


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


# --- The tests' files ---------------------------------------------------------------------------------


class MarkedFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of the tests' files, so that they are compiled from their marked trees.

    The tools are remembered before the first module of the project is loaded.
    """

    def __init__(self, job: Job, compile_tree: Callable[[Any, str], Any], marks: Marks) -> None:
        self._project, self._marked, self._compile = job.project, job.marked, compile_tree
        self._marks, self._has_begun = marks, False
        self._names = {Path(path).stem for path in job.marked} | {
            Path(path).parent.name for path in job.marked if Path(path).name == "__init__.py"
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if self._has_begun and name.rpartition(".")[2] not in self._names:
            return None
        spec = PathFinder.find_spec(name, path)
        origin = relative(spec.origin, self._project) if spec and spec.origin else ""
        if origin and not self._has_begun:
            self._has_begun = True
            self._marks.remember_tools()
        if spec is None or spec.origin is None or origin not in self._marked:
            return None
        tree = self._marked[origin].tree
        spec.loader = MarkedLoader(
            name, spec.origin, lambda place: self._compile(tree, place), self._marks.remember_globals
        )
        return spec


class MarkedLoader(importlib.machinery.SourceFileLoader):
    """Loads a module of the tests, from the text that the judge has read and not from the disk."""

    def __init__(
        self, name: str, path: str, compile_file: Callable[[str], Any], loaded: Callable[[Any], None]
    ) -> None:
        super().__init__(name, path)
        self._compile_file, self._loaded = compile_file, loaded

    def exec_module(self, module: Any) -> None:
        try:
            super().exec_module(module)
        except SystemExit as error:  # it would end pytest
            problem = f"the import ends the program: {error!r}"
            raise ImportError(problem).with_traceback(error.__traceback__) from None
        self._loaded(module)

    def get_code(self, fullname: str) -> Any:
        return self._compile_file(self.path)


def relative(path: str, project: Path) -> str:
    """A path relative to the project; empty if it lies outside."""
    prefix = str(project) + os.sep
    return path[len(prefix) :].replace(os.sep, "/") if path.startswith(prefix) else ""


# --- The tools that the tests judge with --------------------------------------------------------------

TOOL_MODULES = (
    "contextlib",
    "math",
    "operator",
    "pytest",
    "unittest.case",
    "unittest.mock",
    "unittest.suite",
    "doctest",
    "pluggy._callers",
    "pluggy._hooks",
    "pluggy._manager",
    "_pytest.assertion.rewrite",
    "_pytest.assertion.util",
    "_pytest._code.code",
    "_pytest.config",
    "_pytest.main",
    "_pytest.nodes",
    "_pytest.outcomes",
    "_pytest.python",
    "_pytest.python_api",
    "_pytest.raises",
    "_pytest.recwarn",
    "_pytest.reports",
    "_pytest.runner",
    "_pytest.skipping",
    "_pytest.unittest",
)
CHANGEABLE_BUILTINS = (
    "__import__ __build_class__ breakpoint copyright credits exit help input license open print quit _"
)
"""What ordinary programs and packages replace."""


class Tools:
    """Notices when the code replaces what the tests judge with, and puts it back."""

    def __init__(self, excused: set[str]) -> None:
        """Remember the tools as they are.

        Args:
            excused: Names that the tests themselves may replace.
        """
        self._excused = excused
        self._packages = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))
        self._values: list[tuple[Any, str, Any]] = []
        """A module, a class or `sys.modules`; a name in it; its value."""
        self._codes: dict[Any, Any] = {}
        for name in TOOL_MODULES:
            module = sys.modules.get(name)
            if module is not None:
                self._values.append((sys.modules, name, module))
                self._remember(module)
        self._values += [
            (sys.modules, name, sys.modules[name]) for name in ("builtins", "unittest") if name in sys.modules
        ]
        for name, value in vars(builtins).items():
            if name not in CHANGEABLE_BUILTINS.split() and name not in excused:
                self._values.append((builtins, name, value))

    def _remember(self, module: Any) -> None:
        for name, value in list(vars(module).items()):
            if not callable(value):
                continue
            self._remember_value(module, name, value)
            if isinstance(value, type) and value.__module__ == module.__name__:
                for inner, attribute in list(vars(value).items()):
                    if isinstance(attribute, (types.FunctionType, classmethod, staticmethod, property)):
                        self._remember_value(value, inner, attribute)

    def _remember_value(self, owner: Any, name: str, value: Any) -> None:
        if name in self._excused:
            return
        self._values.append((owner, name, value))
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, types.FunctionType):
            self._codes[function] = function.__code__

    def restored(self) -> list[str]:
        """Put back what was replaced, and return its names."""
        names = []
        for index, (owner, name, value) in enumerate(self._values):
            found = (owner if owner is sys.modules else vars(owner)).get(name)
            if found is value:
                continue
            if self._is_of_a_plugin(found):
                self._values[index] = (owner, name, found)
                continue
            owner_name = getattr(owner, "__qualname__", getattr(owner, "__name__", "sys.modules"))
            names.append(f"{owner_name}.{name}")
            if owner is sys.modules:
                sys.modules[name] = value
            else:
                setattr(owner, name, value)
        for function, code in self._codes.items():
            if function.__code__ is not code:
                names.append(function.__qualname__)
                function.__code__ = code
        return names

    def _is_of_a_plugin(self, value: Any) -> bool:
        """Whether a function is one of an installed package: pytest-mock replaces methods of mocks."""
        place = str(getattr(getattr(value, "__code__", None), "co_filename", ""))
        tools = [
            folder + name + os.sep for folder in self._packages for name in ("_pytest", "pytest", "pluggy")
        ]
        return place.startswith(self._packages) and not place.startswith(tuple(tools))


class Marks:
    """What the marks in the tests' code call."""

    def __init__(self, pytest: Any, job: Job, channel: Channel) -> None:
        self._channel, self._project, self._tests = channel, job.project, job.tests
        self._ran: set[str] = set()
        self._contexts: dict[str, list[Any]] = {}
        self._interferences: set[str] = set()
        self._named = set().union(*(file.named for file in job.marked.values()))
        self._excused = {name for file in job.marked.values() for name in file.replaced}
        self._tools: Tools | None = None
        self._chance = job.marks.CHANCE
        self._judging_contexts = tuple(judging_contexts(pytest))
        self._frame = sys._getframe
        paths = ("stdlib", "platstdlib", "purelib", "platlib")
        self._installed = tuple(sysconfig.get_path(name) + os.sep for name in paths)
        self._globals: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """What the modules of the tests hold, and what they held when they were loaded."""
        self._codes: dict[Any, Any] = {}
        self._odd_classes: dict[type, bool] = {}

    def functions(self, marks: Any) -> dict[bytes, Callable[..., Any]]:
        return {
            marks.RAN: self.ran,
            marks.VALUE: self.value,
            marks.METHOD: self.method,
            marks.CONTEXT: self.context,
            marks.RAISED: self.raised,
            marks.LOADED: self.check_tools,
        }

    def remember_tools(self) -> None:
        """Remember the tools; from now on the project's code runs."""
        self._tools = Tools(self._excused)

    def begin_test(self) -> None:
        self._ran.clear()
        self._contexts.clear()
        self.check_tools()

    def check_tools(self) -> None:
        """Report what the code has replaced of the tools of the tests, and put it back."""
        for name in self._tools.restored() if self._tools else []:
            self.interference(f"the code replaces {name}")
        for now, before in self._globals:
            for name, value in before.items():
                if now.get(name) is not value:
                    self.interference(f"the code replaces {name} of the tests")
                    now[name] = value
        for function, code in self._codes.items():
            if function.__code__ is not code:
                self.interference(f"the code replaces {function.__qualname__} of the tests")
                function.__code__ = code

    def remember_globals(self, module: Any) -> None:
        """Remember what a module of the tests holds; only the tests may change it."""
        kept = {k: v for k, v in vars(module).items() if not k.startswith("__") and k not in self._excused}
        self._globals = [(now, before) for now, before in self._globals if now is not vars(module)]
        self._globals.append((vars(module), kept))
        functions = [value for value in kept.values() if isinstance(value, types.FunctionType)]
        self._codes.update({function: function.__code__ for function in functions})

    def interference(self, problem: str) -> None:
        """Report that the code interferes with the tests."""
        if problem not in self._interferences and len(self._interferences) < MAX_INTERFERENCES:
            self._interferences.add(problem)
            self._channel.send("interference", problem=problem)

    def ran(self, token: str, value: Any = None) -> Any:
        """An assertion held, or a test came to its end."""
        if token not in self._ran:
            self._ran.add(token)
            if self._frame(1).f_trace is not None:
                self.interference("the code traces the tests")
            self._channel.send("ran", token=token)
        return value

    def context(self, token: str, value: Any) -> Any:
        """A block begins; it may have several context managers."""
        self._contexts.setdefault(token, []).append(value)
        return value

    def raised(self, token: str) -> None:
        """A block ended: an assertion held if one of its context managers judges."""
        if any(isinstance(context, self._judging_contexts) for context in self._contexts.pop(token, [])):
            self.ran(token)

    def value(self, *values: Any) -> Any:
        """Values that an assertion compares."""
        waiting = list(values)
        for _ in range(MAX_CHECKED_VALUES):
            if not waiting:
                break
            value = waiting.pop()
            kind = type(value)
            if kind in (list, tuple, set, frozenset):
                waiting += list(value)[:MAX_CHECKED_VALUES]
            elif kind is dict:
                waiting += list(value.values())[:MAX_CHECKED_VALUES]
            elif self._has_own_equality(kind):
                waiting += list(getattr(value, "__dict__", {}).values())[:MAX_CHECKED_VALUES]
                if not self._is_named(kind) and self._equals_everything(value):
                    self.interference(f"objects of the class {kind.__name__} equal everything")
        return values[0] if values else None

    def _has_own_equality(self, kind: type) -> bool:
        """Whether a class, not one of the tests, decides in Python what its objects equal."""
        if kind not in self._odd_classes:
            methods = [getattr(kind, name, None) for name in ("__eq__", "__lt__")]
            own = [method for method in methods if not isinstance(method, METHODS_IN_C)]
            places = {
                relative(str(getattr(code, "co_filename", "")), self._project)
                for code in (getattr(method, "__code__", None) for method in own)
            }
            self._odd_classes[kind] = bool(places - set(self._tests)) and not self._is_mock_of_tests(kind)
        return self._odd_classes[kind]

    def _is_mock_of_tests(self, kind: type) -> bool:
        """Whether a class is one of mocks, and the tests use mocks: these record every comparison."""
        mocks = getattr(sys.modules.get("unittest.mock"), "NonCallableMock", ())
        return issubclass(kind, mocks) and any("mock" in name.lower() for name in self._named)

    def _is_named(self, kind: type) -> bool:
        """Whether the tests name a class, and mean nothing else by its name."""
        name = kind.__name__
        meant = [now[name] for now, _ in self._globals if name in now]
        return name.lstrip("_") in self._named and all(value is kind for value in meant)

    def method(self, test: Any, name: str) -> Any:
        """A method of a test case that asserts: it must not be one that the code has put in its place."""
        found = getattr(test, name)
        function = getattr(found, "__func__", found)
        place = str(getattr(getattr(function, "__code__", None), "co_filename", ""))
        owner = next((kind for kind in type(test).__mro__ if name in vars(kind)), object)
        is_named = owner.__name__ in self._named and not hasattr(sys.modules.get("unittest"), owner.__name__)
        is_of_named_class = is_named and owner.__module__ == getattr(function, "__module__", "")
        is_known = place.startswith(self._installed) or relative(place, self._project) in self._tests
        if not (is_known or is_of_named_class or name in self._excused):
            self.interference(f"the code replaces {name} of the tests")
        return found

    def _equals_everything(self, value: Any) -> bool:
        """Whether an object equals many random values of one type, or is both less and greater."""
        kinds: list[Callable[[int], Any]] = [int, str, lambda bits: bits / 7, lambda bits: [bits]]
        return any(
            all(holds(value, kind(self._chance.getrandbits(40))) for _ in range(30))
            for holds in (equal, less_and_greater)
            for kind in kinds
        )


def equal(left: Any, right: Any) -> bool:
    try:
        return bool(left == right)
    except Exception:
        return False


def less_and_greater(left: Any, right: Any) -> bool:
    try:
        return (left < right) is True and (left > right) is True
    except Exception:
        return False


def judging_contexts(pytest: Any) -> Iterator[type]:
    """The classes of the context managers that fail if their block does nothing."""
    yield type(pytest.raises(ValueError))
    yield type(pytest.warns(UserWarning))
    for name in ("RaisesGroup", "RaisesExc"):
        if hasattr(pytest, name):
            yield getattr(pytest, name)
    case = sys.modules.get("unittest.case")
    for name in ("_BaseTestCaseContext", "_AssertLogsContext"):
        if hasattr(case, name):
            yield getattr(case, name)


# --- The pytest plugin --------------------------------------------------------------------------------


def hook(*options: str) -> Callable[[Any], Any]:
    """As `pytest.hookimpl`, without pytest, which may be missing."""

    def mark_hook(function: Any) -> Any:
        function.pytest_impl = dict.fromkeys(options, True)
        return function

    return mark_hook


class Observer:
    """The pytest plugin that reports each test's outcome, and for failures what a debugger needs."""

    def __init__(self, pytest: Any, job: Job, channel: Channel) -> None:
        self.pytest, self.job, self.channel, self.project = pytest, job, channel, str(job.project) + os.sep
        self.tests, self.canaries, self.failures = job.tests, set(job.canaries), 0
        self.errors: dict[str, BaseException | None] = {}
        """The exception of each failed test or file, by node id."""
        self.marks: Marks | None = None

    @hook("tryfirst")
    def pytest_load_initial_conftests(self, early_config: Any) -> None:
        """Prepare for the code: all plugins are loaded, and nothing of the project is."""
        marks = self.marks = Marks(self.pytest, self.job, self.channel)
        functions = marks.functions(self.job.marks)

        def compile_tree(tree: Any, origin: str) -> Any:
            rewrite = asserts_rewriter(early_config, origin)
            return self.job.marks.compile_marked(copy.deepcopy(tree), origin, functions, rewrite)

        sys.meta_path.insert(0, MarkedFinder(self.job, compile_tree, marks))
        set_paths(self.job.project)

    def pytest_plugin_registered(self, plugin: Any, manager: Any) -> None:
        """Take a module of the code out of pytest's plugins, unless the tests name it in `pytest_plugins`."""
        module = plugin if isinstance(plugin, types.ModuleType) else sys.modules.get(type(plugin).__module__)
        path = relative(str(getattr(module, "__file__", None)), self.job.project)
        named = {word for file in self.job.marked.values() for word in file.plugins} if path else set()
        if self.marks and path and path not in self.tests and Path(path).stem not in named:
            self.marks.interference(f"{path} registers itself as a plugin of pytest")
            manager.unregister(plugin)

    @hook("tryfirst")
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Put the tests in the order of their files; the canaries, collected first, go among them."""
        items.sort(key=lambda item: item.nodeid.partition("::")[0])

    def pytest_collectstart(self, collector: Any) -> None:
        self.channel.announce("collecting", test=collector.nodeid)

    def pytest_pycollect_makemodule(self, module_path: Path) -> None:
        self.check_unchanged(str(module_path)[len(self.project) :])

    def pytest_sessionfinish(self) -> None:
        for path in self.tests:
            if path.endswith(".py"):
                self.check_unchanged(path)

    def check_unchanged(self, path: str) -> None:
        """Report a file of the tests that is not as it was written."""
        text = self.tests.get(path)
        try:
            unchanged = text is None or Path(self.project, path).read_bytes() == text.encode(errors="replace")
        except OSError:
            unchanged = False
        if not unchanged:
            self.channel.send("changed", path=path)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.marks:
            self.marks.begin_test()
        self.channel.announce("started", test=nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self.marks:
            self.marks.check_tools()
        self.channel.announce("finished", test=nodeid)

    def is_canary(self, test: str) -> bool:
        return test.partition("::")[0] in self.canaries

    @hook("hookwrapper", "tryfirst")
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Iterator[None]:
        first = call.excinfo.value if call.excinfo else None
        outcome: Any = yield
        # Sent from here and not from pytest's report, which a hook of the code can turn into a pass.
        error = call.excinfo.value if call.excinfo else None
        # pytest replaces unittest's exception for a skip, and so its traceback.
        self.errors[item.nodeid] = first if type(first).__name__ == "SkipTest" else error
        if error is not None and not self.is_excused(item, error):
            self.channel.send("raised", test=item.nodeid)
        report = outcome.get_result()
        if self.is_canary(item.nodeid):
            if call.when == "call":
                self.channel.send("canary", failed=report.failed)
            report.outcome, report.longrepr = "passed", None

    def is_excused(self, item: Any, error: BaseException) -> bool:
        """Whether the exception is a skip, or the test is marked as expected to fail."""
        excuses = (self.pytest.skip.Exception, self.pytest.xfail.Exception)
        return isinstance(error, excuses) or item.get_closest_marker("xfail") is not None

    def pytest_exception_interact(self, call: Any, report: Any) -> None:
        error = call.excinfo.value
        collecting = isinstance(error, self.pytest.Collector.CollectError)
        self.errors[report.nodeid] = error.__cause__ or error if collecting else error

    def pytest_collectreport(self, report: Any) -> None:
        if report.nodeid in self.canaries:
            # Tests may list the files of the project.
            Path(self.project, report.nodeid).unlink(missing_ok=True)
        if report.failed:
            self.report_failure(report, "collect")
        elif report.skipped:
            self.channel.send("skipped_file", test=report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.is_canary(report.nodeid):
            return
        evaded = report.skipped and self.is_evaded(report.nodeid)
        if report.when == "call" or not report.passed:
            outcome = "failed" if evaded else report.outcome
            is_empty = report.skipped and NO_PARAMETERS in report.longreprtext
            self.channel.send(
                "outcome", test=report.nodeid, when=report.when, outcome=outcome, is_empty=is_empty
            )
        if report.failed or evaded:
            self.report_failure(report, report.when)

    def is_evaded(self, test: str) -> bool:
        """Whether the code under test, not the test, called `pytest.skip` or `pytest.xfail`."""
        error = self.errors.get(test)
        frames = list(self.project_frames(error))
        excuses = (self.pytest.skip.Exception, self.pytest.xfail.Exception)
        is_skip = isinstance(error, excuses) or type(error).__name__ == "SkipTest"
        return is_skip and bool(frames) and frames[-1][0] not in self.tests

    def report_failure(self, report: Any, when: str) -> None:
        self.failures += 1
        if self.failures <= MAX_FAILURES:
            self.channel.send("failure", test=report.nodeid, when=when, **self.explain(report))

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


def asserts_rewriter(config: Any, origin: str) -> Callable[[ast.Module], None]:
    """pytest's rewriting of assert statements, which explains why one fails."""
    from _pytest.assertion.rewrite import rewrite_asserts

    def rewrite(tree: ast.Module) -> None:
        rewrite_asserts(tree, b"", origin, config)

    return rewrite


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
