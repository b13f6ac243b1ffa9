"""For tests of programs that use swarm_graph: chat models with scripted answers, per role or node.

    from swarm_graph import build_graph
    from swarm_graph.testing import ScriptedModels, simulated_config

    models = ScriptedModels({"coder": "```python path=src/a.py\\nx = 1\\n```"})
    graph = build_graph("standard", config=simulated_config())
    state = graph.invoke({"request": "Set x to one"}, context=models.context)
    assert state["approved"]
    assert models.asked[:3] == ["clarifier", "architect", "coder"]

Everything but the models is real: prompts, parsing, retries, checkpoints, files. No server is asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.models.ask import Ask
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.state import SwarmContext

Answer = str | Exception | Callable[[Ask], str | Exception]
"""What a role answers: a text, an exception that is raised instead, or a function of the question.

`{round}` in a text becomes the number of the round.
"""

APPROVED = json.dumps({"findings": [], "approved": True})
"""A reviewer's approval."""
REFUSED = json.dumps(
    {
        "findings": [
            {
                "severity": "major",
                "location": "src/a.py:{round}",
                "problem": "It fails.",
                "suggestion": "Mend it.",
            }
        ],
        "approved": False,
    }
)
"""A reviewer's refusal, with a finding that differs from round to round."""
CODE = "```python path=src/a.py\nx = {round}\n```"
TESTS = "```python path=tests/test_a.py\ndef test_a():\n    pass\n```"
ANSWERS: Mapping[str, Answer] = {
    "clarifier": json.dumps({"requirements": ["It works."], "assumptions": [], "open_questions": []}),
    "architect": "One file.",
    "coder": CODE,
    "reviewer": APPROVED,
    "security": APPROVED,
    "tester": TESTS,
    "debugger": "The cause.",
    "optimizer": "Nothing to gain.",
    "documenter": "# A",
}
"""The answers of roles that a test does not script: every session ends with an approval."""

DOCUMENT_ANSWERS: Mapping[str, Answer] = {
    **ANSWERS,
    "architect": "## Outline\n- `# A`: scope\n- `## Steps`: what is done",
    "coder": "````markdown path=docs/a.md\n# A\n\nIt is {round}.\n\n## Steps\n\nOpen the valve slowly.\n````",
    "tester": json.dumps(
        {"items": [{"requirement": "It works.", "place": "Steps", "quote": "Open the valve slowly."}]}
    ),
}
"""The same for sessions that make a document."""

CHANGE_ANSWERS: Mapping[str, Answer] = {
    **ANSWERS,
    "architect": "## Changes\n- `src/a.py`: x",
    "documenter": "NO CHANGE: no documentation is affected.",
}
"""The same for sessions that change a repository."""

_OF_KIND = {"document": DOCUMENT_ANSWERS, "change": CHANGE_ANSWERS}

FIXED_TIME = 1000.0
"""The time of all tasks, in seconds since the epoch, so that states can be compared."""


class ScriptedModels:
    """A scripted chat model for every role; it records the questions.

    Attributes:
        script: The answer of each node or role; a node's wins over its role's.
        asks: Every question, in the order in which they were asked.
    """

    def __init__(self, script: Mapping[str, Answer] | None = None) -> None:
        """Script the answers.

        Args:
            script: Answers by the name of a node or a role; for all others ANSWERS, or DOCUMENT_ANSWERS in a
                session that makes a document and CHANGE_ANSWERS in one that changes a repository.
        """
        self.script: dict[str, Answer] = {**ANSWERS, **(script or {})}
        self._scripted = {*(script or {})}
        self.asks: list[Ask] = []
        self._lock = threading.Lock()

    @property
    def context(self) -> SwarmContext:
        """The context for `graph.invoke(..., context=...)` or `SwarmCoordinator(context=...)`."""
        return SwarmContext(model=SimulatedChatModel(play=self._play), clock=lambda: FIXED_TIME)

    @property
    def asked(self) -> list[str]:
        """The nodes in the order in which they asked."""
        return [ask.node for ask in self.asks]

    def prompts(self, node: str) -> list[str]:
        """The prompts of a node, in order."""
        return [ask.prompt for ask in self.asks if ask.node == node]

    def _answer(self, ask: Ask) -> Answer | None:
        if ask.kind in _OF_KIND and not {ask.node, ask.role} & self._scripted:
            return _OF_KIND[ask.kind].get(ask.role)
        return self.script.get(ask.node, self.script.get(ask.role))

    def _play(self, ask: Ask) -> str | Exception:
        with self._lock:
            self.asks.append(ask)
        answer = self._answer(ask)
        if answer is None:
            raise LookupError(f"no answer is scripted for the node '{ask.node}' or the role '{ask.role}'")
        if callable(answer):
            answer = answer(ask)
        return answer.replace("{round}", str(ask.iteration)) if isinstance(answer, str) else answer


def simulated_config(**sections: Any) -> SwarmConfig:
    """A configuration with a simulated model that runs no generated tests.

    Args:
        sections: Sections of a config file, such as `workflow={"max_iterations": 2}`.
    """
    base = {
        "model_config": {"single_model": {"model": "simulated", "api_type": "simulated"}},
        "execution": {"mode": "off"},
    }
    return load_config({**base, **sections}, environ={})
