"""The 30 procedures of examples/procedures, as PDF files with pages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "examples" / "procedures_as_pdf.py"
PROCEDURES = SCRIPT.with_name("procedures")


def write(folder: Path) -> list[Path]:
    """Write every procedure as a PDF file into a folder, which is made; the paths, by name."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: list[Path] = module.write(folder)
    return written
