"""The parts of a session's report that show what was written, found, changed and said in its rounds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from repositories import make_repository
from support import APPROVED, Crew, Script, config

from swarm_graph import AgentRole, SwarmCoordinator, Task
from swarm_graph.checkpoints.past_values import PastValues
from swarm_graph.checkpoints.retention import compact
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.reports import highlight
from swarm_graph.reports.file_diffs import MAX_DIFF_LINES, change_between, change_in
from swarm_graph.reports.highlight import MAX_LINE, MAX_LINES, Highlighter
from swarm_graph.reports.rounds import CONTEXT_LINES, Round
from swarm_graph.reports.session_report import PAGE_CALLS, PARTS, SessionReport, page_of_calls, report_html
from swarm_graph.reports.templates import STYLE, new_environment
from swarm_graph.state import Kind, WorkflowName
from swarm_graph.web.addresses import Addresses

FIRST = """class Stack:
    def push(self, value, items=[]):
        items.append(value)
        self.items = items

    def pop(self):
        return self.items.pop()
"""
SECOND = FIRST.replace(", items=[]", "").replace("        items.append(value)\n", "")
SHARED = "The default list is shared by all stacks, so values appear in others."


def finding(location: str, problem: str, severity: str = "major") -> dict[str, str]:
    return {"severity": severity, "location": location, "problem": problem, "suggestion": ""}


def review(*findings: dict[str, str], approved: bool = False) -> str:
    return json.dumps({"findings": findings, "approved": approved})


def by_round(*answers: str) -> Any:
    return lambda ask: answers[min(ask.iteration, len(answers)) - 1]


def code(text: str, path: str = "src/stack.py") -> str:
    return f"````python path={path}\n{text}````"


def run(
    folder: Path,
    script: Script,
    rounds: int = 2,
    workflow: WorkflowName = "standard",
    kind: Kind = "code",
    **options: Any,
) -> None:
    coordinator = SwarmCoordinator(
        config(workflow={"max_iterations": rounds, "kind": kind}, **options),
        data_dir=folder,
        output=folder / "out",
        context=Crew(script).context,
    )
    coordinator.run_workflow("Write a stack", workflow, session_id="s")


@contextmanager
def report_of(folder: Path, session: str = "s", **options: Any) -> Iterator[SessionReport]:
    with open_checkpointer(folder / "swarm.db") as saver:
        row = saver.catalogue.get(session)
        assert row
        yield SessionReport(saver, row, **options)


def rounds_of(folder: Path) -> list[Round]:
    with report_of(folder) as report:
        return report.rounds


def rendered(report: SessionReport, part: str, **values: Any) -> str:
    return new_environment().get_template(f"parts/{part}.html").render(report=report, **values)


# --- rounds --------------------------------------------------------------------------------------


def test_each_finding_stands_beside_the_code_of_its_round(tmp_path: Path) -> None:
    reviews = by_round(
        review(finding("src/stack.py:2-3", SHARED, "critical"), finding("line 9", "Nobody tests it.")),
        review(finding("src/stack.py:3", "An empty stack raises IndexError.", "minor"), approved=True),
    )
    run(tmp_path, {"coder": by_round(code(FIRST), code(SECOND)), "reviewer": reviews})
    first, second = rounds_of(tmp_path)
    assert (first.verdict, second.verdict) == ("changes wanted", "approved")
    shared, untested = first.findings
    assert shared.code
    assert untested.code is None
    lines = [(line.number, line.is_marked) for line in shared.code.lines]
    assert lines == [(1, False), (2, True), (3, True), (4, False), (5, False), (6, False), (7, False)]
    assert [(shared.fate.kind, shared.fate.text)] == [("gone", "Not found again in round 2")]
    (minor,) = second.findings
    assert minor.code
    assert [line.html for line in minor.code.lines if line.is_marked] == ["        " + _shown_line()]
    assert (minor.fate.kind, minor.fate.text) == ("open", "Left open")
    assert second.change
    (changed,) = second.change.files
    assert [f"{line.sign}{line.text}" for line in changed.lines if line.kind in ("added", "removed")] == [
        "-    def push(self, value, items=[]):",
        "-        items.append(value)",
        "+    def push(self, value):",
    ]
    with report_of(tmp_path) as report:
        page = rendered(report, "rounds")
    assert page.count('<article class="finding') == 3
    assert page.count('class="line marked"') == 3
    assert '<span class="badge severity-critical">Critical</span>' in page


def _shown_line() -> str:
    return '<span class="hl-b">self</span>.items = items'


def test_what_became_of_a_finding_is_told_as_far_as_reviews_tell_it(tmp_path: Path) -> None:
    again = finding("src/stack.py:2", SHARED)
    reviews = by_round(
        review(again, finding("src/stack.py:7", "The method raises an error for an empty stack.")),
        review(
            {**again, "location": "src/stack.py:3"},
            finding("src/stack.py:6", "For an empty stack this method raises an IndexError error."),
        ),
        "no review at all",
    )
    secure = by_round(review(finding("src/stack.py:1", "Nothing is locked.")), APPROVED, APPROVED)
    coder = by_round(code(FIRST), code(SECOND), code(f"{SECOND}\n"))
    run(tmp_path, {"coder": coder, "reviewer": reviews, "security": secure}, rounds=3, workflow="full")
    first, second, third = rounds_of(tmp_path)
    fates = {one.problem: one.fate.text for one in first.findings}
    assert fates == {
        SHARED: "Found again in round 2",
        "The method raises an error for an empty stack.": "Perhaps found again in round 2, in other words",
        "Nothing is locked.": "Not found again in round 2",
    }
    assert {one.fate.text for one in second.findings} == {
        "Not judged again: no verdict of reviewer in round 3"
    }
    outcomes = {one.node: one.outcome for one in third.reviews}
    assert outcomes["reviewer"] == "could not be read: no approval"


@pytest.mark.slow
def test_failures_of_tests_stand_one_by_one_with_what_became_of_them(tmp_path: Path) -> None:
    tests = "from stack import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
    wrong = "def total(numbers):\n    return {}\n"
    answers = by_round(*(code(wrong.format(what), "stack.py") for what in ("1", "2", "sum(numbers)")))
    script: Script = {"coder": answers, "tester": code(tests, "test_stack.py")}
    run(tmp_path, script, rounds=3, workflow="full", execution={"mode": "auto"})
    rounds = rounds_of(tmp_path)
    assert [one.tests[0].kind for one in rounds] == ["bad", "bad", "good"]
    assert [found.fate.text for one in rounds for found in one.findings] == [
        "Fails again in round 2",
        "The tests pass in round 3",
    ]
    with report_of(tmp_path) as report:
        page = rendered(report, "rounds")
    assert "1 failed" in page
    assert "assert 1 == 3" in page
    assert 'id="round-1-failure-1"' in page


def test_code_that_does_not_parse_is_a_finding_of_its_round_as_in_the_verdict(tmp_path: Path) -> None:
    run(tmp_path, {"coder": by_round(code("def f(:\n"), code(FIRST))})
    first, second = rounds_of(tmp_path)
    assert [one.seen_by for one in first.findings] == [["syntax"]]
    assert first.findings[0].fate.text == "Not found again in round 2"
    assert (first.approved, second.approved) == (False, True)


def test_a_round_shows_its_own_code_where_circling_brought_an_earlier_attempt_back(tmp_path: Path) -> None:
    worse = review(*(finding("src/stack.py:1", f"Problem number {number}.") for number in range(3)))
    coder = by_round(code(FIRST), code(SECOND), code(SECOND))
    reviews = by_round(review(finding("src/stack.py:2", SHARED)), worse, worse)
    run(tmp_path, {"coder": coder, "reviewer": reviews}, rounds=5)
    rounds = rounds_of(tmp_path)
    assert [one.number for one in rounds] == [1, 2, 3]
    assert rounds[2].change
    assert rounds[2].change.files == []
    assert rounds[2].circling == "round 3 has the code of round 2 again"
    with report_of(tmp_path) as report:
        assert report.state["code"] == {"src/stack.py": FIRST}


def test_without_history_only_the_last_code_is_shown_and_the_others_say_why_not(tmp_path: Path) -> None:
    reviews = by_round(review(finding("src/stack.py:2", SHARED)), review(finding("src/stack.py:2", SHARED)))
    run(tmp_path, {"coder": by_round(code(FIRST), code(SECOND)), "reviewer": reviews})
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        compact(saver, "s", "last")
    first, second = rounds_of(tmp_path)
    assert first.findings[0].code is None
    assert second.findings[0].code
    assert (first.has_code, second.has_code, second.change) == (False, True, None)
    with report_of(tmp_path) as report:
        page = rendered(report, "rounds")
    assert page.count("The code of this round is not kept") == 1


@pytest.mark.slow
def test_twenty_rounds_read_each_value_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script: Script = {
        "coder": lambda ask: code(f"{FIRST}\nround_{ask.iteration} = 1\n"),
        "reviewer": lambda ask: review(finding("src/stack.py:9", f"Round {ask.iteration} is wrong.")),
    }
    run(tmp_path, script, rounds=20)
    read = list[tuple[str, str]]()
    plain = PastValues._read

    def counted(self: PastValues, channel: str, version: str) -> Any:
        read.append((channel, version))
        return plain(self, channel, version)

    monkeypatch.setattr(PastValues, "_read", counted)
    rounds = rounds_of(tmp_path)
    assert [one.number for one in rounds if one.findings[0].code] == [*range(1, 21)]
    assert len(read) == len({*read})
    assert sum(channel == "code" for channel, _ in read) == 20


# --- hostile texts -------------------------------------------------------------------------------

EVIL = '</code><script>alert(1)</script><img src=x onerror="alert(1)" style="color:red">"\'&lt;'
HOSTILE_PATH = 'src/<script>alert(1)</script>"onclick="x.py'


EVIL_IN_CODE = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Every element of a page, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "h1", "h2", "h3", "h4", "p", "a",
    "span", "code", "pre", "div", "details", "summary", "article", "ul", "ol", "li", "dl", "dt", "dd", "b",
    "table", "thead", "tbody", "tr", "th", "td", "caption", "nav", "svg", "g", "rect", "path", "line", "text",
    "tspan", "polygon", "marker", "defs", "circle", "blockquote", "strong", "em", "time",
}  # fmt: skip
ATTRIBUTES = re.compile(
    r"(?:id|class|lang|charset|name|content|open|tabindex|role|scope|href|for|colspan|datetime|"
    r"aria-[a-z]+|data-[a-z]+|xmlns|d|x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|dx|dy|width|height|viewbox|points|"
    r"fill|stroke|stroke-[a-z]+|font-[a-z]+|text-anchor|transform|marker-end|preserveaspectratio|"
    r"dominant-baseline|paint-order|pathlength)"
)


def no_element_is_a_models(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag in ELEMENTS, tag
        for name, value in attributes.items():
            assert ATTRIBUTES.fullmatch(name), (tag, name)
            assert name != "href" or (value or "").startswith(("#", "/sessions/")), value


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session in which every text of a model is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    text = f"# {EVIL}\nx = '''{EVIL}'''\n"
    script: Script = {
        "architect": f"<think>{EVIL}</think>{EVIL}",
        "coder": lambda ask: "\n".join(
            code(f"{text}y = {ask.iteration}\n", path) for path in ("src/a.py", "src/a.html", "docs/a.md")
        ),
        "reviewer": lambda ask: review(
            {**finding("src/a.py:1", f"{EVIL} {ask.iteration}", "critical"), "suggestion": EVIL},
            finding(EVIL, "It is wrong."),
            finding(f"{HOSTILE_PATH}:3", "No such file."),
        ),
        "security": review(finding("src/a.html:1-999", "All of it is wrong.")),
        "tester": code(f"def test_a():\n    assert 1 == 2, {EVIL!r}\n", "tests/test_a.py"),
        "documenter": f"# {EVIL}",
        "optimizer": EVIL,
        "debugger": EVIL,
    }
    run(folder, script, workflow="full")
    return folder


def test_no_element_of_a_report_comes_from_a_model(hostile: Path) -> None:
    with report_of(hostile) as report:
        page = report_html(report)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        no_element_is_a_models(page)
        for part in PARTS:
            for values in ({}, {"page": Addresses("s")}):
                no_element_is_a_models(rendered(report, part, **values))


def test_a_file_and_a_call_alone_are_text_too(hostile: Path) -> None:
    environment = new_environment()
    with report_of(hostile) as report:
        paths = [*report.files]
        assert "project/src/a.py" in paths
        for path in paths:
            page = environment.get_template("file.html").render(file=report.file(path))
            assert "alert(1)" in page
            no_element_is_a_models(page)
        numbers = [call.number for call in report.calls]
        assert all(numbers)
        for number in numbers:
            page = environment.get_template("call.html").render(call=report.call(number), report=report)
            no_element_is_a_models(page)
        assert (report.file("../swarm.db"), report.call(10**9)) == (None, None)


def test_reviews_that_are_none_are_left_out_and_counted(tmp_path: Path) -> None:
    run(tmp_path, {"reviewer": by_round(review(finding("src/a.py:1", "It is wrong.")), APPROVED)})
    odd: list[Any] = [7, {}, {"node": "r", "iteration": "x"}, {"node": "r", "iteration": 1, "findings": [{}]}]
    with report_of(tmp_path) as report:
        report.state = {**report.state, "reviews": [*report.state["reviews"], *odd]}
        assert len(report.rounds) == 2
        assert report.unreadable_reviews == len(odd)
        assert f"{len(odd)} reviews are left out" in rendered(report, "rounds")


# --- code and changes ----------------------------------------------------------------------------


def test_highlighted_lines_have_the_text_and_the_numbers_of_the_file() -> None:
    text = 'def f():\r\n    """A\n\n    b."""\n\treturn "\u202e" + \'\\n\'\n\n\n# end'
    shown = Highlighter().file("a.py", text)
    plain = [re.sub(r"<[^>]+>", "", line.html) for line in shown.lines]
    assert [line.number for line in shown.lines] == [*range(1, 9)]
    assert plain[0] == "def f():"
    assert plain[4] == "\treturn &quot;\\u202e&quot; + &#x27;\\n&#x27;"
    assert '<span class="hl-k">def</span>' in shown.lines[0].html
    assert all('class="hl-s"' in shown.lines[number].html for number in (1, 3)), "a text of several lines"


@pytest.mark.parametrize("path", ["a.py", "a.ts", "a.c", "a.unknown", "Makefile", "a.html", "a.json"])
@pytest.mark.parametrize(
    "text", ["", "\n", "\n\n\n", "a", "\x00\x0b\x0c\x1cb\n\x85\u2028c", " \n\t\n{", "'''\n"]
)
def test_every_line_of_every_text_has_a_number(path: str, text: str) -> None:
    lines = Highlighter().file(path, text).lines
    assert len(lines) == (0 if highlight.is_binary(text) else text.removesuffix("\n").count("\n") + 1)


def test_code_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Highlighter().file("a.py", "x\n" * (MAX_LINES + 5))
    assert (len(long.lines), long.note) == (MAX_LINES, "5 more lines are not shown")
    (wide,) = Highlighter().file("a.py", "x" * (MAX_LINE + 7)).lines
    assert wide.html.endswith("… (7 more characters)")
    assert (
        Highlighter().file("a.py", "\x00\x01\x02" * 100).note == "not shown: most of it is no readable text"
    )
    place = Highlighter().place("a.py", "x\n" * 500, 100, 300, CONTEXT_LINES, 40)
    assert (place.lines[0].number, place.lines[-1].number) == (96, 139)
    assert place.note == "the finding is about 161 more lines"
    late = Highlighter(seconds=0).file("c.py", "def f():\n    pass\n")
    assert [line.html for line in late.lines] == ["def f():", "    pass"]
    monkeypatch.setattr(highlight, "MAX_SECONDS", -1.0)
    stopped = Highlighter().file("b.py", "def f():\n    pass\n")
    assert [re.sub(r"<[^>]+>", "", line.html) for line in stopped.lines] == ["def f():", "    pass"]


def test_changes_of_files_are_read_from_texts_and_from_git() -> None:
    before = {"a.py": "x = 1\ny = 2\n", "gone.py": "z = 3\n", "same.py": "s\n"}
    after = {"a.py": "x = 1\ny = 3\n", "new.py": "n = 4\n", "same.py": "s\n"}
    change = change_between(before, after)
    told = [(file.path, file.status, file.added, file.removed) for file in change.files]
    assert told == [("a.py", "changed", 1, 1), ("gone.py", "removed", 0, 1), ("new.py", "added", 1, 0)]
    assert change.figures == "3 files, +2 \N{MINUS SIGN}2"
    numbered = [(line.sign, line.old, line.new, line.text) for line in change.files[0].lines[1:]]
    assert numbered == [(" ", 1, 1, "x = 1"), ("-", 2, None, "y = 2"), ("+", None, 2, "y = 3")]
    git = (
        "diff --git a/a.py b/a.py\nindex 1..2 100644\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@ def f\n x = 1\n"
        "--- y\n+++ z\ndiff --git a/b.bin b/b.bin\nBinary files a/b.bin and b/b.bin differ\n"
    )
    text, binary = change_in(git).files
    assert [(line.sign, line.text) for line in text.lines[1:]] == [
        (" ", "x = 1"),
        ("-", "-- y"),
        ("+", "++ z"),
    ]
    assert (binary.path, binary.note) == ("b.bin", "Binary files a/b.bin and b/b.bin differ")


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        ("a\n" * 5000, "b\n" * 5000, "not compared: 5,000 lines before, 5,000 after"),
        ("".join(f"{n % 99}\n" for n in range(3900)), "".join(f"{n % 98}\n" for n in range(3900)), "same"),
        ("\x00\x01" * 50, "a\n", "not shown: most of it is no readable text"),
        ("", "a\n" * 500, f"{501 - MAX_DIFF_LINES} more lines of the diff are not shown"),
    ],
)
def test_texts_that_take_too_long_or_too_much_are_not_compared(before: str, after: str, note: str) -> None:
    (file,) = change_between({"a": before}, {"a": after}).files
    assert note in file.note


def test_colours_of_code_can_be_read_on_every_ground() -> None:
    style = STYLE.read_text()
    grounds = dict(re.findall(r"--(soft|warn-soft): light-dark\((.*?)\)", style))
    tokens = dict(re.findall(r"\.(hl-\w)\s*\{ color: light-dark\((.*?)\)", style))
    assert len(tokens) == 6
    assert {css for _, css in highlight._CLASSES} == {*tokens}
    for name, colours in tokens.items():
        for ground in grounds.values():
            for colour, below in zip(colours.split(", "), ground.split(", "), strict=True):
                assert _contrast(colour, below) >= 4.5, (name, colour, below)


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_change_of_a_repository_is_shown_and_git_reads_it_for_own_sessions_alone(tmp_path: Path) -> None:
    files = {"src/a.py": "x = 1\n", "src/b.py": f"y = '{EVIL_IN_CODE}'\n"}
    repo = make_repository(tmp_path / "repo", files)
    reviews = by_round(review(finding("src/a.py:1", "Two."), finding("src/b.py:1", "Three.")), APPROVED)
    script: Script = {"coder": code("x = 2\n", "src/a.py"), "reviewer": reviews}
    run(tmp_path, script, kind="change", repo={"path": str(repo)})
    with report_of(tmp_path) as report:
        first = report.rounds[0]
        assert [one.place and one.place.path for one in first.findings if one.code] == [
            "src/a.py",
            "src/b.py",
        ]
        change = rendered(report, "change")
        assert "swarm/s" in change
        assert '<span class="line added" data-line="1"><span class="sign">+</span>x = 2' in change
        assert "changes.patch" in report.files
        no_element_is_a_models(report_html(report))
    with report_of(tmp_path) as received:
        received.is_own = False
        assert [one.place and one.place.path for one in received.rounds[0].findings if one.code] == [
            "src/a.py"
        ]
        assert "another user" in rendered(received, "change")
        assert "x = 2" not in rendered(received, "change")


def _paths_with_code(judged: Round) -> list[str]:
    return [one.code.path for one in judged.findings if one.code]


# --- calls ---------------------------------------------------------------------------------------


def test_calls_are_paged_and_each_has_a_number(tmp_path: Path) -> None:
    coordinator = SwarmCoordinator(
        config(), data_dir=tmp_path, output=tmp_path / "out", context=Crew().context
    )
    for number in range(PAGE_CALLS + 5):
        coordinator.add_task(Task(f"T{number:02}", "t", f"Do {number}", AgentRole.DOCUMENTER))
    coordinator.run_workflow("", "custom", session_id="s")
    with report_of(tmp_path, calls=page_of_calls(0)) as first:
        assert (len(first.calls), first.call_count, first.more_calls) == (PAGE_CALLS, PAGE_CALLS + 5, 5)
        page = rendered(first, "calls", page=Addresses("s"))
        assert "/sessions/s/parts/calls?calls=20" in page
        assert "Calls 1 to 20 of 25" in page
    with report_of(tmp_path, calls=page_of_calls(20)) as second:
        numbers = [call.number for call in [*first.calls, *second.calls]]
        assert len({*numbers}) == PAGE_CALLS + 5
        alone = second.call(numbers[-1])
        assert alone
        assert alone.title == second.calls[-1].title
        assert "Earlier calls" in rendered(second, "calls", page=Addresses("s"))
    with report_of(tmp_path) as saved:
        assert len(saved.calls) == PAGE_CALLS + 5
        assert "left out" not in rendered(saved, "calls")
