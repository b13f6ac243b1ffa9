"""The files that matter for a question: by path, names, text and past commits."""

import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from repositories import commit_files, git, make_repository

from swarm_graph.repository import chooser
from swarm_graph.repository.chooser import rank, searches_text
from swarm_graph.repository.git import Git
from swarm_graph.repository.outline import Definition, Outline
from swarm_graph.repository.past_commits import past_commits
from swarm_graph.repository.snapshot import Snapshot
from swarm_graph.repository.words import match_scores, stems, words

FILES: dict[str, str | bytes] = {
    "src/shop/price_list.py": "def net():\n    return 1\n",
    "src/shop/orders.py": "class OrderBook:\n    def addItem(self): ...\n",
    "src/shop/mail.py": "# sends the invoices to the customers\n",
    "tests/test_orders.py": "def test_orders(): ...\n",
    "docs/guide.md": "# Discounts for friends\n\nThey exist.\n",
    "logo.png": b"\x89PNG\0\0price list price list",
    "data.csv": b"price,list\n" * 200_000,
}
OUTLINES = {
    "src/shop/orders.py": Outline(
        (
            Definition("OrderBook", "class OrderBook", 0, 1, 2),
            Definition("addItem", "def addItem(self)", 1, 2, 2),
        )
    )
}


def snapshot_of(folder: Path, files: Mapping[str, str | bytes]) -> Snapshot:
    make_repository(folder, files)
    return Snapshot(Git(folder), Git(folder).commit_of("HEAD"))


@pytest.fixture(params=["FTS5", "without FTS5"])
def snapshot(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    if request.param != "FTS5":
        monkeypatch.setattr(chooser, "_TOKENIZER", "no_such_tokenizer")
    assert searches_text() is (request.param == "FTS5")
    return snapshot_of(tmp_path / "project", FILES)


def test_paths_and_names_are_found_in_their_parts(snapshot: Snapshot) -> None:
    assert rank("Show the price list", snapshot, OUTLINES, 1) == ["src/shop/price_list.py"]
    assert rank("order book: add an item", snapshot, OUTLINES, 1) == ["src/shop/orders.py"]
    assert rank("more discount", snapshot, OUTLINES, 5) == ["docs/guide.md"]
    assert "logo.png" not in rank("the logo of the price list png", snapshot, OUTLINES, 20)


def test_texts_are_found_where_sqlite_can(snapshot: Snapshot) -> None:
    found = rank("Every customer gets an invoice", snapshot, OUTLINES, 3)
    assert found == (["src/shop/mail.py"] if searches_text() else [])


@pytest.mark.parametrize(
    "question",
    [
        "",
        "the of and",
        '"',
        "a" * 100_000,
        "NEAR(x y) OR * -price:^",
        "\0\ud800",
        "AND OR NOT",
        "word " * 50_000,
    ],
)
def test_any_question_can_be_asked(question: str, snapshot: Snapshot) -> None:
    assert len(rank(question, snapshot, OUTLINES, 3)) <= 3


def test_a_question_of_very_many_words(snapshot: Snapshot) -> None:
    question = "price list " + " ".join(f"word{number}x" for number in range(5_000))
    assert rank(question, snapshot, OUTLINES, 1) == ["src/shop/price_list.py"]


def test_roles_ask_side_by_side(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "project", FILES)
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: tuple(rank("price of orders", snapshot, OUTLINES, 4)), range(20))]
    assert len({*found}) == 1


def test_past_commits_with_a_like_subject_and_files_changed_together_count(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "project", FILES)
    for number in range(4):
        commit_files(
            folder,
            {"src/shop/mail.py": f"# {number}\n", "docs/guide.md": f"# {number}\n"},
            f"Reminders: dunning level {number}",
        )
    commit_files(folder, {f"vendor/{number}.c": f"{number}" for number in range(40)}, "Dunning is imported")
    snapshot = Snapshot(Git(folder), Git(folder).commit_of("HEAD"))
    assert rank("Another reminder for dunning", snapshot, OUTLINES, 2) == [
        "docs/guide.md",
        "src/shop/mail.py",
    ]
    # The import changes too many files to tell anything, and so does the first commit.
    assert [commit.paths for commit in past_commits(snapshot)] == [["docs/guide.md", "src/shop/mail.py"]] * 4
    before = Snapshot(Git(folder), Git(folder).commit_of("HEAD~5"))
    assert rank("Another reminder for dunning", before, OUTLINES, 2) == []


def test_a_repository_whose_history_is_cut_off_has_none(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "project", FILES)
    commit_files(folder, {"a.txt": "a"}, "Dunning")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{folder}", "shallow")
    shallow = Git(tmp_path / "shallow")
    assert rank("price list", Snapshot(shallow, shallow.commit_of("HEAD")), OUTLINES, 1)


def test_words_are_parts_of_identifiers_without_endings() -> None:
    assert words("readHTTPResponse of snake_case-words") == [
        "read",
        "http",
        "response",
        "snake",
        "case",
        "words",
    ]
    assert stems("tests testing tested test is using") == ["test"] * 4 + ["using"]
    scores = match_scores(["price"], [["price", "x"], ["price", "x", "y", "z"], ["x"], []])
    assert scores[0] > scores[1] > 0 == scores[2] == scores[3]
    assert match_scores([], []) == []


def test_the_purpose_of_a_file_counts_and_comments_cost_no_time(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.py": '#!/usr/bin/python\n# Ours\n\n"""Sends the telegrams.\n\nAnd more."""\n' + "x = 1\n" * 99,
        "b.py": "# telegrams\n" + "x = 1\n" * 99,
        "c.py": "#\n" * 20_000 + "# a\n\n  \n" * 20_000 + "x = 1\n",
        "d.md": "# " * 30_000,
        "e.py": '"""' + "a\n" * 40_000,
    }
    assert rank("telegrams", snapshot_of(tmp_path / "project", files), {}, 2) == ["a.py", "b.py"]


def test_this_sqlite_searches_text() -> None:
    assert "ENABLE_FTS5" in {row[0] for row in sqlite3.connect(":memory:").execute("PRAGMA compile_options")}
