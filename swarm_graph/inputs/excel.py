"""Excel files (.xlsx, .xlsm): the values of each sheet as a table with its row numbers and column letters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.office_file import OFFICE, ZIP_ERRORS, OfficeFile, note_extras
from swarm_graph.inputs.text_writer import TextWriter, clean, listed

if TYPE_CHECKING:
    from openpyxl import Workbook

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}sheet"
DIGITS = 15
"""Digits that Excel keeps of a number."""
_MERGED = re.compile(rb"""<(?:\w+:)?mergeCell\b[^>]*?\sref=["']([A-Z0-9:]{1,20})["']""")
_HIDDEN = re.compile(rb"""<(?:\w+:)?(row|col)\b[^>]*?\shidden=["'](?:1|true)["']""")


def read(file: BinaryIO, writer: TextWriter) -> None:
    """Write the sheets in their order, hidden ones too.

    Raises:
        Unreadable: The file is encrypted or broken, or has too many cells.
    """
    office = OfficeFile(file, writer.limits)
    office.check_declarations()
    note_extras(office, writer)
    if any("comments" in name.lower() for name in office.names):
        writer.note("comments on cells are left out")
    try:
        _Sheets(office, _workbook(file, data_only=True), _workbook(file, data_only=False), writer).read()
    except (*ZIP_ERRORS, AttributeError, LookupError, SyntaxError, TypeError) as error:
        raise Unreadable(
            f"is broken ({clean(str(error))[:100]}); open it in Excel and save it again"
        ) from error


def _workbook(file: BinaryIO, *, data_only: bool) -> Workbook:
    """A workbook whose rows are read one after the other, with values or with formulas."""
    import openpyxl

    file.seek(0)
    with warnings.catch_warnings(action="ignore"):  # of parts that it does not know
        return openpyxl.load_workbook(file, read_only=True, data_only=data_only, keep_links=False)


class _Sheets:
    """Writes the sheets of a workbook, which is open twice: with its values, and with its formulas."""

    def __init__(self, office: OfficeFile, values: Workbook, formulas: Workbook, writer: TextWriter) -> None:
        self.office, self.values, self.formulas, self.writer = office, values, formulas, writer
        self.cells = 0
        self.uncached: list[str] = []

    def read(self) -> None:
        """Write all sheets, and say what was assumed."""
        parts = self._parts()
        hidden, empty = [], []
        for sheet, formulas in zip(self.values.worksheets, self.formulas.worksheets, strict=True):
            self.writer.mark("sheet", sheet.title)
            rows = self._rows(sheet, formulas)
            if rows:
                self.writer.table(_with_letters(rows))
            else:
                empty.append(sheet.title)
            self._note_layout(sheet.title, parts.get(sheet.title, ""))
            if sheet.sheet_state != "visible":
                hidden.append(sheet.title)
        if hidden:
            self.writer.note(f"hidden sheets are read, too: {listed(hidden)}")
        if empty:
            self.writer.note(f"empty sheets: {listed(empty)}")
        if self.uncached:
            self.writer.note(
                f"formulas without a stored value are shown as they are: {listed(self.uncached)}; "
                "open the file in Excel and save it to store them"
            )
        if self.values.chartsheets:
            self.writer.note(
                f"chart sheets are left out: {listed([c.title for c in self.values.chartsheets])}"
            )

    def _parts(self) -> dict[str, str]:
        """The part of each sheet by its title."""
        main = self.office.main_part()
        relations = self.office.relations(main)
        sheets = {
            item.get("name", ""): item.get(f"{OFFICE}id", "") for item in self.office.xml(main).iter(SHEET)
        }
        return {title: relations[id_].target for title, id_ in sheets.items() if id_ in relations}

    def _rows(self, sheet: Any, formulas: Any) -> dict[int, dict[int, str]]:
        """The cells with content: row number to column number to text."""
        rows: dict[int, dict[int, str]] = {}
        sheet.reset_dimensions()
        formulas.reset_dimensions()
        with warnings.catch_warnings(action="ignore"):  # of dates out of range, which it turns into #VALUE!
            for row, formula_row in zip(sheet.iter_rows(), formulas.iter_rows(), strict=True):
                cells = dict(self._cells(sheet.title, row, formula_row))
                self.cells += len(cells)
                self.writer.limits.check_count(self.cells, "cells", "max_cells")
                if cells:
                    rows[next(cell.row for cell in row if hasattr(cell, "row"))] = cells
        return rows

    def _cells(self, title: str, row: Any, formula_row: Any) -> Iterator[tuple[int, str]]:
        for cell, formula in zip(row, formula_row, strict=True):
            if cell.value is not None:
                yield cell.column, _shown(cell.value, cell.number_format)
            elif formula.data_type == "f":
                self.uncached.append(f"{title}!{formula.coordinate}")
                yield formula.column, str(getattr(formula.value, "text", formula.value))

    def _note_layout(self, title: str, part: str) -> None:
        """Say where the table differs from what Excel shows: merged cells, hidden rows and columns."""
        data = self.office.read(part) if part in self.office.names else b""
        if merged := [match.decode() for match in _MERGED.findall(data)]:
            self.writer.note(
                f"sheet {title}: merged cells show their value in the first cell: {listed(merged)}"
            )
        if _HIDDEN.search(data):
            self.writer.note(f"sheet {title}: hidden rows and columns are read, too")


def _with_letters(rows: dict[int, dict[int, str]]) -> Iterator[list[str]]:
    """A table with the letters of its columns above and the numbers of its rows at the left."""
    from openpyxl.utils import get_column_letter

    columns = sorted({column for cells in rows.values() for column in cells})
    yield ["", *map(get_column_letter, columns)]
    for number, cells in rows.items():
        yield [str(number), *(cells.get(column, "") for column in columns)]


def _shown(value: Any, number_format: str) -> str:
    """A value as text: dates as ISO 8601, percentages with their sign."""
    match value:
        case bool():
            return str(value).upper()
        case datetime():
            if value.time() == time() and "h" not in number_format.lower():
                return value.date().isoformat()
            return value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case int() | float() if "%" in number_format:
            return f"{value * 100:.{DIGITS}g}%"
        case float():
            return f"{value:.{DIGITS}g}"
    return str(value)
