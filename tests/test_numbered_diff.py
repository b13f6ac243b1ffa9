"""A change as the roles see it: a diff with the line numbers of the new files."""

from swarm_graph.roles.numbered_diff import numbered_diff


def test_added_and_kept_lines_have_the_numbers_of_the_new_file() -> None:
    old = "".join(f"line {number}\n" for number in range(1, 21))
    new = old.replace("line 3\n", "").replace("line 15\n", "line 15\nnew\n")
    assert numbered_diff({"a.txt": old}, {"a.txt": new}).split("\n") == [
        "--- a.txt",
        "+++ a.txt",
        "@@ -1,6 +1,5 @@",
        "    1  line 1",
        "    2  line 2",
        "      -line 3",
        "    3  line 4",
        "    4  line 5",
        "    5  line 6",
        "@@ -13,6 +12,7 @@",
        "   12  line 13",
        "   13  line 14",
        "   14  line 15",
        "   15 +new",
        "   16  line 16",
        "   17  line 17",
        "   18  line 18",
    ]


def test_new_emptied_and_deleted_files() -> None:
    old = {"gone.py": "x = 1\ny = 2\n", "empty.py": "-- x\n"}
    text = numbered_diff(old, {"new.py": "z = 1", "empty.py": ""}, ["gone.py", "logo.png"])
    assert text.split("\n\n") == [
        "--- /dev/null\n+++ new.py\n@@ -0,0 +1 @@\n    1 +z = 1",
        "--- empty.py\n+++ empty.py\n@@ -1 +0,0 @@\n      --- x",
        "--- gone.py\n+++ /dev/null\n(the whole file is deleted: 2 lines)",
        "--- logo.png\n+++ /dev/null\n(the whole file is deleted: it is no text)",
    ]


def test_a_renamed_file_is_compared_with_the_old_one() -> None:
    old = "a = 1\nb = 2\nc = 3\n"
    text = numbered_diff({"old.py": old}, {"new.py": old.replace("b = 2", "b = 5")}, ["old.py"])
    assert text.startswith(
        "--- old.py\n+++ new.py\n@@ -1,3 +1,3 @@\n    1  a = 1\n      -b = 2\n    2 +b = 5\n"
    )
    assert numbered_diff({"old.py": old}, {"new.py": old}, ["old.py"]).endswith("(the text is the same)")


def test_invisible_characters_are_shown() -> None:
    text = numbered_diff({}, {"a.py": "x = 1  # \u202eapproved\u200b\n\ty\x0cz\n"})
    assert "    1 +x = 1  # \\u202eapproved\\u200b" in text
    assert "    2 +\ty\\x0cz" in text
