"""Decode a text file: by its byte order mark, as UTF-8 or UTF-16, otherwise by a guess that is noted."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from swarm_graph.inputs.document import Unreadable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 100_000
"""Bytes by which an encoding is guessed."""
MIN_NULS = 0.3
"""Share of zero bytes in UTF-16 text of Latin letters, all of them on the same side of each pair."""
NAMES = {"cp1252": "Windows-1252", "latin_1": "Latin-1", "cp932": "Shift-JIS", "cp949": "EUC-KR"}
_KANA = re.compile("[\u3041-\u30fe]")
MIN_KANA = 0.2
"""Share of kana in Japanese text; text in other encodings has fewer when it is read as Japanese."""
LATIN = ["cp1252", "cp1250", "cp1257", "mac_roman"]
NOT_LATIN = ["cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "gb18030", "big5", "cp949", "cp1252"]
MAX_BEYOND = 0.35
"""Share of letters beyond ASCII in Latin text."""
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


class Decoded(NamedTuple):
    """A text, and the assumption about its encoding; empty if the file declares its encoding."""

    text: str
    assumed: str = ""


def decode(data: bytes) -> Decoded:
    """The text of a file, with `\\n` line ends.

    Raises:
        Unreadable: It is no text.
    """
    decoded = _declared(data) or _guessed(data)
    return decoded._replace(text=decoded.text.replace("\r\n", "\n").replace("\r", "\n"))


def _declared(data: bytes) -> Decoded | None:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return Decoded(data.decode(encoding))
            except UnicodeDecodeError as error:
                raise Unreadable(
                    f"is no valid {encoding.removesuffix('-sig').upper()} text: {error.reason}"
                ) from error
    try:
        return None if b"\0" in data else Decoded(data.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _guessed(data: bytes) -> Decoded:
    if wide := _wide(data):
        return Decoded(data.decode(wide), f"read as {wide.upper()}: it has no byte order mark")
    if b"\0" in data or len(_CONTROL.findall(data[:SAMPLE_BYTES])) > len(data[:SAMPLE_BYTES]) / 50:
        raise Unreadable("is no text but binary data of an unknown kind; convert it to PDF, Word or text")
    encoding = _best(data[:SAMPLE_BYTES])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        encoding, text = "latin_1", data.decode("latin_1")
    name = NAMES.get(encoding, encoding.replace("_", "-").upper())
    return Decoded(text, f"read as {name}, which is a guess: it is not UTF-8; save it as UTF-8 to be sure")


def _wide(data: bytes) -> str:
    """UTF-16 without a byte order mark: one byte of most pairs is zero."""
    sample = data[: SAMPLE_BYTES - SAMPLE_BYTES % 2]
    if len(data) % 2 or len(sample) < 4:
        return ""
    for side, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if sample[side::2].count(0) > MIN_NULS * len(sample) and not sample[1 - side :: 2].count(0):
            try:
                data.decode(encoding)
            except UnicodeDecodeError:
                return ""
            return encoding
    return ""


def _best(sample: bytes) -> str:
    """The most likely encoding of a text."""
    for japanese in ("cp932", "euc_jp"):
        if _kana(sample, japanese) >= MIN_KANA:
            return japanese
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=LATIN if _is_latin(sample) else NOT_LATIN)
    likely = {name for match in matches for name in (match.encoding, *match.could_be_from_charset)}
    best = matches.best()
    return "cp1252" if best is None or (_is_latin(sample) and "cp1252" in likely) else best.encoding


def _kana(sample: bytes, encoding: str) -> float:
    """The share of kana in the characters beyond ASCII; 0 if the encoding does not fit."""
    beyond = [char for char in sample.decode(encoding, "replace") if char > "\x7f"]
    fits = beyond.count("\ufffd") <= 1  # the sample may end within a character
    return len(_KANA.findall("".join(beyond))) / len(beyond) if beyond and fits else 0.0


def _is_latin(sample: bytes) -> bool:
    """Whether most letters are ASCII's, as in the languages of Western and Central Europe."""
    beyond = sum(byte > 0x7F for byte in sample)
    letters = sum(chr(byte).isalpha() for byte in sample if byte <= 0x7F)
    return beyond < MAX_BEYOND * (letters + beyond)
