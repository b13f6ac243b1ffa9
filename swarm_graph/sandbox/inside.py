"""The program inside a sandbox: write the project, set limits, run and judge the tests, write the test log.

The interpreter gets it as text (`python -c`), so it must stay one file that imports nothing of swarm_graph
and runs on any Python from 3.9 on; only pytest must be installed. It reads one JSON document, the job, from
stdin, and then the key of the test log. The job brings the modules `marks` and `judged`. The test log goes
to the original stdout. Whatever tests and commands print goes to stderr.

The tests run in a second process, the judged one, which never holds the key. This process, the judge, never
runs a line of the project.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import json
import marshal
import os
import re
import select
import signal
import struct
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 4, 22, 38, 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_RULE_PATH_BENEATH, LANDLOCK_ACCESS_FS_REFER, LANDLOCK_SCOPE_SIGNAL = 1, 1 << 13, 1 << 1
IN_OPEN, IN_NONBLOCK, IN_CLOEXEC = 0x20, os.O_NONBLOCK, getattr(os, "O_CLOEXEC", 0)
INTERRUPTED, NO_TESTS_COLLECTED = 2, 5
"""Exit codes of pytest."""
BYTE_ORDER_MARK = "\ufeff"
KEY_BYTES = 32
MAX_LINE_BYTES = 1 << 20
MAX_FOREIGN_BYTES = 4 << 20
"""What the code may write into the judge's pipe before it is stopped."""
ANNOUNCED = ("collecting", "started", "finished")
"""The kinds of entries that the judged process sends before it goes on."""
OF_A_TEST = (*ANNOUNCED, "outcome", "raised", "failure", "skipped_file")
"""The kinds of entries that are about a test or a test file; those about canaries are not logged."""
ASKS_FOR_TESTS = re.compile(r"PYTEST_|pytest|unittest")
RUN_BY_PYTEST = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION")
"""Variables that pytest sets."""
TEST_MODULE = re.compile(r"(_?pytest|unittest)(\.|$)")
LOOKING_UP = tuple(f"{name}', ctx=Load())" for name in ("get", "getenv"))


class TestLog:
    """Writes signed entries, so that the host can tell them from anything else written to the descriptor.

    An entry is one line: its signature, a space, and a JSON object with the key `kind`.
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
    # The key stays in the pipe until the processes are separate.
    [length] = struct.unpack(">Q", read_exactly(8))
    job = json.loads(read_exactly(length))
    # With -c the first entry is "", the current folder: code there could replace pytest or a standard module.
    sys.path[:] = [entry for entry in sys.path if entry]
    sys.dont_write_bytecode = True
    log_descriptor = os.dup(1)
    os.dup2(2, 1)
    set_limits(job["limits"])
    os.write(log_descriptor, job["ready"].encode())
    for name in ("project", "home", "tmp"):
        Path(job["folder"], name).mkdir(exist_ok=True)
    project = Path(job["folder"], "project")
    os.chdir(project)
    if "inside_copy" in job["modules"]:
        load_module("inside_copy", job).run(job, project, log_descriptor, install_filter)
    files = {**job["code"], **job["tests"]}
    problems = list(write_files(project, files))
    # The filter may refuse to watch files.
    watch = Watch(project, [path for path in job["code"] if path not in job["tests"]])
    install_filter(bytes.fromhex(job["filter"]))
    if not job["command"]:
        problems = problems or list(syntax_errors(files))
    if problems or job["command"]:
        log = open_log(log_descriptor)
        if problems:
            sys.exit(refuse(problems, job, log))
        run_command(job["command"])
    marks = load_module("marks", job)
    try:
        trial = Trial(job, project, marks)
    except (ValueError, RecursionError, MemoryError) as error:
        problem = FileProblem(
            next(iter(job["tests"])), 0, f"the tests cannot be read: {type(error).__name__}"
        )
        sys.exit(refuse([problem], job, open_log(log_descriptor)))
    if not trial.test_files:
        log = open_log(log_descriptor)
        log.add("no_test_file")
        log.add("end", exit_code=NO_TESTS_COLLECTED)
        sys.exit(NO_TESTS_COLLECTED)
    trial.run(log_descriptor, watch)


def read_exactly(size: int) -> bytes:
    """Read so many bytes from stdin, and not one more."""
    data = bytearray()
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            raise EOFError("stdin ended before the job")
        data += more
    return bytes(data)


def open_log(descriptor: int) -> TestLog:
    """Read the key of the test log."""
    log = TestLog(descriptor, read_exactly(KEY_BYTES))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return log


def load_module(name: str, job: dict[str, Any]) -> Any:
    """A module of the job's; it is not in `sys.modules`, where the code would find it."""
    module, brought = types.ModuleType(name), job["modules"][name]
    if job["python"] == sys.version:
        code = marshal.loads(bytes.fromhex(brought["code"]))
    else:
        code = compile(brought["text"], f"<{name}>", "exec")
    exec(code, vars(module))
    return module


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


def syntax_errors(files: dict[str, str]) -> Iterator[FileProblem]:
    """The Python files that cannot be compiled."""
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        try:
            compile(text.lstrip(BYTE_ORDER_MARK), path, "exec", dont_inherit=True)
        except SyntaxError as error:
            problem = f"{type(error).__name__}: {error.msg}"
            yield FileProblem(path, error.lineno or 0, problem, (error.text or "").strip())
        except (ValueError, RecursionError, MemoryError) as error:
            yield FileProblem(path, 0, f"{type(error).__name__}: {error}")


# --- What keeps the judged process out of the judge ----------------------------------------------------


def close_memory() -> bool:
    """Keep other processes of this user from reading this one's memory and descriptors.

    Returns:
        Whether it worked; sandlock refuses it, because it reads the memory of what it runs.
    """
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except AttributeError:  # Linux alone has it
        return False


def enter_own_domain() -> None:
    """Enter a Landlock domain inside the present one; from there the judge cannot be read or signalled.

    The domain forbids nothing else. Landlock denies renames between folders unless a rule allows them.
    """
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    attributes = struct.pack("QQQ", LANDLOCK_ACCESS_FS_REFER, 0, LANDLOCK_SCOPE_SIGNAL)
    rules = syscall(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", LANDLOCK_ACCESS_FS_REFER, root)
    if syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, rule, 0) == 0:
        syscall(LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(root)
    os.close(rules)


# --- The judge ----------------------------------------------------------------------------------------


class Watch:
    """Tells which files of the code any process has opened; it sees the processes that tests start, too."""

    def __init__(self, project: Path, paths: list[str]) -> None:
        self._paths: dict[int, str] = {}
        self.descriptor, self.works = -1, False
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            return
        self.descriptor = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        for path in paths:
            number = libc.inotify_add_watch(self.descriptor, os.fsencode(project / path), IN_OPEN)
            self._paths[number] = path
        self.works = self.descriptor >= 0 and -1 not in self._paths

    def opened(self) -> set[str]:
        """The files that were opened since the last call."""
        found = set()
        with suppress(BlockingIOError):
            while self.works:
                data, start = os.read(self.descriptor, 1 << 16), 0
                while start < len(data):
                    number, _, _, length = struct.unpack_from("iIII", data, start)
                    start += 16 + length
                    found.update([self._paths[number]] if number in self._paths else [])
        return found

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Trial:
    """The tests of a job, and the two processes that run and judge them."""

    def __init__(self, job: dict[str, Any], project: Path, marks: Any) -> None:
        self.job, self.project, self.marks = job, project, marks
        self.tests: dict[str, str] = job["tests"]
        self.files = {
            path: marks.mark(path, text) for path, text in self.tests.items() if path.endswith(".py")
        }
        self.test_files = [path for path in self.files if marks.is_test_file(path)]
        self.canaries: dict[str, int] = {}
        """The number of tests by file."""

    def run(self, log_descriptor: int, watch: Watch) -> None:
        """Run the tests in a child process, judge them here, and end with the child's exit code."""
        self.write_canaries()
        events, answers = os.pipe(), os.pipe()
        token = self.marks.new_token()
        signals = os.pipe()
        is_closed = close_memory()
        child = os.fork()
        if child == 0:
            if is_closed:
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
            elif sys.platform == "linux":
                enter_own_domain()
            for descriptor in (log_descriptor, events[0], answers[1], *signals, 0):
                os.close(descriptor)
            watch.close()
            os.read(answers[0], 1)  # the judge has taken the key now
            os.open(os.devnull, os.O_RDONLY)  # the lowest free descriptor, 0
            self.run_judged(events[1], answers[0], token)
        for descriptor in (events[1], answers[0]):
            os.close(descriptor)
        os.set_blocking(signals[1], False)
        signal.set_wakeup_fd(signals[1])
        signal.signal(signal.SIGCHLD, lambda *_: None)
        judge = Judge(self, watch, open_log(log_descriptor), answers[1])
        judge.log.add("defined", tests=sorted(self.defined()), canaries=sum(self.canaries.values()))
        judge.answer()
        exit_code = judge.follow(child, events[0], signals[0], token.encode() + b" ")
        os._exit(exit_code)

    def run_judged(self, events: int, answers: int, token: str) -> None:
        judged = load_module("judged", self.job)
        marked = {**self.files, **{path: self.files[path] for path in self.canaries}}
        job = judged.Job(
            self.project,
            self.job["code"],
            self.tests,
            self.job["packages"],
            marked,
            list(self.canaries),
            self.marks,
        )
        try:
            judged.run(job, judged.Channel(events, answers, token))
        except BrokenPipeError:
            pass  # the judge has been killed; the host sees that
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(INTERRUPTED)

    def defined(self) -> Iterator[str]:
        for path in self.test_files:
            if not any(self.files[other].selects for other in self.related(path)):
                yield from self.marks.defined_tests(path, self.tests[path])

    def write_canaries(self) -> None:
        """Put a file of false tests beside the tests in each folder."""
        words = {word for file in self.files.values() for word in self.marks.called_words(file.tree)}
        names = [test.rpartition("::")[2] for test in self.defined()]
        for folder in sorted({str(PurePosixPath(path).parent) for path in self.test_files}):
            beside = [path for path in self.test_files if str(PurePosixPath(path).parent) == folder]
            stem = PurePosixPath(self.marks.CHANCE.choice(beside)).stem
            path = str(
                PurePosixPath(folder, f"test_{stem.replace('test_', '')}_{self.marks.new_token(3)}.py")
            )
            made = self.marks.canaries(words, names)
            with suppress(OSError):
                Path(self.project, path).write_text(made.text, encoding="utf-8")
                self.files[path] = self.marks.mark(path, made.text)
                self.canaries[path] = made.number

    def related(self, path: str) -> set[str]:
        """A file of the tests with those that it imports, and the conftest.py files that apply to it."""
        found: set[str] = set()
        waiting = [path]
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.files:
                continue
            found.add(name)
            for other in self.files:
                stem = PurePosixPath(other).stem
                stem = PurePosixPath(other).parent.name if stem == "__init__" else stem
                is_above = stem == "conftest" and PurePosixPath(other).parent in PurePosixPath(name).parents
                if other not in found and (is_above or stem in self.files[name].mentions):
                    waiting.append(other)
        return found

    def mentioned(self, files: set[str]) -> set[str]:
        """The files of the code whose names files of the tests mention."""
        words = {word for file in files for word in self.files[file].mentions}
        return {path for path in self.job["code"] if names_of(path) & words}

    def is_use(self, path: str) -> bool:
        """Whether opening a file of the code means that a test uses it; pytest itself opens some."""
        is_package = PurePosixPath(path).name == "__init__.py"
        folder = PurePosixPath(path).parent
        is_opened_by_pytest = is_package and any(folder in PurePosixPath(test).parents for test in self.files)
        return not is_opened_by_pytest and not self.marks.is_test_file(path)


def names_of(path: str) -> set[str]:
    """The names by which a test may mention a file: of the file, or of its package."""
    pure = PurePosixPath(path)
    return {pure.parent.name if pure.stem in ("__init__", "__main__") else pure.stem}


class Judge:
    """Follows the judged process and writes the test log."""

    def __init__(self, trial: Trial, watch: Watch, log: TestLog, answers: int) -> None:
        self.trial, self.watch, self.log, self.answers = trial, watch, log, answers
        self.functions: dict[str, list[Any]] = {}
        self.assertions: set[str] = set()
        for file in trial.files.values():
            self.functions.update(file.functions)
            self.assertions |= file.assertions
        self.file = ""
        """The file of the tests that is being loaded or run."""
        self.ran: set[str] = set()
        """The tokens of the marks that the current test has reached."""
        self.outcomes: dict[str, str] = {}
        """The outcomes of the phases of the current test."""
        self.opened: set[str] = set()
        self.users: set[str] = set()
        """The files of the tests that have used the code."""
        self.exit_code: int | None = None
        self.foreign_bytes = 0

    def answer(self) -> None:
        """Let the judged process go on."""
        with suppress(OSError):
            os.write(self.answers, b".")

    def follow(self, child: int, events: int, signals: int, token: bytes) -> int:
        """Read what the child process sends until it ends, and return its exit code."""
        for problem in questions(self.trial.job["code"], self.trial.marks.is_test_file):
            self.log.add("interference", problem=problem)
        rest, status = b"", None
        while True:
            # A process that the tests leave behind may hold the pipe open, so the end of the child counts.
            ready = select.select([events, signals], [], [], None if status is None else 0)[0]
            if signals in ready:
                os.read(signals, 1 << 10)
            if status is None:
                ended, found = os.waitpid(child, os.WNOHANG)
                status = found if ended else None
            data = os.read(events, 1 << 16) if events in ready else b""
            if not data and (status is not None or events in ready):
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.read(line, token)
            if len(rest) > MAX_LINE_BYTES or self.foreign_bytes > MAX_FOREIGN_BYTES:
                os.kill(child, signal.SIGKILL)
                break
        if rest:
            self.log.add("foreign")
        if status is None:
            status = os.waitpid(child, 0)[1]
        exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        if self.exit_code is not None:
            self.log.add("end", exit_code=self.exit_code)
        return exit_code

    def read(self, line: bytes, token: bytes) -> None:
        """Read a line of the judged process."""
        if not line.startswith(token):
            self.foreign_bytes += len(line)
            if self.foreign_bytes == len(line):
                self.log.add("foreign")
            return
        entry = json.loads(line[len(token) :])
        if self.exit_code is None:
            self.see_opened_files()
            self.handle(entry.pop("kind"), entry)

    def see_opened_files(self) -> None:
        """Note who has used the code: what is opened now is opened by the current file of the tests."""
        opened = self.watch.opened()
        self.opened |= opened
        if any(self.trial.is_use(path) for path in opened):
            current = (
                [self.file]
                if self.file
                else [path for path in self.trial.files if path.endswith("conftest.py")]
            )
            self.users.update(*(self.trial.related(path) for path in current))

    def handle(self, kind: str, entry: dict[str, Any]) -> None:
        if kind in ANNOUNCED:
            self.file = entry["test"].partition("::")[0]
        if kind == "outcome":
            entry["excused"] = self.may_skip(entry["test"], is_empty=entry["is_empty"])
            if entry["outcome"] == "skipped" and not entry["excused"] and self.was_deferred(entry["test"]):
                self.log.add("failure", **not_run(entry["test"]))  # before version 8.4, pytest skips it
                entry["excused"] = True
        if kind == "ran":
            self.ran.add(entry["token"])
        elif kind == "end":
            self.exit_code = entry["exit_code"]
        elif self.file not in self.trial.canaries or kind not in OF_A_TEST:
            self.log.add(kind, **entry)
        if kind == "started":
            self.ran, self.outcomes = set(), {}
        elif kind == "outcome":
            self.outcomes[entry["when"]] = entry["outcome"]
        elif kind == "finished":
            self.finish(entry["test"])
        if kind in ANNOUNCED:
            self.answer()

    def may_skip(self, test: str, *, is_empty: bool) -> bool:
        """Whether the tests themselves may skip a test or expect it to fail.

        Args:
            test: Its id.
            is_empty: Whether it is said to be parametrized with nothing.
        """
        found = self.functions.get(test.partition("[")[0], [])
        related = [self.trial.files[path] for path in self.trial.related(self.file)]
        if not found or (is_empty and any(file.parametrized for file in related)):
            return is_empty or any(other.may_skip for other in self.trial.files.values())
        return any(function.may_skip for function in found) or any(file.may_skip for file in related)

    def finish(self, test: str) -> None:
        """Log whether a test that passed has judged the code."""
        if self.file in self.trial.canaries or self.outcomes != {"call": "passed"}:
            return
        found = self.functions.get(test.partition("[")[0], [])
        if self.was_deferred(test):
            self.log.add("failure", **not_run(test))
            found = []
        is_certain = bool(found) and all(function.is_plain for function in found)
        if is_certain and not any(self.is_proven(function) for function in found):
            self.log.add("unproven", test=test)
        asserted = bool(self.ran & self.assertions)
        self.log.add("judged", test=test, asserted=asserted, used=self.has_used_the_code())

    def was_deferred(self, test: str) -> bool:
        """Whether a test is async or a generator, and pytest called it without running it."""
        found = self.functions.get(test.partition("[")[0], [])
        return bool(found) and all(
            function.is_deferred and function.end not in self.ran for function in found
        )

    def is_proven(self, function: Any) -> bool:
        """Whether the current test ran through this function, with its assertions."""
        return function.end in self.ran and function.required <= self.ran

    def has_used_the_code(self) -> bool:
        if not self.watch.works:
            return True
        related = self.trial.related(self.file)
        return bool(related & self.users or self.trial.mentioned(related) & self.opened)


def not_run(test: str) -> dict[str, Any]:
    """The failure of an async test, or of a generator, that pytest or unittest calls without running it."""
    problem = "nothing runs this async test or generator; use asyncio.run, and no yield"
    place = test.partition("::")[0]
    return {
        "test": test,
        "when": "call",
        "place": place,
        "problem": problem,
        "text": problem,
        "by_tests": True,
    }


def questions(code: dict[str, str], is_test_file: Any) -> Iterator[str]:
    """What the code asks to find out that it is being tested."""
    for path, text in code.items():
        if path.endswith(".py") and not is_test_file(path) and ASKS_FOR_TESTS.search(text):
            tree = ast.parse(text.lstrip(BYTE_ORDER_MARK))
            modules = set(ways_to_write_modules(tree))
            for node in ast.walk(tree):
                asked = asks_for_tests(node, modules)
                if asked:
                    line = getattr(node, "lineno", 0)
                    yield f"{path}:{line} asks whether it is being tested ({asked})"


def ways_to_write_modules(tree: ast.AST) -> Iterator[str]:
    """The expressions by which a file may mean `sys.modules`."""
    yield from ("sys.modules", "__import__('sys').modules", "importlib.import_module('sys').modules")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                f"{alias.asname or alias.name}.modules" for alias in node.names if alias.name == "sys"
            )
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            yield from (alias.asname or alias.name for alias in node.names if alias.name == "modules")
        elif isinstance(node, ast.Assign) and ast.unparse(node.value) == "sys.modules":
            yield from (ast.unparse(target) for target in node.targets)


def asks_for_tests(node: Any, modules: set[str]) -> str:
    """What an expression looks up to find out that it is being tested; empty for others.

    Args:
        node: The expression.
        modules: What `sys.modules` is called.
    """
    looked_up: list[Any] = []
    if isinstance(getattr(node, "ctx", None), ast.Store):
        return ""
    if isinstance(node, (ast.Compare, ast.Subscript, ast.GeneratorExp, ast.ListComp)):
        looked_up = [node]
    elif isinstance(node, ast.Call) and ast.dump(node.func).endswith(LOOKING_UP):
        looked_up = [node.func, *node.args[:1]]
    inner = [child for part in looked_up for child in ast.walk(part)]
    texts = [child.value for child in inner if isinstance(child, ast.Constant)]
    names = {ast.unparse(child) for child in inner if isinstance(child, (ast.Attribute, ast.Name))}
    for text in texts:
        if isinstance(text, str) and (text in RUN_BY_PYTEST or (names & modules and TEST_MODULE.match(text))):
            return text
    return ""


main()
