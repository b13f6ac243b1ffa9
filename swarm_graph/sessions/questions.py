"""Questions about a session: one call to a model that sees the session's state. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langgraph.store.base import BaseStore

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError
from swarm_graph.events import parse_event
from swarm_graph.models.ask import QUESTION_NODE
from swarm_graph.prompts import template
from swarm_graph.roles.answers import Reading, read
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Emitter, Origin
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.question import LEFT_OUT, NONE, Answer, Question
from swarm_graph.roles.registry import Roles
from swarm_graph.roles.run import RunContext
from swarm_graph.roles.turn import Turn
from swarm_graph.sessions.artifacts import notes_text, project_files, reviews_text
from swarm_graph.sessions.run import OnEvent
from swarm_graph.state import AgentRole, SwarmContext, SwarmState, Task

HOLES = ("request", "outcome", "notes", "files", "reviews", "results", "earlier", "question")
LEAST_NEEDED = ("earlier", "results", "reviews", "files", "notes")
"""What a prompt for a small context leaves out, in this order."""
MAX_QUERY = 3000
"""Characters of a question and its request by which memory is searched."""
EXPLAINERS = (AgentRole.ARCHITECT, AgentRole.CODER, AgentRole.REVIEWER, AgentRole.DOCUMENTER)
"""The roles whose model is asked: the first of them that worked in the session."""


@dataclass(frozen=True)
class Subject:
    """What a question is about.

    Attributes:
        session: The session.
        workflow: Its workflow.
        state: Its state.
        tasks: Its finished tasks.
        roles: Its roles.
    """

    session: str
    workflow: str
    state: SwarmState
    tasks: Sequence[Task]
    roles: Roles

    @property
    def role(self) -> str:
        """The role whose model explains the session."""
        worked = [task.assigned_role for task in self.tasks]
        return next((role for role in EXPLAINERS if role in worked), (worked or [AgentRole.ARCHITECT])[0])

    def values(self) -> dict[str, str]:
        """What the prompt shows of the session."""
        return {
            "request": self.state.get("request", ""),
            "outcome": "\n".join(self._outcome()),
            "notes": notes_text(self.state, self.roles),
            "files": fenced(project_files(self.state, self.roles)),
            "reviews": reviews_text(self.state),
            "results": "\n\n".join(self._results()),
        }

    def _outcome(self) -> Iterator[str]:
        yield f"workflow {self.workflow}, phase {self.state.get('phase', '')}"
        yield f"approved: {self.state.get('approved', False)}, round {self.state.get('iteration', 0)}"
        yield from (f"{task.task_id} {task.status}: {task.error}" for task in self.tasks if task.error)

    def _results(self) -> Iterator[str]:
        """The results of a task graph; those of the roles of other workflows stand in the notes and files."""
        for task in self.tasks if self.workflow == "custom" else ():
            yield f"{task.task_id} ({task.assigned_role}): {task.description}\n{task.result or NONE}"


async def answer_question(
    question: str,
    subject: Subject,
    config: SwarmConfig,
    *,
    context: SwarmContext | None = None,
    earlier: Sequence[tuple[str, str]] = (),
    on_event: OnEvent | None = None,
    store: BaseStore | None = None,
) -> Answer[str]:
    """Ask a model about a session. Neither the question nor the answer is recorded.

    Args:
        question: The question.
        subject: The session.
        config: The configuration with the models.
        context: Models, temperature or clock that override the configuration.
        earlier: Earlier questions about the session with their answers.
        on_event: Called with the events of the call; those of kind `tokens` have the answer as it arrives.
        store: What the role whose model answers recalls from, if it does in sessions.

    Raises:
        InputError: The question is empty.
        ConfigError: There is no model to ask.
        ModelError: There is no answer that can be used.
    """
    if not question.strip():
        raise InputError("the question is empty; ask for instance why a design was chosen")
    role, roles = subject.role, subject.roles

    def write(part: Any) -> None:
        event = parse_event(part)
        if on_event and event:
            on_event(event)

    origin = Origin(
        subject.session, QUESTION_NODE, str(role), iteration=max(subject.state.get("iteration", 0), 1)
    )
    bindings, run, emit = Bindings(config), RunContext(config, context, store=store), Emitter(origin, write)
    turn = Turn(bindings, run, emit, {})
    prompt = roles.prompt(template.QUESTION, *HOLES, template.MEMORY_HOLE)
    asked = "\n\n".join(f"Question: {text}\nAnswer: {answer}" for text, answer in earlier)
    values = {**subject.values(), "earlier": asked, "question": question}
    asking = Question(
        messages=_messages(prompt, values, roles.preamble),
        entry=lambda: config.model_for(role),
        parameters=roles.parameters(role),
        read=lambda message: Reading(read(message, str)),
        repair=roles.prompt(template.REPAIR, "problem"),
        shorter=lambda: _shorter(prompt, values, roles.preamble),
    )
    if limit := bindings.recalled_by(role):
        from swarm_graph.roles.recollection import Recaller, Recollection  # most questions need no memory

        query = f"{question}\n{values['request']}"[:MAX_QUERY]
        found = await Recaller(run, {}, in_own_loop=True).search(query, limit)
        turn.notes += filter(None, [found.note])
        told = roles.prompt(template.RECALL).instructions.substitute()
        recollection = Recollection(found.passages, found.note, emit)
        asking = recollection.shown_in(
            asking, lambda memory: _messages(prompt, values, roles.preamble, memory, told)
        )
    return await turn.ask(asking)


def _messages(
    prompt: template.Prompt, values: Mapping[str, str], preamble: str, memory: str = "", told: str = ""
) -> list[BaseMessage]:
    values = {name: text or NONE for name, text in values.items()}
    prompt, values = prompt.with_passages(values, memory, NONE)
    system, user = prompt.messages(values, preamble, told if memory else "")
    return [SystemMessage(system), HumanMessage(user)]


def _shorter(
    prompt: template.Prompt, values: Mapping[str, str], preamble: str
) -> Iterator[tuple[list[BaseMessage], str]]:
    """Prompts for a small context, each without one part more."""
    left_out: list[str] = []
    for name in LEAST_NEEDED:
        if values[name]:
            left_out.append(name)
            values = {**values, name: LEFT_OUT}
            yield _messages(prompt, values, preamble), ", ".join(left_out)
