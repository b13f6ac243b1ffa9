"""The preloaded interpreter of `warm.py`: it imports the program once and forks a process for every job.

The first argument is the descriptor of a socket. A job is a line of JSON with four descriptors: a pipe for
the pid and the exit code, and the three standard streams. The interpreter ends when the other end is closed.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import termios
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import swarm_graph
from swarm_graph.__main__ import main

PROGRAMS = (
    *(f"swarm_graph.sandbox.{name}" for name in ("inside", "inside_snippet", "reporter")),
    "swarm_graph.suites.answers_inside",
)
"""Modules that run when they are imported."""
NEEDED_LATER = (
    "click._textwrap",
    "jiter",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.context",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "langchain_ollama",
    "langchain_openai",
    "openai.lib.streaming.chat",
    "openai.resources.chat.completions",
    "prompt_toolkit",
    "prompt_toolkit.output.vt100",
    "rich._emoji_codes",
    "truststore",
)
"""Modules that the program imports late."""
STREAMS = [
    (number, mode, buffering, stream.encoding, stream.errors)
    for number, mode, buffering, stream in (
        (0, "r", -1, sys.stdin), (1, "w", -1, sys.stdout), (2, "w", 1, sys.stderr),
    )
]  # fmt: skip
"""How Python opens the standard streams. A forked process opens its own again: they may be a terminal."""


def serve(jobs: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the supervisors
    while True:
        line, descriptors, _, _ = socket.recv_fds(jobs, 1 << 16, 4)
        if not line:
            return
        while not line.endswith(b"\n"):
            line += jobs.recv(1 << 16)
        if os.fork() == 0:
            jobs.close()
            supervise(json.loads(line), *descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def supervise(job: dict[str, Any], status: int, *streams: int) -> None:
    """Run the job in a process of its own; report its pid and its exit code.

    If the tests are killed, nobody reads the pipe any more, and the process is killed, too.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = get_context("fork").Process(target=work, args=(job, status, *streams))
    process.start()
    for stream in streams:
        os.close(stream)
    os.write(status, f"{process.pid}\n".encode())
    assert process.pid
    ended = os.pidfd_open(process.pid)
    events = select.poll()
    events.register(status, 0)  # tells of the end of its reader
    events.register(ended, select.POLLIN)
    if status in dict(events.poll()):
        process.kill()
    process.join()
    with suppress(BrokenPipeError):
        os.write(status, f"{process.exitcode}\n".encode())


def work(job: dict[str, Any], status: int, *streams: int) -> None:
    os.close(status)
    if job["new_session"]:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if job["new_session"] and os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # a terminal of its own: Ctrl-C, Ctrl-Z, resizing, hanging up
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup make test` ignores it
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, encoding=encoding, errors=errors, mode=mode, buffering=buffering, closefd=False)  # noqa: SIM115
        for number, mode, buffering, encoding, errors in STREAMS
    )
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.argv = job["arguments"]
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing skips them before Python 3.13


if __name__ == "__main__":
    del sys.path[0]
    modules = {found.name for found in pkgutil.walk_packages(swarm_graph.__path__, "swarm_graph.")}
    for name in sorted(modules - {*PROGRAMS}):
        importlib.import_module(name)
    for name in NEEDED_LATER:
        with suppress(ImportError):  # a version of a package may lack one
            importlib.import_module(name)
    gc.freeze()  # garbage collection in a forked process would copy every page
    serve(socket.socket(fileno=int(sys.argv[1])))
