"""Who may use the page: a token once, then a cookie; each form holds a token that other sites do not know."""

from __future__ import annotations

import hmac
import secrets
import time
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote, unquote

from swarm_graph.web.attempts import Attempts

MAX_NAME_CHARACTERS = 40
CODE_S = 60
COOKIE_S = 12 * 3600


class User(NamedTuple):
    """Who looks at the page.

    Attributes:
        key: Random, in the cookie; CSRF tokens are made from it.
        name: The name that the user gave at the login, for decisions; may be empty. It is a claim.
        ends: When the cookie ends, in seconds since the epoch.
    """

    key: str
    name: str
    ends: int


class Login:
    """Checks tokens, and makes and reads cookies. What it has given out dies with the process.

    Args:
        token: What a user presents.
        port: Tells the cookies of two pages on one machine apart: browsers do not.

    Attributes:
        cookie: The name of the cookie.
        attempts: Wrong tokens.
    """

    def __init__(self, token: str, port: int) -> None:
        self._token, self._key = token.encode(), secrets.token_bytes(32)
        self._code, self._code_ends = b"", 0.0
        self._logged_out = set[str]()
        self.cookie = f"swarm-{port}"
        self.attempts = Attempts()

    def new_code(self) -> str:
        """A code that stands for the token, once and for a minute.

        It may stand where others can read it, such as the arguments of a browser and its history.
        """
        code = secrets.token_urlsafe(24)
        self._code, self._code_ends = code.encode(), time.monotonic() + CODE_S
        return code

    def admits(self, given: str, *, by_code: bool = True) -> bool:
        """Whether this is the token, or a code that was not used before.

        Args:
            given: What a user presents.
            by_code: Whether a code will do: other users of this machine may have seen it.
        """
        if hmac.compare_digest(given.encode(), self._token):
            return True
        code, ends = self._code, self._code_ends
        if by_code and code and time.monotonic() < ends and hmac.compare_digest(given.encode(), code):
            self._code = b""
            return True
        return False

    def new_cookie(self, name: str, host: str) -> str:
        """The value of the cookie of a new user; it is good under one name of the page, for some hours.

        Args:
            name: The user's name.
            host: The name of the page, as in the header Host.
        """
        ends = int(time.time()) + COOKIE_S
        body = f"{secrets.token_urlsafe(16)}.{ends}.{quote(name[:MAX_NAME_CHARACTERS], safe='')}"
        return f"{body}.{self._sign(f'cookie {host}', body)}"

    def user(self, cookie: str, host: str) -> User | None:
        """The user of a cookie; None if this process has not made it for this name of the page."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(f"cookie {host}", body).encode()):
            return None
        key, ends, name = body.split(".", 2)
        user = User(key, unquote(name), int(ends))
        return user if self.is_in(user) else None

    def is_in(self, user: User) -> bool:
        """Whether the cookie of a user is still good."""
        return time.time() < user.ends and user.key not in self._logged_out

    def log_out(self, user: User) -> None:
        """Accept the cookie of a user no longer."""
        self._logged_out.add(user.key)

    def csrf(self, user: User) -> str:
        """The token that the forms of a user hold."""
        return self._sign("csrf", user.key)

    def is_csrf(self, user: User, given: str) -> bool:
        """Whether a form is the user's own."""
        return hmac.compare_digest(given.encode(), self.csrf(user).encode())

    def _sign(self, what: str, text: str) -> str:
        return hmac.new(self._key, f"{what} {text}".encode(), sha256).hexdigest()
