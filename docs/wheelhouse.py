"""Collects every wheel that an installation needs, for a machine without a network: `make wheelhouse`.

The versions are those of the lock files, and every file is compared with the hashes in them. The result is a
folder with the wheels, `requirements.txt` (versions and hashes) and `install.sh`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-vector-stores.txt")
INSTALL = """\
#!/bin/sh
# Installs swarm_graph from this folder, without a network: sh install.sh [FOLDER] (default: .venv).
# PYTHON=/path/to/python3 names another Python.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-.venv}
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \\
    --no-index --find-links "$here/wheels" --require-hashes --requirement "$here/requirements.txt"
"$venv/bin/swarm-graph" --version
echo "try it: $venv/bin/swarm-graph run 'Create a FIFO queue' --simulate --workflow full"
"""


def main() -> None:
    options = _options()
    wheels = _empty(options.folder) / "wheels"
    wheels.mkdir(parents=True)
    own = _own_wheel(wheels)
    _download(own, options, wheels)
    found = sorted(wheels.iterdir())
    _check([wheel for wheel in found if wheel != own])
    (options.folder / "requirements.txt").write_text("".join(map(_pin, found)), encoding="utf-8")
    (options.folder / "install.sh").write_text(INSTALL, encoding="utf-8")
    size = sum(wheel.stat().st_size for wheel in found) / 1e6
    print(f"{options.folder}: {len(found)} wheels, {size:.0f} MB; copy it and run: sh install.sh")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="replaced by the new wheelhouse")
    parser.add_argument("--extras", default="", help="names separated by commas, as in draw,sandbox")
    parser.add_argument(
        "--platform", default="", help="as in manylinux_2_28_aarch64; default: this machine's"
    )
    parser.add_argument("--python-version", default="", help="as in 3.12; default: this Python's")
    return parser.parse_args()


def _empty(folder: Path) -> Path:
    """Remove an older wheelhouse; exit if the folder holds anything else."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} - {
        "wheels",
        "requirements.txt",
        "install.sh",
    }:
        sys.exit(f"'{folder}' holds other files; name a new folder: make wheelhouse WHEELHOUSE=FOLDER")
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _own_wheel(wheels: Path) -> Path:
    """Build our wheel in a new folder: `build/lib` may hold modules that have been removed since."""
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels))
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "setup.cfg"
        settings.write_text(f"[build]\nbuild_base = {folder}\n", encoding="utf-8")
        _pip("wheel", *options, str(ROOT), DIST_EXTRA_CONFIG=str(settings))
    return next(wheels.glob("swarm_graph-*.whl"))


def _download(own: Path, options: argparse.Namespace, wheels: Path) -> None:
    """Download what our wheel with its extras needs, in the locked versions."""
    constraints = wheels.parent / "constraints.txt"
    constraints.write_text("\n".join(_locked_versions()), encoding="utf-8")
    target = [f"--platform={platform}" for platform in _with_older(options.platform)]
    target += ["--python-version", options.python_version] if options.python_version else []
    needed = f"swarm-graph[{options.extras}] @ {own.resolve().as_uri()}"
    _pip("download", "--only-binary=:all:", "--dest", str(wheels), "-c", str(constraints), *target, needed)
    constraints.unlink()


def _with_older(platform: str) -> list[str]:
    """A platform with the older ones whose wheels run on it: pip takes only those that are named."""
    glibc = re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform)
    if not glibc:
        return [platform] if platform else []
    older = [f"manylinux_2_{minor}_{glibc[2]}" for minor in range(int(glibc[1]), 4, -1)]
    return [*older, f"manylinux2014_{glibc[2]}"]


def _locked_versions() -> list[str]:
    """List `name==version; marker` for every package of the lock files, which hold all extras together."""
    locks = "".join((ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS[1:])
    return list(dict.fromkeys(re.findall(r"^(\S+==[^\\\n]+?)\s*\\?$", locks, re.MULTILINE)))


def _check(wheels: list[Path]) -> None:
    """Exit if a wheel is not one of the lock files."""
    known = "".join((ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS)
    if strange := [wheel.name for wheel in wheels if f"sha256:{_hash(wheel)}" not in known]:
        sys.exit(f"not the files of the lock: {', '.join(strange)}; `make lock` pins the newest versions")


def _pin(wheel: Path) -> str:
    """A line of requirements.txt: the exact version and file."""
    name, version, *_ = wheel.name.split("-")
    return f"{name}=={version} --hash=sha256:{_hash(wheel)}\n"


def _hash(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _pip(*arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if failed := subprocess.run(command, env=os.environ | environment, check=False).returncode:
        sys.exit(failed)


if __name__ == "__main__":
    main()
