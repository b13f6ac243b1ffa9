"""Edits of the files of a repository: where they fit, what they make, and how they are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_files import doubts, read_answered_files
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.nearest_lines import nearest_lines

CALC = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n"
TWO = (
    "class First:\n    def size(self):\n        count = 0\n        return count\n\n"
    "class Second:\n    def size(self):\n        count = 0\n        return count\n"
)
TABS = "func main() {\n\tif ready {\n\t\trun()\n\t}\n}\n"


class Lazy(Mapping[str, str]):
    """A repository of many files that counts what is read."""

    def __init__(self, files: Mapping[str, str], more: int = 5_000) -> None:
        self._files = dict(files)
        self._paths = [*files, *(f"lib/part{number}/module.py" for number in range(more))]
        self.read: list[str] = []

    def __getitem__(self, path: str) -> str:
        if path not in self:
            raise KeyError(path)
        self.read.append(path)
        return self._files.get(path, "X = 1\n")

    def __contains__(self, path: object) -> bool:
        return path in self._files or path in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def edit(path: str, before: str, after: str) -> str:
    return f"{path}\n<<<<<<< SEARCH\n{before}=======\n{after}>>>>>>> REPLACE\n"


def swapped(path: str) -> str:
    """The edit that makes ADDED of CALC."""
    return edit(path, "    return a - b\n", "    return b - a\n")


def made(text: str, old: str, path: str = "a.py") -> str:
    return read_answered_files(text, {path: old}).written[path]


def refused(text: str, old: Mapping[str, str]) -> UnreadableAnswer:
    with pytest.raises(UnreadableAnswer) as caught:
        read_answered_files(text, old)
    return caught.value


# --- places --------------------------------------------------------------------------------------

ADDED = CALC.replace("a - b", "b - a")
SUB, BUS = "def sub(a, b):\n    return a - b\n", "def sub(a, b):\n    return b - a\n"
CLASS = "class C:\n    def add(a, b):\n        return a + b\n\n    def sub(a, b):\n        return a - b\n"
LONG = (
    "def f(a):\n    # Adds one to the number{}returns it as it is.\n    b = a + 1\n"
    "    c = b * {}\n    return c\n"
)
APART_FROM = {
    "blanks at line ends": (CALC, edit("a.py", "def sub(a, b):  \n    return a - b \n", BUS), ADDED),
    "blanks at line ends in the file": (
        CALC.replace("def sub(a, b):", "def sub(a, b): "),
        edit("a.py", SUB, BUS),
        ADDED.replace("def sub(a, b):", "def sub(a, b): "),
    ),
    "no indentation": (
        CLASS,
        edit("a.py", SUB, SUB.replace(":\n", ":\n    if a:\n        return 1\n")),
        CLASS.replace("sub(a, b):\n", "sub(a, b):\n        if a:\n            return 1\n"),
    ),
    "more indentation": (
        CALC,
        edit(
            "a.py",
            "      def sub(a, b):\n          return a - b\n",
            "      def sub(a, b):\n          return b - a\n",
        ),
        ADDED,
    ),
    "spaces for tabs": (
        TABS,
        edit(
            "a.go",
            "    if ready {\n        run()\n    }\n",
            "    if ready {\n        for {\n            run()\n        }\n    }\n",
        ),
        TABS.replace("\t\trun()\n", "\t\tfor {\n\t\t\trun()\n\t\t}\n"),
    ),
    "tabs for spaces": (
        "if a:\n    if b:\n        c()\n",
        edit("a.py", "\tif b:\n\t\tc()\n", "\tif b:\n\t\tc()\n\t\tif d:\n\t\t\te()\n"),
        "if a:\n    if b:\n        c()\n        if d:\n            e()\n",
    ),
    "fewer blank lines": (
        CALC,
        edit("a.py", f"    return a + b\n{SUB}", f"    return a + b\n{BUS}"),
        ADDED,
    ),
    "a blank line too many": (
        CALC,
        edit("a.py", "\ndef add(a, b):\n    return a + b\n", "\ndef add(a, b):\n    return b + a\n"),
        CALC.replace("a + b", "b + a"),
    ),
    "typography": (
        "A = 'one'\nB = 'two'\n",
        edit("a.py", "B = \u2018two\u2019\n", "B = \u2018three\u2019\n"),
        "A = 'one'\nB = 'three'\n",
    ),
    "a comment that it keeps": (
        LONG.format(", and ", 2),
        edit("a.py", LONG.format(" and ", 2), LONG.format(" and ", 3)),
        LONG.format(", and ", 3),
    ),
}


@pytest.mark.parametrize("case", APART_FROM)
def test_an_edit_fits_apart_from_what_a_copy_loses(case: str) -> None:
    old, answer, new = APART_FROM[case]
    path = answer.partition("\n")[0]
    found = read_answered_files(answer, {path: old})
    assert found.written == {path: new}
    assert "fits apart from" in found.notes[0], "people are told"


HUNK = "-        count = 0\n+        count = 1\n         return count\n"
SEVERAL = {
    "its heading decides": (f"@@ class First:\n{HUNK}", 3),
    "the inner heading decides": (f"@@ class Second:\n@@     def size(self):\n{HUNK}", 8),
    "the heading that git writes": (f"@@ -90,2 +90,2 @@ class Second:\n{HUNK}", 8),
    "only the line": (f"@@ -8,2 +8,2 @@\n{HUNK}", 0),
    "a line that contradicts its heading": (f"@@ -8,2 +8,2 @@ class First:\n{HUNK}", 3),
    "a heading that stands twice": (f"@@ def size(self):\n{HUNK}", 0),
    "no line": (f"@@\n{HUNK}", 0),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_of_several_places_the_stated_one_is_meant_or_none(case: str) -> None:
    hunk, line = SEVERAL[case]
    text = f"```diff\n--- a/a.py\n+++ b/a.py\n{hunk}```\n"
    if line:
        lines = TWO.splitlines(keepends=True)
        lines[line - 1] = "        count = 1\n"
        assert made(text, TWO) == "".join(lines)
    else:
        assert "fits in several places (lines 3, 8)" in str(refused(text, {"a.py": TWO}))


def test_a_line_decides_where_an_earlier_hunk_stood_at_its_own() -> None:
    first = "@@ -1,1 +1,2 @@\n-class First:\n+# First.\n+class First:\n"
    diff = f"```diff\n--- a.py\n+++ a.py\n{first}@@ -8,2 +9,2 @@\n{HUNK}```"
    lines = TWO.splitlines(keepends=True)
    lines[7] = "        count = 1\n"
    assert made(diff, TWO) == "# First.\n" + "".join(lines)
    assert "several places" in str(refused(diff.replace("-1,1", "-2,1"), {"a.py": TWO}))
    heading = "```diff\n--- a.py\n+++ a.py\n@@ -4,1 +4,1 @@ class C:\n-    x = 1\n+    x = 2\n```"
    assert made(heading, "class C:\n    x = 1\n    y = 1\n    x = 1\n").endswith("y = 1\n    x = 2\n")


def test_lines_count_after_the_earlier_hunks_of_a_diff() -> None:
    first = "@@ -1,1 +1,3 @@\n-class First:\n+# One.\n+# Two.\n+class First:\n"
    second = "@@ -3,1 +5,1 @@\n-        count = 0\n+        count = 1\n"
    third = "@@ -8,1 +10,1 @@\n-        count = 0\n+        count = 2\n"
    once = TWO.replace("count = 0", "count = 1", 1).replace("count = 0", "count = 2")
    assert made(f"```diff\n--- a.py\n+++ a.py\n{first}{second}{third}```", TWO) == f"# One.\n# Two.\n{once}"


def test_a_heading_decides_among_very_many_places_too() -> None:
    many = "".join(f"def f{number}():\n    return None\n\n\n" for number in range(300))
    diff = "```diff\n--- a.py\n+++ a.py\n@@ -1 +1 @@ def f250():\n-    return None\n+    return 1\n```"
    assert made(diff, many) == many.replace("f250():\n    return None", "f250():\n    return 1")
    lines = "x\n" * 100_000
    assert "very many places" in str(refused(diff.replace("    return None", "x"), {"a.py": lines}))


DUPLICATES = {
    "one copy is indented": "def f(a):\n    return a\n\n\nclass C:\n    def f(a):\n        return a\n",
    "one copy has a blank line": "def f(a):\n    return a\n\n\nX = 1\n\n\ndef f(a):\n\n    return a\n",
}


@pytest.mark.parametrize("case", DUPLICATES)
def test_a_copy_that_differs_in_blanks_may_be_meant(case: str) -> None:
    problem = refused(
        edit("a.py", "def f(a):\n    return a\n", "def f(a):\n    return 1\n"), {"a.py": DUPLICATES[case]}
    )
    assert "several places" in str(problem)


REFUSED = {
    "a line that it replaces differs": (
        "a = 1\nb = 2\nc = 3\nd = 4\nlong_name_of_a_value = compute(a, b, c, d)\n",
        "c = 3\nd = 4\nlong_name_of_a_value = compute(a, b, c, e)\n",
        "c = 3\nd = 4\nlong_name_of_a_value = 5\n",
    ),
    "nothing is like it": (CALC, "import os\n", "import sys\n"),
    "lines are left out": (
        CALC, "def add(a, b):\n    ...\n    return a - b\n", "def add(a, b):\n    return 1\n"),
    "blank lines where it writes": (
        CALC, "    return a + b\ndef sub(a, b):\n", "    return a + b\nX = 1\ndef sub(a, b):\n"),
    "an indentation of its own": (
        "if a:\n    b()\n    c()\n", "  b()\n      c()\n", "  b()\n      d()\n"),
    "overlapping places": ("x\nx\nx\n", "x\nx\n", "y\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_in_doubt_an_edit_is_refused(case: str) -> None:
    old, before, after = REFUSED[case]
    assert refused(edit("a.py", before, after), {"a.py": old})


def test_a_refusal_shows_the_nearest_lines_to_the_model_only() -> None:
    old = "".join(f"value_{number} = {number}\n" for number in range(500))
    problem = refused(edit("a.py", "value_250 = 999\n", "value_250 = 0\n"), {"a.py": old})
    assert str(problem) == (
        "the edit of 'a.py' that begins with 'value_250 = 999' does not fit the file as it stands; "
        "write the edit again with the lines copied exactly as they stand there, or write the whole file"
    )
    assert "251| value_250 = 250" in problem.question
    assert len(problem.question.splitlines()) < 10
    assert nearest_lines(old, "nothing like it\n") == ""
    assert nearest_lines("", "x\n") == ""


# --- results -------------------------------------------------------------------------------------


def test_later_edits_see_what_earlier_ones_moved() -> None:
    answer = edit("a.py", "def add(a, b):\n", "# Sums.\n# And more.\ndef add(a, b):\n")
    answer += swapped("a.py")
    answer += edit("a.py", "# And more.\n", "")
    assert made(answer, CALC) == f"# Sums.\n{ADDED}"


REPEATED = {
    "a replacement": ("def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a + b  # sum\n"),
    "an insertion": ("def add(a, b):\n", "def add(a, b):\n    # sum\n"),
    "an insertion above": ("    return a + b\n", "    # sum\n    return a + b\n"),
    "a deletion": (
        "    return a + b\n    # sum\n\n\ndef sub(a, b):\n",
        "    return a + b\n\n\ndef sub(a, b):\n",
    ),
}


@pytest.mark.parametrize("case", REPEATED)
def test_an_edit_that_is_there_already_is_a_note(case: str) -> None:
    before, after = REPEATED[case]
    once = CALC if case == "a deletion" else made(edit("a.py", before, after), CALC)
    answer = read_answered_files(edit("a.py", before, after), {"a.py": once})
    assert answer.written == {"a.py": once}
    assert answer.notes == (f"a.py has the edit of {before.splitlines()[0].strip()!r} already",)


def test_a_file_without_a_line_end_at_its_end_keeps_it_so() -> None:
    assert made(edit("a.py", "a = 1\n", "a = 2\n"), "a = 1\nb = 1") == "a = 2\nb = 1"
    assert made(edit("a.py", "b = 1\n", "b = 2\n"), "a = 1\nb = 1") == "a = 1\nb = 2\n"


def test_line_ends_of_an_answer_are_plain() -> None:
    answer = swapped("a.py").replace("\n", "\r\n")
    assert made(answer, CALC) == ADDED
    whole = f"```python path=a.py\n{ADDED}```\n".replace("\n", "\r\n")
    assert made(whole, CALC) == ADDED


def test_an_edit_mends_no_line_that_it_does_not_write() -> None:
    old = "print(“a”)\nb = 1\n"
    assert made(edit("a.py", "b = 1\n", "b = 2\n"), old) == "print(“a”)\nb = 2\n"
    assert made(edit("a.py", "b = 1\n", "b = “x”\n"), "a = 1\nb = 1\n") == 'a = 1\nb = "x"\n'


def test_lines_of_equals_signs_belong_to_the_text() -> None:
    old = "Title\n=====\n\nOld.\n"
    answer = edit("a.md", "Title\n=====\n\nOld.\n", "Title\n=====\n\nNew.\n")
    assert made(answer, old, "a.md") == "Title\n=====\n\nNew.\n"
    answer = edit("a.md", "Heading\n=======\n", "Title\n=======\n")
    assert "several lines of =" in str(refused(answer, {"a.md": "Heading\n=======\n"}))


# --- files ---------------------------------------------------------------------------------------

GIT = "diff --git a/a.py b/lib/b.py\n"
RENAMED = {
    "a line": "RENAME a.py -> lib/b.py\n",
    "a line with backticks": "RENAME `a.py` -> `lib/b.py`\n",
    "git": f"```diff\n{GIT}similarity index 100%\nrename from a.py\nrename to lib/b.py\n```",
    "git, unfenced": f"Moved:\n\n{GIT}rename from a.py\nrename to lib/b.py\n\nThat is all.",
}
SWAP = "-    return a - b\n+    return b - a\n"
EDITED = {
    "git": f"```diff\n{GIT}old mode 100644\nnew mode 100755\nsimilarity index 90%\nrename from a.py\n"
    f"rename to lib/b.py\n--- a/a.py\n+++ b/lib/b.py\n@@ -6 +6 @@\n{SWAP}```",
    "patch": "*** Begin Patch\n*** Update File: a.py\n*** Move to: lib/b.py\n@@ def sub(a, b):\n"
    f"{SWAP}*** End Patch\n",
    "a line and an edit of the new file": f"RENAME a.py -> lib/b.py\n\n{swapped('lib/b.py')}",
    "a line and an edit of the old file": f"RENAME a.py -> lib/b.py\n\n{swapped('a.py')}",
    "a line and the whole file": f"RENAME a.py -> lib/b.py\n\n```python path=lib/b.py\n{ADDED}```",
}


@pytest.mark.parametrize(
    ("answer", "text"), [*((x, CALC) for x in RENAMED.values()), *((x, ADDED) for x in EDITED.values())]
)
def test_a_rename_keeps_the_text(answer: str, text: str) -> None:
    found = read_answered_files(answer, {"a.py": CALC, "old/b.py": "X = 1\n"})
    assert (found.written, found.deleted, found.renamed) == (
        {"lib/b.py": text},
        ("a.py",),
        {"a.py": "lib/b.py"},
    )


def test_a_rename_needs_a_file_and_a_free_name() -> None:
    old = {"a.py": CALC, "b.py": "X = 1\n"}
    assert "no such text file" in str(refused("RENAME c.py -> d.py", old))
    assert "that file exists" in str(refused("RENAME a.py -> b.py", old))
    found = read_answered_files("DELETE b.py\nRENAME a.py -> b.py", old)
    assert (found.written, found.deleted) == ({"b.py": CALC}, ("a.py",))
    with pytest.raises(UnreadableAnswer, match="not allowed"):
        read_answered_files("RENAME a.py -> ../b.py", old)


CREATED = {
    "diff": "```diff\n--- /dev/null\n+++ b/a.py\n@@ -0,0 +1 @@\n+X = 1\n```",
    "patch": "*** Begin Patch\n*** Add File: a.py\n+X = 1\n*** End Patch",
}


@pytest.mark.parametrize("form", CREATED)
def test_a_file_that_exists_is_not_created_over(form: str) -> None:
    assert "cannot be created: the file exists" in str(refused(CREATED[form], {"a.py": CALC}))
    assert read_answered_files(CREATED[form], {"a.py": ""}).written == {"a.py": "X = 1\n"}
    same = read_answered_files(CREATED[form], {"a.py": "X = 1\n"})
    assert (same.written, same.notes) == ({"a.py": "X = 1\n"}, ("a.py exists already, with the same text",))


def test_a_file_makes_room_for_a_folder_only_if_it_is_deleted() -> None:
    old, new = {"a": "x\n", "b/c.py": "X = 1\n"}, "```python path=a/b.py\nX = 1\n```\n"
    with pytest.raises(UnreadableAnswer, match="'a' is a file"):
        read_answered_files(new, old, shown={"a": True})
    found = read_answered_files(f"DELETE a\n{new}", old, shown={"a": True})
    assert (found.written, found.deleted) == ({"a/b.py": "X = 1\n"}, ("a",))
    with pytest.raises(UnreadableAnswer, match="it is a folder"):
        read_answered_files("```text path=b\nx\n```", old, shown={"a": True})
    found = read_answered_files("DELETE b/c.py\n```text path=b\nx\n```", old, shown={"a": True})
    assert (found.written, found.deleted) == ({"b": "x\n"}, ("b/c.py",))


def test_deleting_what_is_not_there_is_said() -> None:
    found = read_answered_files("DELETE `a file.py`\nDELETE gone.py", {"a file.py": "x\n"})
    assert (found.deleted, found.notes) == (("a file.py", "gone.py"), ("there is no gone.py to delete",))


# --- answers that mix forms ----------------------------------------------------------------------


def test_a_wrong_count_takes_no_name_of_a_file_for_a_line() -> None:
    # The first hunk states one line too many on both sides, as many as `---` and `+++` below it.
    diff = (
        "```diff\n--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n def add(a, b):\n"
        "-    return a + b\n+    return b + a\n"
        "--- a/b.py\n+++ b/b.py\n@@ -1 +1 @@\n-X = 1\n+X = 2\n```\n"
    )
    answer = read_answered_files(diff, {"a.py": CALC, "b.py": "X = 1\n"})
    assert answer.written == {"a.py": CALC.replace("a + b", "b + a"), "b.py": "X = 2\n"}


def test_lines_that_look_like_the_names_of_two_files_are_lines() -> None:
    hunks = "@@ -1,2 +1,2 @@\n A;\n--- one\n+++ two\n@@ -9 +9 @@\n-B;\n+C;\n"
    diff = f"```diff\n--- a/a.sql\n+++ b/a.sql\n{hunks}```\n"
    answer = read_answered_files(diff, {"a.sql": "A;\n-- one\n\n\n\n\n\n\nB;\n"})
    assert answer.written == {"a.sql": "A;\n++ two\n\n\n\n\n\n\nC;\n"}


def test_a_file_that_an_edit_fits_goes_before_those_that_are_only_like_it() -> None:
    like = CALC.replace("def add(a, b)", "def add(a, c)")
    block = edit("", CALC, CALC.replace("a - b", "b - a"))
    answer = read_answered_files(block, {"b.py": like, "a.py": CALC})
    assert list(answer.written) == ["a.py"]
    assert list(read_answered_files(block, {"b.py": like}).written) == ["b.py"]


def test_edits_that_all_change_nothing_are_asked_about() -> None:
    nothing, something = swapped("a.py").replace("b - a", "a - b"), swapped("b.py")
    files = {"a.py": CALC, "b.py": CALC}
    assert "change nothing" in doubts(read_answered_files(nothing, files), files)
    assert doubts(read_answered_files(f"{nothing}\n{something}", files), files) == ""


def test_an_edit_that_changes_nothing_is_a_note() -> None:
    answer = read_answered_files(edit("a.py", "def f():\n", "def f():\n"), {"a.py": CALC})
    assert (answer.written, answer.notes) == ({"a.py": CALC}, ("an edit of a.py changes nothing",))


FENCES = "Run it:\n\n```sh\nmake\n```\n\nThat is all.\n"
IN_MARKDOWN = {
    "search": edit("a.md", "```sh\nmake\n```\n", "```sh\nmake all\n```\n"),
    "search in a block": "```\n" + edit("a.md", "```sh\nmake\n", "```sh\nmake all\n") + "```\n",
    "patch": "*** Begin Patch\n*** Update File: a.md\n@@\n ```sh\n-make\n+make all\n ```\n*** End Patch\n",
    "diff": "```diff\n--- a.md\n+++ a.md\n@@ -3,3 +3,3 @@\n ```sh\n-make\n+make all\n ```\n```\n",
    "diff, unfenced": "--- a.md\n+++ a.md\n@@ -3,3 +3,3 @@\n ```sh\n-make\n+make all\n ```\n\nThat is all.",
}


@pytest.mark.parametrize("form", IN_MARKDOWN)
def test_fences_in_an_edit_are_lines_of_its_file(form: str) -> None:
    assert made(IN_MARKDOWN[form], FENCES, "a.md") == FENCES.replace("make", "make all")


def test_every_edit_of_an_answer_is_applied() -> None:
    answer = (
        f"First:\n\n{swapped('a.py')}\n"
        "*** Begin Patch\n*** Update File: b.py\n@@\n-x = 1\n+x = 2\n*** End Patch\n\nThen:\n\n"
        "--- a/c.py\n+++ b/c.py\n@@ -1 +1 @@\n-x = 1\n+x = 3\n\nand last:\n\n"
        "*** Begin Patch\n*** Update File: d.py\n@@\n-x = 1\n+x = 4\n*** End Patch\n\n"
        "```diff\n--- a/e.py\n+++ b/e.py\n@@ -1 +1 @@\n-x = 1\n+x = 5\n```\n\n"
        "```python path=f.py\nx = 6\n```\n"
    )
    old = {"a.py": CALC, **dict.fromkeys(["b.py", "c.py", "d.py", "e.py"], "x = 1\n")}
    assert read_answered_files(answer, old).written == {
        "a.py": ADDED,
        **{f"{name}.py": f"x = {number}\n" for number, name in enumerate("bcdef", 2)},
    }


def test_an_edit_beside_a_whole_file_is_applied_shown_or_asked_about() -> None:
    whole = f"```python path=a.py\n{ADDED}```\n"
    shows = read_answered_files(whole + swapped("a.py"), {"a.py": CALC})
    assert shows.written == {"a.py": ADDED}
    assert shows.notes == ("an edit beside a.py only shows what changed",)
    assert doubts(shows, {"a.py": CALC}) == ""
    differs = read_answered_files(
        whole + edit("a.py", "    return a + b\n", "    return b + a\n"), {"a.py": CALC}
    )
    assert differs.written == {"a.py": ADDED}
    assert "also edits it, and the two differ" in doubts(differs, {"a.py": CALC})
    other = edit("", "x = 1\n", "x = 2\n").lstrip("\n")
    old = {"a.py": CALC, "b.py": "x = 1\n"}
    assert read_answered_files(f"{whole}\nAnd:\n\n{other}", old).written == {"a.py": ADDED, "b.py": "x = 2\n"}
    lost = read_answered_files(whole + "\nAnd:\n\n" + edit("", "y = 1\n", "y = 2\n"), old)
    assert "names no file" in doubts(lost, old)


def test_a_file_that_stands_twice_is_said() -> None:
    answer = f"```python path=a.py\n{CALC}```\n```python path=a.py\n{ADDED}```\n"
    assert read_answered_files(answer, {}).notes == (
        "a.py stands twice in the answer; the last one was taken",
    )


BLOCK_OF_TEXT = f"The patch:\n\n*** Begin Patch\n*** Update File: a.py\n@@\n{SWAP}*** End Patch\n"
HIDDEN = {
    "a comment above it": "```python path=a.py\n# subtract\n" + swapped("").lstrip("\n") + "```",
    "in a document": "```markdown\nI change this:\n\n" + swapped("a.py") + "\nThat is all.\n```",
    "a patch in text": f"```text\n{BLOCK_OF_TEXT}```",
}


@pytest.mark.parametrize("form", HIDDEN)
def test_an_edit_with_words_around_it_is_applied(form: str) -> None:
    assert made(HIDDEN[form], CALC) == ADDED
    both = read_answered_files(f"```python path=b.py\nX = 1\n```\n{HIDDEN[form]}", {"a.py": CALC})
    assert both.written == {"a.py": ADDED, "b.py": "X = 1\n"}


def test_edits_as_json_beside_files_are_asked_about() -> None:
    json = '```json\n{"file": "a.py", "search": "x", "replace": "y"}\n```'
    answer = f"```python path=b.py\nX = 1\n```\n{json}"
    assert "as JSON" in doubts(read_answered_files(answer, {"a.py": "x\n"}), {})


# --- a large repository --------------------------------------------------------------------------


def test_only_the_files_of_an_answer_are_read() -> None:
    old = Lazy({"src/calc.py": CALC, "src/new.py": ""})
    answer = f"calc.py\n```python\n{swapped('').lstrip()}```\n"
    answer += "```python path=docs/x.py\nX = 1\n```\nDELETE lib/part7/module.py\n"
    found = read_answered_files(answer, old, shown={"src/new.py": True})
    assert found.written == {"src/calc.py": ADDED, "docs/x.py": "X = 1\n"}
    assert found.deleted == ("lib/part7/module.py",)
    assert set(old.read) <= {"src/calc.py", "src/new.py"}


def test_an_edit_without_a_path_is_looked_for_in_the_files_shown() -> None:
    old = Lazy({"src/calc.py": CALC, "src/copy.py": CALC})
    answer = swapped("").lstrip()
    assert read_answered_files(answer, old, shown={"src/calc.py": True}).written == {"src/calc.py": ADDED}
    for paths in ([], ["src/calc.py", "src/copy.py"]):
        shown = dict.fromkeys(paths, True)
        with pytest.raises(UnreadableAnswer, match="names no file"):
            read_answered_files(answer, old, shown=shown)
    assert set(old.read) <= {"src/calc.py", "src/copy.py"}
    with pytest.raises(UnreadableAnswer, match="no path"):
        read_answered_files("```python\nX = 1\n```", old, shown={"src/calc.py": True})


def test_a_path_that_is_not_there_is_answered_with_those_of_its_name() -> None:
    old = {"src/calc.py": CALC, "lib/calc.py": CALC}
    problem = refused(swapped("calc.py"), old)
    assert "no such file, only src/calc.py, lib/calc.py; write it whole" in str(problem)


def test_what_must_not_be_changed_is_refused_with_the_reason() -> None:
    old = {"a.py": CALC, "setup.cfg": "x\n"}

    def why_not(path: str) -> str:
        return "it is generated" if path == "a.py" else ""

    for answer in (
        swapped("a.py"),
        f"```python path=a.py\n{ADDED}```",
        "DELETE a.py",
        "RENAME a.py -> b.py",
        "RENAME setup.cfg -> a.py\nDELETE a.py",
    ):
        with pytest.raises(UnreadableAnswer, match=r"'a\.py' must not be changed: it is generated"):
            read_answered_files(answer, old, why_not=why_not)
    same = f"```python path=a.py\n{CALC}```\n```text path=setup.cfg\ny\n```"
    assert read_answered_files(same, old, why_not=why_not).written["setup.cfg"] == "y\n"


def test_a_file_that_was_not_seen_is_not_written_over_in_silence() -> None:
    old = {"a.md": "# Long\n", "b.md": "# B\n"}
    answer = read_answered_files("```markdown path=a.md\n# Short\n```", old, shown={"b.md": True})
    assert "you have not seen it" in doubts(answer, old)
    assert not doubts(
        read_answered_files("```markdown path=b.md\n# Short\n```", old, shown={"b.md": True}), old
    )


def test_a_file_that_was_shown_in_part_is_not_written_from_the_parts() -> None:
    lines = [f"Line {number} of the page.\n" for number in range(40)]
    old = {"README.md": "".join(lines)}
    parts = fenced({"README.md": "".join([*lines[:5], *lines[30:], "New.\n"])})
    with pytest.raises(
        UnreadableAnswer, match=r"only parts of 'README.md' were shown, and 25 of its 40 lines"
    ):
        read_answered_files(parts, old, shown={"README.md": False})
    assert not read_answered_files(parts, old, shown={"README.md": True}).doubts
    nearly = fenced({"README.md": "".join([*lines[:20], "New.\n", *lines[23:]])})
    (doubt,) = read_answered_files(nearly, old, shown={"README.md": False}).doubts
    assert "3 of its 40 lines are not in the answer: change it with SEARCH/REPLACE blocks" in doubt
    more = fenced({"README.md": "".join([*lines, "New.\n"])})
    assert not read_answered_files(more, old, shown={"README.md": False}).doubts
