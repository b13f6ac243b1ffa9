"""The files of sessions on their way through the database: inputs and repositories there, commits back.

A worker keeps what it receives in its own folder. No path of the submitter is read or written there.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast
from uuid import uuid4

from filelock import FileLock, Timeout

from swarm_graph.checkpoints.places import received_file
from swarm_graph.checkpoints.storage import Storage, session_lock
from swarm_graph.errors import InputError, RepositoryError
from swarm_graph.repository.bundle import new_repository, read_bundle, write_bundle
from swarm_graph.repository.commits import move_branch
from swarm_graph.repository.git import Git
from swarm_graph.sessions.fingerprints import hash_of
from swarm_graph.settings import RepositorySettings
from swarm_graph.state import Repository

Kind = Literal["file", "repository", "commits"]
"""An input file, by its whole path; a bundle with the commits that a session begins at; one with its own."""
PIECE_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20
MAX_SESSION_BYTES = 2 << 30
"""A session's files together. A larger corpus belongs on a file system that the workers share."""
BUNDLE, SHALLOW = "bundle", "shallow"
"""The commits, and git's list of those whose history a shallow clone lacks."""


class InputFile(NamedTuple):
    """An input file of a session.

    Attributes:
        name: Its whole path as the session has recorded it.
        path: Where it lies now.
        sha256: The hash that the session has recorded; empty if it has none.
    """

    name: str
    path: str
    sha256: str


def send_files(database: Storage, session_id: str, files: Iterable[InputFile]) -> None:
    """Put input files into the database that are not there yet.

    One that is missing on this machine is left out, and its task says so. So is one that is another file than
    the session began with.

    Args:
        database: The database.
        session_id: The session.
        files: The files.

    Raises:
        InputError: A file cannot be read, or they are too large.
    """
    found = [file for file in files if Path(file.path).is_file()]
    check_sizes(file.path for file in found)
    known = {*names_of(database, session_id, "file")}
    for name, path, recorded in found:
        if recorded not in ("", hash_of(path)):
            continue
        if name not in known or not _is_stored(database, session_id, "file", name, Path(path)):
            send_file(database, session_id, "file", name, Path(path))


def _is_stored(database: Storage, session_id: str, kind: Kind, name: str, path: Path) -> bool:
    """Whether the database has a file as it is here. The server hashes its pieces, so they stay there."""
    query = (
        "SELECT sha256(data) FROM session_files WHERE session = ? AND kind = ? AND name = ? ORDER BY number"
    )
    with database.view() as cursor:
        stored = [bytes(digest) for (digest,) in cursor.execute(query, (session_id, kind, name))]
    return stored == [sha256(piece).digest() for piece in _pieces(path)]


def _stored(database: Storage, session_id: str, kind: Kind, name: str) -> Iterator[bytes]:
    """The pieces of a file in the database, one at a time; none if it is not there."""
    query = "SELECT data FROM session_files WHERE session = ? AND kind = ? AND name = ? AND number = ?"
    for number in count():
        with database.view() as cursor:
            row = cursor.execute(query, (session_id, kind, name, number)).fetchone()
        if row is None:
            return
        yield bytes(row[0])


def check_sizes(paths: Iterable[str]) -> None:
    """Raises InputError if input files are too large for the database; those that are missing are nothing."""
    total = 0
    for path in map(Path, paths):
        size = path.stat().st_size if path.is_file() else 0
        total += size
        if size > MAX_FILE_BYTES:
            raise InputError(
                f"'{path}' has {size / 1e6:,.0f} MB, and a file for workers may have "
                f"{MAX_FILE_BYTES / 1e6:,.0f} MB; split it"
            )
    if total > MAX_SESSION_BYTES:
        raise InputError(
            f"the files of the session have more than {MAX_SESSION_BYTES / 1e6:,.0f} MB, which is too much "
            "for the database; submit it in parts, or run it on the machine that has the files"
        )


def send_file(database: Storage, session_id: str, kind: Kind, name: str, path: Path) -> None:
    """Put one file into the database, in place of an older one of its name."""
    with database.transaction() as cursor:
        database.check_lock(session_lock(session_id))
        where = (session_id, kind, name)
        cursor.execute("DELETE FROM session_files WHERE session = ? AND kind = ? AND name = ?", where)
        insert = "INSERT INTO session_files (session, kind, name, number, data) VALUES (?, ?, ?, ?, ?)"
        for number, piece in enumerate(_pieces(path)):
            cursor.execute(insert, (*where, number, piece))


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield file.read(PIECE_BYTES)
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise InputError(f"cannot read the input file '{path}': {error.strerror}") from error


def receive_file(database: Storage, session_id: str, kind: Kind, name: str, target: Path) -> bool:
    """Write a file out of the database; False if it is not there."""
    pieces = _stored(database, session_id, kind, name)
    first = next(pieces, None)
    if first is None:
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, delete=False
        ) as file:  # another task may do so, too
            for piece in chain([first], pieces):
                file.write(piece)
        Path(file.name).replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write '{target}', a file of session '{session_id}': {error.strerror}; mend that, "
            "then let the session wait again"
        ) from error
    return True


def send_repository(database: Storage, session_id: str, repo: Repository) -> None:
    """Put the commits at which a session begins into the database, with their history, if they are not there.

    Raises:
        InputError: They are too large, or the repository is not on this machine.
        RepositoryError: Git failed.
    """
    if BUNDLE in names_of(database, session_id, "repository"):
        return
    git = Git(repo["path"])
    if (git.common / SHALLOW).is_file():
        send_file(database, session_id, "repository", SHALLOW, git.common / SHALLOW)
    commits = [commit for commit in (repo["base"], repo["compared_with"]) if commit]
    _send_bundle(database, session_id, "repository", git, commits)


def send_commits(database: Storage, session_id: str, repo: Repository, commit: str) -> None:
    """Put the commits of a session up to one into the database, in place of those that are there.

    Raises:
        RepositoryError: Git failed.
        SessionInUse: The session is another worker's by now.
    """
    if commit != repo["base"]:
        _send_bundle(database, session_id, "commits", Git(repo["path"]), [commit], without=repo["base"])


def _send_bundle(
    database: Storage, session_id: str, kind: Kind, git: Git, commits: list[str], without: str = ""
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, BUNDLE)
        write_bundle(git, commits, file, without)
        if file.stat().st_size > MAX_SESSION_BYTES:
            raise InputError(
                f"the repository '{git.folder}' has {file.stat().st_size / 1e6:,.0f} MB of history, too much "
                "for the database; submit from a shallow clone (`git clone --depth 1`)"
            )
        send_file(database, session_id, kind, BUNDLE, file)


def receive_commits(database: Storage, session_id: str, repo: Repository, commit: str) -> None:
    """Take the commits of a session into a repository, if it lacks them, and let its branch end at one.

    Raises:
        RepositoryError: The database has not that commit, Git failed, or the branch has commits that the
            session did not make.
    """
    git = Git(repo["path"])
    if not has_commit(git, commit):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, BUNDLE)
            if receive_file(database, session_id, "commits", BUNDLE, file):
                read_bundle(git, file)
        if not has_commit(git, commit):
            raise RepositoryError(
                f"the database has no commit {commit[:12]} of session '{session_id}'; `swarm-graph submit "
                f"resume {session_id}` on the machine whose repository has the branch '{repo['branch']}' "
                "sends it"
            )
    move_branch(git, repo["branch"], session_id, to=commit, parent=repo["base"])


def has_commit(git: Git, commit: str) -> bool:
    """Whether a repository has a commit."""
    return git.try_run("cat-file", "-e", f"{commit}^{{commit}}").exit_code == 0


def names_of(database: Storage, session_id: str, kind: Kind) -> list[str]:
    """The names of the files of a kind that a session has in the database."""
    query = "SELECT name FROM session_files WHERE session = ? AND kind = ? AND number = 0 ORDER BY name"
    with database.view() as cursor:
        return [str(name) for (name,) in cursor.execute(query, (session_id, kind))]


def _folder_name(*names: object) -> str:
    """The name of a folder for what has these names. A job may hold any, as the empty one, or a path."""
    return sha256(json.dumps([str(name) for name in names]).encode()).hexdigest()


class ReceivedRepository:
    """What a worker needs on its disk for the job of a session: its repository, and a place for its output.

    Attributes:
        output: The folder for the session's result files.
        repository: The folder of its repository.
    """

    def __init__(self, folder: Path, session_id: str) -> None:
        self._session_id, self._folder = session_id, folder / "sessions" / _folder_name(session_id)
        self.output, self.repository = self._folder / "output", self._folder / "repository"

    def receive(self, database: Storage, state: Mapping[str, Any]) -> None:
        """Write the repository if the session has one, with the commits that its state has."""
        self.output.mkdir(parents=True, exist_ok=True, mode=0o700)
        bundle = self._folder / BUNDLE
        if not receive_file(database, self._session_id, "repository", BUNDLE, bundle):
            return
        git = new_repository(self.repository)
        receive_file(database, self._session_id, "repository", SHALLOW, git.common / SHALLOW)
        read_bundle(git, bundle)
        bundle.unlink()
        if commits := state.get("commits"):
            here = cast("Repository", {**state["repo"], "path": str(self.repository)})
            receive_commits(database, self._session_id, here, commits[-1])

    @property
    def settings(self) -> RepositorySettings | None:
        """The repository as a setting; None if the session has none."""
        return RepositorySettings(path=str(self.repository)) if self.repository.exists() else None

    def remove(self) -> None:
        """Remove what was received and written; the database has what matters."""
        shutil.rmtree(self._folder, ignore_errors=True)


class ReceivedFiles:
    """The input files that a worker has received for tasks of one run of a session.

    Attributes:
        folder: Their folder.
    """

    def __init__(self, folder: Path, session_id: str, run: int) -> None:
        self._session_id = session_id
        self.folder = folder / "files" / _folder_name(session_id, run)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def receive(self, database: Storage, names: Iterable[str], hashes: Mapping[str, str]) -> None:
        """Write files that are not there yet.

        Args:
            database: The database.
            names: Their whole paths, as the session has recorded them.
            hashes: The hashes that the session has recorded.

        Raises:
            InputError: One cannot be written, or is another file than the session began with.
        """
        for name in names:
            target = received_file(self.folder, name)
            if target.exists() or not receive_file(database, self._session_id, "file", name, target):
                continue
            if hashes.get(name, "") not in ("", hash_of(str(target))):
                target.unlink()
                raise InputError(
                    f"the file '{name}' in the database is not the one that session '{self._session_id}' "
                    f"began with; `swarm-graph submit resume {self._session_id}` sends that again"
                )

    def remove(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def own_folder(data_dir: Path) -> Iterator[Path]:
    """A folder for what this worker receives, removed at the end, with what killed workers have left.

    Raises:
        InputError: It cannot be written.
    """
    workers = data_dir.absolute() / "workers"
    lock = FileLock(workers / f"{uuid4().hex}.lock", mode=0o600, thread_local=False)
    try:
        workers.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in workers.glob("*.lock"):
            _remove_if_left(left)
        lock.acquire()
        folder = Path(lock.lock_file).with_suffix("")
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(
            f"cannot write '{workers}', where a worker keeps what it receives: {error.strerror}; mend that, "
            "or name another folder with --data-dir"
        ) from error
    try:
        yield folder
    finally:
        lock.release()
        _remove_if_left(Path(lock.lock_file))


def _remove_if_left(lock_file: Path) -> None:
    """Remove the folder of a worker that does not run any more."""
    with suppress(Timeout), FileLock(lock_file, mode=0o600, thread_local=False).acquire(timeout=0):
        shutil.rmtree(lock_file.with_suffix(""), ignore_errors=True)
        lock_file.unlink(missing_ok=True)
