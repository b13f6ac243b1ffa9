"""The map of a repository: its paths, and the signatures of the files that matter most."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from swarm_graph.repository import outline as outline_module
from swarm_graph.repository.ctags import NOT_INSTALLED, Source, ctags_outlines, is_language
from swarm_graph.repository.outline import Definition, Outline
from swarm_graph.repository.outline_cache import OutlineCache, cache_file
from swarm_graph.repository.parser_process import UNREADABLE, parsed
from swarm_graph.repository.snapshot import MAX_FILE_BYTES, Entry, Snapshot
from swarm_graph.text import format_count, printable

_TOO_LARGE = Outline(problem="it is larger than 1 MB")
_READER = f"2/{sys.version_info[0]}.{sys.version_info[1]}"
"""The version of the outlines that are kept: Python's grammar decides what can be parsed."""
_SIGNATURE_SHARE = 0.75
"""The part of a map for signatures; the rest lists other paths."""
_PYTHON = (".py", ".pyi")


def outlines(snapshot: Snapshot, cache: Path | None = None) -> dict[str, Outline]:
    """The outlines of the files of a commit; only files that no earlier commit had are parsed.

    Args:
        snapshot: The files.
        cache: The SQLite file that keeps outlines; default one in the user's cache folder.

    Returns:
        Each path with its outline, in git's order; an empty outline if the file is no program.
    """
    with snapshot.lock:
        return dict(_outlines(snapshot, cache or cache_file()))


@lru_cache(maxsize=4)
def _outlines(snapshot: Snapshot, cache: Path | None) -> Mapping[str, Outline]:
    files = snapshot.files
    keys = {path: _key(path, entry) for path, entry in files.items() if _has_outline(path, entry)}
    kept = OutlineCache(cache)
    found = kept.get([*dict.fromkeys(keys.values())])
    missing = {key: path for path, key in keys.items() if key not in found}
    for sources in snapshot.read_in_groups(missing.values()):
        new = {keys[path]: one for path, one in read_outlines(sources).items()}
        kept.put({key: one for key, one in new.items() if one not in (NOT_INSTALLED, UNREADABLE)})
        found |= new
    others = {path: _TOO_LARGE if _is_program(path) else Outline() for path in files if path not in keys}
    return {path: others[path] if path in others else found[keys[path]] for path in files}


def read_outlines(sources: Mapping[str, bytes]) -> dict[str, Outline]:
    """The outlines of files by path, in their order; nothing is kept.

    Args:
        sources: Path to content.
    """
    python = [path for path in sources if _is_python(path)]
    others = [path for path in sources if is_language(path)]
    command = [sys.executable, "-I", "-S", "-W", "ignore", str(outline_module.__file__)]
    requests = [b"%d\n%b" % (len(sources[path]), sources[path]) for path in python]
    found = dict(zip(python, parsed(command, requests, _read), strict=True))
    found |= zip(others, ctags_outlines([Source(path, sources[path]) for path in others]), strict=True)
    return {path: found.get(path, Outline()) for path in sources}


def map_text(outlines: Mapping[str, Outline], order: Iterable[str], characters: int) -> str:
    """A map of files for a prompt: paths with signatures, then paths alone, then how many are left out.

    Args:
        outlines: Every path with its outline.
        order: The paths that matter, best first; the others follow in the order of `outlines`.
        characters: The most characters of the map.
    """
    ordered = [*dict.fromkeys([*(path for path in order if path in outlines), *outlines])]
    paths = [path for path in ordered if path.isprintable()]
    note = _note(outlines[path] for path in paths)
    left = characters - len(note) - len(_rest(ordered))
    share = int(left * _SIGNATURE_SHARE)
    blocks = [*_within((_block(path, outlines[path], share // 3) for path in paths), share)]
    left -= sum(map(len, blocks))
    blocks += _within((f"{path}\n" for path in paths[len(blocks) :]), left)
    shown = {*paths[: len(blocks)]}
    rest = _rest([path for path in ordered if path not in shown])
    return ("".join(blocks) + note + rest)[: max(characters, 0)]


def _has_outline(path: str, entry: Entry) -> bool:
    return entry.size <= MAX_FILE_BYTES and _is_program(path)


def _is_program(path: str) -> bool:
    return _is_python(path) or is_language(path)


def _is_python(path: str) -> bool:
    return path.endswith(_PYTHON)


def _key(path: str, entry: Entry) -> str:
    return f"{_READER} {PurePosixPath(path).suffix} {entry.blob}"


def _read(output: bytes) -> list[Outline]:
    """The outlines that the parser of Python has printed; the last line may be cut off."""
    return [Outline.from_json(line) for line in output.split(b"\n")[:-1]]


def _within(blocks: Iterable[str], characters: int) -> Iterator[str]:
    """The first blocks that fit."""
    for block in blocks:
        characters -= len(block)
        if characters < 0:
            return
        yield block


def _block(path: str, outline: Outline, characters: int) -> str:
    """A path with its public signatures, of a long file the first ones."""
    public = _public(outline.definitions)
    lines = [f"{'  ' * (one.depth + 1)}{_clean(one.signature)}\n" for one in public]
    kept = [*_within(lines, characters)]
    more = len(lines) - len(kept)
    return f"{path}\n{''.join(kept)}" + (f"  … {more} more\n" if more else "")


def _public(definitions: Iterable[Definition]) -> Iterator[Definition]:
    """Definitions without those whose name, or whose class's name, begins with an underscore."""
    hidden_at = sys.maxsize
    for one in definitions:
        if one.depth > hidden_at:
            continue
        is_hidden = one.name.startswith("_") and one.name != "__init__"
        hidden_at = one.depth if is_hidden else sys.maxsize
        if not is_hidden:
            yield one


def _clean(signature: str) -> str:
    return " ".join(printable(signature).split())


def _note(outlines: Iterable[Outline]) -> str:
    """Why other languages have no signatures, said once."""
    if NOT_INSTALLED not in outlines:
        return ""
    return "(Signatures of Python only: Universal Ctags, which reads other languages, is not installed.)\n"


def _rest(paths: Sequence[str]) -> str:
    if not paths:
        return ""
    folders = len({path.rpartition("/")[0] for path in paths})
    return f"… and {format_count(len(paths), 'more file')} in {format_count(folders, 'folder')}\n"
