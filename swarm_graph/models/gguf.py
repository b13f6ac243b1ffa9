"""The header of a GGUF file: the model's architecture, its trained context, and the memory that it needs.

Only the header is read, and every count and length in it is checked against the file: files come from
anywhere, and a wrong number must not cost memory or time. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from swarm_graph.text import printable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 65_536
MAX_TENSORS = 1_000_000
MAX_ITEMS = 16_000_000
"""Of one list; the largest vocabularies have 262,144 words."""
MAX_KEPT_BYTES = 1_000_000
"""Longer texts are skipped; chat templates have up to 20,000."""
MAX_KEPT_ITEMS = 4096
"""Longer lists are skipped; what is kept has one item a layer."""
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""`struct` formats by GGUF's types."""
TEXT, LIST = 8, 9
LENGTH = struct.Struct("<Q")
CHUNK_BYTES = 2**18
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
KV_BYTES = 2
"""Bytes of a number in the cache of keys and values."""
COMPUTE_BYTES = 256 * 2**20
"""What llama.cpp allocates besides the weights and the cache, for a batch of 512 tokens."""


class NotGGUF(Exception):
    """Internal: a file is no usable GGUF file. The message gives the reason; it continues the file's name."""


class NeededMemory(NamedTuple):
    """The memory that a model needs, in bytes."""

    weights: int
    context: int
    """Keys and values of all slots."""

    @property
    def total(self) -> int:
        return self.weights + self.context + COMPUTE_BYTES


@dataclass(frozen=True)
class Header:
    """The facts in the header of a GGUF file; texts are safe to print.

    Attributes:
        path: The file; of a split model the first part.
        architecture: As in `llama`; llama.cpp knows some and refuses others.
        name: The model's name; may be empty.
        size_label: As in `7B`; may be empty.
        context: Tokens that the model was trained for; None when the file does not say.
        bytes_per_token: Of the cache of keys and values, at most; 0 when the file does not say.
        size: Bytes of all parts.
        parts: Files of the model.
        has_chat_template: Whether it says how messages become a prompt.
        is_embedding: Whether it makes vectors and cannot chat.
        is_projector: Whether it is only the part of a model that reads images or sound.
    """

    path: Path
    architecture: str
    name: str
    size_label: str
    context: int | None
    bytes_per_token: int
    size: int
    parts: int
    has_chat_template: bool
    is_embedding: bool
    is_projector: bool

    def memory(self, tokens: int) -> NeededMemory:
        """The memory to serve it, about: some architectures need less for their context.

        Args:
            tokens: Tokens of all slots together.
        """
        return NeededMemory(self.size, self.bytes_per_token * tokens)


def is_gguf(path: Path) -> bool:
    """Whether the file begins as a GGUF file does."""
    try:
        with _opened(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, NotGGUF):
        return False


def read_header(path: Path) -> Header:
    """The header of a GGUF file.

    Raises:
        NotGGUF: It is no GGUF file, it is cut off, or parts of it are missing.
        OSError: It cannot be read.
    """
    path = first_part(path)
    status = path.stat()
    return _read_header(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _read_header(path: Path, size: int, _modified: int) -> Header:
    with _opened(path) as file:
        reader = _Reader(file, size)
        facts, tensors = reader.facts()
        reader.check_tensors(tensors, facts.get("general.alignment", 32))
    return _described(path, facts)


def _opened(path: Path) -> BinaryIO:
    """The file, if it is a regular one: to open a pipe or a device may block. Raises NotGGUF, OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotGGUF("is not a file")
    return path.open("rb")


def first_part(path: Path) -> Path:
    """The file that llama.cpp loads: the first part of a split model, else the file itself."""
    return path.with_name(PART.sub(r"-00001-of-\2.gguf", path.name))


def _parts(path: Path) -> list[Path]:
    """All files of a model. Raises NotGGUF when one is missing."""
    split = PART.search(path.name)
    if not split:
        return [path]
    count = int(split[2])
    if count > MAX_KEPT_ITEMS:
        raise NotGGUF(f"says that it has {count} parts")
    parts = [
        path.with_name(f"{path.name[: split.start()]}-{i:05}-of-{count:05}.gguf") for i in range(1, count + 1)
    ]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise NotGGUF(f"has {count} parts, and {missing[0]} is missing")
    return parts


def _described(path: Path, facts: Mapping[str, Any]) -> Header:
    architecture = _text(facts, "general.architecture")
    if not architecture:
        raise NotGGUF("does not name its architecture")
    parts = _parts(path)
    kind, pooling = _text(facts, "general.type"), _count(facts.get(f"{architecture}.pooling_type"))
    return Header(
        path=path,
        architecture=architecture,
        name=_text(facts, "general.name"),
        size_label=_text(facts, "general.size_label"),
        context=_count(facts.get(f"{architecture}.context_length")) or None,
        bytes_per_token=_bytes_per_token(facts, architecture),
        size=sum(part.stat().st_size for part in parts),
        parts=len(parts),
        has_chat_template=bool(_text(facts, "tokenizer.chat_template")),
        is_embedding=bool(pooling)
        or "bert" in architecture
        or facts.get(f"{architecture}.attention.causal") is False,
        is_projector=architecture == "clip" or kind in ("mmproj", "adapter", "imatrix", "vocab"),
    )


def _bytes_per_token(facts: Mapping[str, Any], architecture: str) -> int:
    """Bytes of keys and values, over all layers."""

    def value(name: str) -> Any:
        return facts.get(f"{architecture}.{name}")

    layers, heads = _count(value("block_count")), _per_layer(value("attention.head_count"))
    kv_heads = _per_layer(value("attention.head_count_kv")) or heads
    head = _count(value("embedding_length")) // max(1, *heads) if heads else 0
    key = _count(value("attention.key_length")) or head
    size = (key + (_count(value("attention.value_length")) or head)) * KV_BYTES
    return size * (sum(kv_heads) if len(kv_heads) > 1 else layers * sum(kv_heads))


def _per_layer(value: Any) -> list[int]:
    """One number for all layers, or a list with one for each."""
    return [_count(item) for item in value] if isinstance(value, list) else [_count(value)] if value else []


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**40 else 0


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return printable(value) if isinstance(value, str) else ""


class _Reader:
    """Reads a header from its beginning. Every read is checked against the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def facts(self) -> tuple[dict[str, Any], int]:
        """The keys with their values, without long lists, and the number of tensors."""
        if self._bytes(4) != MAGIC:
            raise NotGGUF("is not a GGUF file")
        version = self._number("I")
        if version not in VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            raise NotGGUF(
                "is for big-endian machines" if swapped in VERSIONS else f"has GGUF's version {version}"
            )
        tensors, keys = self._at_most(MAX_TENSORS, "Q"), self._at_most(MAX_KEYS, "Q")
        facts: dict[str, Any] = {}
        for _ in range(keys):
            key = self._string()
            facts[key or ""] = self._value(self._number("I"))
        return facts, tensors

    def check_tensors(self, count: int, alignment: Any) -> None:
        """Whether every tensor begins inside the file."""
        offsets = [self._tensor_offset() for _ in range(count)]
        step = alignment if type(alignment) is int and 0 < alignment <= 2**20 else 32
        begin = -(-self._file.tell() // step) * step
        if offsets and begin + max(offsets) >= self._size:
            raise NotGGUF("is cut off: weights are missing at its end")

    def _tensor_offset(self) -> int:
        self._string()
        self._skip(8 * self._at_most(8, "I") + 4)  # dimensions and type
        return int(self._number("Q"))

    def _value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self._number(NUMBERS[kind])
        if kind == TEXT:
            return self._string()
        if kind != LIST:
            raise NotGGUF(f"is broken: it has a value of type {kind}")
        of, count = self._number("I"), self._at_most(MAX_ITEMS, "Q")
        if of == TEXT:
            return self._skip_strings(count)
        if of not in NUMBERS:
            raise NotGGUF(f"is broken: it has a list of type {of}")
        size = struct.calcsize(NUMBERS[of]) * count
        if count > MAX_KEPT_ITEMS:
            self._skip(size)
            return None
        return [*struct.unpack(f"<{count}{NUMBERS[of]}", self._bytes(size))]

    def _skip_strings(self, count: int) -> None:
        """Skip a list of texts: vocabularies have 100,000s, so they are not read one by one."""
        data, at = b"", 0
        for _ in range(count):
            if at + 8 > len(data):
                data, at = data[at:] + self._file.read(CHUNK_BYTES), 0
                if len(data) < 8:
                    raise NotGGUF("is cut off in its header")
            at += 8 + LENGTH.unpack_from(data, at)[0]
            if at > len(data):
                self._skip(at - len(data))
                data, at = b"", 0
        self._file.seek(at - len(data), os.SEEK_CUR)

    def _string(self) -> str | None:
        """A text; None for one that is too long to be of use."""
        length = self._number("Q")
        if length > MAX_KEPT_BYTES:
            self._skip(length)
            return None
        return self._bytes(length).decode(errors="replace")

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(code)))[0]

    def _at_most(self, limit: int, code: str) -> int:
        count = int(self._number(code))
        if count > limit:
            raise NotGGUF(f"is broken: it says that {count} things follow")
        return count

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise NotGGUF("is not a GGUF file" if self._file.tell() < 8 else "is cut off in its header")
        return found

    def _skip(self, count: int) -> None:
        if count > self._size - self._file.tell():
            raise NotGGUF("is cut off in its header")
        self._file.seek(count, os.SEEK_CUR)
