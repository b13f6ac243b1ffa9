"""Files of a repository as text and back: what an edit does not touch stays byte for byte."""

import codecs

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from swarm_graph.errors import RepositoryError
from swarm_graph.repository.source_text import decode, encode

LINES = st.lists(
    st.tuples(st.text("ab é→", max_size=4), st.sampled_from(["\n", "\r\n", "\r"])), max_size=12
).map(lambda lines: "".join(line + end for line, end in lines))
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
}


@seed(1)
@settings(max_examples=300, deadline=None, database=None)
@given(LINES, st.text("ab\n", max_size=3), st.sampled_from(sorted(ENCODINGS)))
def test_an_unchanged_text_gives_the_same_bytes(text: str, last: str, encoding: str) -> None:
    data = ENCODINGS[encoding] + (text + last).encode(encoding)
    decoded = decode(data)
    assert decoded is not None
    assert "\r" not in decoded
    assert encode(decoded, data) == data


@seed(2)
@settings(max_examples=500, deadline=None, database=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_binary_or_come_back(data: bytes) -> None:
    decoded = decode(data)
    assert decoded is None or encode(decoded, data) == data


@seed(3)
@settings(max_examples=300, deadline=None, database=None)
@given(LINES, LINES)
def test_any_new_text_is_read_back(old: str, new: str) -> None:
    wanted = decode(new.encode())
    assert wanted is not None
    written = decode(encode(wanted, old.encode()))
    assert written is not None
    assert written.removesuffix("\n") == wanted.removesuffix("\n")


def test_each_line_keeps_its_line_end() -> None:
    original = b"one\r\ntwo\nthree\rfour\r\n"
    assert encode("one\nnew\ntwo\nthree\nFOUR\n", original) == b"one\r\nnew\r\ntwo\nthree\rFOUR\r"
    assert encode("two\nthree\n", original) == b"two\nthree\r"
    assert encode("a\nb\n", b"x\r\n") == b"a\r\nb\r\n"


def test_a_last_newline_stays_missing_only_while_the_last_line_stays() -> None:
    assert encode("new\nlast\n", b"old\nlast") == b"new\nlast"
    assert encode("old\nother\n", b"old\nlast") == b"old\nother\n"
    assert encode("old\nlast", b"old\nlast\n") == b"old\nlast\n"
    assert encode("\n", b"a\n") == b"\n"
    assert encode("", b"a\n") == b""


def test_a_new_file_is_utf_8() -> None:
    assert encode("→\r\nb", None) == encode("→\nb", b"") == "→\nb".encode()


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0", b"a\0b", b"\xff\xfea", b"\x7fELF\x02\x01\x01\0", b"\x01"]
)
def test_binary_files_have_no_text(data: bytes) -> None:
    assert decode(data) is None


def test_a_text_in_an_older_encoding_is_read_and_stays_in_it() -> None:
    text = "Größe der Pumpe: über 5 m³, geprüft durch Jürgen Müller\n" * 5
    data = text.encode("cp1252")
    assert decode(data) == text
    assert encode(text + "ä\n", data) == data + b"\xe4\n"
    russian = "Проверка насоса перед пуском и после остановки\n" * 5
    assert decode(russian.encode("cp1251")) == russian


def test_a_character_that_the_encoding_lacks_is_refused() -> None:
    with pytest.raises(RepositoryError, match=r"holds '\\u2192', which the file's encoding, .* lacks"):
        encode("→", "Größe über alles, für Jürgen\n".encode("cp1252") * 5)


def test_a_large_file_with_mixed_line_ends_takes_bounded_time() -> None:
    old = b"".join(b"%d\r\n" % n if n % 2 else b"%d\n" % n for n in range(20_000))
    new = "".join(f"x{n}\n" for n in range(20_000))
    assert decode(encode(new, old)) == new
