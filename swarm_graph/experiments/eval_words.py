"""The figures of an evaluation in words: shares, intervals, and what a pair of arms has shown."""

from __future__ import annotations

from collections.abc import Callable

from swarm_graph.experiments.eval_figures import PairFigures, Share
from swarm_graph.experiments.statistics import Interval
from swarm_graph.text import format_count

Format = Callable[[float], str]


def whole(value: float) -> str:
    """A figure without decimals: `1,234`."""
    return f"{value:,.0f}"


def tenths(value: float) -> str:
    """A figure with one decimal: `12.3`."""
    return f"{value:,.1f}"


def hundredths(value: float) -> str:
    """A figure with two decimals: `1.23`."""
    return f"{value:,.2f}"


def percent(share: float) -> str:
    """A share in whole percent."""
    return str(round(100 * share))


def count_text(share: Share) -> str:
    """A number of cases: `12 of 20`."""
    return f"{share.count} of {share.of}" if share.of else "none tried"


def range_text(interval: Interval | None, shown: Format = percent) -> str:
    """The ends of an interval: `39 to 78`, `850 or more`; a dash if there is none."""
    if interval is None:
        return "-"
    high = "or more" if interval.high is None else f"to {shown(interval.high)}"
    return f"{shown(interval.low)} {high}"


def share_text(share: Share) -> str:
    """A share with its interval: `60 % (39 to 78)`; a dash without cases."""
    return f"{percent(share.interval.estimate)} % ({range_text(share.interval)})" if share.interval else "-"


def estimate_text(interval: Interval | None, shown: Format, nothing: str = "none solved") -> str:
    """A figure with its interval: `1,234 (850 to 2,400)`."""
    return f"{shown(interval.estimate)} ({range_text(interval, shown)})" if interval else nothing


def p_text(p: float) -> str:
    """A p: `p = 0.031`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def difference_text(difference: Interval) -> str:
    """A difference of two shares: `25 points, 4 to 43`."""
    return f"{_points(difference.estimate)}, {range_text(difference)}"


def _points(share: float) -> str:
    number = percent(share)
    return f"{number} point{'' if number in ('1', '-1') else 's'}"


def pair_text(pair: PairFigures) -> str:
    """What a pair of arms has shown, in one sentence."""
    first, other, difference = pair.first, pair.other, pair.difference
    firsts, others = pair.both + pair.won, pair.both + pair.lost
    if pair.lost > pair.won:
        first, other, firsts, others, difference = other, first, others, firsts, _turned(difference)
    counts = f"{firsts} of {pair.cases} against {others}"
    figures = f"{counts}; difference {difference_text(difference)}; {p_text(pair.p)}"
    if pair.is_shown:
        return f"{first} solved more than {other} ({figures})."
    return f"No difference shown between {first} and {other} ({figures}). {smallest_text(pair)}"


def _turned(difference: Interval) -> Interval:
    high = 1.0 if difference.high is None else difference.high
    return Interval(-difference.estimate, -high, -difference.low)


def smallest_text(pair: PairFigures) -> str:
    """What so many cases can show, in one sentence."""
    cases = format_count(pair.cases, "case")
    if pair.smallest is None:
        return f"{cases} cannot show any difference."
    return f"{cases} can show a difference of about {_points(pair.smallest)}."


def spending_text(pair: PairFigures) -> str:
    """What the first arm has used compared with the other, in one sentence; empty if nothing is known."""
    ratios = {"tokens": pair.tokens, "seconds": pair.seconds, "cost": pair.cost}
    parts = [
        f"{shown(ratio.estimate)} times the {name} ({range_text(ratio, shown)})"
        for name, ratio in ratios.items()
        if ratio
        for shown in [tenths if ratio.estimate >= 2 else hundredths]
    ]
    return f"Compared with {pair.other}, {pair.first} used {', '.join(parts)}." if parts else ""
