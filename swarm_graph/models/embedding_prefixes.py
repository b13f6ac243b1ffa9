"""The text that embedding models want before a question and before a passage, by family.

Most models were trained with such prefixes and find less without them. The settings `query_prefix` and
`passage_prefix` replace what the table says.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SEARCH = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


class Prefixes(NamedTuple):
    """The text before a question, and before a passage."""

    query: str = ""
    passage: str = ""


FAMILIES = (
    # huggingface.co/intfloat/multilingual-e5-large-instruct: only questions have an instruction
    (r"(?<![a-z0-9])e5\b.*instruct", Prefixes(f"{_INSTRUCT} ")),
    # huggingface.co/intfloat/multilingual-e5-small: "Each input text should start with query: or passage: "
    (r"(?<![a-z0-9])e5(?![0-9])", Prefixes("query: ", "passage: ")),
    # huggingface.co/nomic-ai/nomic-embed-text-v1.5, "Task instruction prefixes"; the same for v1 and v2
    (r"nomic-embed-text", Prefixes("search_query: ", "search_document: ")),
    # huggingface.co/BAAI/bge-small-en-v1.5, "Model List"; bge-m3 wants none
    (r"bge-(small|base|large)-en", Prefixes(_SEARCH)),
    # huggingface.co/mixedbread-ai/mxbai-embed-large-v1
    (r"mxbai-embed", Prefixes(_SEARCH)),
    # huggingface.co/Snowflake/snowflake-arctic-embed-m-v2.0; Ollama calls it snowflake-arctic-embed2
    (r"arctic-embed(2|-[a-z]+-v2)", Prefixes("query: ")),
    # huggingface.co/Snowflake/snowflake-arctic-embed-m
    (r"arctic-embed", Prefixes(_SEARCH)),
    # huggingface.co/Qwen/Qwen3-Embedding-0.6B, `get_detailed_instruct`: no space after "Query:"
    (r"qwen3-embedding", Prefixes(_INSTRUCT)),
    # huggingface.co/google/embeddinggemma-300m, "Prompt Instructions"
    (r"embedding-?gemma", Prefixes("task: search result | query: ", "title: none | text: ")),
)
"""By a pattern of the model's name, as it is called on Hugging Face, in Ollama and in LM Studio."""


def prefixes_of(model: str) -> Prefixes:
    """The prefixes of a model's family; none for a family that is not known.

    Args:
        model: The model's name on its server, or the name of its file.
    """
    name = model.lower().replace("_", "-")
    return next((prefixes for pattern, prefixes in FAMILIES if re.search(pattern, name)), Prefixes())
