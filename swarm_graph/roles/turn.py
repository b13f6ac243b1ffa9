"""One role's turn: fit its question into the context, ask a model, retry once if the answer is unreadable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp

from swarm_graph.errors import AnswerError, ModelError, OverBudget, Stopped, TruncatedAnswer, UnreadableAnswer
from swarm_graph.models.context_window import Tools, room_for_answer
from swarm_graph.models.endpoint import ConfiguredEndpoint, Endpoint, SuppliedEndpoint
from swarm_graph.models.failures import is_overflow
from swarm_graph.models.pool import PromptSize
from swarm_graph.models.request import (
    REFUSAL_STATUS,
    SCHEMA,
    TOOLS,
    FieldTrial,
    call_arguments,
    optional_fields,
    token_limit,
)
from swarm_graph.prompts.chat_template import KNOWN, ChatTemplate
from swarm_graph.roles.answers import Reading
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.call import NO_STEPS, ModelCall
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.emitter import Emitter
from swarm_graph.roles.question import NONE, Answer, PromptVersions, Question, ToolsRefused
from swarm_graph.roles.run import RunContext
from swarm_graph.settings import EMBEDDED, AgentParameters, ModelEntry
from swarm_graph.state import CHANGE, Reply, SwarmContext, TaskRecord

if TYPE_CHECKING:
    from swarm_graph.checkpoints.steps import ToolRecord
    from swarm_graph.roles.workplace import Workplace
    from swarm_graph.tools.tool import Tool

A = TypeVar("A")
NO_TOOLS: Tools = ()

log = logging.getLogger("swarm_graph")

QUOTED_CHARACTERS = (2000, 200)
"""How much of an unreadable answer the repair question quotes; the smaller number for a small context."""


class Turn:
    """One turn of a role: in one run of a session, for one task."""

    def __init__(
        self,
        bindings: Bindings,
        run: RunContext,
        emit: Emitter,
        config: RunnableConfig,
        workplace: Workplace | None = None,
    ) -> None:
        """Begin a turn.

        Args:
            bindings: The configuration and the models of the graph.
            run: The run that the turn belongs to.
            emit: Emits the events of the turn.
            config: LangGraph's configuration of the node.
            workplace: Where its tools work; None for a role without tools.
        """
        self.bindings, self.run, self.emit, self.config = bindings, run, emit, config
        self.workplace = workplace
        self.clock = run.overrides.clock or time.time
        self.notes: list[str] = []
        """What was unusual, for people."""
        self.made_calls: dict[str, ToolRecord] = {}
        """The calls of tools that have ended, by key: a fallback that makes one again gets its result."""
        self._role_tools: list[Tool] | None = None

    @asynccontextmanager
    async def task(self, task_type: str, failed: Callable[[Exception], TaskRecord]) -> AsyncIterator[None]:
        """Emit the start of a task, and record why it fails or stops.

        Args:
            task_type: The type of the task, for its events.
            failed: Makes the record of the task when it failed.
        """
        self.emit("task_started", task_type=task_type)
        try:
            yield
        except (Stopped, OverBudget):
            self.emit("task_stopped")
            raise
        except GraphBubbleUp:  # it waits for a person, and runs again
            raise
        except Exception as error:
            if self.run.journal:
                await self.run.journal.fail_task(failed(error), error)
            elif self.workplace and isinstance(error, AnswerError):
                await self.workplace.steps.forget_replies(error.keys)
            self.emit("task_failed", task_type=task_type, error=str(error))
            raise

    async def ask(self, question: Question[A]) -> Answer[A]:
        """The answer to a question.

        When the model finally fails, its fallbacks are asked in turn. A model whose server is down is left
        alone for a minute if it has a fallback.

        Raises:
            AnswerError: There is an answer, but it cannot be used.
            ModelError: There is no answer, or a tool of the role cannot be used.
        """
        tools = await self._tools() if self.workplace else []
        supplied = supplied_model(self.run.overrides, self.emit.origin.role)
        models = self.bindings.models
        if supplied is not None:
            return await self._ask(question, SuppliedEndpoint(models, supplied), tools)
        first = question.entry()
        *others, last = [first, *self.bindings.config.fallbacks_of(first)]
        for entry in others:
            if why := models.outage(entry):
                self.notes.append(f"{entry.label} is down ({why}), its fallback was asked")
                continue
            try:
                return await self._ask(question, await self._endpoint(entry), tools)
            except ModelError as error:
                if error.retryable:
                    models.mark_down(entry, str(error))
                self.notes.append(f"{entry.label} failed ({error}), its fallback was asked")
                log.info("session %s, %s", self.emit.origin.session, self.notes[-1])
        # The last one is asked even while it is marked as down: there is nothing left to fall back on.
        return await self._ask(question, await self._endpoint(last), tools)

    async def prompt_size(self, question: Question[Any]) -> PromptSize | None:
        """The size of a prompt for the model that is asked first; None when its context is unknown."""
        if supplied_model(self.run.overrides, self.emit.origin.role) is not None:
            return None
        endpoint = await self._endpoint(question.entry())
        messages, functions = question.messages, NO_TOOLS
        if self.workplace and (tools := await self._tools()):
            from swarm_graph.roles.tool_loop import told_of_tools

            told, functions = told_of_tools(tools, self.bindings.config.tool_limits, self.workplace)
            messages = [*messages, HumanMessage(told)]
        return await endpoint.prompt_size(messages, question.parameters, functions)

    async def _endpoint(self, entry: ModelEntry) -> Endpoint:
        models = self.bindings.models
        return ConfiguredEndpoint(models, await models.answered(entry), self.emit.origin.session)

    async def _tools(self) -> list[Tool]:
        from swarm_graph.tools.role_tools import tools_of  # roles without tools do not need it

        assert self.workplace
        if self._role_tools is None:
            role, config = self.emit.origin.role, self.bindings.config
            own, project = self.bindings.tools.get(role, ()), self.workplace.project
            servers = partial(self.run.tool_servers, config)
            memory = self.workplace.memory
            self._role_tools = await tools_of(role, config, own, project, servers, memory)
        return self._role_tools

    async def _ask(self, question: Question[A], endpoint: Endpoint, tools: list[Tool]) -> Answer[A]:
        """The answer of one model, after its calls of tools and at most one repair question."""
        template = await endpoint.chat_template()
        messages, reply = await self._first_reply(question, endpoint, template, tools)
        doubtful: Reading[A] | None = None
        keys = [reply.key]
        try:
            await self._check_no_call(question, reply, tools)
            reading = await self._read(question, reply, template)
            if not reading.doubt:
                return Answer(reading.answer, self._note(reading.note))
            doubtful, problem = reading, UnreadableAnswer(reading.doubt)
        except UnreadableAnswer as unreadable:
            problem = unreadable
        asked = "after one repair question"
        try:
            reply = await self._repaired(question, endpoint, messages, reply, problem.question)
            keys.append(reply.key)
            await self._check_no_call(question, reply, tools, is_repair=True)
            reading = await self._read(question, reply, template, is_repair=True)
            taken = f"taken although {reading.doubt}" if reading.doubt else ""
            return Answer(reading.answer, self._note("repaired", reading.note, taken))
        except UnreadableAnswer as unreadable:
            problem = unreadable
        except ModelError as error:
            if not is_overflow(error.detail):
                raise
            asked = "the context has no room for a repair question"
            await self._report(reply, asked, is_repair=True)
        if doubtful:
            return Answer(doubtful.answer, self._note(doubtful.note, f"taken although {doubtful.doubt}"))
        substitute = question.substitute(reply) if question.substitute else None
        if substitute is None:
            raise self._unusable(question, problem, asked, keys) from problem
        return Answer(substitute, self._note(f"unreadable: {problem} ({asked})"))

    async def _first_reply(
        self, question: Question[A], endpoint: Endpoint, template: ChatTemplate, tools: list[Tool]
    ) -> tuple[list[BaseMessage], Reply]:
        """The prompt, with what was looked up for it, and the reply."""
        if self.workplace and tools:
            from swarm_graph.roles.tool_loop import ToolLoop  # roles without tools do not need it

            found = await ToolLoop(self, question, endpoint, tools, self.workplace, template).run()
            return found.messages, found.reply or await self.reply(question, endpoint, found.messages)
        versions = chain([(question.messages, question.note)], question.shorter())
        messages = await self._fitting(question, endpoint, versions)
        question.on_fit()
        return messages, await self.reply(question, endpoint, messages)

    async def _read(
        self, question: Question[A], reply: Reply, template: ChatTemplate, *, is_repair: bool = False
    ) -> Reading[A]:
        """Read a reply; what is wrong or odd in it is emitted and recorded. Raises UnreadableAnswer."""
        try:
            if self.bindings.config.workflow.kind == CHANGE:  # it reads files of the repository
                reading = await asyncio.to_thread(_read, question, reply, template)
            else:
                reading = _read(question, reply, template)
        except UnreadableAnswer as unreadable:
            await self._report(reply, problem=str(unreadable), is_repair=is_repair)
            raise
        if is_repair and reading.doubt:
            await self._report(reply, "", f"taken although {reading.doubt}", is_repair=True)
        elif reading.doubt or reading.note:
            await self._report(reply, reading.doubt, reading.note, is_repair=is_repair)
        return reading

    async def _check_no_call(
        self, question: Question[Any], reply: Reply, tools: Sequence[Tool], *, is_repair: bool = False
    ) -> None:
        """Raises UnreadableAnswer for a free answer that only calls tools, after the last call."""
        if not tools or question.schema or reply.truncated:
            return
        from swarm_graph.tools.written_calls import is_call  # roles without tools do not need it

        names = {name: tool.name for tool in tools for name in (tool.name, tool.wire_name)}
        if is_call(reply.text, names, {tool.name: tool.argument_names for tool in tools}):
            problem = "the answer is a call of a tool, and no tool can be called any more"
            await self._report(reply, problem, is_repair=is_repair)
            raise UnreadableAnswer(problem)

    async def _report(self, reply: Reply, problem: str, note: str = "", *, is_repair: bool = False) -> None:
        """Emit and record what was wrong or odd in a reply."""
        event = self.emit.event("answer_read", repair=is_repair, problem=problem, note=note)
        if self.run.journal:
            await self.run.journal.record_reading(event, reply.call)
        self.emit.send(event)

    async def _repaired(
        self,
        question: Question[Any],
        endpoint: Endpoint,
        messages: list[BaseMessage],
        reply: Reply,
        problem: str,
    ) -> Reply:
        """The reply to the repair question, which quotes the answer and states its problem."""
        repair = question.repair.instructions.substitute(problem=KNOWN.break_up(problem))
        quotes = (KNOWN.break_up(reply.text[:length]) or NONE for length in QUOTED_CHARACTERS)
        repairs = (([*messages, AIMessage(quote), HumanMessage(repair)], "") for quote in quotes)
        messages = await self._fitting(question, endpoint, repairs)
        return await self.reply(question, endpoint, messages, is_repair=True)

    def _note(self, *more: str) -> str:
        return "; ".join(filter(None, [*self.notes, *more]))

    def _named(self, question: Question[Any]) -> str:
        """The node, and what of its task a question is about."""
        return ", ".join(filter(None, [self.emit.origin.node, question.subject]))

    def _unusable(
        self, question: Question[Any], problem: UnreadableAnswer, asked: str, keys: Sequence[str]
    ) -> AnswerError:
        # The problem is worded for the model ("the answer is empty"); a person needs a role and a cure, too.
        node, role = self.emit.origin.node, self.emit.origin.role
        what, cure = str(problem).replace("the answer", f"the {role}'s answer", 1), "try a stronger model"
        if isinstance(problem, TruncatedAnswer):
            what = what.partition(";")[0]
            cure = f"raise agent_parameters.{role}.max_tokens or set its reasoning to false"
            if problem.by_server:
                cure = "raise the context (or the limit) of its server, or ask for less"
        error = AnswerError(f"{self._named(question)}: {what} ({asked}); {cure}", node=node, keys=keys)
        if self.run.journal and self.run.journal.keeps_texts:
            session = quote(self.emit.origin.session)
            error.add_note(f"`swarm-graph log {session} --node {quote(node)} --last` shows the answer")
        return error

    async def _fitting(
        self, question: Question[Any], endpoint: Endpoint, versions: PromptVersions
    ) -> list[BaseMessage]:
        """The first version that fits into the context. Raises ModelError when none does."""
        parameters = question.parameters
        for messages, note in versions:
            size = await endpoint.prompt_size(messages, parameters)
            if size is None or size.tokens <= size.room:
                if note:
                    self.notes.append(note)
                return messages
        assert size is not None
        raise self.too_long(question, endpoint, size)

    def too_long(self, question: Question[Any], endpoint: Endpoint, size: PromptSize) -> ModelError:
        """The error of a prompt that does not fit into the context."""
        entry, node = endpoint.entry, self.emit.origin.node
        answer = room_for_answer(question.parameters.max_tokens)
        option = "num_ctx" if entry.api_type in ("ollama", EMBEDDED) else "its server's context"
        return ModelError(
            f"{self._named(question)}: {entry.label} at {entry.server} has a context of "
            f"{size.room + answer} tokens, too small for this prompt of about {size.tokens} and {answer} for "
            f"the answer; raise {option} or {question.cure}",
            node=node,
            detail="the prompt exceeds the context size",
        )

    async def reply(
        self,
        question: Question[Any],
        endpoint: Endpoint,
        messages: list[BaseMessage],
        *,
        is_repair: bool = False,
        tools: Tools = (),
    ) -> Reply:
        """The reply of a model. An optional field that its server refuses is left out from then on.

        Args:
            question: The question; its schema binds the reply.
            endpoint: The model.
            messages: The prompt.
            is_repair: Whether it is the repair question.
            tools: The tools that the reply may call by the server's API, in OpenAI's form.

        Raises:
            ModelError: There is no reply.
            ToolsRefused: The server refuses requests with tools.
        """
        entry, parameters = endpoint.entry, question.parameters
        trial = FieldTrial(retried=entry.retries > 0)
        while True:
            left_out = endpoint.refused() | trial.left_out
            schema = None if SCHEMA in left_out else question.schema
            call = await self._call(
                question, endpoint, left_out, schema, is_repair=is_repair, is_trial=trial.is_running
            )
            arguments = call_arguments(call.model, parameters.extra_body, schema, tools)
            try:
                reply = await call(messages, **arguments)
            except ModelError as error:
                trial.learn(error, optional_fields(entry, parameters, schema, tools) - left_out)
                if TOOLS in trial.left_out:
                    endpoint.refuse(TOOLS)
                    self.notes.append(f"asked without tools in requests, which {entry.server} refuses")
                    raise ToolsRefused from error
                continue
            for field in trial.refused:
                endpoint.refuse(field)
            if blamed := ", ".join(sorted(trial.refused)):
                self.notes.append(f"asked without {blamed}, which {entry.server} refuses")
            if innocent := ", ".join(sorted(trial.left_out - trial.refused)):
                self.notes.append(f"asked once without {innocent} to find that out")
            if not reply.estimated:
                await self._check_uncut(endpoint, messages, reply, tools)
            return reply

    async def _check_uncut(
        self, endpoint: Endpoint, messages: list[BaseMessage], reply: Reply, tools: Tools
    ) -> None:
        """Raises ModelError when the server cut the prompt without an error."""
        entry, node = endpoint.entry, self.emit.origin.node
        if size := await endpoint.cut_prompt(messages, reply.input_tokens, tools):
            await self._report(reply, f"the server has read only {reply.input_tokens} tokens of the prompt")
            raise ModelError(
                f"{node}: {entry.label} at {entry.server} has read only {reply.input_tokens} tokens of a "
                f"prompt of about {size}: it cuts what does not fit; raise num_ctx or its server's context",
                node=node,
            )

    async def _call(
        self,
        question: Question[Any],
        endpoint: Endpoint,
        left_out: frozenset[str],
        schema: dict[str, Any] | None,
        *,
        is_repair: bool,
        is_trial: bool,
    ) -> ModelCall:
        model = await endpoint.chat(question.parameters, left_out)
        temperature = self.run.overrides.temperature
        if temperature is not None and "temperature" in type(model).model_fields:
            model = model.model_copy(update={"temperature": temperature})
        metadata = {**self.config.get("metadata", {}), **self.emit.origin.to_dict()}
        if (kind := self.bindings.config.workflow.kind) != "code":
            metadata["kind"] = kind  # for simulated models
        return ModelCall(
            entry=endpoint.entry,
            model=model,
            slots=[self.run.slots, *await endpoint.slots(self.run.shared_limits)],
            config={**self.config, "metadata": metadata},
            emit=self.emit,
            run=self.run,
            parameters={
                **question.parameters.model_dump(exclude_none=True),
                "model": endpoint.name_of(model),
                "override": temperature,
            },
            schema=schema,
            is_repair=is_repair,
            may_omit_finish_reason=endpoint.may_omit_finish_reason,
            final_statuses=REFUSAL_STATUS if is_trial else frozenset(),
            steps=self.workplace.steps if self.workplace else NO_STEPS,
        )


def _read(question: Question[A], reply: Reply, template: ChatTemplate) -> Reading[A]:
    message = final_message(reply.text, template)
    if reply.truncated:
        by_server = _is_cut_by_server(question.parameters, reply)
        whose = "its server's" if by_server else "its"
        limit = f"{whose} limit of {reply.output_tokens} tokens"
        problem = f"was cut off at {limit}; answer more briefly"
        if not message.text.strip():
            problem = f"had not begun at {limit}: all went into thoughts; think less"
        raise TruncatedAnswer(f"the answer {problem}", by_server=by_server)
    if reply.reasoning_tokens and not reply.text.strip():
        raise UnreadableAnswer("the answer is empty: the model wrote only thoughts")
    reading = question.read(message)
    return reading._replace(note="; ".join(filter(None, [message.cut, reading.note])))


def _is_cut_by_server(parameters: AgentParameters, reply: Reply) -> bool:
    """Whether an answer was cut off before its own limit: its context was full, or its server has a limit."""
    limit = token_limit(parameters.model_dump())
    # Servers differ by a token or two: some count the end of the turn.
    return not reply.estimated and (limit is None or reply.output_tokens < limit - 2)


def supplied_model(context: SwarmContext, role: str) -> BaseChatModel | None:
    """The chat model that a run's context supplies for a role, if it does."""
    model = context.model.get(role) if isinstance(context.model, Mapping) else context.model
    assert model is None or isinstance(model, BaseChatModel)
    return model
