import pytest
from wrapping import wrap


def test_nothing():
    assert wrap("", 10) == ""
    assert wrap(" \n \n\t\n", 10) == ""


def test_lines_take_what_fits():
    assert wrap("close the valve before you start", 10) == "close the\nvalve\nbefore you\nstart"
    assert wrap("aa bb cc", 5) == "aa bb\ncc"


def test_blanks_and_breaks_are_one_blank():
    assert wrap("  one \t two\nthree  ", 20) == "one two three"


def test_paragraphs():
    assert wrap("\n\na b\n\n \n\nc\nd\n", 20) == "a b\n\nc d"


def test_long_words_are_cut():
    assert wrap("abcdefghij", 4) == "abcd\nefgh\nij"
    assert wrap("no abcdefghij k lm", 4) == "no\nabcd\nefgh\nij k\nlm"
    assert wrap("abcdefgh i", 4) == "abcd\nefgh\ni"


def test_items():
    assert wrap("- open the drain slowly", 12) == "- open the\n  drain\n  slowly"
    assert wrap("- a\n  b", 20) == "- a b"


def test_long_words_in_items():
    assert wrap("- abcdefghijkl", 6) == "- abcd\n  efgh\n  ijkl"
    assert wrap("- a bcdefgh", 6) == "- a\n  bcde\n  fgh"


def test_a_dash_inside_is_no_item():
    assert wrap("a - b c d e", 5) == "a - b\nc d e"
    assert wrap("-a b c d e f", 6) == "-a b c\nd e f"


def test_items_and_paragraphs():
    text = "Intro to it\n\n- first item here\n\n- second one"
    assert wrap(text, 9) == "Intro to\nit\n\n- first\n  item\n  here\n\n- second\n  one"


def test_no_line_is_too_long():
    text = "Purge the line with nitrogen until the oxygen content is below 0.5 %. " * 5
    for width in range(4, 30):
        lines = wrap(text, width).split("\n")
        assert all(0 < len(line) <= width and line == line.rstrip() for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("width", [3, 0, -5])
def test_bad_width(width):
    with pytest.raises(ValueError):
        wrap("a", width)
