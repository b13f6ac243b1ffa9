"""A process that keeps asking a model server, as many questions at once as the shared limits allow."""

import asyncio
import sys
from contextlib import suppress

import httpx

from swarm_graph.checkpoints.postgres import PostgresDatabase
from swarm_graph.errors import SlotLost
from swarm_graph.models.slots import SessionSlots

CALLERS = 4
MOST = 2
"""Slots of one process: one that is stopped leaves some to the others."""


async def ask(client: httpx.AsyncClient, server: str, who: str) -> None:
    """Ask one question, and read the answer."""
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": who}]
    async with client.stream("POST", f"{server}/chat/completions", json={"messages": messages}) as answer:
        async for _ in answer.aiter_bytes():
            pass


async def call_for_ever(limits: SessionSlots, client: httpx.AsyncClient, server: str, slots: int) -> None:
    while True:
        slot = limits.slots(server, slots, "m")
        with suppress(SlotLost):
            async with slot, slot.kept():
                await ask(client, server, limits.session)


async def main(url: str, server: str, name: str, slots: int) -> None:
    with PostgresDatabase(url) as database:
        limits = SessionSlots(database.limits, name, MOST)
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            callers = [call_for_ever(limits, client, server, slots) for _ in range(CALLERS)]
            await asyncio.gather(*callers)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
