"""AutoGen: an AssistantAgent for each role and session, whose streamed answer becomes part of the next task.

Its group chats and GraphFlow show every agent the whole conversation, so they would send other prompts; this
is the leaner way of its documentation. Agents keep their messages, so each session has its own. No
checkpoint, no record; `save_state` would be a call of the program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_core.models import ModelFamily
from autogen_ext.models.openai import OpenAIChatCompletionClient
from role_prompts import REQUEST, REVIEWS
from worker import Session, Setting


@asynccontextmanager
async def contender(setting: Setting) -> AsyncIterator[Session]:
    client = OpenAIChatCompletionClient(
        model="sleeper",
        base_url=setting.url,
        api_key="none",
        temperature=0.6,
        include_name_in_message=False,
        model_info={
            "vision": False,
            "function_calling": False,
            "json_output": False,
            "structured_output": False,
            "family": ModelFamily.UNKNOWN,
        },
    )

    async def ask(name: str, state: dict[str, str]) -> str:
        system, user = setting.prompts.messages(name, state)
        agent = AssistantAgent(name, client, system_message=system, model_client_stream=True)
        answer = ""
        async for event in agent.run_stream(task=user):
            if isinstance(event, TaskResult):
                answer = event.messages[-1].to_text()
        return answer

    async def session() -> bool:
        state = {"request": REQUEST}
        state["requirements"] = await ask("clarifier", state)
        state["design"] = await ask("architect", state)
        state["code"] = await ask("coder", state)
        reviews = await asyncio.gather(*(ask(name, state) for name in REVIEWS))
        return all(json.loads(review)["approved"] for review in reviews)

    yield session
    await client.close()
