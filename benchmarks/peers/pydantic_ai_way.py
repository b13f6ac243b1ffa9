"""pydantic-ai: an agent for each role, handed on in the program, reviewers in `asyncio.gather`; streaming.

It has what its agents have: typed messages, usage, retries of unreadable answers. No checkpoint, no record,
no resume.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from role_prompts import REQUEST, REVIEWS, WRITERS
from worker import Session, Setting


@asynccontextmanager
async def contender(setting: Setting) -> AsyncIterator[Session]:
    model = OpenAIChatModel("sleeper", provider=OpenAIProvider(base_url=setting.url, api_key="none"))
    agents = {
        name: Agent(model, name=name, instructions=setting.prompts.messages(name, {})[0])
        for name in (*WRITERS, *REVIEWS)
    }

    async def ask(name: str, state: dict[str, str]) -> str:
        user = setting.prompts.messages(name, state)[1]
        async with agents[name].run_stream(user, model_settings={"temperature": 0.6}) as result:
            return "".join([text async for text in result.stream_text(delta=True, debounce_by=None)])

    async def session() -> bool:
        state = {"request": REQUEST}
        state["requirements"] = await ask("clarifier", state)
        state["design"] = await ask("architect", state)
        state["code"] = await ask("coder", state)
        reviews = await asyncio.gather(*(ask(name, state) for name in REVIEWS))
        return all(json.loads(review)["approved"] for review in reviews)

    yield session
