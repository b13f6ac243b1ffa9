"""`swarm-graph tools`: what is listed, shown and called, with real MCP servers and a real terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import warm
from repositories import make_repository
from support import write_config

from swarm_graph.cli.tools import read_arguments
from swarm_graph.errors import InputError
from swarm_graph.tools.names import BUILT_IN_TOOLS

PROGRAMS = Path(sys.executable).parent
TIME = {"command": str(PROGRAMS / "mcp-server-time"), "args": ["--local-timezone", "UTC"]}
SHOP = '''
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("shop", version="1.2")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def stock(part: str) -> str:
    """How many of a part there are."""
    return f"{part}: 3"


@server.tool()
def order(part: str, number: int = 1) -> str:
    """Order a part."""
    return f"ordered {number} {part}"


@server.tool()
def count() -> str:
    """Count all parts."""
    return "7"


@server.resource("shop://parts")
def parts() -> str:
    """The list of parts."""
    return "seal"


@server.prompt()
def ask_for(part: str) -> str:
    """Ask for a part."""
    return f"Is there a {part}?"


server.run()
'''


def swarm(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = warm.run("tools", *words, cwd=folder, given=b"")
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done


def document(folder: Path, *words: str, code: int = 0) -> Any:
    return json.loads(swarm(folder, *words, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a repository `plant`, and a file of inputs."""
    folder = tmp_path_factory.mktemp("tools")
    write_config(
        folder,
        mcp_servers={
            "time": TIME,
            "shop": {"command": sys.executable, "args": ["shop.py"], "allow": ["count"]},
        },
        tools={"architect": ["project.*", "time.*"], "coder": ["project.read", "shop.*", "time.nope"]},
        approve=["project.search"],
        tool_limits={"characters": 200},
    )
    (folder / "shop.py").write_text(SHOP)
    make_repository(folder / "plant", {"pump.py": "FLOW = 12.5\n" * 100, "tags.csv": "FALL-103,12.5\n"})
    (folder / "notes.md").write_text("FALL-103 trips P-101A.\n")
    return folder


@pytest.mark.slow
def test_every_tool_is_listed_with_its_roles_and_what_makes_it_wait(folder: Path) -> None:
    done = swarm(folder, "list", "--json")
    found = {tool["tool"]: tool for tool in json.loads(done.stdout)["tools"]}
    assert [*found][: len(BUILT_IN_TOOLS)] == [*BUILT_IN_TOOLS]
    assert found["project.read"]["roles"] == ["architect", "coder"]
    assert found["sandbox.run"]["roles"] == []
    assert found["time.convert_time"]["server"] == "time"
    waiting = {name: tool["approval"] for name, tool in found.items() if tool["approval"]}
    assert waiting == {"project.search": "approve: project.search", "shop.order": "not marked read-only"}
    assert (found["shop.stock"]["read_only"], found["shop.count"]["read_only"]) == (True, False)
    assert done.stderr.decode().splitlines() == [
        "swarm-graph: note: tools.coder: time.nope is the name of no tool"
    ]


@pytest.mark.slow
def test_a_server_that_does_not_start_is_one_line_and_the_others_are_listed(tmp_path: Path) -> None:
    write_config(
        tmp_path,
        mcp_servers={
            "gone": {"command": "no-such-mcp-server"},
            "keyless": {**TIME, "env": {"TIME_KEY": "${NO_SUCH_VARIABLE}"}},
            "left-out": {"command": "no-such-mcp-server", "disabled": True},
            "time": TIME,
        },
    )
    done = swarm(tmp_path, "list", code=1)
    told = done.stderr.decode().splitlines()
    assert len(told) == 2
    assert all("; " in line for line in told), "each names its cure"
    assert "no-such-mcp-server" in told[0]
    assert "NO_SUCH_VARIABLE" in told[1]
    assert b"time.get_current_time" in done.stdout


@pytest.mark.slow
def test_a_tool_is_shown_as_a_model_sees_it(folder: Path) -> None:
    found = document(folder, "show", "time.convert_time")
    assert found["shown_to_models"]["name"] == "time__convert_time"
    assert set(found["arguments"]["required"]) <= set(found["shown_to_models"]["parameters"]["properties"])
    text = swarm(folder, "show", "project.search").stdout.decode()
    assert "waits for a person: approve: project.search" in text
    assert '"name": "project__search"' in text


@pytest.mark.slow
def test_a_server_is_shown_with_its_log(folder: Path) -> None:
    found = document(folder, "show", "shop")
    assert {"shop.stock", "shop.order", "shop.count"} <= {tool["tool"] for tool in found["tools"]}
    assert [resource["uri"] for resource in found["resources"]] == ["shop://parts"]
    assert [prompt["prompt"] for prompt in found["prompts"]] == ["ask_for(part)"]
    assert (found["about"], Path(found["log"]).name) == ("shop 1.2", "shop.log")
    assert Path(found["log"]).is_file()


def test_a_misspelled_tool_is_an_error_that_names_the_right_one(folder: Path) -> None:
    assert b"did you mean 'project.search'?" in swarm(folder, "show", "project.serch", code=2).stderr
    assert b"did you mean 'time.convert_time'?" in swarm(folder, "try", "time.convert_tim", code=2).stderr


def test_a_call_is_checked_bounded_and_timed(folder: Path) -> None:
    given = ("source_timezone=UTC", "time=06:30", "target_timezone=Asia/Vientiane")
    done = swarm(folder, "try", "time.convert_time", *given)
    assert b"+7.0h" in done.stdout
    assert b"[cut: 164 of 315 characters shown]" in done.stdout
    assert done.stderr.startswith(b"swarm-graph: time.convert_time: answered after ")
    assert "path" in document(folder, "try", "project.read", "--repo", "plant", code=2)["text"]
    cut = document(folder, "try", "project.read", '{"path": "pump.py"}', "--repo", "plant")
    assert cut["text"].startswith("pump.py, lines 1 to ")
    assert len(cut["text"]) < 300
    failed = document(folder, "try", "project.read", "path=no.py", "--repo", "plant", code=1)
    assert failed["outcome"] == "failed"


def test_built_in_tools_see_the_repository_or_the_inputs(folder: Path) -> None:
    seen = swarm(folder, "try", "project.list", "--input", "notes.md").stdout.decode()
    assert "notes.md" in seen
    assert "pump.py" not in seen
    refused = swarm(folder, "try", "project.list", code=2)
    assert b"--repo DIR or --input FILE" in refused.stderr
    misspelled = swarm(folder, "try", "project.raed", "path=a", code=2)
    assert b"did you mean 'project.read'" in misspelled.stderr


@pytest.mark.slow
def test_a_call_of_a_server_that_may_change_something_needs_yes(folder: Path) -> None:
    given = ("try", "shop.order", "part=seal", "number=2")
    assert b"(not marked read-only); --yes calls it" in swarm(folder, *given, code=2).stderr
    assert swarm(folder, *given, "--yes").stdout == b"ordered 2 seal\n"


def test_a_call_that_waits_in_a_session_needs_yes_or_a_person(folder: Path) -> None:
    given = ("try", "project.search", "text=FALL-103", "--repo", "plant")
    assert b"--yes calls it" in swarm(folder, *given, code=2).stderr
    assert b"tags.csv:1" in swarm(folder, *given, "--yes").stdout


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 4)])
def test_a_person_at_the_terminal_is_asked(answer: str, code: int, folder: Path) -> None:
    ours, theirs = pty.openpty()
    given = ("tools", "try", "project.search", "text=FALL-103", "--repo", "plant")
    with warm.Process(*given, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the program has ended
            pass
        child.wait()
    os.close(ours)
    assert child.returncode == code
    assert b'project.search {"text": "FALL-103"}' in shown
    assert (b"tags.csv:1" in shown) == (answer == "y")


@pytest.mark.parametrize("name", ["projects__eu.stock", "projects__eu__stock_0a1b2c3d"])
def test_a_server_whose_name_looks_like_that_of_built_in_tools_is_asked(tmp_path: Path, name: str) -> None:
    write_config(tmp_path, mcp_servers={"projects__eu": {"command": "no-such-mcp-server"}})
    done = swarm(tmp_path, "try", name, code=1)
    assert b"MCP server 'projects__eu': " in done.stderr


SCHEMA = {"properties": {"text": {"type": "string"}, "lines": {"type": "integer"}, "any": {}, "free": True}}


def test_arguments_are_read_as_the_schema_says() -> None:
    assert read_arguments(["text=12", "lines=12", "any=a=b", "free=3"], SCHEMA) == {
        "text": "12", "lines": 12, "any": "a=b", "free": 3,
    }  # fmt: skip
    assert read_arguments(['{"lines": 3}'], SCHEMA) == {"lines": 3}
    assert read_arguments([], SCHEMA) == {}
    for wrong in (["{lines"], ["lines"], ["lines=1", "lines=2"]):
        with pytest.raises(InputError):
            read_arguments(wrong, SCHEMA)
