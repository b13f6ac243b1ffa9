"""Decisions at the page: what a person sees, what counts as a decision, and who was first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import warm
from servers.page_user import PageUser, alert, fields, main_of
from servers.web_page import Page, running_page
from support import write_config

from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.reports.decision_view import DecisionView
from swarm_graph.sessions.apply import state_of
from swarm_graph.text import visible
from swarm_graph.web.pages import MAX_FORM_FIELDS, environment
from swarm_graph.workflows.pauses import Pause

CALL = {"name": "sandbox.run", "arguments": {"code": "import os\nprint('\u202eok')\nx\u3164 = 1"}}
DESIGN = "One file holds a ring of slots, guarded by one lock. " * 10


@contextmanager
def waiting(
    folder: Path, *arguments: str, name: str = "", **sections: Any
) -> Iterator[tuple[PageUser, Page]]:
    """A page on a folder with a session `s` that waits for a person, and a user of it."""
    workflow = {"max_iterations": 1, **sections.pop("workflow", {})}
    write_config(folder, workflow=workflow, **sections)
    done = warm.run("run", "Create a FIFO queue", "--session", "s", cwd=folder, text=True)
    assert done.returncode == 3, done.stderr
    with running_page(folder, *arguments) as page:
        yield PageUser(page, name), page


def question(user: PageUser, number: int = 0) -> dict[str, str]:
    """The hidden fields of a pause: which one, and what was shown."""
    text = user.get("/decisions")
    return {name: list(dict.fromkeys(fields(text, name)))[number] for name in ("pause", "shown")}


def answers(folder: Path) -> list[dict[str, Any]]:
    """What the session's record says of decisions."""
    with open_checkpointer(folder / ".swarm" / "swarm.db") as saver:
        stored = saver.catalogue.transcript.events(kinds=("pause_answered",))
    return [dict(one.event.data) for one in stored]


def calling(folder: Path) -> dict[str, Any]:
    """The settings of a session whose architect calls a tool that needs an approval."""
    (folder / "script.md").write_text(
        f"<!-- architect 1 -->\n{DESIGN}\n<tool_call>{json.dumps(CALL)}</tool_call>\n"
    )
    simulation = {"script": str(folder / "script.md")}
    model = {"model": "m", "api_type": "simulated", "simulation": simulation}
    return {
        "model_config": {"single_model": model},
        "tools": {"architect": ["sandbox.run"]},
        "tool_limits": {"calls": 1},
        "approve": ["sandbox.*"],
    }


def test_a_person_edits_what_the_page_shows_in_full_and_the_session_goes_on(tmp_path: Path) -> None:
    with waiting(tmp_path, name="Ann", workflow={"pause_after": ["architect", "coder"]}) as (user, _):
        text = user.get("/sessions/s")
        assert "Waiting after architect" in text
        (design,) = fields(text, "edit-0")
        assert len(design) > 20
        first = question(user)
        edit = {**first, "decision": "edit", "edit-0": "A ring of slots.\r\nNo lock."}
        assert user.do("/sessions/s/decide", **edit) == "/sessions/s?note=edited"
        user.wait("s", "paused")
        assert "Waiting after coder" in user.get("/decisions")
        assert "Ann at the page was first and edited it at 20" in user.refusal(
            "/sessions/s/decide", **first, decision="approve"
        )
        text = user.get("/decisions")
        paths = re.findall(r"<label>(\S+) <textarea", text)
        code = {name: fields(text, name)[0] for name in re.findall(r'name="(edit-\d+)"', text)}
        code["edit-0"] = code["edit-0"].replace("\n", "\r\n") + "# looked at\r\n"
        user.do("/sessions/s/decide", **question(user), decision="edit", **code)
        assert user.wait("s", "complete", "not_converged")
        assert "edited</span> by Ann at the page" in user.get("/sessions/s")
        with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
            state = state_of(saver, "s")
        assert state["design"] == "A ring of slots.\nNo lock."
    told = answers(tmp_path)
    assert [(one["decision"], one["by"]) for one in told] == [("edited", "Ann at the page")] * 2
    assert len(paths) == len(code)


def edited_in_a_browser(value: dict[str, str], **changed: str) -> dict[str, str]:
    """What the form of an edit makes of files, of which a person has changed some, as browsers send it."""
    files = Pause("after", "coder", "coder", 1, "code", ["code"], value, "1")
    page = environment().get_template("decision_forms.html").module
    view = DecisionView(files)
    text = str(cast("Any", page).decision_forms(view, "/sessions/s", "", False))
    sent = {}
    for number, path in enumerate(value):
        (field,) = fields(text.replace("\r\n", "\n").replace("\r", "\n"), f"edit-{number}")
        sent[f"edit-{number}"] = changed.get(path, field.replace("\0", "\ufffd")).replace("\n", "\r\n")
    decision = view.edit(sent)
    assert isinstance(decision, dict)
    return dict(decision["edit"]["code"])


def test_an_edit_of_one_file_leaves_every_character_of_the_others() -> None:
    odd = {
        "spaces.md": "\nwide\u3000space, no\u00a0break, \u202fnarrow\ufeff\x0c\n\n",
        "ends.txt": "one\rtwo\r\nthree\0",
        "markup.html": "</textarea><b>&amp;\u200b\x1b[31m",
    }
    edited = edited_in_a_browser({**odd, "a.py": "x = 1\n"}, **{"a.py": "x = 2\n"})
    assert edited == {**odd, "a.py": "x = 2\n"}


def test_what_nobody_would_see_is_spelled_out_where_it_is_approved() -> None:
    hidden = "\u200b\u202e\u3164\u2800\U000e0101a\ufe0f"
    value = {
        "tool": f"files.write{hidden}", "server": "", "arguments": {f"path{hidden}": f"one\n{hidden}"},
        "description": "", "schema": {}, "read_only": False,
    }  # fmt: skip
    pause = Pause("tool", "coder", "coder", 1, "arguments", ["arguments"], value, "1.c", "c")
    page = cast("Any", environment().get_template("decision_forms.html").module)
    text = str(page.decision_forms(DecisionView(pause), "/sessions/s", "", True))
    escaped = r"\u200b\u202e\u3164\u2800\udb40\udd01a\ufe0f"
    assert f"<code>files.write{escaped}</code>" in text
    assert f"<h4>path{escaped} <span" in text
    assert f"one\n{escaped}" in text
    assert visible("\u26a0\ufe0f done, \u00fc\u4e2d") == "\u26a0\ufe0f done, \u00fc\u4e2d", (
        "ordinary text stays"
    )


def test_a_form_edits_no_more_files_than_a_server_takes_fields() -> None:
    files = {f"m{number}.py": "x = 1\n" for number in range(MAX_FORM_FIELDS)}
    pause = Pause("after", "coder", "coder", 1, "code", ["code"], files, "1")
    page = cast("Any", environment().get_template("decision_forms.html").module)
    text = str(page.decision_forms(DecisionView(pause), "/sessions/s", "", False))
    assert text.count("<h4>m") == len(files), "all are shown, as all are approved"
    assert "too many files to edit on a page" in text
    assert '<textarea name="edit-' not in text


def test_what_is_no_decision_decides_nothing_and_keeps_what_was_typed(tmp_path: Path) -> None:
    with waiting(tmp_path, workflow={"pause_after": ["architect"]}) as (user, page):
        shown = question(user)
        for wrong, line in (
            ({"decision": "reject", "remark": " \r\n"}, "a rejection needs a remark"),
            ({"decision": "edit"}, "the edit of design is missing"),
            ({"decision": "session"}, "cannot be used"),
            ({"decision": ""}, "nothing was decided"),
            ({"decision": "approve", "shown": "0" * 64}, "changed since the page showed it"),
            ({"decision": "approve", "pause": "0" * 32}, "does not wait any more"),
        ):
            assert line.lower() in user.refusal("/sessions/s/decide", **{**shown, **wrong}).lower(), wrong
        refused = user.send("/sessions/s/decide", {**shown, "shown": "", "edit-0": "Typed <text>."})
        assert "Typed &lt;text&gt;." in refused.text
        assert page.get("/sessions/s/decide?decision=approve").status == 405
        assert page.post("/sessions/s/decide", {**shown, "decision": "approve", "csrf": "x"}).status == 403
        assert question(user) == shown
        assert answers(tmp_path) == []
        assert user.do("/sessions/s/decide", **shown, decision="reject", remark="It must be small.")
        user.wait("s", "complete", "not_converged")
    (told,) = answers(tmp_path)
    assert (told["decision"], told["remark"]) == ("rejected", "It must be small.")
    assert told["by"] == "somebody at the page"


def test_names_in_a_decision_show_what_nobody_would_see() -> None:
    odd = "arguments\ufe0f of a tool\u200b\U000e0100\u2800\u202e"
    shown = "arguments\\ufe0f of a tool\\u200b\\udb40\\udd00\\u2800\\u202e"
    call = {"tool": odd, "server": odd, "arguments": {odd: odd}, "description": odd, "schema": {odd: odd}}
    view = DecisionView(Pause("tool", "coder", "coder", 1, "arguments", [], call, "i.c", "call-1"))
    (argument,) = view.pieces
    assert (view.tool, view.server, view.description, argument.name) == (shown,) * 4
    assert argument.code
    assert argument.code.lines[0].html.striptags() == f'"{shown}"'
    assert f'"{shown}": "{shown}"' in view.schema
    files = DecisionView(Pause("after", "coder", "coder", 1, "code", ["code"], {f"{odd}.py": "x"}, "i"))
    assert [files.pieces[0].name, files.fields[0].label] == [f"{shown}.py"] * 2


def test_no_form_with_a_field_of_text_approves(tmp_path: Path) -> None:
    with waiting(tmp_path, **calling(tmp_path)) as (user, _):
        forms = re.findall(r'<form method="post".*?</form>', main_of(user.get("/decisions")), re.DOTALL)
        forms = re.findall(r'<form method="post" action="/sess.*?</form>', user.get("/decisions"), re.DOTALL)
    by_decision = {re.findall(r'name="decision" value="(\w+)"', form)[0]: form for form in forms}
    assert list(by_decision) == ["approve", "session", "edit", "reject"]
    for form in forms:
        typed = re.findall(r"<textarea|<input(?![^>]*hidden)", form)
        assert len(re.findall("<button", form)) == 1
        assert bool(typed) == (form in (by_decision["edit"], by_decision["reject"]))


def test_a_call_of_a_tool_is_shown_whole_edited_as_json_and_made_once(tmp_path: Path) -> None:
    with waiting(tmp_path, **calling(tmp_path)) as (user, _):
        text = user.get("/sessions/s")
        assert "before a call of sandbox.run in architect" in text
        assert "\\u202e" in text, "text that turns round is shown"
        assert "\\u3164" in text, "a letter without a shape is shown"
        assert re.search("<h4>code <span[^>]*>3 lines</span></h4>", text), "a box may show less at once"
        shown = question(user)
        for edit, line in (
            ("{", "are not valid JSON"),
            ("[]", "are no object"),
            ('{"code": 7}', "do not fit sandbox.run"),
        ):
            refused = user.send("/sessions/s/decide", {**shown, "decision": "edit", "edit-0": edit})
            assert refused.status_code == 400
            assert line in alert(refused.text)
            assert edit in fields(refused.text, "edit-0")
        user.do("/sessions/s/decide", **shown, decision="edit", **{"edit-0": '{"code": "print(2)"}'})
        user.wait("s", "complete", "not_converged")
    with open_checkpointer(tmp_path / ".swarm" / "swarm.db") as saver:
        (made,) = saver.catalogue.tool_calls("s")
    assert (made.arguments, made.decision) == ({"code": "print(2)"}, "edited")


def test_a_tool_is_approved_for_the_session(tmp_path: Path) -> None:
    with waiting(tmp_path, **calling(tmp_path)) as (user, _):
        assert user.do("/sessions/s/decide", **question(user), decision="session").endswith("note=session")
        user.wait("s", "complete", "not_converged")
    (told,) = answers(tmp_path)
    assert told["decision"] == "session"


@pytest.mark.slow
def test_of_two_who_decide_at_once_exactly_one_wins_and_the_other_learns_of_it(tmp_path: Path) -> None:
    """Two browsers at one page, and a second page on the same database."""
    first = waiting(tmp_path, name="Ann", workflow={"pause_after": ["architect"]})
    with first as (ann, _), running_page(tmp_path) as second:
        users = [ann, ann, PageUser(second, "Bob"), PageUser(second, "Eve")]
        form = {**question(ann), "decision": "approve"}
        with ThreadPoolExecutor(len(users)) as pool:
            sent = list(pool.map(lambda user: user.send("/sessions/s/decide", form), users))
        ann.wait("s", "complete", "not_converged")
        late = ann.refusal("/sessions/s/decide", **form)
    accepted = [one for one in sent if one.status_code == 303]
    assert len(accepted) == 1, [one.status_code for one in sent]
    assert {one.status_code for one in sent} == {303, 409}
    (told,) = answers(tmp_path)
    assert f"{told['by']} was first and approved it" in late
    assert all(alert(one.text) for one in sent if one.status_code == 409)


def test_several_pauses_are_decided_one_by_one(tmp_path: Path) -> None:
    with waiting(tmp_path, workflow={"pause_before": ["reviewer"]}) as (user, _):
        names = fields(user.get("/decisions"), "pause")
        pauses = list(dict.fromkeys(names))
        assert len(pauses) == 3
        for left in range(len(pauses), 0, -1):
            assert len(set(fields(user.get("/decisions"), "pause"))) == left
            user.do("/sessions/s/decide", **question(user), decision="approve")
            user.wait("s", "paused" if left > 1 else "complete", "not_converged")
        assert "No session waits" in user.get("/decisions")
    assert {one["pause"] for one in answers(tmp_path)} == set(pauses)


def test_a_page_that_only_shows_takes_no_decision_and_has_no_form_for_one(tmp_path: Path) -> None:
    with waiting(tmp_path, "--read-only", workflow={"pause_after": ["architect"]}) as (user, page):
        texts = [main_of(user.get(address)) for address in ("/decisions", "/sessions/s", "/new")]
        assert "Waiting after architect" in texts[0]
        assert "<form" not in "".join(texts)
        text = user.get("/decisions") + user.get("/sessions/s") + user.get("/new")
        assert "Waiting after architect" in text
        assert 'action="/sessions' not in text
        assert page.post("/sessions/s/decide", {"decision": "approve"}).status == 403
        assert user.phase("s") == "paused"
