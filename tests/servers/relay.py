"""A relay of TCP connections on loopback that can be cut, as a tunnel of ssh or a network can."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class Relay:
    """Listens on `port` from the start; `mend` names the server, `cut` ends all connections to it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server: tuple[str, int] | None = None
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in [*self._threads]:
            thread.join()
        self._listener.close()

    @property
    def root(self) -> str:
        """The origin of the relay."""
        return f"http://127.0.0.1:{self.port}"

    def mend(self, authority: str) -> None:
        """Pass connections on to a server from now on."""
        host, _, port = authority.rpartition(":")
        self._server = (host, int(port))

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        with self._lock:
            self._server = None
            for end in self._ends:
                with suppress(OSError):  # it has ended already
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                try:
                    server = socket.create_connection(self._server or ("", 0))
                except OSError:  # it is cut, or the server has ended
                    client.close()
                    continue
                self._ends |= {client, server}
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """Pass a connection on, both ways, until it ends."""
        answers = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        answers.start()
        self._pass_on(client, server)
        answers.join()
        with self._lock:
            self._ends -= {client, server}
            for end in (client, server):
                end.close()
            self._threads.discard(threading.current_thread())

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.add(thread)
        thread.start()
