"""A change as its reviewers see it: ranges, changed files, hunks, and the text within a budget."""

import random
import re
from pathlib import Path

import pytest
from repositories import commit_files, fingerprint, git, make_repository

from swarm_graph.errors import InputError
from swarm_graph.repository.changed_files import changed_files, hunks, revisions
from swarm_graph.repository.diff import LEVELS, MAX_CHANGED_LINE, MAX_LINES, not_shown, review_texts
from swarm_graph.repository.git import Git

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


def text_of(folder: Path, text: str = "HEAD^!", level: int = 0) -> str:
    return review_texts(Git(folder), *revisions(Git(folder), text))[level]


def unseen_in(folder: Path) -> list[str]:
    return not_shown(Git(folder), *revisions(Git(folder), "HEAD^!"))


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
        ("main^!", "'main\\^!' has no older commit"),
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


def test_a_smaller_context_sees_the_whole_change_with_less_around_it(folder: Path) -> None:
    change(folder)
    texts = [text_of(folder, level=level) for level in range(len(LEVELS))]
    assert sorted(texts, key=len, reverse=True) == texts
    changed = [re.findall(r"^ *\d* [+-].*$", text, re.MULTILINE) for text in texts]
    assert changed == [changed[0]] * len(LEVELS)
    assert "   39      total = sum(values)\n" not in texts[-1]


def test_what_no_reviewer_sees_is_named(folder: Path) -> None:
    base = git(folder, "rev-parse", "HEAD")
    change(folder)
    assert unseen_in(folder) == ["link (a link)", "logo.bin (binary)"]
    wide = "y = '" + " " * MAX_CHANGED_LINE + "'; evil()\n"
    git(folder, "mv", "logo.bin", "moved.bin")
    commit_files(folder, {"wide.js": f"x\n{wide}", "large.txt": "a\n" * 600_000}, "Third")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{base},sub")
    git(folder, "rm", "--quiet", "link")
    git(folder, "commit", "--quiet", "--amend", "--no-edit")
    assert unseen_in(folder) == [
        "large.txt (larger than 1 MB)",
        "sub (a submodule)",
        f"wide.js:2 (the end of a line of {len(wide) - 1:,} characters)",
    ]


def test_a_range_without_files_and_one_too_large_are_refused(folder: Path) -> None:
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "Nothing")
    with pytest.raises(InputError, match=r"no file differs between .*; name another range"):
        unseen_in(folder)
    commit_files(folder, {f"{one}.txt": f"{one}\n" * (MAX_LINES // 4 + 1) for one in range(4)}, "Much")
    with pytest.raises(InputError, match=r"changes 100,004 lines, .* at most 100,000; review its commits"):
        unseen_in(folder)


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
    assert len(text) < 9_000
    assert unseen_in(folder) == ["long.js:1 (the end of a line of 900,000 characters)"]


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
    for hunk in hunks(repository, *ends, [file])["a.txt"]:
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


def test_of_very_many_files_all_are_shown(folder: Path) -> None:
    files: dict[str, str | bytes] = {f"data/{number}.txt": f"{number}\nthe same\n" for number in range(600)}
    commit_files(folder, {**files, "a/one.py": "x = 1\n", "b/two.py": "x = 1\n"}, "Second")
    text = text_of(folder)
    assert text.startswith("602 files changed, +1202 -0 lines\n")
    for number in range(600):
        assert f"+++ data/{number}.txt\n@@ -0,0 +1,2 @@\n    1 +{number}\n    2 +the same\n" in text
    assert text.count("    1 +x = 1\n") == 2
