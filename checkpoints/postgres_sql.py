"""SQL for PostgreSQL: placeholders in its form, and values that only SQLite takes as they are."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from psycopg import Connection
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format
from psycopg.types.numeric import IntDumper, NumericBinaryLoader
from psycopg.types.string import StrDumperUnknown

_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|::|:([A-Za-z_]\w*)|\?|%|[^'":?%]+|.""", re.DOTALL)
_ESCAPE = "\x10"
"""Begins the two characters that stand for NUL, which PostgreSQL refuses in texts, and for itself."""
_NUL = f"{_ESCAPE}0"


@lru_cache(maxsize=1024)
def in_postgres(sql: str) -> str:
    """A statement with psycopg's placeholders in place of `?` and `:name`."""

    def token(found: re.Match[str]) -> str:
        if found[1]:
            return f"%({found[1]})s"
        return "%s" if found[0] == "?" else found[0].replace("%", "%%")

    return _TOKEN.sub(token, sql)


def escaped(text: str) -> str:
    """A text without NUL, from which `unescaped` makes it again."""
    if "\0" not in text and _ESCAPE not in text:
        return text
    return text.replace(_ESCAPE, _ESCAPE * 2).replace("\0", _NUL)


def unescaped(text: str) -> str:
    """The text of `escaped`."""
    if _ESCAPE not in text:
        return text
    return re.sub(f"{_ESCAPE}(.)", lambda found: "\0" if found[1] == "0" else found[1], text, flags=re.DOTALL)


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return escaped(obj).encode()


class _BoolDumper(IntDumper):
    """Truth values are numbers, as in SQLite."""

    def dump(self, obj: Any) -> Buffer | None:
        return super().dump(int(obj))


class _NumericLoader(NumericBinaryLoader):
    """The sum of whole numbers is one, and any other sum a float."""

    def load(self, data: Buffer) -> Any:
        number = super().load(data)
        return float(number) if number.as_tuple().exponent else int(number)


class _TextLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return unescaped(str(data, "utf-8"))


def adapt(connection: Connection[Any]) -> None:
    """Let a connection take the values that SQLite takes, and return them in its binary cursors."""
    adapters = connection.adapters
    adapters.register_dumper(str, _TextDumper)
    adapters.register_dumper(bool, _BoolDumper)
    adapters.register_loader("text", _TextLoader)
    adapters.register_loader("numeric", _NumericLoader)
