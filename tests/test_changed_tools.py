"""A session that is resumed with other tools says so; what its calls had returned is kept."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from support import CODE, Crew, config

from swarm_graph import SwarmCoordinator
from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.models.ask import Ask
from swarm_graph.sessions.resume import missing_tools
from swarm_graph.state import ToolOutcome, ToolResult

CALL = '<tool_call>{"name": "look_up_tag", "arguments": {"tag": "FALL-103"}}</tool_call>'


@tool
def look_up_tag(tag: str) -> str:
    """Return the trip of a tag."""
    return f"{tag}: 12.5 m3/h"


def coder(ask: Ask) -> str:
    return CODE if "12.5 m3/h" in ask.prompt or "no tool" in ask.prompt else CALL


def coordinator(folder: Path, crew: Crew, **more: Any) -> SwarmCoordinator:
    settings = config(workflow={"max_iterations": 1, "pause_after": ["coder"]})
    return SwarmCoordinator(
        settings, data_dir=folder / ".swarm", output_dir=folder / "out", context=crew.context, **more
    )


def test_a_resume_names_the_functions_that_its_roles_lack(tmp_path: Path) -> None:
    crew = Crew({"coder": coder})
    began = coordinator(tmp_path, crew, tools={"coder": [look_up_tag]})
    assert began.run_workflow("x", "standard", session_id="s")["phase"] == "paused"
    other = coordinator(tmp_path, crew, tools={"architect": [look_up_tag]})
    with pytest.warns(UserWarning, match=r"session 's' calls functions .* its roles: look_up_tag \(coder\)"):
        assert other.resume("s", "approve")["phase"] == "complete"
    assert [call.result.text for call in began.tool_calls("s") if call.result] == ["FALL-103: 12.5 m3/h"]


def test_a_resume_names_the_function_whose_call_waits(tmp_path: Path) -> None:
    settings = config(workflow={"max_iterations": 1}, approve=["look_up_tag"])
    folders: dict[str, Any] = {"data_dir": tmp_path / ".swarm", "output_dir": tmp_path / "out"}
    context = Crew({"coder": coder}).context
    began = SwarmCoordinator(settings, context=context, tools={"coder": [look_up_tag]}, **folders)
    assert began.run_workflow("x", "standard", session_id="s")["phase"] == "paused"
    with pytest.warns(UserWarning, match=r"its roles: look_up_tag \(coder\)"):
        SwarmCoordinator(settings, context=context, **folders).resume("s", "approve")


def test_a_resume_with_the_same_functions_says_nothing(tmp_path: Path) -> None:
    crew = Crew({"coder": coder})
    given = {"coder": [look_up_tag]}
    coordinator(tmp_path, crew, tools=given).run_workflow("x", "standard", session_id="s")
    with warnings.catch_warnings(action="error"):
        state = coordinator(tmp_path, crew, tools=given).resume("s", "approve")
    assert state["phase"] == "complete"


def test_only_functions_of_programs_are_missed() -> None:
    def call(name: str, outcome: ToolOutcome = "answered", server: str = "") -> ToolRecord:
        result = ToolResult(outcome, "", 0)
        return ToolRecord("s", "coder", "coder", "coder-1", 1, 1, "key", name, server, result=result)

    others = [call("project.read"), call("tools.find"), call("time.now", server="time")]
    invented = call("ask_google", "unknown_tool")
    assert missing_tools([*others, invented], [], {}) == []
    assert missing_tools([call("a"), call("b", "failed"), call("a")], [], {}) == [
        ("coder", "a"),
        ("coder", "b"),
    ]
