"""The group `memory`: add documents; list, search, show, correct, forget and move what is remembered."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_USAGE, end, print_result, say
from swarm_graph.cli.options import (
    Option,
    SessionOptions,
    config_option,
    data_option,
    json_option,
    read_file,
    session_options,
)
from swarm_graph.cli.remembered import say_problem
from swarm_graph.cli.session_runner import prepare_imports
from swarm_graph.database_place import is_there, place_of
from swarm_graph.errors import InputError, StorageError
from swarm_graph.state import COLLECTION

if TYPE_CHECKING:
    from swarm_graph.memory.adding import AddedDocument
    from swarm_graph.memory.documents import StoredDocument
    from swarm_graph.memory.passage import Passage
    from swarm_graph.memory.reading import Memory
    from swarm_graph.memory.swarm_memory import SwarmMemory

DOCUMENT_HEADS = ("id", "collection", "document", "kind", "passages", "read", "edited", "imported from")
EXPERIENCE_HEADS = ("id", "kind", "from", "")
ADDED_HEADS = ("document", "id", "", "passages")
PROGRESS_S = 5.0
MAX_EXPERIENCE = 80
"""Characters of an experience in a list."""

memory_options: Option = session_options(config_option, data_option, json_option)
"""The options of the commands of memory."""
collection_option: Option = click.option(
    "--as", "--collection", "collection", metavar="NAME", help="Only this collection of documents."
)


@click.group(
    invoke_without_command=True,
    short_help="Add documents to memory, and see, correct and forget what is in it.",
    epilog="Example: swarm-graph memory add procedures --as plant",
)
@click.pass_context
def memory(context: click.Context) -> None:
    """Add documents to memory, and list, search, show, correct, forget and move what is in it.

    Memory lies in the session database. It is searched by words, and by meaning, too, where the configuration
    names an embedding model (`memory.embeddings`).
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@contextmanager
def open_memory(options: SessionOptions, *, makes: bool = False) -> Iterator[SwarmMemory]:
    """The memory in the database of a data folder.

    Args:
        options: The options of the command.
        makes: Whether a missing database is made.

    Raises:
        InputError: There is no database.
    """
    from swarm_graph.config import load_config

    config = load_config(options.config_file)
    prepare_imports(config)
    from swarm_graph.checkpoints.open_database import open_database
    from swarm_graph.memory.store import SwarmStore
    from swarm_graph.memory.swarm_memory import SwarmMemory

    place = place_of(options.data_dir)
    if not makes and not is_there(place):
        raise InputError(
            f"nothing is remembered in '{options.data_dir}'; `swarm-graph memory add FILES` adds documents, "
            "or name its folder with --data-dir"
        )
    with open_database(place, options.data_dir) as database:
        store = SwarmStore.on(database, config.memory, config.proxy)
        yield SwarmMemory(store, documents=config.documents)


# --- add and import ------------------------------------------------------------------------------


@memory.command(
    short_help="Add documents, or bring them up to date.",
    epilog="Example: swarm-graph memory add procedures 'manuals/*.pdf' --as plant",
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@click.option(
    "--as", "--collection", "collection", default=COLLECTION, show_default=True, metavar="NAME",
    help="The collection of the documents.",
)  # fmt: skip
@memory_options
def add(inputs: tuple[str, ...], collection: str, options: SessionOptions) -> None:
    """Add documents to memory, or bring them up to date.

    INPUT is a file, a folder with all that is below it, or a quoted pattern. Documents are text, PDF, DOCX,
    XLSX, PPTX, HTML and EML files. A file that has not changed is skipped, a changed one is read again; of a
    folder, the documents whose files no longer exist are removed. A file that cannot be read is named on
    stderr, and the exit code is 2.
    """
    if not is_there(place_of(options.data_dir)):
        _check_files(inputs)
    with open_memory(options, makes=True) as opened:
        _report(opened, options, lambda report: opened.add(inputs, collection, report=report))


def _check_files(inputs: Sequence[str]) -> None:
    """Raises InputError if there is no file to add: then no database is made for it."""
    from swarm_graph.memory.documents import find_documents

    found = find_documents(inputs)
    if not found.files:
        raise InputError("; ".join(problem for _, problem in found.problems) or f"left out: {found.note}")


@memory.command(
    "import",
    short_help="Add what `memory export` wrote.",
    epilog="Example: swarm-graph memory import plant.jsonl",
)
@click.argument("file", metavar="FILE")
@memory_options
def import_(file: str, options: SessionOptions) -> None:
    """Add the documents and experiences of FILE, which `memory export` wrote.

    Of what is here, too, the newer one stays. The file may come from anybody: one broken line keeps all of it
    out, and it is data, which names no file that is opened.
    """
    from swarm_graph.memory.exchange import check_export

    if not is_there(place_of(options.data_dir)):
        check_export(Path(file))
    with open_memory(options, makes=True) as opened:
        _report(opened, options, lambda report: opened.import_(file, report=report))


def _report(
    opened: SwarmMemory,
    options: SessionOptions,
    work: Callable[[Callable[[AddedDocument], None]], Sequence[AddedDocument]],
) -> None:
    """Add documents; print what has become of each, and say what failed as soon as it does."""
    done: list[AddedDocument] = []
    problems: list[str] = []
    said_at = time.monotonic()

    def report(added: AddedDocument) -> None:
        nonlocal said_at
        done.append(added)
        if sys.stderr.isatty() and time.monotonic() - said_at > PROGRESS_S:
            said_at = time.monotonic()
            say(f"{_summary(done)} so far; a stop keeps them")
        if added.status == "failed":
            say(added.note)
        elif opened.problem and not problems:
            problems.append(opened.problem)

    try:
        work(report)
    except KeyboardInterrupt:
        end(
            f"interrupted; {_summary(done) or 'nothing was added'}; the same command goes on",
            EXIT_INTERRUPTED,
            options.as_json,
        )
    except StorageError as error:
        if not done:
            raise
        raise StorageError(f"{error}; before that {_summary(done)}; the same command goes on") from error
    finally:
        for problem in problems:
            say(f"note: {problem}")
    for added in done:
        if added.status == "left out":
            say(f"note: left out: {added.note}")
    print_result([added._asdict() for added in done], _added_text(done), options.as_json)
    if any(added.status == "failed" for added in done):
        sys.exit(EXIT_USAGE)


def _added_text(done: Sequence[AddedDocument]) -> str:
    from swarm_graph.text import text_table

    new = [added for added in done if added.status not in ("failed", "left out", "unchanged")]
    rows = [(added.source, added.id, added.status, str(added.passages)) for added in new]
    notes = [f"{added.source}: {added.note}\n" for added in new if added.note]
    table = text_table(ADDED_HEADS, rows) if rows else ""
    summary = _summary(done)
    return "\n".join(filter(None, [table, "".join(notes), f"{summary}\n" if summary else ""]))


def _summary(done: Sequence[AddedDocument]) -> str:
    """How many documents there are of each status."""
    counts = Counter(added.status for added in done if added.status != "left out")
    return ", ".join(f"{count} {status}" for status, count in counts.items())


# --- list, search and show -----------------------------------------------------------------------


@memory.command(
    "list",
    short_help="List the documents and experiences.",
    epilog="Example: swarm-graph memory list --as plant",
)
@collection_option
@memory_options
def list_(collection: str | None, options: SessionOptions) -> None:
    """List the documents in memory, and what sessions have verified."""
    from dataclasses import asdict

    from swarm_graph.text import first_names

    with open_memory(options) as opened:
        documents = opened.documents(collection)
        experiences = opened.experiences() if collection is None else []
        others = opened.other_namespaces() if collection is None else []
    if others:
        say(
            f"note: roles may recall more, which is of no document: in {first_names(others)}; "
            "`swarm-graph memory search` finds it, `swarm-graph memory forget ID` deletes it"
        )
    elif not documents and not experiences:
        say("nothing is remembered; `swarm-graph memory add FILES` adds documents")
    result = {
        "documents": [asdict(document) for document in documents],
        "experiences": [_passage_json(experience) for experience in experiences],
    }
    print_result(result, _list_text(documents, experiences), options.as_json)


def _list_text(documents: Sequence[StoredDocument], experiences: Sequence[Passage]) -> str:
    from swarm_graph.text import cut, local_time, text_table, without_empty_columns

    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
        (DOCUMENT_HEADS, [
            (
                document.id, document.collection, document.source, document.kind, str(document.passages),
                local_time(document.read_at), str(len(document.edited) or ""), document.imported_from,
            )
            for document in documents
        ]),
        (EXPERIENCE_HEADS, [
            (one.id, one.collection, one.source, cut(" ".join(one.text.split()), MAX_EXPERIENCE))
            for one in experiences
        ]),
    ]  # fmt: skip
    return "\n".join(text_table(*without_empty_columns(heads, rows)) for heads, rows in tables if rows)


@memory.command(
    short_help="Search memory as a role would.",
    epilog="Example: swarm-graph memory search 'at which pressure does PSV-7 open?'",
)
@click.argument("question", metavar="QUESTION", nargs=-1, required=True)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1, max=1000), default=5, show_default=True, metavar="N",
    help="How many passages at the most.",
)  # fmt: skip
@collection_option
@memory_options
def search(question: tuple[str, ...], limit: int, collection: str | None, options: SessionOptions) -> None:
    """Show the passages that fit QUESTION best, each with its source."""
    with open_memory(options) as opened:
        found = opened.search(" ".join(question), limit, collection)
        say_problem(opened)
    if not found:
        say("no passage fits the question")
    text = "\n".join(
        f"{number}. {passage.citation} ({passage.id}, {passage.collection})\n{_indented(passage.text)}"
        for number, passage in enumerate(found, 1)
    )
    print_result([_passage_json(passage) for passage in found], text, options.as_json)


@memory.command(
    short_help="Show a memory as a whole.", epilog="Example: swarm-graph memory show 0ac7c62a08/3"
)
@click.argument("name", metavar="MEMORY")
@memory_options
def show(name: str, options: SessionOptions) -> None:
    """Show a document, one of its passages (ID/3), or what a session has verified.

    MEMORY is an id, or the name or file of a document.
    """
    with open_memory(options) as opened:
        found = opened.show(name)
    print_result(_memory_json(found), _memory_text(found), options.as_json)


def _memory_json(found: Memory) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "id": found.id,
        "source": found.source,
        "collection": found.collection,
        "document": asdict(found.document) if found.document else None,
        "passages": [_passage_json(passage) for passage in found.passages],
        "details": found.details,
    }


def _passage_json(passage: Passage) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(passage), "citation": passage.citation}


def _memory_text(found: Memory) -> str:
    from swarm_graph.reports.memory_facts import facts, is_edited
    from swarm_graph.text import in_one_line

    lines = [f"{found.source}: {found.id} in {found.collection}"]
    lines += [in_one_line(f"{name}: {value}") for name, value in facts(found)]
    for passage in found.passages:
        place = f"{passage.id}  {passage.place}{' (edited)' if is_edited(found, passage) else ''}".rstrip()
        lines += ["", place, _indented(passage.text).rstrip("\n")]
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    """A text a little to the right, so that its lines are no headings of ours."""
    return "".join(f"   {line}".rstrip() + "\n" for line in text.strip("\n").split("\n"))


# --- edit and forget -----------------------------------------------------------------------------


@memory.command(
    short_help="Correct the text of a memory.",
    epilog="Example: swarm-graph memory edit 0ac7c62a08/3 --text 'PSV-7 opens at 84 bar.'",
)
@click.argument("name", metavar="MEMORY")
@click.option("--text", metavar="TEXT", help="The new text.")
@click.option("--file", metavar="FILE", help="A file with the new text.")
@memory_options
def edit(name: str, text: str | None, file: str | None, options: SessionOptions) -> None:
    """Correct a passage (ID/3) or what a session has verified; without --text and --file in your editor.

    The edited text of a passage stays until its file has changed and is read again.
    """
    if text is not None and file is not None:
        raise InputError("expected either --text or --file")
    with open_memory(options) as opened:
        if file is not None:
            text = read_file(file)
        if text is None:
            text = _edited(opened.show(name), options)
        edited = opened.edit(name, text)
        say_problem(opened)
    print_result(_passage_json(edited), f"edited {edited.id} ({edited.citation})\n", options.as_json)


def _edited(found: Memory, options: SessionOptions) -> str:
    """The text of a memory as the person's editor leaves it."""
    from swarm_graph.cli.decisions import can_ask

    if not can_ask(options):
        raise InputError("give the new text with --text or --file")
    if len(found.passages) != 1:
        raise InputError(f"'{found.source}' has {len(found.passages)} passages; name one, as in {found.id}/2")
    text = click.edit(found.passages[0].text, extension=".txt")
    if text is None:
        raise InputError("nothing was changed, because the editor saved nothing")
    return text.rstrip("\n")


@memory.command(
    short_help="Delete memories.", epilog="Example: swarm-graph memory forget --collection plant --yes"
)
@click.argument("names", metavar="[MEMORY]...", nargs=-1)
@click.option("--as", "--collection", "collection", metavar="NAME", help="All documents of this collection.")
@click.option("--yes", is_flag=True, help="Do not ask before more than one document is forgotten.")
@memory_options
def forget(names: tuple[str, ...], collection: str | None, yes: bool, options: SessionOptions) -> None:
    """Delete documents, passages (ID/3) and what sessions have verified. Files are not touched.

    MEMORY is an id, or the name or file of a document.
    """
    if not names and collection is None:
        raise click.UsageError("forget needs a MEMORY, or --collection NAME")
    with open_memory(options) as opened:
        documents = [found.source for name in names if (found := opened.show(name)).is_document]
        documents += [one.source for one in opened.documents(collection)] if collection is not None else []
        if len(documents) > 1 and not yes:
            _ask(documents, options)
        forgotten = opened.forget(names, collection=collection)
    print_result(forgotten, "".join(f"forgot {line}\n" for line in forgotten), options.as_json)


def _ask(documents: Sequence[str], options: SessionOptions) -> None:
    """Ask the person at the terminal. Raises InputError if nobody can be asked, or the answer is no."""
    from swarm_graph.cli.decisions import can_ask
    from swarm_graph.text import first_names, printable

    these = printable(f"{len(documents)} documents ({first_names(documents)})")
    if not can_ask(options):
        raise InputError(f"this forgets {these}; --yes forgets them")
    if not click.confirm(f"Forget {these}?", default=False):
        raise InputError("nothing was forgotten")


# --- export and reindex --------------------------------------------------------------------------


@memory.command(
    short_help="Write memory to a file, to move it.", epilog="Example: swarm-graph memory export plant.jsonl"
)
@click.argument("file", metavar="FILE")
@memory_options
def export(file: str, options: SessionOptions) -> None:
    """Write all documents with their passages, and what sessions have verified, to FILE (JSON Lines).

    It holds no vectors, no offers and no paths of this machine. The same memory gives the same bytes.
    """
    from swarm_graph.text import format_count

    with open_memory(options) as opened:
        counts = opened.export(file)
    words = (format_count(count, noun[:-1]) for noun, count in counts._asdict().items())
    print_result({"file": file, **counts._asdict()}, f"wrote {', '.join(words)} to {file}\n", options.as_json)


@memory.command(
    short_help="Make the vectors that are missing.",
    epilog="Example: swarm-graph memory reindex -c config.json",
)
@memory_options
def reindex(options: SessionOptions) -> None:
    """Make the vectors of all texts that have none of the configured embedding model.

    That is so after another model was configured, or while its server did not answer.
    """
    from swarm_graph.config import load_config
    from swarm_graph.text import format_count

    settings = load_config(options.config_file).memory
    if not settings or not settings.embeddings:
        raise InputError(
            "the configuration names no embedding model (`memory.embeddings`); words need no reindex"
        )
    with open_memory(options) as opened:
        try:
            count = opened.reindex(_progress_lines())
        except KeyboardInterrupt:
            end(
                "interrupted; the vectors made so far are kept; the same command goes on",
                EXIT_INTERRUPTED,
                options.as_json,
            )
        say_problem(opened)
    print_result({"vectors": count}, f"made {format_count(count, 'vector')}\n", options.as_json)


def _progress_lines() -> Callable[[int, int], None]:
    """A callback that says how far the work is, at most every PROGRESS_S seconds."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            say(f"{done} of {total} texts have vectors; a stop keeps them")

    return progress
