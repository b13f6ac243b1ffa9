"""Parts of long documents: nothing is lost, every part fits, and cuts are where people would make them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from swarm_graph.inputs.parts import CONTINUED, MAX_CONTEXT, REPEATED, marks, split

LIMITS = (1, 7, 40, 120, 400, 2000)


def random_document(seed: int) -> str:
    """A document of pages, sheets, headings, tables, code, long words and odd white space."""
    choice = random.Random(seed)
    pieces: tuple[Callable[[int], str], ...] = (
        lambda number: f"[page {number}]\n\n",
        lambda number: f"[sheet Pumps {number}]\n",
        lambda number: f"{'#' * choice.randint(1, 6)} {number}.1 Title\n\n",
        lambda _: "| tag | bar |\n|---|---|\n" + "| P-101 | 4.5 |\n" * choice.randint(0, 30),
        lambda _: "```\n# no heading\n[page 99]\n```\n",
        lambda _: "w" * choice.randint(1, 300) + choice.choice(["\n", " ", "\t", "\r\n", "\u2028", "\f"]),
        lambda _: choice.choice(["\n\n\n", " \n", " ", ""]),
        lambda _: " ".join(["Ventil"] * choice.randint(1, 80)) + choice.choice(["\n", "\n\n", " "]),
        lambda _: "阀门" * choice.randint(1, 60) + "。\n",
    )
    return "".join(choice.choice(pieces)(number) for number in range(choice.randint(0, 50)))


@pytest.mark.parametrize("block", range(4))
def test_parts_joined_are_the_text_and_each_fits(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        text = random_document(seed)
        for limit in LIMITS:
            parts = split(text, limit)
            assert "".join(part.text for part in parts) == text, seed
            assert all(len(part.shown) <= limit for part in parts), seed
            assert all(part.place for part in parts), seed
            assert all(part.text for part in parts) or not text, seed
            _check_words(text, [part.text for part in parts], limit)


def _check_words(text: str, parts: list[str], limit: int) -> None:
    """No word is cut that would fit into a part."""
    offset = 0
    for part in parts[:-1]:
        offset += len(part)
        if text[offset - 1].isspace() or text[offset].isspace():
            continue
        around = text[max(offset - limit, 0) : offset + limit]
        middle = min(offset, limit)
        word = around[:middle].split()[-1] + around[middle:].split()[0]
        assert len(word) > limit * (1 - MAX_CONTEXT) - 1


def test_a_text_that_fits_is_one_part() -> None:
    assert [(part.shown, part.place) for part in split("Close V-3.\nOpen V-4.\n", 100)] == [
        ("Close V-3.\nOpen V-4.\n", "lines 1-2")
    ]
    assert [part.text for part in split("", 10)] == [""]


def test_pages_stay_whole() -> None:
    text = "".join(f"[page {number}]\n\n{'Open the valve. ' * 10}\n\n" for number in range(1, 8))

    parts = split(text, 420)

    assert [part.place for part in parts] == ["p. 1-2", "p. 3-4", "p. 5-6", "p. 7"]
    assert all(part.text.startswith("[page ") and not part.context for part in parts)


def test_a_part_within_a_page_repeats_the_page_its_headings_and_the_header_of_a_table() -> None:
    rows = "".join(f"| P-{number} | {number / 10} |\n" for number in range(100, 160))
    text = (
        f"# 4 Pumps\n\n[page 4]\n\n## 4.2 Set points\n\nAll in bar.\n\n| Tag | Set point |\n|---|---|\n{rows}"
    )

    parts = split(text, 420)

    assert len(parts) > 2
    above = "[page 4]\n# 4 Pumps\n## 4.2 Set points\n| Tag | Set point |\n|---|---|\n"
    for part in parts[1:]:
        assert part.context == f"{REPEATED}{above}{CONTINUED}"
        assert part.text.startswith("| P-")
        assert part.place == "p. 4"


def test_sections_stay_whole_and_are_named_by_number_or_title() -> None:
    body = "Drain the vessel before you open it. " * 4
    sections = ("# Procedure", "## 4.1 Start", "### 4.1.1 Checks", "## 4.2 Stop", "## Annex")
    text = "".join(f"{heading}\n\n{body}\n\n" for heading in sections)

    parts = split(text, 380)

    assert [part.place for part in parts] == [
        "section Procedure",
        "sections 4.1-4.1.1",
        "sections 4.2 to Annex",
    ]
    assert parts[1].context == f"{REPEATED}# Procedure\n{CONTINUED}"


def test_headings_of_a_sheet_do_not_hold_on_the_next() -> None:
    text = "[sheet Pumps]\n# Old\n" + "x y\n" * 30 + "[sheet Valves]\n" + "z\n" * 300

    parts = split(text, 200)

    assert [part.place for part in parts][:2] == ["sheet Pumps", "sheet Valves"]
    assert parts[2].context == f"{REPEATED}[sheet Valves]\n{CONTINUED}"


def test_a_heading_stays_with_its_first_paragraph() -> None:
    text = "a " * 60 + "\n\n## Start\n\n" + "b " * 60 + "\n\n" + "c " * 100

    assert not any(part.text.rstrip().endswith("## Start") for part in split(text, 140))


def test_marks_in_code_are_text() -> None:
    text = "```\n[page 99]\n# no heading\n```\n" + "word " * 100

    assert {part.place[:4] for part in split(text, 200)} == {"line"}


def test_marks_by_kind() -> None:
    assert marks("[page 1]\nx\n[page 2]\n[sheet A b]\n see [page 3]\n") == {
        "page": ["1", "2"],
        "sheet": ["A b"],
    }


def test_a_long_document_is_cut_in_linear_time() -> None:
    text = "".join(random_document(seed) for seed in range(400))

    parts = split(text, 4000)

    assert "".join(part.text for part in parts) == text
    assert len(parts) < 2 * len(text) / 4000


def test_pages_apart_begin_a_part_each() -> None:
    text = "Cover\n\n[page 1]\n\nOpen V-1.\n\n[page 2]\n\n" + "Close V-2. " * 30 + "\n\n[page 3]\n\nEnd.\n"

    parts = split(text, 200, pages_apart=True)

    assert "".join(part.text for part in parts) == text
    assert [part.place for part in parts] == ["lines 1-2", "p. 1", "p. 2", "p. 2", "p. 3"]
    assert [part.text for part in split("", 10, pages_apart=True)] == [""]
