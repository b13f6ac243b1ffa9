"""A pause as a person sees it before deciding: what it is about in full, and the fields of an edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.reports.highlight import MAX_LINE, MAX_LINES, MAX_SECONDS, CodeLines, Highlighter, is_binary
from swarm_graph.text import to_json, visible, visible_text
from swarm_graph.workflows.pauses import Decision, Pause

FIELD = "edit-"
"""The beginning of the names of fields; a number follows."""
MAX_ROWS = 30
MAX_FIELDS = 500
"""Files that a form can edit; servers refuse forms with very many fields."""


class Piece(NamedTuple):
    """A piece of what a pause is about.

    Attributes:
        name: The path of a file, the name of an argument, or the key of the state; `visible`.
        code: Its lines, highlighted; None if they would not show all of it.
        text: All of it; characters that nobody would see are escaped.
    """

    name: str
    code: CodeLines | None
    text: str

    @property
    def lines(self) -> int:
        """How many lines it has; its box may show only the first ones at once."""
        return self.code.total if self.code else self.text.count("\n") + 1


class EditField(NamedTuple):
    """A field in which a person edits a part of the value.

    Attributes:
        name: The name of the field in the form.
        label: What it holds.
        text: What it holds before the person changes it.
        is_code: Whether it is code or JSON.
    """

    name: str
    label: str
    text: str
    is_code: bool = True

    @property
    def rows(self) -> int:
        """How many lines the field shows at once."""
        return min(max(self.text.count("\n") + 2, 3), MAX_ROWS)


class DecisionView:
    """A pause for a page.

    Attributes:
        pause: The pause.
        typed: What the person has typed in a form that could not be used, by field.
    """

    def __init__(self, pause: Pause, typed: Mapping[str, str] | None = None) -> None:
        self.pause, self.typed = pause, typed or {}

    @cached_property
    def digest(self) -> str:
        """The pause and its value in one word: a decision about another value is refused."""
        return sha256(json.dumps(self.pause.to_dict(), sort_keys=True, default=str).encode()).hexdigest()

    @property
    def is_call(self) -> bool:
        """Whether it is about the call of a tool."""
        return bool(self.pause.call)

    @property
    def schema(self) -> str:
        """The schema of the arguments of a call, as JSON."""
        return visible_text(to_json(self.pause.value["schema"]).rstrip())

    @property
    def tool(self) -> str:
        """The tool that would be called."""
        return visible(self.pause.value["tool"])

    @property
    def server(self) -> str:
        """The MCP server of the tool; empty for a tool of our own."""
        return visible(self.pause.value["server"])

    @property
    def description(self) -> str:
        """What the tool, or its server, says of it."""
        return visible_text(self.pause.value["description"])

    @cached_property
    def pieces(self) -> list[Piece]:
        """What the pause is about, in full."""
        value, piece = self.pause.value, partial(_piece, Highlighter(MAX_SECONDS))
        if self.is_call:
            arguments = value["arguments"]
            path = arguments.get("path")
            hint = path if isinstance(path, str) else ""
            return [piece(name, *_argument(name, argument, hint)) for name, argument in arguments.items()]
        if _is_files(value):
            return [piece(path, text, path) for path, text in value.items()]
        if value is None or value in ("", [], {}):
            return []
        if isinstance(value, str):
            return [piece(self.pause.edits, value, "text.md")]
        return [piece(self.pause.edits, to_json(value).rstrip(), "value.json")]

    @cached_property
    def fields(self) -> list[EditField]:
        """The fields of an edit; empty where nothing can be edited."""
        return [field._replace(text=self.typed.get(field.name, field.text)) for field in self._given_fields]

    @property
    def has_typed_edit(self) -> bool:
        """Whether the person has typed an edit that could not be used."""
        return any(name.startswith(FIELD) for name in self.typed)

    @property
    def has_too_many_files(self) -> bool:
        """Whether it has more files than a form can edit."""
        return not self.is_call and _is_files(self.pause.value) and len(self.pause.value) > MAX_FIELDS

    @property
    def remark(self) -> str:
        """The remark that the person has typed."""
        return self.typed.get("remark", "")

    @property
    def _given_fields(self) -> list[EditField]:
        pause, value = self.pause, self.pause.value
        if self.is_call:
            return [EditField(f"{FIELD}0", "Arguments (JSON)", to_json(value["arguments"]).rstrip())]
        if not pause.edits:
            return []
        if self.has_too_many_files:
            return []
        if _is_files(value):
            return [
                EditField(f"{FIELD}{number}", visible(path), value[path]) for number, path in enumerate(value)
            ]
        if value is None or isinstance(value, str):
            return [EditField(f"{FIELD}0", pause.edits, value or "", is_code=False)]
        return [EditField(f"{FIELD}0", f"{pause.edits} (JSON)", to_json(value).rstrip())]

    def edit(self, given: Mapping[str, str]) -> Decision:
        """The decision of an edit.

        Args:
            given: The fields as the person sent them. A field that was not changed leaves its part as it is.

        Raises:
            InputError: A field is missing, or is no JSON where JSON is expected.
        """
        texts = [_edited(field, given) for field in self._given_fields]
        if not texts:
            raise InputError(
                f"nothing can be edited {self.pause.place}; approve it, or reject it with a remark"
            )
        value = self.pause.value
        if not self.is_call and _is_files(value):
            return {"edit": {self.pause.edits: dict(zip(value, texts, strict=True))}}
        if self.is_call or value is None or isinstance(value, str):
            return {"edit": texts[0]}
        return {"edit": {self.pause.edits: texts[0]}}


def _is_files(value: Any) -> bool:
    """Whether a value holds files: texts by their paths."""
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(text, str) for text in value.values())
    )


def _piece(highlighter: Highlighter, name: str, text: str, path: str) -> Piece:
    lines = text.split("\n")
    is_whole = len(lines) <= MAX_LINES and max(map(len, lines)) <= MAX_LINE and not is_binary(text)
    shown = "" if is_whole else visible_text(text)
    return Piece(visible(name), highlighter.file(path, text) if is_whole else None, shown)


def _argument(name: str, argument: Any, path: str) -> tuple[str, str]:
    """The text of an argument of a call, and a path for its language: of several lines as it is, or JSON."""
    if isinstance(argument, str) and "\n" in argument:
        return argument, path or ("code.py" if name == "code" else "text.md")
    return json.dumps(argument, ensure_ascii=False, indent=2), "argument.json"


def _edited(field: EditField, given: Mapping[str, str]) -> str:
    if field.name not in given:
        raise InputError(f"the edit of {field.label} is missing; load the page again")
    text = given[field.name].replace("\r\n", "\n")
    return field.text if text == _in_browser(field.text) else text


def _in_browser(text: str) -> str:
    """A text as a browser gives it back when nobody has changed it, with `\\n` for the ends of lines."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
