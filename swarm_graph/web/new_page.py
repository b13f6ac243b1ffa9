"""The form that starts a session, and follow-ups."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.records import new_session_id
from swarm_graph.config import SwarmConfig, repository_settings
from swarm_graph.errors import ConfigError, InputError, RepositoryError, SwarmError
from swarm_graph.sessions.coordinator import SwarmCoordinator
from swarm_graph.sessions.ids import get_session, validated_session_id
from swarm_graph.sessions.input_files import WholeRequest, file_in, files_in, with_inputs
from swarm_graph.state import CHANGE, DOCUMENT, KINDS, WORKFLOWS, Kind, OwnWorkflow, SwarmResult, has_ended
from swarm_graph.tasks.files import received_tasks
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.text import format_count
from swarm_graph.web.actions import to_session
from swarm_graph.web.pages import change, page, respond
from swarm_graph.web.sessions_here import begin
from swarm_graph.web.settings import PageSettings
from swarm_graph.web.site import site_of
from swarm_graph.web.uploads import kept

WORKFLOW_LINES = {
    "standard": "clarify, design, code and review, in rounds until the reviewers approve",
    "full": "standard with security, tests that run, a debugger, an optimizer and documentation",
    "review_only": "reviewers judge the code or text in the request, or a range of commits",
    "single": "one coder, without design and review: what a model does alone",
    "custom": "a graph of your own tasks, from a task file",
}
"""What each workflow does, in a line."""
KIND_LINES: Mapping[Kind, str] = {
    "code": "code",
    "document": "a document, such as a procedure",
    "change": "a change of a repository",
}
"""What each kind is."""
FOLDED = ("tasks", "repository", "base", "only", "diff", "rounds", "session", "follow_up")
"""The fields that are folded away until somebody needs them."""
MAX_ROUNDS = 100
MAX_REQUEST_CHARACTERS = 1_000_000
MAX_LISTED_FILES = 200
"""Files of the operator's folder that the form lists at once."""
MAX_VISITED_FILES = 20_000
"""Files of the operator's folder that are looked at."""


class Refusal(InputError):
    """A field of the form cannot be used.

    Attributes:
        field: The name of the field.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@contextmanager
def about(field: str) -> Iterator[None]:
    """What is refused inside is about this field."""
    try:
        yield
    except Refusal:
        raise
    except SwarmError as error:
        raise Refusal(field, str(error)) from error


class NewSession(NamedTuple):
    """What the form asks for, checked.

    Attributes:
        session_id: The id of the session.
        follow_up: Whether the session exists, and is asked for more.
        workflow: The workflow.
        request: The request, with its input files.
        tasks: The tasks of a task graph.
        kind: What the session makes; None leaves it to the configuration.
        config: The configuration.
        origin: The file of the configuration.
        remarks: What was assumed or left out.
    """

    session_id: str
    follow_up: bool
    workflow: str
    request: str
    tasks: Sequence[TaskSpec]
    kind: Kind | None
    config: SwarmConfig
    origin: str
    remarks: Sequence[str]

    async def work(self, coordinator: SwarmCoordinator) -> SwarmResult:
        """Run it."""
        for spec in self.tasks:
            coordinator.add_task(spec)
        return await coordinator.arun_workflow(
            self.request,
            OwnWorkflow(self.workflow),
            session_id=self.session_id,
            follow_up=self.follow_up,
            kind=self.kind,
        )


class FolderFiles(NamedTuple):
    """Files of the operator's folder.

    Attributes:
        names: The first that match, in order.
        total: How many match.
        is_cut: Whether the folder has more files than are looked at.
    """

    names: list[str]
    total: int
    is_cut: bool


# --- the form ------------------------------------------------------------------------------------


async def show_new(request: Request) -> Response:
    """The form; `?follow_up=ID` fills in the session that is asked for more."""
    given = {name: request.query_params.get(name, "") for name in ("follow_up", "workflow", "request")}
    return await _form(request, given, [])


async def _form(
    request: Request,
    given: Mapping[str, str],
    chosen: Sequence[str],
    refusal: SwarmError | None = None,
    status: int = 200,
) -> Response:
    settings, wrong = site_of(request).settings, _field_of(refusal)
    files = None
    if settings.folder:
        files = await asyncio.to_thread(_folder_files, settings.folder, given.get("find", "").strip())
    return respond(
        request,
        "new.html",
        status,
        given=given,
        chosen=chosen,
        problem="" if refusal is None else str(refusal),
        wrong=wrong,
        is_unfolded=wrong in FOLDED or any(map(given.get, FOLDED)) or given.get("workflow") == "custom",
        workflows=_workflows(settings),
        kinds=KIND_LINES,
        has_model=any(_models(config) for config in settings.configs.values()),
        configs=[_shown_config(name, config) for name, config in settings.configs.items()],
        repositories=[str(path) for path in settings.repositories],
        files=files,
        max_rounds=MAX_ROUNDS,
    )


def _workflows(settings: PageSettings) -> dict[str, str]:
    own = {name: place for config in settings.configs.values() for name, place in config.workflows.items()}
    return {**WORKFLOW_LINES, **{name: f"a workflow of your own: {place}" for name, place in own.items()}}


def _field_of(refusal: SwarmError | None) -> str:
    """The field that a refusal is about; empty if it is about none."""
    if isinstance(refusal, RepositoryError):
        return "repository"
    return refusal.field if isinstance(refusal, Refusal) else ""


def _models(config: SwarmConfig) -> dict[str, list[str]]:
    """The models of a configuration, each with its roles. A file has its name, without its folder."""
    models: dict[str, list[str]] = {}
    for role in config.role_names:
        try:
            names = [entry.model for entry in config.models_for(role)]
        except ConfigError:
            continue
        for name in names:
            models.setdefault(Path(name).name if name.endswith(".gguf") else name, []).append(str(role))
    return models


def _shown_config(name: str, config: SwarmConfig) -> tuple[str, str, str]:
    """A configuration for the form: its value, its name, and its models."""
    models = _models(config)
    shown = [
        model if len(models) == 1 else f"{model} ({', '.join(roles)})" for model, roles in models.items()
    ]
    return name, Path(name).name or "the settings of the command line", "; ".join(shown) or "no model"


def _folder_files(folder: Path, text: str) -> FolderFiles:
    """The files of the operator's folder whose path contains a text; hidden ones are left out."""
    found, visited = list[str](), 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in shown]
        visited += len(names)
        if visited > MAX_VISITED_FILES:
            break
    matching = [name for name in found if text.lower() in name.lower()]
    return FolderFiles(matching[:MAX_LISTED_FILES], len(matching), visited > MAX_VISITED_FILES)


# --- a new session -------------------------------------------------------------------------------


async def start(request: Request, form: FormData) -> Response:
    """Start what the form asks for; what cannot be used comes back beside its field."""
    site = site_of(request)
    given = {name: value for name, value in form.items() if isinstance(value, str)}
    chosen = [name for name in form.getlist("inputs") if isinstance(name, str) and name]
    if given.get("do") == "find":
        return await _form(request, given, chosen)
    try:
        uploads = {name: _files_of(form, name) for name in ("uploads", "tasks")}
        new = await asyncio.to_thread(_checked, site.settings, given, chosen, uploads)
        await begin(site, new.session_id, new.work, new.config, new.origin)
    except SwarmError as error:
        return await _form(request, given, chosen, error, 400)
    site.remarks.put(new.session_id, new.remarks)
    return to_session(new.session_id, "started")


def _files_of(form: FormData, name: str) -> list[UploadFile]:
    return [one for one in form.getlist(name) if isinstance(one, UploadFile) and one.filename]


def _checked(
    settings: PageSettings,
    given: Mapping[str, str],
    chosen: Sequence[str],
    uploads: Mapping[str, Sequence[UploadFile]],
) -> NewSession:
    """What the form asks for. Raises Refusal for the first field that cannot be used."""
    origin = given.get("config", next(iter(settings.configs)))
    if origin not in settings.configs:
        raise Refusal("config", "this page has no such configuration; choose one of the list")
    config = _with_rounds(settings.configs[origin], given.get("rounds", ""))
    workflow = given.get("workflow") or "standard"
    if workflow not in (*WORKFLOWS, *config.workflows):
        raise Refusal("workflow", f"the configuration has no workflow '{workflow}'; choose another one")
    session_id, follow_up = _session_id(settings, given)
    kind = _kind(given.get("kind", ""))
    with about("repository"):
        config = _with_repository(settings, config, given)
    if kind == CHANGE and config.repo is None:
        offer = "choose one below" if settings.repositories else "start the page with --repo DIR"
        raise Refusal("kind", f"a change needs a repository; {offer}, or choose something else to make")
    is_code = (kind or config.workflow.kind) != DOCUMENT
    whole, tasks = _request(settings, config, given, chosen, uploads, workflow, is_code=is_code)
    remarks = [*whole.notes, *_left_out(settings, config)]
    return NewSession(session_id, follow_up, workflow, whole.request, tasks, kind, config, origin, remarks)


def _with_rounds(config: SwarmConfig, rounds: str) -> SwarmConfig:
    if not rounds.strip():
        return config
    number = int(rounds) if rounds.strip().isdecimal() and len(rounds) < 9 else 0
    if not 1 <= number <= MAX_ROUNDS:
        raise Refusal("rounds", f"expected a number of rounds from 1 to {MAX_ROUNDS}")
    workflow = config.workflow.model_copy(update={"max_iterations": number})
    return config.model_copy(update={"workflow": workflow})


def _session_id(settings: PageSettings, given: Mapping[str, str]) -> tuple[str, bool]:
    """The id of the session, and whether it exists already and is asked for more."""
    name, followed = given.get("session", "").strip(), given.get("follow_up", "").strip()
    if followed:
        with about("follow_up"):
            session = get_session(settings.data_dir, followed, settings.place)
            if session is None:
                raise InputError(f"there is no session {followed[:80]!r} to follow up")
            if not has_ended(session.phase):
                raise InputError(f"session '{followed}' has not ended ({session.phase}); resume it first")
            if name not in ("", followed):
                raise InputError("a follow-up goes on in its session; leave the id of a new session out")
        return followed, True
    with about("session"):
        session_id = validated_session_id(name) if name else new_session_id()
        if get_session(settings.data_dir, session_id, settings.place):
            raise InputError(f"session '{session_id}' exists; choose another id, or follow it up")
    return session_id, False


def _kind(given: str) -> Kind | None:
    if not given:
        return None
    found = next((kind for kind in KINDS if kind == given), None)
    if found is None:
        raise Refusal("kind", f"unknown kind; expected one of {', '.join(KINDS)}")
    return found


def _with_repository(settings: PageSettings, config: SwarmConfig, given: Mapping[str, str]) -> SwarmConfig:
    """The configuration with the repository that the form names."""
    chosen = given.get("repository", "")
    fields = {
        "base": given.get("base", "").strip(),
        "only": given.get("only", "").split(),
        "diff": given.get("diff", "").strip(),
    }
    named = {name: value for name, value in fields.items() if value}
    if not chosen:
        if named and config.repo is None:
            raise InputError("commit, paths and range need a repository; choose one, or leave them empty")
        if named and config.repo:
            return config.with_repo(config.repo.model_copy(update=named))
        return config
    if chosen not in map(str, settings.repositories):
        raise InputError("this page has no such repository; choose one of the list")
    repo = repository_settings({"path": chosen, **named})
    assert repo is not None
    return config.with_repo(repo)


def _request(
    settings: PageSettings,
    config: SwarmConfig,
    given: Mapping[str, str],
    chosen: Sequence[str],
    uploads: Mapping[str, Sequence[UploadFile]],
    workflow: str,
    *,
    is_code: bool,
) -> tuple[WholeRequest, list[TaskSpec]]:
    """The request with its input files, and the tasks of a task graph."""
    text = given.get("request", "").replace("\r\n", "\n")
    if len(text) > MAX_REQUEST_CHARACTERS:
        raise Refusal(
            "request", f"the request has {len(text):,} characters; at most {MAX_REQUEST_CHARACTERS:,}"
        )
    max_bytes = int(config.documents.max_megabytes * 1e6)
    tasks: list[TaskSpec] = []
    if workflow == "custom" or uploads["tasks"]:
        with about("tasks"):
            in_file, tasks = _tasks(settings, config, uploads["tasks"], workflow, max_bytes)
        text = text if text.strip() else in_file
    with about("uploads"), kept(uploads["uploads"], max_bytes) as sent:
        with about("inputs"):
            files = files_in(settings.folder, chosen)
        whole = with_inputs(text, [*files, *sent], config.documents, is_code=is_code)
    if not whole.request and given.get("diff"):
        whole = whole._replace(request=f"Review the change {given['diff'].strip()}")
    if not whole.request and not tasks:
        raise Refusal("request", "the request is empty; say what to build, write or review")
    return whole, tasks


def _left_out(settings: PageSettings, config: SwarmConfig) -> list[str]:
    """What a session leaves out of its repository: uncommitted changes."""
    if config.repo is None or config.repo.with_changes or config.repo.diff:
        return []
    from swarm_graph.repository.worktree import is_dirty  # most sessions need no git
    from swarm_graph.workflows.repository import open_repository

    with about("repository"):
        changed = is_dirty(open_repository(config.repo.path), [settings.data_dir, settings.output_dir])
    count = format_count(len(changed), "uncommitted change")
    return [f"The session leaves out your {count}."] if changed else []


def _tasks(
    settings: PageSettings,
    config: SwarmConfig,
    uploads: Sequence[UploadFile],
    workflow: str,
    max_bytes: int,
) -> tuple[str, list[TaskSpec]]:
    if not uploads:
        raise InputError("the workflow custom needs a task file: .yaml, .json or .csv")
    if workflow != "custom":
        raise InputError(f"a task file goes with the workflow custom, not with '{workflow}'")
    with kept(uploads[:1], max_bytes) as (sent,):
        try:
            return received_tasks(sent.file, config.role_names, lambda name: file_in(settings.folder, name))
        except InputError as error:  # it names the file as this machine does
            raise InputError(str(error).replace(str(sent.file), sent.name)) from error


routes = [page("/new", show_new), change("/new", start)]
