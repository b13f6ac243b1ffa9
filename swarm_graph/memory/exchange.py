"""Memory as a file of JSON Lines, to move it between databases: a header, the documents, the experiences.

A received file may come from anybody: every line is checked, and what it says is data. It names no file that
is opened, and no place outside of memory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple, Self

from langgraph.store.base import GetOp, Item, PutOp
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from swarm_graph.errors import InputError, StorageError
from swarm_graph.memory.adding import AddedDocument, Report, check_collection, put
from swarm_graph.memory.changing import MAX_TEXT
from swarm_graph.memory.documents import MAX_PASSAGES, StoredDocument, as_time, document_id
from swarm_graph.memory.experience import ExperienceKind
from swarm_graph.memory.namespaces import DOCUMENTS, EXPERIENCE, ID_DIGITS
from swarm_graph.memory.reading import documents, experience_items, passage_items
from swarm_graph.memory.work import Work
from swarm_graph.text import check_json_like, format_count, printable, without_lone_surrogates

VERSION = 1
MAX_LINE = 100_000_000
"""Bytes of a line, which is a whole document."""
MAX_EXPERIENCE = 100_000
"""Characters of an experience with its evidence, as JSON."""
MAX_NAME = 1000
"""Characters of a source or a place."""


class Counts(NamedTuple):
    """What an exported file holds."""

    documents: int
    passages: int
    experiences: int


def _one_line(text: str) -> str:
    if printable(text) != text or "\n" in text or "\t" in text:
        raise ValueError("expected one line without control characters")
    return text


def _is_collection(name: str) -> str:
    try:
        check_collection(name)
    except InputError as error:
        raise ValueError(str(error)) from error
    return name


def _json_like(value: Any) -> Any:
    check_json_like(value)
    return value


_Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_one_line)]
_Place = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_one_line)]
_Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_json_like)]
_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Passage(_Line):
    number: int = Field(ge=1, le=MAX_PASSAGES)
    text: _Words
    place: _Place = ""
    edited: _Time | None = None


class _Document(_Line):
    collection: Annotated[str, AfterValidator(_is_collection)]
    source: _Name
    kind: Annotated[str, Field(max_length=20), AfterValidator(_one_line)]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    read_at: _Time
    cut_into: int = Field(ge=0, le=MAX_PASSAGES)
    notes: list[Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_one_line)]] = Field(
        max_length=10_000
    )
    passages: list[_Passage] = Field(max_length=MAX_PASSAGES)

    @model_validator(mode="after")
    def _numbers_rise(self) -> Self:
        numbers = [0, *(passage.number for passage in self.passages)]
        if any(one >= following for one, following in pairwise(numbers)) or numbers[-1] > self.cut_into:
            raise ValueError(f"expected passages with rising numbers, none above {self.cut_into}")
        return self


class _ExperienceValue(_Line):
    model_config = ConfigDict(extra="allow", strict=True)

    text: _Words
    source: _Name
    place: _Place = ""
    time: _Time = 0.0
    edited: _Time | None = None


class _Experience(_Line):
    id: str = Field(pattern=f"^[0-9a-f]{{{ID_DIGITS}}}$")
    kind: ExperienceKind
    value: _ExperienceValue


class _Header(_Line):
    swarm_graph_memory: int
    documents: int
    experiences: int


class _Content(_Line):
    document: _Document | None = None
    experience: _Experience | None = None


# --- export --------------------------------------------------------------------------------------


def export(file: Path) -> Work[Counts]:
    """Write memory to a file; see `SwarmMemory.export`."""
    if not file.name or str(file) == "-":
        raise InputError(f"'{file}' is no name of a file; expected one, as in plant.jsonl")
    known = yield from documents()
    kept = yield from experience_items()
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    passages = 0
    try:
        target: IO[str] = yield partial(_new_file, temporary)
        with target:
            yield partial(_write, target, _Header(
                swarm_graph_memory=VERSION, documents=len(known), experiences=len(kept)
            ).model_dump())  # fmt: skip
            for document in known:
                values = _values((yield from passage_items(document)))
                passages += len(values)
                yield partial(_write, target, {"document": _exported_document(document, values)})
            for item in kept:
                yield partial(_write, target, {"experience": _exported_experience(item)})
        temporary.replace(file)
    except OSError as error:
        raise StorageError(f"cannot write '{file}': {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return Counts(len(known), passages, len(kept))


def _new_file(path: Path) -> IO[str]:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(handle, "w", encoding="utf-8", newline="\n")


def _write(file: IO[str], line: Mapping[str, Any]) -> None:
    file.write(without_lone_surrogates(json.dumps(line, ensure_ascii=False, sort_keys=True)) + "\n")


def _values(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The values of passages, each with its number."""
    return [item.value | {"number": int(item.key.rpartition("/")[2])} for item in items]


def _exported_document(document: StoredDocument, passages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A document without what is true of this machine only."""
    kept = ("number", "text", "place", "edited")
    return {
        "collection": document.collection,
        "source": document.source,
        "kind": document.kind,
        "sha256": document.sha256,
        "read_at": document.read_at,
        "cut_into": document.passages,
        "notes": [*document.notes],
        "passages": [{name: passage[name] for name in kept if name in passage} for passage in passages],
    }


def _exported_experience(item: Item) -> dict[str, Any]:
    value = {name: one for name, one in item.value.items() if name != "imported_from"}
    return {"id": item.key, "kind": item.namespace[-1], "value": value}


# --- import --------------------------------------------------------------------------------------


def import_(file: Path, report: Report) -> Work[list[AddedDocument]]:
    """Add what a file holds; see `SwarmMemory.import_`."""
    yield partial(check_export, file)
    done: list[AddedDocument] = []
    lines = _lines(file)
    while (line := (yield partial(next, lines, None))) is not None:
        if line.document:
            done.append((yield from _import_document(line.document, file.name)))
        elif line.experience:
            done.append((yield from _import_experience(line.experience, file.name)))
        report(done[-1])
    return done


def check_export(file: Path) -> None:
    """Raises InputError if a file is no whole export, or has a broken line."""
    for _ in _lines(file):
        pass


def _lines(file: Path) -> Iterator[_Content]:
    """The lines of a file below its header, each checked.

    Raises:
        InputError: A line is broken, or the file is cut off; the message names the line.
    """
    try:
        if not file.is_file():
            raise InputError(f"there is no file '{file}'")
        with file.open("rb") as opened:
            header = _header(file, opened.readline(MAX_LINE + 1))
            counts = {"document": 0, "experience": 0}
            number = 1
            while data := opened.readline(MAX_LINE + 1):
                number += 1
                line = _read(file, number, data)
                if (line.document is None) == (line.experience is None):
                    raise _broken(file, number, "expected either a document or an experience")
                counts["document" if line.document else "experience"] += 1
                yield line
    except OSError as error:
        raise InputError(f"cannot read '{file}': {error.strerror}") from error
    if counts != {"document": header.documents, "experience": header.experiences}:
        raise InputError(
            f"'{file}' is not whole: it has {format_count(counts['document'], 'document')} and "
            f"{format_count(counts['experience'], 'experience')}, its header says {header.documents} and "
            f"{header.experiences}; copy or export it again"
        )


def _header(file: Path, data: bytes) -> _Header:
    try:
        header = _Header.model_validate(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"'{file}' is no memory that `swarm-graph memory export` wrote: its first line is no header"
        ) from error
    if header.swarm_graph_memory > VERSION:
        raise InputError(f"a newer swarm_graph wrote '{file}'; update swarm_graph")
    return header


def _read(file: Path, number: int, data: bytes) -> _Content:
    if len(data) > MAX_LINE:
        raise _broken(file, number, f"it has more than {MAX_LINE:,} bytes")
    try:
        line = _Content.model_validate(json.loads(data))
        if line.experience and len(data) > MAX_EXPERIENCE:
            raise _broken(file, number, f"an experience has more than {MAX_EXPERIENCE:,} bytes")
        check_json_like(line.model_dump())
    except json.JSONDecodeError as error:
        raise _broken(file, number, "it is no JSON, or cut off; copy or export the file again") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _broken(file, number, f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _broken(file, number, str(error)) from error
    return line


def _broken(file: Path, number: int, problem: str) -> InputError:
    return InputError(f"'{file}' line {number}: {printable(problem)[:200]}; nothing of the file was imported")


def _import_document(given: _Document, file_name: str) -> Work[AddedDocument]:
    now = time.time()
    id = document_id(given.collection, given.source)
    passages: list[dict[str, Any]] = [
        {**one.model_dump(exclude_none=True), "source": given.source, "document": id}
        for one in given.passages
    ]
    document = StoredDocument(
        id=id,
        collection=given.collection,
        source=given.source,
        path="",
        sha256=given.sha256,
        kind=given.kind,
        passages=given.cut_into,
        notes=tuple(given.notes),
        read_at=min(given.read_at, now),
        edited=tuple(sorted(one.number for one in given.passages if one.edited)),
        imported_from=file_name,
    )
    added = AddedDocument(given.source, id, "added", len(passages))
    (item,) = yield [GetOp((*DOCUMENTS, given.collection), id)]
    if item:
        known = StoredDocument.of_value(id, given.collection, item.value)
        values = _values((yield from passage_items(known)))
        if known.sha256 == given.sha256 and _texts(values) == _texts(passages):
            return added._replace(status="unchanged")
        if _changed_at(known.read_at, values) > _changed_at(given.read_at, passages):
            return added._replace(status="kept", note=f"the one here is newer than that of {file_name}")
        added = added._replace(status="changed", note=f"that of {file_name} is newer")
    yield from put(document, passages)
    return added


def _texts(passages: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    return [(passage["number"], passage.get("text")) for passage in passages]


def _changed_at(read_at: float, passages: Sequence[Mapping[str, Any]]) -> float:
    """When a document was last read or edited."""
    return max(read_at, *(as_time(one.get("edited")) for one in passages), 0.0)


def _import_experience(given: _Experience, file_name: str) -> Work[AddedDocument]:
    namespace = (*EXPERIENCE, given.kind)
    value = given.value.model_dump(exclude_unset=True)
    added = AddedDocument(given.value.source, given.id, "added", 1)
    (item,) = yield [GetOp(namespace, given.id)]
    if item:
        known = _exported_experience(item)["value"]
        if known == value:
            return added._replace(status="unchanged")
        if _changed_at(as_time(known.get("time")), [known]) > _changed_at(given.value.time, [value]):
            return added._replace(status="kept", note=f"the one here is newer than that of {file_name}")
        added = added._replace(status="changed", note=f"that of {file_name} is newer")
    yield [PutOp(namespace, given.id, value | {"imported_from": file_name}, index=["text"])]
    return added
