"""Tables: the delimiter fits all rows, no cell changes or moves, and each doubt is one line."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm_graph.errors import InputError
from swarm_graph.tasks.rows import rows_of
from swarm_graph.tasks.tables import table_rows

DATA = Path(__file__).parent / "data" / "jobs"
BAR = {"Tag": "P-101", "Pressure, bar": "1,5"}
TAGS = [{"a": "1", "b": "2"}]
READ: dict[str, tuple[str, list[dict[str, str]]]] = {
    "a comma in the header": ("Tag;Pressure, bar\nP-101;1,5\n", [BAR]),
    "a quoted comma in the header": ('Tag;"Pressure, bar"\nP-101;1,5\n', [BAR]),
    "a comma without a blank": ("Tag;P,bar\nP-101;1,5\n", [{"Tag": "P-101", "P,bar": "1,5"}]),
    "decimal commas beside three columns": (
        "Tag;Name;P,bar\nP-1;Pump;1,5\n",
        [{"Tag": "P-1", "Name": "Pump", "P,bar": "1,5"}],
    ),
    "thousands and decimals": ("Day;Value\n1.2.2020;1.234,5\n", [{"Day": "1.2.2020", "Value": "1.234,5"}]),
    "prose in a semicolon table": ("id;a, b\nA;x, y\n", [{"id": "A", "a, b": "x, y"}]),
    "prose in a comma table": ("id,a; b\nA,x; y\n", [{"id": "A", "a; b": "x; y"}]),
    "semicolons inside a wider comma table": (
        "id,title;subtitle,year\n1,foo;bar,2000\n",
        [{"id": "1", "title;subtitle": "foo;bar", "year": "2000"}],
    ),
    "tabs beside commas": ("id\ta, b\n1\t2, 3\n", [{"id": "1", "a, b": "2, 3"}]),
    "tabs that only align": ("a,\tb\n1,2\n3,4\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
    "bars": ("a|b\n1|2\n", TAGS),
    "bars beside prose": ("Tag|Pressure, bar\nP-1|1,5\n", [{"Tag": "P-1", "Pressure, bar": "1,5"}]),
    "bars in a semicolon table": ("a;b|c\n1;2|3\n", [{"a": "1", "b|c": "2|3"}]),
    "delimiters in quotes": ('a,b\n"1,2;3",4\n', [{"a": "1,2;3", "b": "4"}]),
    "a newline in quotes": ('a;b\n1;"x\ny;z"\n', [{"a": "1", "b": "x\ny;z"}]),
    "quotes in quotes": ('a;b\n1;"say ""no"""\n', [{"a": "1", "b": 'say "no"'}]),
    "a quote after a blank": ('a, b\n"x", "y, z"\n1, 2\n', [{"a": "x", "b": "y, z"}, {"a": "1", "b": "2"}]),
    "an inch": ('size\n5" pipe\n', [{"size": '5" pipe'}]),
    "one column": ("tag\nP-1\n", [{"tag": "P-1"}]),
    "one column of prose": ("text\nHello, you\na; b|c\n", [{"text": "Hello, you"}, {"text": "a; b|c"}]),
    "one column of decimals": ("Pressure\n1,5\n2,5\n", [{"Pressure": "1,5"}, {"Pressure": "2,5"}]),
    "one column of other lists": ("list\n1;2\n3;4;5\n", [{"list": "1;2"}, {"list": "3;4;5"}]),
    "one column with one URL": ("url\nhttp://a/?x=1;y=2\n", [{"url": "http://a/?x=1;y=2"}]),
    "two columns with blanks": ("x, y\n1, 5\n", [{"x": "1", "y": " 5"}]),
    "one column with empty ends": ("tag;\nP-1;\n", [{"tag": "P-1"}]),
    "empty ends everywhere": ("a;b;;\n1;2;;\n", TAGS),
    "empty ends below": ("a;b\n1;2;\n", TAGS),
    "an unused column": ("a;;b\n1;;2\n", TAGS),
    "blank lines": ("\n\na,b\n\n   \n1,2\n,\n\n", TAGS),
    "a line that names the delimiter": ("sep=|\na|b\n1|2\n", TAGS),
    "such a line in quotes": ('"sep=;",\na;b\n1;2\n', TAGS),
    "such a line with a tab": ("SEP=\t\na\tb\n1\t2\n", TAGS),
    "such a line against the look": ("sep=;\na,x;b\n1;2\n", [{"a,x": "1", "b": "2"}]),
    "an unusual end of lines": ("a,b\r1,2\r", TAGS),
    "no end of the last line": ("a,b\r\n1,2", TAGS),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_by_its_own_delimiter(case: str, encoding: str, tmp_path: Path) -> None:
    text, rows = READ[case]
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert rows_of(tmp_path / "t.csv") == rows


def test_commas_in_a_table_with_semicolons_are_text() -> None:
    assert rows_of(DATA / "semicolon.csv") == [BAR]


def test_a_tsv_file_has_tabs_and_an_option_comes_first(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a,x\tb\n1,0\t2\n")
    assert rows_of(tmp_path / "t.tsv") == [{"a,x": "1,0", "b": "2"}]
    (tmp_path / "t.csv").write_text("sep=;\na;b,c\nx;y,z\n")
    assert rows_of(tmp_path / "t.csv", ",") == [{"a;b": "x;y", "c": "z"}]
    (tmp_path / "t.csv").write_text("a:b\n1:2\n")
    assert rows_of(tmp_path / "t.csv", ":") == TAGS


REFUSED = {
    "both fit": ("a;b,c\nx;y,z\n", "';' and ',' each separate it into columns; name the separator with"),
    "both fit numbers": ("P,bar;T,C\n1,5;2,5\n", "';' and ',' each separate"),
    "bars and commas": ("id,a|b|c\n1,x|y|z\n", "',' and '|' each separate it into columns"),
    "one column or two": ("Pressure, bar\n1,5\n2,5\n", "',' may separate its columns, or be a decimal comma"),
    "a short row": ("a,b\n1,2\n\n3\n", "row 2 does not have one cell per column: line 4 has 1, the header 2"),
    "a long row": (
        "a;b\n1;2\n3;4;5\n",
        "row 2 does not have one cell per column: line 3 has 3, the header 2",
    ),
    "a row below a cell of two lines": (
        'a;b\n"1\n1";2\n3\n',
        "row 2 does not have one cell per column: line 4",
    ),
    "a short header": ("a\n1,x\n3,y\n", "row 1 does not have one cell per column"),
    "a title": ("Pumps of unit 3\nTag;P,bar\nP1;1,5\n", "line 2 has 2, the header 1, separated by ';'"),
    "a title above tabs": ("# 2026\nTag\tP\nP1\t1\n", "line 2 has 2, the header 1, separated by tabs"),
    "a long row beside decimal commas": (
        "Tag;P,bar\nP1;1,5\nP2;2,5;x\n",
        "line 3 has 3, the header 2, separated by ';'",
    ),
    "a long row in tabs beside decimal commas": (
        "Tag\tP, bar\nP1\t1,5\nP2\t2,5\tx\n",
        "line 3 has 3, the header 2, separated by tabs",
    ),
    "a short line in tabs": ("a\tb\n1\n", "separated by tabs"),
    "a quote that never ends": ('a,b\n"1,2\n', "line 2: not valid CSV: unexpected end of data"),
    "text after a quote": ('a,b\n"1"x,2\n', "not valid CSV"),
    "a name twice": (
        "a,b, a\n1,2,3\n",
        "a different name for each column, and at least one row below; 'a' occurs",
    ),
    "no name": ("a,,b\n1,x,2\n", "column 2 has no name"),
    "no row": ("a,b\n", "at least one row below"),
    "nothing": ("", "at least one row below"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_doubtful_table_is_refused_with_one_line(case: str) -> None:
    text, expected = REFUSED[case]
    with pytest.raises(InputError) as refusal:
        table_rows(Path("t.csv"), text)
    assert expected in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["Größe,b\n1,2\n".encode("cp1252"), "a,b\n1,2\n".encode("utf-16-le")])
def test_another_encoding_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"is not UTF-8 text.*; save it as UTF-8"):
        rows_of(tmp_path / "t.csv")


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from(',;|"\n'), max_size=12)


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_what_a_program_saved_with_quotes_comes_back(rows: list[list[str]], delimiter: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["tag", "note", "size"], *rows])
    expected = [
        dict(zip(("tag", "note", "size"), row, strict=True)) for row in rows if any(map(str.strip, row))
    ]
    try:
        assert table_rows(Path("t.csv"), text.getvalue()) == expected
    except InputError as error:
        assert not expected, error  # noqa: PT017


def growth(read: Callable[[int], object]) -> float:
    """How much more processor time a reader takes for ten times the text; the least of three tries counts."""

    def seconds(size: int) -> float:
        tries = []
        for _ in range(3):
            start = time.process_time()
            with suppress(InputError):
                read(size)
            tries.append(time.process_time() - start)
        return min(tries)

    return seconds(200_000) / max(seconds(20_000), 0.001)


HOSTILE: dict[str, Callable[[int], str]] = {
    "quotes": lambda size: "a,b\n" + '"' * size,
    "commas": lambda size: "a;b,c\n" + ", " * (size // 2),
    "columns": lambda size: ",".join(f"c{number}" for number in range(size // 8)) + "\n" + "," * (size // 8),
    "equal columns": lambda size: "c," * (size // 2) + "\n",
    "blank lines": lambda size: "a,b\n" + "\n" * size,
    "rows": lambda size: "a;b\n" + "1,2;3\n" * (size // 6),
    "a long first line": lambda size: "sep=;" + "," * size + "x\n1\n",
}


@pytest.mark.parametrize("shape", HOSTILE)
def test_a_table_takes_time_in_proportion_to_its_length(shape: str) -> None:
    assert growth(lambda size: table_rows(Path("t.csv"), HOSTILE[shape](size))) < 40
