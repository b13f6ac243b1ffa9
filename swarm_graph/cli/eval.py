"""The command `eval`: what arms solve of suites with hidden tests."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swarm_graph.cli.console import EXIT_FAILED, end, print_result, program, say
from swarm_graph.cli.options import (
    MODEL_OPTIONS,
    SessionOptions,
    config_option,
    data_option,
    json_option,
    log_option,
    max_sessions_option,
    output_dir_option,
    prompts_option,
    session_options,
    simulate_option,
)
from swarm_graph.cli.session_runner import prepare_imports
from swarm_graph.cli.trials import (
    base_config,
    changed_config,
    goes_on_with,
    limit_options,
    limits_of,
    model_replacer,
    progress,
    run_until_stopped,
    say_expected_calls,
)
from swarm_graph.errors import InputError, StorageError
from swarm_graph.state import DATA_DIR

if TYPE_CHECKING:
    from swarm_graph.checkpoints.experiments import TrialRow
    from swarm_graph.experiments.eval_report import Evaluation
    from swarm_graph.experiments.evaluate import Begun

NEWEST = "newest"
"""The value of --resume and --show without an id."""


@click.command(
    "eval",
    short_help="Measure what workflows and models solve, by hidden tests.",
    epilog="Example: swarm-graph eval smoke --arms single,standard --cases 10",
)
@click.argument("suites", nargs=-1, metavar="SUITE...")
@click.option(
    "--arms",
    metavar="ARM,...",
    help="WORKFLOW[@CONFIG.json][:KEY=VALUE], KEY of `workflow`, or CONFIG.json.  [default: "
    "single,standard,full]",
)
@click.option(
    "--models", default="", metavar="NAME,...", help="Run each arm once per model, for all its roles."
)
@click.option(
    "--cases", type=click.IntRange(min=1), metavar="N", help="A random sample of N cases of each suite."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the sample and the order.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[ID]",
    help="Go on with an experiment; default: the newest one that has not ended.",
)
@limit_options
@max_sessions_option
@output_dir_option
@click.option(
    "-o", "--output", metavar="DIR", help="The folder of the report; default: that of the experiment."
)
@click.option("--list", "lists", is_flag=True, help="List the experiments.")
@click.option(
    "--show",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[ID]",
    help="Print the report of an experiment; default: the newest eval.",
)
@session_options(
    config_option, *MODEL_OPTIONS, data_option, simulate_option, json_option, prompts_option, log_option
)
def eval_(
    suites: tuple[str, ...],
    arms: str | None,
    models: str,
    cases: int | None,
    seed: int,
    resume: str | None,
    max_calls: int | None,
    max_tokens: int | None,
    max_seconds: float | None,
    max_sessions: int,
    output_dir: str,
    lists: bool,
    show: str | None,
    options: SessionOptions,
) -> None:
    """Run the cases of each SUITE through each arm, and count what their hidden tests pass.

    SUITE is smoke, humaneval, reviews, or a folder of cases. Each case is tried in every arm. Its answer is
    judged in the sandbox, by tests that no prompt shows. Results are kept as they come: --resume goes on.
    """
    data_dir = Path(options.data_dir)
    if lists:
        _list(data_dir, as_json=options.as_json)
        return
    if show:
        folder = Path(options.output) if options.output else None
        _print(_recorded(data_dir, _id(show)), folder, options)
        return
    if resume and (cases or seed):
        raise InputError("--resume takes no --cases and no --seed: the experiment knows its own")
    names = [name for name in models.split(",") if name.strip()]
    config = base_config(options, names_models=bool(names))
    prepare_imports(config)
    from swarm_graph.experiments.arms import DEFAULT_ARMS, split_arms
    from swarm_graph.experiments.evaluate import Request, begin, run_begun, take_up

    limits = limits_of(max_calls, max_tokens, max_seconds)
    texts = split_arms(arms) if arms else [] if resume else list(DEFAULT_ARMS)
    request = Request(
        suites,
        texts,
        config,
        names,
        cases,
        seed,
        replace_model=model_replacer(options),
        change=lambda config: changed_config(config, options),
    )
    begun = take_up(request, data_dir, _id(resume)) if resume else begin(request, data_dir, limits)
    _say_begun(begun)
    experiment = begun.experiment.experiment
    goes_on = goes_on_with("eval", experiment, options, output_dir, max_sessions)
    evaluated = run_until_stopped(
        run_begun(
            begun,
            data_dir=data_dir,
            output_dir=Path(output_dir),
            max_sessions=max_sessions,
            limits=limits,
            on_trial=progress(_outcome),
        ),
        goes_on,
        config.workflow.grace_period,
        as_json=options.as_json,
    )
    _print(evaluated.evaluation, Path(options.output or Path(output_dir) / experiment), options)
    if evaluated.end.open:
        say(f"{evaluated.end.text}; continue with `{goes_on}`")
        sys.exit(EXIT_FAILED)


def _id(given: str) -> str | None:
    return None if given == NEWEST else given


def _say_begun(begun: Begun) -> None:
    """Say what is about to run: how many trials, of what, and how many model calls they take."""
    from swarm_graph.experiments.expected_calls import expected_calls
    from swarm_graph.text import format_count

    left = sum(trial.judged_at is None for trial in begun.trials)
    judged = len(begun.trials) - left
    before = f", {judged} of them judged before" if judged else ""
    say(
        f"experiment {begun.experiment.experiment}: {format_count(len(begun.cases), 'case')} in "
        f"{format_count(len(begun.arms), 'arm')}, {format_count(len(begun.trials), 'trial')}{before}"
    )
    open_trials = {
        (trial.arm, f"{trial.suite}/{trial.case}") for trial in begun.trials if trial.judged_at is None
    }
    say_expected_calls(expected_calls(begun.arms, begun.cases, open_trials))


def _outcome(trial: TrialRow) -> str:
    """What came out of a trial, in words."""
    from swarm_graph.text import format_count

    reason = str((trial.score or {}).get("reason", ""))
    solved = "solved" if trial.solved else f"not solved: {reason}" if reason else "not solved"
    calls = format_count(trial.calls, "call")
    return f"{solved} ({calls}, {trial.tokens:,} tokens, {trial.seconds:.1f} s)"


def _recorded(data_dir: Path, experiment: str | None) -> Evaluation:
    from swarm_graph.experiments.evaluate import recorded_evaluation

    return recorded_evaluation(data_dir, experiment)


def _print(evaluation: Evaluation, folder: Path | None, options: SessionOptions) -> None:
    """Print a report, then write it into a folder: a full disk takes nothing away from what is printed."""
    print_result(evaluation.to_dict(), evaluation.text(), options.as_json)
    if folder is None:
        return
    from swarm_graph.experiments.report_files import write_report

    sys.stdout.flush()
    try:
        write_report(evaluation, folder)
    except StorageError as error:
        data_dir = ["--data-dir", options.data_dir] if Path(options.data_dir) != Path(DATA_DIR) else []
        words = [program(), "eval", "--show", evaluation.experiment.experiment, *data_dir, "--output", "DIR"]
        end(f"{error}; `{shlex.join(words)}` writes the report again", error.exit_code, as_json=False)
    say(f"the report is in '{folder}': report.html, report.txt, trials.csv, report.json")


def _list(data_dir: Path, *, as_json: bool) -> None:
    """List the experiments, the newest first."""
    from swarm_graph.experiments.listing import experiment_rows, experiment_table

    rows = experiment_rows(data_dir)
    print_result(rows, experiment_table(rows), as_json)
