"""Memory that no process maps counts, foreign files keep their attributes, right code is not disturbed."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_sandbox import (  # noqa: F401 - fixtures
    Outside,
    Place,
    at,
    attack,
    everywhere,
    is_killed,
    ordinary,
    outside,
    place,
)

from swarm_graph.sandbox.process import _Watch
from swarm_graph.sandbox.protocol import Limits
from swarm_graph.sandbox.seccomp import ABSENT, ALWAYS, ON_THE_HOST
from swarm_graph.state import Evidence

SANDBOX_PAGE = Path(__file__).resolve().parents[1] / "docs" / "sandbox.md"
FS_IOC_GETFLAGS = 0x80086601

# --- Memory that no process maps --------------------------------------------------------------------------

MAP = """
import ctypes, fcntl, mmap, socket
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = LIBC.shmat.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
LIBC.munmap.argtypes = LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.shmdt.argtypes = [ctypes.c_void_p]
SIZE, FAILED = 16 << 20, 2**64 - 1

def shared(descriptor=-1, more=0, size=SIZE, access=3):
    found = LIBC.mmap(None, size, access, (0x01 if descriptor >= 0 else 0x21) | more, descriptor, 0)
    assert found != FAILED, ctypes.get_errno()
    return found

def fill(sender):
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(1 << 16))
    except BlockingIOError:
        pass
"""
WAIT = "\ntime.sleep(2)"
UNMAPPED = {
    "System V": """
for _ in range(40):
    segment = LIBC.shmget(0, SIZE, 0o1600)
    assert segment != -1, ctypes.get_errno()
    address = LIBC.shmat(segment, None, 0)
    ctypes.memset(address, 1, SIZE)
    LIBC.shmdt(address)
""",
    "message queues": """
for _ in range(20000):
    queue = LIBC.msgget(0, 0o1600)
    assert queue != -1, ctypes.get_errno()
    assert LIBC.msgsnd(queue, b"1" * 8200, 8192, 0) == 0
    assert LIBC.msgsnd(queue, b"1" * 8200, 8184, 0) == 0
""",
    "semaphores": """
for _ in range(4000):
    assert LIBC.semget(0, 32000, 0o1600) != -1, ctypes.get_errno()
""",
    "unmapped but for a page": """
for _ in range(40):
    address = shared()
    ctypes.memset(address, 1, SIZE)
    assert LIBC.munmap(address + 4096, SIZE - 4096, 0) == 0
""",
    "dropped by madvise": """
for _ in range(40):
    address = shared()
    ctypes.memset(address, 1, SIZE)
    assert LIBC.madvise(address, SIZE, 4) == 0
""",
    "through /dev/zero": """
zero = os.open("/dev/zero", os.O_RDWR)
for _ in range(40):
    address = shared(zero)
    ctypes.memset(address, 1, SIZE)
    assert LIBC.munmap(address, SIZE - 4096, 0) == 0
""",
    "in a child": """
for _ in range(20):
    if os.fork() == 0:
        address = shared()
        ctypes.memset(address, 1, SIZE)
        LIBC.munmap(address, SIZE - 4096, 0)
        time.sleep(20)
        os._exit(0)
for _ in range(20):
    assert os.wait()[1] == 0
""",
    "huge pages": """
for _ in range(20):
    ctypes.memset(shared(more=0x40000), 1, SIZE)
""",
    "page tables": """
for _ in range(8):
    if os.fork() == 0:
        size = 30 << 30
        address = LIBC.mmap(None, size, 1, 0x4022, -1, 0)
        for place in range(0, size, 2 << 20):
            ctypes.string_at(address + place, 1)
        time.sleep(20)
        os._exit(0)
for _ in range(8):
    assert os.wait()[1] == 0
""",
    "socket pairs": """
kept = [socket.socketpair() for _ in range(480)]
for pair in kept:
    for sender in pair:
        fill(sender)
""",
    "socket pairs with larger buffers": """
kept = [socket.socketpair() for _ in range(100)]
for pair in kept:
    for sender in pair:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        fill(sender)
""",
    "socket pairs with a dead sender": """
kept = []
for _ in range(1000):
    sender, receiver = socket.socketpair()
    fill(sender)
    sender.close()
    kept.append(receiver)
""",
    "datagrams": """
kept = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(480)]
for pair in kept:
    for sender in pair:
        fill(sender)
""",
    "netlink": """
kept = []
for _ in range(480):
    receiver = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
    receiver.bind((0, 0))
    sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)
    sender.connect(receiver.getsockname())
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(1 << 14))
    except BlockingIOError:
        kept.append((sender, receiver))
""",
}
"""Ways to 256 MiB and more that no process maps: each is stopped, or refused."""

IN_SOCKETS = {
    "sockets in sockets": """
kept = []
for number in range(900):
    if number % 100 == 0:
        kept.append(socket.socketpair())
    sender, receiver = socket.socketpair()
    fill(sender)
    socket.send_fds(kept[-1][0], [b"x"], [receiver.fileno()])
    sender.close()
    receiver.close()
""",
    "TCP": """
kept, server = [], socket.create_server(("127.0.0.1", 0))
for _ in range(200):
    kept += [socket.create_connection(server.getsockname()), server.accept()[0]]
for sender in kept:
    fill(sender)
""",
    "TCP connections that nobody accepts": """
server = socket.create_server(("127.0.0.1", 0), backlog=1000)
kept = [socket.create_connection(server.getsockname()) for _ in range(400)]
for sender in kept:
    fill(sender)
    sender.close()
""",
    "UDP": """
kept = []
for _ in range(400):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    kept.append(receiver)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for receiver in kept:
    for _ in range(200):
        sender.sendto(bytes(1 << 15), receiver.getsockname())
""",
    "Unix connections that nobody accepts": """
server = socket.socket(socket.AF_UNIX)
server.bind("server")
server.listen(4096)
for _ in range(1500):
    sender = socket.socket(socket.AF_UNIX)
    sender.connect("server")
    fill(sender)
    sender.close()
""",
}
"""The same with servers, which landlock does not allow, and where only a network of its own shows it."""


def is_stopped(shown: Evidence) -> None:
    """The run used too much memory, or what it tried was refused."""
    reason = "it used more than 128 MiB of memory, in test_attack.py::test_attack"
    problems = [failure["problem"] for failure in shown["failures"]]
    was_refused = bool(problems) and bool(re.search(r"Errno|^1(\n|$)|^assert .*-1|Exhausted", problems[0]))
    assert (shown["outcome"], shown["reason"]) == ("stopped", reason) or is_killed(shown) or was_refused, (
        shown
    )


@pytest.mark.slow
@everywhere
@pytest.mark.parametrize("way", UNMAPPED)
def test_memory_that_no_process_maps_counts(place: Place, way: str) -> None:  # noqa: F811
    is_stopped(place.run({}, attack(MAP + UNMAPPED[way] + WAIT), memory_mb=128, seconds=30))


@at("bubblewrap")
@pytest.mark.parametrize("way", IN_SOCKETS)
def test_memory_in_sockets_that_no_process_holds_counts(place: Place, way: str) -> None:  # noqa: F811
    is_stopped(place.run({}, attack(MAP + IN_SOCKETS[way] + WAIT), memory_mb=128, seconds=30))


# --- Foreign files ----------------------------------------------------------------------------------------

CHANGES = """
import ctypes, fcntl, os, struct, sysconfig
from contextlib import suppress
import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
X86, HERE, EMPTY_PATH, GROUP = HOST["x86"], -100, 0x1000, os.getgid()
ACL = struct.pack("<I", 2) + struct.pack("<HHI", 1, 6, 2**32 - 1) + struct.pack("<HHI", 2, 7, 1234)
ACL += struct.pack("<HHI", 4, 4, 2**32 - 1) + struct.pack("<HHI", 16, 7, 2**32 - 1)
ACL += struct.pack("<HHI", 32, 0, 2**32 - 1)
LONG_AGO = struct.pack("4q", 1, 1, 1, 1)
ARGUMENTS = struct.pack("QII", ctypes.addressof(ctypes.create_string_buffer(b"x")), 1, 0)
FILE_ATTRIBUTES = struct.pack("Q4I", 0x40, 0, 0, 0, 0)

def call(x86, aarch64, *arguments):
    number = x86 if X86 else aarch64
    if number >= 0:
        LIBC.syscall(number, *arguments)

def through(path, *numbers):
    # The descriptor needs no permission.
    descriptor = os.open(path, os.O_PATH)
    call(*numbers[:2], descriptor, *numbers[2:])
    call(*numbers[:2], b"/proc/self/fd/%d" % descriptor, *numbers[2:])

CHANGES = {
    "chmod": lambda path: call(90, -1, path, 0o777),
    "fchmodat": lambda path: call(268, 53, HERE, path, 0o777),
    "fchmodat2": lambda path: call(452, 452, HERE, path, 0o777, 0),
    "fchmodat2 of a descriptor": lambda path: call(452, 452, os.open(path, os.O_PATH), b"", 0o7, EMPTY_PATH),
    "fchmod": lambda path: through(path, 91, 52, 0o777),
    "chmod through proc": lambda path: os.chmod("/proc/self/fd/%d" % os.open(path, os.O_PATH), 0o777),
    "chown": lambda path: call(92, -1, path, os.getuid(), os.getgid()),
    "lchown": lambda path: call(94, -1, path, os.getuid(), os.getgid()),
    "fchown": lambda path: through(path, 93, 55, os.getuid(), os.getgid()),
    "fchownat": lambda path: call(260, 54, HERE, path, os.getuid(), os.getgid(), 0),
    "chown of a descriptor": lambda path: call(260, 54, os.open(path, os.O_PATH), b"", -1, GROUP, EMPTY_PATH),
    "utime": lambda path: call(132, -1, path, LONG_AGO),
    "utimes": lambda path: call(235, -1, path, LONG_AGO),
    "futimesat": lambda path: call(261, -1, HERE, path, LONG_AGO),
    "utimensat": lambda path: call(280, 88, HERE, path, LONG_AGO, 0),
    "utimensat, now": lambda path: call(280, 88, HERE, path, None, 0),
    "setxattr": lambda path: call(188, 5, path, b"user.evil", b"1", 1, 0),
    "lsetxattr": lambda path: call(189, 6, path, b"user.evil", b"1", 1, 0),
    "fsetxattr": lambda path: through(path, 190, 7, b"user.evil", b"1", 1, 0),
    "setxattrat": lambda path: call(463, 463, HERE, path, 0, b"user.evil", ARGUMENTS, 16),
    "an access list": lambda path: call(188, 5, path, b"system.posix_acl_access", ACL, len(ACL), 0),
    "removexattr": lambda path: call(197, 14, path, b"user.kept"),
    "lremovexattr": lambda path: call(198, 15, path, b"user.kept"),
    "fremovexattr": lambda path: through(path, 199, 16, b"user.kept"),
    "removexattrat": lambda path: call(466, 466, HERE, path, 0, b"user.kept"),
    "file_setattr": lambda path: call(469, 469, HERE, path, FILE_ATTRIBUTES, 24, 0),
}

@pytest.mark.parametrize("path", HOST["paths"])
@pytest.mark.parametrize("way", CHANGES)
def test_change(way, path):
    with suppress(OSError):
        CHANGES[way](os.fsencode(path))

@pytest.mark.parametrize("kind", [0x40086602, 0x401C5820, 0x40087602, 0x40086604, 0x40806685])
@pytest.mark.parametrize("path", HOST["readable"])
def test_inode_flags(kind, path):
    with pytest.raises(OSError):
        fcntl.ioctl(os.open(path, os.O_RDONLY), kind, struct.pack("8Q", 0x80, *[0] * 7))

def test_a_newer_call():
    assert LIBC.syscall(470, 0, 0, 0) == -1
    assert ctypes.get_errno() == 38

@pytest.mark.parametrize("folder", HOST["folders"])
def test_watch(folder):
    watch = LIBC.syscall(294 if X86 else 26, 0)
    assert LIBC.syscall(254 if X86 else 27, watch, os.fsencode(folder), 0xFFF) == -1
    group = LIBC.syscall(300 if X86 else 262, 0x200, 0)
    assert LIBC.syscall(301 if X86 else 263, group, 1, ctypes.c_ulong(0x2B), HERE, os.fsencode(folder)) == -1

@pytest.mark.parametrize("folder", HOST["readable"])
def test_signal_on_a_change(folder):
    with pytest.raises(OSError):
        fcntl.fcntl(os.open(os.path.dirname(folder), os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE)
    with pytest.raises(OSError):
        fcntl.fcntl(os.open(folder, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
"""


def attributes(path: Path) -> tuple[Any, ...]:
    """Whatever a call could change of a file; its change time tells of anything else."""
    seen = path.stat()
    names = os.listxattr(path)
    flags = bytes(8)
    with path.open("rb") as file:
        try:
            flags = fcntl.ioctl(file, FS_IOC_GETFLAGS, flags)
        except OSError:
            flags = b""
    extra = {name: os.getxattr(path, name) for name in names}
    return seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, seen.st_ctime_ns, extra, flags


@everywhere
def test_no_attribute_of_a_foreign_file_changes(place: Place, outside: Outside) -> None:  # noqa: F811
    paths = [outside.folder / name for name in ("private", "public", "writable", "owned", "folder")]
    for path in paths:
        os.setxattr(path, "user.kept", b"1")
    readable = [Path(struct.__file__), Path(os.__file__)]
    watched = [path for path in (*paths, *readable) if path.is_file()]
    before = [attributes(path) for path in watched]
    host = {
        "x86": platform.machine() == "x86_64",
        "paths": [str(path) for path in (*paths, *readable)],
        "readable": [str(path) for path in readable],
        "folders": [str(outside.folder), *(["/etc", "/usr"] if place.sandbox == "landlock" else [])],
    }
    shown = place.run({}, {"test_changes.py": f"HOST = {host!r}\n{CHANGES}"})
    assert [attributes(path) for path in watched] == before
    assert [f"{failure['test']}: {failure['problem']}" for failure in shown["failures"]] == []


# --- What right code does ---------------------------------------------------------------------------------

RIGHT = """
import asyncio, fcntl, http.server, mmap, multiprocessing, os, shutil, socket, sqlite3, subprocess, sys
import tarfile, tempfile, threading, urllib.request, zipfile
from multiprocessing import shared_memory
import pytest

@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("text")
    return path

def test_chmod(file):
    os.chmod(file, 0o600)
    file.chmod(0o644)
    os.fchmod(os.open(file, os.O_RDONLY), 0o600)

def test_times(file):
    os.utime(file, (1, 1))
    os.utime(file)
    file.touch()
    os.utime(os.open(file, os.O_RDONLY), ns=(1, 1))

def test_owner(file):
    os.chown(file, os.getuid(), os.getgid())
    os.lchown(file, -1, -1)
    os.fchown(os.open(file, os.O_RDONLY), -1, -1)
    shutil.chown(file, os.getuid(), os.getgid())

def test_extended(file):
    os.setxattr(file, "user.note", b"x")
    os.removexattr(file, "user.note")
    os.listxattr(file)

def test_copies(file, tmp_path):
    shutil.copy(file, tmp_path / "copy")
    shutil.copy2(file, tmp_path / "copy2")
    shutil.copystat(file, tmp_path / "copy")
    shutil.copymode(file, tmp_path / "copy")
    os.makedirs(tmp_path / "a/b")
    shutil.copy2(file, tmp_path / "a/b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    shutil.move(tmp_path / "c", tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    subprocess.run(["cp", "-a", str(file), str(tmp_path / "e")], check=True)
    assert (tmp_path / "copy2").read_text() == "text"

def test_archives(file, tmp_path):
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.add(file, "file")
    with tarfile.open(tmp_path / "t.tar.gz") as archive:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
            archive.extractall(tmp_path / "out", filter="data")
            archive.extractall(tmp_path / "out2", filter="fully_trusted")
        else:
            archive.extractall(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(file, "file")
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        archive.extractall(tmp_path / "out3")
    shutil.make_archive(str(tmp_path / "arch"), "zip", tmp_path / "out")
    shutil.unpack_archive(str(tmp_path / "arch.zip"), tmp_path / "out4")

def test_temporary():
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as named:
        named.write(b"x")
    with tempfile.TemporaryFile() as file, tempfile.SpooledTemporaryFile(10) as spooled:
        file.write(b"x")
        spooled.write(b"x" * 100)

def test_mmap(file):
    with mmap.mmap(-1, 32 << 20) as m:
        for p in range(0, 32 << 20, 4096): m[p] = 1
    with open(file, "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[0] = 65
    for _ in range(300):
        with mmap.mmap(-1, 4 << 20) as m:
            m[:] = bytes(4 << 20)
    kept = [mmap.mmap(-1, 4096) for _ in range(2000)]
    for m in kept: m[0] = 1

def test_mmap_is_shared_with_children():
    m = mmap.mmap(-1, 4096)
    if os.fork() == 0:
        m[0] = 7
        os._exit(0)
    os.wait()
    assert m[0] == 7

def square(x): return x * x

def test_pool():
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]

def test_manager():
    with multiprocessing.Manager() as manager:
        d = manager.dict()
        d["a"] = 1
        assert d["a"] == 1

def test_shared_memory():
    s = shared_memory.SharedMemory(create=True, size=1 << 20)
    s.buf[0] = 1
    s.close(); s.unlink()

def test_shared_value():
    v = multiprocessing.Value("i", 3)
    assert v.value == 3

def test_pipe_between_processes():
    a, b = multiprocessing.Pipe()
    a.send(1)
    assert b.recv() == 1

def test_sqlite(tmp_path):
    c = sqlite3.connect(tmp_path / "d.db")
    c.execute("pragma journal_mode=wal")
    c.execute("create table t (x)")
    c.execute("insert into t values (1)")
    c.commit()
    c2 = sqlite3.connect(tmp_path / "d.db")
    assert c2.execute("select * from t").fetchall() == [(1,)]
    c.close(); c2.close()

def test_socketpairs():
    kept = [socket.socketpair() for _ in range(200)]
    for a, b in kept:
        a.sendall(b"x" * 10000)
    for a, b in kept:
        assert len(b.recv(100000)) == 10000

def test_buffers():
    a, b = socket.socketpair()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    a.setblocking(False)
    n = 0
    with pytest.raises(BlockingIOError):
        while True: n += a.send(b"x" * 1000)
    assert n < 20000

def test_a_socket_is_passed():
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    socket.send_fds(a, [b"x"], [c.fileno()])
    _, [fd], _, _ = socket.recv_fds(b, 10, 1)
    socket.socket(fileno=fd).send(b"y")
    assert d.recv(1) == b"y"

def test_unix_server(tmp_path):
    os.chdir(tmp_path)
    s = socket.socket(socket.AF_UNIX); s.bind("s"); s.listen()
    c = socket.socket(socket.AF_UNIX); c.connect("s")
    p, _ = s.accept(); p.send(b"x"); assert c.recv(1) == b"x"

def test_http_server():
    class H(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
        def log_message(self, *_): pass
    for _ in range(20):
        s = http.server.ThreadingHTTPServer(("127.0.0.1", 8765), H)
        t = threading.Thread(target=s.serve_forever, args=(0.01,)); t.start()
        assert urllib.request.urlopen("http://127.0.0.1:8765").read() == b"ok"
        s.shutdown(); s.server_close(); t.join()

def test_udp():
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0))
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b.sendto(b"x", a.getsockname())
    assert a.recv(1) == b"x"

def test_asyncio():
    async def main():
        async def handle(r, w):
            w.write(await r.readline()); await w.drain(); w.close()
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async def ask():
            r, w = await asyncio.open_connection("127.0.0.1", port)
            w.write(b"hello\\n"); await w.drain()
            assert await r.readline() == b"hello\\n"
            w.close()
        await asyncio.gather(*(ask() for _ in range(200)))
        server.close()
    asyncio.run(main())

def test_asyncio_subprocess():
    async def main():
        p = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
        assert (await p.communicate())[0] == b"1\\n"
    asyncio.run(main())

def test_names():
    socket.if_nameindex()

def test_locks(file):
    with open(file) as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        fcntl.fcntl(f, fcntl.F_GETFD)
    with open(file, "r+") as f:
        fcntl.lockf(f, fcntl.LOCK_EX)

def test_memory_just_below():
    kept = bytearray(600 << 20)
"""
NOT_UNDER_LANDLOCK = {
    "test_pool",
    "test_shared_memory",
    "test_shared_value",
    "test_unix_server",
    "test_http_server",
    "test_udp",
    "test_asyncio",
}
"""It allows no listening on ports, no datagrams, and nothing in /dev/shm."""


@everywhere
def test_right_code_is_not_disturbed(place: Place) -> None:  # noqa: F811
    shown = place.run({}, {"test_right.py": RIGHT})
    failed = {failure["test"].partition("::")[2] for failure in shown["failures"]}
    assert failed == (NOT_UNDER_LANDLOCK if place.sandbox == "landlock" else set()), shown["failures"]


# --- The table --------------------------------------------------------------------------------------------


def test_the_page_lists_the_refused_calls() -> None:
    text = SANDBOX_PAGE.read_text()
    for call in ON_THE_HOST:
        numbers = " / ".join(
            "-" if number == ABSENT else str(number) for number in (call.x86_64, call.aarch64)
        )
        where = "everywhere" if call in ALWAYS else "landlock"
        assert re.search(rf"\| `{call.name}`[^|]* \| {numbers} \| {where} \| {call.answer} \|", text), call


def test_the_host_s_files_do_not_count_while_the_sandbox_is_set_up(tmp_path: Path) -> None:
    """Until bubblewrap has changed its root, its processes see the host's folder of the same name."""
    for number in range(20):
        (tmp_path / str(number)).touch()
    limits = Limits(seconds=9, memory=2**30, processes=9, disk=1, files=1, output=2**20)
    with subprocess.Popen(["sleep", "9"]) as outer, subprocess.Popen(["sleep", "9"]) as inner:
        watch = _Watch(outer.pid, limits, str(tmp_path), "own", time.monotonic())
        assert watch._inodes([psutil.Process(inner.pid)]) == (0, 0)
        outer.kill()
        inner.kill()
