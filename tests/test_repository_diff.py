"""A change as its reviewers see it: ranges, changed files, hunks, and the text within a budget."""

import random
import re
from pathlib import Path

import pytest
from repositories import commit_files, fingerprint, git, make_repository

from swarm_graph.errors import InputError
from swarm_graph.repository.changed_files import changed_files, hunks, revisions
from swarm_graph.repository.diff import MAX_FILES, changes_for_review, review_text
from swarm_graph.repository.git import Git
from swarm_graph.state import Repository

CALC = "\n".join(
    [
        "import math",
        "",
        *(f"CONSTANT_{number} = {number}" for number in range(30)),
        "",
        "def area(r):",
        '    """The area."""',
        "    return math.pi * r * r",
        "",
        "def mean(values):",
        "    total = sum(values)",
        "    return total / len(values)",
        "",
    ]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "src/calc.py": CALC,
        "src/old name.py": CALC + "# end\n",
        "gone.py": "x = 1\ny = 2\n",
        "logo.bin": b"\0\1\2" * 50,
        "run.sh": "echo\n",
    }
    return make_repository(tmp_path / "project", files)


def change(folder: Path) -> None:
    """A second commit with every kind of change."""
    git(folder, "mv", "src/old name.py", "src/new name.py")
    git(folder, "rm", "--quiet", "gone.py")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    commit_files(
        folder,
        {
            "src/calc.py": CALC.replace(
                "    return total", "    if not values:\n        return 0\n    return total"
            ),
            "src/auth.py": "def login():\n    pass\n",
            "logo.bin": b"\0\1\3" * 50,
            "tests/test_calc.py": "def test_mean(): ...\n",
        },
        "Second",
    )


def text_of(folder: Path, characters: int = 100_000, text: str = "HEAD^!") -> str:
    return review_text(Git(folder), *revisions(Git(folder), text), characters)


def test_ranges_name_two_commits(folder: Path) -> None:
    first = git(folder, "rev-parse", "HEAD")
    git(folder, "switch", "--quiet", "--create", "topic")
    topic = commit_files(folder, {"a.py": "a = 1\n"}, "Topic")
    git(folder, "switch", "--quiet", "main")
    main = commit_files(folder, {"b.py": "b = 1\n"}, "Main")
    git(folder, "switch", "--quiet", "topic")
    at = Git(folder)
    assert (
        revisions(at, "main...") == revisions(at, "main...HEAD") == revisions(at, "HEAD~1") == (first, topic)
    )
    assert revisions(at, "main..HEAD") == revisions(at, "main") == (main, topic)
    assert revisions(at, "HEAD^!") == revisions(at, "topic^!") == (first, topic)
    assert revisions(at, "main", head=first) == (main, first)
    assert revisions(at, "..main") == (topic, main)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nope...", "no commit 'nope'"),
        ("--output=x", "no commit '--output=x'"),
        ("main..--all", "no commit '--all'"),
        ("main", "the range 'main' holds no change: both ends are commit"),
        ("", "holds no change"),
        ("main^!", "'main\\^!' has no older end"),
        ("other...main", "no commit in common; use two dots"),
    ],
)
def test_a_wrong_range_is_refused(text: str, problem: str, folder: Path) -> None:
    git(folder, "switch", "--quiet", "--orphan", "other")
    commit_files(folder, {"b.py": "b = 1\n"}, "Other")
    git(folder, "switch", "--quiet", "main")
    with pytest.raises(InputError, match=problem) as error:
        revisions(Git(folder), text)
    assert "\n" not in str(error.value)


def test_changed_files_of_every_kind(folder: Path) -> None:
    change(folder)
    found = changed_files(Git(folder), *revisions(Git(folder), "HEAD^!"))
    assert [(one.path, one.status, one.added, one.removed, one.is_text) for one in found] == [
        ("gone.py", "deleted", 0, 2, True),
        ("link", "added", 1, 0, False),
        ("logo.bin", "modified", 0, 0, False),
        ("run.sh", "modified", 0, 0, True),
        ("src/auth.py", "added", 2, 0, True),
        ("src/calc.py", "modified", 2, 0, True),
        ("src/new name.py", "renamed", 0, 0, True),
        ("tests/test_calc.py", "added", 1, 0, True),
    ]
    renamed = found[6]
    assert (renamed.old_path, renamed.similarity) == ("src/old name.py", 100)
    assert (found[3].old_mode, found[3].new_mode) == ("100644", "100755")


def test_a_review_sees_numbered_lines_and_the_function_around_them(folder: Path) -> None:
    before = fingerprint(folder)
    change(folder)
    text = text_of(folder)
    assert text.startswith("8 files changed, +6 -2 lines\n--- /dev/null\n+++ src/auth.py\n@@ -0,0 +1,2 @@\n")
    assert ("--- src/calc.py\n+++ src/calc.py\n@@ -38,3 +38,5 @@\n   38  def mean(values):\n") in text
    assert "   39      total = sum(values)\n" in text
    assert (
        "   40 +    if not values:\n   41 +        return 0\n   42      return total / len(values)\n" in text
    )
    assert "--- src/old name.py\n+++ src/new name.py\n(renamed, 100 % alike)\n" in text
    assert "--- gone.py\n+++ /dev/null\n(the whole file is deleted: 2 lines)\n" in text
    assert "+++ logo.bin\n(no text, or larger than 1 MB; not shown)\n" in text
    assert "+++ run.sh\n(mode 100644 → 100755)\n" in text
    assert "+++ link\n(a link)\n" in text
    order = re.findall(r"^\+\+\+ (.*)$", text, re.MULTILINE)
    assert order.index("src/auth.py") < order.index("src/calc.py") < order.index("tests/test_calc.py")
    assert before.keys() - fingerprint(folder).keys() == {"gone.py", "src/old name.py"}


def test_within_a_small_budget_the_riskiest_come_first_and_the_rest_is_named(folder: Path) -> None:
    lines = "".join(f"def f{number}():\n    return {number}\n" for number in range(300))
    files: dict[str, str | bytes] = {f"src/m{number}.py": lines for number in range(60)}
    commit_files(folder, {**files, "src/session_token.py": lines, "uv.lock": lines}, "Second")
    text = text_of(folder, 6_000)
    assert len(text) <= 6_000
    assert "+++ src/session_token.py\n" in text.split("@@")[0]
    assert re.search(r"\(… \d+ more lines of this file left out for lack of room\)", text)
    assert re.search(r"\nLeft out for lack of room: src/m\d+\.py, .* and \d+ more\.\n$", text)
    assert "+++ uv.lock" not in text


@pytest.mark.parametrize("characters", [0, 10, 100, 300, 500, 1_000, 2_000, 4_000])
def test_a_text_is_never_longer_than_asked(characters: int, folder: Path) -> None:
    change(folder)
    assert len(text_of(folder, characters)) <= characters


def test_nothing_hides_in_a_change(folder: Path) -> None:
    """Attributes that call code binary, characters that turn its direction, very long lines."""
    commit_files(
        folder,
        {
            ".gitattributes": "*.py -diff binary\n",
            "src/calc.py": CALC + "evil = 1\n",
            "bidi.py": "x = '\u202e' # \x1b[2J\n",
            "long.js": "a" * 900_000 + "\n",
        },
        "Second",
    )
    text = text_of(folder)
    assert "   41 +evil = 1\n" in text
    assert "x = '\\u202e' # \\x1b[2J\n" in text
    assert "… (900,000 characters in all)\n" in text
    assert len(text) < 5_000


def test_a_path_is_one_line(folder: Path) -> None:
    commit_files(folder, {"a\n+++ b.py": "x = 1\n", "--output=c.py": "x = 1\n", "*.py": "x = 1\n"}, "Second")
    text = text_of(folder)
    assert "+++ a\\n+++ b.py\n" in text
    assert text.count("    1 +x = 1\n") == 3
    assert not (folder / "c.py").exists()


def test_latin_1_and_utf_16_are_read(folder: Path) -> None:
    commit_files(
        folder, {"a.txt": "é 1\n2\n".encode("latin-1"), "b.txt": "a\nb\n".encode("utf-16")}, "Second"
    )
    commit_files(folder, {"a.txt": "é 2\n2\n".encode("latin-1"), "b.txt": "a\nc\n".encode("utf-16")}, "Third")
    text = text_of(folder)
    assert "      -é 1\n    1 +é 2\n    2  2\n" in text
    assert "    1  a\n      -b\n    2 +c\n" in text


def shown_files(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """What the text of a change says of the old and the new lines of each file."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for block in text.split("\n+++ ")[1:]:
        path, _, rest = block.partition("\n")
        old, new = found.setdefault(path, ([], []))
        for line in rest.split("\n"):
            if match := re.fullmatch(r" *(\d*) ([ +-])(.*)", line):
                old += [match[3]] if match[2] in " -" else []
                new += [match[3]] if match[2] in " +" else []
                assert not match[1] or int(match[1]) == len(new)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_random_changes_are_shown_as_they_are(seed: int, tmp_path: Path) -> None:
    """With so much room around that the whole file is shown, old and new file can be read off the text."""
    source = random.Random(seed)
    old = [f"line {source.randrange(8)}" for _ in range(20)]
    new = list(old)
    for _ in range(source.randrange(1, 6)):
        at = source.randrange(len(new) + 1)
        new[at : at + source.randrange(3)] = [f"new {source.randrange(8)}"] * source.randrange(3)
    new.append("the end")
    folder = make_repository(tmp_path / "project", {"a.txt": "\n".join(old)})
    commit_files(folder, {"a.txt": "\n".join(new) + "\n"}, "Second")
    repository = Git(folder)
    ends = revisions(repository, "HEAD^!")
    (file,) = changed_files(repository, *ends)
    rebuilt, position = [], 0
    for hunk in hunks(repository, *ends, file):
        start = hunk.old_start - 1 if hunk.removed else hunk.old_start
        rebuilt += old[position:start] + new[hunk.new_start - 1 : hunk.new_start - 1 + hunk.added]
        position = start + hunk.removed
    assert rebuilt + old[position:] == new
    text = text_of(folder)
    shown_old, shown_new = shown_files(text)["a.txt"] if text.count("@@ ") == 1 else (old, new)
    skipped = len(new) - len(shown_new)
    assert skipped >= 0
    if not skipped:
        assert (shown_old, shown_new) == (old, new)


def test_of_very_many_files_some_are_shown_and_the_others_named(folder: Path) -> None:
    base = git(folder, "rev-parse", "HEAD")
    commit_files(folder, {f"data/{number}.txt": f"{number}\n" for number in range(300)}, "Second")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{base},sub")
    git(folder, "commit", "--quiet", "--message", "Submodule")
    repo = Repository(
        path=str(folder),
        start="HEAD",
        base=git(folder, "rev-parse", "HEAD"),
        branch="",
        only=[],
        read_only=[],
        compared_with=base,
    )
    text = changes_for_review(repo, 20_000)
    assert text.startswith("301 files changed, +301 -0 lines\n")
    assert "+++ data/0.txt\n@@ -0,0 +1,1 @@\n    1 +0\n" in text
    assert "+++ sub\n(a submodule)\n" in text
    assert text.count("\n+++ data/") == MAX_FILES
    assert f"and {100 - 40} more.\n" in text
    assert len(text) <= 20_000
