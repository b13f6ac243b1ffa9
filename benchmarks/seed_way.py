"""The seed's own way of the same session: plain POSTs with `requests`, threads, a dict, no database.

`requests` comes with LangChain (through langsmith); the seed used nothing else.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import requests
from peer import ROLES

from swarm_graph.prompts import template

PROMPTS = {role: template.load(role, holes=holes) for role, holes in ROLES.items()}
FOCUSES = [template.read(template.FOCUS + name).strip() for name in ("correctness", "performance", "style")]


def run_session(url: str, request: str) -> bool:
    """One session of the standard workflow with one round; whether it was approved."""
    state = {"request": request}

    def ask(role: str, focus: str = "") -> str:
        values = {key: state.get(key) or "(none)" for key in ROLES[role]} | {"focus": focus}
        system, user = PROMPTS[role].render(values)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = {"model": "sleeper", "messages": messages, "temperature": 0.6, "stream": False}
        answer = requests.post(f"{url}/chat/completions", json=body, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])

    state["requirements"] = ask("clarifier")
    state["design"] = ask("architect")
    state["code"] = ask("coder")
    with ThreadPoolExecutor(max_workers=3) as pool:
        reviews = list(pool.map(lambda focus: json.loads(ask("reviewer", focus)), FOCUSES))
    return all(review["approved"] for review in reviews)
