"""The calls of sessions as text: a block for each call, and the lines that a search finds."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from heapq import merge
from textwrap import wrap
from typing import Any, NamedTuple, TypeAlias

from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.checkpoints.transcript import Call, Message
from swarm_graph.events import Event
from swarm_graph.reports.recalled_lines import line_of
from swarm_graph.reports.tool_lines import asked_call, tool_decision, tool_figures, tool_outcome
from swarm_graph.sessions.candidates import chosen_text
from swarm_graph.state import Recalled
from swarm_graph.text import format_count, local_time

WIDTH = 74
"""Characters of a line of a shortened text; with its indentation it fits 80 columns."""
PROMPT_LINES, THOUGHT_LINES, ANSWER_LINES = 6, 3, 40
"""Lines of a shortened message of a prompt, of thoughts and of an answer."""
FOUND_CHARACTERS = 160
HIDDEN, AS_ABOVE = "more", "as above"
SHORTENED = "Shortened; --full shows everything, --raw prints the answers alone."
OUTCOMES = {
    "answered": "answered",
    "truncated": "cut off at its token limit",
    "failed": "failed",
    "cancelled": "cancelled",
}


_DECISION = ("place", "decision", "by", "remark")


class Line(NamedTuple):
    """A line for people. What is said less often than looked for is dim, where a terminal can show it."""

    text: str
    dim: bool = False


LoggedCall: TypeAlias = Call | ToolRecord
"""A call of a model, or of a tool."""


class Found(NamedTuple):
    """A line that a search has found.

    Attributes:
        call: The call that said it.
        part: `prompt (system)`, `thoughts`, `answer`, of a tool `arguments` or `result`.
        number: The line of that text, from 1.
        text: The whole line.
        start: Where the match begins in it.
    """

    call: LoggedCall
    part: str
    number: int
    text: str
    start: int

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON-like data, with the place of its call."""
        own = ("attempt", "repair") if isinstance(self.call, Call) else ("number", "tool")
        names = ("session", "node", "role", "task", "iteration", *own)
        place = {name: getattr(self.call, name) for name in names}
        return {**place, "part": self.part, "line": self.number, "text": self.text}

    def __str__(self) -> str:
        return f"{self.call.session}  {place_of(self.call)}  {self.part}:{self.number}: {self._around()}"

    def _around(self) -> str:
        """The line; of a long one the part around the match."""
        begin = max(min(self.start - FOUND_CHARACTERS // 2, len(self.text) - FOUND_CHARACTERS), 0)
        cut = self.text[begin : begin + FOUND_CHARACTERS]
        before, after = "…" * (begin > 0), "…" * (begin + FOUND_CHARACTERS < len(self.text))
        return f"{before}{cut}{after}"


def in_order(calls: Iterable[Call], tools: Iterable[ToolRecord]) -> Iterator[LoggedCall]:
    """Yield the calls of models and of tools in the order in which they began."""
    return merge(calls, tools, key=lambda call: call.started_at)


def call_dict(call: LoggedCall) -> dict[str, Any]:
    """A call as JSON-like data; `kind` is `model` or `tool`."""
    return {"kind": "model" if isinstance(call, Call) else "tool", **call.to_dict()}


def log_lines(
    title: str,
    calls: Iterable[LoggedCall],
    *,
    full: bool,
    running: bool,
    recalled: Iterable[Recalled] = (),
    decisions: Iterable[Event] = (),
) -> Iterator[Line]:
    """Yield the calls of a session for people, a block each.

    Args:
        title: The first line.
        calls: The calls.
        full: Show every text as a whole.
        running: Whether the session runs, so that an open call may still get its answer.
        recalled: What its tasks have recalled from memory; the first call of each task names the sources.
        decisions: The events `pause_answered` and `candidate_chosen` to show between the calls.
    """
    yield Line(title)
    answered = deque(decisions)
    from_memory = {(one["task"], one["iteration"]): line_of(one) for one in recalled}
    seen: set[Message] = set()
    shortened = False
    for call in calls:
        while answered and answered[0].time <= call.started_at:
            yield from _decision_lines(answered.popleft())
        yield Line("")
        if isinstance(call, ToolRecord):
            lines = _tool_lines(call, full=full, running=running)
        else:
            sources = from_memory.pop((call.task, call.iteration), "")
            lines = _call_lines(call, seen, sources, full=full, running=running)
        for line in lines:
            shortened = shortened or (line.dim and line.text.endswith((HIDDEN, AS_ABOVE)))
            yield line
        if isinstance(call, Call):
            seen.update(call.prompt)
    for event in answered:
        yield from _decision_lines(event)
    if shortened:
        yield Line("")
        yield Line(SHORTENED, dim=True)


def _decision_lines(event: Event) -> Iterator[Line]:
    if event.kind == "candidate_chosen":
        yield from (Line(""), Line(f"── round {event.iteration}: {chosen_text(event.data)}"))
        return
    place, decision, by, remark = (str(event.data.get(name, "")) for name in _DECISION)
    yield Line("")
    yield Line(f"── {place}: {decision} by {by}")
    yield from _part("remark", remark, ANSWER_LINES)


def place_of(call: LoggedCall) -> str:
    """Where and when a call was made: "coder, round 1, attempt 2, repair question"."""
    role = f" ({call.role})" if call.role not in ("", call.node) else ""
    if isinstance(call, ToolRecord):
        return f"{call.node}{role}, round {call.iteration}, tool {call.tool}"
    attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
    repair = ", repair question" if call.repair else ""
    return f"{call.node}{role}, round {call.iteration}{attempt}{repair}"


def outcome_of(call: Call, *, running: bool) -> str:
    """How a call ended, in words."""
    if call.outcome == "open":
        return "no answer yet" if running else "no end: its process was killed"
    unusable = ", could not be used" if call.problem and call.outcome == "answered" else ""
    return f"{OUTCOMES[call.outcome]}{unusable}"


def model_of(call: Call) -> str:
    """The model of a call, and its server."""
    return f"{call.model} at {call.server}" if call.server not in ("", call.model) else call.model


def figures_of(call: Call) -> str:
    """The time and the tokens of a call."""
    parts = [f"began {local_time(call.started_at)}"]
    if call.outcome != "open":
        estimated = " (estimated)" if call.estimated else ""
        cut = f", about {call.cut_tokens:,} out before its end" if call.cut_tokens else ""
        evaluated = call.prompt_tokens_evaluated
        cached = "" if evaluated is None else f" ({evaluated:,} evaluated)"
        tokens = f"{call.input_tokens:,} tokens in{cached}, {call.output_tokens:,} out{estimated}"
        first = "" if call.first_token_s is None else f", first token after {call.first_token_s:.1f} s"
        parts += [
            f"{call.seconds:.1f} s{first}",
            tokens if call.input_tokens or not cut else cut.lstrip(", "),
        ]
    return "; ".join(parts)


def _call_lines(
    call: Call, seen: AbstractSet[Message], sources: str, *, full: bool, running: bool
) -> Iterator[Line]:
    yield Line(f"── {place_of(call)}: {outcome_of(call, running=running)}")
    yield from _indented(model_of(call), dim=True)
    yield from _indented(figures_of(call), dim=True)
    if call.parameters and full:
        named = ", ".join(f"{name} {value}" for name, value in call.parameters.items())
        yield from _indented(named, dim=True)
    yield from _indented(sources)
    for message in call.prompt:
        name = f"prompt ({message.role}, {format_count(len(message.text), 'character')})"
        if message in seen and not full:
            yield Line(f"  {name}: {AS_ABOVE}", dim=True)
        else:
            yield from _part(name, message.text, None if full else PROMPT_LINES)
    yield from _part("thoughts", call.thoughts, None if full else THOUGHT_LINES, dim=True)
    yield from _part("answer", call.answer, None if full else ANSWER_LINES)
    for tool in call.tool_calls:
        yield from _indented(f"tool call: {asked_call(tool)}")
    for name, text in (("problem", call.problem), ("note", call.note), ("error", call.error)):
        if text:
            yield from _indented(f"{name}: {text}")
    if call.missing:
        yield from _indented(f"({call.missing})", dim=True)


def _tool_lines(call: ToolRecord, *, full: bool, running: bool) -> Iterator[Line]:
    yield Line(f"── {place_of(call)}: {tool_outcome(call, running=running)}")
    began = f"began {local_time(call.started_at)}"
    yield from _indented("; ".join(filter(None, [call.server, began, tool_figures(call)])), dim=True)
    if decision := tool_decision(call):
        yield from _indented(f"a person: {decision}")
    most = None if full else ANSWER_LINES
    if call.arguments:
        arguments = json.dumps(dict(call.arguments), indent=2, ensure_ascii=False, default=str)
        yield from _part("arguments", arguments, most)
    yield from _part("result", call.result.text if call.result else "", most)
    if call.missing:
        yield from _indented(f"({call.missing})", dim=True)


def _indented(text: str, *, dim: bool = False) -> Iterator[Line]:
    return (Line(f"  {line}", dim) for line in wrap(text, WIDTH, subsequent_indent="  "))


def _part(name: str, text: str, most: int | None, *, dim: bool = False) -> Iterator[Line]:
    """A text below its name; shortened to so many lines."""
    if not text:
        return
    yield Line(f"  {name}:", dim=dim)
    if most is None:
        yield from (Line(f"    {line}", dim) for line in text.split("\n"))
        return
    lines = [piece for line in text.strip().split("\n") for piece in _wrapped(line)]
    shown = "\n".join(lines[:most]).rstrip().split("\n")
    yield from (Line(f"    {line}".rstrip(), dim) for line in shown)
    if len(lines) > len(shown):
        yield Line(f"    … {format_count(len(lines) - len(shown), 'line')} {HIDDEN}", dim=True)


def _wrapped(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    return wrap(line, WIDTH, replace_whitespace=False)


def search(pattern: re.Pattern[str], calls: Iterable[LoggedCall]) -> Iterator[Found]:
    """Yield the lines that match of prompts, thoughts and answers, and of arguments and results of tools.

    A repeated message is searched once.
    """
    searched: set[tuple[str, Message]] = set()
    for call in calls:
        if isinstance(call, ToolRecord):
            arguments = json.dumps(dict(call.arguments), ensure_ascii=False, default=str)
            for part, text in (("arguments", arguments), ("result", call.result.text if call.result else "")):
                yield from _matches(pattern, call, part, text)
            continue
        new = [message for message in call.prompt if (call.session, message) not in searched]
        searched.update((call.session, message) for message in new)
        texts = [(f"prompt ({message.role})", message.text) for message in new]
        for part, text in (*texts, ("thoughts", call.thoughts), ("answer", call.answer)):
            yield from _matches(pattern, call, part, text)


def _matches(pattern: re.Pattern[str], call: LoggedCall, part: str, text: str) -> Iterator[Found]:
    for number, line in enumerate(text.split("\n"), 1):
        if match := pattern.search(line):
            yield Found(call, part, number, line, match.start())


def answers(calls: Sequence[Call]) -> str:
    """The exact texts of answers; of several, each ends with a line end."""
    if len(calls) == 1:
        return calls[0].answer
    return "".join(f"{call.answer.removesuffix(chr(10))}\n" for call in calls if call.answer)
