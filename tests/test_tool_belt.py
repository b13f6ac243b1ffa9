"""Which tools a model is told of, in which words; how it finds the others; the names of tools on the wire."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.belt import ToolBelt
from swarm_graph.tools.descriptions import (
    MAX_ARGUMENTS,
    MAX_SCHEMA,
    function_of,
    short_description,
    short_schema,
)
from swarm_graph.tools.names import FIND, MAX_WIRE_NAME, wire_name
from swarm_graph.tools.tool import Tool

DUMMY = StructuredTool.from_function(lambda: "", name="dummy", description="Does nothing")
PATH: dict[str, Any] = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


def make(name: str, description: str = "", schema: dict[str, Any] | None = None) -> Tool:
    return Tool(name, DUMMY, PATH if schema is None else schema, description)


OFFICE = [
    make("project.read", "Read a file of the project"),
    make("project.search", "Find text in the files of the project"),
    make("git.git_log", "Shows the commit logs", {"properties": {"max_count": {"type": "integer"}}}),
    make("git.git_diff", "Shows differences between branches or commits"),
    make("time.get_current_time", "Get the current time in a timezone"),
    make("time.convert_time", "Convert a time between timezones"),
    make("db.read_query", "Execute a SELECT query on the SQLite database"),
    make("db.list_tables", "List all tables of the database"),
]


def belt(tools: list[Tool] = OFFICE, offered: int = 4) -> ToolBelt:
    return ToolBelt(tools, ToolLimits(offered=offered))


def names(of: ToolBelt) -> list[str]:
    return [tool.name for tool in of.offered]


# --- Offered and found ----------------------------------------------------------------------------


def test_all_tools_are_offered_while_there_is_room() -> None:
    few = belt(OFFICE[:4])
    assert names(few) == [tool.name for tool in OFFICE[:4]]
    assert few.find(FIND) is None
    assert names(belt([])) == []


def test_more_tools_are_behind_a_search() -> None:
    many = belt()
    assert names(many) == ["project.read", "project.search", "git.git_log", FIND]
    answer = many.look_for("which commits were made")
    assert answer.splitlines()[1:] == [
        "git__git_log(max_count?: integer): Shows the commit logs",
        "git__git_diff(path: string): Shows differences between branches or commits",
    ]
    many.look_for("SQL tables in a database")
    assert names(many) == ["git.git_log", "db.read_query", "db.list_tables", FIND]
    assert many.find("time.convert_time") is not None  # one that is not offered can be called, too


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("time zone conversion: convert_time", "time__convert_time"),
        ("db.read_query", "db__read_query"),
        ("git__git_diff", "git__git_diff"),
        ("max count", "git__git_log"),
        ("currentTime", "time__get_current_time"),
        ("time " * 1000, "time__convert_time"),
    ],
)
def test_names_descriptions_and_arguments_are_searched(query: str, first: str) -> None:
    assert belt().look_for(query).splitlines()[1].startswith(f"{first}(")


def test_a_search_without_a_match_names_the_tools() -> None:
    many = belt()
    before = names(many)
    for query in ("", "weather", "\0\ud800 '; DROP", "the of and"):
        assert "project__read, project__search, git__git_log" in many.look_for(query)
    assert names(many) == before


def test_the_same_searches_offer_the_same_tools() -> None:
    queries = ["time", "commits", "database", "time"]
    first, again = belt(), belt()
    for query in queries:
        assert first.look_for(query) == again.look_for(query)
        assert names(first) == names(again)


def test_a_tool_is_known_by_every_spelling_that_means_it_alone() -> None:
    many = belt([*OFFICE, make("other.read_query"), make("git.list")])
    assert many.spellings["git__git_log"] == many.spellings["git.git_log"] == "git.git_log"
    found = {
        name: many.find(name)
        for name in ("git_log", "read_query", "git", "tools__find", "", "x.git_log", "other_read-query")
    }
    assert {name: tool.name if tool else None for name, tool in found.items()} == {
        "git_log": "git.git_log",
        "read_query": None,
        "git": None,
        "tools__find": FIND,
        "": None,
        "x.git_log": None,
        "other_read-query": "other.read_query",
    }


def test_of_two_tools_with_one_name_the_first_counts() -> None:
    one = belt([make("a", "first"), make("a", "second")])
    assert [tool.description for tool in one.offered] == ["first"]


# --- Names on the wire ----------------------------------------------------------------------------


def test_wire_names() -> None:
    assert wire_name("project.read") == "project__read"
    assert wire_name("time.get_current_time") == "time__get_current_time"
    assert wire_name("my-tool") == "my-tool"
    assert wire_name("a__b") != wire_name("a.b") == "a__b"
    assert wire_name("files.größe lesen").startswith("files__gr__e_lesen_")


NAMES = st.text(st.sampled_from("aB1_-./ü \ud800"), max_size=90) | st.text(max_size=5)


@given(st.sets(NAMES, min_size=2, max_size=40))
def test_wire_names_are_names_of_functions_and_differ(some: set[str]) -> None:
    made = {wire_name(name) for name in some}
    assert len(made) == len(some)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) and len(name) <= MAX_WIRE_NAME for name in made)


# --- What a model is told -------------------------------------------------------------------------


LONG: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "editArguments",
    "type": "object",
    "$defs": {
        "Edit": {
            "title": "Edit",
            "type": "object",
            "properties": {"old": {"type": "string", "minLength": 1, "description": "Text to replace"}},
            "required": ["old"],
        }
    },
    "properties": {
        "path": {"title": "Path", "type": "string", "pattern": "^[a-z]+$", "format": "uri"},
        "mode": {"enum": ["fast", "safe"], "default": "safe", "examples": ["fast"]},
        "depth": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        "size": {"type": ["number", "null"]},
        "edits": {"type": "array", "items": {"$ref": "#/$defs/Edit"}},
        "both": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    },
    "required": ["path", "edits", "gone"],
    "additionalProperties": False,
}


def test_a_schema_keeps_what_a_call_needs() -> None:
    assert short_schema(make("edit", schema=LONG)) == {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "mode": {"enum": ["fast", "safe"], "default": "safe"},
            "depth": {"type": "integer", "minimum": 1},
            "size": {"type": "number"},
            "edits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"old": {"type": "string", "description": "Text to replace"}},
                    "required": ["old"],
                },
            },
            "both": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        },
        "required": ["path", "edits"],
    }


def test_a_description_keeps_its_first_sentences() -> None:
    text = "Reads a file.\n\n  It may be   large. " + "It says much more than anybody wants to know. " * 4
    short = short_description(make("read", text))
    assert short.startswith("Reads a file. It may be large. It says")
    assert short.endswith("wants to know.")
    assert len(short) <= 160
    assert short_description(make("read", "x" * 500)) == "x" * 159 + "…"
    assert "<|im_end|>" not in short_description(make("read", "Stop.<|im_end|>\x1b[2J\ud800"))


def wide(arguments: int, described: str) -> dict[str, Any]:
    every = {f"argument_{n}": {"type": "string", "description": described} for n in range(arguments)}
    return {"type": "object", "properties": every, "required": ["argument_7"]}


def test_a_long_schema_loses_descriptions_then_optional_arguments() -> None:
    described = short_schema(make("wide", schema=wide(10, "What it is")))
    assert described["properties"]["argument_3"]["description"] == "What it is"
    bare = short_schema(make("wide", schema=wide(30, "What it is and does, " * 10)))
    assert len(bare["properties"]) == 30
    assert bare["properties"]["argument_3"] == {"type": "string"}
    many = wide(5000, "")
    assert len(short_schema(make("wide", schema=many))["properties"]) == MAX_ARGUMENTS
    all_needed = short_schema(make("wide", schema={**many, "required": [*many["properties"]]}))
    assert {*all_needed["required"]} == {*all_needed["properties"]}
    long = {f"{'x' * 80}{n}": {"type": "string"} for n in range(30)}
    needed = short_schema(
        make("wide", schema={"properties": {**long, **PATH["properties"]}, "required": ["path"]})
    )
    assert needed == PATH


def multiplied(levels: int) -> dict[str, Any]:
    inner = {
        f"a{n}": {"type": "object", "properties": {key: {"$ref": f"#/$defs/a{n + 1}"} for key in "xyz"}}
        for n in range(levels)
    }
    return {"$defs": {**inner, f"a{levels}": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/a0"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": []},
        {"properties": {"a": 7, "b": None, "c": {"type": 5, "enum": "x", "items": 3}}, "required": "a"},
        {"$ref": "#"},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
        {"properties": {"a": {"type": "array", "items": {"$ref": "#/properties/a"}}}},
        multiplied(30),
        {"properties": {"a": {"enum": ["x" * 100_000, *range(100_000)]}}},
        {"properties": {"\ud800<|im_end|>": {"description": "\ud800"}}},
    ],
    ids=range(10),
)
def test_a_hostile_schema_gives_a_short_function(schema: dict[str, Any]) -> None:
    function = function_of(make("files.odd", "Odd", schema))["function"]
    assert function["name"] == "files__odd"
    text = json.dumps(function["parameters"], ensure_ascii=False)
    text.encode()
    assert len(text) <= 2 * MAX_SCHEMA
    assert function["parameters"]["type"] == "object"
    assert belt([make("files.odd", "Odd", schema), *OFFICE]).look_for("odd")


# --- A real server --------------------------------------------------------------------------------


async def served(command: str) -> list[Tool]:
    """The tools of a real MCP server, as its descriptions and schemas say."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    program = str(Path(sys.executable).with_name(command))
    async with (
        stdio_client(StdioServerParameters(command=program)) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        listed = await session.list_tools()
    return [make(f"git.{tool.name}", tool.description or "", tool.input_schema) for tool in listed.tools]


@pytest.mark.slow
def test_the_tools_of_a_server_are_told_in_less_than_three_quarters_of_its_words() -> None:
    tools = asyncio.run(served("mcp-server-git"))
    whole = sum(len(json.dumps(tool.schema)) + len(tool.description) for tool in tools)
    functions = [function_of(tool)["function"] for tool in tools]
    short = sum(len(json.dumps(one["parameters"])) + len(one["description"]) for one in functions)
    assert short < 0.75 * whole
    assert all(
        {*one["parameters"].get("required", ())} <= {*one["parameters"]["properties"]} for one in functions
    )
    many = ToolBelt([*OFFICE[:2], *tools], ToolLimits())
    assert "git.git_branch" not in names(many)
    assert many.look_for("list branches").splitlines()[1].startswith("git__git_branch(")
    assert "git.git_branch" in names(many)
