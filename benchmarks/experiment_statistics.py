"""Do the intervals and tests of experiments keep their levels? `python benchmarks/experiment_statistics.py`.

Simulated experiments with known truth, 500 of each kind: how often the intervals cover it, how often tests
find a difference between equal arms, and how often the order of models is recovered. Some cases are hard for
every arm: `shared` is the share of results that the hardness of a case decides, the same for all arms.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import combinations, pairwise
from statistics import fmean

from swarm_graph.experiments.sequential import sequential_bounds
from swarm_graph.experiments.statistics import (
    LEVEL,
    Interval,
    holm,
    mcnemar,
    paired_difference,
    per_solved,
    share_interval,
    sign_flip_p,
)

REPETITIONS = 500
CASES = (20, 40, 164)
SHARED = (0.0, 0.5, 0.9)
RATES = (0.05, 0.2, 0.35, 0.5, 0.62, 0.9)
PAIRS = ((0.35, 0.35), (0.35, 0.62), (0.05, 0.3), (0.9, 0.9), (0.5, 0.9))
HARDNESS = 3.0
"""How much the chances to solve cases differ where tokens are compared (of a beta distribution)."""

Row = tuple[bool, ...]


def tried(draw: random.Random, rates: Iterable[float], shared: float, cases: int) -> list[Row]:
    """Whether each arm solves each case."""
    rows = []
    for _ in range(cases):
        hardness = draw.random()
        rows.append(
            tuple((rate > hardness) if draw.random() < shared else draw.random() < rate for rate in rates)
        )
    return rows


def covers(interval: Interval | None, truth: float) -> bool | None:
    """Whether an interval holds the truth; None if there is no interval."""
    if interval is None:
        return None
    return interval.low <= truth + 1e-9 and (interval.high is None or truth <= interval.high + 1e-9)


def share_covered(draw: random.Random, rate: float, shared: float, cases: int) -> bool | None:
    solved = sum(row[0] for row in tried(draw, (rate,), shared, cases))
    return covers(share_interval(solved, cases), rate)


def difference_covered(
    draw: random.Random, pair: tuple[float, float], shared: float, cases: int
) -> bool | None:
    rows = [(row[0], row[1]) for row in tried(draw, pair, shared, cases)]
    return covers(paired_difference(rows), pair[0] - pair[1])


def tokens_covered(draw: random.Random, rate: float, _: float, cases: int) -> bool | None:
    """Hard cases take up to twice the tokens, and are solved less often."""
    easy = [draw.betavariate(HARDNESS * rate, HARDNESS * (1 - rate)) for _ in range(cases)]
    tokens = [1000 * (2 - one) * draw.lognormvariate(0, 0.5) for one in easy]
    solved = [draw.random() < one for one in easy]
    mean = 1000 * (2 - rate) * 2.718281828459045**0.125
    return covers(per_solved(tokens, solved), mean / rate)


def coverage(
    name: str, measure: Callable[..., bool | None], truths: Iterable[object], shared: Iterable[float]
) -> None:
    """Print how often an interval covers the truth, for each number of cases and each truth."""
    kinds = [(truth, part) for truth in truths for part in shared]
    for cases in CASES:
        found = {}
        for truth, part in kinds:
            draw = random.Random(f"{name} {truth} {part} {cases}")
            results = [measure(draw, truth, part, cases) for _ in range(REPETITIONS)]
            known = [one for one in results if one is not None]
            found[truth, part] = fmean(known)
        lowest = min(found, key=found.__getitem__)
        print(
            f"{name}, {cases} cases: covered {fmean(found.values()):.3f} on average, "
            f"least {found[lowest]:.3f} (truth {lowest[0]}, shared {lowest[1]})", flush=True
        )  # fmt: skip


def errors(name: str, wrong: Callable[[random.Random], bool]) -> None:
    """Print how often a test finds a difference between equal arms."""
    draw = random.Random(name)
    share = share_interval(sum(wrong(draw) for _ in range(REPETITIONS)), REPETITIONS)
    print(f"{name}: wrong in {share.estimate:.3f} ({share.low:.3f} to {share.high:.3f})", flush=True)


def shows_difference(rows: list[Row], bounds: dict[int, float]) -> bool:
    """Whether any look at the first two arms shows a difference."""
    return any(
        mcnemar([row[0] for row in rows[:look]], [row[1] for row in rows[:look]]) <= bound
        for look, bound in bounds.items()
    )


def looks_at(draw: random.Random, total: int, count: int, steps: str) -> dict[int, float]:
    """The bounds of planned looks."""
    looks = [round(total * look / count) for look in range(1, count + 1)]
    if steps == "unequal":
        looks = [*sorted(draw.sample(range(1, total), count - 1)), total]
    return dict(zip(looks, sequential_bounds(looks, total), strict=True))


def sequential_errors(count: int, steps: str) -> None:
    """Print how often several looks at equal arms find a difference; unequal steps are drawn ten times."""
    plans = [
        looks_at(random.Random(seed), 100, count, steps) for seed in range(1 if steps == "equal" else 10)
    ]
    errors(
        f"{count} looks at 100 pairs in {steps} steps",
        lambda draw: shows_difference(tried(draw, (0.5, 0.5), 0.0, 100), draw.choice(plans)),
    )


def tokens_differ(draw: random.Random, bounds: dict[int, float], total: int) -> bool:
    """Whether any look at the tokens of two equal arms shows a difference."""
    differences = [draw.lognormvariate(0, 1) - draw.lognormvariate(0, 1) for _ in range(total)]
    return any(sign_flip_p(differences[:look]) <= bound for look, bound in bounds.items())


def family_errs(draw: random.Random, arms: int) -> bool:
    """Whether any pair of equal arms is shown to differ."""
    rows = tried(draw, [0.4] * arms, 0.5, 40)
    columns = list(zip(*rows, strict=True))
    return min(holm([mcnemar(one, two) for one, two in combinations(columns, 2)])) <= LEVEL


def order(skills: tuple[float, ...], cases: int) -> None:
    """Print how often models of known skill come out in their order."""
    draw, right, shown = random.Random(str(skills)), [], []
    for _ in range(REPETITIONS):
        columns = list(zip(*tried(draw, skills, 0.5, cases), strict=True))
        solved = [sum(column) for column in columns]
        right.append(all(one < two for one, two in pairwise(solved)))
        shown.append(mcnemar(columns[0], columns[-1]) <= LEVEL)
    print(
        f"skills {skills}, {cases} cases: in order {fmean(right):.3f}, "
        f"the best shown to beat the worst {fmean(shown):.3f}", flush=True
    )  # fmt: skip


def main() -> None:
    coverage("share", share_covered, RATES, SHARED)
    coverage("difference of two arms", difference_covered, PAIRS, SHARED)
    coverage("tokens per solved case", tokens_covered, RATES, (0.0,))
    for cases in CASES:
        for shared in SHARED:
            errors(
                f"McNemar, {cases} cases, shared {shared}",
                lambda draw, shared=shared, cases=cases: shows_difference(  # type: ignore[misc]
                    tried(draw, (0.5, 0.5), shared, cases), {cases: LEVEL}
                ),
            )
    for count in range(1, 11):
        for steps in ("equal", "unequal"):
            sequential_errors(count, steps)
    bounds = looks_at(random.Random(0), 14, 5, "equal")
    errors("5 looks at the tokens of 14 pairs", lambda draw: tokens_differ(draw, bounds, 14))
    for arms in (3, 5):
        errors(f"Holm, all pairs of {arms} arms, 40 cases", lambda draw, arms=arms: family_errs(draw, arms))  # type: ignore[misc]
    order((0.2, 0.5, 0.8), 20)
    order((0.35, 0.5, 0.62), 40)
    order((0.35, 0.5, 0.62), 164)


if __name__ == "__main__":
    main()
