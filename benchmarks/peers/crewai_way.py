"""CrewAI: a flow whose steps ask an agent each, the reviewers side by side; its streaming is on.

A crew cannot end with several tasks at once, so this is a flow. CrewAI puts a role, a goal, a backstory and
its own instructions around each question, so its prompts differ in words. Telemetry, tracing and memory are
off. No checkpoint, no record; a flow with `@persist` would write its state to SQLite.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true"}
os.environ |= {"CREWAI_TRACING_ENABLED": "false", "CREWAI_DISABLE_TRACKING": "true"}

from crewai import LLM, Agent
from crewai.events.utils.console_formatter import set_suppress_console_output
from crewai.flow.flow import Flow, and_, listen, start
from role_prompts import REQUEST, REVIEWS, WRITERS
from worker import Session, Setting


class Standard(Flow):  # type: ignore[type-arg]
    """clarifier → architect → coder → three reviewers → verdict."""

    agents: ClassVar[dict[str, Agent]]
    setting: ClassVar[Setting]

    async def ask(self, name: str) -> str:
        user = self.setting.prompts.messages(name, self.state)[1]
        return str((await self.agents[name].kickoff_async(user)).raw)

    @start()
    async def clarify(self) -> None:
        self.state["requirements"] = await self.ask("clarifier")

    @listen(clarify)
    async def design(self) -> None:
        self.state["design"] = await self.ask("architect")

    @listen(design)
    async def code(self) -> None:
        self.state["code"] = await self.ask("coder")

    @listen(code)
    async def review_correctness(self) -> None:
        self.state["review_correctness"] = await self.ask("review_correctness")

    @listen(code)
    async def review_performance(self) -> None:
        self.state["review_performance"] = await self.ask("review_performance")

    @listen(code)
    async def review_style(self) -> None:
        self.state["review_style"] = await self.ask("review_style")

    @listen(and_(review_correctness, review_performance, review_style))
    async def verdict(self) -> bool:
        return all(json.loads(self.state[name])["approved"] for name in REVIEWS)


def new_agent(name: str, llm: LLM, setting: Setting) -> Agent:
    role = name if name in WRITERS else "reviewer"
    system = setting.prompts.messages(name, {})[0]
    return Agent(role=f"the {role}", goal="Answer.", backstory=system, llm=llm, verbose=False)


@asynccontextmanager
async def contender(setting: Setting) -> AsyncIterator[Session]:
    set_suppress_console_output(True)
    llm = LLM(model="openai/sleeper", base_url=setting.url, api_key="none", temperature=0.6, stream=True)
    Standard.setting = setting
    Standard.agents = {name: new_agent(name, llm, setting) for name in (*WRITERS, *REVIEWS)}

    async def session() -> bool:
        return await Standard(suppress_flow_events=True).kickoff_async({"request": REQUEST}) is True

    yield session
