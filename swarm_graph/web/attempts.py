"""How often a wrong token may be given."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address

from swarm_graph.web.peer import address_of

AT_ONCE, MINUTE_S = 5, 60.0
EACH_S = MINUTE_S / AT_ONCE
MAX_SOURCES = 1000


class Attempts:
    """Wrong tokens of each address: five at once, and then one in twelve seconds.

    Nobody is locked out for longer than that, and those who are logged in are not asked. The oldest addresses
    are forgotten when there are too many.

    Args:
        clock: Returns the seconds that have passed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_until = OrderedDict[str, float]()
        """When the attempts of an address will count no longer; each counts for `EACH_S`."""

    def wait_s(self, client: str) -> int:
        """How many seconds an address must wait until its next attempt; 0 if it need not."""
        spent_until = self._spent_until.get(_source(client), 0.0)
        return max(0, math.ceil(spent_until - self._clock() - (MINUTE_S - EACH_S)))

    def note_failure(self, client: str) -> None:
        """Count a wrong token."""
        source = _source(client)
        self._spent_until[source] = max(self._spent_until.get(source, 0.0), self._clock()) + EACH_S
        self._spent_until.move_to_end(source)
        if len(self._spent_until) > MAX_SOURCES:
            self._spent_until.popitem(last=False)


def _source(client: str) -> str:
    """An IPv4 address, or the network of an IPv6 address, of which one machine has many."""
    address = address_of(client)
    return str(address) if not isinstance(address, IPv6Address) else address.packed[:8].hex()
