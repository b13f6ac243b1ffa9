"""The settings of memory: which roles recall, what is remembered, embedding model, vector store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from swarm_graph.names import RoleName
from swarm_graph.settings import EMBEDDED, Integer, ModelEntry, PositiveNumber, Settings, absolute_file

VECTOR_STORES = {
    "langchain_chroma.Chroma": "chroma",
    "langchain_community.vectorstores.FAISS": "faiss",
    "langchain_postgres.PGVectorStore": "pgvector",
}
"""The vector stores that the configuration may name, by import path, and the extra that installs each."""
_PLACES = {"chroma": "path", "pgvector": "url_env"}
"""The setting that says where its vectors lie, by extra; FAISS has them in memory."""


class EmbeddingModel(Settings):
    """The model that turns texts into vectors, on the user's own server (`memory.embeddings`)."""

    url: str = Field("", description="http://localhost:1234/v1 (openai), http://localhost:11434 (ollama).")
    model: str = Field(min_length=1, description="The model's name on the server; for llamacpp a GGUF file.")
    api_type: Literal["openai", "ollama", "llamacpp"] = Field(
        "openai", description="openai: LM Studio, llama.cpp, vLLM; ollama; llamacpp: a GGUF file."
    )
    api_key_env: str | None = Field(None, description="Name of the environment variable with the API key.")
    timeout: PositiveNumber = Field(60.0, description="Seconds for one request.")
    batch: Integer = Field(32, ge=1, le=2048, description="Texts in one request.")
    query_prefix: str | None = Field(
        None, description="Text before each question; default: as the model's family wants it, else none."
    )
    passage_prefix: str | None = Field(
        None, description="Text before each passage; default: as the model's family wants it, else none."
    )

    @model_validator(mode="after")
    def _is_an_entry(self) -> Self:
        _ = self.entry  # the same rules as for other models
        return self

    @property
    def entry(self) -> ModelEntry:
        """The same model as an entry like those of `model_config`."""
        return ModelEntry(
            url=self.url,
            model=self.model,
            api_type=self.api_type,
            api_key_env=self.api_key_env,
            timeout=self.timeout,
            embedding=self.api_type == EMBEDDED,
        )


class VectorStoreSettings(Settings):
    """A LangChain vector store that finds passages by meaning, in place of our own vectors."""

    class_: str = Field(alias="class", description="Its import path: " + ", ".join(VECTOR_STORES) + ".")
    path: str | None = Field(None, description="Chroma's folder; default: beside the database.")
    url_env: str | None = Field(
        None,
        description="Name of the environment variable with the address of pgvector's PostgreSQL server.",
    )

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, data: Any) -> Any:
        """The folder is absolute, because a session may be resumed in another one."""
        if isinstance(data, Mapping) and isinstance(path := data.get("path"), str) and path:
            return {**data, "path": absolute_file(path)}
        return data

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.class_ not in VECTOR_STORES:
            raise ValueError(f"unknown vector store {self.class_!r}; known: {', '.join(VECTOR_STORES)}")
        place = _PLACES.get(VECTOR_STORES[self.class_])
        for setting in ("path", "url_env"):
            if setting != place and getattr(self, setting):
                raise ValueError(f"expected no {setting}: {self.class_} does not use it")
        if place == "url_env" and not self.url_env:
            raise ValueError(f"expected url_env: {self.class_} is on a server")
        return self


class MemorySettings(Settings):
    """What the swarm remembers across sessions (`memory`)."""

    recall: dict[RoleName, Integer] = Field(
        {}, description="By role: how many passages its prompts show, best first."
    )
    remember: Literal["off", "ask", "on"] = Field(
        "off", description="Keep what a session has verified: off; ask: offer it to a person; on."
    )
    embeddings: EmbeddingModel | None = Field(
        None, description="The embedding model, to search by meaning too; default: by text alone."
    )
    vector_store: VectorStoreSettings | None = Field(
        None, description="A vector store in place of the vectors in our database; needs `embeddings`."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.vector_store and not self.embeddings:
            raise ValueError("expected embeddings with vector_store: a vector store never embeds by itself")
        for role, count in self.recall.items():
            if not 1 <= count <= 50:
                raise ValueError(f"expected 1 to 50 passages for {role}; leave the role out for none")
        return self
