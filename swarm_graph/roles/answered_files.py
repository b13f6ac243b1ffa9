"""The files in a model's answer, whole: edits applied, encodings undone, fragments and commands refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.edit_blocks import Edit, apply_edits, edits_in, holds_edits, unfenced_edits
from swarm_graph.roles.fences import Block, parse
from swarm_graph.roles.file_blocks import (
    FileBlocks,
    Files,
    NamedBlock,
    announced,
    deleted_in,
    extension,
    file_blocks,
    files,
    main_file,
    no_path,
    project_path,
)
from swarm_graph.roles.fragments import (
    definitions,
    has_line_numbers,
    lost_definitions,
    not_a_file,
)
from swarm_graph.roles.placeholders import placeholder
from swarm_graph.roles.syntax import mended, syntax_problem

_USER = re.compile(r"(?:#{1,4} ?|\*\*)?(?:User|Human|USER|HUMAN|Instruction)(?:\*\*)?:.*|user")
_ASSISTANT = re.compile(
    r"(?:#{1,4} ?|\*\*)?(?:Assistant|ASSISTANT|AI|Response|Bot|Model)(?:\*\*)?:.*|assistant"
)
_PATCHES = (".diff", ".patch")


def read_answered_files(text: str, old: Mapping[str, str]) -> Files:
    """The files in a model's answer.

    Edits of the old files (SEARCH/REPLACE blocks, diffs, patches) count if they fit exactly. A block without
    a path is the file that the sentence above it announces or the old file that it plainly rewrites; a single
    one is otherwise `main.<ext>`. A path that has lost its folders is completed if it is plain which file is
    meant.

    Args:
        text: The final message of the answer.
        old: The files as they are: path to text.

    Raises:
        UnreadableAnswer: There is no file, a file is not complete, or its path is missing or not allowed.
    """
    blocks = file_blocks(_before_invented_turn(text))
    written, edits = _files_and_edits(blocks)
    moved = _without_folders(written, old, deleted_in(blocks.outside))
    notes = [f"{path} taken for {meant}" for path, meant in moved.items()]
    written = {moved.get(path, path): text for path, text in written.items()}
    # Beside whole files, an edit of one of them, or of a file that it does not name, shows what changed.
    edits = [_checked(edit, old) for edit in edits if not written or (edit.path and edit.path not in written)]
    if not written and not edits:
        written = _placed([block for block in blocks.unnamed if not _is_edit(block)], old)
    deleted = tuple(edit.path for edit in edits if edit.deletes)
    written |= apply_edits(edits, old)
    for path, body in written.items():
        _check_complete(path, body, old.get(path, ""))
        written[path], what = mended(path, body)
        notes += [f"{what} undone in {path}"] if what else []
    deletions = "\n".join(f"DELETE {path}" for path in deleted)
    return files(written, f"{blocks.outside}\n{deletions}", tuple(notes))


def doubts(answer: Files, old: Mapping[str, str]) -> str:
    """Why the files are probably not meant as they are, for a question; empty when nothing is odd."""
    return "; ".join([*_losses(answer, old), *_syntax_problems(answer.written)])


def _files_and_edits(blocks: FileBlocks) -> tuple[dict[str, str], list[Edit]]:
    """The files that blocks write whole, path to text, and the edits; a repeated edit counts once."""
    written: dict[str, str] = {}
    edits: list[Edit] = []
    for block in blocks.named:
        if _is_edit(block) and not block.path.endswith(_PATCHES):
            edits += edits_in(block.text, block.path)
        else:
            written[project_path(block.path)] = block.text
    for unnamed in filter(_is_edit, blocks.unnamed):
        edits += edits_in(unnamed.text, "")
    return written, list(dict.fromkeys([*edits, *unfenced_edits(blocks.outside)]))


def _losses(answer: Files, old: Mapping[str, str]) -> Iterator[str]:
    for path, names in lost_definitions(old, answer.written):
        lost = ", ".join(names[:8])
        yield f"'{path}' has lost {lost}: write the whole file, or the same again if that is meant"


def _syntax_problems(written: Mapping[str, str]) -> Iterator[str]:
    for path, text in written.items():
        if problem := syntax_problem(path, text):
            place = f"{path}:{problem.line}" if problem.line else path
            yield f"{place} does not parse: {problem.message}"


def _is_edit(block: Block | NamedBlock) -> bool:
    return holds_edits(block.text) or block.language in ("diff", "patch")


def _checked(edit: Edit, old: Mapping[str, str]) -> Edit:
    if not edit.path:
        return edit
    path = project_path(edit.path)
    if edit.deletes or edit.before.strip():
        path = _with_folders(path, old) or path
    return Edit(path, edit.before, edit.after, edit.deletes)


def _with_folders(path: str, old: Mapping[str, str]) -> str:
    """The only old file that a path without its folders can mean: `src/calc.py` for `calc.py`; else empty."""
    found = [known for known in old if known.endswith(f"/{path}")] if path not in old else []
    return found[0] if len(found) == 1 else ""


def _without_folders(
    written: Mapping[str, str], old: Mapping[str, str], deleted: Sequence[str]
) -> dict[str, str]:
    """The written paths that have lost their folders, with the old files that they plainly rewrite."""
    found = {path: _with_folders(path, old) for path in written}
    return {
        path: known
        for path, known in found.items()
        if known
        and known not in (*written, *deleted)
        and definitions(path, written[path]) & definitions(known, old[known])
    }


def _check_complete(path: str, text: str, old: str) -> None:
    if line := placeholder(path, text, old):
        missing = sorted(definitions(path, old) - definitions(path, text))
        names = f" ({', '.join(missing[:8])} missing)" if missing else ""
        raise UnreadableAnswer(
            f"'{path}' is not complete: {line!r} stands for omitted code{names}; write the whole file"
        )
    if has_line_numbers(path, text):
        raise UnreadableAnswer(f"'{path}' has a number before each line; write the file without line numbers")


# --- blocks without a path -----------------------------------------------------------------------


def _placed(blocks: list[Block], old: Mapping[str, str]) -> dict[str, str]:
    """The files that blocks without a path are."""
    reasons = [not_a_file(block.language, block.text) for block in blocks]
    blocks = [block for block, reason in zip(blocks, reasons, strict=True) if not reason]
    if reasons and not blocks:
        raise UnreadableAnswer(
            f"the answer holds no file: {reasons[0]} is none; write files as in ```python path=src/queue.py"
        )
    placed = {path: block.text for block in blocks if (path := _place(block, old))}
    if len(placed) == len(blocks):
        return placed
    if len(blocks) == 1 and not _candidates(blocks[0], old):
        return {main_file(blocks[0]): blocks[0].text}
    raise no_path()


def _place(block: Block, old: Mapping[str, str]) -> str:
    """The file that a block plainly is; empty when it may be any.

    The sentence above it announces the file, or it is the only old one in its language or of its names.
    """
    if path := announced(block):
        return _with_folders(path, old) or path
    candidates = _candidates(block, old)
    if len(candidates) == 1:
        return candidates[0]
    shared = {path: len(definitions(path, old[path]) & definitions(path, block.text)) for path in candidates}
    best = [path for path, count in shared.items() if count and count == max(shared.values())]
    return best[0] if len(best) == 1 else ""


def _candidates(block: Block, old: Mapping[str, str]) -> list[str]:
    return [path for path in old if not extension(block) or path.endswith(f".{extension(block)}")]


# --- turns that the model invented ---------------------------------------------------------------


def _before_invented_turn(text: str) -> str:
    """A text up to the user's next turn, if the model wrote it and its own answer to it as well."""
    lines = text.split("\n")
    if not any(map(_USER.fullmatch, lines)):
        return text
    blocks = parse(text).blocks
    if not blocks:
        return text
    inside = {number for block in blocks for number in range(block.lines.start - 1, block.lines.stop + 1)}
    outside = [number for number in range(blocks[0].lines.stop, len(lines)) if number not in inside]
    users = [number for number in outside if _USER.fullmatch(lines[number])]
    if not users or not any(_ASSISTANT.fullmatch(lines[number]) for number in outside if number > users[0]):
        return text
    return "\n".join(lines[: users[0]])
