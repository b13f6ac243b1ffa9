"""Attacks on the sandboxes: what generated code could try, and what stops it. docs/sandbox.md has the table.

The attacks are tests that run in a sandbox; an attack passes if it was refused. Then the host is inspected.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from swarm_graph.sandbox.choice import problems
from swarm_graph.sandbox.runner import run_tests
from swarm_graph.settings import Execution
from swarm_graph.state import Evidence

HERE = Path(__file__).resolve().parent
NOBODY = 65534
IS_ROOT = os.geteuid() == 0
SECRET = f"secret-{secrets.token_hex(8)}"
VARIABLE = "SWARM_TEST_SECRET"
LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION, LEAST_LANDLOCK = 444, 1, 6
ADD_KEY, KEYCTL = {"x86_64": (248, 250), "aarch64": (217, 219)}[os.uname().machine]
UNLINK, SESSION_KEYRING = 9, -3
LIBC = ctypes.CDLL(None, use_errno=True)


# --- Where it runs ----------------------------------------------------------------------------------------


@dataclass
class Ordinary:
    """A process of an ordinary user that runs projects for these tests, which run as root."""

    process: subprocess.Popen[str] | None = None

    def run(self, job: Mapping[str, Any]) -> Evidence:
        process = self.process if self.process and self.process.poll() is None else self.start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "run_tests raised; its traceback is on stderr"
        return cast("Evidence", json.loads(answer))

    def start(self) -> subprocess.Popen[str]:
        self.stop()
        command = ["unshare", "--mount", sys.executable, str(HERE / "as_user.py")]
        home = {"HOME": "/tmp", VARIABLE: SECRET}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **home}, cwd="/"
        )
        return self.process

    def stop(self) -> None:
        if self.process:
            self.process.communicate()


@dataclass(frozen=True)
class Place:
    """A sandbox, run by root or by an ordinary user."""

    sandbox: str
    ordinary: Ordinary | None

    def run(self, code: Mapping[str, str], tests: Mapping[str, str], **limits: float) -> Evidence:
        settings = {"sandbox": self.sandbox, "limits": limits}
        if self.ordinary:
            return self.ordinary.run({"code": dict(code), "tests": dict(tests), "settings": settings})
        return run_tests(code, tests, Execution.model_validate(settings))


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Ordinary]:
    user = Ordinary()
    yield user
    user.stop()


@pytest.fixture
def place(request: pytest.FixtureRequest, ordinary: Ordinary) -> Place:
    sandbox, _, who = request.param.partition("-")
    if who == "root" and not IS_ROOT:
        pytest.skip("these tests are not run by root")
    need(sandbox)
    return Place(sandbox, ordinary if who == "user" and IS_ROOT else None)


def need(sandbox: str) -> None:
    """Skip if a sandbox does not work here; in CI that is a failure, unless the kernel is too old."""
    problem = problem_of(sandbox)
    if not problem:
        return
    if sandbox == "landlock" and landlock() < LEAST_LANDLOCK:
        pytest.skip(f"this kernel has Landlock {landlock()}, sandlock needs {LEAST_LANDLOCK}")
    if os.environ.get("CI"):
        pytest.fail(f"{sandbox}: {problem}")
    pytest.skip(f"{sandbox}: {problem}")


@cache
def problem_of(sandbox: str) -> str:
    [(_, problem)] = problems(Execution.model_validate({"sandbox": sandbox}))
    return problem


def landlock() -> int:
    """The kernel's version of Landlock; -1 if it has none."""
    return int(LIBC.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION))


ALL = [f"{sandbox}-{who}" for sandbox in ("bubblewrap", "landlock") for who in ("root", "user")]


def at(*names: str) -> pytest.MarkDecorator:
    """The places with names that start like one of these."""
    return pytest.mark.parametrize("place", [name for name in ALL if name.startswith(names)], indirect=True)


everywhere = at("bubblewrap", "landlock")
cheapest = at("bubblewrap-user")
"""For behaviour that does not depend on the sandbox."""


# --- What lies outside ------------------------------------------------------------------------------------


@dataclass
class Outside:
    """The host outside the sandbox: files, servers and processes that the code must not reach."""

    folder: Path
    home: Path
    servers: dict[str, socket.socket]
    victims: list[subprocess.Popen[bytes]]
    shared_memory: int
    key: int
    before: Any = field(default=None)

    def host(self, **more: Any) -> str:
        """What the attacks may know about the host, as Python source."""
        ports = {name: self.servers[name].getsockname()[1] for name in ("tcp", "udp")}
        readable = [self.folder / "private", self.folder / "public", self.home / "private"]
        readable += [Path("/etc/passwd"), Path("/etc/shadow"), HERE / "test_sandbox.py"]
        known = {
            "files": [str(path) for path in readable if os.access(path, os.R_OK)],
            "folders": [str(self.folder), str(self.home), str(HERE), "/home", "/var"],
            "folder": str(self.folder),
            "abstract": str(self.folder),
            "unix": str(self.folder / "unix"),
            "victims": [victim.pid for victim in self.victims],
            "pid": os.getpid(),
            "secret": SECRET,
            "shared_memory": self.shared_memory,
            "key": self.key,
            "tcp address": ("127.0.0.1", ports["tcp"]),
            **ports,
            **more,
        }
        return f"HOST = {known!r}\n"

    def heard(self) -> set[str]:
        """The servers that were reached."""
        return {name for name, server in self.servers.items() if was_reached(server)}

    def files(self) -> dict[str, Any]:
        found = {}
        for path in sorted(self.folder.rglob("*")):
            seen = path.lstat()
            text = path.read_bytes() if path.is_file() else b""
            extra = os.listxattr(path, follow_symlinks=False)
            found[path.name] = (stat.filemode(seen.st_mode), seen.st_uid, seen.st_mtime, extra, text)
        return found

    def is_untouched(self) -> None:
        """Check that no server was reached, no file changed and no process died."""
        assert self.heard() == set()
        assert self.files() == self.before
        assert [victim.poll() for victim in self.victims] == [None] * len(self.victims)
        assert not [path for path in evil() if path.exists()]


def evil() -> list[Path]:
    """The files that the attacks would leave behind."""
    folders = ["/", "/etc", "/usr", "/dev", "/dev/shm", "/tmp", sys.prefix, str(Path(os.__file__).parent)]
    return [Path(folder, name) for folder in folders for name in ("evil.py", "evil.pth")]


def was_reached(server: socket.socket) -> bool:
    try:
        if server.type == socket.SOCK_DGRAM:
            return bool(server.recv(100))
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def outside() -> Iterator[Outside]:
    folder = Path(tempfile.mkdtemp(prefix="outside-", dir="/var/tmp"))
    home = Path(tempfile.mkdtemp(prefix=".outside-", dir=home_if_any()))
    folder.chmod(0o777)
    (folder / "folder").mkdir()
    for name, mode in (("private", 0o600), ("public", 0o644), ("writable", 0o666), ("owned", 0o600)):
        (folder / name).write_text(SECRET)
        (folder / name).chmod(mode)
    (home / "private").write_text(SECRET)
    if IS_ROOT:
        os.chown(folder / "owned", NOBODY, NOBODY)
    users = [os.geteuid(), *([NOBODY] if IS_ROOT else [])]
    victims = [sleeper(user) for user in users]
    memory = LIBC.shmget(0, 4096, 0o1666)
    made = Outside(folder, home, servers(folder), victims, memory, host_key())
    made.before = made.files()
    yield made
    for server in made.servers.values():
        server.close()
    for victim in victims:
        victim.kill()
        victim.wait()
    LIBC.shmctl(memory, 0, None)
    LIBC.syscall(KEYCTL, UNLINK, made.key, SESSION_KEYRING)
    shutil.rmtree(folder)
    shutil.rmtree(home)


def home_if_any() -> Path | None:
    """The home folder, if it exists and is writable."""
    with suppress(RuntimeError):
        if os.access(Path.home(), os.W_OK):
            return Path.home()
    return None


def sleeper(user: int) -> subprocess.Popen[bytes]:
    """A process of a user of the host with a secret in its environment and its arguments."""
    program = ["sh", "-c", "while sleep 1000; do :; done", SECRET]
    other: dict[str, Any] = {"user": user, "group": user, "extra_groups": []}
    environment = {"PATH": os.defpath, VARIABLE: SECRET}
    return subprocess.Popen(program, env=environment, cwd="/", **(other if user != os.geteuid() else {}))


def servers(folder: Path) -> dict[str, socket.socket]:
    """Non-blocking servers: TCP and UDP on loopback, Unix sockets with a file and abstract."""
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    made = {"tcp": tcp, "udp": udp}
    for name, address in (("abstract", f"\0{folder}"), ("unix", str(folder / "unix"))):
        made[name] = socket.socket(socket.AF_UNIX)
        made[name].bind(address)
        made[name].listen()
    (folder / "unix").chmod(0o777)
    for server in made.values():
        server.setblocking(False)
    return made


def host_key() -> int:
    """A key in the kernel's keyring of this session."""
    return int(LIBC.syscall(ADD_KEY, b"user", b"swarm-test", SECRET.encode(), len(SECRET), SESSION_KEYRING))


# --- What is refused --------------------------------------------------------------------------------------

REACH = """
import os, pathlib, socket
import pytest

@pytest.mark.parametrize("path", HOST["files"])
def test_read(path):
    with pytest.raises(OSError):
        open(path, "rb").read(1)

@pytest.mark.parametrize("path", HOST["files"])
def test_read_through_a_link(path):
    os.symlink(path, "link-" + path.replace("/", "-"))
    with pytest.raises(OSError):
        open("link-" + path.replace("/", "-"), "rb").read(1)

@pytest.mark.parametrize("path", HOST["files"])
def test_read_through_the_parents(path):
    with pytest.raises(OSError):
        open("../" * 40 + path, "rb").read(1)

@pytest.mark.parametrize("path", HOST["files"])
def test_read_through_proc(path):
    with pytest.raises(OSError):
        open("/proc/self/root" + path, "rb").read(1)

def test_list():
    with pytest.raises(OSError):
        os.listdir(HOST["folder"])

def test_write():
    with pytest.raises(OSError):
        open(HOST["folder"] + "/writable", "a")

def test_link():
    with pytest.raises(OSError):
        os.link(HOST["folder"] + "/writable", HOST["folder"] + "/linked")

def test_make_a_folder():
    with pytest.raises(OSError):
        os.mkdir(HOST["folder"] + "/made")

def test_tcp():
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", HOST["tcp"]))

def test_abstract_unix_socket():
    with pytest.raises(OSError):
        socket.socket(socket.AF_UNIX).connect("\\0" + HOST["abstract"])

def test_unix_socket_with_a_file():
    with pytest.raises(OSError):
        socket.socket(socket.AF_UNIX).connect(HOST["unix"])

def test_signal():
    with pytest.raises(OSError):
        os.kill(HOST["pid"], 0)

def test_own_environment():
    assert HOST["secret"] not in str(dict(os.environ))

def seen(name):
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield pathlib.Path("/proc", process, name).read_bytes().decode(errors="replace")
        except OSError:
            pass

@pytest.mark.parametrize("name", ["environ", "cmdline"])
def test_other_processes(name):
    assert HOST["secret"] not in "".join(seen(name))
"""

POWERS = """
import ctypes, os, resource, signal, socket, subprocess, sys, sysconfig, time
from contextlib import suppress
import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_ssize_t
OUT, VICTIMS = HOST["folder"], HOST["victims"]

def refused(answer):
    assert answer == -1, "it was allowed"

def written(path):
    with open(path, "wb", buffering=0) as file:
        file.write(b"1")

WRITES = {
    "into a file": lambda: open(OUT + "/owned", "ab"),
    "through a link": lambda: (os.symlink(OUT + "/writable", "way"), open("way", "a")),
    "through the parents": lambda: open("../" * 40 + OUT + "/writable", "a"),
    "through proc": lambda: open("/proc/self/root" + OUT + "/writable", "a"),
    "through a process": lambda: open("/proc/%d/root%s/writable" % (VICTIMS[0], OUT), "a"),
    "truncate": lambda: os.truncate(OUT + "/writable", 0),
    "unlink": lambda: os.unlink(OUT + "/writable"),
    "rename": lambda: os.rename(OUT + "/writable", OUT + "/renamed"),
    "move in": lambda: os.rename(OUT + "/writable", "stolen"),
    "link in": lambda: os.link(OUT + "/writable", "linked"),
    "move out": lambda: (open("mine", "w").close(), os.rename("mine", OUT + "/mine")),
    "rmdir": lambda: os.rmdir(OUT + "/folder"),
    "symlink": lambda: os.symlink("x", OUT + "/symlink"),
    "fifo": lambda: os.mkfifo(OUT + "/fifo"),
    "device": lambda: os.mknod("disk", 0o60600, os.makedev(8, 0)),
    "site-packages": lambda: written(sysconfig.get_path("purelib") + "/evil.pth"),
    "prefix": lambda: written(sys.prefix + "/evil.py"),
    "standard library": lambda: written(os.path.dirname(os.__file__) + "/evil.py"),
    "interpreter": lambda: open(os.path.realpath(sys.executable), "ab"),
    "a module": lambda: open(os.__file__, "ab"),
    "/": lambda: written("/evil.py"),
    "/etc": lambda: written("/etc/evil.py"),
    "/usr": lambda: written("/usr/evil.py"),
    "/dev": lambda: written("/dev/evil.py"),
    "sysrq": lambda: written("/proc/sysrq-trigger"),
    "core pattern": lambda: written("/proc/sys/kernel/core_pattern"),
    "a process's memory": lambda: open("/proc/%d/mem" % VICTIMS[-1], "r+b"),
    "a process's score": lambda: written("/proc/%d/oom_score_adj" % VICTIMS[-1]),
    "a disk": lambda: open("/dev/sda", "rb"),
    "the memory": lambda: open("/dev/mem", "rb"),
    "the kernel's memory": lambda: open("/proc/kcore", "rb"),
    "the kernel's log": lambda: open("/dev/kmsg", "rb"),
}

@pytest.mark.parametrize("name", WRITES)
def test_write(name):
    with pytest.raises(OSError):
        WRITES[name]()

def tcp(address):
    socket.create_connection(address, timeout=30)

def stream(kind, protocol=0):
    return socket.socket(socket.AF_INET, kind, protocol)

NETWORK = {
    "outside": lambda: tcp(("192.0.2.1", 80)),
    "outside, version 6": lambda: tcp(("2001:db8::1", 80)),
    "name": lambda: socket.getaddrinfo("example.org", 80),
    "loopback, version 6": lambda: tcp(("::1", HOST["tcp"])),
    "any address": lambda: tcp(("0.0.0.0", HOST["tcp"])),
    "datagram outside": lambda: stream(socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    "raw": lambda: stream(socket.SOCK_RAW, 1),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
}

@pytest.mark.parametrize("name", NETWORK)
def test_network(name):
    with pytest.raises(OSError) as refusal:
        NETWORK[name]()
    assert not isinstance(refusal.value, TimeoutError)

def test_datagram():
    with suppress(OSError):
        stream(socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", HOST["udp"]))

@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("number", [0, signal.SIGKILL])
def test_signal(victim, number):
    with pytest.raises(OSError):
        os.kill(victim, number)

class Piece(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t)]

@pytest.mark.parametrize("victim", VICTIMS)
def test_ptrace(victim):
    refused(LIBC.ptrace(16, victim, None, None))

@pytest.mark.parametrize("victim", VICTIMS)
def test_read_memory(victim):
    here = ctypes.create_string_buffer(8)
    piece = Piece(ctypes.addressof(here), 8)
    refused(LIBC.process_vm_readv(victim, ctypes.byref(piece), 1, ctypes.byref(piece), 1, 0))

NAMESPACES = {"user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "process": 0x20000000}

@pytest.mark.parametrize("kind", NAMESPACES)
def test_namespace(kind):
    refused(LIBC.unshare(NAMESPACES[kind]))

def test_namespace_of_a_new_process():
    with pytest.raises((OSError, subprocess.SubprocessError)):
        subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=True, capture_output=True)

MOUNTS = {
    "disk": (b"none", b".", b"tmpfs", 0, b"size=10g"),
    "folder": (b"/", b".", b"", 4096, b""),
    "again, writable": (b"none", b"/", b"", 32 | 4096, b""),
}

@pytest.mark.parametrize("kind", MOUNTS)
def test_mount(kind):
    refused(LIBC.mount(*MOUNTS[kind]))

@pytest.mark.parametrize("folder", ["/", "/proc", "/tmp", "/dev", "/usr"])
def test_unmount(folder):
    refused(LIBC.umount2(folder.encode(), 2))

def test_chroot():
    with pytest.raises(OSError):
        os.chroot(".")

LIMITS = ["DATA", "FSIZE", "CORE", "NOFILE", "CPU"] + (["NPROC"] if HOST["sandbox"] == "bubblewrap" else [])

@pytest.mark.parametrize("name", LIMITS)
def test_raise_a_limit(name):
    kind = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(kind)[1]
    assert hard != resource.RLIM_INFINITY
    with pytest.raises((OSError, ValueError)):
        resource.setrlimit(kind, (hard + 1, hard + 1))

def test_become_root():
    status = open("/proc/self/status").read()
    for name in ("Inh", "Prm", "Eff", "Amb", *(["Bnd"] if HOST["bounding set is empty"] else [])):
        assert "Cap%s:\t0000000000000000" % name in status
    assert "NoNewPrivs:\t1" in status

def test_another_user():
    others = [user for user in (0, 1, 1000) if user != os.getuid()]
    for user in others:
        with pytest.raises(OSError):
            os.setuid(user)

def test_shared_memory():
    refused(LIBC.shmat(HOST["shared_memory"], None, 0o10000))

def test_score():
    with pytest.raises(OSError):
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(b"-1000")

def test_clock():
    with pytest.raises(OSError):
        time.clock_settime(time.CLOCK_REALTIME, 0)

def test_name_of_the_host():
    with pytest.raises(OSError):
        socket.sethostname("evil")

def test_terminal():
    with pytest.raises(OSError):
        open("/dev/tty")

def test_fill_shared_memory():
    with pytest.raises(OSError):
        with open("/dev/shm/filling", "wb") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
"""


CALLS = """
import ctypes, os, resource, socket
from contextlib import suppress
import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
CONNECT = {
    "multipath": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(HOST["tcp address"]),
    "fast open": lambda: socket.socket().sendto(b"x", 0x20000000, HOST["tcp address"]),
    "fast open, sendmsg": lambda: socket.socket().sendmsg([b"x"], [], 0x20000000, HOST["tcp address"]),
}
INTERFERE = {
    "limit": lambda victim: resource.prlimit(victim, resource.RLIMIT_NOFILE, (9, 9)),
    "priority": lambda victim: os.setpriority(os.PRIO_PROCESS, victim, 19),
    "processor": lambda victim: os.sched_setaffinity(victim, [0]),
}
CHANGE = {
    "mode": lambda path: os.chmod(path, 0o777),
    "time": lambda path: os.utime(path, (1, 1)),
    "attribute": lambda path: os.setxattr(path, "user.evil", b"evil"),
}

def test_key():
    assert LIBC.syscall(KEYCTL, 10, -3, b"user", b"swarm-test", 0) == -1
    assert LIBC.syscall(KEYCTL, 11, HOST["key"], None, 0) == -1

KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]

@pytest.mark.parametrize("name", CONNECT)
def test_connect(name):
    with pytest.raises(OSError):
        CONNECT[name]()

@pytest.mark.parametrize("name", INTERFERE)
@pytest.mark.parametrize("victim", HOST["victims"])
def test_interfere(name, victim):
    with pytest.raises(OSError):
        INTERFERE[name](victim)

@pytest.mark.parametrize("name", CHANGE)
@pytest.mark.parametrize("path", ["owned", "private"])
def test_change(name, path):
    with suppress(OSError):
        CHANGE[name](HOST["folder"] + "/" + path)
"""
"""Calls that namespaces and Landlock leave open; only the filter of system calls refuses them."""


def all_refused(shown: Evidence) -> None:
    assert [f"{failure['test']}: {failure['problem']}" for failure in shown["failures"]] == []
    assert (shown["outcome"], shown["reason"], shown["skipped"]) == ("passed", "", 0)


@everywhere
def test_nothing_outside_is_reached(place: Place, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    # An ordinary user cannot empty this set without a user namespace; `NoNewPrivs` makes it useless.
    has_empty_set = IS_ROOT or place.sandbox == "bubblewrap"
    host = outside.host(sandbox=place.sandbox, **{"bounding set is empty": has_empty_set})
    attacks = {"reach": REACH, "powers": POWERS, "calls": CALLS}
    all_refused(place.run({}, {f"test_{name}.py": host + text for name, text in attacks.items()}))
    outside.is_untouched()


def test_without_a_sandbox_all_of_it_is_reached(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks above are real: each one works without a sandbox."""
    monkeypatch.setenv(VARIABLE, SECRET)
    settings = {"sandbox": "docker", "unsafe": True}
    shown = run_tests({}, {"test_reach.py": outside.host() + REACH}, Execution.model_validate(settings))
    own = {"test_own_environment"}
    assert shown["passed"] == len(own), shown
    assert shown["failed"] > 15
    assert outside.heard() == {"tcp", "abstract", "unix"}


# --- Limits -----------------------------------------------------------------------------------------------


def attack(text: str) -> dict[str, str]:
    """A test that passes unless something stops it."""
    lines = "".join(f"    {line}\n" for line in text.strip().splitlines())
    return {"test_attack.py": f"import os, sys, time\nimport pytest\n\ndef test_attack():\n{lines}"}


@everywhere
def test_4_gigabytes_in_one_process(place: Place) -> None:
    shown = place.run({}, attack("bytearray(4 << 30)"))
    assert is_killed(shown)


MEMORY = {
    "many processes": """
for _ in range(16):
    if os.fork() == 0:
        try:
            kept = b"x" * (40 << 20)
            time.sleep(100)
        finally:
            os._exit(1)
for _ in range(16):
    assert os.wait()[1] == 0
""",
    "a shared mapping": """
import mmap
kept = mmap.mmap(-1, 1 << 30)
for place in range(0, 1 << 30, 4096):
    kept[place] = 1
time.sleep(100)
""",
}


@everywhere
@pytest.mark.parametrize("way", MEMORY)
def test_memory_over_all(place: Place, way: str) -> None:
    shown = place.run({}, attack(MEMORY[way]), memory_mb=128, seconds=30)
    reason = "it used more than 128 MiB of memory, in test_attack.py::test_attack"
    assert (shown["outcome"], shown["reason"]) == ("stopped", reason) or is_killed(shown), shown


def is_killed(shown: Evidence) -> bool:
    """Whether the process was killed (sandlock does that) or ran out of memory."""
    said = shown["reason"] + "".join(failure["problem"] for failure in shown["failures"])
    return shown["outcome"] == "failed" and (
        "signal 9" in said or "MemoryError" in said or "assert 9 == 0" in said
    )


MEMORY_FILES = """
kept = []
for _ in range(12):
    kept.append(os.memfd_create("kept"))
    for _ in range(40):
        os.write(kept[-1], bytes(1 << 20))
time.sleep(1)
"""


@at("bubblewrap-user", "landlock-user")
def test_memory_in_files_without_a_name(place: Place) -> None:
    shown = place.run({}, attack(MEMORY_FILES), memory_mb=128, disk_mb=64)
    assert shown["outcome"] != "passed"


TEN_GIGABYTES = """
with pytest.raises(OSError):
    with open("big", "wb") as file:
        for _ in range(10 << 10):
            file.write(bytes(1 << 20))
"""
MANY_BIG_FILES = """
for number in range(10 << 10):
    with open(f"big{number}", "wb") as file:
        for _ in range(7):
            file.write(bytes(1 << 20))
"""
HIDDEN_FILES = {
    "deleted": """
kept = []
for number in range(10):
    kept.append(open("big", "wb", buffering=0))
    os.unlink("big")
    for _ in range(7):
        kept[-1].write(bytes(1 << 20))
time.sleep(1)
""",
    "deep": """
for _ in range(25):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
for number in range(10):
    with open(f"big{number}", "wb") as file:
        file.write(bytes(7 << 20))
time.sleep(1)
""",
}


@everywhere
def test_one_file_of_10_gigabytes(place: Place) -> None:
    shown = place.run({}, attack(TEN_GIGABYTES), disk_mb=8)
    assert shown["outcome"] == "passed" or shown["reason"].startswith("it wrote more than 8 MiB of files")


@everywhere
def test_many_big_files(place: Place) -> None:
    full(place, place.run({}, attack(MANY_BIG_FILES), disk_mb=8, seconds=30))


@at("bubblewrap-user", "landlock-user")
@pytest.mark.parametrize("way", HIDDEN_FILES)
def test_files_that_are_hard_to_see(place: Place, way: str) -> None:
    full(place, place.run({}, attack(HIDDEN_FILES[way]), disk_mb=8))


def full(place: Place, shown: Evidence) -> None:
    """Check that the disk was full (bubblewrap has its own) or the folder was found too big (Landlock)."""
    if place.sandbox == "bubblewrap":
        assert shown["failures"][0]["problem"] == "OSError: [Errno 28] No space left on device"
    else:
        assert shown["reason"].startswith("it wrote more than 8 MiB of files")


MANY_FILES = """
number = 0
while True:
    number += 1
    open(f"small{number}", "w").close()
    if number > 1000:
        time.sleep(0.01)
"""


@everywhere
def test_many_small_files(place: Place) -> None:
    shown = place.run({}, attack(MANY_FILES), files=500, seconds=30)
    assert shown["reason"].startswith("it made more than 500 files")


FLOODS = {
    "print": 'while True: sys.__stdout__.write("x" * 10000)',
    "stderr": 'while True: os.write(2, b"x" * 10000)',
    "every descriptor": """
while True:
    for number in range(3, 40):
        try:
            os.write(number, b"x" * 4000)
        except OSError:
            pass
""",
}


@everywhere
@pytest.mark.parametrize("way", FLOODS)
def test_floods(place: Place, way: str) -> None:
    shown = place.run({}, attack(FLOODS[way]), output_mb=1, disk_mb=8, seconds=30)
    assert shown["outcome"] != "passed"
    assert shown["outcome"] != "timed_out"


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(1000)", "MARK"])
    os._exit(0)
os.wait()
"""
BOMB = """
import subprocess
bomb = "import os, time\\nwhile True:\\n    try: os.fork()\\n    except OSError: time.sleep(0.01)\\n"
subprocess.Popen([sys.executable, "-S", "-c", bomb, "MARK"])
time.sleep(1000)
"""


def ends(mark: str) -> bool:
    """Whether all processes with the mark among their arguments end within 5 s; kills the others."""
    found = [process for process in psutil.process_iter() if mark in arguments(process)]
    alive = psutil.wait_procs(found, timeout=5)[1]
    for process in alive:
        process.kill()
    return not alive


def arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.mark.slow
@at("bubblewrap-root", "landlock-user")
def test_an_endless_loop(place: Place) -> None:
    has_run_out_of_time(place.run({}, attack("while True: pass"), seconds=3))


@at("bubblewrap-root", "landlock-user")
def test_a_daemon_does_not_outlive_a_run_that_is_stopped(place: Place) -> None:
    mark = secrets.token_hex(8)
    shown = place.run({}, attack(DAEMON.replace("MARK", mark) + MANY_FILES), files=500, seconds=30)
    assert shown["outcome"] == "stopped"
    assert ends(mark)


def has_run_out_of_time(shown: Evidence) -> None:
    reason = "it was still running after 3 s, in test_attack.py::test_attack"
    assert (shown["outcome"], shown["exit_code"], shown["reason"]) == ("timed_out", None, reason)


@everywhere
def test_a_daemon_does_not_outlive_the_run(place: Place) -> None:
    mark = secrets.token_hex(8)
    shown = place.run({}, attack(DAEMON.replace("MARK", mark)), seconds=30)
    assert shown["outcome"] == "passed"
    assert ends(mark)


@pytest.mark.slow
@everywhere
def test_a_fork_bomb(place: Place) -> None:
    mark = secrets.token_hex(8)
    shown = place.run({}, attack(BOMB.replace("MARK", mark)), seconds=3, processes=24)
    assert shown["outcome"] in ("timed_out", "stopped", "failed"), shown
    assert ends(mark)


# --- Names ------------------------------------------------------------------------------------------------

NAMES = ["../../evil.py", "/etc/evil.py", "/tmp/evil.py"]


@everywhere
def test_names_of_files_that_lead_outside(place: Place) -> None:
    for name in NAMES:
        place.run({name: "evil = True\n"}, PASSES)
        assert not [path for path in evil() if path.exists()], name


PASSES = {"test_fine.py": "def test_fine():\n    pass\n"}


@at("landlock")
def test_links_in_the_folder_of_a_run_do_not_lead_its_removal_outside(place: Place, outside: Outside) -> None:
    text = f"os.symlink({str(outside.folder)!r}, 'way')\nos.symlink({str(outside.folder)!r}, '../way')"
    assert place.run({}, attack(text))["outcome"] == "passed"
    outside.is_untouched()


LEFT_BEHIND = {
    "locked": 'os.mkdir("d", 0o300)\nopen("d/file", "w").close()',
    "deep": """
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
""",
}


@at("landlock")
@pytest.mark.parametrize("way", LEFT_BEHIND)
def test_no_folder_is_left_behind(place: Place, way: str) -> None:
    mark = secrets.token_hex(8)
    shown = place.run({mark: ""}, attack(LEFT_BEHIND[way]))
    assert shown["outcome"] == ("passed" if way == "locked" else "stopped"), shown
    assert not list(Path(tempfile.gettempdir()).glob(f"swarm-run-*/project/{mark}"))


# --- What honest tests cannot do --------------------------------------------------------------------------

HONEST = """
import multiprocessing, socket, threading

def test_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()

def test_queue():
    queue = multiprocessing.Queue()
    queue.put(1)
    assert queue.get() == 1
"""


@at("bubblewrap-user", "landlock-user")
def test_servers_and_processes_of_the_tests_own(place: Place) -> None:
    """Landlock allows no listening on ports, and no shared memory for multiprocessing."""
    shown = place.run({}, {"test_honest.py": HONEST})
    assert (shown["passed"], shown["failed"]) == ((2, 0) if place.sandbox == "bubblewrap" else (0, 2))


COPY = """
import shutil

def test_copy(tmp_path):
    (tmp_path / "a").write_text("a")
    shutil.copy(tmp_path / "a", tmp_path / "b")
"""


@at("bubblewrap-user", "landlock-user")
def test_files_can_be_copied(place: Place) -> None:
    assert place.run({}, {"test_copy.py": COPY})["outcome"] == "passed"
