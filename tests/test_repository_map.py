"""The map of a repository: outlines by ast and Universal Ctags, their cache, and the text of the map."""

import os
import shutil
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from repositories import commit_files, git, make_repository

from swarm_graph.repository import ctags, parser_process, repo_map
from swarm_graph.repository.chooser import rank
from swarm_graph.repository.ctags import NOT_INSTALLED, Source, ctags_outlines
from swarm_graph.repository.git import Git
from swarm_graph.repository.outline import MAX_DEFINITIONS, MAX_SIGNATURE, Outline, python_outline
from swarm_graph.repository.outline_cache import OutlineCache, cache_file
from swarm_graph.repository.parser_process import UNREADABLE
from swarm_graph.repository.repo_map import map_text, outlines, read_outlines
from swarm_graph.repository.snapshot import Snapshot, snapshot

needs_ctags = pytest.mark.skipif(
    not ctags.program() and not os.environ.get("CI"), reason="Universal Ctags is not installed"
)

STACK = '''\
"""A stack."""
import os.path
from .model import Item, User

LIMIT = 3


class Stack(list, metaclass=type):  # a comment
    """Last in, first out."""

    def __init__(self) -> None:
        self.items = []

    @property
    def top(self) -> int: return 1

    async def push(
        self,
        item: "Item",
        *more: int,
    ) -> None:
        def inner(): ...

    def _hidden(self): ...


class _Private:
    def method(self):
        pass


if os.name == "nt":
    def only_there(a=1):
        pass
else:
    try:
        from x import fast
    except ImportError:
        def fast():
            pass
'''


def snapshot_of(folder: Path, files: Mapping[str, str | bytes]) -> Snapshot:
    make_repository(folder, files)
    return Snapshot(Git(folder), Git(folder).commit_of("HEAD"))


def signatures(outline: Outline) -> list[str]:
    return [f"{'  ' * one.depth}{one.signature}" for one in outline.definitions]


def test_python_has_signatures_and_ranges() -> None:
    outline = python_outline(STACK.encode())
    assert signatures(outline) == [
        "class Stack(list, metaclass=type)",
        "  def __init__(self) -> None",
        "  def top(self) -> int",
        "  async def push(self, item: 'Item', *more: int) -> None",
        "  def _hidden(self)",
        "class _Private",
        "  def method(self)",
        "def only_there(a=1)",
        "def fast()",
    ]
    top = next(one for one in outline.definitions if one.name == "top")
    assert (top.line, top.end) == (14, 15)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (b"def f(:\n", "a syntax error in line 1"),
        (b"x = 1\0", "null bytes"),
        (b"(" * 100_000, "a syntax error"),
        (b"x = " + b"-" * 200_000 + b"1", ""),
        (b"x = " + b"a." * 100_000 + b"b", ""),
        (b"\xff\xfe\n", "a syntax error"),
        (b"# coding: no-such\n", "a syntax error"),
        (b"", ""),
        (b"x = '" + b"a" * 1_000_000 + b"'\n", ""),
        (b"".join(b" " * depth + b"if x:\n" for depth in range(500)), "a syntax error"),
    ],
)
def test_a_hostile_python_file_has_no_outline(source: bytes, problem: str) -> None:
    """In the process that parses: it may end with it, but the next file still has its outline."""
    found = read_outlines({"a.py": source, "b.py": b"def good(): pass\n"})
    assert found["a.py"].definitions == ()
    assert signatures(found["b.py"]) == ["def good()"]
    assert problem in found["a.py"].problem or problem == "null bytes"


def test_an_outline_is_bounded() -> None:
    many = "".join(f"def f{number}(a): pass\n" for number in range(MAX_DEFINITIONS + 10))
    assert len(python_outline(many.encode()).definitions) == MAX_DEFINITIONS
    wide = f"def f({', '.join(f'argument{number}=0' for number in range(9_000))}):\n    pass\n"
    assert len(signatures(python_outline(wide.encode()))[0]) == MAX_SIGNATURE
    assert signatures(python_outline(f"def f(a='{'1' * 9_000}',\n b=2): pass\n".encode())) == ["def f(…)"]


def test_a_parser_that_dies_or_prints_nothing_costs_one_file() -> None:
    dies_on_2 = ["/bin/sh", "-c", 'while read x; do [ "$x" = 2 ] && kill -9 $$; echo "$x"; done']

    def read(output: bytes) -> list[Outline]:
        return [Outline(problem=line.decode()) for line in output.split()]

    sources = [f"{number}\n".encode() for number in (1, 2, 3, 2, 4)]
    found = parser_process.parsed(dies_on_2, sources, read)
    assert found == [Outline(problem="1"), UNREADABLE, Outline(problem="3"), UNREADABLE, Outline(problem="4")]
    assert parser_process.parsed(["/bin/false"], [b"1\n"] * 20, read) == [UNREADABLE] * 20


GO = b"""package main

type Server struct {
\tname string
}

func (s *Server) Start(port int) error {
\treturn nil
}
"""


@needs_ctags
def test_other_languages_have_the_lines_that_define() -> None:
    sources = [
        Source("src/a.go", GO),
        Source("a.ts", b"export class Foo {\n  bar(a: number): string { return '' }\n}\nconst x = 1;\n"),
        Source("--help.rs", b"pub struct P;\nimpl P {\n    pub fn area(&self, a: u8) -> u8 { 1 }\n}\n"),
        Source("a.c", b"static int add(int a,\n               int b)\n{\n  int x;\n  return a;\n}\n"),
        Source("x.sh", b"greet() {\n  echo hi\n}\n"),
        Source("bad.java", b"\0\xff class {{{{{ public" * 1000),
        Source("long.js", b"function a() {}" * 100_000),
    ]
    found = ctags_outlines(sources)
    assert signatures(found[0]) == ["type Server struct", "  func (s *Server) Start(port int) error"] or (
        signatures(found[0]) == ["type Server struct", "func (s *Server) Start(port int) error"]
    )
    assert signatures(found[1]) == ["export class Foo", "  bar(a: number): string"]
    assert "  pub fn area(&self, a: u8) -> u8" in signatures(found[2])
    assert signatures(found[3]) == ["function add(int a,int b)"]
    assert [one.name for one in found[4].definitions] == ["greet"]
    assert found[5].problem == ""
    assert len(found[6].definitions) <= MAX_DEFINITIONS


@needs_ctags
def test_no_option_file_of_a_repository_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    option = f"--langdef=evil\n--map-evil=+.go\n--output={tmp_path}/written\n"
    files: dict[str, str | bytes] = {
        ".ctags.d/evil.ctags": option,
        ".ctags": option,
        "a.go": GO,
        ".ctags.d/b.ctags": "--nonsense\n",
    }
    snapshot = snapshot_of(tmp_path / "project", files)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("HOME", str(tmp_path / "project"))
    found = outlines(snapshot, tmp_path / "cache.db")
    assert [one.name for one in found["a.go"].definitions] == ["Server", "Start"]
    assert not (tmp_path / "written").exists()


def without_ctags(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = "") -> None:
    """A PATH with git, and with another program that is called ctags if it has a text."""
    folder.mkdir()
    (folder / "git").symlink_to(str(shutil.which("git")))
    if text:
        (folder / "ctags").write_text(f"#!/bin/sh\n{text}\n")
        (folder / "ctags").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    ctags.program.cache_clear()


@pytest.mark.parametrize("other", ["", "echo ctags: illegal option >&2; exit 1", "echo 'wildcards  x'"])
def test_without_universal_ctags_the_map_says_so_once(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(
        tmp_path / "project", {"a.go": GO, "b.go": GO + b"//\n", "c.py": "def f(): pass\n"}
    )
    with monkeypatch.context() as patch:
        without_ctags(tmp_path / "bin", patch, other)
        found = outlines(snapshot, tmp_path / "cache.db")
    ctags.program.cache_clear()
    assert found["a.go"] == found["b.go"] == NOT_INSTALLED
    text = map_text(found, [], 1000)
    assert text.count("Universal Ctags") == 1
    assert text.startswith("a.go\nb.go\nc.py\n  def f()\n(Signatures of Python only")
    if ctags.program():  # what could not be read is not kept: it is read as soon as it can be
        repo_map._outlines.cache_clear()
        assert outlines(snapshot, tmp_path / "cache.db")["a.go"].definitions


def test_a_ctags_that_hangs_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctags, "_FEATURES_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        without_ctags(tmp_path / "bin", patch, f"exec {shutil.which('sleep')} 600")
        assert ctags_outlines([Source("a.go", GO)]) == [NOT_INSTALLED]
    ctags.program.cache_clear()


def test_a_parser_that_always_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_process, "_BATCH_BYTES", 1)  # each source is a batch
    started = tmp_path / "started"
    command = ["/bin/sh", "-c", f"echo x >> '{started}'; exec sleep 600"]
    found = parser_process.parsed(command, [b"source"] * 100, lambda _: [], seconds=0.1)
    assert found == [parser_process.UNREADABLE] * 100
    assert started.read_text().count("x") < 20


def test_only_changed_files_are_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "project", tmp_path / "cache" / "outlines.db"
    snapshot = snapshot_of(folder, {"a.py": "def one(): pass\n", "b.py": "def two(): pass\n", "c.txt": "x"})
    first = outlines(snapshot, cache)
    assert cache.stat().st_mode & 0o077 == 0
    assert [[one.name for one in found.definitions] for found in first.values()] == [["one"], ["two"], []]
    commit = commit_files(folder, {"b.py": "def three(): pass\n"}, "Second")
    asked: list[str] = []

    def read(sources: Mapping[str, bytes]) -> dict[str, Outline]:
        asked.extend(sources)
        return read_outlines(sources)

    monkeypatch.setattr(repo_map, "read_outlines", read)
    second = outlines(Snapshot(Git(folder), commit), cache)
    assert asked == ["b.py"]
    assert second["a.py"] == first["a.py"]
    assert [one.name for one in second["b.py"].definitions] == ["three"]


def test_sessions_that_begin_at_once_read_a_repository_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_repository(
        tmp_path / "repo", {f"m{n}.py": f"def f{n}():\n    return {n}\n" for n in range(50)}
    )
    commit, commands, run = git(folder, "rev-parse", "HEAD"), [], Git.run
    start = Barrier(6)

    def counted(self: Git, *arguments: str, data: bytes = b"") -> bytes:
        commands.append(arguments[0])
        return run(self, *arguments, data=data)

    def session(_: int) -> list[str]:
        start.wait()
        base = snapshot(folder, commit)
        return rank("f7", base, outlines(base, tmp_path / "cache.db"), 3)

    monkeypatch.setattr(Git, "run", counted)
    with ThreadPoolExecutor(6) as pool:
        found = [*pool.map(session, range(6))]
    assert found == [found[0]] * 6
    assert (commands.count("ls-tree"), commands.count("cat-file")) == (1, 2)  # for the map and for the index


@pytest.mark.parametrize("damage", ["garbage", "other table", "folder", "locked", "other rows"])
def test_a_cache_that_cannot_be_used_only_costs_time(damage: str, tmp_path: Path) -> None:
    cache = tmp_path / "outlines.db"
    holder = sqlite3.connect(tmp_path / "other.db")
    match damage:
        case "garbage":
            cache.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
        case "folder":
            cache.mkdir()
        case "other table":
            with sqlite3.connect(cache) as database:
                database.execute("CREATE TABLE outlines (something)")
        case "other rows":
            OutlineCache(cache).put({"a": Outline()})
            with sqlite3.connect(cache) as database:
                database.execute("UPDATE outlines SET outline = '[[1], 2'")
        case "locked":
            OutlineCache(cache).put({"a": Outline()})
            holder = sqlite3.connect(cache, isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
    try:
        OutlineCache(cache, wait_s=0).put({"a": Outline(problem="kept")})
        assert OutlineCache(cache, wait_s=0).get(["a"]) in ({}, {"a": Outline(problem="kept")})
    finally:
        holder.close()
    if damage in ("garbage", "other rows"):
        OutlineCache(cache).put({"a": Outline(problem="kept")})
        assert OutlineCache(cache).get(["a", "b"]) == {"a": Outline(problem="kept")}
    assert OutlineCache(None).get(["a"]) == {}


def test_the_cache_lies_in_the_user_s_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "swarm-graph" / "outlines.db"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/ann")
    assert cache_file() == Path("/home/ann/.cache/swarm-graph/outlines.db")
    monkeypatch.setenv("HOME", "")
    assert cache_file() is None


def test_a_map_puts_the_best_files_first_and_says_what_is_left_out(tmp_path: Path) -> None:
    files = {f"lib/part{number}.py": STACK + f"# {number}\n" for number in range(30)}
    snapshot = snapshot_of(
        tmp_path / "project", {**files, "README.md": "# Hello\n", "line\nbreak.py": "x = 1\n"}
    )
    found = outlines(snapshot, tmp_path / "cache.db")
    text = map_text(found, ["lib/part7.py", "no/such.py", "lib/part3.py"], 800)
    assert len(text) <= 800
    assert text.startswith(
        "lib/part7.py\n"
        "  class Stack(list, metaclass=type)\n"
        "    def __init__(self) -> None\n"
        "    def top(self) -> int\n"
        "    async def push(self, item: 'Item', *more: int) -> None\n"
        "  def only_there(a=1)\n"
        "  def fast()\n"
        "lib/part3.py\n"
    )
    listed = [line for line in text.split("\n")[:-2] if not line.startswith(" ")]
    assert text.endswith(f"\n… and {32 - len(listed)} more files in 2 folders\n"), text
    assert text == map_text(found, ["lib/part7.py", "no/such.py", "lib/part3.py"], 800)
    whole = map_text(found, [], 100_000)
    assert whole.endswith("… and 1 more file in 1 folder\n")  # its name is no line
    assert whole.count("class Stack") == 30


@pytest.mark.parametrize("characters", [-5, 0, 10, 60, 100, 300])
def test_a_map_is_never_longer_than_asked(characters: int) -> None:
    found = {f"a{number}.py": Outline() for number in range(50)}
    assert len(map_text(found, [], characters)) <= max(characters, 0)


def test_links_and_submodules_have_no_outline(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "project", {"a.py": "def f(): pass\n"})
    (folder / "link.py").symlink_to("/etc/passwd")
    git(folder, "add", "--all")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{git(folder, 'rev-parse', 'HEAD')},sub.py")
    git(folder, "commit", "--quiet", "--message", "Second")
    found = outlines(Snapshot(Git(folder), Git(folder).commit_of("HEAD")), tmp_path / "cache.db")
    assert [*found] == ["a.py"]


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    large = b"def f(): pass\n" + b"x = 1\n" * 900_000
    found = outlines(
        snapshot_of(tmp_path / "project", {"big.py": large, "big.txt": large}), tmp_path / "c.db"
    )
    assert found == {"big.py": Outline(problem="it is larger than 1 MB"), "big.txt": Outline()}
