import pytest
from wrapping import wrap


def test_words():
    assert wrap("the quick brown fox", 9) == "the quick\nbrown fox"
    assert wrap("  a\n b ", 9) == "a b"
    assert wrap("", 9) == ""


def test_paragraphs():
    assert wrap("one\n\n\n\ntwo", 9) == "one\n\ntwo"


def test_long_words():
    assert wrap("go 0123456789", 5) == "go\n01234\n56789"


def test_items():
    assert wrap("- one two three", 9) == "- one two\n  three"


def test_width():
    with pytest.raises(ValueError):
        wrap("a", 3)
