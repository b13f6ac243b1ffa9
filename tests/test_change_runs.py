"""Sessions that change a repository, from the request to the branch. Git, files and databases are real."""

import asyncio
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from repositories import commit_files, fingerprint, git, make_repository
from support import APPROVED, REFUSED, SIMULATED, TESTS, Crew, config, sandbox, thread, write_config
from warm import ENVIRONMENT, run

from swarm_graph import SwarmCoordinator, SwarmManager, build_graph, open_checkpointer
from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.sessions.change_summary import change_summary
from swarm_graph.sessions.history import find_moment, fork, moments
from swarm_graph.testing import Answer

CALC = "def add(a, b):\n    return a - b\n"
FIXED = "def add(a, b):\n    return a + b\n"
FILES: dict[str, str | bytes] = {"calc.py": CALC, "docs/use.md": "# Use\n", "data.bin": b"\0\1\2"}
FIX = f"```python path=calc.py\n{FIXED}```"
README = "```markdown path=README.md\n# Calc\n```"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", FILES)


def crew(**script: Answer) -> Crew:
    return Crew({"coder": FIX, "tester": TESTS, "documenter": README, **script})


def coordinator(
    tmp_path: Path, repo: Path | dict[str, Any] | None, models: Crew, **sections: Any
) -> SwarmCoordinator:
    return SwarmCoordinator(
        {**SIMULATED, **sections},
        data_dir=tmp_path / "data",
        output_dir=tmp_path / "out",
        context=models.context,
        repo=repo,
    )


def log(repo: Path, branch: str, form: str = "%s") -> list[str]:
    """The commits of a branch after main, oldest first."""
    text = git(repo, "log", "--reverse", f"--format={form}", f"main..{branch}")
    return text.splitlines()


def test_a_session_ends_with_a_branch_a_worktree_and_a_patch(repo: Path, tmp_path: Path) -> None:
    before = fingerprint(repo)
    state: Any = coordinator(tmp_path, repo, crew()).run_workflow("Fix add", session_id="s")
    assert fingerprint(repo) == before
    assert state["commits"] == log(repo, "swarm/s", "%H")
    assert log(repo, "swarm/s", "%s|%an|%(trailers:unfold,separator=%x2C)") == [
        "Fix add|swarm|Swarm-Session: s,Swarm-Verdict: approved,Swarm-Round: 1"
    ]
    assert git(repo, "show", "swarm/s:calc.py") == FIXED.strip()
    worktree = tmp_path / "data/worktrees/s"
    assert (worktree / "calc.py").read_text() == FIXED
    assert git(worktree, "status", "--porcelain") == ""
    assert git(worktree, "branch", "--show-current") == "swarm/s"

    folder = tmp_path / "out/s"
    assert "calc.py | 2 +-" in (folder / "changes.stat").read_text()
    assert [path.name for path in (folder / "project").rglob("*")] == ["calc.py"]
    git(repo, "am", str(folder / "changes.patch"))
    assert git(repo, "diff", "HEAD", "swarm/s") == ""
    document = json.loads((folder / "swarm_state_s.json").read_text())
    assert (document["kind"], document["commits"]) == ("change", state["commits"])
    assert document["repository"]["branch"] == "swarm/s"
    assert {"changes.patch", "findings.json", "findings.sarif"} <= {*document["files"]}


def test_a_renamed_file_counts_as_one_file(repo: Path, tmp_path: Path) -> None:
    lines: dict[str, str | bytes] = {"long.py": "".join(f"x{number} = {number}\n" for number in range(30))}
    commit_files(repo, lines, "Long")
    models = crew(coder="RENAME long.py -> longer.py\n\n" + FIX)
    summary = change_summary(coordinator(tmp_path, repo, models).run_workflow("Rename long", session_id="s"))
    assert summary
    assert (summary.files, summary.added, summary.deleted) == (2, 1, 1)


def test_each_round_is_a_commit_with_its_verdict(repo: Path) -> None:
    def code(ask: Any) -> str:
        return f"```python path=calc.py\n# {ask.iteration}\n{FIXED}```"

    reviews = {"review_style": lambda ask: REFUSED if ask.iteration == 1 else APPROVED}
    models = crew(coder=code, **reviews)
    graph = build_graph("standard", config=config(workflow={"kind": "change"}), checkpointer=InMemorySaver())
    graph.invoke({"request": "Fix add\n\nIt subtracts.", "repo": str(repo)}, thread(), context=models.context)
    assert log(repo, "swarm/t", "%s: %(trailers:key=Swarm-Verdict,valueonly,separator=)") == [
        "Fix add It subtracts.: not approved, 1 finding",
        "Fix add It subtracts.: approved",
    ]


def test_a_round_that_changes_nothing_more_is_no_commit(repo: Path) -> None:
    reviews = {"review_style": lambda ask: REFUSED if ask.iteration == 1 else APPROVED}
    graph = build_graph("standard", config=config(workflow={"kind": "change"}))
    answer = crew(coder=FIX + "\n\n```python path=new_{round}.py\n```\n", **reviews)
    state: Any = graph.invoke({"request": "x", "repo": repo}, context=answer.context)
    assert len(state["commits"]) == 2
    state = graph.invoke({"request": "x", "repo": repo}, context=crew(**reviews).context)
    assert (len(state["commits"]), state["iteration"], state["phase"]) == (1, 2, "complete")


def test_the_best_earlier_round_is_the_last_commit_when_rounds_circle(repo: Path) -> None:
    texts = {1: "# one\n", 2: "# two\n", 3: "# one\n"}

    def code(ask: Any) -> str:
        return f"```python path=calc.py\n{texts[ask.iteration]}```"

    def review(ask: Any) -> str:
        found = json.loads(REFUSED.replace("{round}", str(ask.iteration)))
        if ask.iteration == 2:
            found["findings"][0]["severity"] = "minor"
        return json.dumps(found)

    graph = build_graph("standard", config=config(workflow={"kind": "change", "max_iterations": 5}))
    state: Any = graph.invoke(
        {"request": "x", "repo": repo}, context=crew(coder=code, reviewer=review).context
    )
    assert state["phase"] == "not_converged"
    assert state["code"] == {"calc.py": "# two\n"}
    assert git(repo, "show", f"{state['commits'][-1]}:calc.py") == "# two"


def test_full_commits_the_documentation_at_the_end(repo: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    swarm = coordinator(tmp_path, repo, crew(), workflow={"pause_after": []})
    swarm.on_event = events.append
    state: Any = swarm.run_workflow("Fix add", "full", session_id="s")
    assert (state["phase"], len(state["commits"])) == ("complete", 2)
    committed = [event for event in events if event.kind == "committed"]
    assert [event.node for event in committed] == ["commit", "commit_last"]
    assert [event.data["commit"] for event in committed] == state["commits"]
    assert committed[0].data["branch"] == "swarm/s"
    assert git(repo, "show", "--name-only", "--format=", state["commits"][1]) == "README.md"


def test_full_with_pauses_commits_before_it_is_complete(repo: Path, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, repo, crew(), workflow={"pause_after": ["documenter"]})
    assert swarm.run_workflow("Fix add", "full", session_id="s")["phase"] == "paused"
    state: Any = swarm.resume("s", "approve")
    assert (state["phase"], len(state["commits"])) == ("complete", 2)


def test_a_follow_up_goes_on_with_the_branch(repo: Path, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, repo, crew())
    first: Any = swarm.run_workflow("Fix add", session_id="s")
    commit_files(repo, {"other.py": "x = 1\n"}, "Meanwhile")
    more = coordinator(tmp_path, None, crew(coder="```python path=more.py\nx = 1\n```"))
    second: Any = more.run_workflow("More", session_id="s", follow_up=True)
    assert second["repo"] == first["repo"]
    assert second["commits"][:1] == first["commits"]
    assert git(repo, "diff", "--name-only", second["repo"]["base"], "swarm/s").split() == [
        "calc.py",
        "more.py",
    ]


def test_uncommitted_changes_are_taken_along_when_wanted(repo: Path, tmp_path: Path) -> None:
    (repo / "mine.txt").write_text("mine\n")
    before = fingerprint(repo)
    swarm = coordinator(tmp_path, {"path": str(repo), "with_changes": True}, crew())
    swarm.run_workflow("Fix add", session_id="s")
    assert fingerprint(repo) == before
    assert len(log(repo, "swarm/s")) == 2
    assert git(repo, "show", "swarm/s:mine.txt") == "mine"


SHOP: dict[str, str | bytes] = {
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
    "shop/__init__.py": "",
    "shop/prices.py": "def total(prices):\n    return sum(prices)\n",
    "shop/bill.py": "from shop.prices import total\n\n\ndef bill(prices):\n    return f'{total(prices)} EUR'\n",  # noqa: E501
    "tests/test_bill.py": "from shop.bill import bill\n\n\ndef test_bill():\n    assert bill([1, 2]) == '3 EUR'\n",  # noqa: E501
}
FEATURE = """\
```python path=shop/discounts.py
def less(amount, percent):
    return amount * (100 - percent) // 100
```

```python path=shop/prices.py
from shop.discounts import less


def total(prices, discount=0):
    return less(sum(prices), discount)
```

```python path=shop/bill.py
from shop.prices import total


def bill(prices, discount=0):
    return f'{total(prices, discount)} EUR'
```

```python path=shop/__init__.py
from shop.bill import bill

__all__ = ["bill"]
```
"""
FEATURE_TEST = """\
```python path=tests/test_discount.py
from shop import bill


def test_discount():
    assert bill([100], 10) == '90 EUR'
```
"""


def test_a_feature_over_four_files_is_tested_before_and_after(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "shop", SHOP)
    models = crew(coder=FEATURE, tester=FEATURE_TEST)
    swarm = coordinator(tmp_path, repo, models, execution={"mode": "auto"})
    state: Any = swarm.run_workflow("A discount in percent", "full", session_id="s")
    (evidence,) = [review["evidence"] for review in state["reviews"] if "evidence" in review]
    assert (evidence["outcome"], evidence["passed"], evidence["sandbox"]) == ("passed", 2, sandbox())
    assert state["baseline"]["passed"] == 1
    assert git(repo, "show", "--name-only", "--format=", state["commits"][0]).split() == [
        "shop/__init__.py",
        "shop/bill.py",
        "shop/discounts.py",
        "shop/prices.py",
        "tests/test_discount.py",
    ]


def test_what_a_change_breaks_refuses_it(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "shop", SHOP)
    broken = "```python path=shop/prices.py\ndef total(prices):\n    return 0\n```"
    swarm = coordinator(
        tmp_path, repo, crew(coder=broken), execution={"mode": "auto"}, workflow={"max_iterations": 1}
    )
    state: Any = swarm.run_workflow("Break it", session_id="s")
    assert state["approved"] is False
    assert any("test_bill" in finding["problem"] for finding in state["findings"])
    assert "Swarm-Verdict: not approved, " in git(repo, "log", "-1", "--format=%B", "swarm/s")


def test_a_rename_is_one_for_git(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "shop", SHOP)
    answer = "RENAME shop/bill.py -> shop/invoice.py\nRENAME tests/test_bill.py -> tests/test_invoice.py\n"
    test = str(SHOP["tests/test_bill.py"]).replace("shop.bill", "shop.invoice")
    models = crew(coder=f"{answer}\n```python path=tests/test_invoice.py\n{test}```")
    swarm = coordinator(tmp_path, repo, models, execution={"mode": "auto"})
    state: Any = swarm.run_workflow("Rename bill.py and test_bill.py to invoice", session_id="s")
    assert state["approved"]
    assert sorted(state["deleted"]) == ["shop/bill.py", "tests/test_bill.py"]
    renames = git(repo, "diff", "-M", "--name-status", "main", "swarm/s").splitlines()
    assert [line.split("\t")[1:] for line in renames if line[0] == "R"] == [
        ["shop/bill.py", "shop/invoice.py"],
        ["tests/test_bill.py", "tests/test_invoice.py"],
    ]
    assert not (tmp_path / "data/worktrees/s/shop/bill.py").exists()


def test_a_database_in_the_top_folder_is_not_committed(repo: Path, tmp_path: Path) -> None:
    swarm = SwarmCoordinator(
        config(), data_dir=repo, output=tmp_path / "out", repo={"path": str(repo), "with_changes": True},
        context=crew().context,
    )  # fmt: skip
    before = fingerprint(repo)
    with pytest.raises(InputError, match="with_changes would commit the database; name another one"):
        swarm.run_workflow("x", session_id="s")
    assert fingerprint(repo) == before


def test_what_earlier_sessions_left_in_the_repository_is_not_taken_along(repo: Path) -> None:
    begun = run("run", "x", "--session", "a", "--simulate", cwd=repo, text=True)
    assert begun.returncode == 0, begun.stderr
    words = ("run", "x", "--session", "b", "--simulate", "--repo", ".")
    assert "note: your" not in run(*words, cwd=repo, text=True).stderr
    (repo / "mine.txt").write_text("mine\n")
    done = run(*words[:3], "c", *words[4:], "--with-changes", cwd=repo, text=True)
    assert done.returncode == 0, done.stderr
    first = log(repo, "swarm/c", "%H")[0]
    assert git(repo, "show", "--name-only", "--format=", first) == "mine.txt"


def test_another_kind_is_refused(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the kind given is 'document'; leave one out"):
        coordinator(tmp_path, repo, crew()).run_workflow("x", kind="document")


def test_a_review_of_a_range_makes_no_branch(repo: Path, tmp_path: Path) -> None:
    git(repo, "switch", "--quiet", "--create", "topic")
    commit_files(repo, {"calc.py": FIXED}, "Fix")
    words = ("run", "--workflow", "review_only", "--repo", repo, "--diff", "main...", "--simulate")
    done = run(*words, "--session", "r", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert git(repo, "branch", "--format=%(refname:short)").split() == ["main", "topic"]
    assert (tmp_path / "swarm-output/r/findings.sarif").is_file()
    assert "--diff main... 'Review the change main...' --url" in done.stdout


def test_a_workflow_of_the_users_own_commits_too(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "from langgraph.graph import END, START\n\n\n"
        "def mine(graph):\n"
        "    graph.connect(START, graph.place('coder'))\n"
        "    reviews = graph.reviewers('mine', 'style')\n"
        "    graph.connect('coder', reviews[0])\n"
        "    graph.verdict(reviews, 1)\n"
        "    graph.place('documenter')\n"
        "    graph.connect('verdict', 'documenter')\n"
        "    graph.connect('documenter', END)\n"
    )
    own = {"workflows": {"mine": "flows:mine"}, "code_dir": str(tmp_path)}
    state: Any = coordinator(tmp_path, repo, crew(), **own).run_workflow("x", "mine", session_id="s")  # type: ignore[arg-type]
    assert (state["phase"], state["approved"]) == ("complete", True)
    assert [git(repo, "show", "--name-only", "--format=", one) for one in state["commits"]] == [
        "calc.py",
        "README.md",
    ]


def test_a_fork_has_a_branch_of_its_own_from_the_base(repo: Path, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, repo, crew())
    first: Any = swarm.run_workflow("Fix add", session_id="s")
    with open_checkpointer(tmp_path / "data/swarm.db") as saver:
        session = saver.catalogue.get("s")
        assert session
        moment = find_moment(moments(saver, session), "verdict")
        fork(saver, session, moment, "f", {"code": {"calc.py": "# by hand\n"}})
    second: Any = coordinator(tmp_path, None, crew()).resume("f")
    assert second["repo"] == {**first["repo"], "branch": "swarm/f"}
    assert log(repo, "swarm/f", "%H") == second["commits"]
    assert git(repo, "show", "swarm/f:calc.py") == "# by hand"
    assert log(repo, "swarm/s", "%H") == first["commits"]


def test_two_sessions_side_by_side(repo: Path, tmp_path: Path) -> None:
    def session(number: int) -> Any:
        answer = f"```python path=calc.py\n# {number}\n```"
        swarm = coordinator(tmp_path, repo, crew(coder=answer))
        return swarm.run_workflow("Fix", "full", session_id=f"s{number}")

    before = fingerprint(repo)
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(session, range(4)))
    assert fingerprint(repo) == before
    for number, state in enumerate(states):
        assert git(repo, "show", f"swarm/s{number}:calc.py") == f"# {number}"
        assert log(repo, f"swarm/s{number}", "%H") == state["commits"]


def test_in_a_running_loop_with_and_without_a_checkpointer(repo: Path) -> None:
    async def go() -> list[Any]:
        graph = build_graph("standard", config=config(workflow={"kind": "change"}))
        kept = build_graph(
            "standard", config=config(workflow={"kind": "change"}), checkpointer=InMemorySaver()
        )
        given = {"request": "x", "repo": {"path": str(repo), "base": "main"}}
        return [
            await graph.ainvoke(given, context=crew().context),
            await kept.ainvoke(given, thread("a"), context=crew().context),
            await kept.ainvoke(None, thread("a")),
        ]

    states = asyncio.run(go())
    assert [state["phase"] for state in states] == ["complete"] * 3
    assert states[1]["commits"] == states[2]["commits"] == log(repo, "swarm/a", "%H")


# --- resumed elsewhere ---------------------------------------------------------------------------


def paused(repo: Path, tmp_path: Path) -> None:
    """A session that waits before the coder."""
    state = coordinator(tmp_path, repo, crew(), workflow={"pause_before": ["coder"]}).run_workflow(
        "Fix add", session_id="s"
    )
    assert state["phase"] == "paused"


def test_a_moved_repository_is_named_in_the_resume(repo: Path, tmp_path: Path) -> None:
    paused(repo, tmp_path)
    moved = repo.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="is not a folder; name yours with --repo DIR"):
        coordinator(tmp_path, None, crew()).resume("s", "approve")
    state: Any = coordinator(tmp_path, moved, crew()).resume("s", "approve")
    assert state["repo"]["path"] == str(moved)
    assert log(moved, "swarm/s", "%H") == state["commits"]


def test_a_person_edits_no_file_that_a_role_must_not_write(repo: Path, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, repo, crew(), workflow={"pause_after": ["coder"]})
    assert swarm.run_workflow("Fix add", session_id="s")["phase"] == "paused"
    for files, message in (
        ({"code": {"data.bin": "x"}}, "'data.bin' must not be changed: it is a binary file"),
        ({"code": {"docs": "x"}}, "'docs' must not be changed: it is a folder"),
        ({"code": {"calc.py/a": "x"}}, "'calc.py/a' must not be changed"),
        ({"documentation": {"calc.py": "x"}}, "'calc.py' is in 'code'; edit it there"),
    ):
        with pytest.raises(InputError, match=message):
            swarm.resume("s", {"edit": files})
    state: Any = swarm.resume("s", {"edit": {"code": {"calc.py": "x = 1\n"}}})
    assert git(repo, "show", f"{state['commits'][-1]}:calc.py") == "x = 1"


def test_a_repository_can_move_again_while_the_same_step_fails(repo: Path, tmp_path: Path) -> None:
    paused(repo, tmp_path)
    place = repo
    for name, decision in (("b", "approve"), ("c", None)):
        place = place.rename(tmp_path / name)
        failing = crew(coder=RuntimeError("down"))
        assert coordinator(tmp_path, place, failing).resume("s", decision)["phase"] == "failed"
    state: Any = coordinator(tmp_path, place.rename(repo), crew()).resume("s")
    assert (state["repo"]["path"], state["phase"]) == (str(repo), "complete")


def test_a_repository_without_the_base_is_refused(repo: Path, tmp_path: Path) -> None:
    paused(repo, tmp_path)
    other = make_repository(tmp_path / "other", {"a": "b"})
    with pytest.raises(InputError, match=r"lacks the commit .* at which session 's' began"):
        coordinator(tmp_path, other, crew()).resume("s", "approve")
    assert git(other, "branch", "--format=%(refname:short)") == "main"


def test_a_session_of_another_kind_takes_no_repository(repo: Path, tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, None, crew(), workflow={"pause_before": ["coder"]})
    swarm.run_workflow("x", session_id="s")
    with pytest.raises(InputError, match="has the kind 'code' and works on no repository"):
        coordinator(tmp_path, repo, crew()).resume("s", "approve")


def received(repo: Path, tmp_path: Path, name: str) -> dict[str, str]:
    """The environment of another user than the one of whom the folder has a session that waits."""
    write_config(tmp_path, workflow={"pause_before": ["coder"], "max_iterations": 1})
    sender = {**ENVIRONMENT, "XDG_DATA_HOME": str(tmp_path / "sender")}
    done = run("run", "x", "--repo", repo, "--session", "s", "--simulate", cwd=tmp_path, env=sender)
    assert done.returncode == 3, done.stderr
    return {**ENVIRONMENT, "XDG_DATA_HOME": str(tmp_path / name)}


def test_the_repository_of_somebody_elses_session_is_not_touched(repo: Path, tmp_path: Path) -> None:
    mine = received(repo, tmp_path, "receiver")
    before = git(repo, "for-each-ref")
    refused = run("resume", "s", "--approve", "--simulate", cwd=tmp_path, env=mine, text=True)
    assert refused.returncode == 2
    assert "not started by you" in refused.stderr
    assert git(repo, "for-each-ref") == before
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repo), str(clone))
    own = run("resume", "s", "--approve", "--simulate", "--repo", "clone", cwd=tmp_path, env=mine, text=True)
    assert own.returncode == 0, own.stderr
    assert log(clone, "swarm/s")
    assert git(repo, "for-each-ref") == before


def test_an_ended_session_of_somebody_else_reads_no_recorded_repository(repo: Path, tmp_path: Path) -> None:
    mine = received(repo, tmp_path, "receiver")
    sender = {**mine, "XDG_DATA_HOME": str(tmp_path / "sender")}
    ended = run("resume", "s", "--approve", "--simulate", cwd=tmp_path, env=sender, text=True)
    assert ended.returncode == 0, ended.stderr
    refused = run("resume", "s", "--simulate", cwd=tmp_path, env=mine, text=True)
    assert refused.returncode == 2, refused.stdout
    assert "its recorded repository is not used" in refused.stderr
    moved = repo.rename(tmp_path / "moved")
    shown = run("resume", "s", "--simulate", "--repo", "moved", cwd=tmp_path, env=mine, text=True)
    assert shown.returncode == 0, shown.stderr
    assert f"git -C {moved} diff" in shown.stdout


def test_a_trusted_session_uses_the_recorded_repository(repo: Path, tmp_path: Path) -> None:
    mine = received(repo, tmp_path, "receiver")
    done = run("resume", "s", "--approve", "--trust-session", "--simulate", cwd=tmp_path, env=mine, text=True)
    assert done.returncode == 0, done.stderr
    assert log(repo, "swarm/s")


def test_an_own_session_is_resumed_without_naming_the_repository_again(repo: Path, tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"pause_before": ["coder"], "max_iterations": 1})
    begun = run("run", "x", "--repo", repo, "--session", "s", "--simulate", cwd=tmp_path, text=True)
    assert begun.returncode == 3, begun.stderr
    done = run("resume", "s", "--approve", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert "other settings" not in done.stderr
    assert log(repo, "swarm/s")


# --- what people see -----------------------------------------------------------------------------


def test_the_summary_names_branch_figures_and_commands(repo: Path, tmp_path: Path) -> None:
    (repo / "mine.txt").write_text("mine\n")
    before = fingerprint(repo)
    done = run("run", "Fix", "--repo", ".", "--session", "s", "--simulate", cwd=repo, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "note: the session leaves out your 1 uncommitted change; --with-changes includes it\n" in done.stderr
    )
    base = git(repo, "rev-parse", "--short=12", "HEAD")
    assert f"Branch swarm/s: 2 commits after {base}, 1 file, +" in done.stdout
    assert f"git diff {base}..swarm/s\n" in done.stdout
    assert "swarm-graph apply s\n" in done.stdout
    assert "git am swarm-output/s/changes.patch\n" in done.stdout
    own = (".swarm", "swarm-output")
    assert {name: of for name, of in fingerprint(repo).items() if not name.startswith(own)} == before
    assert git(repo, "status", "--porcelain") == "?? mine.txt"
    listed = run("sessions", "list", cwd=repo, text=True).stdout
    assert "standard, change, simulated" in listed
    assert json.loads(run("sessions", "list", "--json", cwd=repo).stdout)[0]["kind"] == "change"
    shown = run("sessions", "show", "s", cwd=repo, text=True).stdout
    assert "Session s (standard, change, simulated)" in shown
    assert f"Branch swarm/s in {repo}: 2 commits after {base}\n" in shown
    assert tmp_path in repo.parents


def test_the_report_shows_the_diff_as_text(repo: Path, tmp_path: Path) -> None:
    code = "```html path=page.html\n<script>alert(1)</script>\n```"
    coordinator(tmp_path, repo, crew(coder=code)).run_workflow("Add a page", session_id="s")
    SwarmManager(data_dir=tmp_path / "data").session_report("s", tmp_path / "s.html")
    page = (tmp_path / "s.html").read_text()
    assert "<h2>Change</h2>\n<p>Branch <code>swarm/s</code> in " in page
    assert '<span class="sign">+</span>&lt;script&gt;alert(1)&lt;/script&gt;' in page
    assert "<script>alert(1)" not in page
    shutil.rmtree(repo)
    SwarmManager(data_dir=tmp_path / "data").session_report("s", tmp_path / "s.html")
    assert "is not a folder" in (tmp_path / "s.html").read_text()


def test_a_branch_with_foreign_commits_stops_the_session(repo: Path, tmp_path: Path) -> None:
    git(repo, "branch", "swarm/s")
    git(repo, "switch", "--quiet", "swarm/s")
    commit_files(repo, {"theirs.txt": "x"}, "Theirs")
    git(repo, "switch", "--quiet", "main")
    theirs = git(repo, "rev-parse", "swarm/s")
    with pytest.raises(RepositoryError, match=r"a commit .* that the session did not make"):
        coordinator(tmp_path, repo, crew()).run_workflow("x", session_id="s")
    git(repo, "branch", "--move", "swarm/s", "kept")
    paused(repo, tmp_path)
    git(repo, "branch", "swarm/s", theirs)  # meanwhile
    with pytest.raises(RepositoryError, match=r"that the session did not make; .*, then resume"):
        coordinator(tmp_path, None, crew()).resume("s", "approve")
    assert git(repo, "rev-parse", "swarm/s") == theirs
    git(repo, "branch", "--delete", "--force", "swarm/s")
    state: Any = coordinator(tmp_path, None, crew()).resume("s")
    assert (state["phase"], log(repo, "swarm/s", "%H")) == ("complete", state["commits"])


def test_the_patch_applies_with_git_am_in_a_clone(repo: Path, tmp_path: Path) -> None:
    coordinator(tmp_path, repo, crew()).run_workflow("Fix: [it] ---", "full", session_id="s")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repo), str(clone))
    patch = tmp_path / "out/s/changes.patch"
    done = subprocess.run(["git", "apply", "--check", patch], cwd=clone, check=False)
    assert done.returncode == 0
    git(clone, "am", str(patch))
    assert git(clone, "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", "swarm/s^{tree}")
