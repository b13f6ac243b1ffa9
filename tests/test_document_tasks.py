"""Tasks whose files are documents: read when they start, split where they are too long, cited by page."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from pages import Page
from servers.llama import running_llama
from support import Crew, config, write_config

from swarm_graph import SwarmCoordinator, Task
from swarm_graph.config import load_config
from swarm_graph.errors import InputError
from swarm_graph.events import Event
from swarm_graph.models.context_window import prompt_bytes
from swarm_graph.models.invented import Ask
from swarm_graph.models.pool import PromptSize
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.question import Question
from swarm_graph.tasks.citations import unknown_places
from swarm_graph.tasks.dry_run import dry_run, dry_run_text
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.file_texts import TaskFiles
from swarm_graph.tasks.files import batch_tasks, read_tasks
from swarm_graph.tasks.joined_values import Joined, joined_values
from swarm_graph.tasks.part_questions import PartQuestions
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.spec import TaskSpec

PROMPT = "List the set points with their tags.\n---\n$files"
POINTS = {"type": "object", "properties": {"points": {"type": "array"}}, "required": ["points"]}


def write_pdf(path: Path, pages: Sequence[Sequence[str]], *, password: str | None = None) -> Path:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), encrypt=password)
    for lines in pages:
        for number, line in enumerate(lines):
            canvas.drawString(60, 790 - 16 * number, line)
        canvas.showPage()
    canvas.save()
    return path


def procedure(pages: int) -> list[list[str]]:
    """A page per pump, with its set point."""
    return [
        [f"Pump P-{100 + page}", f"Set point {page}.5 bar", *["Open the valve slowly."] * 20]
        for page in range(1, pages + 1)
    ]


class Batch:
    """A batch over the files of a folder with scripted models."""

    def __init__(self, folder: Path, said: Callable[[Ask], str] | str, **options: Any) -> None:
        (folder / "prompt.md").write_text(PROMPT)
        self.crew, self.events = Crew({"coder": said}), list[Event]()
        self.folder, self.options = folder, options

    def coordinator(self) -> SwarmCoordinator:
        return SwarmCoordinator(
            config(),
            context=self.crew.context,
            on_event=self.events.append,
            data_dir=self.folder / "data",
            output_dir=self.folder / "out",
        )

    def run(self) -> dict[str, Any]:
        coordinator = self.coordinator()
        prompt = str(self.folder / "prompt.md")
        for spec in batch_tasks([str(self.folder / "docs")], "coder", prompt, **self.options):
            coordinator.add_task(spec)
        return dict(coordinator.run_workflow("", "custom", session_id="s")["tasks"])

    def resume(self) -> dict[str, Any]:
        return dict(self.coordinator().resume("s")["tasks"])

    def rows(self) -> dict[str, dict[str, str]]:
        (table,) = (self.folder / "out").rglob("results.csv")
        return {row["task_id"]: row for row in csv.DictReader(table.read_text().splitlines())}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


# --- documents of every kind ---------------------------------------------------------------------


def write_mixed_documents(docs: Path) -> None:
    import docx
    import openpyxl
    import pptx

    write_pdf(docs / "pdf.pdf", procedure(2))
    write_pdf(docs / "secret.pdf", procedure(1), password="secret")
    write_pdf(docs / "scanned.pdf", [[]])
    (docs / "broken.pdf").write_bytes((docs / "pdf.pdf").read_bytes()[:300])
    word = docx.Document()
    word.add_heading("Pump P-101", 1)
    word.add_paragraph("Set point 1.5 bar")
    word.save(str(docs / "word.docx"))
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Pumps"
    book.active.append(["tag", "bar"])
    book.active.append(["P-101", 1.5])
    book.save(docs / "excel.xlsx")
    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[5])
    assert slide.shapes.title is not None
    slide.shapes.title.text = "Pump P-101 at 1.5 bar"
    slides.save(str(docs / "slides.pptx"))
    (docs / "page.html").write_text("<h1>P-101</h1><p>1.5 bar</p><script>no()</script>")
    mail = EmailMessage()
    mail["Subject"] = "P-101"
    mail.set_content("Set it to 1.5 bar.")
    (docs / "mail.eml").write_bytes(bytes(mail))
    (docs / "old.txt").write_bytes("Größe der Düse: 1.5 bar, geöffnet für P-101".encode("cp1252"))
    (docs / "plain.md").write_text("# P-101\n\n1.5 bar\n")
    (docs / "binary.bin").write_bytes(bytes(range(256)) * 9)


def test_a_batch_reads_documents_of_every_kind_and_fails_the_others_by_name(
    tmp_path: Path, docs: Path
) -> None:
    write_mixed_documents(docs)
    batch = Batch(tmp_path, lambda ask: f"P-101 in {ask.node}, p. 1")

    batch.run()

    rows = batch.rows()
    failed = {name: row["remark"] for name, row in rows.items() if row["status"] == "FAILED"}
    assert len(rows) == 12
    assert {*failed} == {"secret", "scanned", "broken", "binary"}
    for name, said in {
        "secret": "password",
        "scanned": "scan",
        "broken": "broken",
        "binary": "binary",
    }.items():
        assert failed[name].startswith(f"{name}: '{docs}/{name}.")
        assert said in failed[name]
    read = {ask.node: ask.prompt for ask in batch.crew.asks}
    assert {*read} == {*rows} - {*failed}
    assert all("P-101" in prompt and "1.5" in prompt for prompt in read.values())
    assert "[page 2]" in read["pdf"]
    assert "[sheet Pumps]" in read["excel"]
    assert "Windows-1252" in rows["old"]["remark"]
    assert rows["plain"]["remark"] == rows["pdf"]["remark"] == ""


def test_an_edited_document_is_noticed_when_its_session_is_resumed(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "a.pdf", procedure(1))
    write_pdf(docs / "b.pdf", procedure(1), password="secret")
    batch = Batch(tmp_path, "1.5 bar")
    batch.run()
    write_pdf(docs / "a.pdf", procedure(2))
    write_pdf(docs / "b.pdf", procedure(1))

    with pytest.raises(InputError, match=r"edited since the session began: '.*/docs/a.pdf'"):
        batch.resume()


# --- places --------------------------------------------------------------------------------------


def test_only_files_with_pages_bring_the_instruction_to_cite_them(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "a.pdf", procedure(2))
    (docs / "b.txt").write_text("[page 1]\nP-101: 1.5 bar\n")
    batch = Batch(tmp_path, "1.5 bar (p. 1)")

    batch.run()

    with_pages, without = (next(ask for ask in batch.crew.asks if ask.node == name) for name in "ab")
    assert "such as `[page 1]`" in with_pages.prompt
    assert "as in (p. 1)" in with_pages.prompt
    assert without.prompt.startswith("List the set points with their tags.\n```text path=b.txt")


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("See p. 1, pp. 2-3 and Page 2.", ""),
        ("See p. 4.", "cites p. 4, which the files do not have"),
        ("See (pp. 3-5; page 12).", "cites p. 5, p. 12, which the files do not have"),
        ("No page: 4.5 bar, group 7, pump. 9", ""),
        ("See slide 9.", ""),
    ],
)
def test_cited_pages_are_checked(answer: str, note: str) -> None:
    assert unknown_places(answer, {"page": ["1", "2", "3"]}) == note
    assert unknown_places(answer, {}) == ""


def test_a_page_that_is_not_there_is_noted_with_the_result(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "a.pdf", procedure(2))
    batch = Batch(tmp_path, "1.5 bar (p. 7)")
    batch.run()
    assert batch.rows()["a"]["remark"] == "cites p. 7, which the files do not have"


# --- parts ---------------------------------------------------------------------------------------


def points_of(ask: Ask) -> str:
    """The set points that a prompt shows, as Markdown."""
    return "\n".join(re.findall(r"^Set point \d+\.5 bar", ask.prompt, re.M)) or ask.prompt


def test_a_long_document_is_asked_in_parts_and_joined_by_one_call(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(6))
    write_pdf(docs / "short.pdf", procedure(1))
    batch = Batch(tmp_path, points_of, split=400)

    tasks = batch.run()

    prompts = batch.crew.prompts("long")
    *parts, join = prompts
    assert len(batch.crew.prompts("short")) == 1
    assert len(parts) == 3
    assert [found[0] for prompt in parts if (found := re.search(r"part \d of \d \(.*?\)", prompt))] == [
        "part 1 of 3 (p. 1-2)",
        "part 2 of 3 (p. 3-4)",
        "part 3 of 3 (p. 5-6)",
    ]
    assert "path=long.pdf" in parts[1]
    assert "[page 3]" in parts[1]
    assert "part 2 of 3, p. 3-4" in join
    assert "Set point 6.5 bar" in join
    assert tasks["long"]["result"].splitlines() == [f"Set point {page}.5 bar" for page in range(1, 7)]
    assert tasks["long"]["note"] == "asked in 3 parts: p. 1-2, p. 3-4, p. 5-6"
    assert [*batch.rows()] == ["long", "short"]
    started = [event.data for event in batch.events if event.kind == "part_started"]
    assert [(data["part"], data["parts"]) for data in started] == [(1, 3), (2, 3), (3, 3), (0, 3)]
    assert started[1]["place"] == "p. 3-4"


def test_a_part_that_fails_fails_its_task_by_name_and_a_resume_asks_from_there(
    tmp_path: Path, docs: Path
) -> None:
    write_pdf(docs / "long.pdf", procedure(6))
    is_broken = True

    def answer(ask: Ask) -> str:
        return " " if is_broken and "part 2 of 3" in ask.prompt else points_of(ask)

    batch = Batch(tmp_path, answer, split=400)
    tasks = batch.run()
    assert tasks["long"]["error"].startswith("long, part 2 of 3 (p. 3-4): the coder's answer is empty")
    asked = len(batch.crew.asks)

    is_broken = False
    tasks = batch.resume()

    again = [ask.prompt for ask in batch.crew.asks[asked:]]
    assert ["part 2 of 3" in again[0], "part 3 of 3" in again[1], len(again)] == [True, True, 3]
    assert tasks["long"]["result"].count("Set point") == 6


def test_answers_that_do_not_fit_are_joined_in_halves(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(9))

    def answer(ask: Ask) -> str:
        return "x" * 500 if "shows part" in ask.prompt else f"joined {ask.prompt.count('path=')}"

    batch = Batch(tmp_path, answer, split=250)

    tasks = batch.run()

    joins = [prompt for prompt in batch.crew.prompts("long") if "shows part" not in prompt]
    assert len(joins) > 1
    assert tasks["long"]["result"] == "joined 2"
    assert "part 1 of 9, p. 1 to part 4 of 9, p. 4" in joins[-1]


def test_lists_of_typed_answers_are_joined_by_code(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(6))

    def answer(ask: Ask) -> str:
        found = [{"bar": float(bar)} for bar in re.findall(r"^Set point (\d+\.5) bar", ask.prompt, re.M)]
        return json.dumps({"points": [*found, {"bar": 1.5}]})

    batch = Batch(tmp_path, answer, split=400, answer=POINTS)

    tasks = batch.run()

    assert len(batch.crew.asks) == 3
    assert tasks["long"]["value"] == {"points": [{"bar": page + 0.5} for page in range(1, 7)]}
    assert json.loads(batch.rows()["long"]["points"]) == tasks["long"]["value"]["points"]


def test_other_values_of_typed_answers_are_joined_by_the_model(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(4))
    schema = {**POINTS, "properties": {**POINTS["properties"], "summary": {"type": "string"}}}  # type: ignore[dict-item]

    def answer(ask: Ask) -> str:
        if "shows part" in ask.prompt:
            return json.dumps({"points": [len(ask.prompt)], "summary": points_of(ask)})
        assert '"points"' not in ask.prompt
        return json.dumps({"summary": "Two pumps a part."})

    batch = Batch(tmp_path, answer, split=400, answer=schema)

    value = batch.run()["long"]["value"]

    assert len(value["points"]) == 2
    assert value["summary"] == "Two pumps a part."


JOINED: dict[str, tuple[list[dict[str, Any]], Joined]] = {
    "lists": ([{"l": [1, {"a": 1}]}, {"l": [{"a": 1}, 2]}, {}], Joined({"l": [1, {"a": 1}, 2]}, [])),
    "one owner": ([{"s": None, "n": 3}, {"s": "x"}, {"s": ""}], Joined({"s": "x", "n": 3}, [])),
    "same text": ([{"s": "x"}, {"s": "x"}], Joined({"s": "x"}, [])),
    "equal numbers": ([{"n": 3}, {"n": 3}], Joined({}, ["n"])),
    "different": ([{"s": "x"}, {"s": "y"}], Joined({}, ["s"])),
    "nothing": ([{"s": None}, {"s": ""}], Joined({"s": None}, [])),
}


@pytest.mark.parametrize("case", JOINED)
def test_typed_values_are_joined_where_that_is_sure(case: str) -> None:
    properties = {"l": {"type": "array"}, "s": {"type": ["string", "null"]}, "n": {"type": "integer"}}
    values, expected = JOINED[case]
    assert joined_values(values, {"type": "object", "properties": properties}) == expected


def test_a_schema_with_more_than_properties_is_left_to_the_model() -> None:
    schema = {"type": "object", "properties": {"l": {"type": "array"}}, "minProperties": 1}
    assert joined_values([{"l": [1]}], schema) is None
    assert joined_values([{"other": 1}], {"type": "object", "properties": {}}) is None


def test_short_files_share_a_part() -> None:
    files = TaskFiles({"a.txt": "a " * 20, "b.txt": "b " * 20, "c.txt": "c " * 120})

    parts = files.parts(100)

    assert [[piece.file for piece in part] for part in parts] == [["a.txt", "b.txt"], *[["c.txt"]] * 3]
    assert files.place(parts[0]) == "a.txt: line 1; b.txt: line 1"


# --- plans ---------------------------------------------------------------------------------------


def test_a_dry_run_names_the_parts_and_the_documents_that_would_fail(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(6))
    write_pdf(docs / "secret.pdf", procedure(6), password="secret")
    (tmp_path / "prompt.md").write_text(PROMPT)
    specs = batch_tasks([str(docs)], "coder", str(tmp_path / "prompt.md"), split=400)
    graph = {spec.task_id: spec for spec in specs}

    planned = dry_run(graph, config())

    assert planned.parts == {"long": 3}
    assert planned.calls == {"simulated": 5}
    assert len(planned.failing) == 1
    text = dry_run_text(planned, graph, 4)
    assert "long (coder, priority 5, 3 parts)" in text
    assert "1 task with 3 parts, and at most a call each to join their answers\n" in text


def test_a_dry_run_says_which_parts_it_cannot_know(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(2))
    (tmp_path / "prompt.md").write_text(PROMPT)
    (tmp_path / "model.gguf").write_bytes(b"")
    specs = batch_tasks([str(docs)], "coder", str(tmp_path / "prompt.md"), split="auto")
    entry = {"api_type": "llamacpp", "model": str(tmp_path / "model.gguf")}
    graph = {spec.task_id: spec for spec in specs}
    result = dry_run(graph, load_config({"model_config": {"single_model": entry}}, environ={}))
    assert "may be split (split: auto); into how many parts is not known" in result.notes[0]


def test_a_task_file_may_say_how_to_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("P-101")
    task = "- {task_id: a, assigned_role: coder, files: [a.txt], split: %s}\n"
    (tmp_path / "tasks.yaml").write_text(task % "auto")
    (tmp_path / "tasks.csv").write_text("task_id,assigned_role,files,split\na,coder,a.txt,900\n")
    assert read_tasks(tmp_path / "tasks.yaml")[1][0].split == "auto"
    assert read_tasks(tmp_path / "tasks.csv")[1][0].split == 900
    for wrong in ("99", "some", "true"):
        (tmp_path / "tasks.yaml").write_text(task % wrong)
        with pytest.raises(InputError, match="task 'a': split"):
            read_tasks(tmp_path / "tasks.yaml")


def test_the_prompts_of_other_tasks_stay_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("P-101")
    spec = TaskSpec(task_id="a", assigned_role="coder", files=[str(tmp_path / "a.txt")])
    prompts = TaskPrompts(Bindings(load_config({}, environ={})), "", TaskLimit(9, set()))
    split = spec.model_copy(update={"split": "auto"})
    system, user = (message.text for message in prompts.messages(spec, {}, prompts.read_files(spec)))
    assert (system, user) == tuple(
        message.text for message in prompts.messages(split, {}, prompts.read_files(split))
    )
    assert "parts" not in system


@pytest.mark.parametrize("context", [1000, 2000, 4000, 8000])
def test_parts_leave_room_for_the_answer_in_a_context(tmp_path: Path, context: int) -> None:
    (tmp_path / "a.txt").write_text(
        "\n\n".join(f"{number}. Open XV-{number}. {'Wait. ' * 40}" for number in range(99))
    )
    (tmp_path / "prompt.md").write_text(PROMPT)
    spec = TaskSpec(
        task_id="a",
        assigned_role="coder",
        prompt=str(tmp_path / "prompt.md"),
        files=[str(tmp_path / "a.txt")],
        split="auto",
    )
    prompts = TaskPrompts(Bindings(config()), "", TaskLimit(9, set()))
    questions = PartQuestions(prompts, spec, {}, prompts.read_files(spec))

    async def size_of(question: Question[Any]) -> PromptSize:
        size = prompt_bytes(question.messages)
        return PromptSize(size if size <= context - 256 else size // 4, context - 256)

    limit = asyncio.run(questions.limit(size_of))

    assert limit is not None
    sizes = [prompt_bytes(part.question.messages) // 4 for part in questions.parts(limit)]
    assert max(sizes) <= 0.75 * context
    assert min(sizes[:-1]) > 0.4 * context


# --- its page ------------------------------------------------------------------------------------


def test_the_page_shows_what_its_commands_print(tmp_path: Path, docs: Path) -> None:
    folder = docs.rename(tmp_path / "procedures")
    write_pdf(folder / "SOP-001.pdf", procedure(2))
    write_pdf(folder / "SOP-002.pdf", procedure(12))
    write_pdf(folder / "SOP-003.pdf", procedure(2), password="secret")
    (tmp_path / "extract.md").write_text(PROMPT)
    (tmp_path / "schema.json").write_text(json.dumps(POINTS))
    write_config(tmp_path)
    Page("documents-as-input.md").follow(tmp_path)


# --- a real server -------------------------------------------------------------------------------


def test_a_real_server_gets_parts_that_fit_its_context(tmp_path: Path, docs: Path) -> None:
    write_pdf(docs / "long.pdf", procedure(12))
    (tmp_path / "prompt.md").write_text(PROMPT)
    kinds = {"type": "array", "items": {"enum": ["pump", "valve"]}, "minItems": 1, "maxItems": 2}
    schema = {"type": "object", "properties": {"kinds": kinds}, "required": ["kinds"]}

    with running_llama(tmp_path, slots=1, ctx_per_slot=2048) as small:
        entry = {"url": small.url, "model": small.alias, "retries": 0}
        settings = {
            "model_config": {"single_model": entry},
            "agent_parameters": {"coder": {"max_tokens": 99}},
        }

        def answered(split: str | None) -> tuple[Task, list[Event]]:
            events: list[Event] = []
            coordinator = SwarmCoordinator(
                load_config(settings, environ={}), data_dir=tmp_path / "data", on_event=events.append
            )
            for spec in batch_tasks(
                [str(docs)], "coder", str(tmp_path / "prompt.md"), split=split, answer=schema
            ):
                coordinator.add_task(spec)
            coordinator.run_workflow("", "custom", session_id=f"split-{split}")
            (task,) = coordinator.completed_tasks
            return task, [event for event in events if event.kind == "call_ended"]

        whole, _ = answered(None)
        split, calls = answered("auto")

    assert "too small for this prompt" in (whole.error or "")
    assert (whole.error or "").endswith("or split the files: --split (in a task file split: auto)")
    assert split.error is None
    assert {*json.loads(split.result or "")["kinds"]} <= {"pump", "valve"}
    assert len(calls) > 4
    assert all(900 < event.data["input_tokens"] <= 2048 - 99 for event in calls[:-1])
