"""Experiments: which there are, what one has shown, and its trials."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from swarm_graph.checkpoints.experiments import Experiment, Experiments, TrialRow
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.experiments.compare_configs import result_of_test
from swarm_graph.experiments.eval_page import page_values
from swarm_graph.experiments.eval_report import Evaluation
from swarm_graph.text import cut
from swarm_graph.web.addresses import encoded, session_address
from swarm_graph.web.pages import environment, page, query_number, session_id_of, show
from swarm_graph.web.part_cache import PartCache
from swarm_graph.web.rows import rows_from
from swarm_graph.web.site import NotFound, site_of


class Row(NamedTuple):
    """A row of the list.

    Attributes:
        experiment: The experiment.
        judged: How many of its trials are judged.
        total: How many trials it has.
    """

    experiment: Experiment
    judged: int
    total: int

    @property
    def address(self) -> str:
        """Its page."""
        return f"/experiments/{encoded(self.experiment.experiment)}"


def _row(experiment: Experiment, trials: list[TrialRow]) -> Row:
    return Row(experiment, sum(trial.judged_at is not None for trial in trials), len(trials))


def _listed(saver: SwarmSaver | None) -> dict[str, Any]:
    if saver is None:
        return {"rows": []}
    experiments = Experiments(saver.database)
    return {"rows": [_row(one, experiments.trials(one.experiment)) for one in experiments.all()]}


def _shown(saver: SwarmSaver | None, parts: PartCache, name: str, first: int) -> dict[str, Any]:
    """One experiment: its report, or how far an A/B test is; of an A/B test its trials, too.

    What an A/B test finds is shown when it has ended: nobody may stop it for what they see.
    """
    experiments = Experiments(saver.database) if saver else None
    experiment = experiments.get(name) if experiments else None
    if saver is None or experiments is None or experiment is None:
        raise NotFound(f"there is no experiment {cut(name, 80)!r}; the list shows all")
    trials = experiments.trials(name)
    values = {
        "experiment": experiment,
        "session_address": session_address,
        "row": _row(experiment, trials),
        "trials": rows_from(trials, first),
    }
    if experiment.kind == "ab" and experiment.ended_at is None:
        return values
    version = experiment.ended_at, [trial.judged_at for trial in trials]
    html = parts.rendered(
        (name, "experiment"), str(version), partial(_report, saver, experiment, trials), max_age_s=inf
    )
    return values | {"report": Markup(html)}


def _report(saver: SwarmSaver, experiment: Experiment, trials: Sequence[TrialRow]) -> str:
    """What an experiment has shown, as HTML."""
    if experiment.kind == "eval":
        values = page_values(Evaluation(experiment, tuple(trials)))
        template = "parts/evaluation.html"
    else:
        values, template = {"result": result_of_test(saver, experiment)}, "parts/ab.html"
    return environment().get_template(template).render(session_address=session_address, **values)


async def show_experiments(request: Request) -> Response:
    """The list."""
    return await show(request, "experiments.html", _listed)


async def show_experiment(request: Request) -> Response:
    """One experiment."""
    first = query_number(request.query_params, "from")
    parts = site_of(request).parts
    return await show(request, "experiment.html", _shown, parts, session_id_of(request), first)


routes = [page("/experiments", show_experiments), page("/experiments/{id}", show_experiment)]
