"""The fields of a request besides its messages, and those that a server refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.language_models import BaseChatModel

from swarm_graph.errors import ModelError
from swarm_graph.models.failures import is_overflow
from swarm_graph.settings import AgentParameters, ModelEntry

REFUSAL_STATUS = frozenset({400, 422, 500, 501})
"""Statuses with which servers refuse a field."""
SCHEMA = "response_format"
"""The JSON schema of an answer; Ollama calls it `format`."""
REASONING_FIELDS = frozenset({"chat_template_kwargs", "reasoning_effort", "think"})
"""The parameter `reasoning`, as it is sent."""
SUSPECTS = (frozenset({SCHEMA}), REASONING_FIELDS, frozenset({"stream_options", "top_p", "seed"}))
"""Fields that a request can do without, those first that servers refuse most often."""
WORDS = {
    SCHEMA: (
        "response_format",
        "json_schema",
        "json schema",
        "grammar",
        "invalid format",
        "structured output",
    ),
    "chat_template_kwargs": ("chat_template_kwargs", "enable_thinking"),
    "think": ("think", "thinking"),
}
"""How servers name a field that they refuse, if not by its name."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict", "num_predict")
"""Fields of `extra_body` that limit an answer."""


def optional_fields(
    entry: ModelEntry, parameters: AgentParameters, schema: dict[str, Any] | None
) -> frozenset[str]:
    """The fields of a request that it can do without.

    Args:
        entry: The model; a supplied one takes only the schema.
        parameters: How it samples. Fields of `extra_body` are the user's own and stay.
        schema: The JSON schema that binds the answer; None for a free answer.
    """
    names = {SCHEMA} if schema else set()
    if entry.api_type != "simulated":
        names |= {name for name in ("seed", "top_p") if getattr(parameters, name) is not None}
        if entry.api_type == "ollama":
            names |= {"think"} if parameters.reasoning is not None else set()
        else:
            names |= {"stream_options", *reasoning_field(parameters)}
    return frozenset(names - set(parameters.extra_body))


def reasoning_field(parameters: AgentParameters) -> dict[str, Any]:
    """The parameter `reasoning` as a field of OpenAI's API; empty when it is not set."""
    if isinstance(parameters.reasoning, str):
        return {"reasoning_effort": parameters.reasoning}
    if parameters.reasoning is not None:
        return {"chat_template_kwargs": {"enable_thinking": parameters.reasoning}}
    return {}


class FieldTrial:
    """Finds the optional fields that a server refuses, from one refused call of a question to the next.

    A field that the server's words name is left out. When they name none, the call is repeated without the
    suspects, one group after the other.

    Attributes:
        left_out: The fields to leave out of the next call.
    """

    def __init__(self, *, retried: bool) -> None:
        """`retried`: whether a call with status 500 has been retried before it reaches this trial."""
        self.left_out: frozenset[str] = frozenset()
        self._named: frozenset[str] = frozenset()
        self._suspects: frozenset[str] = frozenset()
        self._repeat_500 = not retried
        self._refusal: ModelError | None = None

    @property
    def is_running(self) -> bool:
        """Whether the next call is a trial: it is not retried when the server refuses it, too."""
        return bool(self._refusal or self.left_out)

    @property
    def refused(self) -> frozenset[str]:
        """The fields to blame, once the server has accepted a call without them."""
        return self._named | self._suspects

    def learn(self, error: ModelError, carried: AbstractSet[str]) -> None:
        """Take the next field out, because the server has refused a call.

        Args:
            error: The refusal.
            carried: The optional fields that the call carried.

        Raises:
            ModelError: No field is to blame, or all have been tried.
        """
        if error.status not in REFUSAL_STATUS or is_overflow(error.detail):
            raise error
        if named := _named_field(error.detail, carried):
            self._named |= {named}
            self.left_out |= {named}
            self._suspects, self._refusal = frozenset(), None
            return
        self._refusal = self._refusal or error
        if error.status == 500 and self._repeat_500 and carried:
            self._repeat_500 = False
            return
        self._suspects = next((group & carried for group in SUSPECTS if group & carried), frozenset())
        if not self._suspects:
            raise self._refusal
        self.left_out |= self._suspects


def _named_field(detail: str, carried: AbstractSet[str]) -> str | None:
    """The field that a server's words name; None when they name none that the request carried."""
    said = detail.lower()
    for name in sorted(carried):
        if any(re.search(rf"\b{word}\b", said) for word in WORDS.get(name, (name,))):
            return name
    return None


def without_refused(parameters: AgentParameters, refused: AbstractSet[str]) -> AgentParameters:
    """The parameters without the fields that a server refuses."""
    cleared: dict[str, Any] = {name: None for name in ("seed", "top_p") if name in refused}
    if refused & REASONING_FIELDS:
        cleared["reasoning"] = None
    return parameters.model_copy(update=cleared) if cleared else parameters


def token_limit(parameters: Mapping[str, Any]) -> int | None:
    """The longest answer that a request asks for, in tokens; None when it sets no limit.

    Args:
        parameters: The role's, as a mapping; `extra_body` can have a limit of its own.
    """
    own = parameters.get("extra_body") or {}
    limits = [parameters.get("max_tokens"), *(own.get(name) for name in TOKEN_LIMITS)]
    counts = [limit for limit in limits if isinstance(limit, int)]
    return max(counts) if counts and min(counts) > 0 else None


def call_arguments(
    model: BaseChatModel, extra_body: dict[str, Any], schema: dict[str, Any] | None
) -> dict[str, Any]:
    """The keyword arguments of a call: a JSON schema for the answer, and the user's own fields.

    For OpenAI's API the schema goes into `extra_body`. As a plain argument it would switch on the openai
    client's parser, which raises and discards the answer when it is cut off. Ollama takes the user's fields
    as `options`.

    Args:
        model: The model to call.
        extra_body: The user's own fields.
        schema: The JSON schema that binds the answer; None for a free answer.
    """
    if model._llm_type == "chat-ollama":
        options = {"options": {**_ollama_options(model), **extra_body}} if extra_body else {}
        return {**options, **({"format": schema} if schema else {})}
    if schema is None:
        return {}
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": re.sub(r"\W", "_", schema.get("title", "answer")).lower(), "schema": schema},
    }
    if model._llm_type == "openai-chat":
        return {
            "extra_body": {**(getattr(model, "extra_body", None) or {}), "response_format": response_format}
        }
    return {"response_format": response_format}


def _ollama_options(model: BaseChatModel) -> dict[str, Any]:
    names = ("temperature", "top_p", "seed", "num_predict", "num_ctx")
    return {name: value for name in names if (value := getattr(model, name)) is not None}
