"""What is wrong with two arms of runs: refused if nothing can be compared, else found and named.

Each arm is inspected as the runs of a fit are. What only the two together show is here: a run far
from their joint law, runs that stand in both, losses of two units.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from isoloss.errors import Status, UnidentifiedError
from isoloss.fitting.diagnosis import EQUAL_LOSSES
from isoloss.fitting.inspection import outlier
from isoloss.fitting.runs_inspection import Finding, inspect_runs
from isoloss.runs import Runs
from isoloss.trust.arms import Arms, median_residuals, pair
from isoloss.units import format_number

FAR = 10.0
"""A budget beyond this many times the largest compute of an arm is an extrapolation."""

_BITS, _AROUND_BITS = -math.log(math.log(2.0)), 0.03  # log of 1.44 bits in a nat, and how near
_FEWEST_LIKE = 3
_SPREAD = 2.0  # computes that vary less say nothing of how the loss falls with them


def refuse_losses(runs_a: Runs, runs_b: Runs) -> None:
    """Raise UnidentifiedError if the loss of an arm does not vary."""
    flat = [
        f"arm {letter}"
        for letter, runs in (("a", runs_a), ("b", runs_b))
        if np.ptp(np.log(runs.loss)) < EQUAL_LOSSES
    ]
    if flat:
        raise UnidentifiedError(
            f"every run of {' and of '.join(flat)} has the same loss, so no compute can be told "
            "from it; check the loss column"
        )


def inspect_arms(
    runs_a: Runs, runs_b: Runs, arms: Arms, budget: float, multiplier: float
) -> tuple[Finding, ...]:
    """Find what can be seen to be wrong with two arms, each finding naming the arm.

    arms: the two fitted together. budget: FLOPs at which they are compared. multiplier: the
    answer, how many times the compute of arm b arm a needs.
    """
    first, second = inspect_runs(runs_a), inspect_runs(runs_b)
    found = [
        *(_in("both arms", one) for one in first if one in second),
        *(_in("arm a", one) for one in first if one not in second),
        *(_in("arm b", one) for one in second if one not in first),
        _in_both(runs_a, runs_b),
        _units_apart(runs_a, runs_b),
        _not_falling("a", runs_a),
        _not_falling("b", runs_b),
        _outlier(runs_a, runs_b, arms),
        _far(runs_a, runs_b, budget) or _no_loss_in_common(runs_a, runs_b, multiplier),
    ]
    return tuple(one for one in found if one is not None)


def _in(where: str, finding: Finding) -> Finding:
    return replace(finding, detail=f"{where}: {finding.detail}")


def _in_both(runs_a: Runs, runs_b: Runs) -> Finding | None:
    """Runs of one arm that stand in the other too."""
    columns = ("n", "d", "c", "loss")
    seen = set(zip(*(getattr(runs_a, name).tolist() for name in columns), strict=True))
    rows = zip(*(getattr(runs_b, name).tolist() for name in columns), strict=True)
    count = sum(row in seen for row in rows)
    if not count:
        return None
    return Finding(
        Status.DUPLICATED_RUNS, f"{count} of {len(runs_b)} runs of arm b are runs of arm a"
    )


def _units_apart(runs_a: Runs, runs_b: Runs) -> Finding | None:
    """Losses in bits beside losses in nats, by runs of the same n and d."""
    alone = [runs.replace(seed=None) for runs in (runs_a, runs_b)]
    twins = pair(*alone)
    if len(twins) < _FEWEST_LIKE:
        return None
    ratio = np.log(runs_b.loss[twins[:, 1] - len(runs_a)] / runs_a.loss[twins[:, 0]])
    if abs(abs(float(np.median(ratio))) - _BITS) > _AROUND_BITS:
        return None
    more, fewer = ("b", "a") if np.median(ratio) > 0 else ("a", "b")
    return Finding(
        Status.NOT_NATS,
        f"arm {more}: its losses are {math.exp(abs(float(np.median(ratio)))):.3g} times those of "
        f"arm {fewer}, as bits are nats times 1.44",
    )


def _not_falling(letter: str, runs: Runs) -> Finding | None:
    """An arm whose loss tells nothing of compute."""
    logs = np.log(runs.c)
    if np.ptp(logs) < math.log(_SPREAD) or np.polyfit(logs, np.log(runs.loss), 1)[0] < 0:
        return None
    return Finding(Status.VANISHED_TERM, f"arm {letter}: its losses do not fall with compute")


def _outlier(runs_a: Runs, runs_b: Runs, arms: Arms) -> Finding | None:
    names = np.array(
        [*(f"{name} of arm a" for name in runs_a.run), *(f"{name} of arm b" for name in runs_b.run)]
    )
    return outlier(names, median_residuals(runs_a, runs_b, arms), len(arms.names))


def _far(runs_a: Runs, runs_b: Runs, budget: float) -> Finding | None:
    letter, largest = min(
        (("a", float(runs_a.c.max())), ("b", float(runs_b.c.max()))), key=lambda arm: arm[1]
    )
    if budget <= FAR * largest:
        return None
    return Finding(
        Status.EXTRAPOLATED,
        f"{budget:.3g} FLOPs is {budget / largest:.3g} times the most of arm {letter}, "
        f"{format_number(largest)}",
    )


def _no_loss_in_common(runs_a: Runs, runs_b: Runs, multiplier: float) -> Finding | None:
    """An arm that its law leads far beyond its runs even for the worst loss of the other."""
    needs_a = multiplier * float(runs_b.c.min()) / float(runs_a.c.max())
    needs_b = float(runs_a.c.min()) / multiplier / float(runs_b.c.max())
    for letter, other, needs in (("a", "b", needs_a), ("b", "a", needs_b)):
        if needs > FAR:
            return Finding(
                Status.EXTRAPOLATED,
                f"arm {letter} would need {needs:.3g} times its largest compute for the loss that "
                f"arm {other} has at its least",
            )
    return None
