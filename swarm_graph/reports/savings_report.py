"""The report on savings: where the tokens of sessions went, what they bought, what would be cheaper."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from swarm_graph.checkpoints.spending import Spending
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.reports.past_rounds import past_rounds
from swarm_graph.reports.past_session import PastSession
from swarm_graph.reports.savings import Savings
from swarm_graph.reports.savings_sections import Section, sections, wrapped
from swarm_graph.sessions.candidates import candidates_of
from swarm_graph.text import format_count, local_time


@dataclass(frozen=True)
class Part:
    """What the report says of the measured or of the simulated sessions.

    Attributes:
        savings: Their figures.
    """

    savings: Savings

    @property
    def is_simulated(self) -> bool:
        """Whether the sessions are simulated."""
        return self.savings.of_simulated

    @property
    def heading(self) -> str:
        """How many sessions it is about, and whether they are simulated."""
        count = format_count(len(self.savings.sessions), "session")
        note = "; tokens and seconds are invented" if self.is_simulated else ""
        return f"{'SIMULATED' if self.is_simulated else 'Measured'}: {count}{note}"

    @property
    def sections(self) -> list[Section]:
        """The figures in sections, for people."""
        return [*sections(self.savings)]


@dataclass(frozen=True)
class SavingsReport:
    """Where the tokens of the sessions of a database went; those of simulated sessions stand apart.

    Attributes:
        database: The path of the database.
        made_at: Seconds since the epoch.
        measured: The sessions that asked models.
        simulated: The sessions with simulated answers.
        left_out: How many sessions of experiments are left out.
    """

    database: str
    made_at: float
    measured: Savings
    simulated: Savings
    left_out: int

    def _repr_html_(self) -> str:
        from swarm_graph.reports.templates import notebook_html

        return notebook_html("parts/savings.html", report=self)

    @property
    def heading(self) -> str:
        """How many sessions it is about."""
        left_out = format_count(self.left_out, "session")
        note = f"; {left_out} of experiments left out, see `swarm-graph eval --list`" if self.left_out else ""
        count = sum(len(part.savings.sessions) for part in self.parts)
        return f"{format_count(count, 'session')} in {self.database}{note}"

    @property
    def parts(self) -> list[Part]:
        """The figures of the measured and of the simulated sessions, those that there are."""
        return [Part(one) for one in (self.measured, self.simulated) if one.sessions]

    def text(self) -> str:
        """The report as text, 80 columns wide."""
        head = wrapped(f"Savings, {local_time(self.made_at)}: {self.heading}")
        parts = (
            "\n".join([f"{part.heading}\n", *(section.text() for section in part.sections)])
            for part in self.parts
        )
        return "\n".join([head, *parts]) if self.parts else f"{head}\nNo session spent anything.\n"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "database": self.database,
            "made_at": self.made_at,
            "measured": self.measured.to_dict(),
            "simulated": self.simulated.to_dict(),
            "left_out": self.left_out,
        }


def savings(saver: SwarmSaver, session: str | None = None) -> SavingsReport:
    """Where the tokens of recorded sessions went.

    Args:
        saver: The database; it is only read.
        session: The id of one session; None for all but the trials of experiments.
    """
    spending = Spending(saver, session)
    calls, tests = spending.calls(), spending.tests()
    values: dict[str, dict[str, Any]] = {}
    for name, key, value in spending.last_values():
        values.setdefault(name, {})[key] = value
    rows = spending.sessions()
    past = [
        PastSession(
            row,
            calls.get(row.session, ()),
            past_rounds(values.get(row.session, {})),
            tests.get(row.session, {}),
            candidates_of(values.get(row.session, {})),
        )
        for row in rows
    ]
    return SavingsReport(
        database=str(saver.catalogue.database.path),
        made_at=time.time(),
        measured=Savings([one for one in past if not one.row.simulated]),
        simulated=Savings([one for one in past if one.row.simulated], of_simulated=True),
        left_out=0 if session else spending.of_experiments(),
    )
