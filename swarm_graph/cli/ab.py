"""The command `ab`: which of two configurations does better on the same requests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from swarm_graph.cli.console import EXIT_FAILED, print_result, say
from swarm_graph.cli.options import (
    Option,
    SessionOptions,
    config_option,
    data_option,
    json_option,
    log_option,
    max_sessions_option,
    output_dir_option,
    session_options,
    simulate_option,
)
from swarm_graph.cli.trials import (
    goes_on_with,
    limit_options,
    limits_of,
    run_until_stopped,
    say_expected_calls,
)
from swarm_graph.errors import InputError
from swarm_graph.text import format_count

if TYPE_CHECKING:
    from swarm_graph.checkpoints.experiments import Experiment
    from swarm_graph.experiments.ab_plan import AbPlan
    from swarm_graph.experiments.ab_report import AbResult
    from swarm_graph.settings import SessionLimits

NEWEST = "newest"
"""The value of --resume without an id."""
PLANNED = {
    "workflow": "--workflow", "measure": "--measure", "cases": "--cases", "sequential": "--sequential",
    "looks": "--looks", "seed": "--seed", "allow_equal": "--allow-equal",
}  # fmt: skip
"""The options that the plan of a test fixes, by their parameters."""
_report_option: Option = click.option(
    "-o", "--output", metavar="DIR", help="The folder of the report; default: that of the test."
)


@click.command(
    short_help="Compare two configurations on the same requests.",
    epilog="Example: swarm-graph ab a.json b.json --requests smoke --sequential",
)
@click.argument("configs", nargs=-1, metavar="[A.json B.json]")
@click.option(
    "--requests", metavar="FILE", help="A suite, a folder of cases, or a text file with a request a line."
)
@click.option(
    "-w",
    "--workflow",
    default="standard",
    show_default=True,
    help="The workflow of both; WORKFLOW@A.json names one for A alone.",
)
@click.option(
    "--measure",
    metavar="MEASURE",
    help="solved (hidden tests), approved (own verdict), tokens, seconds or cost; default: solved if all "
    "requests have hidden tests.",
)
@click.option("--cases", type=click.IntRange(min=1), metavar="N", help="A random sample of N requests.")
@click.option("--sequential", is_flag=True, help="Look several times; end once a difference is shown.")
@click.option("--looks", type=int, metavar="K", help="With --sequential: the number of looks; default: 3.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the sample and the order.")
@click.option("--allow-equal", is_flag=True, help="Also compare configurations that do not differ.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[ID]",
    help="Go on with a test; default: the newest one that has not ended.",
)
@click.option("--adopt", is_flag=True, help="Write the winner over --config; the old file is kept beside it.")
@limit_options
@max_sessions_option
@output_dir_option
@session_options(_report_option, config_option, data_option, simulate_option, json_option, log_option)
@click.pass_context
def ab(
    context: click.Context,
    /,
    configs: tuple[str, ...],
    requests: str | None,
    resume: str | None,
    adopt: bool,
    max_calls: int | None,
    max_tokens: int | None,
    max_seconds: float | None,
    max_sessions: int,
    output_dir: str,
    options: SessionOptions,
    **planned: Any,
) -> None:
    """Let two configurations answer the same requests, and say which one does better beyond chance.

    A.json and B.json may differ in anything: models, prompts, parameters, workflows. Each request is asked of
    both, and they take turns to be first. The stopping rule is fixed before the first request, and no result
    is computed before a planned look. After a stop --resume goes on.
    """
    _check(context, configs, requests, resume)
    from swarm_graph.cli.without_langsmith import leave_out_langsmith

    leave_out_langsmith()
    limits = limits_of(max_calls, max_tokens, max_seconds)
    test = _test(configs, requests, resume, planned, limits, options)
    experiment, plan = test.experiment, test.plan
    goes_on = goes_on_with("ab", experiment.experiment, options, output_dir, max_sessions)
    if plan:
        _say_plan(experiment, plan)
        result = _run(experiment, plan, limits, max_sessions, Path(output_dir), options, goes_on)
    else:
        from swarm_graph.experiments.compare_configs import recorded_result

        result = recorded_result(Path(options.data_dir), experiment)
    if not result.has_ended:
        print_result(result.to_dict(), result.text(), options.as_json)
        say(f"continue with `{goes_on}`")
        sys.exit(EXIT_FAILED)
    _print(result, Path(options.output or Path(output_dir) / result.experiment), options)
    if adopt:
        _adopt(result, test, configs, options)
    elif result.winner and not experiment.plan.get("simulate"):
        say(f"`{goes_on} --adopt` writes {result.winner_name} over '{_config_in_use(options)}'")


class _Test(NamedTuple):
    """A recorded test; without a plan if it has ended. `is_own`: this user has begun it here."""

    experiment: Experiment
    plan: AbPlan | None
    is_own: bool = True


def _test(
    configs: tuple[str, ...],
    requests: str | None,
    resume: str | None,
    planned: dict[str, Any],
    limits: SessionLimits,
    options: SessionOptions,
) -> _Test:
    """A new test, recorded, or one to go on with."""
    from swarm_graph.experiments.ab_plan import new_plan, recorded_plan
    from swarm_graph.experiments.compare_configs import record_test, recorded_test

    data_dir = Path(options.data_dir)
    a, b = configs or ("", "")
    if not resume:
        plan = new_plan(a, b, requests or "", simulate=options.simulate, **planned)
        return _Test(record_test(plan, data_dir, limits), plan)
    experiment, is_own = recorded_test(data_dir, "" if resume == NEWEST else resume)
    if experiment.ended_at is not None:
        return _Test(experiment, None, is_own)
    plan = recorded_plan(experiment, a or None, b or None, requests, is_own=is_own)
    return _Test(experiment, plan, is_own)


def _run(
    experiment: Experiment,
    plan: AbPlan,
    limits: SessionLimits,
    max_sessions: int,
    output_dir: Path,
    options: SessionOptions,
    goes_on: str,
) -> AbResult:
    """Run a test to its end, or until something stops it."""
    from swarm_graph.experiments.compare_configs import run_test

    return run_until_stopped(
        run_test(
            experiment,
            plan,
            data_dir=Path(options.data_dir),
            output_dir=output_dir,
            max_sessions=max_sessions,
            limits=limits,
            on_progress=lambda done, total: say(f"{done}/{total} answers"),
        ),
        goes_on,
        plan.a.arm.config.workflow.grace_period,
        as_json=options.as_json,
    )


def _check(
    context: click.Context, configs: tuple[str, ...], requests: str | None, resume: str | None
) -> None:
    """Raises InputError if the command line describes neither a new test nor one to go on with."""
    if resume:
        given = [
            word
            for name, word in PLANNED.items()
            if context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        ]
        if given:
            raise InputError(f"--resume takes no {given[0]}: the plan of the test fixes it")
        if configs and len(configs) != 2:
            raise InputError("name both configurations with --resume, or none")
        return
    if len(configs) != 2:
        found = f"found {len(configs)}" if configs else "found none"
        raise InputError(f"ab compares two configurations, {found}; as in swarm-graph ab a.json b.json")
    if not requests:
        raise InputError("ab needs --requests: a suite such as smoke, a folder of cases, or a text file")


def _say_plan(experiment: Experiment, plan: AbPlan) -> None:
    """Say what is about to run, when it will end, and how many model calls it takes."""
    from swarm_graph.experiments.expected_calls import expected_calls

    say(
        f"A/B test {experiment.experiment}: A is {plan.a.name}, B is {plan.b.name}; "
        f"{format_count(len(plan.cases), 'request')} of {plan.suite.name} ({plan.suite.source}), "
        f"decided by {plan.measure}"
    )
    for name, a, b in plan.difference.rows:
        say(f"differs: {name}: {a}, {b}" if b else f"differs: {name}")
    if plan.difference.is_empty:
        say("the two configurations are equal: this measures what chance alone does")
    if plan.measure == "approved":
        from swarm_graph.experiments.ab_report import BY_OWN_VERDICT

        say(BY_OWN_VERDICT)
    say(plan.rule.text())
    arms = (plan.a.arm, plan.b.arm)
    pairs = {(arm.name, case.id) for arm in arms for case in plan.cases}
    say_expected_calls(expected_calls(arms, plan.cases, pairs))


def _print(result: AbResult, folder: Path, options: SessionOptions) -> None:
    """Print a result, then write its report: a full disk takes nothing away from what is printed."""
    from swarm_graph.experiments.report_files import write_report

    print_result(result.to_dict(), result.text(), options.as_json)
    sys.stdout.flush()
    write_report(result, folder)
    say(f"the report is in '{folder}': report.html, report.txt, trials.csv, report.json")


def _adopt(result: AbResult, test: _Test, configs: tuple[str, ...], options: SessionOptions) -> None:
    """Adopt the winner; one line says what was written, or why nothing was."""
    if result.winner is None:
        say("nothing is adopted: no difference is shown")
        return
    from swarm_graph.experiments.adopt import adopt_winner

    given = configs["ab".index(result.winner)] if configs else None
    in_use = _config_in_use(options)
    adopted = adopt_winner(result, test.experiment, in_use, given, is_own=test.is_own)
    workflow = test.experiment.plan[result.winner]["workflow"]
    kept = f"; the old one is kept as '{adopted.kept}'" if adopted.kept else ""
    done = f"'{adopted.file}' is now {result.winner_name}{kept}"
    say(done if adopted.changed else f"'{adopted.file}' is {result.winner_name} already")
    if workflow != "standard":
        say(f"its sessions ran the workflow {workflow}, which no configuration says: run with -w {workflow}")


def _config_in_use(options: SessionOptions) -> Path:
    from swarm_graph.config_source import source_path

    return source_path(options.config_file, os.environ) or Path("config.json")
