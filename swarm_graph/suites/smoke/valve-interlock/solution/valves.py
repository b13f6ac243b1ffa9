"""A valve that can be locked."""


class Locked(RuntimeError):
    """The valve is locked."""


class Valve:
    """A valve of the plant."""

    def __init__(self, tag: str, is_open: bool = False) -> None:
        self.tag, self.is_open, self.is_locked = tag, is_open, False

    def open(self) -> None:
        """Open it."""
        self._move(True)

    def close(self) -> None:
        """Close it."""
        self._move(False)

    def lock(self) -> None:
        """Keep it where it is."""
        self.is_locked = True

    def unlock(self) -> None:
        """Let it move again."""
        self.is_locked = False

    def _move(self, is_open: bool) -> None:
        if self.is_locked:
            raise Locked(f"{self.tag} is locked")
        self.is_open = is_open
