"""The life of the page's server: from its socket to the stop of its sessions."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from swarm_graph.errors import InputError
from swarm_graph.serving.server import Server
from swarm_graph.sessions.background import BackgroundSessions
from swarm_graph.sessions.until_stopped import until_stopped
from swarm_graph.web.app import new_app
from swarm_graph.web.connections import Connections
from swarm_graph.web.guard import HEADERS, MAX_HEAD_BYTES
from swarm_graph.web.login import Login
from swarm_graph.web.settings import PageSettings
from swarm_graph.web.site import Say, Site

BACKLOG = 128
"""How many connections wait to be accepted; each turn of the loop takes so many descriptors at most."""


class Endpoint(NamedTuple):
    """Where the page is served.

    Attributes:
        listener: The socket.
        tls: The certificate; None to serve plain HTTP.
    """

    listener: socket.socket
    tls: ssl.SSLContext | None = None


def read_certificate(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """The TLS settings with a certificate and its key; None without them.

    Raises:
        InputError: A file is missing or cannot be used.
    """
    if not (certificate or key):
        return None
    if not (certificate and key):
        raise InputError("--tls-cert and --tls-key belong together: name both files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(
            f"cannot use the certificate '{certificate}' with the key '{key}': {why}; name PEM files, "
            "the key without a password"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def new_server(site: Site, endpoint: Endpoint) -> Server:
    """The server of a site."""
    connections = Connections(HEADERS, endpoint.tls, has_proxy=bool(site.settings.origins.proxied))
    return Server(
        new_app(site),
        http=connections.new,
        lifespan="off",
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )


async def serve(
    settings: PageSettings,
    endpoint: Endpoint,
    token: str,
    say: Say,
    ready: Callable[[str], None] | None = None,
) -> int | None:
    """Serve until a signal comes, then stop the sessions; they can be resumed.

    Args:
        settings: What users may do.
        endpoint: Where the page is served.
        token: What users present once.
        say: Prints a line for the operator.
        ready: Called with a code that stands for the token once, when the server listens.

    Returns:
        The number of the signal.

    Raises:
        StorageError: The database cannot be read.
    """
    background = BackgroundSessions(settings.max_sessions, say)
    login = Login(token, endpoint.listener.getsockname()[1])
    site = Site(settings, login, background, say)
    await site.read(bool)  # a database that cannot be read is told before anybody opens the page
    if ready:
        ready(login.new_code())
    grace_s = max(config.workflow.grace_period for config in settings.configs.values())
    serving = new_server(site, endpoint).serve_on(endpoint.listener, end_streams=site.follower.close)
    return await until_stopped(serving, background, say, grace_s)
