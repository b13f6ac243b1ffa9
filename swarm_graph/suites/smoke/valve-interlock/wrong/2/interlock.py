"""A double block and bleed."""

from valves import Valve


class Interlocked(RuntimeError):
    """The interlock does not allow it."""


class DoubleBlock:
    """Two block valves with a bleed between them."""

    def __init__(self, upstream: Valve, bleed: Valve, downstream: Valve) -> None:
        if bleed.is_open and (upstream.is_open or downstream.is_open):
            raise ValueError("the bleed is open while a block valve is open")
        self.upstream, self.bleed, self.downstream = upstream, bleed, downstream
        self.moves: list[str] = []
        self._persons: set[str] = set()

    @property
    def is_isolated(self) -> bool:
        """Whether both block valves are closed and the bleed is open."""
        return self.bleed.is_open and not self.upstream.is_open and not self.downstream.is_open

    def isolate(self) -> None:
        """Close the block valves and open the bleed."""
        self._move([(self.upstream, False), (self.downstream, False), (self.bleed, True)])

    def release(self) -> None:
        """Close the bleed and open the block valves."""
        self._require_isolated()
        self._move([(self.bleed, False), (self.upstream, True), (self.downstream, True)])

    def lock_out(self, person: str) -> None:
        """Lock all valves for a person."""
        self._require_isolated()
        self._persons.add(person)
        for valve in (self.upstream, self.bleed, self.downstream):
            valve.lock()

    def remove_lock(self, person: str) -> None:
        """Take back the lock of a person."""
        if person not in self._persons:
            raise Interlocked(f"{person} has no lock here")
        self._persons.remove(person)
        for valve in (self.upstream, self.bleed, self.downstream):
            valve.unlock()

    def _require_isolated(self) -> None:
        if not self.is_isolated:
            raise Interlocked("the line is not isolated")

    def _move(self, wanted: list[tuple[Valve, bool]]) -> None:
        moves = [(valve, is_open) for valve, is_open in wanted if valve.is_open != is_open]
        for valve, _ in moves:
            if valve.is_locked:
                raise Interlocked(f"{valve.tag} is locked")
        for valve, is_open in moves:
            if is_open:
                valve.open()
            else:
                valve.close()
            self.moves.append(f"{'open' if is_open else 'close'} {valve.tag}")
