"""The addresses under which the page may be called."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from swarm_graph.errors import InputError
from swarm_graph.serving.listen import is_loopback
from swarm_graph.web.peer import address_of

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origins:
    """The origins of the page: scheme, host and port, as browsers write them.

    Attributes:
        own: The one to print.
        direct: Those of the server itself.
        proxied: Those of a proxy in front of it.
        wildcard_scheme: Set if the server listens on all addresses of the machine: it may be called by each.
    """

    own: str
    direct: frozenset[str]
    proxied: frozenset[str] = frozenset()
    wildcard_scheme: str = ""

    def of_host(self, host: str, server: tuple[str, int | None] | None) -> frozenset[str]:
        """The origins of the page under a host; empty if the page may not be called by this host.

        Args:
            host: The value of the header.
            server: The address on which the connection arrived.
        """
        named = frozenset(f"{scheme}://{host.lower()}" for scheme in DEFAULT_PORTS)
        known = self.direct | self.proxied
        if self.wildcard_scheme and server:
            known |= {origin_of(self.wildcard_scheme, str(address_of(server[0])), server[1] or 0)}
        return named & known


NO_ORIGINS = Origins("", frozenset())


def origin_of(scheme: str, host: str, port: int) -> str:
    """An origin, without the port if it is the scheme's own."""
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def page_origins(
    address: tuple[str, int], is_tls: bool, allowed_hosts: Iterable[str], insecure_http: bool
) -> Origins:
    """The origins of a server.

    Args:
        address: Where it listens.
        is_tls: Whether it serves TLS itself.
        allowed_hosts: More names, such as that of a proxy, with or without a port.
        insecure_http: Whether these names may be called without TLS.

    Raises:
        InputError: One of `allowed_hosts` is not the name of a host.
    """
    host, port = address
    scheme = "https" if is_tls else "http"
    is_wildcard = ipaddress.ip_address(host).is_unspecified
    names = ["localhost"] if is_wildcard or is_loopback(host) else []
    if not is_wildcard:
        names.append(host)
    direct = {origin_of(scheme, name, port) for name in names}
    proxied = set[str]()
    for name in allowed_hosts:
        allowed, own_port = _host_and_port(name)
        if is_loopback(allowed):  # the other end of `ssh -L`
            direct.add(origin_of(scheme, allowed, own_port or port))
            continue
        for of_proxy in ("https", "http") if insecure_http else ("https",):
            ports = (own_port,) if own_port else (port, DEFAULT_PORTS[of_proxy])
            proxied |= {origin_of(of_proxy, allowed, one) for one in ports}
    own = origin_of(scheme, "localhost" if is_wildcard else host, port)
    return Origins(own, frozenset(direct), frozenset(proxied), scheme if is_wildcard else "")


def _host_and_port(name: str) -> tuple[str, int | None]:
    """A host, and its port if it has one. Raises InputError."""
    try:
        parts = urlsplit(f"//{name}")
        host, port = parts.hostname or "", parts.port
        is_host = bool(host) and parts.netloc == name and "@" not in name
    except ValueError:
        is_host = False
    if not is_host:
        raise InputError(f"--allowed-host {name!r} is no name of a host; as in page.example.org")
    return host, port
