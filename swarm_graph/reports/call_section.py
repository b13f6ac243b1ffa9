"""The calls of a session as a section of its HTML page: prompts, thoughts and answers, folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice

from swarm_graph.checkpoints.transcript import Call, Message
from swarm_graph.html import escaped, folded
from swarm_graph.reports.call_log import AS_ABOVE, figures_of, model_of, outcome_of, place_of
from swarm_graph.reports.tool_lines import asked_call
from swarm_graph.text import format_count

MAX_CALLS, MAX_CHARACTERS = 300, 20_000
"""Further calls, and the rest of longer texts, are left out of the page, which says so."""


def calls_section(calls: Iterable[Call], command: str) -> str:
    """The section, without its heading.

    Args:
        calls: The calls.
        command: The command that shows all of them, for what is left out.
    """
    all_calls, seen = iter(calls), set[Message]()
    shown: list[str] = []
    for call in islice(all_calls, MAX_CALLS):
        shown.append(_call(call, seen, command))
        seen.update(call.prompt)
    if not shown:
        return "<p>No calls.</p>"
    more = sum(1 for _ in all_calls)
    rest = f"<p>{more} more calls are left out: {escaped(command)} shows all.</p>" if more else ""
    return "\n".join([*shown, rest])


def _call(call: Call, seen: AbstractSet[Message], command: str) -> str:
    title = f"{place_of(call)}: {outcome_of(call, running=False)}"
    parts = "".join(_parts(call, seen, command))
    return folded(title, f"<p>{escaped(model_of(call))}; {escaped(figures_of(call))}</p>{parts}")


def _parts(call: Call, seen: AbstractSet[Message], command: str) -> Iterator[str]:
    if call.prompt:
        messages = (
            f"<p>{escaped(message.role)}: {AS_ABOVE}</p>"
            if message in seen
            else f"<p>{escaped(message.role)}</p>{_text(message.text, command)}"
            for message in call.prompt
        )
        size = format_count(sum(len(message.text) for message in call.prompt), "character")
        yield folded(f"prompt, {size}", "".join(messages))
    if call.thoughts:
        size = format_count(len(call.thoughts), "character")
        yield folded(f"thoughts, {size}", _text(call.thoughts, command))
    if call.answer:
        yield f"<p>answer</p>{_text(call.answer, command)}"
    for tool in call.tool_calls:
        yield f"<p>tool call: {escaped(asked_call(tool))}</p>"
    for name, text in (("problem", call.problem), ("note", call.note), ("error", call.error)):
        yield f"<p>{name}: {escaped(text)}</p>" if text else ""
    yield f"<p>{escaped(call.missing)}</p>" if call.missing else ""


def _text(text: str, command: str) -> str:
    left_out = len(text) - MAX_CHARACTERS
    rest = f"<p>… {left_out} more characters: {escaped(command)} --full</p>" if left_out > 0 else ""
    return f"<pre>{escaped(text[:MAX_CHARACTERS])}</pre>{rest}"
