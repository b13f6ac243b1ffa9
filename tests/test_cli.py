"""The command line from the outside: real processes, exit codes, one clear line for every wrong input."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from servers.llama import Llama
from servers.ollama_front import OllamaFront
from support import SIMULATED, dead_port, write_config
from warm import ENVIRONMENT, PROGRAM, Process, run

SIMULATE = ["run", "x", "--simulate"]


def swarm(
    *arguments: str, cwd: Path, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return run(*arguments, cwd=cwd, env={**ENVIRONMENT, **environment}, given=stdin)


def cold(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a new interpreter."""
    environment = {**ENVIRONMENT, **environment}
    return subprocess.run(
        [PROGRAM, *arguments], cwd=cwd, env=environment, input=b"", capture_output=True, check=False
    )


def test_run_prints_what_came_out(tmp_path: Path) -> None:
    done = cold(*SIMULATE, "--session", "s", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    assert text.startswith("SIMULATED: ")
    assert "Session s (standard): approved" in text
    assert (tmp_path / "swarm-output/s/project/src/simulated.py").is_file()


def test_json_is_one_document_and_nothing_else(tmp_path: Path) -> None:
    done = swarm(*SIMULATE, "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["phase"] == "complete"
    assert document["simulated"] is True
    refused = swarm("run", "--json", cwd=tmp_path)
    assert json.loads(refused.stdout)["exit_code"] == refused.returncode == 2


def test_request_from_stdin_and_files(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\n")
    done = swarm("run", "-", "--input", "app.py", "--simulate", "--json", cwd=tmp_path, stdin=b"Review this")
    request = json.loads(done.stdout)["request"]
    assert request == "Review this\n\n```python path=app.py\nx = 1\n```"


def test_require_approval_exits_with_4(tmp_path: Path) -> None:
    write_config(tmp_path, workflow={"max_iterations": 1})
    script = tmp_path / "script.md"
    refused = '{"findings": [{"severity": "major", "problem": "No."}], "approved": false}'
    script.write_text(f"<!-- reviewer 1 -->\n{refused}\n")
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script)}}
    write_config(tmp_path, model_config={"single_model": entry})
    arguments = ["run", "x", "--workflow", "review_only"]
    assert swarm(*arguments, cwd=tmp_path).returncode == 0
    done = swarm(*arguments, "--require-approval", cwd=tmp_path)
    assert done.returncode == 4
    assert b"complete, NOT approved" in done.stdout
    assert b"Open findings (1)" in done.stdout


def test_follow_up_and_resume(tmp_path: Path) -> None:
    assert swarm(*SIMULATE, "--session", "s", cwd=tmp_path).returncode == 0
    again = swarm(*SIMULATE, "--session", "s", cwd=tmp_path)
    assert again.returncode == 2
    assert (
        b"session 's' exists (complete); follow it up with `run --follow-up` (in Python follow_up=True)"
        in again.stderr
    )
    done = swarm("run", "More", "--simulate", "--session", "s", "--follow-up", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["request"] == "More"
    assert json.loads(swarm("resume", "s", "--json", cwd=tmp_path).stdout)["phase"] == "complete"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_run_says_how_to_go_on_and_goes_on(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    entry = {"model": "s", "api_type": "simulated", "simulation": {"first_token_s": 600}}
    models = {"single_model": SIMULATED["model_config"]["single_model"], "multi_model": {"coder": entry}}
    write_config(tmp_path, model_config={"mode": "multi", **models}, workflow={"grace_period": 0.2})
    process = Process(
        "run", "x", "--session", "s", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    notes = tmp_path / "swarm-output/s/notes.md"
    while process.poll() is None and not (notes.is_file() and "# Design" in notes.read_text()):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    said = (
        b"" if number == signal.SIGKILL else b"swarm-graph: stopped; continue with `swarm-graph resume s`\n"
    )
    assert errors.endswith(said)
    assert errors.count(b"\n") <= 2
    phase = "interrupted" if number == signal.SIGKILL else "cancelled"
    swarm("sessions", "report", "report.txt", cwd=tmp_path)
    (told,) = re.findall(r"^standard .*", (tmp_path / "report.txt").read_text(), re.MULTILINE)
    ended = json.loads(swarm("sessions", "show", "s", "--json", cwd=tmp_path).stdout)["tasks"]
    assert [task["task_id"] for task in ended if task["status"] == "COMPLETED"] == [
        "T001_clarify",
        "T002_design",
    ]
    assert told.split() == ["standard", "1", "0" if number != signal.SIGKILL else "-", "1", phase, "-", "-"]
    write_config(tmp_path)
    done = swarm("resume", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["phase"] == "complete"
    assert document["metrics"]["architect"]["total_calls"] == 1
    first, second = json.loads(swarm("sessions", "show", "s", "--json", cwd=tmp_path).stdout)["runs"]
    assert (first["phase"], second["phase"]) == (phase, "complete")
    assert first["started_at"] < first["ended_at"] < second["started_at"]


def test_resume_without_a_config_uses_the_one_that_the_session_began_with(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{dead_port()}/v1"
    path = write_config(tmp_path, model_config={"single_model": {"url": url, "model": "m", "retries": 0}})
    assert swarm("run", "x", "--session", "s", cwd=tmp_path).returncode == 1
    path.unlink()
    done = swarm("resume", cwd=tmp_path)
    assert done.returncode == 1
    assert url.removesuffix("/v1") in done.stderr.decode()


def test_graph_draws(tmp_path: Path) -> None:
    drawing = swarm("graph", "--workflow", "standard", cwd=tmp_path).stdout.decode()
    assert "coder --> review_style" in drawing
    assert swarm("graph", "--format", "svg", cwd=tmp_path).stdout.startswith(b"<svg")
    swarm("graph", "--output", "g.png", cwd=tmp_path)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_help_of_every_command_has_an_example(tmp_path: Path) -> None:
    commands = ["run", "resume", "batch", "interactive", "sessions", "init", "doctor", "graph"]
    for command in commands:
        assert f"Example: swarm-graph {command}" in swarm(command, "--help", cwd=tmp_path).stdout.decode()
    assert cold("--version", cwd=tmp_path).stdout == b"swarm-graph, version 0.1.0\n"


def test_model_text_cannot_drive_the_terminal(tmp_path: Path) -> None:
    script = tmp_path / "script.md"
    finding = {"severity": "major", "problem": "\x1b]0;owned\x07\x1b[2Jgone \u202e", "location": "a"}
    script.write_text(f"<!-- reviewer 1 -->\n{json.dumps({'findings': [finding], 'approved': False})}\n")
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script)}}
    write_config(tmp_path, model_config={"single_model": entry})
    done = swarm("run", "x", "--workflow", "review_only", cwd=tmp_path)
    assert b"gone" in done.stdout
    assert b"\x1b" not in done.stdout
    assert "\u202e" not in done.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (SIMULATE, 1),
        ([*SIMULATE, "--json"], 1),
        ([*SIMULATE, "--json-events"], 0),  # the session is what counts
        (["graph"], 1),
        (["run", "--help"], 1),
    ],
)
def test_a_full_disk_under_stdout_is_one_line_and_loses_no_work(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(*arguments, cwd=tmp_path, stdout=full)
    said = b"swarm-graph: cannot write to stdout: No space left on device; finished work is kept\n"
    assert (done.returncode, done.stderr) == (code, said if code else b"")
    if "x" in arguments:
        assert json.loads(swarm("sessions", "list", "--json", cwd=tmp_path).stdout)[0]["phase"] == "complete"


@pytest.mark.slow
def test_closed_streams_and_a_small_alphabet_are_no_trouble(tmp_path: Path) -> None:
    for closed in (">&-", "<&-", "2>&-", ">&- 2>&- <&-"):
        command = f"{PROGRAM} run 'Größe →' --simulate {closed}"
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
    assert swarm("run", "-", cwd=tmp_path).stderr.startswith(b"swarm-graph: the request is empty")
    script_of_model = tmp_path / "script.md"
    script_of_model.write_text(
        '<!-- reviewer 1 -->\n{"findings": [{"severity": "major", "problem": "→ ü"}], "approved": false}\n'
    )
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": str(script_of_model)}}
    write_config(tmp_path, model_config={"single_model": entry})
    done = cold("run", "x", "--workflow", "review_only", cwd=tmp_path, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert "? ü".encode("latin-1") in done.stdout


def test_a_folder_that_was_deleted_and_a_name_that_is_too_long(tmp_path: Path) -> None:
    gone = subprocess.run(
        ["bash", "-c", f"mkdir gone; cd gone; rmdir ../gone; {PROGRAM} run x --simulate"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
    )
    assert (gone.returncode, gone.stdout) == (2, b"")
    assert gone.stderr == b"swarm-graph: the current folder has been deleted; change to another one\n"
    for option in ("--config", "--output", "--data-dir", "--log-file", "--prompts", "--input", "--tasks"):
        long = swarm(
            "run", "x", option, "n" * 300, *([] if option == "--tasks" else ["--simulate"]), cwd=tmp_path
        )
        assert (long.returncode, long.stdout, long.stderr.count(b"\n")) == (2, b"", 1), option
        assert b"File name too long" in long.stderr


def test_ctrl_c_is_one_line_from_the_first_import_on(tmp_path: Path) -> None:
    wait = "import os, time; os.write(1, b'.'); time.sleep(60)"
    (tmp_path / "click.py").write_text(wait)
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_graph", "run", "x"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.read(1) == b"."
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == b"swarm-graph: interrupted\n"
    assert process.returncode == 130


def on_terminal(*arguments: str, typed: str, cwd: Path) -> str:
    """What a person sees who types on a terminal."""
    ours, theirs = os.openpty()
    process = Process(*arguments, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    seen = b""
    with suppress(OSError):  # how a terminal ends on Linux
        while part := os.read(ours, 4096):
            seen += part
    process.wait()
    os.close(ours)
    return seen.decode()


def test_events_go_where_stdout_goes_whatever_the_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    done = run(*SIMULATE, "--json-events", cwd=tmp_path, stderr=theirs)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "session_ended"
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    assert "✓ coder" in shown
    assert '"event"' not in shown
    os.close(ours)
    lines = on_terminal(*SIMULATE, "--json-events", typed="", cwd=tmp_path).splitlines()
    assert {json.loads(line)["version"] for line in lines} == {1}


def test_the_list_of_commands_cuts_no_sentence(tmp_path: Path) -> None:
    for group in ([], ["sessions"]):
        assert "...\n" not in swarm(*group, "-h", cwd=tmp_path).stdout.decode().partition("Commands:")[2]


def test_the_next_step_is_one_that_can_be_taken(tmp_path: Path) -> None:
    told = [
        swarm("run", request, "--simulate", *more, cwd=tmp_path).stdout.decode().partition("\nNext")[2]
        for request, more in (("x y", []), ("x\ny", []), ("x", ["--prompts", "process-safety"]))
    ]
    command = "swarm-graph run --workflow standard 'x y' --url URL --model NAME"
    assert f"\n  {command}\n" in told[0]
    assert told[0].endswith("to config.json: swarm-graph init\n")
    assert told[1] == told[2]
    assert ": run it with --url URL --model NAME in place of --simulate; or `swarm-graph init`" in told[1]
    url = f"http://127.0.0.1:{dead_port()}/v1"
    given = [{"URL": url, "NAME": "m"}.get(word, word) for word in shlex.split(command)]
    assert f"no model server answers at {url}" in swarm(*given[1:], cwd=tmp_path).stderr.decode()
    swarm("run", "x", "--simulate", "--session", "before", cwd=tmp_path)
    write_config(tmp_path)
    for again in (["run", "x"], ["sessions", "fork", "before", "--from", "coder"]):
        done = swarm(*again, "--simulate", cwd=tmp_path).stdout.decode().partition("\nNext")[2]
        way = f"run it with --url URL --model NAME, or name the server in {tmp_path / 'config.json'}"
        assert done == f", on a model server of your own: {way}; `swarm-graph doctor` checks it.\n"
    again = ["run", "a follow-up", "--session", "before", "--follow-up"]
    assert b"\nNext" not in swarm(*again, cwd=tmp_path).stdout


def test_a_key_without_effect_is_one_line_of_warning(tmp_path: Path) -> None:
    write_config(tmp_path, colour="blue")
    done = swarm("run", "x", "--workflow", "review_only", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == b"swarm-graph: warning: config.json: colour: unknown key, it has no effect\n"
    assert b"round 1 of 1" in done.stdout


# --- wrong input ---------------------------------------------------------------------------------

Prepare = Callable[[Path], object]


def settings(**sections: Any) -> Prepare:
    return lambda folder: write_config(folder, **sections)


def text(name: str, content: str | bytes) -> Prepare:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def both(*steps: Prepare) -> Prepare:
    return lambda folder: [step(folder) for step in steps]


def folder(name: str) -> Prepare:
    return lambda parent: (parent / name).mkdir()


def nothing(_: Path) -> None:
    return None


def model(**entry: Any) -> Prepare:
    return settings(model_config={"single_model": {"model": "m", **entry}})


RUN = ["run", "x"]
WRONG: dict[str, tuple[Sequence[str], Prepare, int, str]] = {
    # arguments
    "no request": (["run", "--simulate"], nothing, 2, "the request is empty"),
    "blank request": (["run", "  ", "--simulate"], nothing, 2, "the request is empty"),
    "empty stdin": (["run", "-", "--simulate"], nothing, 2, "the request is empty"),
    "unknown command": (["rnu"], nothing, 2, "No such command 'rnu'"),
    "unknown option": (["run", "x", "--simulte"], nothing, 2, "No such option"),
    "option without value": (["run", "x", "--session"], nothing, 2, "requires an argument"),
    "two requests": (["run", "x", "y", "--simulate"], nothing, 2, "unexpected extra argument"),
    "unknown workflow": ([*SIMULATE, "--workflow", "ful"], nothing, 2, "unknown workflow 'ful'; known"),
    "bad session id": ([*SIMULATE, "--session", "../etc"], nothing, 2, "session id '../etc' is not allowed"),
    "session id with newline": ([*SIMULATE, "--session", "a\nb"], nothing, 2, "is not allowed"),
    "follow-up without session": ([*SIMULATE, "--follow-up"], nothing, 2, "--follow-up needs --session"),
    "follow-up of nothing": ([*SIMULATE, "--follow-up", "--session", "s"], nothing, 2, "no session 's'"),
    "resume nothing": (["resume"], nothing, 2, "no sessions in '.swarm'"),
    "resume unknown": (["resume", "s", "--simulate"], nothing, 2, "no sessions in '.swarm'"),
    "interactive, no terminal": (["interactive"], nothing, 2, "interactive needs a terminal"),
    "graph of what": (["graph", "--workflow", "zz"], nothing, 2, "unknown workflow 'zz'"),
    "graph as what": (["graph", "--format", "pdf"], nothing, 2, "'pdf' is not one of"),
    "graph to nowhere": (["graph", "--output", "no/such/f"], nothing, 2, "cannot write 'no/such/f'"),
    # files
    "input missing": ([*SIMULATE, "--input", "no.py"], nothing, 2, "cannot read the input file 'no.py'"),
    "input folder": ([*SIMULATE, "--input", "d"], folder("d"), 2, "cannot read the input file 'd'"),
    "input binary": (
        [*SIMULATE, "--input", "b"],
        text("b", b"\xff\xfe\x00"),
        2,
        "'b' is no valid UTF-16 text",
    ),
    "output is a file": (
        [*SIMULATE, "--output", "f"],
        text("f", ""),
        2,
        "cannot write to the output folder 'f'",
    ),
    "output in /proc": ([*SIMULATE, "--output", "/proc/x"], nothing, 2, "cannot write to the output folder"),
    "data dir is a file": ([*SIMULATE, "--data-dir", "f"], text("f", ""), 1, "'?f/swarm.db'?"),
    "database is none": (
        [*SIMULATE, "--data-dir", "d"],
        both(folder("d"), text("d/swarm.db", "hello " * 99)),
        1,
        "not a SQLite database",
    ),
    # config
    "config missing": ([*RUN, "--config", "no.json"], nothing, 2, "cannot read the config 'no.json'"),
    "config folder": ([*RUN, "--config", "d"], folder("d"), 2, "cannot read the config 'd'"),
    "config binary": (RUN, text("config.json", b"\xff\xfe"), 2, "cannot read the config"),
    "config no JSON": (
        RUN,
        text("config.json", "{\n  nope nope\n}"),
        2,
        "config.json: not valid JSON: line 2",
    ),
    "config a list": (RUN, text("config.json", "[1]"), 2, "expected an object"),
    "no config": (RUN, nothing, 2, "no model is configured; name one with --url URL --model NAME"),
    "iterations a word": (
        RUN,
        settings(workflow={"max_iterations": "many"}),
        2,
        'workflow.max_iterations: "many" is not allowed',
    ),
    "iterations zero": (
        RUN,
        settings(workflow={"max_iterations": 0}),
        2,
        "workflow.max_iterations: 0 is not",
    ),
    "parallel negative": (
        RUN,
        settings(workflow={"max_parallel_agents": -1}),
        2,
        "max_parallel_agents: -1 is not",
    ),
    "misspelt key": (RUN, settings(workflow={"max_iteration": 2}), 2, "did you mean 'max_iterations'"),
    "misspelt section": (RUN, settings(workflw={}), 2, "did you mean 'workflow'"),
    "temperature high": (
        RUN,
        settings(agent_parameters={"coder": {"temperature": 9}}),
        2,
        "coder.temperature: 9",
    ),
    "unknown role": (
        RUN,
        settings(agent_parameters={"codr": {}}),
        2,
        "unknown role 'codr'; did you mean 'coder'",
    ),
    "unknown api type": (RUN, model(api_type="gpt"), 2, 'api_type: "gpt" is not allowed'),
    "no url": (RUN, model(), 2, "expected a url"),
    "bad url": (RUN, model(url="localhost:1"), 2, "expected a URL such as"),
    "password in url": (RUN, model(url="http://a:b@c/"), 2, "expected no password in the URL"),
    "multi without models": (
        RUN,
        settings(model_config={"mode": "multi"}),
        2,
        "needs entries in multi_model",
    ),
    "multi without this role": (
        RUN,
        settings(
            model_config={
                "mode": "multi",
                "multi_model": {"coder": SIMULATED["model_config"]["single_model"]},
            }
        ),
        2,
        "no model for the role 'clarifier'",
    ),
    "key not set": (
        RUN,
        model(url="http://127.0.0.1:9/v1", api_key_env="NO_SUCH_KEY"),
        2,
        "'NO_SUCH_KEY'.*is not set",
    ),
    "unknown focus": (RUN, settings(workflow={"reviewers": ["beauty"]}), 2, "no prompt 'review_beauty.md'"),
    "prompts missing": (RUN, settings(prompts_dir="no"), 2, "prompts_dir '.*/no' is not a folder"),
    "prompt with a bad hole": (
        RUN,
        both(folder("p"), text("p/coder.md", "a\n---\n$nope"), settings(prompts_dir="p")),
        2,
        "unknown hole '\\$nope'",
    ),
    "script missing": (
        RUN,
        model(api_type="simulated", simulation={"script": "no.md"}),
        2,
        "simulation script 'no.md'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line_and_writes_nothing(name: str, tmp_path: Path) -> None:
    arguments, prepare, code, message = WRONG[name]
    prepare(tmp_path)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    done = swarm(*arguments, cwd=tmp_path)
    errors = done.stderr.decode()
    assert done.returncode == code, errors
    assert re.fullmatch(rf"swarm-graph: .*{message}.*\n", errors), errors
    assert done.stdout == b""
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_there_are_at_least_forty_wrong_inputs() -> None:
    assert len(WRONG) >= 40


def server(url: str, **more: Any) -> Prepare:
    entry = {"url": url, "model": "tiny", "retries": 0, **more}
    return settings(model_config={"single_model": entry})


def failed_run(tmp_path: Path, prepare: Prepare, message: str, *arguments: str) -> None:
    """The run fails with 1, one line names the cure, and the session can be resumed."""
    prepare(tmp_path)
    done = swarm(*RUN, "--workflow", "review_only", "--session", "s", *arguments, cwd=tmp_path)
    errors = done.stderr.decode()
    assert done.returncode == 1, errors
    assert re.search(message, errors), errors
    assert "`swarm-graph resume s` asks only for what is missing" in errors
    assert "Traceback" not in errors + done.stdout.decode()
    assert errors.count("\n") == 1


def test_dead_server(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{dead_port()}"
    failed_run(tmp_path, server(f"{url}/v1"), rf"cannot be reached: .*is the server running at {url}\?")


def test_dead_ollama(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{dead_port()}"
    failed_run(
        tmp_path, server(url, api_type="ollama"), rf"cannot be reached: .*is the server running at {url}\?"
    )


def test_unknown_host(tmp_path: Path) -> None:
    failed_run(tmp_path, server("http://no-such-host.invalid/v1"), "cannot be reached")


def test_wrong_path_is_a_404(llama: Llama, tmp_path: Path) -> None:
    failed_run(tmp_path, server(f"{llama.root}/nope"), r"does not know this model or path \(404")


def test_unknown_model(ollama: OllamaFront, tmp_path: Path) -> None:
    prepare = server(ollama.root, api_type="ollama", model="nosuch")
    failed_run(tmp_path, prepare, r"\(404: model 'nosuch' not found\)")


@pytest.mark.slow
def test_not_a_model_server_at_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        failed_run(tmp_path, server(url, timeout=0.3), "did not answer in time")


@pytest.mark.parametrize("api_type", ["openai", "ollama"])
def test_a_server_that_hangs_up_is_not_reached_and_not_late(api_type: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=hang_up, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        prepare = server(url + ("/v1" if api_type == "openai" else ""), api_type=api_type)
        failed_run(tmp_path, prepare, "cannot be reached: Server disconnected")


def hang_up(listening: socket.socket) -> None:
    """Reads every request and closes its connection without an answer."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # the test has ended
            return
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass


@pytest.mark.parametrize(
    "path", ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "C:/evil.py", "~/evil.py", ".git/hooks/x"]
)
def test_a_path_that_leaves_the_folder_is_asked_again_and_refused(path: str, tmp_path: Path) -> None:
    script = tmp_path / "script.md"
    script.write_text(f"<!-- coder 1 -->\n```python path={path}\nx = 1\n```\n")
    entry = {"model": "s", "api_type": "simulated", "simulation": {"script": "script.md"}}
    write_config(tmp_path, model_config={"single_model": entry})
    done = swarm(*RUN, "--session", "s", cwd=tmp_path)
    assert done.returncode == 1
    assert b"is not allowed: write paths inside the project" in done.stderr
    assert not list(tmp_path.rglob("evil.py"))


def test_both_forms_of_json_are_refused_before_a_session_begins(tmp_path: Path) -> None:
    done = run("run", "x", "--simulate", "--json", "--json-events", cwd=tmp_path, text=True)
    refusal = "--json and --json-events both want stdout; choose one"
    assert done.returncode == 2
    assert json.loads(done.stdout) == {"error": refusal, "exit_code": 2}
    assert done.stderr == f"swarm-graph: {refusal}\n"
    assert list(tmp_path.iterdir()) == []
