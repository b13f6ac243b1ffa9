"""`swarm-graph inputs`, and documents as `--input` of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import warm
from documents import paragraph, pdf, word

from swarm_graph.models.context_window import estimated_tokens

SIMULATED = ("--simulate", "--workflow", "review_only")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A procedure of two pages, one of them scanned; a Word file; and one that is encrypted."""
    import pypdf

    pdf(tmp_path / "p.pdf", [["Close V-1."], []], picture_on=[2])
    word(tmp_path / "p.docx", paragraph("Open V-2."))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "p.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "shut.pdf")
    return tmp_path


def test_inputs_shows_kinds_sizes_and_notes(folder: Path) -> None:
    done = warm.run("inputs", "p.pdf", "p.docx", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.decode() == (
        "file    kind  size     characters  tokens, about  parts\n"
        "p.pdf   PDF   2 pages  31          16             1\n"
        "p.docx  Word           10          5              1\n\n"
        "p.pdf: page 2: only pictures, which are not read; OCR would read them\n"
    )


def test_a_file_that_fails_is_named_and_the_others_are_shown(folder: Path) -> None:
    done = warm.run("inputs", "shut.pdf", "p.docx", "none.pdf", cwd=folder)
    assert done.returncode == 2
    assert "p.docx" in done.stdout.decode()
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("swarm-graph: 'shut.pdf' is encrypted with a password; save it without one")
    assert second == "swarm-graph: cannot read the input file 'none.pdf': No such file or directory"


def test_inputs_prints_the_text(folder: Path) -> None:
    assert warm.run("inputs", "p.docx", "--text", cwd=folder).stdout == b"Open V-2.\n"
    both = warm.run("inputs", "p.docx", "p.pdf", "--text", cwd=folder).stdout.decode()
    assert both == "==> p.docx <==\nOpen V-2.\n\n==> p.pdf <==\n[page 1]\n\nClose V-1.\n\n[page 2]\n"


def test_inputs_as_json(folder: Path) -> None:
    done = warm.run("inputs", "p.pdf", "shut.pdf", "--json", "--text", cwd=folder)
    first, second = json.loads(done.stdout)
    assert (first["kind"], first["pages"], first["estimated_tokens"]) == ("PDF", 2, 16)
    assert first["text"].startswith("[page 1]\n\nClose V-1.")
    assert first["notes"] == ["page 2: only pictures, which are not read; OCR would read them"]
    assert second["file"] == "shut.pdf"
    assert "is encrypted" in second["error"]


def test_a_long_document_is_shown_in_its_parts(folder: Path) -> None:
    pdf(folder / "long.pdf", [["Close the valve and report it."] * 20] * 4)
    done = warm.run("inputs", "long.pdf", "--split", "500", cwd=folder)
    lines = done.stdout.decode().splitlines()
    assert lines[1].split()[-1] == "2"
    assert lines[3].startswith("long.pdf: part 1: p. 1")
    assert lines[4].startswith("long.pdf: part 2: p. 3")


def test_foreign_text_does_not_reach_the_terminal_as_it_is(folder: Path) -> None:
    (folder / "t.html").write_text("<title>\x1b[31mred</title><p>a\x1b]0;owned\x07b</p>")
    done = warm.run("inputs", "t.html", "--text", cwd=folder)
    assert done.stdout == b"a]0;ownedb\n"
    assert b"\x1b" not in warm.run("inputs", "t.html", cwd=folder).stdout


def test_the_limits_of_the_configuration_hold(folder: Path) -> None:
    (folder / "config.json").write_text('{"documents": {"max_pages": 1}}')
    done = warm.run("inputs", "p.pdf", cwd=folder)
    assert done.returncode == 2
    assert b"has more than 1 pages, the limit documents.max_pages" in done.stderr


def test_a_run_sends_the_text_of_documents_and_says_what_is_missing(folder: Path) -> None:
    done = warm.run(
        "run", "Review", *SIMULATED, "--input", "p.pdf", "--input", "p.docx", "--session", "s", cwd=folder
    )
    assert done.returncode == 0
    assert b"note: p.pdf: page 2: only pictures, which are not read; OCR would read them\n" in done.stderr
    asked = warm.run("log", "s", "--last", "--full", cwd=folder).stdout.decode()
    assert "path=p.pdf" in asked
    assert "[page 1]" in asked
    assert "Close V-1." in asked
    assert "Open V-2." in asked


def test_a_run_with_a_file_that_fails_asks_nothing(folder: Path) -> None:
    done = warm.run("run", "Review", *SIMULATED, "--input", "shut.pdf", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(b"swarm-graph: 'shut.pdf' is encrypted with a password")
    assert not (folder / ".swarm").exists()


def test_html_is_code_where_code_is_reviewed_and_a_page_in_documents(folder: Path) -> None:
    (folder / "p.html").write_text("<p>Close <b>V-1</b>.</p>\n")
    for kind, shown in (("code", "<p>Close <b>V-1</b>.</p>"), ("document", "Close V-1.")):
        done = warm.run(
            "run", "x", *SIMULATED, "--kind", kind, "--input", "p.html", "--session", kind, cwd=folder
        )
        assert done.returncode == 0, done.stderr
        assert f"    {shown}\n" in warm.run("log", kind, "--last", "--full", cwd=folder).stdout.decode()


def test_tables_of_numbers_count_more_tokens_than_prose() -> None:
    """SmolLM2 takes 0.29 tokens per byte of a manual, 0.37 of a procedure, and 0.87 of a table of numbers."""
    prose, table = "Close the valve and report it. " * 40, "| 12.345 | 678.901 |\n" * 60
    assert 0.25 < estimated_tokens(prose) / len(prose) < 0.4
    assert 0.75 < estimated_tokens(table) / len(table) < 1
