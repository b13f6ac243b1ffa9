"""What models write, read: files in every form that occurs, JSON amid anything, nothing invented."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import fuzz_answers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing.exceptions import Unresolvable

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.nodes.clarifier import Clarification
from swarm_graph.nodes.reviewer import Judgement
from swarm_graph.roles.answers import read, read_typed
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.file_blocks import Files, fenced, read_files

BODY = "x = 1\n"
NAMED = {
    "path=": "```python path=src/a.py\nx = 1\n```",
    "path= quoted": '```python path="src/a.py"\nx = 1\n```',
    "title=": "```python title=src/a.py\nx = 1\n```",
    "file=": "```python file=src/a.py\nx = 1\n```",
    "name=": "```python name='src/a.py'\nx = 1\n```",
    "filename:": "```python filename: src/a.py\nx = 1\n```",
    "path alone": "```src/a.py\nx = 1\n```",
    "language:path": "```python:src/a.py\nx = 1\n```",
    "path after language": "```python src/a.py\nx = 1\n```",
    "braces": "```{.python path=src/a.py}\nx = 1\n```",
    "first line comment": "```python\n# src/a.py\nx = 1\n```",
    "first line comment with word": "```python\n# file: src/a.py\nx = 1\n```",
    "first line comment with capital": "```python\n# File: src/a.py\n\nx = 1\n```",
    "first line slashes": "```js\n// src/a.py\nx = 1\n```",
    "heading": "### src/a.py\n\n```python\nx = 1\n```",
    "heading with backticks": "### `src/a.py`\n```python\nx = 1\n```",
    "numbered heading": "### 2. src/a.py\n```python\nx = 1\n```",
    "bold": "**src/a.py**\n```python\nx = 1\n```",
    "bold with colon": "**src/a.py:**\n\n```python\nx = 1\n```",
    "bold by underscores": "__src/a.py__\n```python\nx = 1\n```",
    "bold label": "**File:** `src/a.py`\n```python\nx = 1\n```",
    "backticked": "`src/a.py`\n```python\nx = 1\n```",
    "backticked with colon": "`src/a.py`:\n```python\nx = 1\n```",
    "File: path": "File: src/a.py\n```python\nx = 1\n```",
    "numbered": "1. `src/a.py`\n```python\nx = 1\n```",
    "indented in a list": "1. The file:\n   ```python path=src/a.py\n   x = 1\n   ```",
    "indented by four": "10. The file:\n\n    ```python path=src/a.py\n    x = 1\n    ```",
    "longer fence": "````python path=src/a.py\nx = 1\n````",
    "tildes": "~~~python path=src/a.py\nx = 1\n~~~",
    "fence left open": "```python path=src/a.py\nx = 1\n",
    "./ before it": "```python path=./src/a.py\nx = 1\n```",
    "Windows line ends": "```python path=src/a.py\r\nx = 1\r\n```\r\n",
    "Windows separators": "```python path=src\\a.py\nx = 1\n```",
    "after thoughts": "<think>```python path=b.py\nno\n```</think>\n```python path=src/a.py\nx = 1\n```",
    "in a fence around all of it": "```markdown\n```python path=src/a.py\nx = 1\n```\n```",
    "in a longer one": "````md\nHere:\n```python path=src/a.py\nx = 1\n```\n````\nDone.",
    "after a draft": "```python path=src/a.py\nx = 0\n```\nNo:\n```python path=src/a.py\nx = 1\n```",
    "before an example": "```python path=src/a.py\nx = 1\n```\nRun:\n```bash\npython src/a.py\n```",
    "prose around": "Here it is:\n\n```python path=src/a.py\nx = 1\n```\n\nDone.",
}


@pytest.mark.parametrize("form", NAMED)
def test_a_file_is_found_however_its_path_is_written(form: str) -> None:
    assert read(NAMED[form], Files).written == {"src/a.py": BODY}


NAMES = {
    '```python path="src/my file.py"': "src/my file.py",
    "```dockerfile path=Dockerfile": "Dockerfile",
    "```.gitignore": ".gitignore",
    "```yaml path=.github/workflows/ci.yml": ".github/workflows/ci.yml",
    "```python src/__init__.py": "src/__init__.py",
    "### __init__.py\n```python": "__init__.py",
    "```html\n<!-- index.html -->": "index.html",
    "```css\n/* a.css */": "a.css",
    "```sql\n-- db/schema.sql": "db/schema.sql",
    "```tsx path=app/[id]/page.tsx": "app/[id]/page.tsx",
}


@pytest.mark.parametrize("head", NAMES)
def test_file_names_of_every_kind_are_read(head: str) -> None:
    assert read_files(f"{head}\nx = 1\n```").written == {NAMES[head]: BODY}


MAINS = {
    "python": "main.py",
    "python3.11": "main.py",
    "python 3.11": "main.py",
    "python classname=wide": "main.py",
    'python title="Usage example"': "main.py",
    "{.python}": "main.py",
    "markdown": "main.md",
    "rust": "main.rs",
    "": "main.txt",
}


@pytest.mark.parametrize("info", MAINS)
def test_one_lone_block_without_a_path_is_main(info: str) -> None:
    assert read_files(f"Here:\n```{info}\nx = 1\n```").written == {MAINS[info]: BODY}


@pytest.mark.parametrize("line", ["# The main.py of it all", "#!/usr/bin/python3.11", "# v1.2", "# e.g."])
def test_a_first_line_that_names_no_file_stays(line: str) -> None:
    assert read_files(f"```python\n{line}\nx = 1\n```").written == {"main.py": f"{line}\nx = 1\n"}


def test_several_files_and_fences_inside_of_them() -> None:
    text = "````markdown path=README.md\nUse:\n```python\nx\n```\n````\n```python path=a.py\nx = 1\n```"
    assert read_files(text).written == {"README.md": "Use:\n```python\nx\n```\n", "a.py": BODY}


@pytest.mark.parametrize("end", ["```\n", ""])
def test_fences_as_long_as_the_one_around_them_belong_to_the_file(end: str) -> None:
    readme = "Use:\n```bash\npip install a\n```\n\n```python\nx\n```\nDone.\n"
    assert read_files(f"```markdown path=README.md\n{readme}{end}").written == {"README.md": readme}


SWALLOWING = {
    "fences in a docstring": ("'''\n```python\nx\n```\n'''\n", "```"),
    "half a fence in a string": ("'''\n```python\n'''\n", "```\nNext:"),
    "a fence that is never closed": ("y = 2\n", ""),
    "a stray fence after the file": ("y = 2\n", "```\n```"),
}


@pytest.mark.parametrize("case", SWALLOWING)
def test_no_file_swallows_the_next(case: str) -> None:
    body, end = SWALLOWING[case]
    text = f"```python path=b.py\n{body}{end}\n```python path=a.py\nx = 1\n```"
    written = read_files(text).written
    assert {path: text.rstrip("\n") for path, text in written.items()} == {
        "b.py": body.rstrip("\n"),
        "a.py": "x = 1",
    }


def test_lines_end_at_line_feeds_and_nowhere_else() -> None:
    code = "a\x0cb\x1c\u2028c\x85\n"
    assert read_files(f"```python path=a.py\n{code}```").written == {"a.py": code}


def test_an_empty_file_is_a_file() -> None:
    assert read_files("```python path=src/__init__.py\n```").written == {"src/__init__.py": ""}


@pytest.mark.parametrize(
    "text", ["Only prose.", "```python\na\n```\nand\n```python\nb\n```", "``` ```", "```\n```"]
)
def test_no_file_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableAnswer, match="holds no file"):
        read(text, Files)


@pytest.mark.parametrize("text", ["", "  \n", "<think>only thoughts</think>", "<think>cut off in thou"])
def test_nothing_is_unreadable(text: str) -> None:
    for kind in (Files, str, Judgement):
        with pytest.raises(UnreadableAnswer, match="empty"):
            read(text, kind)


BAD_PATHS = [
    "..",
    ".",
    "../a.py",
    "/etc/passwd",
    "a/../../b.py",
    "~/a.py",
    "C:/a.py",
    "C:\\a.py",
    "\\\\server\\x.py",
    ".git/config",
    "a/.git/x",
    "a/.GIT/x",
    ".git./x",
    "x" * 201 + ".py",
    "a/" + "é" * 70 + ".py",
    "a/\x1b[31mb.py",
    "a\u202eb.py",
    "a|b.py",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_could_leave_the_folder_are_refused(path: str) -> None:
    for text in (
        f"```python path={path}\nx = 1\n```",
        f'```python file="{path}"\nx = 1\n```',
        f"DELETE {path}",
    ):
        with pytest.raises(UnreadableAnswer, match="not allowed"):
            read_files(text)


@pytest.mark.parametrize("path", ["../a.py", "/etc/a.py", "..\\a.py", "\\a.py", "./../a.py"])
def test_a_path_alone_that_leaves_the_folder_is_refused_too(path: str) -> None:
    for text in (f"```{path}\nx\n```", f"```python\n# {path}\nx\n```", f"**{path}**\n```python\nx\n```"):
        with pytest.raises(UnreadableAnswer, match="not allowed"):
            read_files(text)


def test_a_file_cannot_be_a_folder_of_another() -> None:
    with pytest.raises(UnreadableAnswer, match="both as a file and as a folder"):
        read_files("```python path=src\nx\n```\n```python path=src/a.py\nx\n```")


def test_new_files_go_over_old_ones() -> None:
    answer = read_files("DELETE b.py\n```python path=a.py\nx = 2\n```\n```text path=lib/c\ny\n```")
    assert answer.deleted == ("b.py",)
    old = {"a.py": "x = 1\n", "b.py": "gone\n", "keep.py": "k\n", "lib": "was a file\n"}
    assert answer.over(old) == {"a.py": "x = 2\n", "keep.py": "k\n", "lib/c": "y\n"}
    assert Files({"lib": "a file again"}).over({"lib/c": "y", "lib2": "z"}) == {
        "lib2": "z",
        "lib": "a file again",
    }


NOT_DELETED = [
    "```text path=a.sql\nDELETE b.sql\n```",
    "```text path=a.sql\nDELETE b.sql",
    "~~~~text path=a.sql\n~~~\nDELETE b.sql\n~~~~",
    "DELETE\nb.sql\n```text path=a.sql\nx\n```",
    "DELETE a.sql\n```text path=a.sql\nwritten again\n```",
]


@pytest.mark.parametrize("text", NOT_DELETED)
def test_only_a_delete_line_outside_of_files_deletes(text: str) -> None:
    answer = read_files(text)
    assert (list(answer.written), answer.deleted) == (["a.sql"], ())


def test_an_answer_may_only_delete() -> None:
    assert read_files("Both go:\nDELETE a.py\n  DELETE `src/b.py` \n") == Files({}, ("a.py", "src/b.py"))


GOOD = '{"findings": [], "approved": true}'
BAD = '{"findings": [], "approved": false}'
AMID = [
    "{json}",
    "Here is my review:\n{json}\nThanks.",
    "```json\n{json}\n```",
    "```json\n{json}",
    "<think>Should I {{approve}}? No: {}</think>{json}",
    "Thoughts without their opening tag: {json} or {}\n</think>\n{json}",
    "Well.\n<think>\n{other}\n</think>\n{json}",
    "I considered {this} and {that: 1}.\n{json}",
    "A lone { in prose. {json} And {x} after it.",
    '{"note": "not it"} {json}',
    "{json}\nOnce more:\n```json\n{json}\n```",
    "[{json}]",
    "{indented}",
    "{more}",
]


@pytest.mark.parametrize("form", AMID)
def test_a_refusal_is_found_amid_anything(form: str) -> None:
    indented = json.dumps(json.loads(BAD), indent=2).replace("\n", "\r\n")
    text = form.replace("{json}", BAD).replace("{other}", GOOD).replace("{indented}", indented)
    text = text.replace("{more}", BAD.replace("false", 'false, "summary": "It loses data."'))
    assert read(text, Judgement) == Judgement(findings=[], approved=False)


ALONE = [
    GOOD,
    f"\n {GOOD}\n",
    f"\ufeff{GOOD}",
    json.dumps(json.loads(GOOD), indent=2).replace("\n", "\r\n"),
    f"```json\n{GOOD}\n```",
    f"~~~\n{GOOD}\n~~~",
    f"```json\n{GOOD}",
    f"{GOOD}\n```",
    f"<think>Should I approve? {BAD}</think>{GOOD}",
    f"[THINK]{BAD}[/THINK]\n{GOOD}",
    f"It is fine, I think.\n</think>\n\n{GOOD}",
    f"{GOOD}<|im_end|>",
    f"<|im_start|>assistant\n{GOOD}<|im_end|>\n",
    f"<|im_start|>assistant {GOOD}<|im_end|>",
    f"<|start|>assistant{GOOD}<|end|>",
    f"<|channel|>analysis<|message|>{BAD}?<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
    f"analysisIs it {BAD}?assistantfinal{GOOD}",
    f"<start_of_turn>model\n{GOOD}<end_of_turn>",
    f"<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>{GOOD}<|END_RESPONSE|>",
]


@pytest.mark.parametrize("text", ALONE)
def test_an_approval_that_stands_alone_counts(text: str) -> None:
    assert read(text, Judgement) == Judgement(findings=[], approved=True)


NOT_ALONE = [
    f"The answer has the form {GOOD}.\n\n**Verdict: rejected.** div(1, 0) raises ZeroDivisionError.",
    f"Here is my review:\n{GOOD}",
    f"{GOOD}\nBut look at line 3.",
    f"```json\n{GOOD}\n```\nNo, wait.",
    f"Looks good.\n```json\n{GOOD}\n```",
    f"[{GOOD}]",
    f'{{"note": "an example"}} {GOOD}',
    f"<musing>{GOOD}</musing> It is wrong.",
    f"<musing>{GOOD}</musing>",
    f"[MUSING]One could say {GOOD}.[/MUSING]\nNot approved.",
    f"{GOOD}<|im_end|>\nNot approved: it loses data.",
    f"{GOOD}<|im_end|>\n<|im_start|>user\nReally?<|im_end|>\n<|im_start|>assistant\n{BAD}<|im_end|>",
    f"<|im_end|>\n<|im_start|>assistant\n{GOOD}<|im_end|>\nIs what the code says. I refuse.",
    f"<|channel|>final<|message|>{GOOD}<|return|>\nThat was quoted.",
    f"{GOOD}\n<think>\nNo, it is wrong.",
    f"- {GOOD}",
    f"approved: {GOOD}",
    f"{GOOD} {GOOD}",
    f"```json example of an approval\n{GOOD}\n```",
    GOOD.replace("{", '{"verdict": "rejected", '),
    GOOD.replace("true", 'true, "issues": ["div(1, 0) raises"]'),
    GOOD.replace("true", 'true, "Approved": false'),
    f"I refuse to write assistantfinal{GOOD}",
    f"<|assistant|>Rejected.<|message|>{GOOD}",
    f"<|im_start|>assistant rejected {GOOD}<|im_end|>",
    f"assistant rejects it <|message|>{GOOD}",
    f"<|begin_of_quote|>{GOOD}<|end_of_quote|>",
    f"{GOOD}assistant\n\nWait, no: {BAD}",
]


@pytest.mark.parametrize("text", NOT_ALONE)
def test_an_approval_beside_anything_else_does_not_count(text: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"counts only alone|several JSON objects|no JSON object"):
        read(text, Judgement)


THOUGHTS_ONLY = [
    f"<think>{GOOD}</think>Not approved.",
    f"[THINK]One could say {GOOD}. But b == 0 breaks div.[/THINK]\nNot approved: division by zero.",
    f"<|channel|>analysis<|message|>Perhaps {GOOD}<|end|><|start|>assistant<|channel|>final<|message|>No.",
    f"<seed:think>{GOOD}</seed:think>No.",
    f"◁think▷{GOOD}◁/think▷No.",
    f"analysisPerhaps {GOOD}assistantfinalNo.",
    f"<|im_start|>user\n{GOOD}<|im_end|>",
    f"<|tool_call|>{GOOD}",
    f"<|channel|>final Rejected<|message|>{GOOD}",
    f"<|start|>assistant rejects<|channel|>final<|message|>{GOOD}",
    f"<|start_header_id|>assistant rejects<|end_header_id|>{GOOD}",
]


@pytest.mark.parametrize("text", THOUGHTS_ONLY)
def test_an_approval_in_thoughts_or_in_another_s_turn_is_none(text: str) -> None:
    with pytest.raises(UnreadableAnswer, match=r"no JSON object|empty"):
        read(text, Judgement)


NO_REVIEW = {
    "prose": "approved",
    "cut off": '{"findings": [], "approved": tr',
    "without a verdict": '{"findings": []}',
    "without findings": '{"approved": true}',
    "a list": "[]",
    "empty": "{}",
    "findings of the wrong type": '{"findings": "none", "approved": true}',
    "a finding without a problem": '{"findings": [{"severity": "major"}], "approved": true}',
    "an open verdict": '{"findings": [], "approved": null}',
    "two that differ": f"{GOOD} No, wait: {BAD}",
    "a second that is cut off": f'{GOOD} No, wait: {{"findings": [], "approved": fal',
    "inside of another object": f'{{"review": {GOOD}}}',
    "quoted by one that is cut off": f'{{"last_round": {GOOD}, "findings": [], "approved": fal',
    "quoted by one that is broken": f'{{"last_round": {GOOD}, oops}}',
    "quoted by one that is no JSON": f"{{last_round: {GOOD}, findings: [], approved: false}}",
    "quoted by one whose beginning is lost": f'"last_round": {GOOD}, "findings": [], "approved": false}}',
    "after what may be thoughts or another answer": f"{BAD}\n</think>\n{GOOD}",
    "two verdicts in one": '{"findings": [], "approved": false, "approved": true}',
    "nested without end": '{"a":' * 100_000,
    "braces without end": "{" * 30_000,
    "openings without end": '{"' * 30_000,
}


@pytest.mark.parametrize("case", NO_REVIEW)
def test_a_review_that_does_not_fit_is_unreadable(case: str) -> None:
    with pytest.raises(UnreadableAnswer, match="JSON object"):
        read(NO_REVIEW[case], Judgement)


def test_a_severity_of_the_model_s_own_does_not_cost_the_review() -> None:
    words = {"HIGH": "major", "blocker": "critical", "low": "minor", "nonsense": "major", "minor": "minor"}
    findings = [{"severity": word, "problem": "p"} for word in words]
    review = read(json.dumps({"findings": findings, "approved": False}), Judgement)
    assert [finding.severity for finding in review.findings] == list(words.values())


def test_a_null_or_a_bare_line_number_does_not_cost_the_review() -> None:
    finding = {"problem": "p", "location": 12, "suggestion": None}
    review = read(json.dumps({"findings": [finding], "approved": False}), Judgement)
    assert (review.findings[0].location, review.findings[0].suggestion) == ("12", "")


def test_line_ends_in_json_strings_are_read_as_models_write_them() -> None:
    text = '{"requirements": ["first line\n\tsecond line"]}'
    assert read(text, Clarification).requirements == ["first line\n\tsecond line"]


def test_halves_of_characters_never_reach_the_state() -> None:
    assert read(r'{"requirements": ["\ud83d\ude00 \ud83d"]}', Clarification).requirements == ["😀 \ufffd"]
    assert read("\ud83d\ude00 \ud83d", str) == "😀 \ufffd"


def test_markdown_comes_without_the_fence_around_all_of_it() -> None:
    nested = "# A\n\n```python\nx\n```\n\nText"
    for info in ("", "markdown", "md path=README.md"):
        assert read(f"```{info}\n# A\n\nText\n```", str) == "# A\n\nText"
        assert read(f"```{info}\n{nested}\n```", str) == nested
    for both in (
        "```python\na\n```\n\n```python\nb\n```",
        "```\na\n```\nand\n```\nb\n```",
        "```python\na\n```",
    ):
        assert read(both, str) == both


THOUGHTS = {
    "First I think.\n</think>\nAnswer": "Answer",
    "First I think.</think>\nAnswer": "Answer",
    "<think>a</think>\n<thinking>b</thinking>Answer": "Answer",
    "```python\ndraft\n```\n</think>\nAnswer": "Answer",
    "Answer\n<think>Was that right?</think>": "Answer",
    "Answer\n<think>\nnever closed": "Answer",
    "The parser drops `<think>` and `</think>`.": "The parser drops `<think>` and `</think>`.",
    "```python\n<think>\n</think>\n```": "```python\n<think>\n</think>\n```",
}


@pytest.mark.parametrize("text", THOUGHTS)
def test_thoughts_are_dropped_and_text_about_them_is_not(text: str) -> None:
    assert final_message(text).text.strip() == THOUGHTS[text]


tokens = st.sampled_from(
    [
        "```",
        "~~~",
        "````py path=a.py",
        "    ```",
        "<think>",
        "</think>",
        "\n",
        "# b.py",
        "DELETE b.py",
        '{"',
        "}",
    ]
)
texts = st.lists(st.one_of(tokens, st.text(st.characters(codec="utf-8", exclude_characters="\r")))).map(
    "".join
)
paths = st.from_regex(r"[a-z_.]{0,4}[a-zé'$,{}-][a-z ]{0,8}[a-z](/[a-z]{1,8})?\.(py|md|txt)", fullmatch=True)


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(paths, texts, min_size=1, max_size=4))
def test_files_survive_being_written_into_an_answer(files: dict[str, str]) -> None:
    lines = {path: text if text.endswith("\n") else f"{text}\n" for path, text in files.items()}
    assert read_files(fenced(files)) == read(fenced(files), Files) == Files(lines)


@settings(derandomize=True, deadline=None)
@given(st.one_of(st.text(), texts))
def test_any_text_is_read_or_refused_and_never_approves(text: str) -> None:
    for kind in (Files, str, Judgement, Clarification):
        with suppress(UnreadableAnswer):
            assert not isinstance(read(text, kind), Judgement)


def test_a_refusal_that_is_cut_off_anywhere_is_no_approval() -> None:
    quoted = json.loads(GOOD)
    problem = {"severity": "major", "problem": GOOD, "suggestion": "{"}
    refusal = json.dumps({"last_round": quoted, "findings": [problem], "approved": False})
    for end in range(len(refusal)):
        with pytest.raises(UnreadableAnswer):
            read(f"My review: {refusal[:end]}", Judgement)
    assert not read(refusal, Judgement).approved


def test_what_fuzzing_has_found_is_read_or_refused_and_never_approves() -> None:
    kept = json.loads((Path(__file__).parent / "golden" / "fuzzed_answers.json").read_text())
    assert len(kept) > 100
    for text in kept:
        fuzz_answers.check(text.encode("latin-1"))


def test_a_schema_is_never_fetched() -> None:
    schema = {"type": "object", "properties": {"x": {"$ref": "http://127.0.0.1:9/x.json"}}}
    with pytest.raises(Unresolvable):
        read_typed('{"x": 1}', schema)
