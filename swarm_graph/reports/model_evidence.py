"""The table of `swarm-graph models`: what is known of each model in each role, and which one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from textwrap import wrap
from typing import Any

from swarm_graph.checkpoints.model_evidence import Evidence, Outcomes
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.models.model_choice import call_seconds, chosen_models
from swarm_graph.models.selection import MIN_EVIDENCE, Known
from swarm_graph.settings import ModelEntry
from swarm_graph.state import REVIEW_ROLES
from swarm_graph.text import printable, text_table

WIDTH = 80
MAX_MODEL_CHARACTERS = 18


@dataclass(frozen=True)
class ModelRow:
    """What is known of one model in one role.

    Attributes:
        role: The role.
        entry: Its name in multi_model; empty for the only model of the role.
        model: Its name in reports.
        server: Its server.
        solved: Cases that it has solved.
        judged: All its cases.
        of_trials: Of these, trials of experiments; the others are sessions of the user's.
        mean: The share of solved cases that is expected; None without any case.
        low: The lower end of its 95 % interval; None without any case.
        high: The upper end.
        call_seconds: The usual seconds of a call; None if unknown.
        tokens_per_s: Tokens per second of one call, as doctor has measured; None if it has not.
        load_seconds: Seconds in which its server loads it; None if that was not seen.
        is_chosen: Whether a session that begins now asks it.
    """

    role: str
    entry: str
    model: str
    server: str
    solved: int
    judged: int
    of_trials: int
    mean: float | None
    low: float | None
    high: float | None
    call_seconds: float | None
    tokens_per_s: float | None
    load_seconds: float | None
    is_chosen: bool


@dataclass(frozen=True)
class ModelTable:
    """All roles with their models.

    Attributes:
        rows: By role, in the order of the configuration.
        reasons: Why its model would be chosen, by role, of those that may have several.
        measure: What measures the models, as a command; empty if enough is known.
    """

    rows: list[ModelRow]
    reasons: dict[str, str]
    measure: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def model_table(config: SwarmConfig, evidence: Evidence) -> ModelTable:
    """What is known of the models of a configuration. No server is asked.

    Args:
        config: The configuration; the roles take part that have a model.
        evidence: What the database knows.

    Raises:
        ConfigError: No role has a model.
    """
    roles = [role for role in config.role_names if _has_model(config, role)]
    if not roles:
        config.model_for(config.role_names[0])
    decided = chosen_models(config, roles, evidence)
    rows = []
    for role in roles:
        choice = decided.choices.get(role)
        names = choice.any_of if choice else [""]
        for name, entry in zip(names, config.models_for(role), strict=True):
            is_chosen = choice is None or choice.chosen == name
            rows.append(_row(role, name, entry, evidence, is_chosen=is_chosen))
    reasons = {
        role: f"{choice.entry} ({choice.reason or 'as the configuration says'})"
        for role, choice in decided.choices.items()
        if role in roles
    }
    return ModelTable(rows, reasons, _measure(config, rows))


def _has_model(config: SwarmConfig, role: str) -> bool:
    try:
        config.model_for(role)
    except ConfigError:
        return False
    return True


def _row(role: str, name: str, entry: ModelEntry, evidence: Evidence, *, is_chosen: bool) -> ModelRow:
    is_simulated = entry.api_type == "simulated"
    outcomes = evidence.outcomes.get((role, entry.label, is_simulated), Outcomes())
    known = Known(name, outcomes.solved, outcomes.judged)
    low, high = known.interval if outcomes.judged else (None, None)
    speed = evidence.speeds.get((entry.server, entry.label))
    return ModelRow(
        role=role,
        entry=name,
        model=entry.label,
        server=entry.server,
        solved=outcomes.solved,
        judged=outcomes.judged,
        of_trials=outcomes.trials,
        mean=known.mean if outcomes.judged else None,
        low=low,
        high=high,
        call_seconds=call_seconds(entry, role, evidence),
        tokens_per_s=1 / speed.token_s if speed and speed.token_s > 0 else None,
        load_seconds=speed.load_s if speed else None,
        is_chosen=is_chosen,
    )


def _measure(config: SwarmConfig, rows: Sequence[ModelRow]) -> str:
    """The command that measures the models of which too little is known."""
    several = [row for row in rows if row.entry] or list(rows)
    unknown = [row for row in several if row.judged < MIN_EVIDENCE]
    if not unknown:
        return ""
    suites = dict.fromkeys("reviews" if row.role in REVIEW_ROLES else "smoke" for row in unknown)
    names = dict.fromkeys(row.entry for row in unknown if row.entry) or dict.fromkeys(config.models.named)
    models = f" --models {quote(','.join(names))}" if names else ""
    return f"swarm-graph eval {' '.join(sorted(suites, reverse=True))}{models}"


# --- as text -------------------------------------------------------------------------------------


def model_table_text(table: ModelTable) -> str:
    """The table for a terminal of 80 columns, with the choices and their reasons below."""
    heads = ("role", "model", "solved", "expected", "call", "tok/s", "from")
    lines = [text_table(heads, [_cells(row) for row in table.rows])]
    for role, reason in table.reasons.items():
        text = printable(f"{role}: a session that begins now asks {reason}")
        lines.append("\n".join(wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)) + "\n")
    if table.reasons:
        lines.append("*: asked by a session that begins now; --choose ROLE=ENTRY asks another one\n")
    if table.measure:
        few = "Too little is known" if any(row.judged for row in table.rows) else "Nothing is known"
        lines.append(f"{few} of these models yet; measure them with\n  {printable(table.measure)}\n")
    return lines[0] + ("\n" + "".join(lines[1:]) if lines[1:] else "")


def _cells(row: ModelRow) -> tuple[str, ...]:
    name = row.entry or row.model
    short = name if len(name) <= MAX_MODEL_CHARACTERS else f"{name[: MAX_MODEL_CHARACTERS - 1]}…"
    mark = "* " if row.is_chosen and row.entry else "  "
    source = {0: "sessions", row.judged: "eval"}.get(row.of_trials, "both") if row.judged else "-"
    expected = "-"
    if row.mean is not None and row.low is not None and row.high is not None:
        expected = f"{row.mean * 100:.0f} % ({row.low * 100:.0f}-{row.high * 100:.0f})"
    return (
        printable(row.role[:12]),
        printable(mark + short),
        f"{row.solved} of {row.judged}" if row.judged else "-",
        expected,
        "-" if row.call_seconds is None else _seconds(row.call_seconds),
        "-" if row.tokens_per_s is None else f"{row.tokens_per_s:.0f}",
        source,
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
