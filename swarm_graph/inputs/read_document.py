"""Reads a document as text: PDF, Word, Excel, PowerPoint, HTML, mail, and text of any encoding."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from swarm_graph.errors import InputError
from swarm_graph.inputs.document import Document, Mark, Unreadable
from swarm_graph.inputs.encodings import decode
from swarm_graph.inputs.kinds import HEAD_BYTES, SUFFIXES, TEXT, is_html, is_text, suffix_of
from swarm_graph.inputs.limits import Limits
from swarm_graph.settings import DocumentSettings
from swarm_graph.text import printable

LIMITS = DocumentSettings()
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables without which Python may not start. No program is found: pypdf would call one for pictures."""
_PROGRAM = "import sys; sys.path[:] = {!r}; from swarm_graph.inputs.reader_process import main; main()"


def read_document(
    path: str | os.PathLike[str], limits: DocumentSettings = LIMITS, *, html_as_source: bool = False
) -> Document:
    """A document as text.

    PDF and Excel files need the extra `documents`. Word, PowerPoint and HTML files, mails and text of any
    encoding need nothing. All but plain text is read in a process of its own, within the limits.

    Args:
        path: The file.
        limits: The settings `documents`; default: their defaults.
        html_as_source: Read HTML as the text that it is, with its tags.

    Returns:
        Its text with the marks that findings cite, and notes of what was assumed or left out.

    Raises:
        InputError: It cannot be read: it is missing, encrypted, broken, without text, or too large. The
            message names the file and what helps.
    """
    file = Path(path)
    bounds = Limits(**limits.model_dump(include={*Limits._fields}))
    try:
        data = _read(file, bounds)
        head = data[:HEAD_BYTES]
        if is_text(head, file.name) or (html_as_source and is_html(head, file.name)):
            return _read_text(os.fspath(path), data)
        return _read_apart(os.fspath(path), data, bounds)
    except Unreadable as error:
        raise InputError(f"'{_shown(file)}' {error}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read the input file '{_shown(file)}': {reason}") from error


def is_document_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says that it is a document whose text must be extracted, as .pdf and .docx do."""
    return suffix_of(os.fspath(path)) in SUFFIXES


def _read(file: Path, limits: Limits) -> bytes:
    with file.open("rb") as opened:
        limits.check_size(os.fstat(opened.fileno()).st_size)
        data = opened.read(limits.max_bytes + 1)  # a pipe has no size
    limits.check_size(len(data))
    return data


def _read_text(path: str, data: bytes) -> Document:
    text, assumed = decode(data)
    notes = [assumed] if assumed else [] if data else ["it is empty"]
    return Document(path, TEXT, text, tuple(notes))


def _read_apart(path: str, data: bytes, limits: Limits) -> Document:
    """Let a process of its own read a document."""
    question = json.dumps({"name": Path(path).name, "limits": limits._asdict()}).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM.format(sys.path)],
        input=question + b"\n" + data,
        capture_output=True,
        env={"PATH": "", **{name: os.environ[name] for name in _LOADER if name in os.environ}},
        check=False,
    )
    if done.returncode:
        raise Unreadable(_how_it_ended(done.returncode, done.stderr, limits))
    answer = json.loads(done.stdout)
    if error := answer.get("error"):
        raise Unreadable(printable(error))
    return _document(path, answer)


def _document(path: str, answer: dict[str, Any]) -> Document:
    marks = tuple(Mark(*mark) for mark in answer["marks"])
    return Document(path, answer["kind"], answer["text"], tuple(answer["notes"]), marks)


def _how_it_ended(code: int, stderr: bytes, limits: Limits) -> str:
    """Why a reader gave no answer."""
    name = signal.Signals(-code).name if code < 0 else ""
    if name == "SIGXCPU":
        return limits.too_much_time
    if name == "SIGKILL" or b"MemoryError" in stderr:
        return limits.too_much_memory
    last = printable(stderr.decode(errors="replace").strip().rpartition("\n")[2])[:100]
    return f"cannot be read: its reader ended with {name or code} {last}".rstrip()


def _shown(path: Path) -> str:
    """A path as text: bytes of a name that are no UTF-8 are escaped."""
    return printable(os.fsencode(path).decode(errors="backslashreplace"))
