"""The 30 procedures of an invented plant as PDF files with pages.

    python examples/procedures_as_pdf.py [FOLDER]

`examples/procedures` has them as Markdown. They share words, tags and structure, as a plant's procedures do.
Needs reportlab.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from reportlab.lib.pagesizes import A5, landscape
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

PROCEDURES = Path(__file__).with_name("procedures")
SIZE, STEP, MARGIN = 13, 20, 48
WIDTH, HEIGHT = landscape(A5)


def write(folder: Path) -> list[Path]:
    """Write every procedure as a PDF file into a folder, which is made; the paths, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(source, folder / f"{source.stem}.pdf") for source in sorted(PROCEDURES.glob("*.md"))]


def _write(source: Path, target: Path) -> Path:
    lines = list(_lines(source.read_text(encoding="utf-8")))
    room = int((HEIGHT - 2 * MARGIN) / STEP) - 1
    pages = [lines[start : start + room] for start in range(0, len(lines), room)]
    canvas = Canvas(str(target), pagesize=(WIDTH, HEIGHT), invariant=True)
    for number, page in enumerate(pages, 1):
        canvas.setFont("Helvetica", SIZE)
        canvas.drawRightString(WIDTH - MARGIN, HEIGHT - 30, f"{source.stem}  page {number} of {len(pages)}")
        for row, (font, line) in enumerate(page, 1):
            canvas.setFont(font, SIZE)
            canvas.drawString(MARGIN, HEIGHT - MARGIN - STEP * row, line)
        canvas.showPage()
    canvas.save()
    return target


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """The lines of a procedure, as wide as the page, each with its font."""
    for block in re.split(r"\n\n|\n(?=\d\. |- |\|)", text.strip()):
        font = "Helvetica-Bold" if block.startswith("#") else "Helvetica"
        plain = " ".join(block.lstrip("# ").split())
        for line in simpleSplit(plain, font, SIZE, WIDTH - 2 * MARGIN):
            yield font, line


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "procedures")):
        print(path)
