"""Embedding models: what is sent, what is read, and what a server's failures become."""

from __future__ import annotations

import asyncio
import base64
import math
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.canned_embeddings import Answer, CannedEmbeddings, answer, embedded, vector_of
from servers.embedding_server import DIMENSIONS, Embeddings
from servers.tiny_model import write_tiny_model

from swarm_graph import aio
from swarm_graph.errors import EmbeddingError
from swarm_graph.memory_settings import EmbeddingModel
from swarm_graph.models.embedding_prefixes import prefixes_of
from swarm_graph.models.embeddings import Embedder, embedder

TEXTS = ["close the valve", "start the pump", "wear gloves"]


@pytest.fixture
def canned() -> Iterator[CannedEmbeddings]:
    with CannedEmbeddings() as server:
        yield server


def client(server: CannedEmbeddings, **settings: Any) -> Embedder:
    return embedder(EmbeddingModel(**server.settings(**settings)))


def failure(server: CannedEmbeddings, texts: list[str], **settings: Any) -> EmbeddingError:
    with pytest.raises(EmbeddingError) as caught:
        asyncio.run(client(server, **settings).passages(texts))
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # a cure
    return caught.value


def unit(vector: list[float]) -> list[float]:
    return [number / math.hypot(*vector) for number in vector]


def similarity(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def are_near(vectors: list[list[float]], texts: list[str]) -> bool:
    """Whether these are the vectors of texts, each in its place."""
    return all(similarity(v, unit(vector_of(text))) > 0.9999 for v, text in zip(vectors, texts, strict=True))


def out_of_order(texts: list[str]) -> Answer:
    items = [{"index": number, "embedding": vector_of(text)} for number, text in enumerate(texts)]
    return 200, {"data": items[::-1]}


def in_base64(texts: list[str]) -> Answer:
    packed = [struct.pack("<64f", *vector_of(text)) for text in texts]
    return answer([base64.b64encode(vector).decode() for vector in packed])


@pytest.mark.parametrize("script", [embedded, out_of_order, in_base64])
def test_vectors_come_in_the_order_of_their_texts(
    canned: CannedEmbeddings, script: Callable[[list[str]], Answer]
) -> None:
    canned.script = script
    vectors = asyncio.run(client(canned, batch=2).passages(TEXTS))
    assert are_near(vectors, TEXTS)
    assert [len(texts) for texts in canned.asked] == [2, 1]
    assert canned.bodies[0] == {"model": "canned", "input": TEXTS[:2]}


def test_ollama_is_asked_not_to_cut_texts(canned: CannedEmbeddings) -> None:
    assert asyncio.run(client(canned, api_type="ollama").query("valve")) == pytest.approx(
        unit(vector_of("valve"))
    )
    assert canned.bodies == [{"model": "canned", "input": ["valve"], "truncate": False}]


def test_one_client_serves_any_event_loop_and_no_proxy_of_the_environment(
    canned: CannedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found = client(canned)
    first, again = asyncio.run(found.query("valve")), asyncio.run(found.query("valve"))
    assert first == again == aio.run(found.query("valve"))
    assert len(canned.asked) == 3


def test_the_configured_proxy_is_used(canned: CannedEmbeddings) -> None:
    settings = EmbeddingModel(url="http://models.example/v1", model="m")
    asyncio.run(embedder(settings, proxy=canned.root).query("valve"))
    assert canned.asked == [["valve"]]


# --- answers that cannot be used ------------------------------------------------------------------

NAN = [math.nan] * 64


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (lambda texts: answer([vector_of(text) for text in texts[1:]]), "2 vectors for 3 texts"),
        (
            lambda texts: answer([[1.0] * (8 + number) for number, _ in enumerate(texts)]),
            "of 8 and 9 and 10 numbers",
        ),
        (lambda texts: answer([[[1.0, 2.0]] for _ in texts]), "what is no vector"),
        (lambda texts: answer([7 for _ in texts]), "what is no vector"),
        (lambda texts: answer([[10**400] for _ in texts]), "what is no vector"),
        (lambda texts: answer([None for _ in texts]), "what is no vector"),
        (lambda texts: answer(["no base64" for _ in texts]), "an empty vector"),
        (lambda texts: answer([NAN for _ in texts]), "not finite"),
        (lambda texts: answer([[0.0] * 64 for _ in texts]), "zeros"),
        (
            lambda texts: (200, {"data": [{"index": 1, "embedding": [1.0]} for _ in texts]}),
            "with the indexes",
        ),
        (lambda texts: (200, {"data": [[1.0] for _ in texts]}), "no vectors in the answer"),
        (lambda _: (200, {"embedding": 1}), "no vectors in the answer"),
        (lambda _: (200, {"error": "out of memory"}), "out of memory"),
        (lambda _: (200, "<html>the portal</html>"), "broken JSON"),
        (lambda _: (200, "[" * 100_000), "broken JSON"),
        (
            lambda _: (501, {"error": {"message": "start it with --embeddings"}}),
            "start it with --embeddings",
        ),
        (
            lambda _: (404, {"error": "model 'canned' not found, try pulling it"}),
            "does not know this model",
        ),
        (lambda _: (401, {"error": "no key"}), "set api_key_env"),
        (lambda _: (302, ""), "redirects"),
    ],
)
def test_what_no_vector_is_becomes_one_line(
    canned: CannedEmbeddings, script: Callable[[list[str]], Answer], said: str
) -> None:
    canned.script = script
    error = failure(canned, TEXTS)
    assert said in str(error)
    assert error.vectors in ([], [None] * 3)
    assert len(canned.asked) < 9


def test_a_key_comes_from_its_variable_and_is_in_no_message(
    canned: CannedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EmbeddingError, match=r"'EMBEDDING_KEY'.* is not set"):
        asyncio.run(client(canned, api_key_env="EMBEDDING_KEY").query("valve"))
    monkeypatch.setenv("EMBEDDING_KEY", "sk-0123456789abcdef")
    canned.script = lambda _: (403, {"error": "bad key sk-0123456789abcdef"})
    assert "0123456789" not in str(failure(canned, TEXTS, api_key_env="EMBEDDING_KEY"))
    assert canned.keys == ["Bearer sk-0123456789abcdef"]


# --- servers that do not answer -------------------------------------------------------------------


def test_a_dead_server_fails_at_once_and_is_asked_again_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        found = embedder(EmbeddingModel(url=url, model="m"))
        for _ in range(2):
            with pytest.raises(
                EmbeddingError, match=r"memory: m at .* cannot be reached.*; is the server running"
            ):
                asyncio.run(found.query("valve"))


def test_a_server_that_hangs_is_left_alone_for_a_while(canned: CannedEmbeddings) -> None:
    canned.delay = 60
    with pytest.raises(EmbeddingError, match=r"did not answer within 0.5 s; .*memory.embeddings.timeout"):
        asyncio.run(client(canned, timeout=0.5).query("valve"))
    with pytest.raises(EmbeddingError, match=r"did not answer.*\(it is not asked again for [1-5] s\)"):
        asyncio.run(client(canned, timeout=0.5).query("valve"))
    assert len(canned.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_is_asked_again(canned: CannedEmbeddings, status: int) -> None:
    canned.script = lambda texts: (
        embedded(texts) if len(canned.asked) > 1 else (status, {"error": "Loading model"})
    )
    asyncio.run(client(canned).query("valve"))
    assert len(canned.asked) == 2


# --- texts that a model does not take -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "input (600 tokens) is too large to process. increase the physical batch size"),  # llama.cpp
        (400, "the input length exceeds the context length"),  # Ollama
        (400, "This model's maximum context length is 8192 tokens"),  # vLLM, OpenAI
        (413, "Input validation error: `inputs` must have less than 512 tokens. Given: 600"),  # TEI
    ],
)
def test_a_text_that_is_too_long_is_cut_and_counted(
    canned: CannedEmbeddings, status: int, words: str
) -> None:
    def refuse_long(texts: list[str]) -> Answer:
        if any(len(text) > 50 for text in texts):
            return status, {"error": {"message": words}}
        return embedded(texts)

    canned.script = refuse_long
    found = client(canned, passage_prefix="p: ")
    long = "valve " * 40
    vectors = asyncio.run(found.passages([*TEXTS, long, *TEXTS]))
    assert len(vectors) == 7
    assert found.shortened == 1
    assert canned.asked[-1][-1].startswith("p: ")
    assert similarity(vectors[3], unit(vector_of("valve"))) > 0.9
    assert vectors[:3] == vectors[4:]
    assert are_near(vectors[:3], [f"p: {text}" for text in TEXTS])


def test_a_text_that_the_server_refuses_does_not_take_the_others_with_it(canned: CannedEmbeddings) -> None:
    def refuse_one(texts: list[str]) -> Answer:
        if any("poison" in text for text in texts):
            return 500, {"error": "unsupported value: NaN"}
        return embedded(texts)

    canned.script = refuse_one
    texts = [f"text number {number}" for number in range(31)]
    error = failure(canned, [*texts[:20], "poison", *texts[20:]])
    assert "1 of 32 texts have no vector" in str(error)
    assert "unsupported value: NaN" in str(error)
    assert error.of_texts
    assert [number for number, vector in enumerate(error.vectors) if vector is None] == [20]
    assert len(canned.asked) <= 20


def test_a_server_that_refuses_everything_is_asked_twice(canned: CannedEmbeddings) -> None:
    canned.script = lambda _: (500, {"error": "no GPU"})
    error = failure(canned, [f"text {number}" for number in range(64)])
    assert not error.of_texts
    assert "no GPU" in str(error)
    assert len(canned.asked) == 2


def test_batches_before_the_one_that_fails_are_kept(canned: CannedEmbeddings) -> None:
    canned.script = lambda texts: embedded(texts) if len(canned.asked) < 3 else (401, {"error": "expired"})
    error = failure(canned, [f"text {number}" for number in range(8)], batch=2)
    assert [vector is not None for vector in error.vectors] == [True] * 4 + [False] * 4


# --- prefixes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "query", "passage"),
    [
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("multilingual_e5_large.Q8_0.gguf", "query: ", "passage: "),
        ("nomic-embed-text:latest", "search_query: ", "search_document: "),
        ("text-embedding-nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("bge-m3", "", ""),
        ("mxbai-embed-large", "Represent this sentence for searching relevant passages: ", ""),
        ("snowflake-arctic-embed:335m", "Represent this sentence for searching relevant passages: ", ""),
        ("snowflake-arctic-embed2", "query: ", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("embeddinggemma:300m", "task: search result | query: ", "title: none | text: "),
        ("all-minilm:33m", "", ""),
        ("text-embedding-3-small", "", ""),
    ],
)
def test_each_family_gets_its_prefixes(model: str, query: str, passage: str) -> None:
    assert prefixes_of(model) == (query, passage)


def test_models_with_instructions_get_them_before_questions_only() -> None:
    for model in (
        "Qwen3-Embedding-0.6B-Q8_0.gguf",
        "e5-mistral-7b-instruct",
        "multilingual-e5-large-instruct",
    ):
        query, passage = prefixes_of(model)
        assert query.startswith("Instruct: ")
        assert query.rstrip().endswith("Query:")
        assert not passage


def test_prefixes_that_are_set_win_and_name_the_vectors(canned: CannedEmbeddings) -> None:
    own = client(canned, model="e5-x", query_prefix="Q ", passage_prefix="")
    asyncio.run(own.query("valve"))
    asyncio.run(own.passages(["valve"]))
    assert canned.asked == [["Q valve"], ["valve"]]
    names = [client(canned, model="e5-x").name, own.name, client(canned, model="e5-y").name]
    assert len({*names}) == 3
    assert (
        client(canned, model="e5-x", query_prefix="other").name == names[0]
    )  # passages have the same vectors


# --- real models ----------------------------------------------------------------------------------


def test_a_gguf_file_is_served_and_long_texts_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    file = write_tiny_model(tmp_path / "tiny-embed.gguf", embeds=True, context=512)
    found = embedder(EmbeddingModel(model=str(file), api_type="llamacpp"))
    vectors = asyncio.run(found.passages(["the plan of the agent", "review code", "test result " * 1000]))
    assert [len(vector) for vector in vectors] == [32] * 3
    assert vectors[0] != pytest.approx(vectors[1])
    assert found.shortened == 1
    assert asyncio.run(found.query("the plan of the agent")) == pytest.approx(vectors[0], abs=1e-4)


def test_a_trained_model_finds_the_passage_that_means_the_same(embeddings: Embeddings) -> None:
    found = embedder(EmbeddingModel(**embeddings.settings))
    vectors = asyncio.run(found.passages(PASSAGES))
    assert [len(vector) for vector in vectors] == [DIMENSIONS] * 20
    right = 0
    for question, wanted in QUESTIONS.items():
        asked = asyncio.run(found.query(question))
        right += max(PASSAGES, key=lambda text: similarity(asked, vectors[PASSAGES.index(text)])) == wanted
    assert right >= 8


def test_a_trained_model_tells_questions_from_passages(embeddings: Embeddings) -> None:
    right = embedder(EmbeddingModel(**embeddings.settings))
    wrong = embedder(EmbeddingModel(**embeddings.settings, query_prefix="passage: "))
    text = PASSAGES[0]
    as_query, as_passage = asyncio.run(right.query(text)), asyncio.run(right.passages([text]))[0]
    assert similarity(as_query, as_passage) < 0.99
    assert similarity(asyncio.run(wrong.query(text)), as_passage) > 0.999


PASSAGES = [
    "Before the centrifugal pump is switched on, open the suction valve fully and vent the casing.",
    "Acid spills are covered with soda ash from the outside to the middle and then washed away.",
    "Anyone who enters the vessel needs a signed permit and a second person at the manhole.",
    "The relief valve of the reactor is tested on the bench every two years.",
    "Empty drums are returned with their caps closed and the labels removed.",
    "When the fire alarm sounds, go to the assembly point at gate 3.",
    "Noise above 85 decibels: wear ear protection in the compressor house.",
    "The cooling tower is dosed with biocide each Monday because of legionella.",
    "Forklift drivers renew their licence every year.",
    "Temperature sensors are calibrated against the reference bath in the workshop.",
    "Nitrogen displaces air: measure the oxygen before anyone goes into the pit.",
    "The shift leader writes every deviation into the log book before the end of the shift.",
    "Filters are changed when the pressure drop exceeds 0.8 bar.",
    "Laboratory samples are kept for six months in the cold store.",
    "Visitors watch the safety film and wear a helmet and goggles.",
    "Welding outside of the workshop needs a fire watch for one hour afterwards.",
    "The emergency generator is started for ten minutes on the first of each month.",
    "Steam traps that do not close waste energy; report them to maintenance.",
    "Chlorine cylinders are stored upright, chained and in the shade.",
    "The canteen serves lunch from half past eleven until two.",
]
QUESTIONS = {
    "How do I get the air out of the machine before I turn it on?": PASSAGES[0],
    "Somebody knocked over a bottle of sulphuric acid, what now?": PASSAGES[1],
    "May a colleague climb into the tank alone?": PASSAGES[2],
    "Where do we meet if the building burns?": PASSAGES[5],
    "Against hearing loss, what do I put on?": PASSAGES[6],
    "Who has to pass a driving test again?": PASSAGES[8],
    "Is it dangerous to go underground without checking the air?": PASSAGES[10],
    "When do I have to replace a clogged filter?": PASSAGES[12],
    "At what time can I eat?": PASSAGES[19],
    "Wann gibt es Mittagessen?": PASSAGES[19],
}
"""With hardly a word in common. The model finds 9 of them first, and the driving test second."""
