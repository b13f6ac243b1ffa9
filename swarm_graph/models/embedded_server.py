"""The process behind an embedded model: a supervisor, and below it llama.cpp's own server.

`embedded.py` starts this file as a program, alone: it imports nothing of swarm_graph. The settings come on
stdin as one line of JSON, because other users can read arguments. One line of JSON on stdout says how the
start went: {"running": true}, or {"error": …} in llama.cpp's words.

The supervisor outlives the program that started it. It holds the lock `alive` as long as its server runs,
and waits for the lock `users`, which every program that uses the server shares. The kernel releases the locks
of a program that ends, however it ends. So the supervisor gets the lock when no user is left, and ends the
server.

Files in the folder: `alive` and `users` are locks, `address` has URL and key, `log` is llama.cpp's stderr.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from typing import Any

GRACE_S = 3.0
"""How long a server waits for the next user: commands of a script follow each other."""
GRACE_POLL_S = 0.1
MAX_LOG_BYTES = 1_000_000
"""A longer log becomes `log.1` (its name and `.1`), in place of the older one."""
HTTP_THREADS = 64
"""With fewer than there are connections, new ones wait for 5 s."""
PR_SET_PDEATHSIG = 1


def supervise() -> None:
    """Serve a model until nobody uses it any more."""
    settings = json.loads(sys.stdin.readline())
    if os.fork():  # the caller's child ends at once, so the caller need not wait for the supervisor
        os._exit(0)
    folder = Path(settings["folder"])
    try:
        alive = _lock_file(folder / "alive")
        try:
            flock(alive, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            _report({"running": True})
            return
        (folder / "address").unlink(missing_ok=True)
        log = Log(folder / "log")
        server = _start_server(settings)
    except OSError as error:
        _report({"error": f"{error.filename or folder}: {error.strerror}"})
        return
    threading.Thread(target=_end_without_users, args=(folder / "users", server), daemon=True).start()
    assert server.stderr
    for line in server.stderr:
        log.write(line)
    _report({"error": log.cause or _how_it_ended(server.wait())})


def _start_server(settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Its stdin stays open as long as the supervisor runs; it reports on stdout itself when it is ready."""
    command = [sys.executable, "-P", __file__, "serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert server.stdin
    with suppress(BrokenPipeError):  # how it ended says more
        server.stdin.write(json.dumps(settings).encode() + b"\n")
        server.stdin.flush()
    return server


def _end_without_users(path: Path, server: subprocess.Popen[bytes]) -> None:
    users = _lock_file(path)
    while True:
        flock(users, LOCK_EX)
        flock(users, LOCK_UN)
        if _stays_unused(users):
            server.kill()
            server.wait()
            os._exit(0)  # and gives the locks back


def _stays_unused(users: int) -> bool:
    """Whether no user comes in GRACE_S. If so, the lock is held; later users wait for the end."""
    ends = time.monotonic() + GRACE_S
    while True:
        try:
            flock(users, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        if time.monotonic() >= ends:
            return True
        flock(users, LOCK_UN)
        time.sleep(GRACE_POLL_S)


class Log:
    """What a server writes to stderr, as a file with a bound."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: deque[str] = deque(maxlen=200)
        self._open()

    @property
    def cause(self) -> str:
        """The first error in the last lines, in llama.cpp's words; else the last line, if there is one."""
        errors = [line.split(" E ", 1)[1] for line in self._last if " E " in line]
        told = [error.partition("error loading model: ")[2] for error in errors]
        return next(filter(None, [*told, *errors, *reversed(self._last)]), "").strip()

    def write(self, line: bytes) -> None:
        """Append a line. A full disk does not stop the server."""
        self._last.append(line.decode(errors="replace"))
        with suppress(OSError):
            if os.fstat(self._file).st_size > MAX_LOG_BYTES:
                os.close(self._file)
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._open()
            os.write(self._file, line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"llama.cpp ended with exit code {code}"
    reason = " (was the memory full?)" if -code == signal.SIGKILL else ""
    return f"llama.cpp ended with {signal.Signals(-code).name}{reason}"


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _report(message: dict[str, Any]) -> None:
    with suppress(OSError):  # the program that started it has ended
        os.write(sys.stdout.fileno(), json.dumps(message).encode() + b"\n")


# --- the server ----------------------------------------------------------------------------------


def serve() -> None:
    """Load the model and serve it until the supervisor ends."""
    settings = json.loads(sys.stdin.readline())
    _end_with_parent()
    import xllamacpp  # type: ignore[import-untyped]

    server = xllamacpp.Server(_parameters(xllamacpp, settings))  # returns when the model is loaded
    address = {"url": f"{server.listening_address}/v1", "key": settings["key"]}
    _write_whole(Path(settings["folder"]) / "address", json.dumps(address).encode())
    _report({"running": True})
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdin.buffer.read()
    os._exit(0)


def _end_with_parent() -> None:
    """Let the kernel end this process with its parent, also while llama.cpp loads and no thread runs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _parameters(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = settings["model"], {settings["alias"]}
    params.hostnames, params.port = ["127.0.0.1"], 0  # 0: the kernel chooses a free port
    params.api_keys = [settings["key"]]
    params.n_parallel, params.n_ctx = settings["slots"], settings["slots"] * settings["num_ctx"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    if settings["gpu_layers"] is not None:
        params.n_gpu_layers = settings["gpu_layers"]
    params.embedding, params.cache_ram_mib = settings["embedding"], settings["cache_mib"]
    if settings["embedding"]:  # llama.cpp takes a text to embed in one step only
        params.n_batch = params.n_ubatch = settings["num_ctx"]
    params.n_threads_http = HTTP_THREADS
    params.use_jinja = params.offline = True
    params.warmup = params.ui = params.fit_params = params.endpoint_slots = False
    params.verbosity = 2  # errors and warnings; more would hold prompts
    return params


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}-{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, content)
    finally:
        os.close(handle)
    temporary.replace(path)


if __name__ == "__main__":
    os.umask(0o077)
    serve() if sys.argv[1:] == ["serve"] else supervise()
