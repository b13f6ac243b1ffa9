"""What a request carries besides its messages, and the fields that a server refuses."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.language_models import BaseChatModel

from swarm_graph.errors import ModelError
from swarm_graph.settings import AgentParameters

REFUSAL_STATUS = (400, 422, 500, 501)


OPTIONAL = ("seed", "top_p", "stream_options", "chat_template_kwargs", "reasoning_effort")
"""Fields that an answer can do without; servers differ in which of them they know."""


SCHEMA_WORDS = (
    "response_format",
    "json_schema",
    "json schema",
    "grammar",
    "invalid format",
    "structured output",
)


def refused_field(error: ModelError, left_out: AbstractSet[str], schema: Any) -> str | None:
    """The optional field of a request that a server complains about, if that is its complaint."""
    if error.status not in REFUSAL_STATUS:
        return None
    told = error.detail.lower()
    words = {**{name: (name,) for name in OPTIONAL}, "response_format": SCHEMA_WORDS if schema else ()}
    for name, said in words.items():
        if name not in left_out and any(re.search(rf"\b{word}\b", told) for word in said):
            return name
    return None


def without_refused(parameters: AgentParameters, refused: AbstractSet[str]) -> AgentParameters:
    """The parameters without those that a server refuses."""
    gone: dict[str, Any] = {name: None for name in ("seed", "top_p") if name in refused}
    if refused & {"chat_template_kwargs", "reasoning_effort"}:
        gone["reasoning"] = None
    return parameters.model_copy(update=gone) if gone else parameters


def call_arguments(
    model: BaseChatModel, extra_body: dict[str, Any], schema: dict[str, Any] | None
) -> dict[str, Any]:
    """What a call sends besides messages: a JSON schema for the answer, and the user's own fields.

    OpenAI's schema goes through `extra_body`, past the openai client's own parser, which raises and
    throws the answer away when it is cut off. Ollama takes the user's fields as `options`.
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
