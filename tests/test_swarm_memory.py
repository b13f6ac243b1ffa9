"""SwarmMemory: real files as passages, in our store and in LangGraph's own; what changes, moves and ends."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from documents import pdf
from langgraph.store.base import BaseStore, Op, PutOp, Result
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from storages import POSTGRES
from test_inputs import ordinary_user

from swarm_graph import Passage, SwarmMemory, open_store
from swarm_graph.errors import InputError, StorageError
from swarm_graph.memory.adding import AddedDocument
from swarm_graph.memory.cut_passages import PASSAGE_CHARACTERS
from swarm_graph.memory.namespaces import EXPERIENCE, MEMORY

QUENCH = "[page 1]\n\nEmergency quench\n\nOpen V-3 fully.\n\n[page 2]\n\nTrip the reactor at 85 bar.\n"
FINDING = {
    "text": "Log what is caught.", "source": "session q-1", "place": "round 2", "session": "q-1", "time": 5.0,
    "evidence": "tests passed",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plant's procedures: two pages, a Markdown file, and files of one name in two folders."""
    monkeypatch.chdir(tmp_path)
    for name in ("pumps", "valves"):
        (tmp_path / "plant" / name).mkdir(parents=True)
    plant = tmp_path / "plant"
    (plant / "quench.txt").write_text(QUENCH)
    (plant / "seals.md").write_text("# Seals\n\nReplace the seal of P-101 yearly.\n")
    (plant / "pumps" / "P-7.md").write_text("# Pump P-7\n\n## Start\n\nVent the casing first.\n")
    (plant / "valves" / "P-7.md").write_text("# Relief valve\n\nPSV-7 opens at 12 bar.\n")
    return plant


def langgraphs_own(_: Path) -> BaseStore:
    return InMemoryStore()


def ours(folder: Path) -> BaseStore:
    return open_store(folder / "m.db")


@pytest.fixture
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SwarmMemory]:
    kind = getattr(request, "param", ours)
    with SwarmMemory(
        request.getfixturevalue("emptied_url") if kind == POSTGRES else kind(tmp_path)
    ) as memory:
        yield memory


in_any_store = pytest.mark.parametrize("memory", [ours, langgraphs_own, POSTGRES], indirect=True)


def statuses(done: list[AddedDocument]) -> dict[str, str]:
    return {added.source: added.status for added in done}


def texts(memory: SwarmMemory, name: str) -> list[str]:
    return [passage.text for passage in memory.show(name).passages]


@in_any_store
def test_passages_are_found_with_their_page_or_section(folder: Path, memory: SwarmMemory) -> None:
    import docx

    pdf(folder / "fire.pdf", [["Fire drill", "Sound the horn."], ["Meet at the north gate."]])
    made = docx.Document()
    made.add_heading("Filters", 1)
    made.add_paragraph("Rinse the strainer of P-9 weekly.")
    made.save(str(folder / "filters.docx"))
    assert statuses(memory.add("plant", "plant")) == dict.fromkeys(
        ["filters.docx", "fire.pdf", "pumps/P-7.md", "quench.txt", "seals.md", "valves/P-7.md"], "added"
    )
    for question, citation in {
        "where do we meet?": "fire.pdf, p. 2",
        "how often is the strainer rinsed?": "filters.docx, section Filters",
        "at which pressure is the reactor tripped?": "quench.txt, p. 2",
        "when does PSV-7 open?": "valves/P-7.md, section Relief valve",
        "venting the casing of a pump": "pumps/P-7.md, sections Pump P-7 to Start",
    }.items():
        assert memory.search(question)[0].citation == citation
    assert memory.search("north gate", collection="plant")[0].text.startswith("Fire drill\n")
    assert memory.search("wombat") == []
    with pytest.raises(InputError, match=r"no collection 'plnt'; did you mean 'plant'\?"):
        memory.search("pump", collection="plnt")


@pytest.mark.usefixtures("folder")
def test_async_callers_open_and_close_it(tmp_path: Path) -> None:
    async def work() -> SwarmMemory:
        async with SwarmMemory(tmp_path / "a.db") as memory:
            assert len(await memory.aadd("plant")) == len(await memory.adocuments())
            with pytest.raises(InputError, match="no kind of experience 'findings'; known: design, finding"):
                await memory.aexperiences("findings")  # type: ignore[arg-type]
            return memory

    closed = asyncio.run(work())
    with pytest.raises(StorageError):
        closed.documents()


@in_any_store
@pytest.mark.usefixtures("folder")
def test_sync_and_async_methods_do_the_same(memory: SwarmMemory, tmp_path: Path) -> None:
    async def work() -> tuple[list[AddedDocument], list[Passage], list[str]]:
        done = await memory.aadd(["plant"])
        found = await memory.asearch("seal of P-101", 1)
        await memory.aedit(found[0].id, "Replace the seal of P-101 monthly.")
        await memory.aexport(tmp_path / "m.jsonl")
        assert (await memory.ashow(found[0].id)).document in await memory.adocuments()
        assert await memory.aexperiences() == []
        forgotten = await memory.aforget([document.id for document in await memory.adocuments()])
        await memory.aimport(tmp_path / "m.jsonl")
        return done, found, forgotten

    done, found, forgotten = asyncio.run(work())
    assert len(done) == len(forgotten) == len(memory.documents()) == 4
    assert found[0].source == "seals.md"
    assert memory.search("monthly")[0].id == found[0].id


def test_each_method_has_an_async_twin_with_the_same_arguments() -> None:
    methods = {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(SwarmMemory, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    }
    twins = {name for name in methods if f"a{name.rstrip('_')}" in methods}
    assert {*methods} == twins | {f"a{name.rstrip('_')}" for name in twins}
    assert all(methods[name] == methods[f"a{name.rstrip('_')}"] for name in twins)


@in_any_store
def test_changed_files_are_read_again_and_those_that_are_gone_are_forgotten(
    folder: Path, memory: SwarmMemory
) -> None:
    memory.add("plant")
    ids = {document.source: document.id for document in memory.documents()}
    (folder / "valves" / "P-7.md").write_text("# Relief valve\n\nPSV-7 opens at 14 bar.\n")
    (folder / "pumps" / "P-7.md").unlink()
    (folder / "quench.txt").rename(folder / "trip.txt")

    done = memory.add("plant")

    assert statuses(done) == {
        "seals.md": "unchanged", "trip.txt": "renamed",
        "valves/P-7.md": "changed", "pumps/P-7.md": "removed",
    }  # fmt: skip
    assert next(added.note for added in done if added.status == "renamed") == "was quench.txt"
    assert memory.search("PSV-7 opens")[0].text.endswith("at 14 bar.")
    assert not [one for one in memory.search("vent the casing of the pump") if "casing" in one.text]
    assert memory.search("trip the reactor")[0].citation == "trip.txt, p. 2"
    assert {document.source for document in memory.documents()} == {"seals.md", "trip.txt", "valves/P-7.md"}
    with pytest.raises(InputError, match=f"no memory '{ids['quench.txt']}'"):
        memory.show(ids["quench.txt"])


def test_a_shorter_document_leaves_no_passage_behind(tmp_path: Path, memory: SwarmMemory) -> None:
    file = tmp_path / "long.md"
    file.write_text("".join(f"# Step {number}\n\n{'Turn the old wheel. ' * 50}\n\n" for number in range(9)))
    (added,) = memory.add(file)
    assert added.passages >= 9
    file.write_text("# Step 1\n\nLeave it alone.\n")
    assert memory.add(file)[0].passages == 1
    assert [passage.text for passage in memory.search("wheel turn step", 20)] == texts(memory, "long.md")


def test_passages_are_short_and_say_what_they_stand_under(tmp_path: Path, memory: SwarmMemory) -> None:
    rows = "".join(f"| PSV-{number} | {number / 10} |\n" for number in range(100, 300))
    text = (
        f"# Limits\n\n## Set points\n\nAll in bar.\n\n| tag | bar |\n|---|---|\n{rows}\n## End\n\nSign it.\n"
    )
    (tmp_path / "M-4.md").write_text(text)
    memory.add(tmp_path / "M-4.md")
    passages = memory.show("M-4.md").passages
    assert all(len(passage.text) <= PASSAGE_CHARACTERS for passage in passages)
    assert passages[1].text.startswith("M-4: Limits > Set points\n\n| tag | bar |\n|---|---|\n| PSV-")
    assert Counter(
        line for one in passages for line in one.text.splitlines() if line.startswith("| PSV-")
    ) == dict.fromkeys(rows.splitlines(), 1)


def test_two_files_of_one_name_are_two_documents(folder: Path, memory: SwarmMemory) -> None:
    for name in ("pumps", "valves", "valves"):
        memory.add(folder / name / "P-7.md")
    sources = {document.source: Path(document.path).parent.name for document in memory.documents()}
    assert sources == {"P-7.md": "pumps", "valves/P-7.md": "valves"}
    assert statuses(memory.add("plant")) == {
        "P-7.md": "unchanged", "valves/P-7.md": "unchanged", "quench.txt": "added", "seals.md": "added",
    }  # fmt: skip
    memory.add(folder / "pumps" / "P-7.md", "other")
    with pytest.raises(
        InputError, match=r"2 documents are 'P-7.md'; name one by its id: .* in documents, .* in"
    ):
        memory.forget("P-7.md")
    assert memory.forget(str(folder / "seals.md"))[0].endswith("(seals.md, 1 passage)")


def test_bad_files_are_named_with_their_cure_and_keep_no_other_one_out(
    folder: Path, memory: SwarmMemory
) -> None:
    import pypdf

    bad = folder / "bad"
    bad.mkdir()
    pdf(bad / "scan.pdf", [[]], picture_on=[1])
    writer = pypdf.PdfWriter(clone_from=bad / "scan.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(bad / "shut.pdf")
    (bad / "empty.md").write_text("")
    (bad / "blank.txt").write_text(" \n\n")
    (bad / "x.bin").write_bytes(bytes(range(256)) * 9)
    (bad / "old.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with (bad / "huge.txt").open("wb") as file:
        file.truncate(50_000_001)
    (bad / ".hidden.md").write_text("hidden")
    (bad / "leak.md").symlink_to("/etc/passwd")
    (bad / "dead.md").symlink_to("nowhere")

    done = memory.add(["plant", "none.md"])

    why = {Path(added.source).name: added.note for added in done if added.status == "failed"}
    assert {added.source for added in done if added.status == "added"} == {
        "pumps/P-7.md", "quench.txt", "seals.md", "valves/P-7.md",
    }  # fmt: skip
    for name, cure in {
        "shut.pdf": "is encrypted with a password; save it without one",
        "scan.pdf": "OCR",
        "empty.md": "holds nothing to remember: it is empty",
        "blank.txt": "holds nothing to remember: it has no text",
        "x.bin": "is",
        "old.doc": "save it",
        "huge.txt": "documents.max_megabytes",
        "none.md": "there is no file or folder 'none.md'",
    }.items():
        assert cure in why.pop(name)
    assert not why
    assert done[-1].status == "left out"
    assert done[-1].note == (
        "1 hidden file (plant/bad/.hidden.md; INPUT 'plant/bad/.*' takes it), "
        "1 dangling link (plant/bad/dead.md), 1 outside link (plant/bad/leak.md)"
    )
    assert not memory.search("root shell login passwd")


def test_a_document_that_can_no_longer_be_read_stays_as_it_was(folder: Path, memory: SwarmMemory) -> None:
    memory.add("plant")
    (folder / "valves" / "P-7.md").write_text("")
    (failed,) = (added for added in memory.add("plant") if added.status == "failed")
    (known,) = (one for one in memory.documents() if one.source == "valves/P-7.md")
    assert failed.note.endswith(f"what was read of it before stays, `memory forget {known.id}` removes it")
    assert memory.search("PSV-7")[0].text.endswith("PSV-7 opens at 12 bar.")


def test_our_own_database_is_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Open V-1.")
    with SwarmMemory(tmp_path / "swarm.db") as memory:
        done = memory.add(tmp_path)
        assert statuses(done) == {"a.md": "added", "": "left out"}
        assert "own database file" in done[-1].note


def test_a_folder_that_may_not_be_entered_forgets_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    memory = SwarmMemory(InMemoryStore())
    memory.add(".")
    (folder / "valves").chmod(0o711 if os.geteuid() == 0 else 0)
    with ordinary_user():
        done = memory.add(".")
    (folder / "valves").chmod(0o755)
    assert "removed" not in statuses(done).values()
    assert "1 unreadable folder (valves/)" in done[-1].note
    assert len(memory.documents()) == 4


def test_names_in_any_script_and_of_any_system(tmp_path: Path, memory: SwarmMemory) -> None:
    names = [
        "手順書.md",
        "Отчёт 7.md",
        "e\u0301te\u0301.md",
        "con.md",
        "a\\b.md",
        "C:.md",
        "q'\"$(id).md",
        "x\ny.md",
    ]
    (tmp_path / "d").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "d" / name).write_text(f"Valve number {number} stays shut.")
    done = memory.add(tmp_path / "d")
    sources = [name.replace("\n", " ") for name in names]
    assert statuses(done) == dict.fromkeys(sources, "added")
    assert statuses(memory.add(tmp_path / "d")) == dict.fromkeys(sources, "unchanged")
    for number, source in enumerate(sources):
        assert texts(memory, source)[0].endswith(f"Valve number {number} stays shut.")
    memory.export(tmp_path / "m.jsonl")
    assert len(SwarmMemory(InMemoryStore()).import_(tmp_path / "m.jsonl")) == len(names)


def test_edits_are_kept_until_the_file_changes(folder: Path, memory: SwarmMemory) -> None:
    memory.add("plant")
    id = memory.show("quench.txt").id
    memory.edit(f"{id}/2", "Trip the reactor at 80 bar.")
    assert memory.show(f"{id}/2").details["edited"] > 0
    with pytest.raises(InputError, match=f"'quench.txt' has 2 passages; name one, as in {id}/2"):
        memory.edit("quench.txt", "x")
    with pytest.raises(InputError, match="the text is empty"):
        memory.edit(f"{id}/2", "  ")
    assert statuses(memory.add("plant"))["quench.txt"] == "unchanged"
    assert memory.search("trip the reactor")[0].text == "Trip the reactor at 80 bar."
    (folder / "quench.txt").write_text("Trip the reactor at 90 bar.")
    (changed,) = (added for added in memory.add("plant") if added.status == "changed")
    assert changed.note == "replaces 1 edited passage"
    assert memory.search("trip the reactor")[0].text.endswith("at 90 bar.")


@pytest.mark.usefixtures("folder")
def test_a_store_of_one_event_loop_serves_there() -> None:
    async def work() -> str:
        async with AsyncSqliteStore.from_conn_string(":memory:") as store:
            await store.setup()
            memory = SwarmMemory(store)
            await memory.aadd("plant", "plant")
            found = await memory.asearch("when does PSV-7 open?")
            await memory.aforget(collection="plant")
            assert await memory.adocuments() == []
            return found[0].citation

    assert asyncio.run(work()) == "valves/P-7.md, section Relief valve"


@in_any_store
@pytest.mark.usefixtures("folder")
def test_forgetting_takes_ids_sources_passages_and_collections(memory: SwarmMemory) -> None:
    memory.add("plant", "plant")
    memory.store.put((*EXPERIENCE, "finding"), "0123456789", FINDING)
    quench = memory.show("quench.txt")
    with pytest.raises(InputError, match=r"no memory 'seal.md'; did you mean 'seals.md'\?"):
        memory.forget([quench.id, "seal.md"])
    assert memory.show(quench.id) == quench
    assert memory.forget([f"{quench.id}/1", "0123456789"]) == [
        f"{quench.id}/0001 (quench.txt, p. 1)", "0123456789 (finding, session q-1)",
    ]  # fmt: skip
    assert [passage.place for passage in memory.show(quench.id).passages] == ["p. 2"]
    with pytest.raises(InputError, match=r"no passage 1 of 'quench.txt' in memory"):
        memory.show(f"{quench.id}/1")
    assert len(memory.forget(collection="plant")) == 4
    assert memory.documents() == []
    assert memory.experiences() == memory.store.search(MEMORY) == []


@in_any_store
def test_an_export_moves_all_and_gives_the_same_answers(
    folder: Path, memory: SwarmMemory, tmp_path: Path
) -> None:
    memory.add("plant", "plant")
    memory.store.put((*EXPERIENCE, "finding"), "0123456789", FINDING)
    memory.edit(f"{memory.show('seals.md').id}/1", "Replace the seal of P-101 weekly.")
    counts = memory.export(tmp_path / "m.jsonl")
    assert counts == (4, 5, 1)
    written = (tmp_path / "m.jsonl").read_bytes()
    assert str(tmp_path).encode() not in written
    assert (tmp_path / "m.jsonl").stat().st_mode & 0o777 == 0o600
    other = SwarmMemory(open_store(tmp_path / "other.db"))

    assert {*statuses(other.import_(tmp_path / "m.jsonl")).values()} == {"added"}

    for question in ("reactor trip pressure", "replacing a seal", "PSV-7", "vent", "what to log"):
        assert [(one.citation, one.text) for one in other.search(question, 3)] == [
            (one.citation, one.text) for one in SwarmMemory(_copy(memory)).search(question, 3)
        ]
    other.export(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == written
    assert {*statuses(other.import_(tmp_path / "m.jsonl")).values()} == {"unchanged"}
    assert {document.imported_from for document in other.documents()} == {"m.jsonl"}
    (folder / "quench.txt").unlink()
    assert "removed" not in statuses(other.add("plant", "other")).values()


def _copy(memory: SwarmMemory) -> BaseStore:
    """The memory in a store of ours, so that two rankings can be compared."""
    store = open_store(":memory:")
    for item in memory.store.search(("swarm",), limit=1000):
        store.put(
            item.namespace, item.key, item.value, index=["text"] if item.namespace[:2] == MEMORY else False
        )
    return store


def test_of_two_versions_the_newer_one_stays(tmp_path: Path, memory: SwarmMemory) -> None:
    file, moved = tmp_path / "a.md", tmp_path / "m.jsonl"
    file.write_text("Old text.")
    memory.add(file)
    memory.export(moved)
    lines = moved.read_text().splitlines()
    document = json.loads(lines[1])
    document["document"] |= {"sha256": "0" * 64}
    document["document"]["passages"][0]["text"] = "Other text."
    for offset, status, text in ((-60, "kept", "a\n\nOld text."), (-1e-3, "kept", "a\n\nOld text.")):
        changed = document["document"] | {"read_at": memory.documents()[0].read_at + offset}
        moved.write_text("\n".join([lines[0], json.dumps({"document": changed})]) + "\n")
        assert memory.import_(moved)[0].status == status
        assert texts(memory, "a.md") == [text]
    changed = document["document"] | {"read_at": time.time() + 1e9}
    moved.write_text("\n".join([lines[0], json.dumps({"document": changed})]) + "\n")
    assert memory.import_(moved)[0] == AddedDocument(
        "a.md", memory.documents()[0].id, "changed", 1, "that of m.jsonl is newer"
    )
    assert texts(memory, "a.md") == ["Other text."]
    assert memory.documents()[0].read_at <= time.time()
    assert memory.add(file)[0].note == "replaces what m.jsonl had of it"


def _with_document(**changes: Any) -> Callable[[list[Any]], None]:
    return lambda lines: lines[1]["document"].update(changes)


def _with_passage(**changes: Any) -> Callable[[list[Any]], None]:
    return lambda lines: lines[1]["document"]["passages"][0].update(changes)


def _experience(**changes: Any) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        lines[0]["experiences"] = 1
        lines.append({"experience": {"id": "0" * 10, "kind": "tests", "value": FINDING} | changes})

    return change


HOSTILE: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "no header": (lambda lines: lines.pop(0), "its first line is no header"),
    "a newer version": (lambda lines: lines[0].update(swarm_graph_memory=2), "a newer swarm_graph"),
    "cut off": (lambda lines: lines.pop(), "is not whole: it has 0 documents"),
    "no JSON": (lambda lines: lines.append("{"), "line 3"),
    "an unknown key": (_with_document(path="/etc/passwd"), "line 2: document.path: Extra inputs"),
    "another namespace": (_with_document(collection="a.b"), "line 2: document.collection"),
    "an empty collection": (_with_document(collection=""), "line 2: document.collection"),
    "an escape in a source": (_with_document(source="a\x1b[31m"), "line 2: document.source"),
    "a wrong type": (_with_document(source=["x"]), "line 2: document.source"),
    "no hash": (_with_document(sha256="../../etc"), "line 2: document.sha256"),
    "a time that is no number": (_with_document(read_at=float("nan")), "line 2: document.read_at"),
    "half a character": (_with_passage(text="\ud800"), "line 2"),
    "a huge text": (_with_passage(text="x" * 30_000), "line 2: document.passages.0.text"),
    "a number beyond the document": (_with_passage(number=5), "line 2: document: Value error, expected"),
    "a number of another document": (_with_passage(number="../1"), "line 2: document.passages.0.number"),
    "an unknown kind": (_experience(kind="offers"), "line 3: experience.kind"),
    "a wrong id": (_experience(id="../x"), "line 3: experience.id"),
    "a deep value": (
        _experience(value=FINDING | {"evidence": json.loads("[" * 200 + "]" * 200)}), "line 3",
    ),
    "a huge value": (_experience(value=FINDING | {"evidence": "x" * 200_000}), "line 3: an experience"),
    "both": (lambda lines: lines[1].update(lines[1] | {"experience": None, "offer": {}}), "line 2: offer"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_or_hostile_file_is_refused_as_a_whole(name: str, tmp_path: Path) -> None:
    source, file = SwarmMemory(InMemoryStore()), tmp_path / "m.jsonl"
    (tmp_path / "a.md").write_text("Open V-1.")
    source.add(tmp_path / "a.md")
    source.export(file)
    change, problem = HOSTILE[name]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    change(lines)
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    memory = SwarmMemory(InMemoryStore())
    with pytest.raises(InputError) as caught:
        memory.import_(file)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert memory.store.search((), limit=9) == []


def test_what_is_no_export_is_refused(tmp_path: Path, memory: SwarmMemory) -> None:
    for name, content in {"a": b"", "b": b"\0\xff" * 99, "c": b"[" * 100_000, "d": b"[]\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="its first line is no header"):
            memory.import_(tmp_path / name)
    with pytest.raises(InputError, match="there is no file"):
        memory.import_(tmp_path)
    with pytest.raises(StorageError, match=r"cannot write .*: No such file or directory"):
        memory.export(tmp_path / "none" / "m.jsonl")
    with pytest.raises(StorageError, match=r"cannot write .*: Not a directory"):
        memory.export(tmp_path / "a" / "m.jsonl")
    with pytest.raises(InputError, match=r"'\.' is no name of a file"):
        memory.export("")


class _Failing(InMemoryStore):
    """A store whose disk is full after some batches that write."""

    left = 2

    def batch(self, ops: Any) -> list[Result]:
        listed: list[Op] = [*ops]
        if any(isinstance(op, PutOp) for op in listed):
            if not self.left:
                raise StorageError("the disk is full")
            self.left -= 1
        return super().batch(listed)


@pytest.mark.usefixtures("folder")
def test_documents_stay_when_a_later_one_fails() -> None:
    memory, done = SwarmMemory(_Failing()), list[AddedDocument]()
    with pytest.raises(StorageError, match="the disk is full"):
        memory.add("plant", report=done.append)
    assert [document.source for document in memory.documents()] == [added.source for added in done]
    assert len(done) == 2
    assert all(texts(memory, added.id) for added in done)


def test_many_files_take_time_in_proportion_to_their_number(tmp_path: Path) -> None:
    """Batches are counted, not seconds: each file takes as many, however many there are."""

    class Counting(InMemoryStore):
        batches = operations = 0

        def batch(self, ops: Any) -> list[Result]:
            listed: list[Op] = [*ops]
            self.batches += 1
            self.operations += len(listed)
            return super().batch(listed)

    counted = []
    for count in (30, 300):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.md").write_text(f"# Procedure {number}\n\nOpen V-{number}.\n")
        store = Counting()
        assert len(SwarmMemory(store).add(folder)) == count
        first = store.batches
        assert {*statuses(SwarmMemory(store).add(folder)).values()} == {"unchanged"}
        counted.append((first, store.operations))
        assert store.batches - first <= 2
    (few, few_operations), (many, many_operations) = counted
    assert many <= 10 * few
    assert many_operations <= 10 * few_operations


def test_names_of_collections_that_cannot_be(tmp_path: Path, memory: SwarmMemory) -> None:
    for name in ("", "a.b", "x" * 65, "a\nb"):
        with pytest.raises(InputError, match="the name of a collection"):
            memory.add(tmp_path, name)
    with pytest.raises(InputError, match="`memory` is for the path of a database"):
        SwarmMemory(InMemoryStore(), memory={})
