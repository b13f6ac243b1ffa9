"""Blocks of a model's answer that carry no path: the files that they plainly are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.answered_paths import with_folders
from swarm_graph.roles.fences import Block
from swarm_graph.roles.file_blocks import announced, extension, main_file, no_path
from swarm_graph.roles.fragments import definitions, not_a_file


def placed(
    blocks: list[Block], near: Sequence[str], old: Mapping[str, str], *, in_repository: bool
) -> dict[str, str]:
    """The files that blocks without a path are.

    Args:
        blocks: The blocks.
        near: The paths of the old files that they may be.
        old: The old files: path to text.
        in_repository: Whether these are some of a repository's files. There a block is only the file that it
            is announced as, or whose definitions it has; it may as well be an example, or belong elsewhere.

    Raises:
        UnreadableAnswer: A block may be any file, or is none.
    """
    reasons = [not_a_file(block.language, block.text) for block in blocks]
    blocks = [block for block, reason in zip(blocks, reasons, strict=True) if not reason]
    if reasons and not blocks:
        raise UnreadableAnswer(
            f"the answer holds no file: {reasons[0]} is none; write files as in ```python path=src/queue.py"
        )
    found = {
        path: block.text
        for block in blocks
        if (path := _place(block, near, old, in_repository=in_repository))
    }
    if len(found) == len(blocks):
        return found
    if not in_repository and len(blocks) == 1 and not _candidates(blocks[0], near):
        return {main_file(blocks[0]): blocks[0].text}
    raise no_path()


def _place(block: Block, near: Sequence[str], old: Mapping[str, str], *, in_repository: bool) -> str:
    """The file that a block plainly is; empty when it may be any.

    The sentence above it announces the file, or it is the only old one in its language or of its names.
    """
    if path := announced(block):
        return with_folders(path, old) or path
    candidates = _candidates(block, near)
    if len(candidates) == 1 and not in_repository:
        return candidates[0]
    shared = {path: len(definitions(path, old[path]) & definitions(path, block.text)) for path in candidates}
    best = [path for path, count in shared.items() if count and count == max(shared.values())]
    return best[0] if len(best) == 1 else ""


def _candidates(block: Block, near: Sequence[str]) -> list[str]:
    return [path for path in near if not extension(block) or path.endswith(f".{extension(block)}")]
