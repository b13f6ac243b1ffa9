"""Microsoft's Agent Framework: a workflow of executors with a fan-out and a fan-in, whose agents stream.

A workflow cannot run twice at once, so each session builds its own; the agents are shared. No checkpoint
storage and no record; both would be more work.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent_framework import Agent, Executor, Workflow, WorkflowBuilder, WorkflowContext, handler
from agent_framework.observability import disable_instrumentation
from agent_framework_openai import OpenAIChatCompletionClient
from role_prompts import REQUEST, REVIEWS, WRITERS
from worker import Session, Setting

KEYS = {"clarifier": "requirements", "architect": "design", "coder": "code"}


class Role(Executor):
    """Asks its agent, and sends the state on with the answer."""

    def __init__(self, name: str, agent: Agent, setting: Setting) -> None:
        super().__init__(id=name)
        self.agent, self.setting = agent, setting

    @handler
    async def ask(self, state: dict[str, str], context: WorkflowContext[dict[str, str]]) -> None:
        user = self.setting.prompts.messages(self.id, state)[1]
        pieces = [update.text async for update in self.agent.run(user, stream=True)]
        await context.send_message({**state, KEYS.get(self.id, self.id): "".join(pieces)})


class Verdict(Executor):
    @handler
    async def judge(self, states: list[dict[str, str]], context: WorkflowContext[None, bool]) -> None:
        reviews = [state[name] for state in states for name in REVIEWS if name in state]
        await context.yield_output(all(json.loads(review)["approved"] for review in reviews))


def workflow(agents: dict[str, Agent], setting: Setting) -> Workflow:
    """clarifier → architect → coder → three reviewers → verdict."""
    roles = {name: Role(name, agent, setting) for name, agent in agents.items()}
    clarifier, architect, coder = (roles[name] for name in WRITERS)
    reviewers, verdict = [roles[name] for name in REVIEWS], Verdict(id="verdict")
    builder = WorkflowBuilder(start_executor=clarifier, output_from=[verdict])
    builder.add_edge(clarifier, architect).add_edge(architect, coder)
    return builder.add_fan_out_edges(coder, reviewers).add_fan_in_edges(reviewers, verdict).build()


@asynccontextmanager
async def contender(setting: Setting) -> AsyncIterator[Session]:
    disable_instrumentation()
    client = OpenAIChatCompletionClient(model="sleeper", base_url=setting.url, api_key="none")
    agents = {
        name: Agent(
            client,
            instructions=setting.prompts.messages(name, {})[0],
            name=name,
            default_options={"temperature": 0.6},
        )
        for name in (*WRITERS, *REVIEWS)
    }

    async def session() -> bool:
        result = await workflow(agents, setting).run({"request": REQUEST})
        return all(result.get_outputs()) and bool(result.get_outputs())

    yield session
