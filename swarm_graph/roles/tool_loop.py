"""A role's turn with tools: the model calls tools, one after the other, until it answers.

Each answer is in the journal before its calls are made, and each call is kept when it begins and when it has
ended. A turn that runs again finds them and goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar, get_args

from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.errors import GraphBubbleUp

from swarm_graph.checkpoints.journal import question_key
from swarm_graph.checkpoints.steps import ToolRecord
from swarm_graph.errors import ModelError, UnreadableAnswer
from swarm_graph.models.context_window import Tools
from swarm_graph.models.endpoint import Endpoint
from swarm_graph.models.failures import is_overflow
from swarm_graph.models.masking import masked
from swarm_graph.models.pool import PromptSize
from swarm_graph.models.pool import ToolMode as Mode
from swarm_graph.models.request import SCHEMA
from swarm_graph.prompts.chat_template import ChatTemplate
from swarm_graph.roles.approval import AskPerson, decision_of, in_words, tool_pause
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.call import CUT_CALL
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.question import Question, ToolsRefused
from swarm_graph.roles.run import RunContext
from swarm_graph.roles.tool_conversation import Called, Conversation, Exchange
from swarm_graph.roles.tool_mode import allowed, known_mode
from swarm_graph.roles.workplace import Workplace
from swarm_graph.state import Reply, ToolCall, ToolOutcome, ToolResult
from swarm_graph.text import cut, format_count
from swarm_graph.tool_settings import ToolLimits
from swarm_graph.tools.action import ANSWER, action_schema, read_action, tools_prompt
from swarm_graph.tools.arguments import WrongArguments, fitted_arguments
from swarm_graph.tools.belt import ToolBelt
from swarm_graph.tools.calling import call_tool
from swarm_graph.tools.descriptions import function_of
from swarm_graph.tools.names import FIND
from swarm_graph.tools.results import bounded
from swarm_graph.tools.tool import Tool
from swarm_graph.tools.tool_probe import probe
from swarm_graph.tools.written_calls import called_names, without_calls, written_calls

A = TypeVar("A")

MAX_UNREADABLE = 2
"""After as many answers in a row that are no action, the model is asked for its answer."""
MAX_REFUSED = 4
"""After as many answers in a row whose calls are all refused, it is asked, too."""
PROBE_TOKENS = 1024
"""The longest answer to the question that finds out how a model calls tools."""

OUTCOMES: dict[ToolOutcome, str] = {
    "failed": "failed",
    "timed_out": "timed out",
    "wrong_arguments": "with wrong arguments",
    "unknown_tool": "of an unknown tool",
    "repeated": "repeated",
    "rejected": "rejected",
    "not_allowed": "not allowed",
}
"""How the note of a task counts the calls that were not answered."""
MAX_EDIT = 500
"""Characters of the arguments by a person that the model is shown."""
REFUSALS = ("unknown_tool", "wrong_arguments", "repeated")
"""Outcomes of calls that the model has to word anew."""
NOBODY = "a person has to approve this call, and without a checkpointer nobody can be asked"


class Asker(Protocol):
    """The turn, as far as its calls of tools need it; see `Turn`."""

    bindings: Bindings
    run: RunContext
    emit: Emitter
    notes: list[str]
    made_calls: dict[str, ToolRecord]

    async def reply(
        self, question: Question[Any], endpoint: Endpoint, messages: list[BaseMessage], *, tools: Tools = ()
    ) -> Reply:
        """The reply of a model. Raises ModelError and ToolsRefused."""

    def too_long(self, question: Question[Any], endpoint: Endpoint, size: PromptSize) -> ModelError:
        """The error of a prompt that does not fit into the context."""


@dataclass(frozen=True)
class LookedUp:
    """What a turn knows after its calls of tools.

    Attributes:
        messages: The prompt with the calls and their results.
        reply: The model's answer; None if it has yet to be asked for it, without tools.
    """

    messages: list[BaseMessage]
    reply: Reply | None


@dataclass
class ToolLoop(Generic[A]):
    """The calls of tools of one turn, by one model.

    Attributes:
        turn: The turn.
        question: Its question.
        endpoint: The model.
        tools: The tools of the role.
        workplace: Where the turn works.
        template: The model's chat template.
    """

    turn: Asker
    question: Question[A]
    endpoint: Endpoint
    tools: Sequence[Tool]
    workplace: Workplace
    template: ChatTemplate
    _said: Conversation = field(default_factory=Conversation)
    _made: dict[str, list[int]] = field(default_factory=dict)
    _not_allowed: list[str] = field(default_factory=list)
    _unreadable: int = 0
    _refused: int = 0
    _mode: Mode | None = None

    def __post_init__(self) -> None:
        self._limits = self.turn.bindings.config.tool_limits
        self._belt = ToolBelt(self.tools, self._limits)
        self._prompts: Iterator[tuple[list[BaseMessage], str]] = chain(
            [(self.question.messages, self.question.note)], self.question.shorter()
        )
        self._prompt, self._prompt_note = next(self._prompts)
        self._arguments = {tool.name: tool.argument_names for tool in self._belt.tools}
        self._number = 0

    async def run(self) -> LookedUp:
        """Call tools until the model answers, or has made all calls that it may make.

        Raises:
            ModelError: The model failed, or the prompt does not fit its context.
        """
        mode = await self._kept_mode() or await self._first_mode()
        while self._may_go_on:
            mode = await self._mode_now(mode)
            try:
                reply = await self._ask(mode)
            except ToolsRefused:
                continue
            except ModelError as error:
                if not is_overflow(error.detail) or not self._said.shrink():
                    raise
                continue  # a server whose context is unknown
            exchange = await self._exchange(reply, mode)
            if exchange is None:
                answered = None if mode == "action" else reply
                return await self._ended(answered)
            self._said.exchanges.append(exchange)
        return await self._ended(None)

    @property
    def _may_go_on(self) -> bool:
        is_stuck = self._unreadable >= MAX_UNREADABLE or self._refused >= MAX_REFUSED
        return self._number < self._limits.calls and not is_stuck

    async def _ended(self, reply: Reply | None) -> LookedUp:
        closing = self.workplace.prompts.end.substitute() if reply is None else ""
        messages = await self._fitting(lambda prompt: self._said.plain(prompt, closing))
        self.turn.notes += filter(None, [self._prompt_note, *self._notes()])
        return LookedUp(messages, reply)

    def _notes(self) -> Iterator[str]:
        calls = self._said.calls
        if calls:
            counts = Counter(called.result.outcome for called in calls)
            others = ", ".join(f"{counts[one]} {words}" for one, words in OUTCOMES.items() if counts[one])
            yield format_count(len(calls), "call") + " of tools" + (f" ({others})" if others else "")
        if left_out := self._said.left_out:
            yield f"left out for lack of context: {format_count(left_out, 'result')} of tools"
        if longest := self._said.longest:
            yield f"results of tools cut to {longest} characters for lack of context"
        yield from dict.fromkeys(self._not_allowed)

    # --- how the model calls ---------------------------------------------------------------------

    async def _first_mode(self) -> Mode:
        model = await self.endpoint.chat(self.question.parameters, self.endpoint.refused())
        return known_mode(self.endpoint.entry, model) or await self.endpoint.tool_mode(self._find_mode)

    async def _find_mode(self) -> Mode:
        """How the model calls tools, found out by a small question."""
        limit = min(self.question.parameters.max_tokens or PROBE_TOKENS, PROBE_TOKENS)
        parameters = self.question.parameters.model_copy(update={"max_tokens": limit})

        async def ask(
            messages: list[BaseMessage], schema: Mapping[str, Any] | None, tools: Tools
        ) -> Reply | None:
            bound = dict(schema) if schema else None
            question = replace(self.question, schema=bound, parameters=parameters)
            try:
                reply = await self.turn.reply(question, self.endpoint, messages, tools=tools)
            except ToolsRefused:
                return None
            if not schema:
                return reply
            if SCHEMA in self.endpoint.refused():
                return None
            return replace(reply, text=final_message(reply.text, self.template).text)

        return (await probe(ask)).mode

    async def _kept_mode(self) -> Mode | None:
        """How the model called from here on, when this turn ran before."""
        kept = await self.workplace.steps.find(self._mode_name)
        return kept if kept in get_args(Mode) else None

    async def _mode_now(self, mode: Mode) -> Mode:
        """How the model calls from now on. A turn that runs again takes the way that it took before."""
        kept = await self._kept_mode()
        present = allowed(kept or mode, self.endpoint.refused())
        if present not in (kept, self._mode):
            await self.workplace.steps.keep(self._mode_name, present)
        self._mode = present
        return present

    @property
    def _mode_name(self) -> str:
        entry = self.endpoint.entry  # with another setting the model is asked anew, from the first call on
        return f"mode:{self._key()}:{entry.label}:{entry.tool_calls}"

    async def _ask(self, mode: Mode) -> Reply:
        """What the model says next. Raises ToolsRefused."""
        offered, calls = self._belt.offered, self._limits.calls
        functions: list[Mapping[str, Any]] = []
        schema = action_schema(offered) if mode == "action" else None
        prompts = self.workplace.prompts
        if mode == "native":
            functions = [function_of(tool) for tool in offered]
            told = prompts.native.substitute(calls=calls)
            messages = await self._fitting(lambda prompt: self._said.native(_below(prompt, told)), functions)
        else:
            form = prompts.action if mode == "action" else prompts.text
            told = form.substitute(calls=calls, tools=tools_prompt(offered))
            messages = await self._fitting(lambda prompt: self._said.plain(_below(prompt, told)))
        self.question.on_fit()
        question = replace(self.question, schema=schema)
        return await self.turn.reply(question, self.endpoint, messages, tools=functions)

    async def _fitting(
        self,
        render: Callable[[list[BaseMessage]], list[BaseMessage]],
        functions: Sequence[Mapping[str, Any]] = (),
    ) -> list[BaseMessage]:
        """The messages, with as many results as the context has room for.

        The oldest results are left out first, then the prompt is shortened, then the last results are cut;
        only a context that has no room for that loses them, too.

        Raises:
            ModelError: Nothing fits.
        """
        while True:
            while True:
                messages = render(self._prompt)
                if not await self._excess(messages, functions):
                    return messages
                if self._said.left_out >= self._said.older_results:
                    break
                self._said.shrink()
            shorter = next(self._prompts, None)
            if shorter is None:
                break
            self._prompt, self._prompt_note = shorter
        while size := await self._excess(messages, functions):
            if not self._said.shrink():
                raise self.turn.too_long(self.question, self.endpoint, size)
            messages = render(self._prompt)
        return messages

    async def _excess(
        self, messages: list[BaseMessage], functions: Sequence[Mapping[str, Any]]
    ) -> PromptSize | None:
        """The size of a prompt that is too long for the context; None if it fits."""
        size = await self.endpoint.prompt_size(messages, self.question.parameters, functions)
        return size if size and size.tokens > size.room else None

    # --- what it calls ---------------------------------------------------------------------------

    async def _exchange(self, reply: Reply, mode: Mode) -> Exchange | None:
        """Make the calls of an answer; None if it calls nothing."""
        said = reply.text
        if mode == "action":
            final = final_message(reply.text, self.template).text
            try:
                action = read_action(final, self._belt.offered, is_cut=reply.truncated)
            except UnreadableAnswer as unreadable:
                self._unreadable += 1
                problem = f"{unreadable}. Send one JSON object as described above, and nothing else."
                return Exchange(final, (), problem)
            calls, said = [action] if action else [], ""
        elif reply.tool_calls:
            calls, said = list(reply.tool_calls), final_message(reply.text, self.template).text
        else:
            # A free answer may call a tool that there is not; JSON that a schema asks for is no call of one.
            others = {} if self.question.schema else called_names(reply.text)
            others.pop(ANSWER, "")
            names = {**others, **self._belt.spellings}
            calls = written_calls(reply.text, names, self._arguments)
            if reply.truncated and calls and calls != written_calls(reply.text[:-1], names, self._arguments):
                calls[-1] = calls[-1]._replace(problem=CUT_CALL)
            if calls:
                rest = without_calls(reply.text, names, self._arguments)
                said = final_message(rest, self.template).text
        self._unreadable = 0
        if not calls:
            return None
        made: list[Called] = []
        key = self._key()
        for call in calls[: self._limits.calls - self._number]:
            self._number += 1
            made.append(await self._call(call, key))
        all_refused = all(called.result.outcome in REFUSALS for called in made)
        self._refused = self._refused + 1 if all_refused else 0
        return Exchange(said, tuple(made))

    def _key(self) -> str:
        return self._said.key(self.question.messages)

    async def _call(self, call: ToolCall, said: str) -> Called:
        """Make a call, or tell the model why it is not made.

        Args:
            call: The call.
            said: The key of the conversation before it.
        """
        self.turn.run.stop.check()
        number, tool = self._number, self._belt.find(call.name)
        name = tool.wire_name if tool else call.name
        key = question_key([said, number, tool.name if tool else call.name, call.arguments])
        record = ToolRecord(
            **self.turn.emit.origin.to_dict(),
            number=number,
            key=key,
            tool=tool.name if tool else call.name,
            server=tool.server if tool else "",
            arguments=call.arguments,
            started_at=time.time(),
        )
        checked = self._checked(call, tool)
        kept = self.turn.made_calls.get(key) or await self.workplace.steps.find_call(key)
        if kept and kept.result:
            if kept.decision == "edited" and tool:
                self._numbers(tool, kept.arguments).append(number)
            if tool and tool.name == FIND and not isinstance(checked, ToolResult):
                # what it finds is offered from then on
                await call_tool(tool, call.arguments, self._limits, self.turn.run.keys)
            return Called(number, name, call, kept.result)
        if tool is None or isinstance(checked, ToolResult):
            assert isinstance(checked, ToolResult)
            return Called(number, name, call, await self._end(record, checked))
        if kept:
            again = f"call {number}, of {tool.name}, had begun when an earlier run ended, and was made again"
            self.turn.notes.append(again)
        return Called(number, name, call, await self._decided(tool, replace(record, arguments=checked)))

    def _checked(self, call: ToolCall, tool: Tool | None) -> dict[str, Any] | ToolResult:
        """The arguments of a call as its tool gets them, or what the model is told instead of making it."""
        if tool is None:
            known = ", ".join(offered.wire_name for offered in self._belt.offered)
            return _refused("unknown_tool", f"there is no tool of this name; the tools are: {known}")
        if call.problem:
            return _refused("wrong_arguments", call.problem)
        try:
            arguments = fitted_arguments(tool, call.arguments)
        except WrongArguments as error:
            text = bounded(str(error), self._limits.characters, self.turn.run.keys)
            return _refused("wrong_arguments", text)
        numbers = self._numbers(tool, arguments)
        numbers.append(self._number)
        return self._again(numbers) or arguments

    def _numbers(self, tool: Tool, arguments: Mapping[str, Any]) -> list[int]:
        """The numbers of the calls of a tool with some arguments, so far."""
        return self._made.setdefault(json.dumps([tool.name, arguments], sort_keys=True), [])

    def _again(self, numbers: list[int]) -> ToolResult | None:
        """What the last of some equal calls gets; None if it is the first one.

        A result that was left out for lack of context is shown once more. The tool is not called again: it
        may have changed something, and a person may have approved that one call.
        """
        *earlier, _ = numbers
        if not earlier:
            return None
        if shown := [number for number in earlier if number > self._said.left_out]:
            numbers.pop()
            return _refused(
                "repeated", f"the same call was made before, as call {shown[0]}: its result stands above"
            )
        result = next(called.result for called in self._said.calls if called.number == earlier[0])
        text = f"(the result of call {earlier[0]}, once more)\n{result.text}"
        return result._replace(text=text, seconds=0.0)

    async def _decided(self, tool: Tool, record: ToolRecord) -> ToolResult:
        """Make a call, after a person has approved it where one is needed."""
        changed = ""
        if tool.asks:
            pause = tool_pause(tool, record.arguments, self.turn.emit.origin, record.key)
            decision = await decision_of(pause, self.workplace.steps, self._asking(record))
            if decision is None:
                self._not_allowed.append(f"{tool.name} was not called: {NOBODY}")
                return await self._end(record, _refused("not_allowed", NOBODY))
            record = replace(record, decision=in_words(decision))
            if isinstance(decision, Mapping) and "reject" in decision:
                record = replace(record, remark=str(decision["reject"]))
                return await self._end(
                    record, _refused("rejected", f"a person rejected this call: {record.remark}")
                )
            if isinstance(decision, Mapping) and "edit" in decision:
                record = replace(record, arguments=decision["edit"])
                self._numbers(tool, record.arguments).append(record.number)
                given = json.dumps(record.arguments, ensure_ascii=False)
                given = cut(masked(given, self.turn.run.keys), MAX_EDIT)
                changed = f"(a person changed the arguments of this call to {given})\n"
        return await self._make(tool, record, changed)

    def _asking(self, record: ToolRecord) -> AskPerson:
        async def ask(pause: Mapping[str, Any]) -> Any:
            try:
                return await self.workplace.ask_person(pause)
            except GraphBubbleUp:
                self.turn.emit("tool_waiting", **_shown(record))
                raise

        return ask

    async def _make(self, tool: Tool, record: ToolRecord, changed: str) -> ToolResult:
        await self.workplace.steps.keep_call(record)
        self.turn.emit.send(self.turn.emit.event("tool_started", **_shown(record)))
        result = await call_tool(tool, record.arguments, self._limits, self.turn.run.keys)
        return await self._end(record, result._replace(text=f"{changed}{result.text}"))

    async def _end(self, record: ToolRecord, result: ToolResult) -> ToolResult:
        ended = self.turn.made_calls[record.key] = replace(record, result=result)
        await self.workplace.steps.keep_call(ended)
        event = self.turn.emit.event(
            "tool_ended",
            **_shown(record),
            outcome=result.outcome,
            characters=result.characters,
            cut=result.characters > self._limits.characters,
            decision=record.decision,
            seconds=result.seconds,
        )
        self.turn.emit.send(event)
        return result


def told_of_tools(
    tools: Sequence[Tool], limits: ToolLimits, workplace: Workplace
) -> tuple[str, list[Mapping[str, Any]]]:
    """What a prompt says about tools, and the tools in OpenAI's form: no way of calling needs much more."""
    offered = ToolBelt(tools, limits).offered
    told = workplace.prompts.text.substitute(calls=limits.calls, tools="")
    return told, [function_of(tool) for tool in offered]


def _shown(record: ToolRecord) -> dict[str, Any]:
    """What the events of a call have in common."""
    return {
        "number": record.number,
        "tool": record.tool,
        "server": record.server,
        "arguments": dict(record.arguments),
    }


def _refused(outcome: ToolOutcome, text: str) -> ToolResult:
    return ToolResult(outcome, text, len(text))


def _below(prompt: Sequence[BaseMessage], text: str) -> list[BaseMessage]:
    """A prompt with a text below its last message."""
    *first, last = prompt
    return [*first, HumanMessage(f"{last.text}\n\n{text}")]
