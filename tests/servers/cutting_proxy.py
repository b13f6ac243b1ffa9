"""A proxy before PostgreSQL that cuts a connection at its COMMIT: before the server hears it, or after."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, Self

Cut = Literal["before", "after"]


class CuttingProxy:
    """Passes connections on to the socket of a server. Use it in `with`.

    Args:
        server: The server's socket.

    Attributes:
        port: Its port on 127.0.0.1.
        cut: Where the next COMMIT is cut; None passes everything on. It is None again after the cut.
        cuts: How many connections were cut.
    """

    def __init__(self, server: Path) -> None:
        self._server, self.cuts = server, 0
        self.cut: Cut | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server))
        answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
        answers.start()
        with closing(client), closing(server), suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut == "before" and b"COMMIT\0" in data:
                    self.cut, self.cuts = None, self.cuts + 1
                    break
                server.sendall(data)
            _shut(client, server)
            answers.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if self.cut == "after" and b"COMMIT\0" in data:
                    self.cut, self.cuts = None, self.cuts + 1
                    break
                client.sendall(data)
        _shut(client, server)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
