"""A key that a server repeats, in whatever form, is kept and shown nowhere; other texts stay as they are."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import string
import subprocess
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import warm
from servers.echo import WAYS, EchoServer, echo_server

from swarm_graph.models.masking import HELD_CHARACTERS, MASK, MIN_RUN, MaskedStream, masked

KEY = "sk-Prj/4F+9x=Zq_very&secret.0123"
PLACES = ("error", "page", "redirect", "broken", "content", "thoughts", "reason")


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoServer]:
    with echo_server() as server:
        yield server


def traces(key: str) -> set[str]:
    """What must not be found: runs of the key and of its encodings, in small letters."""
    forms = {key, key[::-1], key.encode().hex(), key[::-1].encode().hex()}
    forms |= {WAYS[way](key) for way in WAYS if way not in ("beginning", "end", "middle")}
    return {
        form[start : start + size].lower()
        for form in ("".join(form.split()) for form in forms)
        for size in [MIN_RUN if key[:4] in form or key[::-1][:4] in form else 6 * MIN_RUN]
        for start in range(max(len(form) - size + 1, 0))
    }


def leaks(text: str, key: str) -> set[str]:
    """The traces of a key in a text, as a reader sees it: with its escapes undone, without white space."""
    seen = "".join(char for char in text if char.isprintable() and char != " ").lower()
    return {trace for trace in traces(key) if trace in seen}


def kept(folder: Path) -> Iterator[tuple[str, str]]:
    """Whatever lies in a folder: the bytes of each file, and the values in every table of its databases."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield str(file), file.read_bytes().decode(errors="replace")
            if file.suffix == ".db":
                with closing(sqlite3.connect(file)) as connection:
                    tables = connection.execute(
                        "SELECT name FROM sqlite_master WHERE type = 'table'"
                    ).fetchall()
                    for (table,) in tables:
                        rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
                        yield f"{file}: {table}", str([[*map(unpacked, row)] for row in rows])


def unpacked(value: object) -> object:
    """A value of a database as it was before it was compressed, if it was."""
    if isinstance(value, bytes):
        with contextlib.suppress(zlib.error):
            return zlib.decompress(value).decode()
    return value


def ask(folder: Path, url: str, api_type: str, *options: str) -> CompletedProcess[bytes]:
    """Run a batch of one document with a model of the server, and leave no config behind."""
    entry = {"url": url, "model": "m", "api_type": api_type, "api_key_env": "SWARM_TEST_KEY", "retries": 0}
    settings = {"model_config": {"single_model": entry}, "workflow": {"verbose_logging": True}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "document.txt").write_text("A document")
    (folder / "prompt.md").write_text("Repeat.\n---\n$files")
    arguments = ["batch", "document.txt", "--prompt", "prompt.md", "--session", "s", *options]
    return warm.run(*arguments, cwd=folder, env={**os.environ, "SWARM_TEST_KEY": KEY})


def nothing_leaks(folder: Path, done: CompletedProcess[bytes]) -> str:
    """Check files, databases and output for the key, and return all of it as one text."""
    shown = [("stdout", done.stdout.decode()), ("stderr", done.stderr.decode())]
    found = [*kept(folder), *shown]
    assert {where: leaks(text, KEY) for where, text in found if leaks(text, KEY)} == {}
    return "".join(text for _, text in found)


@pytest.mark.parametrize("api_type", ["openai", "ollama"])
@pytest.mark.parametrize("place", PLACES)
def test_a_repeated_key_is_kept_and_shown_nowhere(
    place: str, api_type: str, echo: EchoServer, tmp_path: Path
) -> None:
    for way in ("whole", "backwards", "base64", "lines"):
        folder = tmp_path / way
        folder.mkdir()
        path = f"{echo.url}/{place}/{way}" + ("/v1" if api_type == "openai" else "")
        done = ask(folder, path, api_type, "--json-events", "--log-file", "log.jsonl")
        assert WAYS[way](KEY) in echo.said[-1], "the key was not repeated"
        everything = nothing_leaks(folder, done)
        assert MASK in everything, (way, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_in_whatever_form_a_key_is_repeated(way: str, echo: EchoServer, tmp_path: Path) -> None:
    for place in ("content", "error"):
        folder = tmp_path / place
        folder.mkdir()
        done = ask(folder, f"{echo.url}/{place}/{way}/v1", "openai")
        assert MASK in nothing_leaks(folder, done)


@pytest.mark.parametrize("way", ["whole", "backwards", "base64"])
def test_the_doctor_shows_no_key_that_a_server_lists(way: str, echo: EchoServer, tmp_path: Path) -> None:
    entry = {"url": f"{echo.url}/listing/{way}/v1", "model": "m", "api_key_env": "SWARM_TEST_KEY"}
    (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": entry}}))
    done = warm.run("doctor", cwd=tmp_path, env={**os.environ, "SWARM_TEST_KEY": KEY})
    assert WAYS[way](KEY) in echo.said[-1]
    assert MASK in nothing_leaks(tmp_path, done)


def test_the_traceback_of_a_program_shows_no_key(echo: EchoServer, tmp_path: Path) -> None:
    entry = {"url": f"{echo.url}/error/whole/v1", "model": "m", "api_key_env": "SWARM_TEST_KEY", "retries": 0}
    program = f"""
from swarm_graph import build_graph
graph = build_graph("review_only", config={{"model_config": {{"single_model": {entry!r}}}}})
graph.invoke({{"request": "x = 1", "code": {{"a.py": "x = 1"}}}})
"""
    environment = {**os.environ, "SWARM_TEST_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert b"refused the key" in done.stderr
    assert leaks(done.stderr.decode(), KEY) == set()


# --- The function -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_key_in_the_middle_of_a_text(way: str) -> None:
    text = masked(f"The key {WAYS[way](KEY)} is wrong.", [KEY])
    assert leaks(text, KEY) == set()
    assert text.startswith("The key ")
    assert text.endswith(" is wrong.")


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("way", WAYS)
def test_parts_of_a_stream_are_masked_as_the_whole(way: str, size: int) -> None:
    text = "Before. " * 40 + WAYS[way](KEY) + " After." * 40
    stream, taken = MaskedStream([KEY]), []
    for start in range(0, len(text), size):
        stream.add(text[start : start + size])
        taken.append(stream.take())
    assert "".join([*taken, stream.take(last=True)]) == masked(text, [KEY])
    assert len("".join(taken)) > len(text) / 2


def test_a_stream_of_nothing_but_keys_is_held_back_only_so_far() -> None:
    stream = MaskedStream([KEY])
    stream.add(KEY * 1000)
    assert stream.take() == MASK
    stream.add("." * 2 * HELD_CHARACTERS)
    assert stream.take().startswith(f"{MASK}.")


HARMLESS = "def test(none=None): return 'x' * 1234567  # \\u0041 &amp; %41 \\n sk-\n" * 3


@pytest.mark.parametrize("key", ["none", "x", "test", "EMPTY", "1234567", "", "another-key-0123456789"])
def test_harmless_texts_stay_as_they_are(key: str) -> None:
    assert masked(HARMLESS, [key]) == HARMLESS


def test_parts_below_the_least_length_stay() -> None:
    assert masked(f"begins with {KEY[: MIN_RUN - 1]}", [KEY]) == f"begins with {KEY[: MIN_RUN - 1]}"
    assert masked(f"begins with {KEY[:MIN_RUN]}", [KEY]) == f"begins with {MASK}"


class Counted(frozenset[str]):
    """Counts how often it is searched."""

    searches = 0

    def __contains__(self, item: object) -> bool:
        Counted.searches += 1
        return super().__contains__(item)


LONG: dict[str, Callable[[int], str]] = {
    "letters": lambda size: "a" * size,
    "keys": lambda size: (KEY * (size // len(KEY) + 1))[:size],
    "percent": lambda size: ("%25" * size)[:size],
    "backslashes": lambda size: "\\" * size,
    "entities": lambda size: ("&#37;" * size)[:size],
    "blanks": lambda size: "<" + " " * (size - 1),
    "anything": lambda size: "".join(random.Random(1).choices(string.printable, k=size)),
}


@pytest.mark.parametrize("kind", LONG)
def test_the_work_grows_with_the_length(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from swarm_graph.models import masking

    def counted(secrets: Collection[str]) -> dict[int, frozenset[str]]:
        return {size: Counted(texts) for size, texts in original(tuple(secrets)).items()}

    original = masking._runs
    monkeypatch.setattr(masking, "_runs", counted)
    searches = []
    for size in (20_000, 200_000):
        Counted.searches = 0
        masked(LONG[kind](size), [KEY])
        searches.append(Counted.searches)
    assert searches[1] <= 10.5 * max(searches[0], 10)
