"""One JSON action bound by a schema: what is left of schemas; trained weights write only valid calls."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from servers.llama import Llama
from servers.trained_model import NAME

from swarm_graph.config import load_config
from swarm_graph.errors import UnreadableAnswer
from swarm_graph.models.pool import ModelPool
from swarm_graph.setup.measure import ask_once
from swarm_graph.state import Reply, ToolCall
from swarm_graph.tool_settings import McpServer, ToolLimits
from swarm_graph.tools.action import (
    ANSWER,
    MAX_SHORT_TEXT,
    MAX_TEXT,
    action_schema,
    read_action,
    tools_prompt,
)
from swarm_graph.tools.arguments import fitted_arguments
from swarm_graph.tools.mcp_servers import McpServers
from swarm_graph.tools.tool import Tool

KINDS = (
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf", "maxItems",
    "minItems", "maxLength", "minLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "title",
)  # fmt: skip
"""The keywords that llama.cpp's grammars know."""


def tool(name: str, properties: dict[str, Any], required: list[str], **more: Any) -> Tool:
    schema = {"type": "object", "properties": properties, "required": required, **more}

    async def call(**arguments: Any) -> str:
        return json.dumps(arguments)

    made = StructuredTool.from_function(coroutine=call, name=name, description=name, args_schema=schema)
    return Tool(name, made, schema, f"Does {name}.")


TEXT = {"type": "string"}
FILES = [
    tool(
        "fs.read_text_file",
        {"path": TEXT, "tail": {"type": "number"}, "head": {"type": "number"}},
        ["path"],
        **{"$schema": "http://json-schema.org/draft-07/schema#"},
    ),
    tool(
        "fs.edit_file",
        {
            "path": TEXT,
            "edits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"oldText": TEXT, "newText": TEXT},
                    "required": ["oldText", "newText"],
                    "additionalProperties": False,
                },
            },
            "dryRun": {"type": "boolean", "default": False},
        },
        ["path", "edits"],
        additionalProperties=False,
    ),
    tool("fs.read_multiple_files", {"paths": {"type": "array", "items": TEXT, "minItems": 1}}, ["paths"]),
    tool("fs.list_allowed_directories", {}, []),
]
"""The shape of the npm file system server's tools."""

AWKWARD = [
    tool(
        "odd.place",
        {
            "where": {"$ref": "#/$defs/Place"},
            "unit": {"$ref": "#/$defs/Unit"},
            "limit": {
                "anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}],
                "default": None,
            },
        },
        ["where", "unit"],
        **{
            "$defs": {
                "Unit": {"enum": ["m", "km"], "title": "Unit"},
                "Place": {
                    "allOf": [{"$ref": "#/$defs/Named"}],
                    "properties": {"level": {"type": ["integer", "null"], "minimum": 0}},
                    "required": ["level"],
                },
                "Named": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 20}},
                    "required": ["name"],
                },
            }
        },
    ),
    tool(
        "odd.tree",
        {"node": {"$ref": "#/$defs/Node"}},
        ["node"],
        **{
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "integer", "exclusiveMinimum": 0},
                        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                    },
                    "required": ["value", "next"],
                }
            }
        },
    ),
    tool("odd.free", {"options": {"type": "object"}, "any": {}, "tool": {"const": "x"}}, ["tool"]),
    tool(
        "odd.choice",
        {
            "by": {
                "oneOf": [
                    {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
                    {"type": "string", "pattern": "^[a-z]+$", "format": "uri", "maxLength": 12},
                ]
            },
            "level": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        ["level"],
        additionalProperties=False,
        patternProperties={"^x": {}},
    ),
]


def keywords(schema: Any, *, in_properties: bool = False) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, inner in schema.items():
            if not in_properties:
                yield key
            if key not in ("enum", "const") or in_properties:
                yield from keywords(inner, in_properties=key == "properties" and not in_properties)
    elif isinstance(schema, list):
        for inner in schema:
            yield from keywords(inner)


def arguments_of(one: Tool) -> dict[str, Any]:
    found: dict[str, Any] = action_schema([one])["anyOf"][0]["properties"]["arguments"]
    return found


def test_only_what_grammars_know_is_left() -> None:
    schema = action_schema([*FILES, *AWKWARD])
    Draft202012Validator.check_schema(schema)
    assert {*keywords(schema)} <= {*KINDS}
    assert [branch["properties"]["tool"]["const"] for branch in schema["anyOf"]] == [
        *(one.wire_name for one in [*FILES, *AWKWARD]),
        ANSWER,
    ]


def test_references_are_written_out_and_parts_put_together() -> None:
    place, tree, free, choice = map(arguments_of, AWKWARD)
    name = {"type": "string", "minLength": 1, "maxLength": 20}
    level = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}
    assert place["properties"]["where"]["properties"] == {"name": name, "level": level}
    assert {*place["properties"]["where"]["required"]} == {"name", "level"}
    assert place["properties"]["unit"] == {"enum": ["m", "km"]}
    assert place["required"] == ["where", "unit"]
    node = tree["properties"]["node"]["properties"]
    assert node["next"] == {"type": "null"}
    assert node["children"]["maxItems"] == 0
    assert free["properties"]["options"]["type"] == "object"
    assert choice["properties"]["by"]["anyOf"][1] == {"type": "string", "maxLength": 12}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "http://localhost/x"}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"type": "array"},
        {
            "properties": {
                "a": {"type": "nonsense"},
                "b": {"enum": []},
                "c": None,
                "d": {"items": 3, "type": "array"},
            }
        },
        {"type": "object", "properties": {"a": {"enum": [*range(1000)]}}, "allOf": [None, {"required": 3}]},
    ],
)
def test_odd_schemas_become_schemas_of_objects(schema: dict[str, Any]) -> None:
    odd = Tool("odd", FILES[0].tool, schema, "Odd.")
    reduced = arguments_of(odd)
    assert reduced["type"] == "object"
    Draft202012Validator.check_schema(reduced)
    assert {*keywords(reduced)} <= {*KINDS}


def test_schemas_that_multiply_are_cut() -> None:
    many = {f"A{n}": {"anyOf": [{"$ref": f"#/$defs/A{n + 1}"}] * 8} for n in range(20)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": {**many, "A20": {}}}
    assert len(json.dumps(arguments_of(Tool("odd", FILES[0].tool, schema, "Odd.")))) < 500_000


def test_an_action_is_read() -> None:
    call = ToolCall("fs.read_text_file", {"path": "a.py"})
    plain = '{"tool": "fs__read_text_file", "arguments": {"path": "a.py"}}'
    for text in (
        plain,
        f"```json\n{plain}\n```",
        f"I read it: {plain}",
        plain.replace("__", "."),
        plain[:-1],
    ):
        assert read_action(text, FILES) == call
    assert read_action('{"tool": "answer"}', FILES) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I need no tool.", "holds no action"),
        ("", "holds no action"),
        ('{"tool": "fs__read_text_file", "arguments": {"path": "a', "holds no action"),
        (
            '{"tool": "rm", "arguments": {}}',
            "names no tool that is offered: 'rm'; choose fs__read_text_file, ",
        ),
        ('{"arguments": {}}', "names no tool"),
        ('{"tool": "fs__edit_file", "arguments": []}', "no JSON object"),
        ('{"tool": "answer"} {"tool": "answer"}', "more than one action"),
    ],
)
def test_what_is_no_action_is_said(text: str, problem: str) -> None:
    with pytest.raises(UnreadableAnswer, match=problem):
        read_action(text, FILES)


def test_a_text_that_fills_its_bound_is_probably_cut_off() -> None:
    def edit(text: str) -> str:
        edits = [{"oldText": "x", "newText": text}]
        return json.dumps({"tool": "fs__edit_file", "arguments": {"path": "a", "edits": edits}})

    assert read_action(edit("y" * (MAX_TEXT - 1)), FILES)
    with pytest.raises(UnreadableAnswer, match=r"edits\.0\.newText has 2,000 characters"):
        read_action(edit("y" * MAX_TEXT), FILES)


def test_an_action_that_its_answer_cuts_off_is_none() -> None:
    whole = '{"tool": "fs__read_text_file", "arguments": {"path": "a", "tail": 10}}'
    assert read_action(whole, FILES, is_cut=True)
    for cut in (whole[:-1], whole[:-3], '{"tool": "answer"'):
        with pytest.raises(UnreadableAnswer, match="cut off at the limit"):
            read_action(cut, FILES, is_cut=True)


def test_a_path_is_short() -> None:
    assert arguments_of(FILES[0])["properties"]["path"]["maxLength"] == MAX_SHORT_TEXT
    assert arguments_of(FILES[2])["properties"]["paths"]["items"]["maxLength"] == MAX_SHORT_TEXT
    edit = arguments_of(FILES[1])["properties"]["edits"]["items"]["properties"]
    assert edit["newText"]["maxLength"] == MAX_TEXT


def test_the_prompt_names_what_is_offered() -> None:
    told = tools_prompt(FILES)
    assert "- fs__edit_file(path: string, edits: array, dryRun?: boolean): Does fs.edit_file." in told
    assert '  edits: {"type": "array", "items": {"type": "object", "properties": {"oldText"' in told
    assert "- fs__list_allowed_directories(): " in told


@pytest.mark.slow
def test_trained_weights_write_valid_calls_20_of_20(trained: Llama) -> None:
    """Tools of real MCP servers, of the file system server's shape, and awkward ones.

    Ten times the model chooses among several, ten times it can only call one.
    """
    answers = asyncio.run(_answers(trained.url))
    assert len(answers) == 20
    called = 0
    for reply, tools in answers:
        assert not reply.truncated
        call = read_action(reply.text, tools)
        if call is not None:
            one = next(one for one in tools if one.name == call.name)
            assert fitted_arguments(one, call.arguments) == call.arguments, "valid without a correction"
            Draft202012Validator(one.schema).validate(call.arguments)
            called += 1
    assert called >= 15, "the model calls a tool in most answers"


async def _answers(url: str) -> list[tuple[Reply, list[Tool]]]:
    config = load_config({"url": url, "model": NAME, "api_type": "openai"}, environ={})
    ask = partial(ask_once, ModelPool(config), config.entries[0])
    bin_dir = Path(sys.executable).parent
    servers = McpServers(
        {
            "time": McpServer(command=str(bin_dir / "mcp-server-time")),
            "git": McpServer(command=str(bin_dir / "mcp-server-git")),
        },
        ToolLimits(),
    )
    try:
        time, git = [await servers.tools(name) for name in ("time", "git")]
    finally:
        await servers.close()
    chosen: list[tuple[list[Tool], str]] = [
        *((time, f"What time is it in {place}?") for place in ("Tokyo", "Vienna", "UTC")),
        (git[:2], "Show the status of /srv/app."),
        (git[1:4], "What is staged in /srv/app?"),
        (git[5:8], "Commit /srv/app with the message fix."),
        *((FILES, asked) for asked in ("Read README.md.", "Which folders?", "Show a.py.", "Change b.py.")),
    ]
    forced = [time[1], git[5], *FILES, *AWKWARD]
    answers = []
    for tools, asked in [*chosen, *(([tool], f"Call {tool.wire_name}.") for tool in forced)]:
        form = 'Answer with one JSON object: {"tool": "NAME", "arguments": {…}}'
        message = HumanMessage(f"{asked}\n\n{tools_prompt(tools)}\n\n{form}")
        schema = action_schema(tools)
        reply = await ask([message], schema["anyOf"][0] if len(tools) == 1 else schema)
        assert reply is not None, "the server takes the schema"
        answers.append((reply, tools))
    return answers
