"""What an installation takes on disk: a bare environment with the pinned dependencies and our wheel.

    python benchmarks/install_size.py

Counted is site-packages without pip and setuptools, once without byte code and once with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_OURS = (
    "pip",
    "pip-*",
    "setuptools",
    "setuptools-*",
    "_distutils_hack",
    "pkg_resources",
    "distutils-*.pth",
)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "venv", with_pip=True)
        python = str(place / "venv" / "bin" / "python")
        build = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(place),
            str(ROOT),
        ]
        subprocess.run(build, check=True, capture_output=True)
        install = [python, "-m", "pip", "install", "-q", "--no-compile"]
        subprocess.run([*install, "-r", str(ROOT / "requirements.txt")], check=True)
        subprocess.run([*install, "--no-deps", str(next(place.glob("*.whl")))], check=True)
        (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
        for pattern in (*NOT_OURS, "**/__pycache__"):
            for path in list(packages.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        print(f"without byte code: {megabytes(packages):.0f} MB")
        subprocess.run([python, "-m", "compileall", "-q", str(packages)], check=False)
        print(f"with byte code: {megabytes(packages):.0f} MB")


if __name__ == "__main__":
    main()
