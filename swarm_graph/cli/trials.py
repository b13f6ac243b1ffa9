"""What the commands of experiments share: signals while trials run, progress, calls, the command to go on."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from swarm_graph.cli.console import EXIT_INTERRUPTED, EXIT_TERMINATED, end, program, say
from swarm_graph.cli.one_model import with_given_model
from swarm_graph.cli.options import MAX_SESSIONS, Option, SessionOptions
from swarm_graph.state import DATA_DIR, OUTPUT_DIR

if TYPE_CHECKING:
    import asyncio

    from swarm_graph.checkpoints.experiments import TrialRow
    from swarm_graph.config import SwarmConfig
    from swarm_graph.experiments.arms import ReplaceModel
    from swarm_graph.experiments.expected_calls import CallRange
    from swarm_graph.settings import SessionLimits

T = TypeVar("T")
MIN_JUDGED = 3
"""After so many trials the time that is left is said."""

_LIMITS: tuple[Option, ...] = (
    click.option(
        "--max-calls", type=click.IntRange(min=1), metavar="N", help="Begin no session after N model calls."
    ),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), metavar="N", help="Begin no session after N tokens."
    ),
    click.option(
        "--max-seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="S",
        help="Begin no session after S seconds; stops between runs do not count.",
    ),
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the limits of a whole experiment to a command."""
    for option in reversed(_LIMITS):
        command = option(command)
    return command


def limits_of(calls: int | None, tokens: int | None, seconds: float | None) -> SessionLimits:
    """The limits of a whole experiment."""
    from swarm_graph.settings import SessionLimits

    return SessionLimits(calls=calls, tokens=tokens, seconds=seconds)


def base_config(options: SessionOptions, *, names_models: bool) -> SwarmConfig:
    """The configuration of the arms that name no other.

    Args:
        options: The options of the command.
        names_models: Whether the command names several models; then those of `options` do not choose one.
    """
    from swarm_graph.config import load_config

    config = load_config(options.config_file)
    if not names_models:
        config = with_given_model(config, options)
    return changed_config(config, options)


def changed_config(config: SwarmConfig, options: SessionOptions) -> SwarmConfig:
    """A configuration with what the options change in every arm: prompts; simulated models, with a skill."""
    if options.prompts:
        config = config.model_copy(update={"prompts_dir": options.prompts})
    if not options.simulate:
        return config
    from swarm_graph.experiments.simulated_arms import with_skill

    return with_skill(config.simulated())


def model_replacer(options: SessionOptions) -> ReplaceModel:
    """What makes all roles of a configuration ask the model of a name, as --model does.

    Each model is looked for once; a line on stderr says what was found.
    """
    from swarm_graph.shorthand import SHORTHAND

    found: dict[tuple[str, str], dict[str, Any]] = {}

    def replace_model(config: SwarmConfig, name: str) -> SwarmConfig:
        key = config.models.model_dump_json(), name
        if key not in found:
            chosen = with_given_model(config, replace(options, model=name))
            found[key] = {part: getattr(chosen, part) for part in ("models", *SHORTHAND)}
        return config.model_copy(update=found[key])

    return replace_model


def run_until_stopped(work: Coroutine[Any, Any, T], goes_on: str, grace_s: float, *, as_json: bool) -> T:
    """Run trials and return their result; after a signal or an error exit with a line that says how to go on.

    After the first signal no session begins, and the calls in flight may end; a second one cancels them.

    Args:
        work: Runs the trials.
        goes_on: The command that goes on.
        grace_s: How long calls in flight may go on.
        as_json: Whether stdout is to be a JSON document.
    """
    import asyncio

    from swarm_graph.errors import SwarmError

    try:
        result, received = asyncio.run(_until_stopped(work, grace_s))
    except SwarmError as error:
        end(f"{error}; then continue with `{goes_on}`", error.exit_code, as_json)
    if received:
        code = EXIT_TERMINATED if received == signal.SIGTERM else EXIT_INTERRUPTED
        end(f"stopped; continue with `{goes_on}`", code, as_json)
    return result[0]


async def _until_stopped(work: Coroutine[Any, Any, T], grace_s: float) -> tuple[list[T], int | None]:
    """The result of some work, or the number of the first signal."""
    import asyncio

    task: asyncio.Task[T] = asyncio.ensure_future(work)
    loop, received = asyncio.get_running_loop(), list[int]()

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()
        if len(received) == 1:
            say(f"stopping: calls in flight get {grace_s:g} s to end; a second signal stops now")

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt
            loop.add_signal_handler(number, stop, number)
    try:
        return [await task], None
    except asyncio.CancelledError:
        if not received:
            raise
        return [], received[0]


def goes_on_with(
    command: str, experiment: str, options: SessionOptions, output_dir: str, max_sessions: int
) -> str:
    """The command that goes on with an experiment, with the options that it does not record.

    Args:
        command: `eval` or `ab`.
        experiment: The id of the experiment.
        options: The options of the command that began it.
        output_dir: The folder for the files of its sessions.
        max_sessions: How many of its sessions run at once.
    """
    given = {
        "--config": options.config_file,
        "--url": options.url,
        "--model": options.model,
        "--api-type": options.api_type,
        "--api-key-env": options.api_key_env,
        "--prompts": options.prompts,
        "--output": options.output,
        "--output-dir": output_dir if Path(output_dir) != Path(OUTPUT_DIR) else "",
        "--max-sessions": str(max_sessions) if max_sessions != MAX_SESSIONS else "",
        "--data-dir": options.data_dir if Path(options.data_dir) != Path(DATA_DIR) else "",
    }
    words = [word for name, value in given.items() if value for word in (name, value)]
    simulate = ["--simulate"] if options.simulate else []
    return shlex.join([program(), command, "--resume", experiment, *words, *simulate])


def progress(describe: Callable[[TrialRow], str]) -> Callable[[TrialRow, int, int], None]:
    """Prints a line on stderr for each judged trial, from the third one on with the time that is left.

    Args:
        describe: What the line says of the trial's outcome.
    """
    began, judged = time.monotonic(), count(1)

    def show(trial: TrialRow, done: int, total: int) -> None:
        left = time_left(next(judged), total - done, time.monotonic() - began)
        say(f"{done}/{total} {trial.suite}/{trial.case}, {trial.arm}: {describe(trial)}{left}")

    return show


def time_left(judged: int, left: int, elapsed_s: float) -> str:
    """How long the rest will take, in words; empty after fewer than three trials, and after the last one.

    Args:
        judged: How many trials this run has judged.
        left: How many are left.
        elapsed_s: How long this run has taken.
    """
    from swarm_graph.text import duration

    return f"; about {duration(elapsed_s / judged * left)} left" if left and judged >= MIN_JUDGED else ""


def say_expected_calls(calls: Mapping[str, CallRange]) -> None:
    """Say how many model calls are to come, for each arm and in all."""
    from swarm_graph.experiments.expected_calls import CallRange

    total = sum(calls.values(), CallRange())
    of_arms = ", ".join(f"{one.text()} of {name}" for name, one in calls.items())
    say(f"model calls: {total.text()} ({of_arms}); more if answers must be asked for again, or call tools")
