"""Edits applied to the files of a project: in their order, each at its place or refused aloud."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from swarm_graph.errors import UnreadableAnswer
from swarm_graph.roles.edit import Edit, lines_of
from swarm_graph.roles.edit_places import FileLines, Misfit, Place, is_there, place_of
from swarm_graph.roles.edit_results import Change, change_at
from swarm_graph.roles.nearest_lines import nearest_lines
from swarm_graph.text import first_names

_WHOLE = "write the edit again with the lines copied exactly as they stand there, or write the whole file"


@dataclass
class Edited:
    """What edits make of the files.

    Attributes:
        written: Path to new text of each file that an edit names, also of one that is as it was.
        deleted: The paths that are deleted, also by a new name.
        renamed: Old path to new path.
        notes: What was unusual, for people.
    """

    written: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def apply_edits(
    edits: Iterable[Edit],
    old: Mapping[str, str],
    *,
    whole: Mapping[str, str],
    near: Collection[str],
    freed: Collection[str] = (),
) -> Edited:
    """Apply edits one after the other; a later one sees what the earlier ones made.

    Only the files that edits name are read, and for an edit without a path the files in `near`.

    Args:
        edits: The edits, in the order of the answer.
        old: The files as they are: path to text; perhaps thousands, of which each costs to read.
        whole: The files that the answer writes whole.
        near: The paths in which a place for an edit without a path is searched.
        freed: The paths that `DELETE` lines of the answer delete; a renamed file may take one of them.

    Raises:
        UnreadableAnswer: An edit does not fit its file, or fits it in several places.
    """
    work = _Work(old, whole, near, freed)
    for edit in edits:
        work.apply(edit)
    return work.edited


class _Work:
    """The files while edits are applied."""

    def __init__(
        self,
        old: Mapping[str, str],
        whole: Mapping[str, str],
        near: Collection[str],
        freed: Collection[str],
    ) -> None:
        self._old, self._whole, self._near, self._freed = old, whole, near, freed
        self._moved: dict[str, list[tuple[int, int]]] = {}
        self._off: dict[str, set[bool]] = {}
        self.edited = Edited()

    def apply(self, edit: Edit) -> None:
        path = self.edited.renamed.get(edit.path, edit.path) or self._only_place(edit)
        if edit.deletes:
            self._delete(path)
        elif edit.new_path:
            self._rename(path, edit.new_path)
        elif not edit.before.strip():
            self._create(path, edit)
        else:
            self._replace(path, edit)

    def _text(self, path: str) -> str | None:
        """A file as it stands after the edits so far; None if there is none."""
        if path in self.edited.written:
            return self.edited.written[path]
        if path in self._whole:
            return self._whole[path]
        return None if path in self.edited.deleted else self._old.get(path)

    def _only_place(self, edit: Edit) -> str:
        """The one file that an edit without a path fits."""
        paths = dict.fromkeys([*self._near, *self._whole, *self.edited.written])
        places = _places({path: self._text(path) for path in paths}, edit)
        if len(places) != 1:
            where = f"; it fits {', '.join(places[:5])}" if places else ""
            raise UnreadableAnswer(
                f"a SEARCH/REPLACE block or diff names no file{where}: write the path above it"
            )
        return places[0]

    def _delete(self, path: str) -> None:
        self.edited.written.pop(path, None)
        self.edited.deleted.append(path)

    def _rename(self, path: str, new: str) -> None:
        text = self._text(path)
        if text is None:
            if path in self.edited.deleted or self._text(new) is not None:
                self.edited.notes.append(f"{path} is {new} already")
                return
            raise UnreadableAnswer(f"'{path}' cannot be renamed to '{new}': there is no such text file")
        exists = new in self._old and new not in (*self._freed, *self.edited.deleted)
        if exists or new in self.edited.written:
            raise UnreadableAnswer(
                f"'{path}' cannot be renamed to '{new}': that file exists; choose another name, or write "
                f"`DELETE {new}` on a line of its own"
            )
        self._delete(path)
        self.edited.renamed[path] = new
        self.edited.written[new] = self._whole.get(new, text)
        self._moved[new] = self._moved.pop(path, [])

    def _create(self, path: str, edit: Edit) -> None:
        text = self._text(path) or ""
        if text.strip() and text.rstrip() != edit.after.rstrip():
            what = (
                f"'{path}' cannot be created" if edit.creates else f"the empty edit of '{path}' does not fit"
            )
            raise UnreadableAnswer(
                f"{what}: the file exists; quote the lines that change, or write the whole file in a block"
            )
        if text.strip():
            self.edited.notes.append(f"{path} exists already, with the same text")
        self.edited.written[path] = text if text.strip() else edit.after

    def _replace(self, path: str, edit: Edit) -> None:
        text = self._text(path)
        if text is not None and edit.before == edit.after:
            self.edited.notes.append(f"an edit of {path} changes nothing")
            self.edited.written[path] = text
            return
        if text is None:
            raise UnreadableAnswer(
                f"the edit of '{path}' cannot be applied: there is no such file{self._of_that_name(path)}; "
                "write it whole"
            )
        lines = lines_of(text)
        file, expected = FileLines(lines), self._expected(path, edit)
        try:
            place = _place(file, edit, expected, counts_right=self._off.get(path) == {False})
            change = change_at(file, edit, place) if place else None
        except Misfit as misfit:
            raise _refusal(path, text, edit, misfit) from misfit
        self.edited.written[path] = text
        if place is None or change is None:
            self.edited.notes.append(f"{path} has the edit of {edit.first_words!r} already")
            return
        if place.apart_from:
            self.edited.notes.append(f"{path}:{change.start + 1} fits apart from {place.apart_from}")
        self.edited.written[path] = _with(text, lines, change)
        if edit.line:
            self._off.setdefault(path, set()).add(change.start != expected)
        self._moved.setdefault(path, []).append(
            (change.start, len(change.lines) - (change.stop - change.start))
        )

    def _of_that_name(self, path: str) -> str:
        name = path.rpartition("/")[2]
        found = [known for known in self._old if known == name or known.endswith(f"/{name}")]
        return f", only {first_names(found)}" if found else ""

    def _expected(self, path: str, edit: Edit) -> int:
        """The line, from 0, at which an edit's lines now begin if its diff counts right."""
        if not edit.line:
            return -1
        line = edit.line - 1
        for start, more in self._moved.get(path, []):
            line += more if start <= line else 0
        return line


def fits_once(edit: Edit, near: Iterable[str], old: Mapping[str, str]) -> bool:
    """Whether an edit without a path has a place in one of the files that are near."""
    return len(_places({path: old[path] for path in near}, edit)) == 1


def _places(texts: Mapping[str, str | None], edit: Edit) -> list[str]:
    """The files in which an edit has a place, or several.

    Where its lines stand in a file apart from blanks, files that are only like them do not count.
    """
    likeness = {path: _likeness(text, edit) for path, text in texts.items()}
    best = max(likeness.values(), default=0)
    return [path for path, value in likeness.items() if value == best > 0]


def _likeness(text: str | None, edit: Edit) -> int:
    """How an edit fits a file: 2 if its lines stand there apart from blanks, 1 if they are alike; else 0."""
    if text is None or not edit.before.strip():
        return 0
    try:
        place = place_of(FileLines(lines_of(text)), edit)
    except Misfit as misfit:
        return 2 * misfit.several
    return 2 if place.apart_from in ("", "blanks") else 1


def _place(file: FileLines, edit: Edit, expected: int, *, counts_right: bool) -> Place | None:
    """Where an edit fits; None if its result is there already."""
    try:
        place = place_of(file, edit, expected, counts_right=counts_right)
    except Misfit as misfit:
        if not misfit.several and is_there(file, edit):
            return None
        raise
    return None if is_there(file, edit, place) else place


def _with(text: str, lines: list[str], change: Change) -> str:
    """A text after a change. A file without a final line end keeps its last line that way."""
    new = [*lines[: change.start], *change.lines, *lines[change.stop :]]
    ends = text.endswith("\n") or new[-1:] != lines[-1:]
    return "\n".join(new) + "\n" * bool(ends and new)


def _refusal(path: str, text: str, edit: Edit, misfit: Misfit) -> UnreadableAnswer:
    what = f"the edit of '{path}' that begins with {edit.first_words!r} {misfit}"
    if misfit.several:
        return UnreadableAnswer(
            f"{what}: quote more lines above or below, so that they stand there only once, "
            "or write the whole file"
        )
    nearest = nearest_lines(text, edit.before)
    return UnreadableAnswer(
        f"{what}; {_WHOLE}", f"The nearest lines of '{path}':\n{nearest}" if nearest else ""
    )
