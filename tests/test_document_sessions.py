"""Sessions that make a document: who is asked, what is checked, which files come out, and what is kept."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from pages import Page
from support import SIMULATED, Crew, config, thread, write_config

from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.config import load_config, settings_of_any
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.prompts import template
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.settings import PROMPT_PACKS
from swarm_graph.state import WorkflowName
from swarm_graph.workflows.build import build_graph

GOLDEN = Path(__file__).parent / "golden"
REQUEST = "Write a startup procedure: pre-checks, purge R-201, start P-101A, trip by TAHH-301"
WORKFLOWS: tuple[WorkflowName, ...] = ("standard", "full", "review_only")


def document(**sections: Any) -> Any:
    workflow = {"kind": "document", **sections.pop("workflow", {})}
    return config(workflow=workflow, **sections)


def coordinator(folder: Path, crew: Crew | None = None, **sections: Any) -> SwarmCoordinator:
    return SwarmCoordinator(
        config(**sections),
        data_dir=folder / ".swarm",
        output_dir=folder / "out",
        context=crew.context if crew else None,
    )


def files(folder: Path) -> dict[str, str]:
    """The files of a session, without its state JSON."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("swarm_state")
    }


# --- the graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_drawing_is_the_golden_one(workflow: WorkflowName) -> None:
    drawing = build_graph(workflow, config=document()).get_graph().draw_mermaid()
    golden = GOLDEN / f"document_{workflow}.mmd"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(drawing)
    assert drawing == golden.read_text()


def test_full_checks_a_document_and_runs_no_tests() -> None:
    crew = Crew()
    state = build_graph("full", config=document(execution={"mode": "auto"})).invoke(
        {"request": "Write it"}, context=crew.context
    )
    assert state["approved"]
    assert state["kind"] == "document"
    assert state["code"] == {"docs/a.md": "# A\n\nIt is 1.\n\n## Steps\n\nOpen the valve slowly.\n"}
    (checked,) = [review for review in state["reviews"] if "evidence" in review]
    assert checked["node"] == "check_document"
    assert checked["evidence"]["outcome"] == "passed"
    assert checked["evidence"]["exit_code"] is None
    assert checked["evidence"]["sandbox"] == "none, only text was checked"
    assert crew.asked[:3] == ["clarifier", "architect", "coder"]
    assert set(crew.asked[3:]) == {"reviewer", "security", "tester", "optimizer", "documenter"}
    assert "<document>" in crew.prompts("reviewer")[0]


def test_standard_checks_without_a_tester_and_with_one_if_tests_are_wanted() -> None:
    crew = Crew()
    state = build_graph("standard", config=document()).invoke({"request": "x"}, context=crew.context)
    assert state["approved"]
    assert {"review_correctness", "review_completeness", "review_clarity"} == set(crew.asked[3:])
    assert "check_document" in {review["node"] for review in state["reviews"]}
    crew = Crew()
    settings = document(features={"execute_tests": True})
    build_graph("standard", config=settings).invoke({"request": "x"}, context=crew.context)
    assert "tester" in crew.asked


def test_a_document_that_fails_its_checks_is_not_approved_and_the_coder_sees_why() -> None:
    crew = Crew({"coder": "# A\n\nTODO\n\n## Steps\n\nOpen the valve slowly.\n"})
    graph = build_graph("full", config=document(workflow={"max_iterations": 2}))
    state = graph.invoke({"request": "Close XV-101"}, context=crew.context)
    assert state["approved"] is False
    problems = [finding["problem"] for finding in state["findings"]]
    assert any("'TODO' is left open" in problem for problem in problems)
    assert any("'XV-101' stands in the request" in problem for problem in problems)
    assert {name for finding in state["findings"] for name in finding["seen_by"]} == {"check_document"}
    assert "'XV-101' stands in the request" in crew.prompts("debugger")[0]
    assert "checks hold, 2 do not" in crew.prompts("coder")[1]


def test_an_invented_quote_of_the_tester_is_no_approval() -> None:
    crew = Crew(
        {"tester": json.dumps({"items": [{"requirement": "Safe.", "quote": "It is all perfectly safe."}]})}
    )
    graph = build_graph("full", config=document(workflow={"max_iterations": 1}))
    state = graph.invoke({"request": "x"}, context=crew.context)
    assert state["approved"] is False
    assert (
        "not found in the document: Safe. (what the tester quotes does not stand there)"
        in state["findings"][0]["problem"]
    )


def test_a_checklist_that_nobody_can_read_is_no_approval_and_no_failure() -> None:
    crew = Crew({"tester": "All is well."})
    graph = build_graph("full", config=document(workflow={"max_iterations": 1}))
    state = graph.invoke({"request": "x"}, context=crew.context)
    assert (state["phase"], state["approved"]) == ("complete", False)
    assert "it could not be read" in state["findings"][0]["problem"]


def test_a_program_in_place_of_a_document_fails_after_one_repair_question(tmp_path: Path) -> None:
    crew = Crew({"coder": "```python path=src/a.py\nx = 1\n```"})
    swarm = coordinator(tmp_path, crew)
    state = swarm.run_workflow("Write it", session_id="s", kind="document")
    assert state["phase"] == "failed"
    assert crew.asked.count("coder") == 2
    assert "'src/a.py' is no document" in crew.prompts("coder")[1]
    assert not (tmp_path / "out/s/generated_document.md").exists()


# --- the kind ------------------------------------------------------------------------------------


def test_the_pack_says_document_and_the_configuration_may_say_otherwise() -> None:
    assert {pack: template.declared_kind(pack) for pack in PROMPT_PACKS} == {"process-safety": "document"}
    by_pack = build_graph("full", config=config(prompts_dir="process-safety"))
    assert "check_document" in by_pack.nodes
    by_hand = config(prompts_dir="process-safety", workflow={"kind": "code"})
    assert "run_tests" in build_graph("full", config=by_hand).nodes
    by_environment = load_config({"prompts_dir": "process-safety"}, environ={"SWARM_WORKFLOW__KIND": "code"})
    assert "run_tests" in build_graph("full", config=by_environment).nodes
    assert "run_tests" in build_graph("full", config=config()).nodes


def test_a_folder_of_one_s_own_declares_what_it_makes(tmp_path: Path) -> None:
    (tmp_path / "coder.md").write_text("Be brief.")
    (tmp_path / "document").mkdir()
    (tmp_path / "document" / "coder.md").write_text("Write plainly.")
    assert template.declared_kind(tmp_path) is None
    assert template.read("coder", tmp_path) == "Be brief."
    assert template.read("coder", tmp_path, kind="document") == "Write plainly."
    assert template.replaced(tmp_path) == ["coder", "document/coder"]
    (tmp_path / "pack.json").write_text('{"kind": "document"} // of ours')
    crew = Crew()
    graph = build_graph("standard", config=config(prompts_dir=str(tmp_path)))
    graph.invoke({"request": "x"}, context=crew.context)
    assert "\n\nWrite plainly.\n\n" in crew.prompts("coder")[0]
    assert "<document>" in crew.prompts("coder")[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"kind": "report"}', "kind: 'report' is not allowed; expected code or document"),
        ('{"kind": "document", "url": "http://x"}', "unknown key 'url'; expected 'kind' alone"),
        ("[]", "expected an object"),
        ("{", "not valid JSON"),
        ("{}", "kind: None is not allowed"),
        ("x" * 20_000, "it has 20,000 bytes; expected at most 10,000"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_one_line(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "coder.md").write_text("Be brief.")
    (tmp_path / "pack.json").write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        build_graph("standard", config=config(prompts_dir=str(tmp_path)))
    assert "pack.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown kind 'report'; known kinds: code, document"):
        coordinator(tmp_path, Crew()).run_workflow("x", kind="report")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"workflow\.kind: .*'code', 'document' or 'change'"):
        config(workflow={"kind": "report"})
    graph = build_graph("standard", config=config())
    with pytest.raises(InputError, match="the request says kind 'document', and this graph makes code"):
        graph.invoke({"request": "x", "kind": "document"}, context=Crew().context)


def test_a_follow_up_makes_what_the_session_has_made(tmp_path: Path) -> None:
    first = coordinator(tmp_path, Crew(), prompts_dir="process-safety")
    assert first.run_workflow("Write it", session_id="s")["kind"] == "document"
    crew = Crew()
    again = coordinator(tmp_path, crew)  # the configuration says nothing of a document
    state = again.run_workflow("Add a step", session_id="s", follow_up=True)
    assert state["kind"] == "document"
    assert "check_document" in {review["node"] for review in state["reviews"]}
    with pytest.raises(InputError, match="session 's' has the kind 'document', and a follow-up cannot have"):
        again.run_workflow("Again", session_id="s", follow_up=True, kind="code")
    coordinator(tmp_path, Crew()).run_workflow("Build it", session_id="c")
    by_pack = coordinator(tmp_path, Crew(), prompts_dir="process-safety")
    assert by_pack.run_workflow("More", session_id="c", follow_up=True)["kind"] == "code"


def test_a_graph_of_another_kind_refuses_a_follow_up(tmp_path: Path) -> None:
    with open_checkpointer(tmp_path / "swarm.db") as saver:
        build_graph("standard", config=document(), checkpointer=saver).invoke(
            {"request": "x"}, thread(), context=Crew().context
        )
        graph = build_graph("standard", config=config(), checkpointer=saver)
        with pytest.raises(InputError, match="session 't' makes a document, and this graph code"):
            graph.invoke({"request": "y"}, thread(), context=Crew().context)


# --- what comes out ------------------------------------------------------------------------------


def test_the_document_is_named_first_and_no_file_is_called_code_or_tests(tmp_path: Path) -> None:
    write_config(tmp_path)
    arguments = ["run", REQUEST, "--workflow", "full", "--prompts", "process-safety", "--session", "s"]
    done = warm.run(*arguments, cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("SIMULATED")
    assert lines[2] == "The document: swarm-output/s/generated_document.md"
    assert lines[3].startswith("Session s (full): approved")
    assert any(line.startswith("Checks in round 1: ") for line in lines)
    assert lines[lines.index("Files in swarm-output/s:") + 1] == "  generated_document.md"
    made = files(tmp_path / "swarm-output/s")
    assert set(made) == {
        "generated_document.md",
        "notes.md",
        "review_results.txt",
        "project/README.md",
        "project/checks/checklist.json",
        "project/docs/document.md",
    }
    assert made["generated_document.md"] == made["project/docs/document.md"]
    assert "SIMULATED" in made["generated_document.md"]
    for tag in ("R-201", "P-101A", "TAHH-301"):
        assert tag in made["generated_document.md"]
    state = json.loads((tmp_path / "swarm-output/s/swarm_state_s.json").read_text())
    assert (state["kind"], state["document"]) == ("document", "generated_document.md")
    assert state["files"][0] == "generated_document.md"
    assert warm.run("verify", "s", cwd=tmp_path, text=True).stdout.startswith("Session s: passed")
    report = tmp_path / "s.html"
    warm.run("sessions", "report", str(report), "--session", "s", cwd=tmp_path, text=True)
    page = report.read_text(encoding="utf-8")
    assert re.search(r'<details id="file-1" open>\s*<summary>generated_document.md ', page)
    assert "document checks" in page
    assert "test runs" not in page
    account = warm.run("sessions", "show", "s", cwd=tmp_path, text=True).stdout
    assert "\nchecks  round" in account
    assert "\ntests  " not in account


def test_the_page_shows_what_the_command_prints(tmp_path: Path) -> None:
    write_config(tmp_path)
    page = Page("documents.md")
    (line,), ((_, shown),) = page.blocks("console")[0][1].splitlines(), page.blocks("text")
    done = warm.run(*shlex.split(line)[2:], cwd=tmp_path, text=True)
    assert shown in done.stdout
    (tmp_path / "config.json").unlink()
    done = warm.run("run", "Write it", "--kind", "document", "--simulate", cwd=tmp_path, text=True)
    assert "run --workflow standard --kind document 'Write it' --url URL --model NAME\n" in done.stdout


def test_code_stays_what_it_was(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    state = swarm.run_workflow("Build it", "full", session_id="s")
    assert state["kind"] == "code"
    assert "document" not in swarm.document()
    assert {"generated_code.txt", "generated_tests.txt"} <= set(files(tmp_path / "out/s"))
    assert "The document" not in swarm._repr_html_()


def test_a_notebook_names_the_document(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, Crew())
    swarm.run_workflow("Write it", session_id="s", kind="document")
    assert "<p>The document: <b>generated_document.md</b></p>" in swarm._repr_html_()


def test_several_documents_follow_each_other(tmp_path: Path) -> None:
    blocks = [f"```markdown path=docs/{name}.md\n# {name}\n\ntext\n```" for name in "ab"]
    swarm = coordinator(tmp_path, Crew({"coder": "\n".join(blocks), "architect": "Two."}))
    swarm.run_workflow("Write them", session_id="s", kind="document")
    made = files(tmp_path / "out/s")
    assert made["generated_document.md"] == (
        "<!-- docs/a.md -->\n\n# a\n\ntext\n\n<!-- docs/b.md -->\n\n# b\n\ntext\n"
    )


def test_a_custom_session_ends_with_the_document_of_its_coder(tmp_path: Path) -> None:
    swarm = coordinator(tmp_path, prompts_dir="process-safety")
    swarm.add_task({"task_id": "cause", "assigned_role": "debugger", "description": "Causes"})
    swarm.add_task(
        {"task_id": "report", "assigned_role": "coder", "description": "Report", "dependencies": ["cause"]}
    )
    assert (
        swarm.run_workflow("Conversion of R-201 has fallen", "custom", session_id="s")["phase"] == "complete"
    )
    made = files(tmp_path / "out/s")
    assert "R-201" in made["generated_document.md"]
    assert made["generated_document.md"] == made["project/docs/document.md"]
    assert "generated_code.txt" not in made


# --- resuming ------------------------------------------------------------------------------------


def test_a_killed_session_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    slow = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 600}}
    models = {"single_model": SIMULATED["model_config"]["single_model"], "multi_model": {"tester": slow}}
    write_config(tmp_path, model_config={"mode": "multi", **models})
    arguments = ("run", REQUEST, "--workflow", "full", "--prompts", "process-safety", "--session")
    process = warm.Process(
        *arguments, "s", cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (tmp_path / "swarm-output/s/generated_document.md").is_file():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    write_config(tmp_path)
    done = warm.run("resume", "s", "--prompts", "process-safety", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2] == "The document: swarm-output/s/generated_document.md"
    assert warm.run(*arguments, "whole", cwd=tmp_path).returncode == 0
    assert files(tmp_path / "swarm-output/s") == files(tmp_path / "swarm-output/whole")


def test_other_prompts_do_not_change_what_a_session_makes(tmp_path: Path) -> None:
    pause = {"pause_after": ["coder"]}
    for made, prompts in (("code", "process-safety"), ("document", None)):
        coordinator(tmp_path, Crew(), workflow={**pause, "kind": made}).run_workflow("x", session_id=made)
        resumed = coordinator(tmp_path, Crew(), workflow=pause, prompts_dir=prompts).resume(made, "approve")
        assert resumed.get("kind", "code") == made
        assert resumed["phase"] == "complete"


def test_a_person_edits_the_document_as_it_is(tmp_path: Path) -> None:
    settings = {"workflow": {"pause_after": ["coder"], "kind": "document"}}
    coordinator(tmp_path, Crew(), **settings).run_workflow("x", session_id="s")
    edited = "# A\n\nMine.\n\n## Steps\n\nOpen the valve slowly.\n\n```\n# code\n```\n"
    state = coordinator(tmp_path, Crew(), **settings).resume("s", {"edit": edited})
    assert state["approved"]
    assert state["code"] == {"docs/a.md": edited}
    assert files(tmp_path / "out/s")["generated_document.md"] == edited


@pytest.mark.parametrize(("recorded", "kind"), [("document", "document"), ("../..", "code"), (["x"], "code")])
def test_what_a_database_says_of_a_kind_names_no_folder(recorded: Any, kind: str) -> None:
    session = Session("s", "full", "x", {"workflow": {"kind": recorded}}, "running", 0.0, 0.0)
    assert session.kind == kind


def test_a_received_session_keeps_its_kind_and_takes_no_folder_of_prompts(tmp_path: Path) -> None:
    saved = {"workflow": {"kind": "document"}, "prompts_dir": str(tmp_path)}
    assert settings_of_any(saved) == {"workflow": {"kind": "document"}}


# --- prompts of tasks ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Translate it.\n", "Translate it.\n---\n$description in $language\n"])
def test_a_task_s_prompt_is_found_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "translator.md").write_text(text)
    crew = Crew({"t": "Guten Tag"})
    swarm = coordinator(tmp_path, crew, prompts_dir=str(tmp_path / "prompts"))
    task = {"task_id": "t", "assigned_role": "coder", "prompt": "translator", "description": "Good day"}
    swarm.add_task({**task, "metadata": {"language": "German"}})
    state = swarm.run_workflow("", "custom", session_id="s")
    assert state["tasks"]["t"]["result"] == "Guten Tag"
    assert crew.prompts("t")[0].startswith("Translate it.")
    assert "Good day" in crew.prompts("t")[0]


def test_a_prompt_s_name_that_nobody_knows_says_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("x")
    swarm = coordinator(tmp_path, Crew(), prompts_dir=str(tmp_path))
    swarm.add_task({"task_id": "t", "assigned_role": "coder", "prompt": "translator"})
    message = rf"task 't': no prompt 'translator.md' in '{tmp_path}' and none of ours; known: .*own"
    with pytest.raises(ConfigError, match=message):
        swarm.run_workflow("", "custom")


def test_a_batch_finds_its_prompt_by_name_too(tmp_path: Path) -> None:
    write_config(tmp_path, prompts_dir="own")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "extract.md").write_text("Extract it.\n---\n$files\n")
    (tmp_path / "a.txt").write_text("P-101")
    done = warm.run("batch", "a.txt", "--prompt", "extract", "--session", "s", cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    wrong = warm.run("batch", "a.txt", "--prompt", "extrakt", cwd=tmp_path, text=True)
    assert wrong.returncode == 2
    assert f"no prompt 'extrakt.md' in '{tmp_path / 'own'}' and none of ours" in wrong.stderr
