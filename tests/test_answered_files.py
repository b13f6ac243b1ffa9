"""Files in answers: edits are applied, encodings undone, and no fragment is taken for a file."""

from __future__ import annotations

import pytest

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_files import doubts, read_answered_files
from swarm_graph.roles.answers import read
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.fragments import definitions
from swarm_graph.roles.placeholders import placeholder
from swarm_graph.roles.syntax import mended, syntax_problem

ADD = "def add(a, b):\n    return a + b\n"
DIV = "def div(a, b):\n    return a / b\n"
CHECKED = 'def div(a, b):\n    if b == 0:\n        raise ValueError("b")\n    return a / b\n'
CALC = f"{ADD}\n\n{DIV}"
FIXED = f"{ADD}\n\n{CHECKED}"
OLD = {"src/calc.py": CALC, "src/app.py": "import calc\n\nprint(calc.add(1, 2))\n"}
AFTER = CHECKED.partition("\n")[2]
SEARCH = f"<<<<<<< SEARCH\n    return a / b\n=======\n{AFTER}>>>>>>> REPLACE\n"
HUNK = (
    '@@ -4,2 +4,4 @@\n def div(a, b):\n+    if b == 0:\n+        raise ValueError("b")\n     return a / b\n'
)
PATCH = (
    "*** Begin Patch\n*** Update File: src/calc.py\n@@ def div(a, b):\n"
    '+    if b == 0:\n+        raise ValueError("b")\n     return a / b\n*** End Patch\n'
)
FILES = "--- a/src/calc.py\n+++ b/src/calc.py\n"

APPLIED = {
    "unfenced": f"src/calc.py\n{SEARCH}",
    "in a block below its path": f"src/calc.py\n```python\n{SEARCH}```",
    "in a block with its path": f"```python path=src/calc.py\n{SEARCH}```",
    "the path first in the block": f"```\nsrc/calc.py\n{SEARCH}```",
    "no path, one place": f"I changed this:\n```\n{SEARCH}```",
    "the path behind the marker": f"```\n{SEARCH.replace('SEARCH', 'SEARCH src/calc.py')}```",
    "amid prose": f"I check `b` now.\n\n**src/calc.py**\n{SEARCH}\nThat is all.",
    "other words": f"src/calc.py\n{SEARCH.replace('SEARCH', 'ORIGINAL').replace('REPLACE', 'UPDATED')}",
    "diff": f"```diff\n{FILES}{HUNK}```",
    "diff of git": f"```diff\ndiff --git a/src/calc.py b/src/calc.py\nindex 1..2 100644\n{FILES}{HUNK}```",
    "the path without its folder": f"calc.py\n```python\n{SEARCH}```",
    "patch": f"```\n{PATCH}```",
    "patch, unfenced": f"I check `b` now.\n\n{PATCH}\nThat is all.",
    "patch in a diff block": f"```diff\n{PATCH}```",
    "patch with context": PATCH.replace("@@ def div(a, b):", "@@\n def div(a, b):"),
    "diff without folders": f"```diff\n--- calc.py\n+++ calc.py\n{HUNK}```",
    "diff, unfenced": f"Here:\n\n--- src/calc.py\n+++ src/calc.py\n{HUNK}",
    "diff with wrong line numbers": f"```diff path=src/calc.py\n{HUNK.replace('-4,2 +4', '-90,7 +91')}```",
    "diff without hunk header": "```diff path=src/calc.py\n" + HUNK.partition("\n")[2] + "```",
}


@pytest.mark.parametrize("form", APPLIED)
def test_an_edit_that_fits_is_applied(form: str) -> None:
    assert read_answered_files(APPLIED[form], OLD).written == {"src/calc.py": FIXED}


def test_several_edits_go_one_after_the_other() -> None:
    assert read_answered_files(f"src/calc.py\n{SEARCH}{SEARCH}", OLD).written == {"src/calc.py": FIXED}, (
        "once"
    )
    second = "<<<<<<< SEARCH\ndef add(a, b):\n=======\ndef add(a, b=0):\n>>>>>>> REPLACE\n"
    third = "src/new.py\n<<<<<<< SEARCH\n=======\nX = 1\n>>>>>>> REPLACE\n"
    written = read_answered_files(f"src/calc.py\n{SEARCH}{second}\n{third}", OLD).written
    assert written == {
        "src/calc.py": FIXED.replace("(a, b):\n    return a +", "(a, b=0):\n    return a +"),
        "src/new.py": "X = 1\n",
    }


def test_a_patch_creates_and_deletes() -> None:
    text = "*** Begin Patch\n*** Add File: src/new.py\n+X = 1\n*** Delete File: src/app.py\n*** End Patch"
    answer = read_answered_files(text, OLD)
    assert (answer.written, answer.deleted) == ({"src/new.py": "X = 1\n"}, ("src/app.py",))


def test_a_diff_creates_and_deletes() -> None:
    new = "--- /dev/null\n+++ b/src/new.py\n@@ -0,0 +1 @@\n+X = 1\n"
    gone = "--- a/src/app.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-import calc\n"
    answer = read_answered_files(f"```diff\n{new}{gone}```", OLD)
    assert (answer.written, answer.deleted) == ({"src/new.py": "X = 1\n"}, ("src/app.py",))


NOT_APPLIED = {
    "text that is not there": (f"src/calc.py\n{SEARCH.replace('a / b', 'a // b')}", "does not fit"),
    "several places": ("src/calc.py\n<<<<<<< SEARCH\n\n=======\n#\n>>>>>>> REPLACE\n", "does not fit"),
    "a line that stands twice": (
        "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n", "several places"),
    "no such file": (f"src/other.py\n{SEARCH}", "no such file"),
    "cut off": (f"src/calc.py\n{SEARCH.partition('>>>>')[0]}", "holds no file|not complete"),
    "the second cut off": (f"src/calc.py\n{SEARCH}{SEARCH.partition('=====')[0]}", "not complete"),
    "prose in a diff": (f"```diff\n{FILES}{HUNK}and so on\n```", "begins with no space"),
    "a path outside": (f"../calc.py\n{SEARCH}", "not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_APPLIED)
def test_an_edit_that_does_not_fit_is_asked_again(case: str) -> None:
    text, problem = NOT_APPLIED[case]
    with pytest.raises(UnreadableAnswer, match=problem):
        read_answered_files(text, {**OLD, "a.py": "x = 1\nx = 1\n"})


def test_a_diff_beside_whole_files_only_shows_what_changed() -> None:
    text = f"```python path=src/calc.py\n{FIXED}```\nWhat changed:\n```diff\n{HUNK}```\n"
    assert read_answered_files(text, OLD).written == {"src/calc.py": FIXED}


LEGITIMATE = {
    "docs/merge.md": "Git writes\n\n<<<<<<< SEARCH\nours\n=======\ntheirs\n>>>>>>> REPLACE\n",
    "fix.patch": f"{FILES}{HUNK}",
    "src/tokens.py": 'END = "<|im_end|>"\nTHINK = "[THINK]"\nFINAL = "<|channel|>final<|message|>"\n',
    "src/page.py": 'def escaped(text):\n    return text.replace("<", "&lt;").replace(">", "&gt;")\n',
    "src/page.js": 'const escaped = text => text.replace("<", "&lt;"); // &lt; b\n',
    "src/p.c": "int lt; int *f(void) { int *p = &lt;\n return p; }\n",
    "src/quotes.py": 'TITLE = "\u201cPumps\u201d \u2013 a list"\n',
    "src/lines.py": 'TEXT = "one\\ntwo\\nthree"\n',
    "src/stub.py": "class Port(Protocol):\n    def open(self) -> None: ...\n",
    "src/rest.py": "# The rest of the arguments are passed on.\ndef f(*rest):\n    return rest\n",
    "numbers.txt": "1: one\n2: two\n3: three\n",
    "page.html": "<p>a &lt; b</p>\n<!-- other -->\n",
    "tsconfig.json": '{\n  // strict\n  "strict": true,\n}\n',
    "chart.yaml": "name: {{ .Values.name }}\n{{- if .x }}\na: 1\n{{- end }}\n",
    "stack.yaml": "Arn: !GetAtt Bucket.Arn\n---\nsecond: 1\n",
    "database.yml": "a:\n<% if x %>\n  b: 1\n<% end %>\n",
    ".vscode/settings.json": '{\n  // tabs\n  "tabs": true,\n}\n',
    "app/appsettings.Debug.json": '{\n  // all\n  "level": 1\n}\n',
    "src/App.js": "export default function App() {\n  return <p>a &lt; b &amp; c</p>;\n}\n",
    "src/Page.java": 'class Page {\n  String s = """\n    <p>a &lt; b</p>\n    """;\n}\n',
    "src/page.rs": 'const S: &str = r#"\n<p>a &lt; b</p>\n"#;\n',
    "src/page.cs": 'var s = @"\n<p>a &amp; b</p>\n";\n',
    "src/page.sh": "#!/bin/sh\ncat <<EOF\n<p>a &lt; b</p>\nEOF\n",
    "src/page.kt": 'val s = """\n  &lt; x and y\n"""\n',
    "src/page.sql": "INSERT INTO t VALUES ('a &lt; b\nc');\n",
    "docs/edit.rst": ".. code:: python\n\n   # ... existing code ...\n   x = 1\n",
    "src/regex.js": "const decode = text => text.split(/&lt;|&gt;/g);\n",
    "src/register.cpp": "Register<0x40> control;\nRegister<0x0A> status;\n",
    "src/lines.js": 'const lines = text => text.split(/\\r?\\n\\n/).map(a => a.replace(/\\n/g, ""));\n',
    "src/page.vue": "<template>\n  <p>a &lt; b</p>\n</template>\n",
    "path.html": "<p>C:\\new\\name\\next</p>\n",
    "snippet.html": "a &lt; b &amp; c\n",
    "src/bars.sh": "echo \u2581\u2582\u2583\n",
    "empty.json": "",
    "src/__init__.py": "",
}  # fmt: skip


@pytest.mark.parametrize("path", LEGITIMATE)
def test_legitimate_files_are_taken_as_they_are(path: str) -> None:
    text = LEGITIMATE[path]
    answer = read(f"````text path={path}\n{text}````\n````python path=src/x.py\nx = 1\n````", Files)
    assert answer == Files({path: text, "src/x.py": "x = 1\n"})
    assert doubts(answer, {}) == ""


PLACEHOLDERS = [
    "# ... existing code unchanged ...", "    # ... rest of the code ...", "// rest of the code",
    "# existing code here", "# (unchanged)", "/* ... remaining methods unchanged ... */",
    "<!-- rest unchanged -->", "# ... other methods remain the same", "... existing code ...",
    "# same as before", "# [rest of the file unchanged]", "[rest of the document unchanged]",
    "# … rest of file …", "# Rest of the implementation remains unchanged", "# code omitted for brevity",
    "// ... keep existing imports ...", "# ... (previous code) ...", "# No changes above",
    "# keep the rest of the class as is", "(remaining sections unchanged)", "# <rest of the code>",
    "# The rest of the code remains the same.", "// Other functions unchanged", "# Existing methods...",
    "# ... Rest des Codes unverändert ...", "# Rest des Codes bleibt unverändert", "# 其余代码保持不变",
    "# ... reste du code inchangé ...", "# остальной код без изменений", "# ... add() as it was ...", "# ...",
]  # fmt: skip
COMMENTS = [
    "# The rest of the arguments are passed to Queue", "# other", "# Existing connections are closed first",
    "x = ...", "    ...", "# unchanged values are skipped", "# the original code is kept in git", "# Same",
    "def unchanged():", "# previous", "# tests", "# same file", "# The old file is kept as before renaming",
    "# Keep the original order", "# No changes needed", "# remaining lines", "# same as above",
    "# Add the remaining items to the queue", "# Keep the existing value", "# the rest of the body",
    "# rest of the file", "#     ...",
    "<unchanged>", "[other]", "* The remaining tests are run", "# other tests", "Existing code is reviewed.",
]  # fmt: skip


@pytest.mark.parametrize("line", PLACEHOLDERS)
def test_a_placeholder_is_no_code(line: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"'src/calc\.py' is not complete.*add missing"):
        read_answered_files(f"```python path=src/calc.py\n{line}\n\n{CHECKED}```", OLD)
    assert placeholder("src/calc.py", f"{line}\n{CHECKED}", f"{line}\n{CALC}") == "", "it stood there before"


@pytest.mark.parametrize("line", COMMENTS)
def test_a_comment_is_no_placeholder(line: str) -> None:
    assert placeholder("src/calc.py", f"{line}\n{CHECKED}", "") == ""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a.sql", "-- ... existing code ..."),
        ("a.tex", "% ... rest of the document ..."),
        ("a.vb", "' ... existing code ..."),
        ("a.f90", "! ... existing code ..."),
        ("a.st", "(* ... existing code ... *)"),
        ("a.hs", "{- ... existing code ... -}"),
        ("a.bat", "REM ... existing code ..."),
        ("a.j2", "{# ... existing code ... #}"),
        ("a.css", "/* ... existing styles ... */"),
        ("a.yaml", "# ... rest of the config ..."),
        ("a.jsx", "{/* ... existing code ... */}"),
        ("a.js", "function f() { /* unchanged */ }"),
        ("a.js", "function f() { ... }"),
        ("a.js", "  ..."),
        ("a.c", "/* ... */"),
        ("a.py", "def f(): ...  # unchanged"),
        ("a.py", "    pass  # existing code"),
    ],
)
def test_placeholders_are_known_in_every_language(path: str, line: str) -> None:
    assert placeholder(path, f"a\n{line}\nb\n", "") == line.strip()


QUOTED = {
    "README.md": "# A\n\n```js\nx = {\n  // ... existing code ...\n};\n```\n",
    "test_a.py": 'TEXT = """\n# ... existing code ...\n"""\nLINE = "# ... existing code ..."\n',
    "usage.py": "# for line in lines:\n#     ...\n\n\ndef f(a):  # unchanged\n    return {...}\n",
    "text.go": "var text = `\n// ... existing code ...\n`\n",
    "text.js": "f(`\n// ... existing code ...\n`, 1); // it's\n",
    "types.ts": "const f = (...a: B[]) => [...a]; // like { ... }\n",
    "servers.yaml": "# ... more servers ...\na: 1\n",
    "else.js": "if (a) {\n  f();\n} else {\n  // No changes needed\n}\n// Other functions\n\n",
}


@pytest.mark.parametrize("path", QUOTED)
def test_what_is_quoted_or_only_looks_so_is_no_placeholder(path: str) -> None:
    assert placeholder(path, QUOTED[path], "") == ""


@pytest.mark.parametrize(
    "form", ["{n} | {line}", "{n}: {line}", "{n} {line}", "{n}\t{line}", "  {n}. {line}"]
)
def test_line_numbers_are_no_code(form: str) -> None:
    numbered = "\n".join(form.format(n=n, line=line) for n, line in enumerate(FIXED.split("\n"), 1) if line)
    with pytest.raises(UnreadableAnswer, match="number before each line"):
        read_answered_files(f"```python path=src/calc.py\n{numbered}\n```", OLD)


LOST = {
    "a function": (f"```python path=src/calc.py\n{CHECKED}```", "has lost add"),
    "all of them": ("```python path=src/calc.py\nX = 1\n```", "has lost add, div"),
    "in an unnamed example": ("Use it so:\n```python\nprint(add(1, 2))\n```", "has lost add, div"),
    "javascript": ("```js path=src/a.js\nfunction one() {}\n```", "has lost two"),
    "a body": (f"```python path=src/calc.py\ndef add(a, b):\n    ...\n\n\n{CHECKED}```", "has lost add"),
}
KEPT = {
    "renamed": f"```python path=src/calc.py\n{CALC.replace('div', 'divide')}```",
    "moved": f"```python path=src/calc.py\n{ADD}```\n```python path=src/div.py\n{CHECKED}```",
    "more": f"```python path=src/calc.py\n{FIXED}\n\ndef sub(a, b):\n    return a - b\n```",
    "deleted": "DELETE src/calc.py\n```python path=src/app.py\nprint(3)\n```",
}


@pytest.mark.parametrize("case", LOST)
def test_lost_definitions_are_asked_about(case: str) -> None:
    text, lost = LOST[case]
    old = (
        {"src/calc.py": CALC} if "js" not in text else {"src/a.js": "function one() {}\nfunction two() {}\n"}
    )
    assert lost in doubts(read_answered_files(text, old), old)


DELETIONS = (
    "DELETE src/old.py", "- DELETE `src/old.py`", "1. DELETE src/old.py", "**DELETE** src/old.py",
    "**DELETE `src/old.py`**", "`DELETE src/old.py`", "DELETE: ./src/old.py",
    "DELETE src/old.py (no longer used)", "DELETE src/old.py - empty", "```\nDELETE src/old.py\n```",
)  # fmt: skip
RENAMES = (
    "RENAME src/old.py -> src/new.py", "- RENAME `src/old.py` -> `src/new.py`",
    "RENAME src/old.py => src/new.py", "RENAME src/old.py to src/new.py",
    "**RENAME src/old.py \u2192 src/new.py** (clearer)", "```text\nRENAME src/old.py -> src/new.py\n```",
)  # fmt: skip
UNREAD = (
    "Delete src/old.py", "DELETE src/old.py, src/calc.py", "DELETE the file `src/old.py`.",
    "MOVE src/old.py -> src/new.py", "RENAME src/old.py ->", "git rm src/old.py",
    "```sh\ngit mv src/old.py src/new.py\n```",
)  # fmt: skip
NEITHER = (
    "DELETE requests return 204 now.", "I would delete `src/old.py` later.", "RENAME it as you like.",
    "```sh\nrm -rf build\n```", "src/calc.py\n<<<<<<< SEARCH\n    return a + b\n=======\n    return a + b\n\n"
    "DELETE src/old.py\n>>>>>>> REPLACE",
)  # fmt: skip
BESIDE = "```python path=src/new_one.py\nx = 1\n```"
OF_TWO = {"src/calc.py": "def add(a, b):\n    return a + b\n", "src/old.py": "y = 2\n"}


@pytest.mark.parametrize("line", [*DELETIONS, *RENAMES])
@pytest.mark.parametrize("text", ["{line}", f"{BESIDE}\n\n{{line}}", f"{{line}}\n\n{BESIDE}"])
def test_deletions_and_renames_are_read_as_models_write_them(line: str, text: str) -> None:
    answer = read_answered_files(text.format(line=line), OF_TWO)
    assert answer.deleted == ("src/old.py",)
    assert ("src/new.py" in answer.written) is (line in RENAMES)
    assert (answer.doubts, answer.notes) == ((), ())


@pytest.mark.parametrize("line", UNREAD)
def test_a_deletion_or_rename_that_is_not_understood_is_asked_about(line: str) -> None:
    answer = read_answered_files(f"{BESIDE}\n\n{line}", OF_TWO)
    assert answer.deleted == ()
    (doubt,) = answer.doubts
    assert "deletes and renames nothing: write `DELETE path`, or `RENAME old -> new`" in doubt


@pytest.mark.parametrize("line", NEITHER)
def test_other_lines_are_no_deletions(line: str) -> None:
    answer = read_answered_files(f"{BESIDE}\n\n{line}", OF_TWO)
    assert (answer.deleted, answer.doubts) == ((), ())


TWO = {
    "a.py": (
        "class C:\n{}{}",
        "    def add(self):\n        return 1\n\n",
        "    def div(self):\n        return 2\n",
    ),
    "a.java": (
        "class C {{\n{}{}}}\n",
        "  public int add(int a) {\n  }\n",
        "  public int div(int a) {\n  }\n",
    ),
    "a.ts": ("class C {{\n{}{}}}\n", "  add(a: number): number {\n  }\n", "  async div() {\n  }\n"),
    "a.c": ("{}{}", "static int *add(int a)\n{\n}\n", "int div(int a) {\n}\n"),
    "a.go": ("{}{}", "func (c *C) add(a int) int {\n}\n", "func (c *C) div(a int) int {\n}\n"),
    "a.rs": ("impl C {{\n{}{}}}\n", "  pub fn add(&self) -> i32 {\n  }\n", "  fn div(&self) {\n  }\n"),
    "a.kt": ("{}{}", "fun add(a: Int) = a\n", "fun div(a: Int) = a\n"),
    "a.rb": ("class C\n{}{}end\n", "  def add\n  end\n", "  def self.div\n  end\n"),
}


@pytest.mark.parametrize("path", TWO)
def test_methods_and_functions_of_every_language_are_not_lost(path: str) -> None:
    around, add, div = TWO[path]
    both, one, renamed = (around.format(first, div) for first in (add, "", add.replace("add", "plus")))
    assert "add:" in doubts(Files({path: one}), {path: both})
    for text in (both, renamed):
        assert "has lost" not in doubts(Files({path: text}), {path: both})


CALLS = {
    "a.js": "function a() {\n  foo(b, {\n    c: 1,\n  });\n  it(d, () => {\n  });\n  if (e) {\n  }\n}\n",
    "a.kt": "fun a() {\n    launch(b) {\n        c()\n    }\n}\n",
    "a.java": "class A {\n  void a() {\n    run(new B() {\n    });\n    synchronized (b) {\n    }\n  }\n}\n",
    "a.go": "func a() {\n\tif x := f(b); x != nil {\n\t}\n\tfor i := range g(c) {\n\t}\n}\n",
    "a.rs": "fn a() {\n    if let Some(x) = f(b) {\n    }\n    match g(x) {\n    }\n}\n",
    "a.c": "int a(int b)\n{\n  while (c(b)) {\n  }\n  switch (d(b))\n  {\n  }\n}\n",
}


@pytest.mark.parametrize("path", CALLS)
def test_calls_and_statements_are_no_definitions(path: str) -> None:
    assert definitions(path, CALLS[path]) == ({"A", "a"} if path == "a.java" else {"a"})


@pytest.mark.parametrize("case", KEPT)
def test_what_was_renamed_moved_or_deleted_is_not_lost(case: str) -> None:
    assert doubts(read_answered_files(KEPT[case], OLD), OLD) == ""


def test_an_unnamed_block_is_the_file_that_it_plainly_rewrites() -> None:
    block = f"I fixed it:\n```python\n{FIXED}```"
    assert read_answered_files(block, {"src/calc.py": CALC}).written == {"src/calc.py": FIXED}
    assert read_answered_files(block, OLD).written == {"src/calc.py": FIXED}, "the one with its names"
    assert read_answered_files(f"{block}\nRun:\n```bash\npython -m calc\n```", OLD).written == {
        "src/calc.py": FIXED
    }
    assert read_answered_files("```sql\nSELECT 1;\n```", OLD).written == {"main.sql": "SELECT 1;\n"}
    two = f"```python\n{FIXED}```\n```python\nimport calc\n\nprint(2)\n```"
    with pytest.raises(UnreadableAnswer, match="no path"):
        read_answered_files(two, {**OLD, "src/more.py": "import calc\n"})


WITHOUT_FOLDER = f"```python path=calc.py\n{FIXED}```"


def test_a_path_that_lost_its_folder_is_completed_and_said() -> None:
    answer = read_answered_files(WITHOUT_FOLDER, OLD)
    assert (answer.written, answer.notes) == ({"src/calc.py": FIXED}, ("calc.py taken for src/calc.py",))


ANOTHER_FILE = {
    "other names": ("```python path=calc.py\nX = 1\n```", OLD),
    "moved": (f"DELETE src/calc.py\n{WITHOUT_FOLDER}", OLD),
    "both": (f"{WITHOUT_FOLDER}\n```python path=src/calc.py\n{CALC}```", OLD),
    "two of that name": (WITHOUT_FOLDER, {**OLD, "lib/calc.py": CALC}),
    "it exists": (WITHOUT_FOLDER, {**OLD, "calc.py": CALC}),
}


@pytest.mark.parametrize("case", ANOTHER_FILE)
def test_a_path_that_may_be_meant_is_kept(case: str) -> None:
    text, old = ANOTHER_FILE[case]
    assert "calc.py" in read_answered_files(text, old).written


def test_the_sentence_above_a_block_announces_its_file() -> None:
    block = f"```python\n{ADD}```"
    assert read_answered_files(f"Save this as `src/add.py`:\n\n{block}", {}).written == {"src/add.py": ADD}
    assert read_answered_files(f"The new `calc.py`:\n{block}", OLD).written == {"src/calc.py": ADD}
    two = f"First `a.py`:\n{block}\nThen `b.py`:\n{block}"
    assert read_answered_files(two, {}).written == {"a.py": ADD, "b.py": ADD}
    for sentence in (
        "e.g.:",
        "Run `python a.py`:",
        "I changed `a.py`",
        "Of `a.py` and `b.py`:",
        "As in `a.js`:",
    ):
        assert read_answered_files(f"{sentence}\n{block}", {}).written == {"main.py": ADD}
    tagged = f'<file path="src/add.py">\n{block}\n</file>'
    assert read_answered_files(tagged, {}).written == {"src/add.py": ADD}


@pytest.mark.parametrize(
    "line",
    ["<!-- a.py -->", "--- a.py ---", "=== a.py ===", "\U0001f4c4 a.py", "[a.py]", "1. **Create `a.py`:**"],
)
def test_a_line_of_decoration_around_a_path_names_the_file(line: str) -> None:
    assert read_answered_files(f"{line}\n\n```python\n{ADD}```", {}).written == {"a.py": ADD}


def test_a_block_with_several_file_lines_is_several_files() -> None:
    text = "```js\n// FILE: src/a.js\na();\n\n// FILE: b.js\nb();\n```"
    assert read_answered_files(text, {}).written == {"src/a.js": "a();\n\n", "b.js": "b();\n"}
    other = "# file: the one\nb()\n# a.py\nc()\n"
    assert read_answered_files(f"```python\n# file: a.py\n{other}```", {}).written == {"a.py": other}
    other = "a()\n# path: b.py\nb()\n"
    assert read_answered_files(f"```python\n# file: a.py\n{other}```", {}).written == {"a.py": other}
    named = "# file: a.py\na()\n# file: b.py\nb()\n"
    assert read_answered_files(f"```python path=c.py\n{named}```", {}).written == {"c.py": named}


def test_a_fence_glued_to_the_last_line_closes_its_block() -> None:
    assert read_answered_files(f"```python path=a.py\n{ADD.rstrip()}```", {}).written == {"a.py": ADD}
    text = "Use ```x``` or ```y```\n"
    assert read_answered_files(f"~~~md path=a.md\n{text}", {}).written == {"a.md": text}


NO_FILES = {
    "command": "```bash\npip install flask\npython app.py\n```",
    "command that writes": "```sh\ncat > src/calc.py <<'EOF'\nx = 1\nEOF\n```",
    "console": "```console\n$ ls\n```",
    "tool call": '```json\n{"name": "write_file", "arguments": {"path": "a.py", "text": "x"}}\n```',
    "tool calls": '```json\n[{"function": {"name": "write", "arguments": "{}"}}]\n```',
    "tagged tool call": '```xml\n<tool_call>{"name": "write"}</tool_call>\n```',
    "files in JSON": '```json\n{"files": [{"path": "a.py", "content": "x"}]}\n```',
    "an edit in JSON": '```json\n{"file": "a.py", "search": "x", "replace": "y"}\n```',
    "a patch of JSON": '```json\n[{"op": "add", "path": "/a", "value": 1}]\n```',
    "commands without language": "```\n$ pip install flask\n$ python app.py\n```",
    "tool code": "```tool_code\nwrite('a.py')\n```",
}


@pytest.mark.parametrize("case", NO_FILES)
def test_a_command_or_a_tool_call_is_no_file(case: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"a (shell command|tool call) is none"):
        read_answered_files(NO_FILES[case], {})


def test_a_script_is_a_file() -> None:
    script = "#!/bin/sh\necho hello\n"
    assert read_answered_files(f"```sh\n{script}```", {}).written == {"main.sh": script}
    assert read_answered_files("```sh path=run.sh\necho hello\n```", {}).written == {"run.sh": "echo hello\n"}
    assert read_answered_files('```json\n{"name": "pump", "size": 3}\n```', {}).written.keys() == {
        "main.json"
    }


@pytest.mark.parametrize(
    "user", ["User:", "user", "Human: now subtract", "### User: and now?", "**User:** next"]
)
def test_a_turn_that_the_model_invents_changes_no_file(user: str) -> None:
    wrong = ADD.replace("+", "-")
    name = "assistant" if user == "user" else "Assistant:"
    text = f"```python path=a.py\n{ADD}```\n{user}\n\n{name}\n```python path=a.py\n{wrong}```"
    assert read_answered_files(text, {}).written == {"a.py": ADD}
    alone = f"```python path=a.py\n{ADD}```\n{user}\n```python path=b.py\n{ADD}```"
    assert read_answered_files(alone, {}).written == {"a.py": ADD, "b.py": ADD}, "prose may begin like that"


LESS = "def less(a, b):\n    return a < b\n"
MENDED = {
    "entities": (LESS.replace("<", "&lt;"), LESS),
    "all entities": (
        "def f(a):\n    return &quot;x&quot; if a &gt;= 1 else &#39;y&#39;\n",
        "def f(a):\n    return \"x\" if a >= 1 else 'y'\n",
    ),
    "smart quotes": ("print(\u201ca - b\u201d)\n", 'print("a - b")\n'),
    "smart apostrophes": ("print(\u2018a\u2019)\nT = '“k”'\n", "print('a')\nT = '“k”'\n"),
    "no-break spaces": ("def f():\n\u00a0\u00a0\u00a0\u00a0return 1\n", "def f():\n    return 1\n"),
    "literal line ends": ("def less(a, b):\\n    return a < b\\n\n", LESS),
    "line ends after a comment": ("# calc\\ndef f(a):\\n    return a\n", "# calc\ndef f(a):\n    return a\n"),
    "escaped like JSON": ('import sys\\nprint(\\"a\\\\nb\\")\\n\n', 'import sys\nprint("a\\nb")\n'),
    "byte tokens": (LESS.replace("\n", "<0x0A>", 1).replace("    ", "<0x20>" * 4), LESS),
    "wide spaces": ("def f():\n\u3000\u2003return 1\n", "def f():\n  return 1\n"),
    "tokenizer's characters": (LESS.replace("\n", "\u010a", 1).replace(" ", "\u0120"), LESS),
    "sentencepiece's spaces": (LESS.replace(" ", "\u2581"), LESS),
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_an_encoding_is_undone_and_said(case: str) -> None:
    text, right = MENDED[case]
    found = mended("src/a.py", text)
    assert (found.text, bool(found.what)) == (right, True)
    answer = read_answered_files(f"```python path=src/a.py\n{text}```", {})
    assert answer.written == {"src/a.py": right}
    assert answer.notes == (f"{found.what} undone in src/a.py",)
    assert doubts(answer, {}) == ""


@pytest.mark.parametrize("newline", ["<0x0A>", "\\n", "\u010a"])
def test_an_answer_that_is_encoded_as_a_whole_is_decoded(newline: str) -> None:
    answer = f"```python path=src/a.py\n{LESS}```"
    space = "\u0120" if newline == "\u010a" else " "
    encoded = answer.replace("\n", newline).replace(" ", space)
    assert read(encoded, Files).written == {"src/a.py": LESS}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.json", "{“a”: 1}\n"),
        ("a.json", "{&quot;a&quot;: 1}\n"),
        ("a.toml", "a = “x”\n"),
        ("a.js", "if (a &lt; b) { f(); }\n"),
        ("a.go", "if a &amp;&amp; b {\n}\n"),
        ("a.html", "&lt;!DOCTYPE html&gt;\n&lt;p class=&quot;a&quot;&gt;It's a &amp;amp; b&lt;/p&gt;\n"),
        ("a.tsx", "const f = (a: number) =&gt; a &lt; 1;\n"),
        ("a.ts", "const f = (a: number) => a &lt; 1;\n"),
        ("a.js", "function f(a) {\\n  return a;\\n}\\n\n"),
        ("a.sh", "echo<0x20>a<0x0A>echo<0x20>b<0x0A>\n"),
    ],
)
def test_other_languages_are_mended_too(path: str, text: str) -> None:
    found = mended(path, text)
    assert found.what
    assert "&" not in found.text.replace("&&", "").replace("&amp; b", "")
    assert syntax_problem(path, found.text) is None


BROKEN = {
    "a.py": "def f(:\n",
    "entities.py": 'def f(a):\n    return "&lt;" if a &lt; 1 else ""\n',
    "markers.py": "<<<<<<< HEAD\nx = 1\n=======\nx = 2\n>>>>>>> main\n",
    "deep.py": "(" * 5000 + ")" * 5000,
    "null.py": "x = 1\0\n",
    "a.json": "{'a': 1}\n",
    "a.ipynb": "{",
    "a.yaml": "a: [1\nb: 2\n",
    "a.toml": "a = \n",
    "a.xml": "<a><b></a>\n",
    "a.js": 'f("&lt;"); if (a &lt; b) { g(); }\n',
}


@pytest.mark.parametrize("path", BROKEN)
def test_what_does_not_parse_is_said_and_left_as_it_is(path: str) -> None:
    assert mended(path, BROKEN[path]).text == BROKEN[path]
    assert syntax_problem(path, BROKEN[path]) is not None
    assert f"{path}" in doubts(Files({path: BROKEN[path]}), {})


@pytest.mark.parametrize(
    ("info", "path"),
    [
        ("python path=with space .py", "with space .py"),
        ("python path=my docs/a b.md", "my docs/a b.md"),
        ("python path=src/a.py linenums=1", "src/a.py"),
        ("make path=Makefile all", "Makefile"),
    ],
)
def test_a_path_without_quotes_may_have_blanks(info: str, path: str) -> None:
    assert [*read_answered_files(f"```{info}\nx = 1\n```\n", {}).written] == [path]
