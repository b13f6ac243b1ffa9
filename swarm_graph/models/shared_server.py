"""Starts llama.cpp's server for a GGUF file, or finds the one that another program of this user started.

Each server has a folder of locks that only the user can enter; `embedded_server.py` says which. A program
holds the lock `users` as long as it uses the server, and the lock `start` while it starts it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from swarm_graph.config import SECRET_NAME
from swarm_graph.errors import ModelError
from swarm_graph.text import printable

PROGRAM = Path(__file__).with_name("embedded_server.py")
KEY_BYTES = 32
LOCK_PAUSE_S = 0.05
END_TIMEOUT_S = 20.0
"""How long an ending server may hold its locks."""
MAX_UNUSED_S = 7 * 24 * 3600.0
"""How long the log of a server that nobody uses any more is kept."""
START_TIMEOUT_S = 1800.0
"""The longest start of another program's server that is waited for."""

T = TypeVar("T")


class ServerSettings(NamedTuple):
    """What a server is started with. Programs that want the same share it."""

    model: str
    """The real path of the file."""
    modified_ns: int
    size: int
    alias: str
    slots: int
    num_ctx: int
    """Tokens of one slot."""
    threads: int
    gpu_layers: int | None
    embedding: bool
    cache_mib: int
    """Memory that may keep the evaluated prompts of earlier calls."""
    version: str
    """Of xllamacpp."""


class ServerAddress(NamedTuple):
    """Where a running server listens, and the key that it wants."""

    url: str
    key: str


class SharedServer:
    """A server that this program uses, from now until nothing here refers to this object any more.

    Attributes:
        is_starting: Whether a thread of this program starts it, or waits until another program has.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings, self.is_starting = settings, False
        self._folder: Path | None = None
        self._starting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[ServerAddress]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    async def address(self) -> ServerAddress:
        """Its address. It is started if it does not run, be it for the first time or because it has died.

        Raises:
            ModelError: It cannot be started; one line with llama.cpp's reason and its log.
        """
        if address := self._running():
            return address
        loop = asyncio.get_running_loop()
        starting = self._starting.get(loop)
        if starting is None or starting.done():
            self._starting[loop] = starting = in_thread(self._start)
        return await asyncio.shield(starting)

    def _running(self) -> ServerAddress | None:
        """The address of the server, if it runs and this program is one of its users."""
        if self._folder is None or not _is_held(self._folder / "alive"):
            return None
        return _read_address(self._folder)

    def _start(self) -> ServerAddress:
        """Start the server unless it runs; blocks."""
        try:
            with self._lock:
                self.is_starting = True
                if self._folder is None:
                    self._folder = self._joined()
                with _held(self._folder / "start"):
                    return self._started(self._folder)
        except OSError as error:
            where = f"'{error.filename}': " if error.filename else ""
            raise self._error(f"{where}{error.strerror or error}") from error
        finally:
            self.is_starting = False

    def _joined(self) -> Path:
        """The folder of the server, in which this program is one of its users from now on."""
        from fcntl import LOCK_SH

        folder = private_folder() / _name(self.settings)
        _remove_unused(folder)
        while True:
            folder.mkdir(mode=0o700, exist_ok=True)
            users = _open(folder / "users")
            os.utime(users)
            _lock_when_free(users, LOCK_SH)
            if _is_open_at(users, folder / "users"):  # else another program has removed the folder
                # Forked children share the lock; it ends with the last of them.
                finalize(self, os.close, users)
                return folder
            os.close(users)

    def _started(self, folder: Path) -> ServerAddress:
        ends = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends:
            if address := self._running():
                return address
            if not _is_held(folder / "alive"):
                self._launch(folder)
            else:  # started by a program that was killed meanwhile
                time.sleep(LOCK_PAUSE_S)
        raise self._error(f"it does not start within {START_TIMEOUT_S:.0f} s")

    def _launch(self, folder: Path) -> None:
        """Start a server and wait until it has loaded its model. Raises ModelError, OSError."""
        status = Path(self.settings.model).stat()
        if (status.st_mtime_ns, status.st_size) != (self.settings.modified_ns, self.settings.size):
            raise self._error("the file was replaced while the session ran; resume it to use the new file")
        settings = {**self.settings._asdict(), "folder": str(folder), "key": secrets.token_urlsafe(KEY_BYTES)}
        environment = {name: value for name, value in os.environ.items() if not SECRET_NAME.search(name)}
        with subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,  # Ctrl-C is for us
        ) as child:
            assert child.stdin
            assert child.stdout
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps(settings).encode() + b"\n")
                child.stdin.flush()
            report = child.stdout.readline()
        told = json.loads(report) if report else {"error": "its process ended before it was ready"}
        if "error" in told:
            raise self._error(printable(str(told["error"])))

    def _error(self, reason: str) -> ModelError:
        log = f"; its log: {self._folder / 'log'}" if self._folder and (self._folder / "log").exists() else ""
        return ModelError(f"cannot serve '{self.settings.model}': {reason}{log}", outage=True)


_SERVERS: WeakValueDictionary[ServerSettings, SharedServer] = WeakValueDictionary()
_SERVERS_LOCK = threading.Lock()


def shared_server(settings: ServerSettings) -> SharedServer:
    """The server with these settings, which all sessions of this process share. Nothing is started."""
    with _SERVERS_LOCK:
        server = _SERVERS.get(settings)
        if server is None:
            _SERVERS[settings] = server = SharedServer(settings)
        return server


def starts_server() -> bool:
    """Whether a server of this program is starting now: to load a large model takes minutes."""
    with _SERVERS_LOCK:
        return any(server.is_starting for server in _SERVERS.values())


def _after_fork_in_child() -> None:
    """A fork copies no thread: neither those that start a server, nor those that hold a lock."""
    global _SERVERS_LOCK
    _SERVERS_LOCK = threading.Lock()
    for server in _SERVERS.values():
        server._lock, server.is_starting = threading.Lock(), False
        server._starting = WeakKeyDictionary()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """The result of a function that blocks for minutes. The end of the program does not wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def end(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.cancelled():
            set_outcome(outcome)

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed
            try:
                result = work()
            except Exception as error:
                loop.call_soon_threadsafe(end, future.set_exception, error)
            else:
                loop.call_soon_threadsafe(end, future.set_result, result)

    threading.Thread(target=run, name="swarm_graph model start", daemon=True).start()
    return future


# --- the folder ----------------------------------------------------------------------------------


def private_folder() -> Path:
    """The folder of this user's servers on this machine, which nobody else can enter.

    Raises:
        PermissionError: There is none, and none can be made.
    """
    problems = []
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.lstat()
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
            continue
        is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        if is_private and status.st_uid == os.geteuid() and os.access(folder, os.W_OK):
            return folder
        problems.append(f"{folder}: not a folder of this user alone (mode 700)")
    raise PermissionError(f"no folder for its locks ({'; '.join(problems)}); set XDG_RUNTIME_DIR to one")


def _folders() -> Iterator[Path]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and runtime.is_dir():
        yield runtime / "swarm-graph"
    yield Path(tempfile.gettempdir()) / f"swarm-graph-{os.geteuid()}-servers"
    with suppress(RuntimeError):
        yield Path.home() / ".cache" / "swarm-graph" / "servers"


def _name(settings: ServerSettings) -> str:
    program = hashlib.sha256(PROGRAM.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([*settings, program]).encode()).hexdigest()[:16]


def _remove_unused(kept: Path) -> None:
    """Remove the folders of servers that nobody has used for `MAX_UNUSED_S`; each holds a log."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    for path in kept.parent.glob("*/users"):
        with suppress(OSError):
            if path.parent == kept or time.time() - path.stat().st_mtime < MAX_UNUSED_S:
                continue
            users = _open(path)
            try:
                flock(users, LOCK_EX | LOCK_NB)  # a running server has users, or ends soon
                is_old = time.time() - os.fstat(users).st_mtime > MAX_UNUSED_S
                if is_old and not _is_held(path.with_name("alive")):
                    shutil.rmtree(path.parent, ignore_errors=True)
            finally:
                os.close(users)


def _is_open_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that a path names."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _read_address(folder: Path) -> ServerAddress | None:
    try:
        data = json.loads((folder / "address").read_bytes())
        return ServerAddress(data["url"], data["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- locks ---------------------------------------------------------------------------------------


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _is_held(path: Path) -> bool:
    """Whether a running process holds a lock."""
    from fcntl import LOCK_NB, LOCK_SH, flock

    try:
        handle = _open(path)
    except OSError:
        return False
    try:
        flock(handle, LOCK_SH | LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock that only one program may have."""
    from fcntl import LOCK_EX, flock

    handle = _open(path)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock_when_free(handle: int, kind: int) -> None:
    """Take a lock that an ending server may still hold. TimeoutError when it does not end."""
    from fcntl import LOCK_NB, flock

    ends = time.monotonic() + END_TIMEOUT_S
    while True:
        try:
            return flock(handle, kind | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends:
                raise TimeoutError("an earlier server of this file does not end") from None
            time.sleep(LOCK_PAUSE_S)
