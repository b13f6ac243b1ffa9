"""How answers change the files of a repository, and what they must not change."""

from __future__ import annotations

from typing import Any

import pytest
from repositories import git, make_repository

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.nodes.architect import architect
from swarm_graph.nodes.coder import coder
from swarm_graph.nodes.documenter import documenter
from swarm_graph.nodes.tester import tester
from swarm_graph.roles.answered_change import nearest_text
from swarm_graph.roles.chat_markup import final_message
from swarm_graph.roles.file_blocks import fenced
from swarm_graph.roles.role import Answered, Role
from swarm_graph.state import ChangeState, Repository
from swarm_graph.workflows.verdict import reviews_of_round

FILES: dict[str, str | bytes] = {
    "src/a.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n",
    "src/windows.py": b"x = 1\r\ny = 2",
    "src/old.py": "def broken(:\n",
    "tests/test_a.py": "def test_one():\n    pass\n",
    "vendor/lib.py": "x = 1\n",
    "README.md": "# A\n",
    "logo.png": b"\x89PNG\0",
}
NEW = "def one():\n    return 10\n\n\ndef two():\n    return 2\n"


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = make_repository(tmp_path_factory.mktemp("changed") / "project", FILES)
    return Repository(
        path=str(folder),
        start="HEAD",
        base=git(folder, "rev-parse", "HEAD"),
        branch="swarm/s",
        only=[],
        read_only=["*.md"],
        compared_with="",
    )


def state(repo: Repository, **keys: Any) -> ChangeState:
    return ChangeState(**{"request": "Return ten", "repo": repo, **keys})  # type: ignore[typeddict-item]


def answered(role: Role[Any], text: str, before: ChangeState) -> dict[str, Any]:
    """What a role's answer changes in the state."""
    role = role.for_kind("change")
    reading = role.read(final_message(text), before)
    return role.changes(Answered(reading.answer, str(role.role), 1, before))


def doubt(role: Role[Any], text: str, before: ChangeState) -> str:
    return role.for_kind("change").read(final_message(text), before).doubt


def refused(role: Role[Any], text: str, before: ChangeState) -> str:
    with pytest.raises(UnreadableAnswer) as caught:
        role.for_kind("change").read(final_message(text), before)
    return str(caught.value)


def test_the_coder_changes_only_what_it_writes(repo: Repository) -> None:
    update = answered(coder, fenced({"src/a.py": NEW, "src/new.py": "z = 3\n"}), state(repo))
    assert update == {
        "code": {"src/a.py": NEW, "src/new.py": "z = 3\n"},
        "changed": ["src/a.py", "src/new.py"],
    }


def test_a_file_that_is_as_before_again_leaves_the_change(repo: Repository) -> None:
    before = state(repo, code={"src/a.py": NEW, "src/new.py": "z = 3\n"})
    update = answered(coder, fenced({"src/a.py": str(FILES["src/a.py"])}), before)
    assert update == {"code": {"src/new.py": "z = 3\n"}, "changed": ["src/a.py"]}


def test_line_ends_and_a_missing_last_one_are_no_change(repo: Repository) -> None:
    text = fenced({"src/windows.py": "x = 1\ny = 2\n"})
    assert refused(coder, text, state(repo)).startswith("the answer changes nothing")


def test_an_answer_that_changes_nothing_is_taken_in_a_later_round(repo: Repository) -> None:
    before = state(repo, code={"src/a.py": NEW})
    assert answered(coder, fenced({"src/a.py": NEW}), before)["changed"] == []


def test_a_deleted_file_is_kept_apart_and_comes_back_when_it_is_written(repo: Repository) -> None:
    before = state(repo, code={"src/new.py": "z = 3\n"})
    update = answered(coder, "DELETE src/a.py\nDELETE src/new.py", before)
    assert update == {"code": {}, "deleted": ["src/a.py"], "changed": ["src/a.py", "src/new.py"]}
    update = answered(coder, fenced({"src/a.py": NEW}), state(repo, **update))
    assert (update["code"], update["deleted"]) == ({"src/a.py": NEW}, [])


def test_each_path_stays_in_the_key_that_it_is_in(repo: Repository) -> None:
    before = state(repo, code={"tests/test_a.py": "def test_one():\n    assert True\n"})
    new = "def test_one():\n    assert True\n\n\ndef test_two():\n    pass\n"
    update = answered(tester, fenced({"tests/test_a.py": new, "tests/test_b.py": "x = 1\n"}), before)
    assert update == {"code": {"tests/test_a.py": new}, "tests": {"tests/test_b.py": "x = 1\n"}}


def test_what_must_not_be_written_is_refused(repo: Repository) -> None:
    for path, why in {
        "vendor/lib.py": "the files in 'vendor' come from elsewhere",
        "README.md": "the user made it read-only",
        ".github/../.git/config": "is not allowed",
        "logo.png": "it is a binary file",
    }.items():
        assert why in refused(coder, fenced({path: "x = 2\n"}), state(repo))
    assert "there is no 'lib/nothing.py' to delete" in refused(coder, "DELETE lib/nothing.py", state(repo))
    assert "the files in 'vendor'" in refused(coder, "DELETE vendor/lib.py", state(repo))


def test_a_file_that_is_repeated_as_it_is_is_not_refused(repo: Repository) -> None:
    text = fenced({"README.md": "# A\n", "src/a.py": NEW})
    assert answered(coder, text, state(repo))["code"] == {"src/a.py": NEW}


def test_a_deletion_that_nobody_named_is_asked_about(repo: Repository) -> None:
    text = f"{fenced({'src/a.py': NEW})}\n\nDELETE tests/test_a.py"
    assert doubt(coder, text, state(repo)).startswith("it deletes 'tests/test_a.py', which neither")
    assert not doubt(coder, text, state(repo, design="Delete `tests/test_a.py`."))


def test_a_renamed_file_is_not_asked_about(repo: Repository) -> None:
    text = "RENAME src/a.py -> src/ten.py"
    assert not doubt(coder, text, state(repo))
    assert answered(coder, text, state(repo)) == {
        "code": {"src/ten.py": FILES["src/a.py"]},
        "deleted": ["src/a.py"],
        "changed": ["src/ten.py", "src/a.py"],
    }


def test_a_file_that_was_not_shown_is_not_written_over_in_silence(repo: Repository) -> None:
    role, message = coder.for_kind("change"), final_message(fenced({"src/a.py": NEW}))
    assert "you have not seen it" in role.read(message, state(repo), {"src/windows.py": True}).doubt
    assert not role.read(message, state(repo), {"src/a.py": True}).doubt


def test_lost_definitions_are_asked_about_and_old_syntax_errors_are_not(repo: Repository) -> None:
    assert "'src/a.py' has lost two" in doubt(
        coder, fenced({"src/a.py": "def one():\n    return 10\n"}), state(repo)
    )
    assert "does not parse" in doubt(coder, fenced({"src/a.py": f"{NEW}def (:\n"}), state(repo))
    assert not doubt(coder, fenced({"src/old.py": "def still_broken(:\n"}), state(repo))


def test_only_files_that_parsed_before_count_in_the_verdict(repo: Repository) -> None:
    code = {"src/old.py": "def still_broken(:\n", "src/a.py": "def (:\n", "src/new.py": "def (:\n"}
    (review,) = reviews_of_round(state(repo, code=code))
    assert [finding["location"] for finding in review["findings"]] == ["src/a.py:1", "src/new.py:1"]


def test_the_tester_and_the_documenter_change_no_code(repo: Repository) -> None:
    for role in (tester, documenter):
        assert "'src/a.py' is not a " in refused(role, fenced({"src/a.py": NEW}), state(repo))
    for path in ("AGENTS.md", "docs/conf.py", "requirements.txt"):
        assert f"'{path}' is not a doc" in refused(
            documenter, fenced({path: "new\n"}), state({**repo, "read_only": []})
        )


def test_the_tester_deletes_no_test_that_is_there(repo: Repository) -> None:
    assert "'tests/test_a.py' is an existing test of the repository" in refused(
        tester, "DELETE tests/test_a.py", state(repo)
    )
    before = state(repo, tests={"tests/test_b.py": "x = 1\n"})
    assert answered(tester, "DELETE tests/test_b.py", before) == {"tests": {}}


def test_a_lost_test_of_the_repository_is_asked_about(repo: Repository) -> None:
    text = fenced({"tests/test_a.py": "def test_two():\n    pass\n"})
    assert doubt(tester, text, state(repo)) == (
        "'tests/test_a.py' has lost test_one of the repository: keep every test that is there"
    )
    earlier = state(repo, tests={"tests/test_b.py": "def test_b():\n    pass\n"})
    assert doubt(tester, fenced({"tests/test_b.py": "def test_c():\n    pass\n"}), earlier) == ""


def test_a_deletion_of_what_is_no_file_is_told(repo: Repository) -> None:
    kept = fenced({"src/a.py": NEW})
    for line, told in (
        ("DELETE src/b.py", "there is no 'src/b.py' to delete; did you mean 'src/a.py'"),
        ("DELETE src", "'src' is a folder of 3 files: write a line `DELETE` for each that goes"),
    ):
        assert told in refused(coder, line, state(repo))
        assert told in doubt(coder, f"{kept}\n\n{line}", state(repo))
    assert doubt(coder, f"{kept}\n\nDELETE gone.py", state(repo, deleted=["gone.py"])) == ""
    assert "'logo.png' must not be changed: it is a binary file" in refused(
        coder, f"{kept}\n\nDELETE logo.png", state(repo)
    )


def test_the_tester_and_the_documenter_may_leave_everything_as_it_is(repo: Repository) -> None:
    for role, key in ((tester, "tests"), (documenter, "documentation")):
        assert answered(role, "NO CHANGE: nothing is affected.", state(repo)) == {key: {}}
        assert answered(role, "No changes needed: all is tested.", state(repo)) == {key: {}}
    assert "the answer holds no file" in refused(coder, "NO CHANGE", state(repo))
    told = refused(tester, "All is well.", state(repo))
    assert "the answer holds no file" in told
    assert told.endswith("if no file has to change, write the line `NO CHANGE`")


def test_the_architect_names_files_for_the_others(repo: Repository) -> None:
    plan = "## Changes\n- `src/a.py`: ten\n- `src/ten.py`: new\n\n## Files to read\n- src/windows.py: it\n"
    update = answered(architect, plan, state(repo))
    assert update == {"design": plan.strip(), "wanted": ["src/a.py", "src/windows.py"]}
    assert not doubt(architect, plan, state(repo))
    assert not doubt(architect, "## Files to read\n- (none)", state(repo))


def test_names_that_do_not_exist_are_asked_about_once(repo: Repository) -> None:
    plan = "**Files to read:**\n1. `./a.py:3-9`\n2. `logo.png`\n3. `src/nothing.py`\n\n## Behaviour\n- `x.py`"
    asked = doubt(architect, plan, state(repo))
    assert "'a.py' under 'Files to read' is no file of the repository; did you mean 'src/a.py'?" in asked
    assert "'logo.png' under 'Files to read' is no" in asked
    assert "x.py" not in asked
    assert answered(architect, plan, state(repo))["wanted"] == []


def test_the_architect_gets_at_most_twelve_files(repo: Repository) -> None:
    plan = "## Files to read\n" + "\n".join(f"- `src/part{n}.py`" for n in range(20)) + "\n- `src/a.py`"
    assert "it names 21 files under 'Files to read'; name at most 12" in doubt(architect, plan, state(repo))


def test_an_answer_without_a_repository_is_read_as_before() -> None:
    assert answered(coder, fenced({"src/a.py": "x = 1\n"}), {"code": {}})["code"] == {"src/a.py": "x = 1\n"}


def test_paths_are_found_where_they_are_alike() -> None:
    assert nearest_text("src/b.py", []) == ""
    assert nearest_text("util.py", ["a/util.py", "b/util.py"]) == "; did you mean 'a/util.py' or 'b/util.py'?"
