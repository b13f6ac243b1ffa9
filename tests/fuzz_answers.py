"""Fuzzing of the answer parser: it raises nothing but UnreadableAnswer, and invents no approval.

    pip install atheris
    python tests/fuzz_answers.py -max_total_time=600

What a run of eleven minutes found worth keeping is in `golden/fuzzed_answers.json` (bytes as Latin-1), which
`test_answers.py` reads again.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.nodes.clarifier import Clarification
from swarm_graph.nodes.reviewer import Judgement
from swarm_graph.roles import answers
from swarm_graph.roles.file_blocks import Files

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["n"],
    "additionalProperties": False,
}
APPROVED = re.compile(r'"approved"\s*:\s*(true|"|[0-9])', re.IGNORECASE)


def check(data: bytes) -> None:
    """Reads a text as every kind of answer."""
    text = data.decode("utf-8", errors="surrogateescape")
    for kind in (str, Files, Clarification, Judgement):
        try:
            answer: object = answers.read(text, kind)
        except UnreadableAnswer:
            continue
        if isinstance(answer, Judgement) and answer.approved:
            plain = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            assert _says_so(plain), f"an approval that nobody wrote: {text!r}"
    try:
        typed = answers.read_typed(text, SCHEMA)
    except UnreadableAnswer:
        return
    json.dumps(typed)


def _says_so(text: str) -> bool:
    """Whether `"approved": true` stands there, its key perhaps written with escapes."""
    return bool(APPROVED.search(re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)))


def main() -> None:
    atheris: Any = importlib.import_module("atheris")

    for name, function in vars(answers).items():
        if inspect.isfunction(function) and function.__module__ == answers.__name__:
            setattr(answers, name, atheris.instrument_func(function))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
