"""`swarm-graph memory`: what people type, see and are told; a dead embedding server, Ctrl-C, moved memory."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from subprocess import PIPE, CompletedProcess

import pytest
import warm
from servers.canned_embeddings import Answer, CannedEmbeddings, embedded
from support import dead_port
from terminal import Terminal
from test_start import MODEL_CLIENTS, NUMBERS, loaded

from swarm_graph import open_store
from swarm_graph.memory.documents import document_id
from swarm_graph.memory.namespaces import EXPERIENCE

P7, V1 = document_id("plant", "P-7.txt"), document_id("plant", "valves/V-1.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two procedures, a picture and a hidden file."""
    plant = tmp_path / "plant"
    (plant / "valves").mkdir(parents=True)
    (plant / "P-7.txt").write_text("[page 1]\n\nPump P-7\n\n[page 2]\n\nVent the casing first.\n")
    (plant / "valves" / "V-1.md").write_text("# Relief valve\n\nPSV-7 opens at 12 bar.\n")
    (plant / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (plant / ".draft.md").write_text("draft")
    return tmp_path


def memory(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What `swarm-graph memory` prints on stdout and stderr."""
    done: CompletedProcess[bytes] = warm.run("memory", *arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    return done.stdout.decode(), re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", done.stderr.decode())


def ids(folder: Path, *options: str) -> dict[str, str]:
    listed = json.loads(memory(folder, "list", "--json", *options)[0])
    return {document["source"]: document["id"] for document in listed["documents"]}


def test_documents_are_added_listed_found_and_shown(folder: Path) -> None:
    out, err = memory(folder, "add", "plant", "--as", "plant", code=2)
    assert out == (
        "document       id                 passages\n"
        f"P-7.txt        {P7}  added  2\n"
        f"valves/V-1.md  {V1}  added  1\n\n"
        "2 added, 1 failed\n"
    )
    assert err == (
        "swarm-graph: 'plant/photo.png' is a picture; run OCR first\n"
        "swarm-graph: note: left out: 1 hidden file (plant/.draft.md; INPUT 'plant/.*' takes it)\n"
    )
    out, err = memory(folder, "list")
    assert re.sub(r"[-\d]{10} [\d:]{8}", "TIME", out) == (
        "id          collection  document       kind  passages  read\n"
        f"{P7}  plant       P-7.txt        text  2         TIME\n"
        f"{V1}  plant       valves/V-1.md  text  1         TIME\n"
    )
    out, err = memory(folder, "search", "when", "does", "PSV-7", "open?")
    assert (out, err) == (
        f"1. valves/V-1.md, section Relief valve ({V1}/0001, plant)\n"
        "   V-1\n\n   # Relief valve\n\n   PSV-7 opens at 12 bar.\n",
        "",
    )
    out, _ = memory(folder, "show", f"{P7}/2")
    assert out.endswith(f"\n\n{P7}/0002  p. 2\n   Pump P-7\n\n   [page 2]\n\n   Vent the casing first.\n")
    assert f"file: {folder}/plant/P-7.txt\n" in out
    assert memory(folder, "add", "plant/P-7.txt", "--as", "plant") == ("1 unchanged\n", "")


def test_every_command_has_json(folder: Path) -> None:
    added = json.loads(memory(folder, "add", "plant", "--json", code=2)[0])
    assert [(one["source"], one["status"]) for one in added] == [
        ("P-7.txt", "added"), ("plant/photo.png", "failed"), ("valves/V-1.md", "added"), ("", "left out"),
    ]  # fmt: skip
    (found,) = json.loads(memory(folder, "search", "vent the casing", "--json")[0])
    assert (found["citation"], found["collection"]) == ("P-7.txt, p. 2", "documents")
    shown = json.loads(memory(folder, "show", found["id"], "--json")[0])
    assert shown["document"]["passages"] == 2
    assert [passage["text"] for passage in shown["passages"]] == [found["text"]]
    edited = json.loads(memory(folder, "edit", found["id"], "--text", "Vent it.", "--json")[0])
    assert edited["text"] == "Vent it."
    counts = json.loads(memory(folder, "export", "m.jsonl", "--json")[0])
    assert counts == {"file": "m.jsonl", "documents": 2, "passages": 3, "experiences": 0}
    moved = json.loads(memory(folder, "import", "m.jsonl", "--json", "--data-dir", "other")[0])
    assert [one["status"] for one in moved] == ["added", "added"]
    assert len(json.loads(memory(folder, "forget", found["id"], "--json")[0])) == 1


def test_a_wrong_name_says_what_was_meant(folder: Path) -> None:
    for command in ("list", "search x", "show x", "forget x", "export m.jsonl"):
        _, err = memory(folder, *command.split(), code=2)
        assert err.startswith(
            "swarm-graph: nothing is remembered in '.swarm'; `swarm-graph memory add FILES`"
        )
    assert memory(folder, "add", "plent", code=2)[1] == "swarm-graph: there is no file or folder 'plent'\n"
    assert memory(folder, "import", "m.json", code=2)[1] == "swarm-graph: there is no file 'm.json'\n"
    assert not (folder / ".swarm").exists()
    memory(folder, "add", "plant", "--as", "plant", code=2)
    for arguments, problem in {
        ("show", "P-7.tx"): "no memory 'P-7.tx'; did you mean 'P-7.txt'?",
        ("show", "V-1.md", "--json"): "",
        ("search", "valve", "--as", "plent"): "no collection 'plent'; did you mean 'plant'?",
        ("show", "P-7"): "no memory 'P-7'; `swarm-graph memory list` shows all",
        ("list", "--as", "plent"): "no collection 'plent'; did you mean 'plant'?",
        ("forget", "--as", "P-7.txt"): "no collection 'P-7.txt'; `swarm-graph memory list` shows all",
        ("export", "-"): "'-' is no name of a file",
        ("forget", "ffffffffff"): "no memory 'ffffffffff'; `swarm-graph memory list` shows all",
        ("forget",): "forget needs a MEMORY, or --collection NAME; `swarm-graph memory forget --help`",
        ("edit", "V-1.md"): "give the new text with --text or --file",
        ("edit", "V-1.md", "--text", " "): "the text is empty; `swarm-graph memory forget V-1.md`",
        ("add", "plant", "--as", "a.b"): "the name of a collection 'a.b' is not allowed",
        ("reindex",): "the configuration names no embedding model (`memory.embeddings`)",
        ("import", "plant/P-7.txt"): "'plant/P-7.txt' is no memory that `swarm-graph memory export` wrote",
    }.items():
        _, err = memory(folder, *arguments, code=2 if problem else 0)
        assert err.startswith(f"swarm-graph: {problem}" if problem else ""), err
        assert err.count("\n") == bool(problem)


def test_experiences_are_listed_corrected_and_forgotten(folder: Path) -> None:
    with open_store(folder / ".swarm" / "swarm.db") as store:
        value = {
            "text": "Log what is caught.",
            "source": "session q-1",
            "place": "round 2",
            "evidence": "reviewed",
            "session": "q-1",
            "sessions": ["q-0", "q-1"],
            "supersedes": 0,
            "digest": "9f86d081",
        }
        store.put((*EXPERIENCE, "finding"), "0123456789", value, index=["text"])
    assert memory(folder, "list")[0] == (
        "id          kind     from\n0123456789  finding  session q-1  Log what is caught.\n"
    )
    assert memory(folder, "show", "0123456789")[0] == (
        "session q-1: 0123456789 in finding\nevidence: reviewed\nsessions: q-0, q-1\n\n"
        "0123456789  round 2\n   Log what is caught.\n"
    )
    assert "no offer 'x' waits; none does\n" in memory(folder, "accept", "x", code=2)[1]
    (folder / "text").write_text("Log it, and raise it again.\n")
    memory(folder, "edit", "0123456789", "--file", "text")
    assert memory(folder, "search", "raise")[0] == (
        "1. session q-1, round 2 (0123456789, finding)\n   Log it, and raise it again.\n"
    )
    shown = memory(folder, "show", "0123456789")[0]
    assert "\nsessions: q-0, q-1\nedited: 2" in shown
    assert memory(folder, "forget", "0123456789")[0] == "forgot 0123456789 (finding, session q-1)\n"
    assert "nothing is remembered" in memory(folder, "list")[1]


def test_more_than_one_document_is_forgotten_on_request_only(folder: Path) -> None:
    memory(folder, "add", "plant", "--as", "plant", code=2)
    for what in (["P-7.txt", "V-1.md"], ["--collection", "plant"]):
        _, err = memory(folder, "forget", *what, code=2)
        assert "this forgets 2 documents (P-7.txt, valves/V-1.md); --yes forgets them" in err
    with Terminal(folder, "memory", "forget", "--collection", "plant") as terminal:
        terminal.answer("Forget 2 documents (P-7.txt, valves/V-1.md)? [y/N]", "\n")
        terminal.expect("nothing was forgotten")
    assert len(ids(folder)) == 2
    with Terminal(folder, "memory", "forget", "--collection", "plant") as terminal:
        terminal.answer("[y/N]", "y\n")
        terminal.expect(f"forgot {P7} (P-7.txt, 2 passages)")
        terminal.expect(f"forgot {V1}")
    assert ids(folder) == {}
    assert (folder / "plant" / "P-7.txt").exists()


def test_a_text_is_corrected_in_the_persons_editor(folder: Path) -> None:
    (folder / "editor").write_text('#!/bin/sh\nsed -i s/12/14/ "$1"\n')
    (folder / "editor").chmod(0o755)
    memory(folder, "add", "plant/valves/V-1.md")
    with Terminal(folder, "memory", "edit", "V-1.md") as terminal:
        terminal.expect(f"edited {document_id('documents', 'V-1.md')}/0001 (V-1.md, section Relief valve)")
    assert "PSV-7 opens at 14 bar." in memory(folder, "show", "V-1.md")[0]


def test_what_documents_say_does_not_command_the_terminal(folder: Path) -> None:
    (folder / "x.md").write_text("# T\x1b]0;owned\x07\n\nRed \x1b[31mtext\u202e of a valve.\n")
    memory(folder, "add", "x.md")
    for command in (["list"], ["search", "valve"], ["search", "valve", "--json"], ["show", "x.md"]):
        assert not re.search("[\x1b\x07\u202e]", memory(folder, *command)[0])


def test_memory_moves_to_another_database(folder: Path) -> None:
    memory(folder, "add", "plant", "--as", "plant", code=2)
    assert (
        memory(folder, "export", "m.jsonl")[0] == "wrote 2 documents, 3 passages, 0 experiences to m.jsonl\n"
    )
    out, _ = memory(folder, "import", "m.jsonl", "--data-dir", "other")
    assert out.endswith("\n\n2 added\n")
    assert ids(folder, "--data-dir", "other") == ids(folder)
    question = ("search", "casing")
    assert memory(folder, *question, "--data-dir", "other") == memory(folder, *question)
    assert memory(folder, "import", "m.jsonl", "--data-dir", "other")[0] == "2 unchanged\n"
    lines = (folder / "m.jsonl").read_text().splitlines()
    (folder / "m.jsonl").write_text(
        "\n".join([*lines[:2], lines[2].replace('"kind": "text"', '"kind": 7')]) + "\n"
    )
    out, err = memory(folder, "import", "m.jsonl", "--data-dir", "third", code=2)
    assert err.startswith("swarm-graph: 'm.jsonl' line 3: ")
    assert err.endswith("nothing of the file was imported\n")
    assert not (folder / "third").exists()


def test_a_dead_embedding_server_loses_no_text(folder: Path) -> None:
    dead = {"url": f"http://127.0.0.1:{dead_port()}/v1", "model": "canned"}
    (folder / "config.json").write_text(json.dumps({"memory": {"embeddings": dead}}))
    out, err = memory(folder, "add", "plant/P-7.txt", "plant/valves/V-1.md")
    assert out.endswith("2 added\n")
    assert err.count("\n") == 1
    assert "note: kept, and found by words alone until `swarm-graph memory reindex`: " in err
    assert memory(folder, "search", "vent casing")[0].startswith("1. P-7.txt, p. 2")
    memory(folder, "reindex", code=1)
    with CannedEmbeddings() as server:
        (folder / "config.json").write_text(json.dumps({"memory": {"embeddings": server.settings()}}))
        assert memory(folder, "reindex") == ("made 3 vectors\n", "")
        assert memory(folder, "reindex") == ("made 0 vectors\n", "")
        assert memory(folder, "search", "vent casing")[1] == ""
    (folder / "config.json").write_text(json.dumps({"memory": {"embeddings": dead}}))
    out, err = memory(folder, "search", "vent casing")
    assert out.startswith("1. P-7.txt, p. 2")
    assert err.startswith("swarm-graph: note: searched by words alone: ")


def test_ctrl_c_keeps_what_was_added(folder: Path) -> None:
    for number in range(5):
        (folder / "plant" / f"N-{number}.md").write_text(f"Note {number}.")
    reached = threading.Event()

    def script(texts: list[str]) -> Answer:
        if any("Note 2." in text for text in texts) and not reached.is_set():
            reached.set()
            server.closing.wait()
        return embedded(texts)

    with CannedEmbeddings(script) as server:
        (folder / "config.json").write_text(json.dumps({"memory": {"embeddings": server.settings()}}))
        adding = warm.Process("memory", "add", "plant/N-*.md", cwd=folder, stdout=PIPE, stderr=PIPE)
        assert reached.wait(60)
        adding.send_signal(signal.SIGINT)
        _, err = adding.communicate()
        assert adding.returncode == 130
        assert err == b"swarm-graph: interrupted; 2 added; the same command goes on\n"
        assert [*ids(folder)] == ["N-0.md", "N-1.md"]
        assert memory(folder, "add", "plant/N-*.md")[0].endswith("2 unchanged, 3 added\n")
        assert [*ids(folder)] == [f"N-{number}.md" for number in range(5)]
        with closing(sqlite3.connect(folder / ".swarm" / "swarm.db")) as database, database:
            database.execute("DELETE FROM memory_vectors")
        reached.clear()
        reindexing = warm.Process("memory", "reindex", cwd=folder, stdout=PIPE, stderr=PIPE)
        assert reached.wait(60)
        reindexing.send_signal(signal.SIGINT)
        _, err = reindexing.communicate()
        assert reindexing.returncode == 130
        assert err == (
            b"swarm-graph: interrupted; the vectors made so far are kept; the same command goes on\n"
        )
        assert memory(folder, "reindex") == ("made 5 vectors\n", "")


def test_only_what_is_used_is_loaded(folder: Path) -> None:
    memory(folder, "add", "plant/P-7.txt")
    assert not loaded("memory", "search", "casing", cwd=folder) & (MODEL_CLIENTS | NUMBERS)
    for command in (["--help"], ["sessions", "list"]):
        assert not {name for name in loaded(*command, cwd=folder) if name.startswith("swarm_graph.memory.s")}
