"""sandbox.run: a snippet of Python on a copy of the project, in a real sandbox."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from repositories import fingerprint, make_repository, repository_of
from support import sandbox

from swarm_graph.roles.project_files import project_of_files, project_of_state
from swarm_graph.sandbox import choice, snippet
from swarm_graph.settings import Execution
from swarm_graph.state import SwarmState, ToolResult
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.calling import call_tool
from swarm_graph.tools.snippet import sandbox_tools
from swarm_graph.tools.tool import GetProject

SECRET = f"secret-{secrets.token_hex(8)}"
LIMITS = {"seconds": 20, "memory_mb": 256, "processes": 16, "disk_mb": 16, "output_mb": 1}


def files(texts: Mapping[str, str]) -> GetProject:
    return lambda: project_of_files(texts)


def processes() -> set[psutil.Process]:
    """The processes below this one; other tests may have left some."""
    return {*psutil.Process().children(recursive=True)}


def run(
    code: str,
    project: GetProject = files({}),  # noqa: B008 - it is never changed
    characters: int = 4000,
    execution: Mapping[str, Any] = {},
    **arguments: Any,
) -> ToolResult:
    settings = Execution.model_validate({"limits": LIMITS, **execution})
    [tool] = sandbox_tools(project, settings, characters)
    return asyncio.run(call_tool(tool, {"code": code, **arguments}, ToolLimits(characters=characters)))


def test_a_snippet_uses_a_copy_of_a_repository_and_changes_nothing(tmp_path: Path) -> None:
    folder = make_repository(
        tmp_path / "user",
        {"src/calc.py": "def add(a, b):\n    return a + b\n", "data.txt": "1\n", "logo.png": b"\x89PNG\0"},
    )
    before = fingerprint(folder)
    state = cast(SwarmState, {"repo": repository_of(folder), "code": {"extra/new.py": "x = 7\n"}})
    result = run(
        "import os, sys, calc\nfrom extra.new import x\nprint(calc.add(2, x))\n"
        "print(sorted(os.listdir()), file=sys.stderr)\nopen('data.txt', 'w').write('2')\nopen('more', 'w')",
        lambda: project_of_state(state),
    )
    assert result.outcome == "answered"
    [head, *rest] = result.text.splitlines()
    assert head.startswith("exit code 0, after ")
    assert head.endswith(f"({sandbox()})")
    assert rest == ["stdout:", "9", "stderr:", "['data.txt', 'extra', 'src']"]
    assert fingerprint(folder) == before


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("def f():\n    return 1 / 0\nf()", ["exit code 1", "in f\n    return 1 / 0\n", "ZeroDivisionError"]),
        ("import sys; sys.exit(3)", ["exit code 3", "It printed nothing."]),
        ("print(__name__, __import__('sys').argv)", ["exit code 0", "__main__ ['<snippet>']"]),
        ("```python\nprint('bare')\n```\n", ["exit code 0", "bare"]),
        ("x = (", ["exit code 1", "SyntaxError"]),
        ("import os; os.kill(os.getpid(), 9)", ["signal 9, after"]),
        ("import os; os.write(1, b'\\xff\\x1b[31mred\\0')", ["exit code 0", "\ufffdred"]),
        ("while True: pass", ["stopped: it was still running after 0.5 s"]),
        ("print('Beginning'); print('x' * 900_000); print('End')", ["Beginning\nx", "[cut: ", "xx\nEnd"]),
        ("while True: print('x' * 1000)", ["stopped: it wrote more than 1 MiB of output"]),
    ],
)
def test_how_a_snippet_ended_and_what_it_printed(code: str, parts: list[str]) -> None:
    result = run(code, seconds=0.5 if "while True: pass" in code else None)
    assert result.outcome == "answered"
    assert [part for part in parts if part not in result.text] == []
    assert len(result.text) <= 4000


def test_a_snippet_reaches_nothing_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key.txt").write_text(SECRET)
    monkeypatch.setenv("SWARM_TEST_SECRET", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        attacks = [
            f"open({str(tmp_path / 'key.txt')!r}).read()",
            "open('/proc/1/environ').read().index('SWARM_TEST_SECRET')",
            "os.environ['SWARM_TEST_SECRET']",
            f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)",
            "socket.create_connection(('192.0.2.1', 80), 2)",
            f"open({str(tmp_path / 'made.txt')!r}, 'w')",
            f"os.kill({os.getpid()}, 0)",
        ]
        lines = [
            "import os, socket",
            f"for attack in {attacks!r}:",
            "    try:",
            "        print(eval(attack))",
        ]
        lines += ["    except Exception:", "        print('refused')"]
        result = run("\n".join(lines))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result.text.splitlines()[2:] == ["refused"] * len(attacks)
    assert SECRET not in result.text
    assert not (tmp_path / "made.txt").exists()


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        "x = [bytearray(1 << 20) for _ in range(1000)]",
        "open('big', 'wb').write(b'x' * (64 << 20))",
    ],
)
def test_a_snippet_that_takes_too_much_is_stopped_or_fails(code: str) -> None:
    before = processes()
    result = run(code, seconds=2)
    assert result.outcome == "answered"
    assert not result.text.startswith("exit code 0")
    assert processes() <= before


def test_a_call_out_of_time_leaves_no_process_behind() -> None:
    [tool] = sandbox_tools(files({}), Execution.model_validate({"limits": LIMITS}))
    limits, before = ToolLimits(seconds=0.5), processes()
    result = asyncio.run(call_tool(tool, {"code": "while True: pass"}, limits))
    assert (result.outcome, result.text) == ("timed_out", "the tool did not answer within 0.5 s")
    assert processes() <= before


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = f"open({str(made)!r}, 'w')"
    off = run(code, execution={"mode": "off"})
    assert (off.outcome, off.text) == ("failed", "code cannot be run here: execution.mode is off")
    monkeypatch.setattr(choice, "_choose", lambda *_: "bubblewrap: bwrap not found")
    missing = run(code)
    assert missing.outcome == "failed"
    assert missing.text.startswith("code cannot be run here: no sandbox can be used here (bubblewrap: bwrap")
    assert not made.exists()


def test_only_execution_unsafe_runs_a_snippet_without_a_sandbox(tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = f"import a\nopen({str(made)!r}, 'w').write(str(a.x))"
    project = files({"a.py": "x = 1\n"})
    nowhere = {"sandbox": "docker"}  # without an image
    assert run(code, project, execution=nowhere).outcome == "failed"
    assert not made.exists()
    assert "(none (unsafe))" in run(code, project, execution={**nowhere, "unsafe": True}).text
    assert made.read_text() == "1"


def test_paths_that_lead_out_of_the_copy_and_too_large_projects_are_not_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    odd = files({"../up.py": "x", "/tmp/top.py": "x", "a/../../b.py": "x", ".git/config": "x", "ok.py": "x"})
    code = "import glob, os\nprint(glob.glob('/tmp/*.py') + glob.glob('../*.py'), sorted(os.listdir()))"
    assert run(code, odd).text.endswith("stdout:\n[] ['ok.py']")
    monkeypatch.setattr(snippet, "MAX_COPY_BYTES", 10_000)
    large = run(code, files({f"{n}.txt": "x" * 4000 for n in range(5)})).text
    assert "(The project is too large to be copied; the code ran in an empty folder.)" in large
    assert large.endswith("stdout:\n[] []")
