"""The fields of a request besides its messages, and those that a server refuses."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.language_models import BaseChatModel

from swarm_graph.errors import ModelError
from swarm_graph.settings import AgentParameters

REFUSAL_STATUS = (400, 422, 500, 501)
"""Statuses with which servers refuse a field."""
OPTIONAL_FIELDS = ("seed", "top_p", "stream_options", "chat_template_kwargs", "reasoning_effort")
"""Fields that a request can do without; no server supports all of them."""
SCHEMA_WORDS = (
    "response_format",
    "json_schema",
    "json schema",
    "grammar",
    "invalid format",
    "structured output",
)
"""How servers name a JSON schema that they refuse."""


def refused_field(error: ModelError, left_out: AbstractSet[str], schema: Any) -> str | None:
    """The optional field that a server complains about; None when the error has another cause.

    Args:
        error: The failed call.
        left_out: Fields that the request did not carry.
        schema: The request's JSON schema, or None.
    """
    if error.status not in REFUSAL_STATUS:
        return None
    detail = error.detail.lower()
    words = {**{name: (name,) for name in OPTIONAL_FIELDS}, "response_format": SCHEMA_WORDS if schema else ()}
    for name, field_words in words.items():
        if name not in left_out and any(re.search(rf"\b{word}\b", detail) for word in field_words):
            return name
    return None


def without_refused(parameters: AgentParameters, refused: AbstractSet[str]) -> AgentParameters:
    """The parameters without the fields that a server refuses."""
    cleared: dict[str, Any] = {name: None for name in ("seed", "top_p") if name in refused}
    if refused & {"chat_template_kwargs", "reasoning_effort"}:
        cleared["reasoning"] = None
    return parameters.model_copy(update=cleared) if cleared else parameters


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
