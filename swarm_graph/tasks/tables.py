"""Tables: the rows of a .csv or .tsv file, and the delimiter that separates its cells."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from swarm_graph.errors import InputError

DELIMITERS = ("\t", ";", ",", "|")
NO_DELIMITER = "\x1f"
"""A character that separates nothing: each line of a table with one column is one cell."""
NAME_IT = "name the separator with `batch --delimiter`, or in a first line such as sep=;"
_SEP_LINE = re.compile(r'"?sep=([^"\n])"?[,;\t]*(?:\n|$)', re.IGNORECASE)
"""The line that Excel reads; a program that saves the table again adds quotes and empty cells."""


class _Reading(NamedTuple):
    """A table as one delimiter separates it, up to its first problem."""

    header: list[str]
    names: list[str]
    """The header without the empty cells at its end."""
    rows: list[list[str]]
    problem: str


def table_rows(path: Path, text: str, delimiter: str | None = None) -> list[dict[str, str]]:
    """The rows of a table, each by column.

    A first line such as `sep=;` names the delimiter. Otherwise the delimiter of a .csv file is the one that
    gives every row as many cells as the header has. Lines without any text are no rows. Empty cells beyond
    the header are left out, and so are columns without a name and without any text.

    Args:
        path: The file.
        text: Its text.
        delimiter: What separates the cells, whatever the table says.

    Raises:
        InputError: Several delimiters fit or none does, a row has too few or too many cells, or a column has
            no name or the name of another one.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a cell may hold a whole document
    if named := _SEP_LINE.match(text):
        text = "\n" + text[named.end() :]  # an empty line in its place keeps the numbers of lines
        delimiter = delimiter or named[1]
    if delimiter is None and path.suffix.lower() == ".tsv":
        delimiter = "\t"
    reading = _read(text, delimiter) if delimiter else _detected(path, text)
    if reading.problem:
        raise InputError(f"{path}{reading.problem}")
    return _by_column(path, reading)


def _by_column(path: Path, reading: _Reading) -> list[dict[str, str]]:
    names, rows = reading.names, reading.rows
    used = [column for column, name in enumerate(names) if name or any(row[column].strip() for row in rows)]
    wrong = [f"column {column + 1} has no name" for column in used if not names[column]]
    wrong += [f"'{name}' occurs twice" for name, count in Counter(names).items() if name and count > 1]
    if not rows or wrong:
        raise InputError(
            f"{path}: expected a header with a different name for each column, and at least one row below"
            + (f"; {wrong[0]}" if wrong else "")
        )
    return [{names[column]: row[column] for column in used} for row in rows]


# --- reading by a delimiter ----------------------------------------------------------------------


def _read(text: str, delimiter: str) -> _Reading:
    """A table by its delimiter. Quotes may follow a blank (`1, "a, b"`) if the table fits only so."""
    reading = _read_strictly(text, delimiter)
    if reading.problem and f'{delimiter} "' in text:
        lenient = _read_strictly(text, delimiter, skip_blanks=True)
        return reading if lenient.problem else lenient
    return reading


def _read_strictly(text: str, delimiter: str, *, skip_blanks: bool = False) -> _Reading:
    table = _Reading([], [], [], "")
    try:
        for line, cells in _lines(text, delimiter, skip_blanks=skip_blanks):
            if not table.names:
                table = _Reading(cells, _without_empty_end(cells), [], "")
                continue
            width = len(table.names)
            if len(cells) < width or any(cell.strip() for cell in cells[width:]):
                problem = (
                    f": row {len(table.rows) + 1} does not have one cell per column: line {line} has "
                    f"{len(cells)}, the header {width}, separated by {_shown(delimiter)}; "
                    f"quote a cell that holds a separator, or {NAME_IT}"
                )
                return table._replace(problem=problem)
            table.rows.append(cells[:width])
    except ValueError as error:
        return table._replace(problem=str(error))
    return table


def _lines(text: str, delimiter: str, *, skip_blanks: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The number of each row's last line and the row's cells; lines without any text are left out."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True, skipinitialspace=skip_blanks)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f", line {reader.line_num}: not valid CSV: {error}") from error


def _without_empty_end(header: list[str]) -> list[str]:
    names = [cell.strip() for cell in header]
    while not names[-1]:
        names.pop()
    return names


def _shown(delimiter: str) -> str:
    return {"\t": "tabs", NO_DELIMITER: "nothing"}.get(delimiter, f"'{delimiter}'")


# --- finding the delimiter -----------------------------------------------------------------------


def _detected(path: Path, text: str) -> _Reading:
    """A table by the delimiter that fits all of its rows."""
    readings = {delimiter: _read(text, delimiter) for delimiter in DELIMITERS}
    splitting = {name: reading for name, reading in readings.items() if len(reading.header) > 1}
    if not splitting:
        return _one_column(text, readings)
    fitting = {name: reading for name, reading in splitting.items() if not reading.problem}
    if not fitting:
        return max(splitting.values(), key=lambda reading: len(reading.header))
    if len(fitting) == 1:
        return _doubted(path, text, next(iter(fitting)), splitting)
    if (chosen := _best(text, fitting)) is None:
        several = " and ".join(f"'{name}'" for name in fitting)
        raise InputError(f"{path}: {several} each separate it into columns; {NAME_IT}")
    return fitting[chosen]


def _doubted(path: Path, text: str, delimiter: str, splitting: Mapping[str, _Reading]) -> _Reading:
    """A table that one delimiter fits, unless this one may be prose or decimal commas.

    Then another delimiter in header and rows is meant, and one of the rows is faulty.
    """
    rows = _below_header(text)
    if _is_prose(rows, delimiter):
        for name, reading in splitting.items():
            if name != delimiter and not _is_prose(rows, name):
                return reading
    if delimiter == "," and _is_prose(text, ",") and ", " not in rows:
        raise InputError(f"{path}: ',' may separate its columns, or be a decimal comma; {NAME_IT}")
    return splitting[delimiter]


def _best(text: str, fitting: Mapping[str, _Reading]) -> str | None:
    """The delimiter of a table that several fit; None if that is open."""
    if "\t" in fitting:
        return "\t"  # it stands in no text
    others = {name: reading for name, reading in fitting.items() if name != "|"}
    if "|" in fitting:
        if all(_is_prose(text, name) for name in others):
            return "|"
        bars_are_more = len(fitting["|"].names) > max(len(reading.names) for reading in others.values())
        if bars_are_more or all(_is_prose(_below_header(text), name) for name in others):
            return None
    return next(iter(others)) if len(others) == 1 else _semicolon_or_comma(text, others)


def _one_column(text: str, readings: Mapping[str, _Reading]) -> _Reading:
    """A table whose header holds no delimiter: one column, unless its rows show that the header is short.

    A title above the header, which is then a row, is such a short header.
    """
    for delimiter in ("\t", ";", ","):
        reading = readings[delimiter]
        if reading.problem and not _is_prose(text, delimiter):
            with suppress(ValueError):
                widths = [len(cells) for _, cells in islice(_lines(text, delimiter), 1, None)]
                are_rows = len(widths) > 1 or delimiter == ","  # one cell may be a list, or a URL with a ';'
                if are_rows and len({*widths}) == 1 and widths[0] > 1:
                    return reading
    return _read(text, NO_DELIMITER)


def _semicolon_or_comma(text: str, fitting: Mapping[str, _Reading]) -> str | None:
    """The delimiter of a table that both fit; None if that is open."""
    if certain := _separating(text):
        return certain
    semicolons, commas = (len(fitting[name].names) for name in (";", ","))
    more = {True: ";", False: ","}[semicolons > commas] if semicolons != commas else None
    votes = {_separating(_below_header(text)), more} - {None}
    return votes.pop() if len(votes) == 1 else None


def _separating(text: str) -> str | None:
    """Semicolon or comma, where the other one stands only in prose or numbers."""
    separating = [name for name in (";", ",") if not _is_prose(text, name)]
    return separating[0] if len(separating) == 1 else None


def _below_header(text: str) -> str:
    return text.lstrip("\n").partition("\n")[2]


def _is_prose(text: str, delimiter: str) -> bool:
    """Whether each unquoted delimiter is followed by a blank, as in prose, or is a decimal comma."""
    unquoted = re.sub(r'"[^"]*"', '""', text)
    outside_numbers = r"(?:(?<!\d,)|(?!\d))" if delimiter == "," else ""
    return not re.search(rf"{re.escape(delimiter)}(?![ \xa0]){outside_numbers}", unquoted)
