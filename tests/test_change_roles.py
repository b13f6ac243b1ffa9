"""What the roles of a session see of a repository, and what is left out where a context is small."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from repositories import commit_files, git, make_repository
from servers.canned import Canned
from support import REFUSED, Crew, Script, config, thread

from swarm_graph.errors import ConfigError, ModelError
from swarm_graph.models.invented import Ask
from swarm_graph.models.simulated import SimulatedChatModel
from swarm_graph.roles.file_blocks import Files, fenced
from swarm_graph.roles.role import Role
from swarm_graph.roles.shown_files import Clues, show_files
from swarm_graph.state import ChangeState, OwnWorkflow, Repository, SwarmContext
from swarm_graph.workflows.build import build_graph
from swarm_graph.workflows.builder import GraphBuilder

BILL = '"""Bills."""\n\n\ndef total(prices):\n    return sum(prices)\n'
FILES: dict[str, str | bytes] = {
    "shop/bill.py": BILL,
    "shop/tax.py": "RATE = 0.2\n",
    "tests/test_bill.py": "from shop.bill import total\n\n\ndef test_total():\n    assert total([1]) == 1\n",
    "docs/bills.md": "# Bills\n",
    "README.md": "# Shop\n",
    "AGENTS.md": "Use type hints.\n",
    **{f"other/part{number}.py": f"x = {number}\n" for number in range(30)},
}
NEW = '"""Bills."""\n\n\ndef total(prices):\n    return round(sum(prices))\n'
REQUEST = "Round the total of a bill"


def repository(folder: Path, files: dict[str, str | bytes] | None = None, **keys: Any) -> Repository:
    project = make_repository(folder / "project", files or FILES)
    found = Repository(
        path=str(project),
        start="HEAD",
        base=git(project, "rev-parse", "HEAD"),
        branch="swarm/s",
        only=[],
        read_only=[],
        compared_with="",
    )
    return {**found, **keys}  # type: ignore[typeddict-item]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return repository(tmp_path_factory.mktemp("roles"))


def run(repo: Repository, script: Script, **sections: Any) -> tuple[dict[str, Any], Crew]:
    crew = Crew({"coder": fenced({"shop/bill.py": NEW}), **script})
    workflow = {"kind": "change", "max_iterations": 1, **sections.pop("workflow", {})}
    graph: Any = build_graph("full", config=config(workflow=workflow, **sections))
    return graph.invoke({"request": REQUEST, "repo": repo}, context=crew.context), crew


def part(prompt: str, tag: str) -> str:
    found = re.search(rf"<{tag}(-\w+)?>\n(.*?)\n</{tag}", prompt, re.DOTALL)
    assert found, f"no <{tag}> in {prompt[:200]}"
    return found[2]


def test_the_roles_see_the_repository_and_the_change(repo: Repository) -> None:
    plan = "## Changes\n- `shop/bill.py`: round\n## Files to read\n- `other/part29.py`"
    state, crew = run(repo, {"architect": plan})
    assert state["code"] == {"shop/bill.py": NEW}
    assert state["wanted"] == ["shop/bill.py", "other/part29.py"]
    assert state["tasks"]["T003_code"]["note"].startswith("4 of 36 files shown")
    (coder,), (reviewer,), (tester,), (documenter,) = map(
        crew.prompts, ("coder", "reviewer", "tester", "documenter")
    )
    assert part(coder, "files").startswith("(4 of 36 files shown.)")
    assert part(coder, "files").index("path=shop/bill.py") < part(coder, "files").index(
        "path=other/part29.py"
    )
    assert part(coder, "changes") == "(none)"
    assert part(coder, "conventions") == "AGENTS.md:\n\nUse type hints."
    assert "shop/tax.py" in part(coder, "repository_map")
    assert "    5 +    return round(sum(prices))" in part(reviewer, "changes")
    assert f"path=shop/bill.py\n{NEW}```" in part(reviewer, "files")
    assert part(tester, "project_tests") == (
        "- tests: 1 file such as tests/test_bill.py (test_*.py)\n\n"
        "(Among the files above: tests/test_bill.py.)"
    )
    assert "path=tests/test_bill.py" in part(tester, "files")
    assert "(Among the files above: docs/bills.md.)" in part(documenter, "project_documents")


def test_the_next_round_sees_the_change_and_its_findings(repo: Repository) -> None:
    texts = [NEW, f"{NEW}\nRATE = 1\n"]
    coder = [fenced({"shop/bill.py": text}) for text in texts]
    state, crew = run(
        repo,
        {"coder": lambda ask: coder[ask.iteration - 1], "reviewer": REFUSED},
        workflow={"max_iterations": 2},
    )
    assert state["code"] == {"shop/bill.py": texts[1]}
    again = crew.prompts("coder")[1]
    assert f"path=shop/bill.py\n{NEW}```" in part(again, "files")
    assert "    5 +    return round(sum(prices))" in part(again, "changes")
    assert "src/a.py:1" in part(again, "open_findings")
    assert "    5 +    return round" in part(crew.prompts("debugger")[0], "changes")


def test_a_name_that_does_not_exist_is_one_repair_question(repo: Repository) -> None:
    plan = "## Files to read\n- `shop/bills.py`\n- `shop/tax.py`"
    state, crew = run(repo, {"architect": plan})
    assert crew.asked.count("architect") == 2
    assert "did you mean 'shop/bill.py'" in crew.prompts("architect")[1]
    assert state["wanted"] == ["shop/tax.py"]
    note = state["tasks"]["T002_design"]["note"]
    assert "taken although 'shop/bills.py' under 'Files to read' is no file of the repository" in note


def test_what_the_coder_must_not_write_is_one_repair_question(tmp_path: Path) -> None:
    answers = [fenced({"shop/tax.py": "RATE = 1\n"}), fenced({"shop/bill.py": NEW})]
    crew_answers = iter(answers)
    state, crew = run(
        repository(tmp_path, read_only=["shop/tax.py"]), {"coder": lambda _: next(crew_answers)}
    )
    assert "'shop/tax.py' must not be changed: the user made it read-only" in crew.prompts("coder")[1]
    assert state["code"] == {"shop/bill.py": NEW}


def test_an_own_role_reads_the_views_and_changes_the_repository(repo: Repository) -> None:
    licenser = Role(
        "",
        reads=("request", "files", "changes"),
        writes="documentation",
        answer=Files,
        prompt="Add a licence.",
    )
    settings = config(workflow={"kind": "change"}, roles={"licenser": licenser})
    crew = Crew({"coder": fenced({"shop/bill.py": NEW}), "licenser": fenced({"LICENSE": "MIT\n"})})
    graph: Any = build_graph(
        OwnWorkflow("licensed"), config=settings.model_copy(update={"workflows": {"licensed": licensed}})
    )
    state = graph.invoke({"request": REQUEST, "repo": repo}, context=crew.context)
    assert (state["code"], state["documentation"]) == ({"shop/bill.py": NEW}, {"LICENSE": "MIT\n"})
    (prompt,) = crew.prompts("licenser")
    assert "    5 +    return round(sum(prices))" in part(prompt, "changes")
    assert "path=shop/bill.py" in part(prompt, "files")


def licensed(graph: GraphBuilder) -> None:
    """coder → licenser."""
    graph.connect(START, graph.place("coder"))
    graph.connect("coder", graph.place("licenser"))
    graph.connect("licenser", END)


def test_an_own_role_must_not_write_what_has_a_meaning_there() -> None:
    for key in ("files", "wanted", "repo"):
        role = Role("", writes=key, prompt="Do it.")
        settings = config(workflow={"kind": "change"}, roles={"own": role})
        with pytest.raises(ConfigError, match=f"writes: '{key}' has a meaning of its own in sessions on a"):
            build_graph("full", config=settings)
        build_graph("full", config=config(roles={"own": role}))


def test_a_review_of_a_change_shows_the_diff_and_the_changed_files(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    lines = "".join(f"value_{number} = {number}\n" for number in range(30))
    head = commit_files(Path(repo["path"]), {"shop/bill.py": NEW, "shop/new.py": lines}, "Round")
    repo = {**repo, "base": head, "compared_with": repo["base"], "branch": ""}
    crew = Crew()
    graph: Any = build_graph("review_only", config=config(workflow={"kind": "change"}))
    state = graph.invoke({"request": "Review it", "repo": repo}, context=crew.context)
    assert state["approved"]
    (prompt,) = crew.prompts("review_correctness")
    assert "    5 +    return round(sum(prices))" in part(prompt, "changes")
    assert "      -    return sum(prices)" in part(prompt, "changes")
    assert part(prompt, "files").startswith("(2 of 37 files shown.)\n\n```python path=shop/bill.py")
    for prompt, _ in versions(ChangeState(request="Review it", repo=repo), "reviewer"):
        assert all(f"+value_{number} = {number}\n" in prompt for number in range(30)), "it is never cut"


# --- small contexts ------------------------------------------------------------------------------


def versions(state: ChangeState, role: str) -> list[tuple[str, str]]:
    """The prompts of a role from the longest to the shortest, each with its note."""
    graph: Any = build_graph("full", config=config(workflow={"kind": "change"}))
    node = graph.builder.nodes[role].runnable
    return [("\n".join(m.text for m in messages), note) for messages, note, *_ in node._of_repository(state)]


def test_a_small_context_shows_fewer_files_then_a_smaller_map(tmp_path: Path) -> None:
    long = {f"shop/bill{n}.py": f'"""Bill {n}."""\n' + f"value = {n}  # a total\n" * 200 for n in range(12)}
    long |= {f"other/a_much_longer_name_{number}.py": "" for number in range(100)}
    repo = repository(tmp_path, {**FILES, **long})
    found = versions(ChangeState(request=REQUEST, repo=repo, code={"shop/bill.py": NEW}), "coder")
    sizes = [len(prompt) for prompt, _ in found]
    assert sizes == sorted(sizes, reverse=True)
    shown = [len(part(prompt, "files")) for prompt, _ in found]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > shown[2] > shown[-1]
    assert all(f"path=shop/bill.py\n{NEW}" in prompt for prompt, _ in found), "changed files come first"
    assert part(found[2][0], "repository_map") == part(found[0][0], "repository_map")
    assert len(part(found[-1][0], "repository_map")) < len(part(found[0][0], "repository_map"))
    assert "left out for lack of context: changes, a part of repository_map" in found[-1][1]


def test_no_text_of_the_repository_stands_twice_in_a_prompt(tmp_path: Path) -> None:
    rules = "".join(f"Rule {number} of the bills holds.\n" for number in range(20))
    code = '"""All bills."""\n\n\n' + "".join(
        f"def bill{number}(total):\n    return round(total, {number})\n\n\n" for number in range(380)
    )
    files: dict[str, str | bytes] = {
        "shop/bill.py": code,
        "tests/test_bill.py": "from shop.bill import bill1\n\n\ndef test_bill():\n    assert bill1(1) == 1\n",
        "AGENTS.md": rules,
        "CONTRIBUTING.md": "# How to change bills\n",
        "CHANGELOG.md": "# Changes of bills\n\nEntry\n" + "- A bill has a total.\n" * 400,
        "README.md": "# Bills\n\n" + "Each bill has a total.\n" * 300,
    }
    state = ChangeState(request=REQUEST, repo=repository(tmp_path, files))
    for role in ("architect", "coder", "tester", "documenter", "reviewer"):
        prompt, _ = versions(state, role)[0]
        for line in (
            "Rule 7 of the bills",
            "# How to change bills",
            "def test_bill():",
            "def bill40(",
            "Entry",
        ):
            assert prompt.count(line) <= (2 if line == "def bill40(" else 1), (role, line)
        assert f"path=shop/bill.py\n{code}```" in prompt, "the file that fits best is shown whole"
    tester, documenter = versions(state, "tester")[0][0], versions(state, "documenter")[0][0]
    assert "(Among the files above: tests/test_bill.py.)" in part(tester, "project_tests")
    assert "CHANGELOG.md" in part(documenter, "files").partition("```")[0]
    assert "Entry" in part(documenter, "project_documents")


def test_the_map_stays_the_same_in_all_rounds(repo: Repository) -> None:
    first = ChangeState(request=REQUEST, repo=repo)
    later = ChangeState(
        request=REQUEST, repo=repo, code={"other/part9.py": "x = 2\n"}, wanted=["shop/tax.py"]
    )
    maps = [part(versions(state, "coder")[0][0], "repository_map") for state in (first, later)]
    assert maps[0] == maps[1]


def test_a_reviewer_sees_the_whole_change_however_small_its_context(tmp_path: Path) -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(3000))
    state = ChangeState(request=REQUEST, repo=repository(tmp_path), code={"shop/new.py": text})
    for role in ("reviewer", "security"):
        for prompt, _ in versions(state, role):
            assert " 3000 +value_2999 = 2999" in part(prompt, "changes")
            assert "    1 +value_0 = 0" in part(prompt, "changes")


def test_a_long_file_is_marked_and_shown_in_parts() -> None:
    functions = [f"def part{n}():\n" + "    x = 1\n" * 20 + f"    return {n}\n" for n in range(200)]
    text = '"""Head."""\n\n\n' + "\n\n".join(functions)
    shown = show_files(
        {"a.py": text},
        ["a.py"],
        room=6000,
        long=3000,
        clues=Clues({"part150"}, {"a.py": [30]}),
        first=["a.py"],
    )
    assert shown.shown == shown.in_part == ["a.py"]
    assert len(shown.text) <= 6000
    head = "a.py (4801 lines): only parts of it are shown; change it with SEARCH/REPLACE blocks."
    assert shown.text.startswith(head)
    assert "def part150" in shown.text
    assert "def part77" not in shown.text
    lines = text.split("\n")
    for first, last, body in re.findall(
        r"Lines (\d+)-(\d+) of a.py:\n\n```python\n(.*?)```", shown.text, re.S
    ):
        assert body == "".join(f"{line}\n" for line in lines[int(first) - 1 : int(last)])
    whole = show_files({"a.py": text}, ["a.py"], room=200_000, long=3000, first=["a.py"])
    assert not whole.in_part
    assert whole.text.startswith("a.py is long (4801 lines): change it with SEARCH/REPLACE blocks.\n\n```pyt")
    assert f"```python path=a.py\n{text}" in whole.text
    assert re.search(r"\(Not shown: line \d+ def part\d+, .* and \d+ more\.\)$", shown.text)
    assert not show_files({"a.py": text}, ["a.py"], room=6000, long=3000, only_whole=["a.py"]).shown
    other = show_files({"a.py": text}, ["a.py"], room=6000, long=3000, clues=Clues({"part150"}))
    assert "def part150" in other.text
    assert len(other.text) <= 1500


def test_paths_with_markup_are_not_shown_as_files() -> None:
    files = {"a\n```\n.py": "x = 1\n", 'b".py': "x = 2\n", "c.py": "x = 3\n"}
    shown = show_files(files, files, room=1000, long=500)
    assert shown.shown == ["c.py"]


def test_a_change_that_does_not_fit_is_not_reviewed_in_part(repo: Repository) -> None:
    text = "".join(f"value_{number} = {number}\n" for number in range(3000))
    with Canned(lambda *_: REFUSED) as server:
        server.props = {"total_slots": 1, "default_generation_settings": {"n_ctx": 8192}}
        settings = {"model_config": {"single_model": server.entry}, "workflow": {"kind": "change"}}
        graph: Any = build_graph("standard", config=settings, checkpointer=InMemorySaver())
        state = {"request": REQUEST, "requirements": "It rounds.", "phase": "running", "iteration": 1}
        code = {"shop/new.py": text}
        graph.update_state(thread(), {**state, "repo": repo, "code": code}, as_node="coder")
        with pytest.raises(ModelError, match=r"too small for this prompt of about .* raise its server's con"):
            graph.invoke(None, thread())


def test_the_prompt_that_fits_is_sent_and_its_note_says_what_it_lacks(tmp_path: Path) -> None:
    long = {f"shop/bill{n}.py": f"value = {n}  # a total\n" * 200 for n in range(12)}
    repo = repository(tmp_path, {**FILES, **long})
    with Canned(lambda *_: fenced({"shop/bill.py": NEW})) as server:
        server.props = {"total_slots": 1, "default_generation_settings": {"n_ctx": 8192}}
        settings = {
            "model_config": {"single_model": server.entry},
            "workflow": {"kind": "change", "pause_after": ["coder"]},
        }
        graph: Any = build_graph("standard", config=settings, checkpointer=InMemorySaver())
        state = {"request": REQUEST, "requirements": "It rounds.", "design": "Round.", "phase": "running"}
        graph.update_state(thread(), {**state, "repo": repo, "iteration": 0}, as_node="architect")
        graph.invoke(None, thread())
        found = graph.get_state(thread()).values
    assert found["code"] == {"shop/bill.py": NEW}
    (record,) = found["tasks"].values()
    assert re.match(r"\d+ of 48 files shown", record["note"])


def test_the_simulated_model_changes_a_file_that_the_prompt_shows(repo: Repository) -> None:
    asks: list[Ask] = []

    def play(ask: Ask) -> None:
        asks.append(ask)

    workflow = {"kind": "change", "max_iterations": 3}
    graph: Any = build_graph("full", config=config(workflow=workflow))
    context = SwarmContext(model=SimulatedChatModel(play=play))
    state = asyncio.run(graph.ainvoke({"request": REQUEST, "repo": repo}, context=context))
    assert state["approved"]
    (path,) = state["code"]
    assert path in FILES
    assert state["code"][path].startswith(str(FILES[path]))
    assert state["code"][path].count("def simulated_change() -> int:") == 1
    assert "SIMULATED" in state["code"][path]
    assert [*state["tests"]] == ["tests/test_simulated.py"]
    compile(state["tests"]["tests/test_simulated.py"], "test", "exec")
    assert state["documentation"] == {}
    assert all("repaired" not in task.get("note", "") for task in state["tasks"].values())
