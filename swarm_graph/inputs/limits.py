"""The limits of reading one document. A file beyond them is refused by name, never read in part."""

from __future__ import annotations

from typing import NamedTuple

from swarm_graph.inputs.document import Unreadable

UNPACKED_FACTOR = 10
"""How large the parts of a zip file may unpack, as a multiple of the largest file."""
MAX_RATIO, MIN_BOMB_BYTES = 400, 10_000_000
"""The highest ratio to which a large part may unpack; spreadsheets reach 100."""
MAX_PARTS = 20_000
"""Parts of a zip file."""
MAX_ATTACHMENTS, MAX_DEPTH = 100, 3
"""Attachments of a mail, and mails within mails."""


class Limits(NamedTuple):
    """The settings `documents`, as readers take them."""

    max_megabytes: float
    max_pages: int
    max_cells: int
    max_memory_mb: int
    max_cpu_seconds: int

    @property
    def max_bytes(self) -> int:
        """The largest file."""
        return int(self.max_megabytes * 1e6)

    @property
    def too_much_memory(self) -> str:
        """The problem of a file whose reader took too much memory."""
        return (
            f"took more than documents.max_memory_mb ({self.max_memory_mb:,}) to read; "
            "raise it if you trust the file, or split the file"
        )

    @property
    def too_much_time(self) -> str:
        """The problem of a file whose reader took too long."""
        return (
            f"took more than documents.max_cpu_seconds ({self.max_cpu_seconds}) to read; "
            "raise it if you trust the file, or split the file"
        )

    def check_size(self, size: int) -> None:
        """Raises Unreadable for a file of more bytes than allowed."""
        if size > self.max_bytes:
            raise Unreadable(
                f"has {size / 1e6:.1f} MB, more than documents.max_megabytes ({self.max_megabytes:g}); "
                "raise it, or split the file"
            )

    def check_count(self, count: int, noun: str, setting: str) -> None:
        """Raises Unreadable for more pages or cells than the setting allows."""
        limit = getattr(self, setting)
        if count > limit:
            raise Unreadable(
                f"has more than {limit:,} {noun}, the limit documents.{setting}; raise it, or split the file"
            )

    def check_text(self, characters: int) -> None:
        """Raises Unreadable for more text than the largest file may have."""
        if characters > self.max_bytes:
            raise Unreadable(
                f"holds more than {self.max_bytes:,} characters of text, which documents.max_megabytes "
                f"({self.max_megabytes:g}) allows; raise it, or split the file"
            )
