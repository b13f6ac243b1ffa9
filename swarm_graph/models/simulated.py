"""The simulated model: scripted or invented answers for demos, notebooks and load tests, marked as simulated.

An answer depends only on seed, role, node, round, attempt and messages. So runs repeat exactly, and any
number of sessions can share a model. With a skill it answers the questions of an experiment right with that
probability; whether it does depends on its name, too, so that two models make different mistakes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from pydantic import Field

from swarm_graph.models.ask import Ask
from swarm_graph.models.invented import dice_for, invent_answer
from swarm_graph.models.known_answers import KnownAnswers, known_answers_of
from swarm_graph.models.simulated_script import Script, load_script
from swarm_graph.settings import ModelEntry, Simulation

Play = Callable[[Ask], str | Exception | None]
"""Plays the model: returns an answer, an exception to raise, or None to leave it to the script."""


class SimulatedChatModel(BaseChatModel):
    """A LangChain chat model without a server. Answers come from `play`, else the known answers of its skill,
    else the script, else are invented.

    Attributes:
        model_name: The name in the metadata of its answers.
        simulation: Seed, speed, failure rates, skill and script.
        play: A function that answers first; not serialised.
    """

    model_name: str = "simulated"
    simulation: Simulation = Simulation()
    play: Play | None = Field(default=None, exclude=True)

    @classmethod
    def of(cls, entry: ModelEntry) -> SimulatedChatModel:
        """The simulated model for an entry.

        Raises:
            ConfigError: Its script or its known answers cannot be read.
        """
        model = cls(model_name=entry.model, simulation=entry.simulation)
        _ = model.script, model.known  # so that an unreadable file fails here, not in the first call
        return model

    @cached_property
    def script(self) -> Script:
        """The script in `simulation`, or the demo."""
        return load_script(self.simulation.script)

    @cached_property
    def known(self) -> KnownAnswers | None:
        """The known answers in `simulation`; None without a skill."""
        return known_answers_of(self.simulation)

    @property
    def _llm_type(self) -> str:
        return "simulated-chat"

    def _answer(self, messages: list[BaseMessage], arguments: dict[str, Any]) -> str:
        about = arguments.get("about", {})
        ask = Ask(
            role=str(about.get("role", "")),
            node=str(about.get("node", "")),
            iteration=int(about.get("iteration", 1)),
            attempt=int(about.get("attempt", 1)),
            prompt="\n".join(message.text for message in messages),
            schema=arguments.get("response_format", {}).get("json_schema", {}).get("schema"),
            kind=str(about.get("kind", "code")),
        )
        dice = dice_for(self.simulation.seed, ask)
        if dice.random() < self.simulation.failure_rate:
            raise ConnectionError("a simulated failure")
        answer = self.play(ask) if self.play else None
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            answer = self._known_answer(ask)
        if answer is None and (self.simulation.script or ask.kind == "code"):  # the demo writes a program
            answer = self.script.answer(ask)
        if answer is None:
            answer = invent_answer(ask, dice_for(self.simulation.seed, ask))
        broken = "response_format" in arguments and dice.random() < self.simulation.malformed_rate
        return answer[: len(answer) // 2] if broken else answer

    def _known_answer(self, ask: Ask) -> str | None:
        """A right or a wrong answer, if the question is known."""
        known = self.known.find(ask) if self.known else None
        skill = self.simulation.skill
        if known is None or skill is None:
            return None
        return known.answer(skill, dice_for(f"{self.simulation.seed}|{self.model_name}", ask))

    def _message(self, messages: list[BaseMessage], answer: str) -> AIMessage:
        length = sum(len(message.text) for message in messages)
        usage = UsageMetadata(
            input_tokens=max(1, length // 4),
            output_tokens=max(1, len(answer) // 4),
            total_tokens=max(1, length // 4) + max(1, len(answer) // 4),
        )
        metadata = {"model_name": self.model_name, "model_provider": "simulated", "finish_reason": "stop"}
        return AIMessage(answer, usage_metadata=usage, response_metadata=metadata)

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        pace = self.simulation.tokens_per_s
        for piece in re.findall(r"\s*\S{1,12}|\s+$", message.text) if pace else [message.text]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=message.usage_metadata,
                response_metadata=message.response_metadata,
                chunk_position="last",
            )
        )

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Stream an answer; the metadata of `config` names the role, node, round and attempt."""
        async for chunk in super().astream(input, config, about=(config or {}).get("metadata", {}), **kwargs):
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._message(messages, self._answer(messages, kwargs))
        time.sleep(self.simulation.first_token_s)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = self._message(messages, self._answer(messages, kwargs))
        await asyncio.sleep(self.simulation.first_token_s)
        pace = self.simulation.tokens_per_s
        for chunk in self._chunks(message):
            if pace:
                await asyncio.sleep(len(chunk.text) / 4 / pace)
            yield chunk


def chat_model(entry: ModelEntry, *_: Any) -> BaseChatModel:
    """A simulated model for an entry, as `SERVER_TYPES` requires.

    Raises:
        ConfigError: Its script or its known answers cannot be read.
    """
    return SimulatedChatModel.of(entry)
