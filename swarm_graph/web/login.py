"""Who may use the page: a token once, then a cookie; each form holds a token that other sites do not know."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, unquote

MAX_NAME_CHARACTERS = 40


class User(NamedTuple):
    """Who looks at the page.

    Attributes:
        key: Random, in the cookie; CSRF tokens are made from it.
        name: The name that the user gave at the login, for decisions; may be empty. It is a claim.
    """

    key: str
    name: str = ""


class Login:
    """Checks tokens, and makes and reads cookies. Both keys die with the process.

    Args:
        token: What a user presents once.
        port: Tells the cookies of two pages on one machine apart: browsers do not.
    """

    def __init__(self, token: str, port: int) -> None:
        self._token, self._key = token.encode(), secrets.token_bytes(32)
        self.cookie = f"swarm-{port}"

    def admits(self, token: str) -> bool:
        """Whether a token is the right one."""
        return hmac.compare_digest(token.encode(), self._token)

    def new_cookie(self, name: str) -> str:
        """The value of the cookie of a new user."""
        body = f"{secrets.token_urlsafe(16)}.{quote(name[:MAX_NAME_CHARACTERS], safe='')}"
        return f"{body}.{self._sign('cookie', body)}"

    def user(self, cookie: str) -> User | None:
        """The user of a cookie; None if this process has not made it."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("cookie", body).encode()):
            return None
        key, _, name = body.partition(".")
        return User(key, unquote(name))

    def csrf(self, user: User) -> str:
        """The token that the forms of a user hold."""
        return self._sign("csrf", user.key)

    def is_csrf(self, user: User, given: str) -> bool:
        """Whether a form is the user's own."""
        return hmac.compare_digest(given.encode(), self.csrf(user).encode())

    def _sign(self, what: str, text: str) -> str:
        return hmac.new(self._key, f"{what} {text}".encode(), sha256).hexdigest()
