"""What tests use from registries, installed once, beside the virtual environment where it does not hold it.

What cannot be installed is a skipped test, and a failure in CI.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

NPM = Path(__file__).with_name("npm")
NPM_FILES = [NPM / "package.json", NPM / "package-lock.json"]


def npm_packages() -> Path:
    """The folder `node_modules` with what `npm/package-lock.json` pins."""
    if not shutil.which("npm"):
        lacks("npm")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier"]
    return installed("npm", NPM_FILES, command) / "node_modules"


def installed(kind: str, files: Sequence[Path], command: Sequence[str]) -> Path:
    """The folder in which a command has installed what pinned files name; it runs once for all test runs."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = Path(sys.prefix) / "of-tests" / f"{kind}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            new = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            for file in files:
                shutil.copy(file, new)
            done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False)
            if done.returncode:
                lacks(f"what {files[0].name} pins ({done.stderr.strip()[-300:]})")
            new.rename(folder)
    return folder


def lacks(what: str) -> NoReturn:
    """Skip the test for something that this machine lacks; in CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")
