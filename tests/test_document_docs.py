"""docs/document-formats.md: its commands and its Python print what it shows."""

from __future__ import annotations

from pathlib import Path

import pypdf
from documents import paragraph, pdf, word
from pages import Page
from support import write_config


def test_its_commands_and_its_python_print_what_it_shows(tmp_path: Path) -> None:
    lines = ["P-7 Level switch LS-101", "1. Close valve V-1.", "2. Wait until LS-101 shows LOW."]
    pdf(tmp_path / "P-7.pdf", [lines, []], picture_on=[2])
    word(tmp_path / "P-8.docx", paragraph("Open valve V-2.") + "<w:p><w:del/></w:p>")
    writer = pypdf.PdfWriter(clone_from=tmp_path / "P-7.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "P-9.pdf")
    write_config(tmp_path)
    Page("document-formats.md").follow(tmp_path)
