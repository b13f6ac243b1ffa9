"""How the outputs that the pages show are compared and written anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Reader, _cut_alike, _fits

PRINTED = "Session a: complete\nFiles:\n  a.txt\n2 calls\n"


@pytest.mark.parametrize(
    "shown",
    [
        PRINTED,
        "…\n",
        "Session a: complete\n…\n",
        "…\n2 calls\n",
        "Session  a: complete\n…\n  a.txt\n2 calls\n",
    ],
)
def test_an_output_fits_with_any_lines_left_out(shown: str) -> None:
    assert _fits(shown, PRINTED)


@pytest.mark.parametrize(
    "shown", ["Session a: complete\n", "…\n3 calls\n", "2 calls\n…\nFiles:\n…\n", "Session\n…\n"]
)
def test_another_output_does_not_fit(shown: str) -> None:
    assert not _fits(shown, PRINTED)


def test_an_output_is_written_anew_with_the_same_lines_left_out() -> None:
    assert _cut_alike("…\n", PRINTED) == PRINTED
    assert _cut_alike("Session a: failed\n", PRINTED) == PRINTED
    assert _cut_alike("Session a: failed\n…\n1 calls\n", PRINTED) == "Session a: complete\n…\n2 calls\n"


def test_a_reader_sees_a_wrong_output_and_a_failing_command(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the page shows"):
        list(Reader(tmp_path).steps("$ echo one\ntwo\n"))
    with pytest.raises(AssertionError, match="false"):
        list(Reader(tmp_path).steps("$ false\n"))
    assert list(Reader(tmp_path).steps("$ false\n$ echo $?\n1\n")) == ["$ false\n", "$ echo $?\n1\n"]


def test_what_differs_from_run_to_run_is_replaced(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {"127.0.0.1:1234": "127.0.0.1:40001"})
    printed = f"{tmp_path}/a at 2025-01-02 03:04:05, http://127.0.0.1:40001, sandbox: landlock\n"
    assert reader.canonical(printed) == (
        "/home/me/work/a at 2026-11-29 09:00:00, http://127.0.0.1:1234, sandbox: bubblewrap\n"
    )
