"""The model servers as fixtures: one llama.cpp server a test run, a new proxy or Ollama front a test."""

from collections.abc import Iterator

import pytest

from servers.counting_proxy import CountingProxy
from servers.llama import Llama, running_llama
from servers.ollama_front import OllamaFront


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """A real llama.cpp server; its `url` goes into a config."""
    with running_llama(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest.fixture
def counted(llama: Llama) -> Iterator[CountingProxy]:
    """The llama.cpp server behind a proxy that counts: `calls`, and `delay` to set."""
    with CountingProxy(llama.root, alias=llama.alias) as proxy:
        yield proxy


@pytest.fixture
def ollama(llama: Llama) -> Iterator[OllamaFront]:
    """Ollama's API with the models tiny, tiny-files and tiny-tests; it counts as the proxy does."""
    with OllamaFront(llama.root, context=llama.ctx_per_slot) as front:
        yield front
