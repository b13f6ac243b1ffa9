"""The map of a repository, and the files that are chosen for a question.

    python benchmarks/repository.py [--files 10000] [--commits 200] [--repo DIR]

Map: a repository of so many Python files, copies of those that this Python has installed. A first map, one
after a commit that changes ten files, and one of the same commit, each in a process of its own.
Wanted: at most 20 s for the first, about a second for the later ones.

Recall: for commits of this repository, or of another one, which share of the files that a commit changed,
and that existed before, is among the first 5, 10 and 20 that are chosen for its subject. Wanted: 0.54 at 10.
The chooser sees the files and the history before the commit only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from swarm_graph.repository.chooser import rank
from swarm_graph.repository.git import Git
from swarm_graph.repository.repo_map import outlines
from swarm_graph.repository.snapshot import Snapshot

ROOT = Path(__file__).parents[1]
AUTHOR = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
MAX_CHANGED = 12
"""Commits that change more existing files are left out: nobody asks for so much in one line."""
SHOWN = (5, 10, 20)
ONE_MAP = """
import json, resource, sys, time
from pathlib import Path
from swarm_graph.repository.chooser import rank
from swarm_graph.repository.git import Git
from swarm_graph.repository.repo_map import map_text, outlines
from swarm_graph.repository.snapshot import Snapshot
def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
git = Git(sys.argv[1])
wall, before = time.perf_counter(), cpu()
snapshot = Snapshot(git, git.commit_of("HEAD"))
found = outlines(snapshot, Path(sys.argv[2]))
map_text(found, [], 20_000)
mapped, mapped_cpu = time.perf_counter(), cpu()
rank("Fix the retry in the http client when a header is missing", snapshot, found, 20)
print(json.dumps([mapped - wall, mapped_cpu - before, time.perf_counter() - mapped, cpu() - mapped_cpu,
                  resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


class Commit(NamedTuple):
    """A commit to find the files of."""

    parent: str
    subject: str
    changed: set[str]


def installed_files() -> list[Path]:
    """The Python files of this installation, small enough for a map."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "purelib")}
    found = {path for folder in folders for path in Path(folder).rglob("*.py") if path.is_file()}
    return sorted(path for path in found if path.stat().st_size < 1_000_000)


def make_repository(folder: Path, files: int) -> None:
    sources = installed_files()
    for number in range(files):
        source = sources[number % len(sources)]
        path = folder / f"part{number % 97}" / f"{source.parent.name}_{source.stem}_{number}.py"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(source.read_bytes() + f"\n# {number}\n".encode())
    git(folder, "init", "--quiet")
    commit(folder)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, *AUTHOR, "commit", "--quiet", "--message", "Files")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def measure_maps(files: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary) / "project", Path(temporary) / "outlines.db"
        make_repository(folder, files)
        size = sum(path.stat().st_size for path in folder.rglob("*.py")) / 1e6
        print(f"map of {files} Python files, {size:.0f} MB")
        print_map("first", folder, cache)
        for path in sorted(folder.rglob("*.py"))[:10]:
            path.write_text("def changed(): pass\n", encoding="utf-8")
        commit(folder)
        print_map("after a commit of ten files", folder, cache)
        print_map("again", folder, cache)
        print(f"  outlines.db: {cache.stat().st_size / 1e6:.1f} MB")


def print_map(name: str, folder: Path, cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_MAP, folder, cache], check=True, capture_output=True, text=True
    )
    wall, cpu, choosing, choosing_cpu, memory = json.loads(done.stdout)
    choice = f"choosing {choosing:.2f} s (CPU {choosing_cpu:.2f} s)"
    print(f"  {name}: {wall:.2f} s (CPU {cpu:.2f} s), {choice}, at most {memory:.0f} MB")


def commits(repository: Git, count: int) -> list[Commit]:
    """So many commits of a repository, spread evenly over its history."""
    form = ("--format=%x01%P%x00%s%x00", "--name-status", "--no-renames", "-z", "--no-merges")
    found = [*_commits(repository.text("log", *form, "HEAD"))]
    return found[:: max(1, len(found) // count)][:count]


def _commits(log: str) -> Iterator[Commit]:
    for text in log.split("\x01")[1:]:
        parent, subject, *entries = (part.strip("\n") for part in text.split("\0"))
        entries = [entry for entry in entries if entry]
        states = zip(entries[::2], entries[1::2], strict=True)
        changed = {path for state, path in states if state in ("M", "D")}
        if parent and 1 <= len(changed) <= MAX_CHANGED:
            yield Commit(parent, subject, changed)


def measure_recall(repository: Git, count: int) -> None:
    chosen = commits(repository, count)
    shares: dict[int, list[float]] = {shown: [] for shown in SHOWN}
    with tempfile.TemporaryDirectory() as temporary:
        for one in chosen:
            snapshot = Snapshot(repository, one.parent)
            ranked = rank(one.subject, snapshot, outlines(snapshot, Path(temporary) / "c.db"), max(SHOWN))
            for shown, values in shares.items():
                values.append(len(one.changed & {*ranked[:shown]}) / len(one.changed))
    figures = ", ".join(f"{statistics.mean(values):.3f} at {shown}" for shown, values in shares.items())
    print(f"recall for {len(chosen)} commits of {repository.folder.name}: {figures}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--repo", type=Path, default=ROOT)
    arguments = parser.parse_args()
    if arguments.files:
        measure_maps(arguments.files)
    measure_recall(Git(arguments.repo), arguments.commits)


if __name__ == "__main__":
    main()
