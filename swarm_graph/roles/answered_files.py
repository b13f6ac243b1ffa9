"""The files in a model's answer, whole: edits applied, encodings undone, fragments and commands refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_paths import (
    check_allowed,
    check_places,
    deletions,
    with_paths,
    without_folders,
)
from swarm_graph.roles.applied_edits import apply_edits, fits_once
from swarm_graph.roles.edit import Edit
from swarm_graph.roles.edit_blocks import (
    edits_in,
    holds_edits,
    lines_of_blocks,
    lines_of_edits,
    unfenced_edits,
)
from swarm_graph.roles.fences import Block, parse
from swarm_graph.roles.file_blocks import (
    FileBlocks,
    Files,
    NamedBlock,
    file_blocks,
    files,
    project_path,
)
from swarm_graph.roles.fragments import definitions, has_line_numbers, lost_definitions, writes_files
from swarm_graph.roles.path_lines import holds_path_lines, not_understood, path_lines
from swarm_graph.roles.placeholders import PROGRAMS, extension_of, placeholder
from swarm_graph.roles.syntax import mended, syntax_problem
from swarm_graph.roles.unnamed_blocks import placed

_USER = re.compile(r"(?:#{1,4} ?|\*\*)?(?:User|Human|USER|HUMAN|Instruction)(?:\*\*)?:.*|user")
_ASSISTANT = re.compile(
    r"(?:#{1,4} ?|\*\*)?(?:Assistant|ASSISTANT|AI|Response|Bot|Model)(?:\*\*)?:.*|assistant"
)
_PATCHES = (".diff", ".patch")
MAX_LOST_SHARE = 4
"""Of a file shown in part a quarter of the lines may go; more is a file written from the parts alone."""


def read_answered_files(
    text: str,
    old: Mapping[str, str],
    *,
    shown: Mapping[str, bool] | None = None,
    why_not: Callable[[str], str] = lambda _path: "",
) -> Files:
    """The files in a model's answer.

    Edits of the old files (SEARCH/REPLACE blocks, diffs, patches) count if it is plain where they belong
    (`edit_places.py`). A block without a path is the file that the sentence above it announces or the old
    file that it plainly rewrites; a single one is otherwise `main.<ext>`. A path that has lost its folders is
    completed if it is plain which file is meant. `DELETE path` and `RENAME old -> new` stand on lines of
    their own outside of blocks.

    Args:
        text: The final message of the answer.
        old: The files as they are: path to text. Only texts that the answer concerns are read.
        shown: In a repository: the paths of the files that the model has seen, and whether it has seen all of
            each. Blocks and edits without a path are looked for among them only, and nothing is written over
            another file, or over lines that it has not seen, in silence. None: the old files are the
            session's own, and the model has seen all.
        why_not: Why a path must not be changed; empty if it may.

    Raises:
        UnreadableAnswer: There is no file, a file is not complete, an edit does not fit, or a path is missing
            or not allowed.
    """
    blocks = file_blocks(_before_invented_turn(text.replace("\r\n", "\n")))
    near = list(old) if shown is None else [path for path in shown if path in old]
    whole, edits, notes = _files_and_edits(blocks)
    lines = path_lines(blocks.outside, blocks.unnamed)
    deleted = deletions(lines, old, notes)
    moved = without_folders(whole, old, deleted)
    notes += [f"{path} taken for {meant}" for path, meant in moved.items()]
    whole = {moved.get(path, path): text for path, text in whole.items()}
    renames = [Edit(line.path, new_path=line.new_path) for line in lines if line.new_path]
    edits = with_paths([*renames, *edits], old, whole, notes)
    edits, doubts = _beside(edits, whole, near, old, notes)
    if whole or edits:
        doubts += _calls(blocks.unnamed)
    if not whole and not edits:
        whole = placed(
            [block for block in blocks.unnamed if not _is_edit(block) and not holds_path_lines(block)],
            near,
            old,
            in_repository=shown is not None,
        )
    edited = apply_edits(edits, old, whole=whole, near=near, freed=deleted)
    written = {**whole, **edited.written}
    notes += edited.notes
    notes += _completed(written, whole, edited.renamed, old)
    deleted = [*deleted, *edited.deleted]
    notes += [f"there is no {path} to delete" for path in deleted if path not in old]
    if edits and not (deleted or edited.renamed) and all(old.get(path) == written[path] for path in written):
        doubts.append("the edits change nothing: what they make of the files stands there already")
    kept = {*old}.difference(deleted)
    doubts += [_unread(line) for line in not_understood(blocks.outside, blocks.unnamed, kept)]
    answer = files(written, deleted, tuple(notes), edited.renamed, (*doubts, *_unseen(whole, shown, old)))
    if shown is not None:
        check_places(answer, old)
    check_allowed(answer, old, why_not)
    return answer


def doubts(answer: Files, old: Mapping[str, str]) -> str:
    """Why the files are probably not meant as they are, for a question; empty when nothing is odd."""
    return "; ".join([*answer.doubts, *_losses(answer, old), *_syntax_problems(answer.written)])


def _files_and_edits(blocks: FileBlocks) -> tuple[dict[str, str], list[Edit], list[str]]:
    """The files that blocks write whole, path to text, the edits, and notes; a repeated edit counts once."""
    written: dict[str, str] = {}
    edits: list[Edit] = []
    notes: list[str] = []
    for block in blocks.named:
        if _edits_file(block):
            edits += edits_in(block.text, block.path)
            continue
        path = project_path(block.path)
        if written.get(path, block.text) != block.text:
            notes.append(f"{path} stands twice in the answer; the last one was taken")
        written[path] = block.text
    for unnamed in blocks.unnamed:
        edits += edits_in(unnamed.text, "") if _is_edit(unnamed) else unfenced_edits(unnamed.text)
    return written, list(dict.fromkeys([*edits, *unfenced_edits(blocks.outside)])), notes


def _calls(unnamed: Sequence[Block]) -> Iterator[str]:
    """A doubt about files and edits in JSON, which are ignored if the answer has blocks."""
    for block in unnamed:
        if writes_files(block.text):
            yield "the answer also holds files or edits as JSON: write them as blocks, too"


def _unread(line: str) -> str:
    return (
        f"the line {line[:120]!r} deletes and renames nothing: write `DELETE path`, or `RENAME old -> new`, "
        "on a line of its own, if that is meant"
    )


def _losses(answer: Files, old: Mapping[str, str]) -> Iterator[str]:
    for path, names in lost_definitions(old, answer.written):
        lost = ", ".join(names[:8])
        yield f"'{path}' has lost {lost}: write the whole file, or the same again if that is meant"


def _syntax_problems(written: Mapping[str, str]) -> Iterator[str]:
    for path, text in written.items():
        if problem := syntax_problem(path, text):
            place = f"{path}:{problem.line}" if problem.line else path
            yield f"{place} does not parse: {problem.message}"


def _unseen(
    whole: Mapping[str, str], shown: Mapping[str, bool] | None, old: Mapping[str, str]
) -> Iterator[str]:
    """Files of a repository that an answer writes over without having seen them, or all of them.

    Raises:
        UnreadableAnswer: Much of a file is lost of which the model has seen parts only.
    """
    for path in whole if shown is not None else ():
        if path not in old or old[path] == whole[path] or (shown or {}).get(path):
            continue
        if shown and path in shown:
            yield from _partly_seen(path, old[path], whole[path])
        else:
            yield (
                f"'{path}' exists, and you have not seen it: edit it, choose another path, or write the same "
                "again if all of it is to be replaced"
            )


def _partly_seen(path: str, old: str, new: str) -> Iterator[str]:
    """A question about a file of which only parts were shown, and which is written as if they were all."""
    lines, kept = (Counter(line for line in text.split("\n") if line.strip()) for text in (old, new))
    lost = (lines - kept).total()
    problem = (
        f"only parts of '{path}' were shown, and {lost} of its {lines.total()} lines are not in the answer: "
        "change it with SEARCH/REPLACE blocks"
    )
    if lost * MAX_LOST_SHARE > lines.total():
        raise UnreadableAnswer(problem)
    if lost:
        yield problem


def _is_edit(block: Block | NamedBlock) -> bool:
    return holds_edits(block.text) or block.language in ("diff", "patch")


def _edits_file(block: NamedBlock) -> bool:
    """Whether a block with a path holds edits of that file, perhaps below a comment, and not the file itself.

    Marks of SEARCH/REPLACE may belong to a document about them, but not to a program.
    """
    if block.path.endswith(_PATCHES):
        return False
    if _is_edit(block):
        return True
    return extension_of(block.path) in PROGRAMS and any(True for _ in lines_of_blocks(block.text.split("\n")))


# --- edits beside whole files --------------------------------------------------------------------


def _beside(
    edits: Sequence[Edit],
    whole: Mapping[str, str],
    near: Sequence[str],
    old: Mapping[str, str],
    notes: list[str],
) -> tuple[list[Edit], list[str]]:
    """The edits to apply, and doubts about the others.

    Beside whole files, an edit of one of them, or without a path, usually shows what changed: its new lines
    stand in the file. Any other edit without a path is applied where it fits; what is left is asked about.
    """
    if not whole:
        return list(edits), []
    applied: list[Edit] = []
    doubts: list[str] = []
    for edit in edits:
        texts = whole.values() if not edit.path else [whole[edit.path]] if edit.path in whole else []
        if any(_shows(edit, text) for text in texts):
            notes.append(f"an edit beside {edit.path or 'the whole files'} only shows what changed")
        elif edit.path in whole:
            doubts.append(
                f"the answer writes '{edit.path}' whole and also edits it, and the two differ: write one"
            )
        elif edit.path or fits_once(edit, near, old):
            applied.append(edit)
        else:
            doubts.append(
                f"the edit that begins with {edit.first_words!r} names no file: write the path above it"
            )
    notes += [f"not applied: {doubt}" for doubt in doubts]
    return applied, doubts


def _shows(edit: Edit, text: str) -> bool:
    """Whether a whole file has the result of an edit: its new lines, or none of those it only deletes."""
    before, after = ({line.strip() for line in lines} - {""} for lines in (edit.old_lines, edit.new_lines))
    there = {line.strip() for line in text.split("\n")}
    return not edit.deletes and (after - before <= there if after - before else not (before - after) & there)


# --- whole files ---------------------------------------------------------------------------------


def _completed(
    written: dict[str, str], whole: Mapping[str, str], renamed: Mapping[str, str], old: Mapping[str, str]
) -> list[str]:
    """Undo encodings in files and return what was undone. Raises UnreadableAnswer for a file with gaps."""
    names = {new: path for path, new in renamed.items()}
    notes: list[str] = []
    for path, body in written.items():
        before = old.get(names.get(path, path), "")
        if body == before:
            continue
        _check_complete(path, body, before)
        text, what = mended(path, body)
        if what and (path in whole or _keeps(before, body, text)):
            written[path] = text
            notes.append(f"{what} undone in {path}")
    return notes


def _keeps(old: str, body: str, text: str) -> bool:
    """Whether a mended file keeps the lines that an edit left unchanged."""
    lines = Counter(old.split("\n")) & Counter(body.split("\n"))
    return not lines - Counter(text.split("\n"))


def _check_complete(path: str, text: str, old: str) -> None:
    if line := placeholder(path, text, old):
        missing = sorted(definitions(path, old) - definitions(path, text))
        names = f" ({', '.join(missing[:8])} missing)" if missing else ""
        raise UnreadableAnswer(
            f"'{path}' is not complete: {line!r} stands for omitted code{names}; write the whole file"
        )
    if has_line_numbers(path, text):
        raise UnreadableAnswer(f"'{path}' has a number before each line; write the file without line numbers")


# --- turns that the model invented ---------------------------------------------------------------


def _before_invented_turn(text: str) -> str:
    """A text up to the user's next turn, if the model wrote it and its own answer to it as well."""
    lines = text.split("\n")
    if not any(map(_USER.fullmatch, lines)):
        return text
    blocks = parse(text, lines_of_edits(text)).blocks
    if not blocks:
        return text
    inside = {number for block in blocks for number in range(block.lines.start - 1, block.lines.stop + 1)}
    outside = [number for number in range(blocks[0].lines.stop, len(lines)) if number not in inside]
    users = [number for number in outside if _USER.fullmatch(lines[number])]
    if not users or not any(_ASSISTANT.fullmatch(lines[number]) for number in outside if number > users[0]):
        return text
    return "\n".join(lines[: users[0]])
