"""The real model servers behave as the other tests expect."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from ollama import ResponseError
from openai import BadRequestError
from pydantic import SecretStr
from servers.counting_proxy import CountingProxy
from servers.grammars import FILES_GRAMMAR, TESTS_GRAMMAR, TEXT_GRAMMAR
from servers.llama import Llama, running_llama
from servers.ollama_front import OllamaFront
from servers.tiny_model import write_tiny_model

HELLO: list[BaseMessage] = [SystemMessage("You answer."), HumanMessage("Say something.")]
FILE = re.compile(r"```python path=src/tiny\.py\n((x|y|size|total) = [1-9][0-9]{0,2}\n){1,4}```\n")
TEST = re.compile(r"```python path=tests/test_tiny\.py\ndef test_\w+\(\):\n    assert \d+ > 0\n```\n")
TEXT = re.compile(r"[a-z]+( [a-z]+){3,11}\.")
SHORT = {"type": "string", "maxLength": 12}
FINDING = {
    "type": "object",
    "properties": {
        "severity": {"enum": ["critical", "high", "medium", "low"]},
        "location": SHORT,
        "problem": SHORT,
        "suggestion": SHORT,
    },
    "required": ["severity", "location", "problem", "suggestion"],
    "additionalProperties": False,
}
REVIEW = {
    "title": "Review",
    "type": "object",
    "properties": {
        "findings": {"type": "array", "items": FINDING, "maxItems": 2},
        "approved": {"type": "boolean"},
    },
    "required": ["findings", "approved"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "review", "schema": REVIEW}}


async def openai_answer(
    url: str, messages: list[BaseMessage], *, seed: int = 1, **extra_body: Any
) -> AIMessage:
    """The streamed answer of an OpenAI-compatible server, as the swarm asks for it."""
    with httpx2.Client(trust_env=False) as unused:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            model = ChatOpenAI(
                model="tiny",
                base_url=url,
                api_key=SecretStr("none"),
                temperature=0.7,
                seed=seed,
                extra_body=extra_body or None,
                stream_usage=True,
                max_retries=0,
                http_client=unused,
                http_async_client=client,
            )
            return whole([chunk async for chunk in model.astream(messages)])


async def ollama_answer(
    url: str, messages: list[BaseMessage], *, bind: dict[str, Any] | None = None, **parameters: Any
) -> AIMessage:
    """The answer of Ollama's API, as the swarm asks for it."""
    async with httpx.AsyncHTTPTransport() as transport:
        model = ChatOllama(
            **{"model": "tiny", "base_url": url, "temperature": 0.7, "seed": 1, **parameters},
            client_kwargs={"trust_env": False, "timeout": 60},
            async_client_kwargs={"transport": transport},
        )
        return whole([chunk async for chunk in model.bind(**bind or {}).astream(messages)])


def whole(chunks: list[Any]) -> AIMessage:
    answer = sum(chunks[1:], chunks[0])
    assert isinstance(answer, AIMessage)
    return answer


def usage(answer: AIMessage) -> tuple[int, int]:
    assert answer.usage_metadata
    return answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]


def assert_review(text: str) -> None:
    review = json.loads(text)
    assert list(review) == ["findings", "approved"]
    assert isinstance(review["approved"], bool)
    for finding in review["findings"]:
        assert list(finding) == FINDING["required"]
        assert finding["severity"] in ("critical", "high", "medium", "low")
        assert all(len(text) <= 12 for key, text in finding.items() if key != "severity")


# --- llama.cpp -----------------------------------------------------------------------------------


def test_the_model_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, again, other = (
        write_tiny_model(tmp_path / f"{number}.gguf", seed=seed).read_bytes()
        for number, seed in enumerate([0, 0, 1])
    )
    assert first == again != other


def test_what_the_server_offers_is_visible(llama: Llama) -> None:
    with httpx.Client(base_url=llama.root, trust_env=False) as client:
        props, slots = client.get("/props").json(), client.get("/slots").json()
        models, metrics = client.get("/v1/models").json(), client.get("/metrics").text
    assert props["total_slots"] == len(slots) == llama.slots
    assert props["default_generation_settings"]["n_ctx"] == llama.ctx_per_slot
    assert [(m["id"], m["meta"]["n_ctx"]) for m in models["data"]] == [(llama.alias, llama.ctx_per_slot)]
    assert "llamacpp:tokens_predicted_total" in metrics


def test_free_text_ends_by_itself_and_is_never_empty(llama: Llama) -> None:
    for seed in range(20):
        answer = asyncio.run(openai_answer(llama.url, HELLO, seed=seed))
        assert answer.text.strip()
        assert answer.response_metadata["finish_reason"] == "stop"


def test_a_schema_is_enforced_while_streaming(llama: Llama) -> None:
    for seed in range(10):
        answer = asyncio.run(
            openai_answer(llama.url, HELLO, seed=seed, response_format=RESPONSE_FORMAT, grammar=TEXT_GRAMMAR)
        )
        assert_review(answer.text)
        assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("grammar", "form"), [(FILES_GRAMMAR, FILE), (TESTS_GRAMMAR, TEST), (TEXT_GRAMMAR, TEXT)]
)
def test_a_grammar_is_enforced_and_short(llama: Llama, grammar: str, form: re.Pattern[str]) -> None:
    for seed in range(10):
        answer = asyncio.run(openai_answer(llama.url, HELLO, seed=seed, grammar=grammar, max_tokens=100))
        assert form.fullmatch(answer.text), answer.text
        assert answer.response_metadata["finish_reason"] == "stop"


def test_a_prompt_of_many_pages_fits(llama: Llama) -> None:
    page = "def put(self, item: str) -> None:  # wait while the queue is full\n" * 90
    answer = asyncio.run(openai_answer(llama.url, [HumanMessage(page * 4)], max_tokens=5))
    assert 16_000 < usage(answer)[0] < llama.ctx_per_slot


def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(llama: Llama) -> None:
    with pytest.raises(BadRequestError) as refused:
        asyncio.run(openai_answer(llama.url, [HumanMessage("plan " * llama.ctx_per_slot)]))
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"] == "exceed_context_size_error"
    assert refused.value.body["n_ctx"] == llama.ctx_per_slot < refused.value.body["n_prompt_tokens"]


def test_two_servers_beside_each_other(llama: Llama, tmp_path: Path) -> None:
    with running_llama(tmp_path, slots=1, ctx_per_slot=512, alias="small") as small:
        assert small.root != llama.root
        answer = asyncio.run(openai_answer(small.url, HELLO))
        assert answer.response_metadata["model_name"] == "small"
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(small.root)


PARENT = """
import pathlib, sys
from servers.llama import running_llama
with running_llama(pathlib.Path(sys.argv[1])) as server:
    print(server.root, flush=True)
    sys.stdin.read()
"""


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    ) as parent:
        assert parent.stdout
        root = parent.stdout.readline().strip()
        assert answers(root)
        parent.kill()
    assert any(not answers(root) for _ in range(1000))


def answers(root: str) -> bool:
    time.sleep(0.01)
    with httpx.Client(trust_env=False) as client:
        try:
            return client.get(f"{root}/health").is_success
        except httpx.TransportError:
            return False


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)ended with .* before it was ready:.*llama"),
        running_llama(tmp_path, ctx_per_slot=-7),
    ):
        pass


# --- The counting proxy --------------------------------------------------------------------------


def test_the_counts_are_what_the_answers_say(counted: CountingProxy) -> None:
    answers = [asyncio.run(openai_answer(counted.url, HELLO, seed=seed)) for seed in range(5)]
    assert len(counted.calls) == 5
    assert counted.calls.prompt_tokens == sum(usage(answer)[0] for answer in answers)
    assert counted.calls.completion_tokens == sum(usage(answer)[1] for answer in answers)
    assert counted.calls.most_in_flight == 1
    assert counted.calls.in_flight == 0
    assert [body["seed"] for body in counted.calls.bodies] == [0, 1, 2, 3, 4]
    assert counted.calls.bodies[0]["messages"][1] == {"role": "user", "content": "Say something."}


def test_calls_in_flight_at_once_are_seen(counted: CountingProxy) -> None:
    async def ask_twelve() -> list[httpx.Response]:
        ask = {"messages": [{"role": "user", "content": "hi"}]}
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            url = f"{counted.url}/chat/completions"
            return await asyncio.gather(*(client.post(url, json=ask) for _ in range(12)))

    counted.delay = 1.0
    usages = [answer.json()["usage"] for answer in asyncio.run(ask_twelve())]
    assert counted.calls.most_in_flight == len(counted.calls) == 12
    assert counted.calls.completion_tokens == sum(usage["completion_tokens"] for usage in usages)


def test_a_client_that_leaves_ends_its_call(counted: CountingProxy) -> None:
    endless = {
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    with httpx.Client(base_url=counted.root, trust_env=False) as client:
        with client.stream("POST", "/v1/chat/completions", json=endless) as answer:
            parts = answer.iter_bytes()  # without this reference, the answer would be closed
            next(parts)
            assert counted.calls.in_flight == 1
        assert any(not busy_slots(client) for _ in range(1000))
    assert counted.calls.completion_tokens == 0  # the server had not reported any yet


def busy_slots(client: httpx.Client) -> int:
    time.sleep(0.01)
    return sum(slot["is_processing"] for slot in client.get("/slots").json())


def test_the_proxy_passes_on_other_pages_errors_and_whole_answers(counted: CountingProxy) -> None:
    ask = {"messages": [{"role": "user", "content": "hi"}], "cache_prompt": False}
    with httpx.Client(base_url=counted.root, trust_env=False) as client:
        assert client.get("/props").json()["total_slots"] == 4
        assert client.get("/v1/models").json()["data"][0]["id"] == counted.alias
        assert client.post("/v1/chat/completions", json={}).status_code == 400
        answer = client.post("/v1/chat/completions", json=ask).json()
    assert counted.calls.completion_tokens == answer["usage"]["completion_tokens"]
    assert len(counted.calls) == 2


# --- Ollama's API --------------------------------------------------------------------------------


def test_ollama_free_text_ends_by_itself_and_is_counted(ollama: OllamaFront) -> None:
    answers = [asyncio.run(ollama_answer(ollama.url, HELLO, seed=seed)) for seed in range(5)]
    assert {answer.response_metadata["done_reason"] for answer in answers} == {"stop"}
    assert ollama.calls.prompt_tokens == sum(usage(answer)[0] for answer in answers)
    assert ollama.calls.completion_tokens == sum(usage(answer)[1] for answer in answers)
    assert (len(ollama.calls), ollama.calls.most_in_flight) == (5, 1)


def test_ollama_answers_as_llama_cpp_does(ollama: OllamaFront, llama: Llama) -> None:
    there = asyncio.run(openai_answer(llama.url, HELLO, seed=3))
    here = asyncio.run(ollama_answer(ollama.url, HELLO, seed=3))
    assert usage(here)[0] == usage(there)[0]


def test_ollama_a_format_is_enforced(ollama: OllamaFront) -> None:
    for seed in range(5):
        answer = asyncio.run(ollama_answer(ollama.url, HELLO, seed=seed, bind={"format": REVIEW}))
        assert_review(answer.text)


def test_ollama_grammars(ollama: OllamaFront) -> None:
    by_option = ollama_answer(ollama.url, HELLO, bind={"options": {"seed": 1, "grammar": TEXT_GRAMMAR}})
    assert TEXT.fullmatch(asyncio.run(by_option).text)
    assert FILE.fullmatch(asyncio.run(ollama_answer(ollama.url, HELLO, model="tiny-files")).text)
    assert TEST.fullmatch(asyncio.run(ollama_answer(ollama.url, HELLO, model="tiny-tests:latest")).text)
    assert_review(
        asyncio.run(ollama_answer(ollama.url, HELLO, model="tiny-files", bind={"format": REVIEW})).text
    )


def test_ollama_num_predict_and_num_ctx_end_an_answer(ollama: OllamaFront) -> None:
    short = asyncio.run(ollama_answer(ollama.url, HELLO, temperature=0, num_predict=7))
    assert (usage(short)[1], short.response_metadata["done_reason"]) == (7, "length")
    full = asyncio.run(ollama_answer(ollama.url, HELLO, temperature=0, num_ctx=128))
    assert (sum(usage(full)), full.response_metadata["done_reason"]) == (128, "length")


def test_ollama_forgets_the_oldest_messages_but_refuses_one_that_is_too_long(ollama: OllamaFront) -> None:
    history = [HumanMessage(f"{number} plan " * 20) for number in range(20)]
    answer = asyncio.run(ollama_answer(ollama.url, [*HELLO, *history], num_ctx=512, num_predict=5))
    assert 400 < usage(answer)[0] < 512
    with pytest.raises(ResponseError) as refused:
        asyncio.run(ollama_answer(ollama.url, [HumanMessage("plan " * 600)], num_ctx=512))
    inner = json.loads(refused.value.error)["error"]
    assert (refused.value.status_code, inner["type"]) == (400, "exceed_context_size_error")
    assert inner["n_ctx"] == 512 < inner["n_prompt_tokens"]


def test_ollama_unknown_model(ollama: OllamaFront) -> None:
    with pytest.raises(ResponseError, match="model 'llama3' not found") as refused:
        asyncio.run(ollama_answer(ollama.url, HELLO, model="llama3"))
    assert refused.value.status_code == 404
    assert len(ollama.calls) == 0


def test_ollama_pages(ollama: OllamaFront) -> None:
    with httpx.Client(base_url=ollama.url, trust_env=False) as client:
        assert client.get("/").text == "Ollama is running"
        assert client.get("/api/version").json() == {"version": "0.33.0"}
        names = [model["name"] for model in client.get("/api/tags").json()["models"]]
        assert names == ["tiny:latest", "tiny-files:latest", "tiny-tests:latest"]
        assert client.get("/api/ps").json() == {"models": []}
        info = client.post("/api/show", json={"model": "tiny"}).json()["model_info"]
        assert info["llama.context_length"] == 32768
        load = {"model": "tiny", "options": {"num_ctx": 2048}}
        assert client.post("/api/chat", json=load).json()["done_reason"] == "load"
        assert [m["context_length"] for m in client.get("/api/ps").json()["models"]] == [2048]
        unloaded = client.post("/api/chat", json={"model": "tiny", "keep_alive": 0}).json()
        assert unloaded["done_reason"] == "unload"
        assert client.get("/api/chat").status_code == 405
        assert client.get("/api/none").status_code == 404


def test_ollama_whole_answers_and_errors(ollama: OllamaFront) -> None:
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    with httpx.Client(base_url=ollama.url, trust_env=False) as client:
        whole_one = client.post("/api/chat", json={**ask, "stream": False}).json()
        assert whole_one["done"]
        assert whole_one["message"]["content"]
        assert whole_one["eval_count"] == ollama.calls.completion_tokens

        def refusal(**request: Any) -> tuple[int, str]:
            answer = client.post("/api/chat", **request)
            return answer.status_code, answer.json()["error"]

        assert refusal() == (400, "missing request body")
        assert refusal(content="{") == (400, "unexpected EOF")
        assert refusal(json={}) == (400, "model is required")
        assert refusal(json={**ask, "think": True}) == (400, '"tiny" does not support thinking')
        status, text = refusal(json={**ask, "format": "xml"})
        assert (status, text.split(";")[0]) == (500, 'invalid format: "xml"')
