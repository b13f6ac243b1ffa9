"""The command `inputs`, and the documents that `--input` names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from swarm_graph.cli.console import EXIT_USAGE, print_result, say
from swarm_graph.cli.options import SessionOptions, config_option, json_option
from swarm_graph.errors import InputError

if TYPE_CHECKING:
    from swarm_graph.inputs.document import Document
    from swarm_graph.inputs.parts import Part
    from swarm_graph.settings import DocumentSettings

PART_TOKENS, MIN_PART_TOKENS = 8000, 100
HEADS = ("file", "kind", "size", "characters", "tokens, about", "parts")


class _Shown(NamedTuple):
    """A document, and the parts into which it would be split."""

    document: Document
    tokens: int
    parts: list[Part]

    @property
    def row(self) -> tuple[str, ...]:
        """Its row in the table."""
        from swarm_graph.text import format_count

        document, parts = self.document, len(self.parts)
        size = format_count(*document.units) if document.units[0] else ""
        return (
            document.path, document.kind, size, f"{len(document.text):,}", f"{self.tokens:,}", str(parts)
        )  # fmt: skip

    @property
    def lines(self) -> Iterator[str]:
        """Its notes and parts, a line each."""
        yield from (f"{self.document.path}: {note}" for note in self.document.notes)
        if len(self.parts) > 1:
            for number, part in enumerate(self.parts, 1):
                yield f"{self.document.path}: part {number}: {part.place}, {len(part.shown):,} characters"

    def as_json(self, with_text: bool) -> dict[str, Any]:
        """It as a JSON object."""
        document = self.document
        count, unit = document.units
        return {
            "file": document.path,
            "kind": document.kind,
            **({f"{unit}s": count} if count else {}),
            "characters": len(document.text),
            "estimated_tokens": self.tokens,
            "notes": [*document.notes],
            "parts": [{"place": part.place, "characters": len(part.shown)} for part in self.parts],
            **({"text": document.text} if with_text else {}),
        }


@click.command(
    short_help="Show a document as the roles would see it.",
    epilog="Example: swarm-graph inputs procedures/P-7.pdf --text",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--text", "with_text", is_flag=True, help="Print the text, with its marks.")
@click.option(
    "--split",
    "part_tokens",
    type=click.IntRange(min=MIN_PART_TOKENS),
    default=PART_TOKENS,
    show_default=True,
    metavar="TOKENS",
    help="Tokens of a part, as for `batch --split`.",
)
@config_option
@json_option
def inputs(
    files: tuple[str, ...], with_text: bool, part_tokens: int, config_file: str | None, as_json: bool
) -> None:
    """Show each FILE as the roles would see it: its text, its size in tokens, and its parts.

    FILE is a PDF, Word, Excel, PowerPoint or HTML file, a mail, or text of any encoding. No model is asked. A
    file that cannot be read is named on stderr, and the exit code is 2.
    """
    from swarm_graph.config import load_config

    limits = load_config(config_file).documents
    found, failed = [], []
    for name in files:
        try:
            found.append(_show(name, limits, part_tokens))
        except InputError as error:
            say(str(error))
            failed.append({"file": name, "error": str(error)})
    documents = [shown.as_json(with_text) for shown in found]
    print_result([*documents, *failed], _texts(found) if with_text else _table(found), as_json)
    if failed:
        sys.exit(EXIT_USAGE)


def _show(name: str, limits: DocumentSettings, part_tokens: int) -> _Shown:
    from swarm_graph.inputs.parts import split
    from swarm_graph.inputs.read_document import read_document
    from swarm_graph.models.context_window import estimated_tokens

    document = read_document(name, limits)
    tokens = estimated_tokens(document.text)
    characters = int(part_tokens * len(document.text) / max(tokens, 1))
    return _Shown(document, tokens, split(document.text, max(characters, 1)))


def _table(found: Sequence[_Shown]) -> str:
    from swarm_graph.text import text_table, without_empty_columns

    if not found:
        return ""
    lines = [line for shown in found for line in shown.lines]
    table = text_table(*without_empty_columns(HEADS, [shown.row for shown in found]))
    return table + "".join(f"{line}\n" for line in ["", *lines] if lines)


def _texts(found: Sequence[_Shown]) -> str:
    """The text of one document as it is, those of several below their names."""
    if len(found) == 1:
        return found[0].document.text
    return "\n".join(f"==> {shown.document.path} <==\n{shown.document.text}" for shown in found)


def read_inputs(names: Sequence[str], options: SessionOptions) -> dict[str, str]:
    """The texts of the files that `--input` names; says what was assumed or left out.

    HTML is source code where a session makes or reviews code, and a page in a session of documents.

    Raises:
        InputError: A file cannot be read; it is named.
    """
    if not names:
        return {}
    from swarm_graph.cli.session_runner import new_config

    with warnings.catch_warnings(action="ignore"):  # the session loads it again, and says them then
        config = new_config(options)
    is_code = config.workflow.kind != "document"
    return {Path(name).as_posix(): _text(name, config.documents, is_code) for name in names}


def _text(name: str, limits: DocumentSettings, is_code: bool) -> str:
    from swarm_graph.inputs.read_document import read_document

    document = read_document(name, limits, html_as_source=is_code)
    for note in document.notes:
        say(f"note: {name}: {note}")
    return document.text
