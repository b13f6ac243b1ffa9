"""What a session was made from, and what of it was edited since: prompts, input files, task files.

The catalogue keeps a hash of each, and the text of the prompts. A resume compares them with what lies there
now. An edit matters when finished work rests on what it changed: then a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

from swarm_graph.checkpoints.catalogue import PLACES, Catalogue
from swarm_graph.checkpoints.locks import lock_session
from swarm_graph.checkpoints.places import Places, is_below
from swarm_graph.checkpoints.records import Session, Source, TaskFileKind
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.prompts import template
from swarm_graph.roles.registry import Roles, role_source
from swarm_graph.roles.role_node import RoleNode
from swarm_graph.state import TaskStatus
from swarm_graph.tasks.file_texts import refuse_files_outside
from swarm_graph.tasks.files import read_tasks
from swarm_graph.tasks.prompting import prompt_names
from swarm_graph.tasks.spec import TaskSpec, task_specs, with_paths
from swarm_graph.text import first_names, format_count
from swarm_graph.workflows.builder import GraphBuilder


@dataclass(frozen=True)
class Edit:
    """Something that was edited since a session began.

    Attributes:
        source: What was recorded of it.
        file: The file, where it lies now.
        tasks: The finished tasks that rest on it.
        now: What to record of it from now on.
    """

    source: Source
    file: str
    tasks: list[str]
    now: Source

    @property
    def is_open(self) -> bool:
        """Whether a person has to decide. The tasks are never read again without a decision."""
        return bool(self.tasks) or self.source.kind in ("tasks", "rows")


@dataclass(frozen=True)
class Edits:
    """What was edited since a session began."""

    all: list[Edit]

    @property
    def open(self) -> list[Edit]:
        """The edits about which a person has to decide."""
        return [edit for edit in self.all if edit.is_open]

    @property
    def question(self) -> str:
        """What a person has to decide; empty if nothing."""
        if not self.open:
            return ""
        names = _names(edit.file for edit in self.open)
        tasks = {task for edit in self.open for task in edit.tasks}
        number = "1 finished task rests" if len(tasks) == 1 else f"{len(tasks)} finished tasks rest"
        rests = f", and {number} on what was there before" if tasks else ""
        return f"edited since the session began: {names}{rests}"

    @property
    def note(self) -> str:
        """What is used as it is now, because no finished work rests on it; empty if nothing is."""
        names = [edit.file for edit in self.all if not edit.is_open]
        return f"edited since the session began, and used as it is now: {_names(names)}" if names else ""


def _names(files: Iterable[str]) -> str:
    """The names of files in quotes, each once, the first few in full."""
    return first_names([f"'{name}'" for name in dict.fromkeys(files)])


# --- when a session begins -----------------------------------------------------------------------


def new_sources(
    builder: GraphBuilder, specs: Sequence[TaskSpec], made_from: Sequence[Source], places: Places
) -> list[Source]:
    """What a new request is made from.

    Args:
        builder: The graph.
        specs: The tasks of a custom workflow, with their paths as the session records them.
        made_from: The task files or tables that the tasks came from.
        places: Where the files of the session lie now.
    """
    nodes = [node.runnable for node in builder.nodes.values()]
    names = [name for node in nodes if isinstance(node, RoleNode) for name in node.prompt_names]
    recalled_by = builder.bindings.recalled_by
    names += [
        name for spec in specs for name in prompt_names(spec, recalls=bool(recalled_by(spec.assigned_role)))
    ]
    if any(builder.bindings.has_tools(spec.assigned_role) for spec in specs):
        names += template.OF_TOOLS
    roles = builder.bindings.roles
    known = [
        name for name in dict.fromkeys(names) if not name.startswith(role_source("")) or name in roles.files
    ]
    inputs = dict.fromkeys(name for spec in specs for name in spec.files)
    return [
        *(_prompt(name, roles.prompt_text(_path(name, places))) for name in known),
        *(Source("input", name, hash_of(places.input_file(name))) for name in inputs),
        *made_from,
    ]


def source_file(kind: TaskFileKind, file: str) -> Source:
    """The source of a task file, or of a table with the rows of a batch."""
    path = str(Path(file).absolute())
    return Source(kind, path, hash_of(path))


def _path(name: str, places: Places) -> str:
    """Where a prompt lies now, if it is a file of its own; else its name."""
    return places.present(name) if template.is_path(name) else name


def _prompt(name: str, text: str) -> Source:
    return Source("prompt", name, _hash(text.encode()), text)


def hash_of(path: str) -> str:
    """The hash of a file; empty if it is no file or cannot be read: its task says why."""
    try:
        if not Path(path).is_file():  # a pipe or a device would be read without an end
            return ""
        with Path(path).open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()


# --- when a session is resumed -------------------------------------------------------------------


def find_edits(catalogue: Catalogue, session: Session, config: SwarmConfig) -> Edits:
    """What was edited since a session began.

    Prompts of another folder than the one that it began with are not edited: that setting has changed. What
    a session of somebody else names outside of the current folder is not looked at: it may be any file.

    Args:
        catalogue: The catalogue of the session's database.
        session: The session.
        config: The configuration to resume with.
    """
    places, users = catalogue.places(session.session), _users(catalogue, session)
    own, here = is_own(catalogue, session), Path.cwd()
    roles = Roles(config.with_kind(session.kind))
    same_folder = config.prompts_dir == session.config.get("prompts_dir")
    edits = []
    for source in catalogue.sources(session.session):
        file = _file_of(source, places)
        if source.kind in PLACES or (file and not own and not is_below(file, here)):
            continue
        edit = None
        if source.kind != "prompt":
            edit = _edited_file(source, file)
        elif file or same_folder:
            edit = _edited_prompt(source, file or source.name, roles)
        if edit:
            edits.append(replace(edit, tasks=users.get((source.kind, source.name), [])))
    return Edits(edits)


def _file_of(source: Source, places: Places) -> str:
    """Where the file of a source lies now; empty if it is a prompt with a name, or a place."""
    if source.kind == "input":
        return places.input_file(source.name)
    is_file = source.kind in ("tasks", "rows") or (source.kind == "prompt" and template.is_path(source.name))
    return places.present(source.name) if is_file else ""


def _edited_prompt(source: Source, path: str, roles: Roles) -> Edit | None:
    """The edit of a prompt, by its name or its file; one that is gone counts as edited."""
    try:
        text = roles.prompt_text(path)
    except ConfigError:
        text = ""
    if text == source.text:
        return None
    return Edit(source, roles.prompt_file(path), [], _prompt(source.name, text))


def _edited_file(source: Source, path: str) -> Edit | None:
    """The edit of a file; one that is gone counts as none: a task that needs it says so."""
    content = hash_of(path)
    is_edited = source.sha256 and content and content != source.sha256
    return Edit(source, path, [], source._replace(sha256=content)) if is_edited else None


def _users(catalogue: Catalogue, session: Session) -> dict[tuple[str, str], list[str]]:
    """The finished tasks that rest on each source, by its kind and name."""
    request = catalogue.request(session.session) or {}
    specs = {spec.task_id: spec for spec in task_specs(request.get("tasks", ()))}
    users: dict[tuple[str, str], list[str]] = {}
    for task in catalogue.tasks(session.session):
        if task["status"] != TaskStatus.COMPLETED:
            continue
        for source in _sources_of(task, specs.get(task["task_id"])):
            users.setdefault(source, []).append(task["task_id"])
    return users


def _sources_of(task: Mapping[str, Any], spec: TaskSpec | None) -> list[tuple[str, str]]:
    """The kinds and names of what a finished task rests on."""
    if spec is not None:
        names, files = prompt_names(spec), spec.files
    else:  # the task of a built-in workflow, or one that another task added
        focus = "review_general" if task["node"] == "reviewer" else task["node"]
        names = [task["role"], role_source(task["role"]), focus]
        names += [template.PREAMBLE, template.REPAIR, template.TYPED]
        files = []
    names += [template.RECALL, *template.OF_TOOLS]  # recorded only where the role recalls, or has tools
    return [*(("prompt", name) for name in names), *(("input", name) for name in files)]


def check_decided(session: Session, edits: Edits, is_decided: bool) -> None:
    """Raises InputError when a person has to decide how a session goes on after edits, and has not."""
    if edits.question and not is_decided:
        rows = any(edit.source.kind == "rows" for edit in edits.open)
        other = (
            "begin a new batch with it"
            if rows
            else "with --anew (anew=True) to ask again what depended on it"
        )
        raise InputError(
            f"{edits.question}; resume {session.session} with --as-before (in Python as_before=True) to go "
            f"on with what was recorded, or {other}"
        )


def recorded_texts(catalogue: Catalogue, session_id: str) -> dict[str, str]:
    """The texts of the prompts that a session began with, by name."""
    sources = catalogue.sources(session_id)
    return {source.name: source.text for source in sources if source.kind == "prompt"}


def updated_sources(catalogue: Catalogue, session: Session, edits: Edits) -> list[Source] | None:
    """What to record after edits on which no finished work rests; None if there are none."""
    if not edits.all:
        return None
    now = {(edit.source.kind, edit.source.name): edit.now for edit in edits.all}
    recorded = [source for source in catalogue.sources(session.session) if source.kind not in PLACES]
    return [now.get((source.kind, source.name), source) for source in recorded]


class Anew(NamedTuple):
    """A request that begins anew.

    Attributes:
        request: The request; its tasks have their paths as the session records them.
        specs: Its tasks.
        made_from: The task files that its tasks came from, as they are now.
    """

    request: dict[str, Any]
    specs: list[TaskSpec]
    made_from: list[Source]


def request_anew(catalogue: Catalogue, session: Session, edits: Edits, roles: Collection[str]) -> Anew:
    """The latest request of a session, with the tasks of its task file if that was edited.

    Args:
        catalogue: The catalogue of the session's database.
        session: The session.
        edits: What was edited.
        roles: The names of all roles.

    Raises:
        InputError: It is not recorded, its rows cannot be read again, or somebody else began the session and
            its tasks name files outside of the current folder.
    """
    request = catalogue.request(session.session)
    if request is None:
        raise InputError(
            f"session '{session.session}' has no request of its own to begin anew: it is a fork, or an older "
            "version began it; resume it with --as-before (in Python as_before=True)"
        )
    specs, places = task_specs(request.get("tasks", ())), catalogue.places(session.session)
    for edit in edits.all:
        if edit.source.kind == "rows":
            raise InputError(
                f"--anew (in Python anew=True) cannot read the rows of '{edit.file}' again; begin a new "
                "batch with it"
            )
        if edit.source.kind == "tasks":
            specs = [with_paths(spec, places.recorded) for spec in read_tasks(edit.file, roles)[1]]
    for spec in () if is_own(catalogue, session) else specs:
        refuse_files_outside(spec, Path.cwd(), places)
    if specs:
        request["tasks"] = [spec.to_dict() for spec in specs]
    sources = updated_sources(catalogue, session, edits) or catalogue.sources(session.session)
    return Anew(request, specs, [source for source in sources if source.kind in ("tasks", "rows")])


# --- where the inputs lie ------------------------------------------------------------------------


def move_inputs(catalogue: Catalogue, session: Session, folder: str | Path) -> None:
    """Record where the input files of a session lie now.

    Raises:
        InputError: The folder does not exist, or lacks files that unfinished tasks need.
        SessionInUse: Another process or thread runs the session.
    """
    if not Path(folder).is_dir():
        raise InputError(
            f"'{folder}' is not a folder; --inputs (in Python inputs) names the folder that now holds the "
            "inputs"
        )
    with lock_session(catalogue, session.session):
        before = catalogue.places(session.session).inputs
        catalogue.put_inputs_folder(session.session, str(Path(folder).absolute()))
        if missing := _missing_inputs(catalogue, session):
            catalogue.put_inputs_folder(session.session, before)
            raise InputError(
                f"'{folder}' lacks {format_count(len(missing), 'input file')} of unfinished tasks: "
                f"{_names(missing)}; name the folder that holds all of them"
            )


def _missing_inputs(catalogue: Catalogue, session: Session) -> list[str]:
    places = catalogue.places(session.session)
    finished = {
        task["task_id"] for task in catalogue.tasks(session.session) if task["status"] == TaskStatus.COMPLETED
    }
    request = catalogue.request(session.session) or {}
    unfinished = (spec for spec in task_specs(request.get("tasks", ())) if spec.task_id not in finished)
    files = (name for spec in unfinished for name in spec.files)
    return [Path(name).name for name in files if not Path(places.input_file(name)).is_file()]
