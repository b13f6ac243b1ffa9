"""Documents in answers, however they are wrapped, and the checks of their text."""

from __future__ import annotations

import json

import pytest

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_document import headings, lost_text, read_documents
from swarm_graph.roles.document_checks import CHECKLIST, Item, check_documents, checklist_text
from swarm_graph.roles.visible_text import visible_text
from swarm_graph.state import SwarmState

PROCEDURE = """# Startup of R-201

Draft until released.

## Steps

1. P-101: start it.

```text
R-201 -> V-1
```

```
bare block
```

## Limits

Temperature not above 180 °C.
"""
OUTER = "`" * 4
WRAPPED = {
    "in a longer fence": f"Here it is:\n{OUTER}markdown path=docs/startup.md\n{PROCEDURE}{OUTER}\nAll done.",
    "in a fence of three": f"```markdown path=docs/startup.md\n{PROCEDURE}```\n\nI changed the limits.",
    "with a title": f'```md title="docs/startup.md"\n{PROCEDURE}```',
    "never closed": f"{OUTER}markdown path=docs/startup.md\n{PROCEDURE}",
    "with a carriage return": f"{OUTER}markdown path=docs/startup.md\n{PROCEDURE}{OUTER}".replace(
        "\n", "\r\n"
    ),
}
LONE = {
    "in a lone Markdown fence": f"```markdown\n{PROCEDURE}```",
    "in a longer lone fence": f"Sure!\n\n{OUTER}md\n{PROCEDURE}{OUTER}\n",
    "in a fence without a language": f"{OUTER}\n{PROCEDURE}{OUTER}\n",
    "without a fence": PROCEDURE,
    "with carriage returns": PROCEDURE.replace("\n", "\r\n"),
    "below a sentence": f"Here is the procedure you asked for:\n\n{PROCEDURE}",
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_document_in_a_fence_survives_whole(case: str) -> None:
    assert read_documents(WRAPPED[case], {}).written == {"docs/startup.md": PROCEDURE}


@pytest.mark.parametrize("case", LONE)
def test_a_document_without_a_path_is_the_only_one(case: str) -> None:
    assert read_documents(LONE[case], {}).written == {"docs/document.md": PROCEDURE}
    assert read_documents(LONE[case], {"docs/old.md": "# Old\n\nx"}).written == {"docs/old.md": PROCEDURE}


def test_a_document_may_quote_files_and_examples() -> None:
    quoted = "```yaml path=config.yaml\na: 1\n```\n\n```markdown\n# Example\n```\n"
    text = f"# Guide\n\n## Configure\n\n{quoted}\n## End\n\nx\n"
    assert read_documents(text, {}).written == {"docs/document.md": text}


def test_several_documents_have_a_path_each() -> None:
    one, two = (f"```markdown path=docs/{name}.md\n# {name}\n\ntext\n" for name in "ab")
    expected = {"docs/a.md": "# a\n\ntext\n", "docs/b.md": "# b\n\ntext\n"}
    assert read_documents(f"{one}```\n{two}```", {}).written == expected
    found = read_documents(f"{one}{two}```\nDELETE docs/c.md", {"docs/c.md": "# C\n\nx"})
    assert {path: text.rstrip() for path, text in found.written.items()} == {
        path: text.rstrip() for path, text in expected.items()
    }
    assert found.deleted == ("docs/c.md",)


def test_an_edit_that_makes_a_program_is_refused() -> None:
    edit = "--- /dev/null\n+++ src/a.py\n@@ -0,0 +1 @@\n+x = 1\n"
    with pytest.raises(UnreadableAnswer, match=r"'src/a\.py' is no document"):
        read_documents(edit, {"docs/a.md": "# A\n\n1. Open.\n"})


def test_an_edit_of_an_old_document_is_applied() -> None:
    edit = "docs/a.md\n```\n<<<<<<< SEARCH\n1. Open.\n=======\n1. Close.\n>>>>>>> REPLACE\n```"
    assert read_documents(edit, {"docs/a.md": "# A\n\n1. Open.\n"}).written == {
        "docs/a.md": "# A\n\n1. Close.\n"
    }


NONE = {
    "a refusal": ("I'm sorry, but I can't help with that.", "holds no document"),
    "an empty fence": ("```markdown path=docs/a.md\n```", "holds no document"),
    "a title alone": ("# Startup\n", "holds no document"),
    "a program": ("```python path=src/a.py\nx = 1\n```", r"'src/a.py' is no document"),
    "a program beside it": (
        f"{WRAPPED['in a longer fence']}\n```python path=src/a.py\nx = 1\n```",
        r"'src/a.py' is no document",
    ),
    "a path that leaves": ("```markdown path=../a.md\n# A\n\nx\n```", "not allowed"),
    "something left out": ("# A\n\nx\n\n[rest of the document unchanged]\n", "stands for omitted text"),
    "two without a path": ("```md\n# A\n\nx\n```\n```md\n# B\n\ny\n```", "several documents without a path"),
    "JSON": ('{"title": "Startup"}', "holds no document"),
}


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_document_is_refused(case: str) -> None:
    text, problem = NONE[case]
    with pytest.raises(UnreadableAnswer, match=problem):
        read_documents(text, {})


def test_headings_stand_outside_of_fences() -> None:
    text = "Title\n=====\n\n```sh\n# a comment\n```\n\n## Steps ##\n\n**Hold point**\n\n**Note:** go on\n"
    assert [(found.level, found.title) for found in headings(text)] == [
        (1, "Title"),
        (2, "Steps"),
        (7, "Hold point"),
    ]


def test_a_document_that_loses_most_of_its_text_is_doubtful() -> None:
    assert "docs/a.md" in lost_text({"docs/a.md": "# A\n\nx"}, {"docs/a.md": PROCEDURE})
    assert not lost_text({"docs/a.md": PROCEDURE}, {"docs/a.md": PROCEDURE + "one more line"})


# --- the checks ----------------------------------------------------------------------------------


def problems(text: str, **state: object) -> list[str]:
    """What the checks say about a document."""
    checked = check_documents({"code": {"docs/a.md": text}, **state})  # type: ignore[typeddict-item]
    return [f"{check.place} {check.problem}" for check in checked.checks if check.problem]


def test_a_good_document_passes_every_check() -> None:
    request = "Start R-201 and P-101 by ISO 9001, with C12 feed. The limit is 180 °C."
    design = "## Outline\n- `# Title`: x\n- `## Steps`: y\n- `## Limits`: z"
    tests = {CHECKLIST: checklist_text([Item("Limit", "Limits", "Temperature not above 180 °C")])}
    assert problems(PROCEDURE, request=request, design=design, tests=tests) == []


BAD: dict[str, tuple[dict[str, object], str, str]] = {
    "a missing section": (
        {"design": "- `## Stop and make safe`: when"},
        PROCEDURE,
        "'Stop and make safe' is missing",
    ),
    "an empty section": (
        {},
        f"{PROCEDURE}\n## Hold points\n\n## End\n\nx\n",
        "docs/a.md:21 the section 'Hold points' is",
    ),
    "a TODO": ({}, f"{PROCEDURE}\nTODO: ask\n", "docs/a.md:21 'TODO' is left open"),
    "a TBC": ({}, f"{PROCEDURE}\nThe limit is TBC.\n", "'is TBC' is left open"),
    "dots in brackets": ({}, f"{PROCEDURE}\nSet it to [...].\n", "'[...]' is left open"),
    "an invitation": ({}, f"{PROCEDURE}\nSet it to [insert value].\n", "left open"),
    "blanks that nobody lists": (
        {},
        f"{PROCEDURE}\nHold at ____ °C.\n",
        "1 blanks are in no section 'Open points'",
    ),
    "a number without a unit": (
        {},
        f"{PROCEDURE}\nKeep the pressure below 12.\n",
        "'pressure below 12' has no unit",
    ),
    "two units": ({}, f"{PROCEDURE}\nNot above 350 °F.\n", "temperature stands in °C and in °F"),
    "a lost tag": ({"request": "trip by TAHH-301"}, PROCEDURE, "'TAHH-301' stands in the request"),
    "a program's tag as a part": ({"request": "Start P-10"}, PROCEDURE, "'P-10' stands in the request"),
    "an empty checklist": ({"tests": {CHECKLIST: '{"items": []}'}}, PROCEDURE, "it could not be read"),
    "a broken checklist": ({"tests": {CHECKLIST: "[1"}}, PROCEDURE, "it could not be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_check_that_does_not_hold_says_where_and_what(case: str) -> None:
    state, text, problem = BAD[case]
    assert problem in "\n".join(problems(text, **state)), problems(text, **state)


FINE = [
    "Add TBC inhibitor to the column.",
    "Heat it from 20 to 180 °C within 3 h.",
    "The level is between 40 and 60 %.",
    "Access level 2. Step 3 of 7.",
    "2 bar (200 kPa) and 3 bar.",
    "Signed by: ____ Date: ____",
    "| time | ____ |",
    "- [ ] valve closed",
    "See [the data sheet](sheet.md).",
    "```\nTODO in a listing, pressure below 12.\n```",
]


@pytest.mark.parametrize("line", FINE)
def test_what_is_usual_in_a_procedure_passes(line: str) -> None:
    assert problems(f"{PROCEDURE}\n{line}\n") == []


HIDDEN = {
    "a comment": "<!-- {} -->",
    "a comment of several lines": "<!--\n\n{}\n-->",
    "a comment that never ends": "<!-- {}",
    "the target of a link": "[//]: # ({})",
}


@pytest.mark.parametrize("case", HIDDEN)
def test_what_no_reader_sees_does_not_count(case: str) -> None:
    words = "The limit of TAHH-301 is 210 °C."
    text = f"# A\n\nx\n\n## Steps\n\n{HIDDEN[case].format(words)}\n"
    tests = {CHECKLIST: checklist_text([Item("Limit", "", words)])}
    found = "\n".join(problems(text, tests=tests, request="explain TAHH-301", design="- `## Steps`: x"))
    assert "the section 'Steps' is empty" in found
    assert "'TAHH-301' stands in the request" in found
    assert "what the tester quotes does not stand there" in found
    with pytest.raises(UnreadableAnswer, match="holds no document"):
        read_documents(f"# A\n\n{HIDDEN[case].format(words)}\n", {})


@pytest.mark.parametrize(
    "body",
    [
        "\u200b\u200b",
        "\u3164",
        "&nbsp;",
        "<br>",
        "<details></details>",
        "```\n```",
        "...",
        "| a | b |\n|---|---|",
    ],
)
def test_a_section_without_words_is_empty(body: str) -> None:
    assert problems(f"# A\n\nx\n\n## Steps\n\n{body}\n\n## End\n\nx\n") == [
        "docs/a.md:5 the section 'Steps' is empty"
    ]


def test_a_comment_in_code_is_seen() -> None:
    shown = "Write `<!--` and &lt;b&gt;.\n\n```html\n<!-- seen -->\n```"
    assert visible_text(f"{shown}\n<!-- hid\nden --> end") == f"{shown.replace('&lt;b&gt;', '<b>')}\n\n end"


@pytest.mark.parametrize(
    "hostile",
    [
        "`" * 200_000,
        "<!--" * 50_000,
        "<a " * 70_000,
        "." * 200_000,
        "____ " * 40_000,
        "TODO " * 40_000,
        "XX" * 100_000,
    ],
)
def test_a_document_of_one_huge_line_is_checked_in_linear_time(hostile: str) -> None:
    problems(f"# A\n\n{hostile} 3\n", request="Start P-101")


UNWRITTEN = [
    "T\u200bODO: write", "Hold: TODO 45", "Hold at XX °C.", "Hold at {{temperature}}.",
    "| limit | to be determined |", "Noch zu ergänzen.", "A definir", "À compléter.", "t.b.d.",
    "Hold at ........ °C.", r"Hold at \_\_\_\_ °C.", "Hold at \uff3f\uff3f\uff3f °C.",
]  # fmt: skip


@pytest.mark.parametrize("line", UNWRITTEN)
def test_what_is_not_written_is_found_in_whatever_form(line: str) -> None:
    (found,) = problems(f"{PROCEDURE}\n{line}\n")
    assert "left open" in found or "blanks are in no section" in found


OTHER_LANGUAGES = [
    "Todo o lote passa pelo filtro; verificar todo o sistema.",
    "TODO O LOTE DEVE PASSAR PELO FILTRO.",
    "Todo el lote pasa por el filtro.",
    "Die Temperatur bleibt unter 45,5 °C, der Druck bei 2,5 bar.",
    "A pressão não passa de 2,5 bar.",
    "Unterschrift: ________ Datum: ________",
    "Assinatura: ________ Data: ________",
    "Hold at ____ °C.\n\n## Offene Punkte\n\n1. Temperatur ____ °C: Leitung.",
    "Manter a ____ °C.\n\n## Pontos em aberto\n\n1. Temperatura: engenheiro.",
    "Check that the pressure is 0 before you open it.",
    "Use the pattern `???` or `[...]`.",
    "____________",
]


@pytest.mark.parametrize("line", OTHER_LANGUAGES)
def test_right_lines_of_other_languages_and_rulers_pass(line: str) -> None:
    assert problems(f"{PROCEDURE}\n{line}\n") == []


def test_units_of_other_scripts_are_known() -> None:
    assert (
        "pressure stands in bar and in psi" in problems(f"{PROCEDURE}\n5 \u0431\u0430\u0440\n\n30 psi\n")[0]
    )
    assert (
        "'Temperatur bleibt unter 45' has no unit"
        in problems(f"{PROCEDURE}\nDie Temperatur bleibt unter 45.\n")[0]
    )
    assert "'temperature is 0' has no unit" in problems(f"{PROCEDURE}\nThe temperature is 0.\n")[0]


def test_a_tag_in_the_contents_alone_is_lost() -> None:
    contents = "- [TAHH-301](#tahh-301)\n\nTAHH-302 ........ 3\n"
    found = problems(f"# A\n\n{contents}\nx\n", request="TAHH-301 and TAHH-302")
    assert len(found) == 2
    assert problems("# A\n\n## TAHH-301\n\nIt trips.\n", request="TAHH-301 on DN50, PN16, GHS02") == []


def test_a_heading_over_dashes_is_one() -> None:
    text = "---\ntitle: x\n---\n\n# A\n\nSteps\n-----\n\nA sentence.\n---\n\n- item\n---\n"
    assert [found.title for found in headings(text)] == ["A", "Steps"]


def quoting(text: str, *quotes: str) -> list[str]:
    """Why quotes of a text do not show what they are to show."""
    items = [Item("r", "", quote) for quote in quotes]
    found = problems(text, tests={CHECKLIST: checklist_text(items)})
    return [line.partition("(")[2].rstrip(")") for line in found]


QUOTED = """# Startup of R-201

## Emergency stop

1. Don\u2019t exceed 1800 \u2013 ever.
2. Open the inlet valve.

| TI-1 | -20 °C |
|---|---|
| 打开阀门 | x |
"""


@pytest.mark.parametrize(
    ("quote", "problem"),
    [
        ("Don't exceed 1800 - ever", ""),
        ('"Open the inlet valve."', ""),
        ("1. Don't exceed 1800 - ever. 2. Open the inlet valve.", ""),
        ("Don't exceed 1800 … Open the inlet valve", ""),
        ("| TI-1 | -20 °C |", ""),
        ("打开阀门", ""),
        ("Startup of R-201", ""),
        ("Don't exceed 180", "what the tester quotes does not stand there"),
        ("Don't exceed 1800 … Close the valve", "what the tester quotes does not stand there"),
        ("20 °C | 打开阀门 | x", "what the tester quotes does not stand there"),
        ("valve", "what the tester quotes is too short to show it"),
        ("## Emergency stop", "the tester quotes only a heading"),
    ],
)
def test_a_quote_shows_something_or_says_why_not(quote: str, problem: str) -> None:
    assert quoting(QUOTED, quote) == ([problem] if problem else [])


def test_the_same_words_do_not_meet_every_requirement() -> None:
    assert quoting(PROCEDURE, *["Draft until released."] * 3) == []
    assert (
        quoting(PROCEDURE, *["Draft until released."] * 4)
        == ["the tester quotes the same words for 4 requirements"] * 4
    )


@pytest.mark.parametrize("value", ["null", "7", "[]"])
def test_a_checklist_of_other_types_is_not_read(value: str) -> None:
    text = f'{{"items": [{{"requirement": "a", "place": "b", "quote": {value}}}]}}'
    assert "it could not be read" in problems(PROCEDURE, tests={CHECKLIST: text})[0]


def test_open_values_are_counted_and_fine_where_they_are_listed() -> None:
    listed = "## Open points\n\n1. Hold temperature ____ °C: process engineer.\n"
    text = f"{PROCEDURE}\nHold at ____ °C for ____ min.\n\n{listed}"
    state = SwarmState(code={"docs/a.md": text})
    assert check_documents(state).open_values == 2
    assert problems(text) == []


def test_a_quote_counts_only_where_it_stands_in_the_document() -> None:
    items = [
        Item("Markup does not matter", "", "**Temperature** NOT above\n180 °C"),
        Item("Invented", "Limits", "Temperature not above 190 °C"),
        Item("Not found", "", ""),
        Item("Too short", "", "the"),
    ]
    found = problems(PROCEDURE, tests={CHECKLIST: checklist_text(items)})
    assert [line.split(": ")[1].split(" (")[0] for line in found] == ["Invented", "Not found", "Too short"]
    assert "what the tester quotes does not stand there" in found[0]


def test_many_problems_of_one_kind_are_counted() -> None:
    found = problems(PROCEDURE + "\n".join("TODO" for _ in range(30)))
    assert len(found) == 9
    assert found[-1] == "docs/a.md 22 more like these"


def test_a_checklist_is_json() -> None:
    assert json.loads(checklist_text([Item("a", "b", "c")])) == {
        "items": [{"requirement": "a", "place": "b", "quote": "c"}]
    }
