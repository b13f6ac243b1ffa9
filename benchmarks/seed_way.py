"""The seed's own way of the same session: plain POSTs with `requests`, threads, a dict, no database.

`requests` comes with LangChain (through langsmith); the seed used nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import requests
from role_prompts import REQUEST, REVIEWS, RolePrompts
from worker import Session, Setting


def run_session(url: str, prompts: RolePrompts) -> bool:
    """One session of the standard workflow with one round; whether it was approved."""
    state = {"request": REQUEST}

    def ask(name: str) -> str:
        system, user = prompts.messages(name, state)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": "sleeper", "messages": messages, "temperature": 0.6, "stream": False}
        answer = requests.post(f"{url}/chat/completions", json=body, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])

    state["requirements"] = ask("clarifier")
    state["design"] = ask("architect")
    state["code"] = ask("coder")
    with ThreadPoolExecutor(max_workers=3) as pool:
        reviews = list(pool.map(lambda name: json.loads(ask(name)), REVIEWS))
    return all(review["approved"] for review in reviews)


@asynccontextmanager
async def contender(setting: Setting) -> AsyncIterator[Session]:
    async def session() -> bool:
        return await asyncio.to_thread(run_session, setting.url, setting.prompts)

    yield session
