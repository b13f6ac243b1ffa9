"""The forms in which models write one call of a tool: JSON, XML, Python, and a name with JSON behind it.

`written_calls.py` decides what may stand around calls, and whether a text consists of calls at all.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from swarm_graph.prompts.chat_template import WIDE_BAR
from swarm_graph.state import ToolCall
from swarm_graph.text import check_json_like, without_lone_surrogates
from swarm_graph.tools.mended_json import JsonReader

MAX_CALL = 200_000
"""Characters of a call in Python, or in Gemma's form, that are read."""
MAX_PARAMETERS = 500
"""Arguments of a call in XML that are read."""

_WORDS = r"(?:tool_?calls?|function_?calls?|tool_?uses?|tool_?code|tool_?calling|action)"
FRAME = re.compile(
    rf"</?(?:\w+:)?{_WORDS}>|"
    r"<\|/?(?:tool_?calls?(?:_\w+)?|function_?calls?|python_(?:tag|start|end)|action_(?:start|end)|plugin"
    r"|(?:START|END)_ACTION|tools_(?:prefix|suffix))\|>|"
    r"<\|tool_call>|<tool_call\|>|</?(?:start|end)_function_call>|"
    rf"(?:function)?<{WIDE_BAR}tool[\u2581_](?:calls?[\u2581_](?:begin|end)|sep){WIDE_BAR}>|"
    r"\[/?(?:TOOL_CALLS?|TOOL_REQUEST|END_TOOL_REQUEST)\]|functools(?=\[)|"
    r"</?(?:function|invoke|tool)>|</\w+:invoke>|>>>(?=\w)",
    re.IGNORECASE,
)
"""The marks that say that a call follows, or has ended."""

_NAME = r"[A-Za-z_][\w.-]{0,127}"
_PREFIX = re.compile(r"(?:functions?|default_api|tools?|api)[.:]")
_NAME_FIRST = re.compile(rf"(?P<name>{_NAME})(?::\d+)?")
_TO = re.compile(
    rf"(?:<\|start\|>)?(?:assistant)?\s*+(?:<\|channel\|>)?\s*+(?:commentary|analysis|final)?\s*+to=(?P<name>{_NAME})"
    r"\s*+(?:<\|channel\|>\s*+(?:commentary|analysis))?\s*+(?:<\|constrain\|>)?\s*+(?:json|code)?\s*+(?:<\|message\|>)?"
)
_CALL_BRACE = re.compile(rf"call:(?P<name>{_NAME})\s*+(?=\{{)")
_HEAD = re.compile(
    rf"<(?:(?:function|tool)=(?P<equals>{_NAME})>?"
    rf"|(?P<tag>(?:\w+:)?(?:function|invoke|tool|tool_call))\s+name=[\"']?(?P<quoted>{_NAME})[\"']?[^<>]*>"
    rf"|(?:tool_name|name|tool)>\s*+(?P<inside>{_NAME})\s*+</(?:tool_name|name|tool)>"
    rf"|(?P<itself>{_NAME})>)"
)
_BODY = re.compile(r"\s*+<(arguments|parameters|params|args|input)>\s*+")
_PARAMETER = re.compile(
    rf"\s*+<(?:(?P<kind>(?:\w+:)?(?:parameter|param|arg|argument))(?:=|\s+name=)[\"']?(?P<key>{_NAME})[\"']?[^<>]*"
    rf"|(?P<itself>{_NAME}))>"
)
_ARGUMENT_KEY = re.compile(r"\s*+<arg_key>(?P<key>[^<>]*)</arg_key>\s*+<arg_value>")
_BEFORE_JSON = re.compile(
    r"\s*+(?:\[CALL_ID\][^\[\]\s]*)?(?:\[ARGS\]|<\|tool_call_argument_begin\|>|\u273fARGS\u273f:|"
    rf"<{WIDE_BAR}tool[\u2581_]sep{WIDE_BAR}>|\**Action[ _]Input\**:)?\s*+"
    r"(?P<fence>```(?:json)?\s*+)?(?=\{)",
    re.IGNORECASE,
)
_PLAIN_INPUT = re.compile(r"[ \t]*\n\s*+\**Action[ _]Input\**:[ \t]*(?P<text>[^\n]*)", re.IGNORECASE)
_FENCE_END = re.compile(r"\s*+```")
_LIST_OF_PYTHON = re.compile(rf"\[\s*+(?={_NAME}\()")
_PYTHON = re.compile(rf"(?P<print>print\s*+\(\s*+)?(?:{_NAME}\s*+=\s*+)?(?:await\s+)?(?P<name>{_NAME})(?=\()")
_PRINT_ONLY = re.compile(r"\s*+print\s*+\(\s*+\w+\s*+\)")
_BRACKETS = re.compile(
    r"\"\"\".*?(?:\"\"\"|\Z)|'''.*?(?:'''|\Z)|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?|[()\[\]{}]",
    re.DOTALL,
)
_BRACE_PARTS = re.compile(
    r"(?P<quote><escape>|<\|\"\|>)(?P<text>.*?)(?P=quote)|(?P<json>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<key>[A-Za-z_]\w*)(?=\s*+:)|(?P<mark>[{}\[\]:,\s]+)|(?P<word>[\w.+-]+)",
    re.DOTALL,
)
_OBJECT = re.compile(r"\{\s*+[\"'}]")

_NAME_KEYS = (
    "name",
    "tool",
    "tool_name",
    "function",
    "function_name",
    "action",
    "recipient_name",
    "tool_call",
)
_ARGUMENT_KEYS = (
    "arguments", "parameters", "params", "args", "kwargs", "input", "inputs", "action_input", "tool_input",
    "tool_args", "tool_arguments", "tool_parameters", "function_arguments", "function_args",
)  # fmt: skip
_OTHER_KEYS = {"type", "id", "call_id", "tool_call_id", "index", "thought", "thoughts", "reasoning", "reason"}
"""Keys that a call may have besides its name and its arguments."""
_LIST_KEYS = ("tool_calls", "tool_call", "function_calls", "function_call", "calls", "actions", "tool_uses")
_SCHEMA_KEYS = {"type", "properties"}
"""Keys of arguments that are a schema: the declaration of a tool, and no call."""
_UNREAD = re.compile(
    rf"\s*+\{{\s*+\"(?:{'|'.join(_NAME_KEYS)})\"\s*+:\s*+\"(?P<name>{_NAME})\"\s*+,\s*+\"(?:{'|'.join(_ARGUMENT_KEYS)})\"\s*+:"
)
"""The beginning of a call whose JSON is broken."""
CUT = "it is cut off or broken"


class NoCalls(Exception):
    """The text is an answer; it makes no calls."""


class Form(NamedTuple):
    """Calls that were read, and where they end. Calls of tools that are not offered are left out."""

    calls: list[ToolCall]
    end: int


class CallForms:
    """Reads calls from the positions of one text.

    Attributes:
        names: The spellings of names that count.
        only_alone: Whether a call was read that counts only if the text holds nothing but calls.
    """

    def __init__(self, text: str, names: Mapping[str, str], arguments: Mapping[str, Sequence[str]]) -> None:
        self.names, self.only_alone = names, False
        self._text, self._arguments = text, arguments
        self._json = JsonReader(text)

    def read(self, position: int, *, framed: bool, fenced: bool, alone: bool) -> Form | None:
        """The call or the list of calls that begins at a position.

        Args:
            position: Where it begins.
            framed: Whether a frame says that a call follows.
            fenced: Whether a fenced block begins there.
            alone: Whether forms are read that count only in a frame, in a fence or alone.

        Returns:
            The calls; None if no call begins there.

        Raises:
            NoCalls: JSON or Python begins there that is no call.
        """
        text = self._text
        first = text[position : position + 1]
        if first == "[" and _LIST_OF_PYTHON.match(text, position):
            return self._python_list(position, plain=framed or fenced) if alone else None
        if first in ("{", "["):
            return self._json_calls(position, framed=framed)
        if first == "<" and (head := _HEAD.match(text, position)):
            return self._xml(head, framed=framed)
        for pattern in (_TO, _CALL_BRACE):
            if found := pattern.match(text, position):
                return self._named(found["name"], found.end(), framed=True, braces=pattern is _CALL_BRACE)
        if not alone:
            return None
        if fenced or framed:
            position = self._after_prints(position)
        found = _PYTHON.match(text, position)
        if found and self._tool(found["name"]) is not None:
            self.only_alone = self.only_alone or not (fenced or framed)
            return self._python(found)
        found = _NAME_FIRST.match(text, position)
        return self._named(found["name"], found.end(), framed=framed) if found else None

    # --- names and arguments -------------------------------------------------------------------

    def _tool(self, name: str) -> str | None:
        """The tool that a name stands for; None if it is not offered."""
        plain = name.removesuffix(".call")
        prefix = _PREFIX.match(plain)
        spellings = [name, plain, *([plain[prefix.end() :]] if prefix else [])]
        return next((self.names[spelling] for spelling in spellings if spelling in self.names), None)

    def _call(self, tool: str, value: Any) -> ToolCall:
        """A call with arguments as they were read: an object, its JSON as text, or nothing."""
        if isinstance(value, str):
            try:
                value = json.loads(value or "{}", strict=False)
            except (ValueError, RecursionError):
                return ToolCall(tool, {}, problem="the arguments are no JSON object")
        if value is None:
            value = {}
        if not isinstance(value, dict):
            return ToolCall(tool, {}, problem="the arguments are no JSON object")
        try:
            plain = json.loads(without_lone_surrogates(json.dumps(value, ensure_ascii=False)))
            check_json_like(plain)
        except (ValueError, TypeError, RecursionError) as error:
            return ToolCall(tool, {}, problem=f"the arguments cannot be kept: {error}")
        return ToolCall(tool, plain)

    # --- JSON ----------------------------------------------------------------------------------

    def _json_calls(self, position: int, *, framed: bool) -> Form | None:
        value, end = self._json.read(position)
        if end is None:
            return None if self._is_bracket(position) and not framed else self._broken(position)
        if isinstance(value, list) and not framed and not any(isinstance(item, dict) for item in value):
            return None
        calls = self._calls_in(value, framed=framed)
        if calls is None or not (calls or framed):
            raise NoCalls
        return Form(calls, end)

    def _is_bracket(self, position: int) -> bool:
        """Whether a bracket begins a line of prose, such as `[1] A source`, and no list of objects."""
        following = self._text[position + 1 : position + 100].lstrip()[:1]
        return self._text[position] == "[" and following not in ("{", "[")

    def _broken(self, position: int) -> Form:
        """A call whose JSON cannot be read, with its problem."""
        found = _UNREAD.match(self._text, position + (self._text[position] == "["))
        tool = self._tool(found["name"]) if found else None
        if tool is None or self._json.gives_up:
            raise NoCalls
        closing = FRAME.search(self._text, position)
        return Form(
            [ToolCall(tool, {}, problem=f"the arguments are no JSON object: {CUT}")],
            closing.start() if closing else len(self._text),
        )

    def _calls_in(self, value: Any, *, framed: bool) -> list[ToolCall] | None:
        """The calls in a JSON value; None if it is none."""
        if isinstance(value, list):
            found = [self._calls_in(item, framed=framed) for item in value if isinstance(item, dict)]
            if not found or len(found) < len(value) or None in found:
                return None
            return [call for calls in found if calls for call in calls]
        for key in _LIST_KEYS:
            if isinstance(value.get(key), (list, dict)) and value.keys() <= {key, *_OTHER_KEYS}:
                return self._calls_in(value[key], framed=framed)
        return self._call_in(value, framed=framed)

    def _call_in(self, value: dict[str, Any], *, framed: bool) -> list[ToolCall] | None:
        if isinstance(value.get("function"), dict) and value.keys() <= {"function", *_OTHER_KEYS}:
            value = value["function"]
        if len(value) == 1 and (found := self._keyed(value, framed=framed)) is not None:
            return found
        key = next((key for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
        if key is None:
            return None
        tool, rest = self._tool(value[key]), value.keys() - {key} - _OTHER_KEYS
        given = [name for name in _ARGUMENT_KEYS if name in rest]
        if len(given) == 1 and len(rest) == 1 and not _is_declaration(value, given[0]):
            return [self._call(tool, value[given[0]])] if tool else []
        if tool and set(rest) <= {*self._arguments.get(tool, ())} and tool in self._arguments:
            return [self._call(tool, {name: value[name] for name in value if name in rest})]
        return [] if framed and not tool and not rest else None

    def _keyed(self, value: dict[str, Any], *, framed: bool) -> list[ToolCall] | None:
        """The call in `{"search": {"text": "x"}}`."""
        ((name, arguments),) = value.items()
        tool = self._tool(name)
        if tool is None or not isinstance(arguments, dict):
            return None
        self.only_alone = self.only_alone or not framed
        return [self._call(tool, arguments)]

    # --- a name, and arguments behind it -------------------------------------------------------

    def _named(self, name: str, position: int, *, framed: bool, braces: bool = False) -> Form | None:
        tool = self._tool(name)
        if tool is None and not framed:
            return None
        if braces:
            return self._with_braces(tool, position)
        text = self._text
        if pair := _ARGUMENT_KEY.match(text, position):
            return self._pairs(tool, pair)
        if before := _BEFORE_JSON.match(text, position):
            value, end = self._json.read(before.end())
            if end is None:
                raise NoCalls
            if before["fence"] and (closed := _FENCE_END.match(text, end)):
                end = closed.end()
            self.only_alone = self.only_alone or not framed
            return Form([self._call(tool, value)] if tool else [], end)
        if not framed:
            return None
        if plain := _PLAIN_INPUT.match(text, position):
            return Form([self._plain_input(tool, plain["text"].strip())] if tool else [], plain.end())
        following = text[position : position + 200].lstrip()
        if not following or FRAME.match(following) or following.startswith("<|"):
            return Form([self._call(tool, {})] if tool else [], position)
        return None

    def _plain_input(self, tool: str, text: str) -> ToolCall:
        """A call with one text for its one argument, as ReAct has it."""
        names = self._arguments.get(tool, ())
        if not text or text.lower() in ("none", "null", "{}"):
            return self._call(tool, {})
        if not names:
            return ToolCall(tool, {}, problem="the arguments are no JSON object")
        return self._call(tool, {names[0]: text.strip("\"'`")})

    def _pairs(self, tool: str | None, pair: re.Match[str] | None) -> Form:
        """Arguments as GLM writes them: `<arg_key>text</arg_key><arg_value>x</arg_value>`."""
        arguments: dict[str, str] = {}
        end = 0
        while pair and len(arguments) < MAX_PARAMETERS:
            closed = self._text.find("</arg_value>", pair.end())
            if closed < 0:
                raise NoCalls
            arguments[pair["key"].strip()] = self._text[pair.end() : closed]
            end = closed + len("</arg_value>")
            pair = _ARGUMENT_KEY.match(self._text, end)
        return Form([self._call(tool, arguments)] if tool else [], end)

    def _with_braces(self, tool: str | None, position: int) -> Form:
        """Arguments as Gemma writes them: `{text:<escape>x<escape>,count:3}`."""
        parts: list[str] = []
        depth, end = 0, position
        limit = min(len(self._text), position + MAX_CALL)
        while part := _BRACE_PARTS.match(self._text, end, limit):
            end = part.end()
            if part["mark"]:
                depth, stop = _depth_after(part["mark"], depth)
                if stop is not None:
                    end = part.start() + stop
                    parts.append(part["mark"][:stop])
                    break
            parts.append(_as_json(part))
        else:
            raise NoCalls
        try:
            value = json.loads("".join(parts))
        except (ValueError, RecursionError):
            return Form([ToolCall(tool, {}, problem="the arguments cannot be read")] if tool else [], end)
        return Form([self._call(tool, value)] if tool else [], end)

    # --- XML -----------------------------------------------------------------------------------

    def _xml(self, head: re.Match[str], *, framed: bool) -> Form | None:
        name = head["equals"] or head["quoted"] or head["inside"] or head["itself"]
        tool = self._tool(name)
        if tool is None and (head["itself"] or (head["inside"] and not framed)):
            return None
        closing = head["tag"] or (head["itself"] and name) or ("function" if head["equals"] else "")
        value, end = self._body(head.end(), closing)
        if value is None:
            is_cut = end == len(self._text) and not head["itself"]
            return Form([ToolCall(tool, {}, problem=CUT)], end) if tool and is_cut else None
        if head["itself"]:
            known = self._arguments.get(tool or "")
            if not self._text.endswith(f"</{name}>", 0, end) or (known is not None and {*value} - {*known}):
                return None
            self.only_alone = self.only_alone or (known is None and not framed)
        return Form([self._call(tool, value)] if tool else [], end)

    def _body(self, position: int, closing: str) -> tuple[Any, int]:
        """The arguments in an element, and its end; None if they are none."""
        text = self._text
        inner = _BODY.match(text, position)
        position = inner.end() if inner else position
        start = (
            position + len(text[position : position + 100]) - len(text[position : position + 100].lstrip())
        )
        if text[start : start + 1] == "{":
            value, end = self._json.read(start)
            if end is None:
                return None, start
        else:
            value, end = self._children(position)
        for tag in filter(None, (inner and inner[1], closing)):
            if closed := re.compile(rf"\s*+</{re.escape(tag)}>").match(text, end):
                end = closed.end()
        return value, end

    def _children(self, position: int) -> tuple[dict[str, str] | None, int]:
        """The parameters of an element as text, and where they end; None if the last one does not end."""
        found: dict[str, str] = {}
        while len(found) < MAX_PARAMETERS and (child := _PARAMETER.match(self._text, position)):
            tag = child["kind"] or child["itself"]
            closed = self._text.find(f"</{tag}>", child.end())
            if closed < 0:
                return None, len(self._text)
            found[child["key"] or child["itself"]] = _without_line_ends(self._text[child.end() : closed])
            position = closed + len(tag) + len("</>")
        return found, position

    # --- Python --------------------------------------------------------------------------------

    def _after_prints(self, position: int) -> int:
        while printed := _PRINT_ONLY.match(self._text, position):
            position = printed.end()
        return position

    def _python_list(self, position: int, *, plain: bool) -> Form:
        """Calls as Llama 4 writes them: `[search(text="x"), now()]`."""
        calls: list[ToolCall] = []
        position += 1
        while found := re.compile(rf"[\s,]*(?P<print>)(?P<name>{_NAME})(?=\()").match(self._text, position):
            form = self._python(found)
            calls += form.calls
            position = form.end
        closed = re.compile(r"[\s,]*\]").match(self._text, position)
        if closed is None or not calls:
            raise NoCalls
        self.only_alone = self.only_alone or not plain
        return Form(calls, closed.end())

    def _python(self, found: re.Match[str]) -> Form:
        """A call in Python, such as `search(text="x")`; its arguments are literals."""
        end = self._balanced(found.end())
        tool = self._tool(found["name"])
        arguments = self._python_arguments(self._text[found.end() : end], tool)
        if found["print"]:
            closed = re.compile(r"\s*+\)").match(self._text, end)
            end = closed.end() if closed else end
        return Form([self._call(tool, arguments)] if tool else [], self._after_prints(end))

    def _balanced(self, start: int) -> int:
        depth = 0
        for part in _BRACKETS.finditer(self._text, start, start + MAX_CALL):
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(part[0], 0)
            if not depth:
                return part.end()
        raise NoCalls

    def _python_arguments(self, code: str, tool: str | None) -> dict[str, Any]:
        try:
            tree = ast.parse(f"f{code}", mode="eval").body
            assert isinstance(tree, ast.Call)
            names = self._arguments.get(tool or "", ())
            if len(tree.args) > len(names):
                raise NoCalls
            pairs = [
                *zip(names, tree.args, strict=False),
                *((word.arg, word.value) for word in tree.keywords),
            ]
            return {str(name): _literal(value) for name, value in pairs if name}
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
            raise NoCalls from error


def _literal(node: ast.expr) -> Any:
    """The value of a literal, in which JSON's words are also known."""
    words = {"true": True, "false": False, "null": None}
    if isinstance(node, ast.Name) and node.id in words:
        return words[node.id]
    return ast.literal_eval(node)


def _is_declaration(value: Mapping[str, Any], key: str) -> bool:
    """Whether an object declares a tool: its parameters are a JSON schema."""
    inner = value[key]
    return isinstance(inner, dict) and inner.keys() >= _SCHEMA_KEYS and isinstance(inner["properties"], dict)


def _depth_after(marks: str, depth: int) -> tuple[int, int | None]:
    """The depth behind some marks, and the number of them up to the one that closes the outermost brace."""
    for number, mark in enumerate(marks, 1):
        depth += (mark in "{[") - (mark in "}]")
        if depth == 0 and mark in "}]":
            return depth, number
    return depth, None


def _as_json(part: re.Match[str]) -> str:
    if part["quote"] is not None:
        return json.dumps(part["text"])
    if part["key"]:
        return json.dumps(part["key"])
    word = part["word"]
    if word and not re.fullmatch(r"-?\d+(?:\.\d+)?|true|false|null", word):
        return json.dumps(word)
    return part[0]


def _without_line_ends(value: str) -> str:
    """A value without the one line end on either side that a template puts there."""
    return value.removeprefix("\n").removesuffix("\n")
