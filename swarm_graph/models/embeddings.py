"""Vectors of texts, from the embedding model of `memory.embeddings`. Only its server is asked.

LangChain's classes are not used: OpenAIEmbeddings cuts texts with a tokenizer that it downloads, and neither
of them says which text of a request failed, or that the server has cut one.
"""

from __future__ import annotations

import asyncio
import base64
import math
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from swarm_graph.aio import set_deadline
from swarm_graph.errors import EmbeddingError, ModelError, SwarmError
from swarm_graph.memory_settings import EmbeddingModel
from swarm_graph.models.embedding_prefixes import Prefixes, prefixes_of
from swarm_graph.models.failures import explain, is_overflow
from swarm_graph.models.http_clients import Address, read
from swarm_graph.models.keys import api_key
from swarm_graph.models.slots import connection_slots
from swarm_graph.models.wire import ErrorInStream, UnreadableStream, json_object

if TYPE_CHECKING:
    from swarm_graph.models.shared_server import SharedServer

NODE = "memory"
"""What the messages of errors begin with."""
MAX_DIMENSIONS, BYTES_PER_NUMBER = 2**14, 32
"""The longest vector that is read, and the most that one of its numbers takes in JSON."""
TOO_LONG = (
    "too large",
    "too long",
    "input length",
    "must have less than",
    "maximum allowed",
    "sequence length",
)
"""How servers say that a text is too long for an embedding model, beside the words of `is_overflow`."""
TOO_MUCH = 413
TEXT_STATUS = frozenset({400, TOO_MUCH, 422, 500, -1})
"""Statuses of a request that may fail because of one of its texts."""
REPEAT_STATUS = frozenset({408, 425, 429, 502, 503, 504, 529})
REPEATS, REPEAT_PAUSE_S = 2, 0.5
MIN_CHARACTERS = 16
"""A shorter text is not cut any more."""
PAUSE_FACTOR, MAX_PAUSE_S = 10, 300.0
"""A server that does not answer in time is not asked again for ten times as long, at most five minutes, so a
dead server costs a tenth of the time. One that fails at once is asked again at once."""

_PAUSES: dict[tuple[str, str], tuple[float, str]] = {}
"""By server and model: until when it is not asked, and why."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1.

    Attributes:
        name: What vectors must have in common to be compared: the model, and the prefix of passages.
        batch: The number of texts in one request.
        shortened: How many passages were too long for the model so far: only their beginning counts.
    """

    name: str
    batch: int
    shortened: int

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of passages.

        Raises:
            EmbeddingError: Some texts have no vector; the error has the vectors of the others.
        """

    async def query(self, text: str) -> list[float]:
        """The vector of a question. Raises EmbeddingError."""


def embedder(settings: EmbeddingModel, proxy: str | None = None) -> Embedder:
    """The client of an embedding model. Nothing is read or sent yet.

    Args:
        settings: The model.
        proxy: URL of the configured proxy; the environment's are ignored.
    """
    return _Client(settings, proxy)


def used_prefixes(settings: EmbeddingModel) -> Prefixes:
    """The text before a question and before a passage: as it is set, else as the model's family wants it."""
    family = prefixes_of(settings.entry.name)
    return Prefixes(
        family.query if settings.query_prefix is None else settings.query_prefix,
        family.passage if settings.passage_prefix is None else settings.passage_prefix,
    )


class _Answer(NamedTuple):
    """What the server has answered for one text."""

    vector: list[float] | None
    problem: str = ""
    """Why it has no vector."""
    is_cut: bool = False
    """Only the beginning of the text was short enough."""


class _Client:
    """The client of one embedding model."""

    def __init__(self, settings: EmbeddingModel, proxy: str | None) -> None:
        self._entry, self._proxy = settings.entry, proxy
        self._server: SharedServer | None = None
        self._query_prefix, self._prefix = used_prefixes(settings)
        model = self._entry.name.removesuffix(":latest")
        self.name = f"{model} {self._prefix!r}" if self._prefix else model
        self.batch, self.shortened = settings.batch, 0

    async def passages(self, texts: Sequence[str]) -> list[list[float]]:
        answers: list[_Answer] = []
        try:
            for start in range(0, len(texts), self.batch):
                answers += await self._answers(texts[start : start + self.batch], self._prefix)
        except EmbeddingError as error:
            error.vectors = [answer.vector for answer in answers]
            error.vectors += [None] * (len(texts) - len(answers))
            raise
        finally:
            self.shortened += sum(answer.is_cut for answer in answers)
        vectors = [answer.vector for answer in answers]
        if problems := [answer.problem for answer in answers if answer.vector is None]:
            raise texts_refused(len(problems), len(texts), problems[0], vectors)
        return [answer.vector for answer in answers if answer.vector is not None]

    async def query(self, text: str) -> list[float]:
        (answer,) = await self._answers([text], self._query_prefix)
        if answer.vector is None:
            raise EmbeddingError(answer.problem, of_texts=True)
        return answer.vector

    # --- texts that fail -------------------------------------------------------------------------

    async def _answers(self, texts: Sequence[str], prefix: str) -> list[_Answer]:
        """An answer for each text; a text that the server refuses does not take the others with it.

        Raises:
            EmbeddingError: The server answers no request.
        """
        try:
            return await self._ask([prefix + text for text in texts])
        except EmbeddingError as error:
            if error.status not in TEXT_STATUS:
                raise
            too_long = _is_too_long(error)
            if not too_long:
                await self._ask([f"{prefix}text"])  # else it is the server's fault: this raises
            if len(texts) == 1:
                return [await self._shorter(texts[0], prefix) if too_long else _Answer(None, str(error))]
        middle = len(texts) // 2
        return [*await self._answers(texts[:middle], prefix), *await self._answers(texts[middle:], prefix)]

    async def _shorter(self, text: str, prefix: str) -> _Answer:
        """The answer for the beginning of a text that is too long."""
        if len(text) < MIN_CHARACTERS:
            return _Answer(None, f"{NODE}: {self._entry.label} finds even '{text}' too long")
        (answer,) = await self._answers([text[: len(text) // 2]], prefix)
        return answer._replace(is_cut=True)

    # --- one request -----------------------------------------------------------------------------

    async def _ask(self, texts: list[str]) -> list[_Answer]:
        """The answer of one request; raises EmbeddingError."""
        key = (self._entry.server, self._entry.model)
        until, reason = _PAUSES.get(key, (0.0, ""))
        began = time.monotonic()
        if began < until:
            raise EmbeddingError(f"{reason} (it is not asked again for {until - began:.0f} s)")
        try:
            async with connection_slots():
                return self._checked(await self._vectors(texts), len(texts))
        except _Late as error:
            pause = min(PAUSE_FACTOR * (time.monotonic() - began), MAX_PAUSE_S)
            _PAUSES[key] = time.monotonic() + pause, str(error)
            raise

    async def _vectors(self, texts: list[str]) -> list[Any]:
        """What the server sends as vectors, in the order of the texts; raises EmbeddingError."""
        deadline = asyncio.get_running_loop().time() + self._entry.timeout
        try:
            async with asyncio.timeout(None) as timeout:
                set_deadline(timeout, deadline)
                return await self._repeated(texts)
        except TimeoutError as error:
            raise self._late() from error

    async def _repeated(self, texts: list[str]) -> list[Any]:
        """The same request again while the server is overloaded, or loads the model."""
        repeats = 0
        while True:
            try:
                return await self._exchange(texts)
            except TimeoutError:
                raise
            except Exception as error:
                failure = self._explained(error)
            is_lost = failure.status is None and failure.retryable and self._entry.is_embedded
            if not (failure.loading or is_lost or failure.status in REPEAT_STATUS):
                raise failure
            repeats += not failure.loading
            if repeats > REPEATS:
                raise failure
            await asyncio.sleep(max(failure.retry_after, REPEAT_PAUSE_S))

    async def _exchange(self, texts: list[str]) -> list[Any]:
        is_ollama = self._entry.api_type == "ollama"
        # Ollama would cut a long text and not say so.
        payload = {"model": self._entry.name, "input": texts, **({"truncate": False} if is_ollama else {})}
        body = _Body((len(texts) * MAX_DIMENSIONS * BYTES_PER_NUMBER) + 2**16)
        async with aclosing(read(await self._address(), payload, body)) as parts:
            document = json_object(b"".join([data async for part in parts for data in part]))
        if error := document.get("error"):
            raise ErrorInStream(error, begun=False)
        return _ollama_vectors(document) if is_ollama else _openai_vectors(document)

    async def _address(self) -> Address:
        if self._entry.is_embedded:
            url, key = await self._embedded_server().address()
            return Address(f"{url}/embeddings", {"authorization": f"Bearer {key}"})
        found = api_key(self._entry)
        headers = {"authorization": f"Bearer {found}"} if found else {}
        page = "api/embed" if self._entry.api_type == "ollama" else "embeddings"
        return Address(f"{self._entry.url}/{page}", headers, self._proxy)

    def _embedded_server(self) -> SharedServer:
        """The server of a GGUF file, which runs as long as somebody holds it. Raises ConfigError."""
        from swarm_graph.models.embedded_file import server_of, with_embedding_defaults

        self._server = self._server or server_of(with_embedding_defaults(self._entry))
        return self._server

    def _checked(self, vectors: list[Any], count: int) -> list[_Answer]:
        """An answer for each text. Raises EmbeddingError if they are too few, too many or of other sizes."""
        if len(vectors) != count:
            raise self._unusable(f"{len(vectors)} vectors for {count} texts")
        answers = [self._answer(vector) for vector in vectors]
        sizes = {len(answer.vector) for answer in answers if answer.vector}
        if len(sizes) > 1:
            raise self._unusable(f"vectors of {' and '.join(map(str, sorted(sizes)))} numbers")
        return answers

    def _answer(self, vector: Any) -> _Answer:
        """A vector of length 1, or why it is none."""
        if isinstance(vector, str):
            vector = _decoded(vector)
        try:
            length = math.hypot(*vector)
        except (TypeError, OverflowError):  # an integer may be too large for any float
            raise self._unusable("what is no vector") from None
        if not vector or not math.isfinite(length) or not length:
            what = (
                "an empty vector" if not vector else "zeros" if length == 0 else "numbers that are not finite"
            )
            return _Answer(None, f"{self._who} answers with {what} for a text; leave that text out")
        return _Answer([number / length for number in vector])

    # --- errors ----------------------------------------------------------------------------------

    @property
    def _who(self) -> str:
        return f"{NODE}: {self._entry.label} at {self._entry.server}"

    def _explained(self, error: Exception) -> EmbeddingError:
        if isinstance(error, EmbeddingError):
            return error
        if isinstance(error, SwarmError) and not isinstance(error, ModelError):
            return EmbeddingError(f"{NODE}: {error}")
        secrets = [key for key in [self._key_in_environment()] if key]
        told = error if isinstance(error, ModelError) else explain(error, NODE, self._entry, secrets)
        return EmbeddingError(
            str(told),
            retryable=told.retryable,
            status=told.status,
            detail=told.detail,
            retry_after=told.retry_after,
            loading=told.loading,
        )

    def _key_in_environment(self) -> str | None:
        try:
            return api_key(self._entry)
        except SwarmError:  # it is said elsewhere
            return None

    def _late(self) -> _Late:
        cure = "raise memory.embeddings.timeout, or lower memory.embeddings.batch"
        problem = f"{self._who} did not answer within {self._entry.timeout:g} s"
        return _Late(f"{problem}; is it running? Else {cure}")

    def _unusable(self, what: str) -> EmbeddingError:
        cure = "is it an embedding model? `swarm-graph doctor` checks the server"
        return EmbeddingError(f"{self._who} answers with {what}; {cure}")


def texts_refused(
    refused: int, total: int, reason: str, vectors: Sequence[list[float] | None] = ()
) -> EmbeddingError:
    """The error of texts that the embedding model does not take; its `detail` is the reason.

    Args:
        refused: How many they are.
        total: Of how many.
        reason: What the model says of one of them.
        vectors: Those of the others; see EmbeddingError.
    """
    message = f"{refused} of {total} texts have no vector: {reason}"
    return EmbeddingError(message, vectors=vectors, of_texts=True, detail=reason)


class _Late(EmbeddingError):
    """The server did not answer in time."""


def _is_too_long(error: EmbeddingError) -> bool:
    said = error.detail.lower()
    return error.status == TOO_MUCH or is_overflow(said) or any(phrase in said for phrase in TOO_LONG)


class _Body:
    """Collects an answer of a limited size."""

    done = False

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._size += len(data)
        if self._size > self._limit:
            raise UnreadableStream(f"more than {self._limit / 2**20:.1f} MiB for the vectors of one request")
        yield data

    def end(self) -> Iterator[bytes]:
        return iter(())


def _openai_vectors(document: Mapping[str, Any]) -> list[Any]:
    """The vectors in an answer of OpenAI's API, in the order of their `index`."""
    data = document.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) and "embedding" in item for item in data):
        raise UnreadableStream("no vectors in the answer")
    order = [item.get("index", position) for position, item in enumerate(data)]
    if sorted(order, key=str) != sorted(range(len(data)), key=str):
        raise UnreadableStream(f"vectors with the indexes {order[:8]}")
    return [item["embedding"] for _, item in sorted(zip(order, data, strict=True), key=lambda pair: pair[0])]


def _ollama_vectors(document: Mapping[str, Any]) -> list[Any]:
    """The vectors in an answer of Ollama's API."""
    vectors = document.get("embeddings")
    if not isinstance(vectors, list):
        raise UnreadableStream("no vectors in the answer")
    return vectors


def _decoded(text: str) -> Sequence[float]:
    """A vector in base64; empty if it is none."""
    try:
        numbers = array("f", base64.b64decode(text, validate=True))
    except ValueError:
        return ()
    return numbers
