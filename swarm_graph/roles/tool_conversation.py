"""The conversation of a turn with tools: the prompt, the calls and their results, as messages for a model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from swarm_graph.checkpoints.journal import question_key
from swarm_graph.prompts.chat_template import KNOWN
from swarm_graph.roles.question import LEFT_OUT
from swarm_graph.state import ToolCall, ToolResult
from swarm_graph.tools.calling import shown_result
from swarm_graph.tools.names import MAX_WIRE_NAME
from swarm_graph.tools.results import bounded

SHORTER = (2000, 1000, 500, 250)
"""Characters to which the last results are cut, one after the other, until they fit into the context."""
MAX_SAID = 4000
"""Characters of a model's text beside its calls that the next prompts quote."""
_NO_NAME_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")


class Called(NamedTuple):
    """A call that was made or refused, with its result.

    Attributes:
        number: Its number in the turn, from 1.
        name: The name by which the model knows the tool.
        call: The call as the model wrote it.
        result: What came of it.
    """

    number: int
    name: str
    call: ToolCall
    result: ToolResult

    @property
    def id(self) -> str:
        """Its id in messages: nine letters and digits, which every template takes."""
        return f"call{self.number:05d}"

    def shown(self, *, left_out: bool, longest: int = 0) -> str:
        """The result as the model reads it, with at most so many characters; 0 is no limit."""
        text = LEFT_OUT if left_out else self.result.text
        return shown_result(self.name, self.result._replace(text=bounded(text, longest) if longest else text))

    def as_langchain(self) -> dict[str, Any]:
        """The call in LangChain's form."""
        name = _NO_NAME_CHARACTER.sub("_", self.name)[:MAX_WIRE_NAME] or "unknown"
        return {"name": name, "args": self.call.arguments, "id": self.id, "type": "tool_call"}

    def as_text(self) -> str:
        """The call in the form that models without an API for calls are asked for."""
        call = {"tool": self.name, "arguments": self.call.arguments}
        return KNOWN.break_up(json.dumps(call, ensure_ascii=False))


class Exchange(NamedTuple):
    """An answer that calls tools, with the results; or one that could not be read, with the problem."""

    said: str
    calls: tuple[Called, ...]
    problem: str = ""


@dataclass
class Conversation:
    """The exchanges of a turn.

    Attributes:
        exchanges: What was said, in order.
        left_out: How many results are left out for lack of context, from the oldest on.
        longest: Characters to which the others are cut for lack of context; 0: they are not.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    left_out: int = 0
    longest: int = 0

    @property
    def calls(self) -> list[Called]:
        """All calls, in order."""
        return [called for exchange in self.exchanges for called in exchange.calls]

    @property
    def older_results(self) -> int:
        """The number of results before those of the last exchange."""
        return len(self.calls) - (len(self.exchanges[-1].calls) if self.exchanges else 0)

    def shrink(self) -> bool:
        """Make room: leave out the oldest result, then cut those of the last exchange, then leave them out.

        Returns:
            Whether there was anything to give.
        """
        last = self.calls[self.older_results :]
        length = max((len(called.result.text) for called in last), default=0)
        if self.longest:
            length = min(length, self.longest)
        if self.left_out < self.older_results:
            self.left_out += 1
        elif shorter := next((limit for limit in SHORTER if limit < length), 0):
            self.longest = shorter
        elif self.left_out < len(self.calls):
            self.left_out = len(self.calls)
        else:
            return False
        return True

    def key(self, question: Sequence[BaseMessage]) -> str:
        """Identifies the conversation so far; it does not depend on how the model calls tools.

        Args:
            question: The whole prompt, without tools.
        """
        said = [
            [
                (called.call.name, called.call.arguments, called.result.outcome, called.result.text)
                for called in exchange.calls
            ]
            for exchange in self.exchanges
            if exchange.calls
        ]
        return question_key([[(message.type, message.text) for message in question], said])

    def native(self, prompt: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The messages for a server that knows calls: the prompt, the calls and their results."""
        messages = [*prompt]
        for exchange in self.exchanges:
            calls: Any = [called.as_langchain() for called in exchange.calls]
            messages.append(AIMessage(_quoted(exchange.said), tool_calls=calls))
            messages += [
                ToolMessage(self._shown(called), tool_call_id=called.id) for called in exchange.calls
            ]
        return messages

    def plain(self, prompt: Sequence[BaseMessage], closing: str = "") -> list[BaseMessage]:
        """The messages for any server: calls and results are text, the speakers take turns.

        Args:
            prompt: The prompt.
            closing: A text below the last results; left out if there is no exchange.
        """
        messages = [*prompt]
        for exchange in self.exchanges:
            calls = [called.as_text() for called in exchange.calls]
            messages.append(AIMessage("\n".join(filter(None, [_quoted(exchange.said), *calls])) or "…"))
            results = [self._shown(called) for called in exchange.calls]
            messages.append(HumanMessage("\n\n".join(results) or exchange.problem))
        if self.exchanges and closing:
            messages[-1] = HumanMessage(f"{messages[-1].text}\n\n{closing}")
        return messages

    def _shown(self, called: Called) -> str:
        return called.shown(left_out=called.number <= self.left_out, longest=self.longest)


def _quoted(text: str) -> str:
    return KNOWN.break_up(text.strip()[:MAX_SAID])
