"""The last items of a stream."""


class RingBuffer:
    """Keeps the last `capacity` numbers."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; expected at least 1")
        self._items: list[float] = [0.0] * capacity
        self._next = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, item: float) -> None:
        """Add an item; the oldest one goes if the buffer is full."""
        self._items[self._next] = item
        self._next = (self._next + 1) % len(self._items)
        self._count = min(self._count + 1, len(self._items))

    def oldest_first(self) -> list[float]:
        """A new list of the items, from the oldest to the newest."""
        if self._count < len(self._items):
            return self._items[: self._count]
        return self._items[self._next :] + self._items[: self._next]

    def mean(self) -> float:
        """The mean of the items.

        Raises:
            ValueError: There are none.
        """
        if not self._count:
            raise ValueError("an empty buffer has no mean")
        return sum(self.oldest_first()) / self._count
