"""The fields of a request besides its messages, and those that a server refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.language_models import BaseChatModel

from swarm_graph.errors import ModelError
from swarm_graph.models.failures import is_overflow
from swarm_graph.models.wire import IN_ANSWER
from swarm_graph.settings import AgentParameters, ModelEntry

REFUSAL_STATUS = frozenset({400, 422, 500, 501})
"""Statuses with which servers refuse a field."""
SCHEMA = "response_format"
"""The JSON schema of an answer; Ollama calls it `format`."""
TOOLS = "tools"
"""The tools that an answer may call."""
REASONING_FIELDS = frozenset({"chat_template_kwargs", "reasoning_effort", "think"})
"""The parameter `reasoning`, as it is sent."""
SUSPECTS = (
    frozenset({SCHEMA}),
    REASONING_FIELDS,
    frozenset({"stream_options", "top_p", "seed"}),
    frozenset({TOOLS}),
)
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
    TOOLS: ("tools?", "tool_choice", "tool_calls?", "functions?", "function_call"),
}
"""How servers name a field that they refuse, if not by its name."""
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens", "n_predict", "num_predict")
"""Fields of `extra_body` that limit an answer."""


def optional_fields(
    entry: ModelEntry,
    parameters: AgentParameters,
    schema: dict[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> frozenset[str]:
    """The fields of a request that it can do without.

    Args:
        entry: The model; a supplied one takes only the schema and the tools.
        parameters: How it samples. Fields of `extra_body` are the user's own and stay.
        schema: The JSON schema that binds the answer; None for a free answer.
        tools: The tools that the answer may call.
    """
    names = ({SCHEMA} if schema else set()) | ({TOOLS} if tools else set())
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
        # Some servers fail in the middle of an answer when they cannot parse a call.
        fails_at_calls = error.status == IN_ANSWER and _named_field(error.detail, carried & {TOOLS})
        if not (error.status in REFUSAL_STATUS or fails_at_calls) or is_overflow(error.detail):
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
    model: BaseChatModel,
    extra_body: dict[str, Any],
    schema: dict[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The keyword arguments of a call: a JSON schema for the answer, the user's own fields, and tools.

    For OpenAI's API the schema goes into `extra_body`. As a plain argument it would switch on the openai
    client's parser, which raises and discards the answer when it is cut off. Ollama takes the user's fields
    as `options`.

    Args:
        model: The model to call.
        extra_body: The user's own fields.
        schema: The JSON schema that binds the answer; None for a free answer.
        tools: The tools that the answer may call, in OpenAI's form.
    """
    called = _tools_of(model, tools) if tools else {}
    if model._llm_type == "chat-ollama":
        options = {"options": {**_ollama_options(model), **extra_body}} if extra_body else {}
        return {**options, **({"format": schema} if schema else {}), **called}
    if schema is None:
        return called
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": re.sub(r"\W", "_", schema.get("title", "answer")).lower(), "schema": schema},
    }
    if model._llm_type == "openai-chat":
        return {
            "extra_body": {**(getattr(model, "extra_body", None) or {}), "response_format": response_format},
            **called,
        }
    return {"response_format": response_format, **called}


def _tools_of(model: BaseChatModel, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keyword arguments that offer tools to a model: how is known to its LangChain class."""
    bound: Any = model.bind_tools([dict(tool) for tool in tools])
    return dict(bound.kwargs)


def can_bind_tools(model: BaseChatModel) -> bool:
    """Whether the LangChain class of a model can offer it tools."""
    return type(model).bind_tools is not BaseChatModel.bind_tools


def _ollama_options(model: BaseChatModel) -> dict[str, Any]:
    names = ("temperature", "top_p", "seed", "num_predict", "num_ctx")
    return {name: value for name in names if (value := getattr(model, name)) is not None}
