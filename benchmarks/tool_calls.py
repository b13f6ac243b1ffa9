"""How often a model calls a tool when it should, in each of the three ways: by its server's API, as an action
that a JSON schema binds, and as text.

python benchmarks/tool_calls.py                        # SmolLM2-135M on a llama.cpp server of its own
python benchmarks/tool_calls.py --url http://127.0.0.1:8080/v1 --model NAME
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm_graph.config import load_config
from swarm_graph.models.pool import ModelPool, ToolMode
from swarm_graph.settings import ModelEntry
from swarm_graph.setup.measure import ask_once
from swarm_graph.tools.tool_probe import COLORS, MODES, opened, question, works

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from servers.llama import running_llama
from servers.trained_model import NAME, need_weights


async def counts(url: str, model: str, questions: int, mode: ToolMode) -> tuple[int, int, str]:
    """How many answers are in form, how many open the right box, and the last answer that is not in form."""
    config = load_config({"url": url, "model": model, "api_type": "openai"}, environ={})
    pool, in_form, right, wrong = ModelPool(config), 0, 0, ""
    entry: ModelEntry = config.entries[0]
    for number in range(questions):
        color = COLORS[number % len(COLORS)]
        reply = await ask_once(pool, entry, *question(mode, color))
        if reply is None or not works(mode, reply):
            wrong = "refused" if reply is None else repr(reply.text[:70])
        else:
            in_form += 1
            right += opened(mode, reply) == color
    return in_form, right, wrong


@contextmanager
def served(url: str, model: str) -> Iterator[tuple[str, str]]:
    """The URL and the name of the model, on a server of its own without a URL."""
    if url:
        yield url, model
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running_llama(Path(folder), model=need_weights(), slots=1, ctx_per_slot=2048, alias=NAME) as server,
    ):
        yield server.url, NAME


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="a server with OpenAI's API")
    parser.add_argument("--model", default="")
    parser.add_argument("--questions", type=int, default=20)
    asked = parser.parse_args()
    with served(asked.url, asked.model) as (url, model):
        for mode in MODES:
            in_form, right, wrong = asyncio.run(counts(url, model, asked.questions, mode))
            other = f"; not in form: {wrong}" if wrong else ""
            print(f"{mode:7}{in_form:3} of {asked.questions} in form, {right} the right call{other}")


if __name__ == "__main__":
    main()
