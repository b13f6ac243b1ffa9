"""What an MCP server offers: tools, resources and prompts, checked and bounded; and tools that use them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import mcp_types as types
from jsonschema import SchemaError
from jsonschema.validators import validator_for
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from mcp.client.session import ClientSession
from pydantic import Field

from swarm_graph.text import check_json_like, cut, printable
from swarm_graph.tools.mcp_connection import Refused
from swarm_graph.tools.mcp_results import call_text, prompt_text, resource_text
from swarm_graph.tools.tool import Tool

MAX_LISTED, MAX_PAGES = 1000, 100
"""Tools, resources and prompts of a server that are listed, and the pages that are read for each list."""
MAX_NAME, MAX_DESCRIPTION, MAX_SCHEMA = 64, 4000, 50_000
"""Characters of a tool's own name, of its description, and of its schema as JSON."""
MAX_SHOWN = 10
"""Resources and prompts that the description of their tool names."""

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

READ_RESOURCE, GET_PROMPT = "read_resource", "get_prompt"

Ask = Callable[[ClientSession], Awaitable[Any]]
"""Sends one request over a session."""


class Server(Protocol):
    """The server that is asked.

    Attributes:
        name: Its name.
    """

    name: str

    async def send(self, ask: Ask, *, again: bool, is_list: bool = False) -> Any:
        """The answer to a request.

        Args:
            ask: Sends it.
            again: Whether it may be sent again when the server ends while it works on it.
            is_list: Whether it asks for a list, which is a part of the server's start.
        """

    def masked(self, text: str) -> str:
        """A text of the server without secrets."""


class Listed(NamedTuple):
    """A resource or a prompt of a server, for people: its own words, printable and bounded."""

    name: str
    """The URI of a resource (or the pattern of URIs), the name of a prompt with those of its arguments."""
    description: str


@dataclass(frozen=True)
class Offer:
    """What a server offers.

    Attributes:
        about: Its own name and version.
        tools: Its tools, then those that read its resources and prompts.
        resources: Its resources.
        prompts: Its prompts.
        left_out: What cannot be used, and why, a line each.
    """

    about: str = ""
    tools: list[Tool] = field(default_factory=list)
    resources: list[Listed] = field(default_factory=list)
    prompts: list[Listed] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


async def offer_of(server: Server, session: ClientSession) -> Offer:
    """Ask a server what it offers.

    Args:
        server: The server.
        session: The opened session, for what it has said of itself.

    Raises:
        ToolError: It cannot be reached, or its answers cannot be used.
        TimeoutError: It does not answer.
    """
    has, info = session.server_capabilities or types.ServerCapabilities(), session.server_info
    offer = Offer(server.masked(_line(f"{info.name} {info.version}")) if info else "")
    if has.tools:
        listed = await _listed(server, ClientSession.list_tools, "tools", offer)
        offer.tools.extend([tool async for tool in _tools(server, listed, offer.left_out)])
    if has.resources:
        offer.resources.extend(
            _entry(server, resource.uri, resource.title or resource.name)
            for resource in await _listed(server, ClientSession.list_resources, "resources", offer)
        )
        offer.resources.extend(
            _entry(server, template.uri_template, template.title or template.name)
            for template in await _listed(
                server, ClientSession.list_resource_templates, "resource_templates", offer
            )
        )
        offer.tools.extend(_own(server, READ_RESOURCE, offer))
    if has.prompts:
        offer.prompts.extend(
            _entry(server, _signature(prompt), prompt.description or prompt.title or "")
            for prompt in await _listed(server, ClientSession.list_prompts, "prompts", offer)
        )
        offer.tools.extend(_own(server, GET_PROMPT, offer))
    return offer


async def _listed(server: Server, ask: Callable[..., Awaitable[Any]], what: str, offer: Offer) -> list[Any]:
    """All pages of a list, up to the bounds."""
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        params = types.PaginatedRequestParams(cursor=cursor) if cursor else None
        try:
            page = await server.send(partial(ask, params=params), again=True, is_list=True)
        except Refused as error:
            if error.code != types.METHOD_NOT_FOUND:
                raise
            return []  # it says that it has resources, for example, and knows no templates of them
        found += getattr(page, what)
        cursor = page.next_cursor
        if len(found) > MAX_LISTED or not cursor:
            break
    if len(found) > MAX_LISTED or cursor:
        found = found[:MAX_LISTED]
        offer.left_out.append(
            f"{what.replace('_', ' ')} after the first {len(found)}: the server lists too many"
        )
    return found


# --- tools ---------------------------------------------------------------------------------------


class _ServerTool(BaseTool):
    """A tool of an MCP server. It is asynchronous: the connection belongs to the event loop of the run."""

    call: Callable[[dict[str, Any]], Awaitable[Any]] = Field(exclude=True, repr=False)

    def _run(self, /, **arguments: Any) -> Any:
        raise NotImplementedError(f"the tool {self.name} of an MCP server is asynchronous: use ainvoke")

    async def _arun(self, /, **arguments: Any) -> Any:
        return await self.call(arguments)


async def _tools(server: Server, listed: Iterable[types.Tool], left_out: list[str]) -> AsyncIterator[Tool]:
    names: set[str] = set()
    for tool in listed:
        try:
            if tool.name in names:
                raise ValueError("there is another one of that name")
            schema = await asyncio.to_thread(_usable_schema, server, tool)  # a long one takes seconds
        except ValueError as error:
            left_out.append(server.masked(f"the tool {cut(ascii(tool.name), MAX_NAME)}: {error}"))
            continue
        names.add(tool.name)
        read_only = tool.annotations is not None and tool.annotations.read_only_hint is True
        yield _tool(
            server,
            tool.name,
            tool.description or tool.title or "",
            schema,
            _caller(server, tool.name, again=read_only),
            read_only=read_only,
        )


def _usable_schema(server: Server, tool: types.Tool) -> dict[str, Any]:
    """The schema of a tool's arguments, without secrets. ValueError says why the tool cannot be used."""
    if not _NAME.fullmatch(tool.name):
        raise ValueError(f"a name has 1 to {MAX_NAME} letters, digits, _ and -")
    if problem := _schema_problem(tool.input_schema):
        raise ValueError(f"the schema of its arguments {problem}")
    names = [tool.name, *(name for part in _objects(tool.input_schema) for name in part)]
    if any(server.masked(name) != name for name in names):  # a call needs them as they are
        raise ValueError("it repeats a secret")
    schema: dict[str, Any] = _masked(server, tool.input_schema)
    return schema


def _masked(server: Server, part: Any) -> Any:
    """A part of a schema without secrets."""
    if isinstance(part, Mapping):
        return {name: _masked(server, inner) for name, inner in part.items()}
    if isinstance(part, list):
        return [_masked(server, inner) for inner in part]
    return server.masked(part) if isinstance(part, str) else part


def _schema_problem(schema: dict[str, Any]) -> str:
    """What is wrong with a schema, as the predicate of a sentence."""
    try:
        check_json_like(schema)
        if len(json.dumps(schema)) > MAX_SCHEMA:
            return f"has more than {MAX_SCHEMA:,} characters"
        if reference := next(_foreign_references(schema), None):
            return f"refers to another document, {cut(ascii(reference), MAX_NAME)}"
        validator_for(schema).check_schema(schema)
    except ValueError as error:
        return str(error)
    except SchemaError as error:
        return f"is not valid: {cut(_line(error.message), 200)}"
    return ""


def _foreign_references(schema: dict[str, Any]) -> Iterator[str]:
    """The references of a schema to other documents: a validator could fetch them from anywhere."""
    for part in _objects(schema):
        for key in _REFERENCES:
            if isinstance(part.get(key), str) and not part[key].startswith("#"):
                yield part[key]


def _objects(schema: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema and all objects in it."""
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            yield part
            pending += part.values()
        elif isinstance(part, list):
            pending += part


def _caller(server: Server, tool: str, *, again: bool) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    async def call(arguments: dict[str, Any]) -> Any:
        result: types.CallToolResult = await server.send(
            lambda session: session.call_tool(tool, arguments), again=again
        )
        text = server.masked(call_text(result))
        return ToolMessage(text, tool_call_id="", status="error") if result.is_error else text

    return call


# --- resources and prompts -----------------------------------------------------------------------


def _own(server: Server, name: str, offer: Offer) -> Iterator[Tool]:
    """The tool that reads the resources or the prompts of a server, if it lists any."""
    listed = offer.resources if name == READ_RESOURCE else offer.prompts
    if not listed:
        return
    if any(tool.name == f"{server.name}.{name}" for tool in offer.tools):
        offer.left_out.append(f"reading {name.split('_')[1]}s: the server has a tool of its own named {name}")
        return
    shown = "\n".join(f"{cut(item.name, 200)}: {cut(item.description, 200)}" for item in listed[:MAX_SHOWN])
    rest = f"\n({len(listed) - MAX_SHOWN} more)" if len(listed) > MAX_SHOWN else ""
    about, schema, call = _READERS[name]
    description = f"{about} of the MCP server {server.name}. It has:\n{shown}{rest}"
    yield _tool(server, name, description, schema, partial(call, server), read_only=True)


async def _read_resource(server: Server, arguments: dict[str, Any]) -> str:
    uri = str(arguments.get("uri", ""))
    result = await server.send(lambda session: session.read_resource(uri), again=True)
    return server.masked(resource_text(result))


async def _get_prompt(server: Server, arguments: dict[str, Any]) -> str:
    name = str(arguments.get("name", ""))
    given = arguments.get("arguments")
    texts = {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else None
    result = await server.send(lambda session: session.get_prompt(name, texts), again=True)
    return server.masked(prompt_text(result))


_TEXT = {"type": "string"}
_READERS: dict[str, tuple[str, dict[str, Any], Callable[[Server, dict[str, Any]], Awaitable[str]]]] = {
    READ_RESOURCE: (
        "Read a resource",
        {"type": "object", "properties": {"uri": _TEXT}, "required": ["uri"]},
        _read_resource,
    ),
    GET_PROMPT: (
        "Get the text of a prompt",
        {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "arguments": {"type": "object", "additionalProperties": _TEXT},
            },
            "required": ["name"],
        },
        _get_prompt,
    ),
}


def _tool(
    server: Server,
    name: str,
    description: str,
    schema: dict[str, Any],
    call: Callable[[dict[str, Any]], Awaitable[Any]],
    *,
    read_only: bool,
) -> Tool:
    full_name = f"{server.name}.{name}"
    bounded = server.masked(cut(printable(description[: 2 * MAX_DESCRIPTION]).strip(), MAX_DESCRIPTION))
    tool = _ServerTool(name=full_name, description=bounded, args_schema=schema, call=call)
    return Tool(full_name, tool, schema, bounded, server=server.name, read_only=read_only)


def _signature(prompt: types.Prompt) -> str:
    arguments = ", ".join(f"{one.name}{'' if one.required else '?'}" for one in prompt.arguments or [])
    return f"{prompt.name}({arguments})"


def _entry(server: Server, name: str, description: str) -> Listed:
    return Listed(server.masked(_line(name)), server.masked(_line(description)))


def _line(text: str) -> str:
    return cut(" ".join(printable(text[: 2 * MAX_DESCRIPTION]).split()), MAX_DESCRIPTION)
