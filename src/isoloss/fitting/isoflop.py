"""The best size at each compute budget from IsoFLOP profiles (Chinchilla's approach 2).

At each budget of compute a parabola through loss against log n gives the best size as its vertex,
and the budget's runs beside it the tokens that go with it; power trends through these give n and d
against compute. It needs no law, but it is exact only for profiles that are symmetric and centred:
with alpha different from beta, or sizes centred off the optimum, the vertex is biased (Czech et al.
2026), and `isoflop_bias` measures and removes that. So it is one view beside the parametric fit,
and a budget whose minimum the runs do not bracket is refused, not extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting.levels import SAME, levels
from isoloss.fitting.trend import PowerTrend, power_trend
from isoloss.fitting.variables import some_runs
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.units import format_number

_FEWEST_SIZES = 4
_FEWEST_BUDGETS = 3


@dataclass(frozen=True)
class IsoFlopBudget:
    """One budget: runs of about c FLOPs, and the vertex of the parabola through them.

    loss = parabola[0] + parabola[1] * log n + parabola[2] * (log n) ** 2, in nats.
    runs: how many. n_low, n_high: the sizes it spans. If not `usable`, n_opt, d_opt and loss_opt
    are NaN, `reason` says why in a clause and `mend` names the run that would mend it.
    rows: (runs,) which rows of the table they are.
    """

    c: float
    n_opt: float
    d_opt: float
    loss_opt: float
    parabola: tuple[float, float, float]
    runs: int
    n_low: float
    n_high: float
    usable: bool
    reason: str
    mend: str
    rows: NDArray[np.intp] = field(repr=False, compare=False)


@dataclass(frozen=True)
class IsoFlop:
    """All budgets by rising compute, and n_opt = k * c ** a, d_opt = k' * c ** b, if there are two.

    The trend of two budgets leaves nothing to judge it by: it is there to be drawn, and `check`
    refuses it. status: codes whose value is advice.
    """

    budgets: tuple[IsoFlopBudget, ...]
    n_trend: PowerTrend | None
    d_trend: PowerTrend | None
    status: tuple[Status, ...]

    @property
    def usable(self) -> tuple[IsoFlopBudget, ...]:
        """The budgets with a bracketed minimum."""
        return tuple(budget for budget in self.budgets if budget.usable)

    def check(self) -> IsoFlop:
        """Return this if three budgets have a minimum, else raise UnidentifiedError with a mend."""
        if len(self.usable) >= _FEWEST_BUDGETS:
            return self
        mends = [budget.mend for budget in self.budgets if budget.mend]
        if len(self.budgets) < _FEWEST_BUDGETS:
            mends.append(self._further())
        raise UnidentifiedError(
            f"IsoFLOP: {len(self.usable)} of {len(self.budgets)} budgets have a minimum, and a "
            f"trend needs three; {'; '.join(mends)}",
            partial=self,
        )

    def _further(self) -> str:
        """The budget to add where there are too few."""
        if not self.usable:
            return "run five or more sizes at each of three budgets of compute"
        last = self.usable[-1]
        step = last.c / self.usable[-2].c if len(self.usable) > 1 else 4.0
        low, high = (format_number(end * np.sqrt(step)) for end in (last.n_low, last.n_high))
        return (
            f"run five or more sizes from n = {low} to {high} at {format_number(last.c * step)} "
            f"FLOPs"
        )


def isoflop(runs: Runs, *, tolerance: float = 0.05, within: float | None = None) -> IsoFlop:
    """Find the best size at each budget and its trend with compute.

    runs: final losses, n in parameters, c in FLOPs; runs whose c lies within +-tolerance of one
    value form a budget if they hold four or more sizes; runs in no budget are left out.
    within: if given, the parabola goes only through sizes at most this factor from the lowest run's
    (where four are), because far from its minimum a profile is no parabola.
    Returns an IsoFlop; budgets whose lowest loss is at their smallest or largest size, or that
    bend downwards, are kept but not used, each with the run that would mend it.
    Raises InputError if there are no runs, tolerance is not between 0 and 1, or within not above 1.

    Source: Hoffmann et al. 2022, section 3.2; bias: Czech et al. 2026. Left out: their smoothing
    of the training loss, which is the reader's, and a second parabola in log d, which where c is
    not 6 n d gives tokens that the budget does not buy.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is a share of the budget between 0 and 1, not {tolerance!r}")
    if within is not None and not within > 1:
        raise InputError(f"within is a factor above 1, such as 6, not {within!r}")
    some_runs(runs)
    groups = [_near(runs, rows, within) for rows in _grouped(runs, tolerance)]
    budgets = tuple(_budget(runs[rows], rows) for rows in groups)
    usable = [budget for budget in budgets if budget.usable]
    status = []
    if len(usable) < len(budgets):
        status.append(Status.EDGE_BUDGET)
    if len(usable) < _FEWEST_BUDGETS:
        status.append(Status.FEW_BUDGETS)
    n_trend = d_trend = None
    if len(usable) >= 2:
        c = [budget.c for budget in usable]
        n_trend = power_trend(c, [budget.n_opt for budget in usable])
        d_trend = power_trend(c, [budget.d_opt for budget in usable])
    return IsoFlop(budgets, n_trend, d_trend, tuple(status))


def _grouped(runs: Runs, tolerance: float) -> list[NDArray[np.intp]]:
    """The rows of each budget with enough sizes, by rising compute.

    A window of the tolerance is laid where it holds the most runs, again and again.
    """
    width = np.log((1 + tolerance) / (1 - tolerance))
    order = np.argsort(runs.c, kind="stable")
    left = np.log(runs.c[order])
    groups = []
    while len(left) >= _FEWEST_SIZES:
        ends = np.searchsorted(left, left + width, side="right")
        start = int(np.argmax(ends - np.arange(len(left))))
        rows = order[start : ends[start]]
        if len(rows) < _FEWEST_SIZES:
            break
        if _sizes(np.log(runs.n[rows])) >= _FEWEST_SIZES:
            groups.append(rows)
        keep = np.ones(len(left), dtype=bool)
        keep[start : ends[start]] = False
        left, order = left[keep], order[keep]
    return sorted(groups, key=lambda rows: float(runs.c[rows].mean()))


def _near(runs: Runs, rows: NDArray[np.intp], within: float | None) -> NDArray[np.intp]:
    """The rows of sizes near the lowest run's, or all where they would be too few."""
    if within is None:
        return rows
    log_n = np.log(runs.n[rows])
    near = np.abs(log_n - log_n[np.argmin(runs.loss[rows])]) <= np.log(within) * (1 + 1e-9)
    return rows[near] if _sizes(log_n[near]) >= _FEWEST_SIZES else rows


def _sizes(log_n: Array) -> int:
    return int(levels(log_n).max()) + 1


def parabola(log_n: Array, loss: Array) -> tuple[Array, Array, Array]:
    """Fit loss = p0 + p1 log n + p2 (log n) ** 2 by least squares; return p0, p1 and p2.

    log_n: (m,). loss: (m,), or (k, m) for k profiles at the same sizes, whose coefficients are
    then (k,). The vertex is at log n = -p1 / (2 p2).
    """
    middle, reach = float(log_n.mean()), float(np.ptp(log_n)) / 2
    third, second, first = np.polyfit((log_n - middle) / reach, loss.T, 2)
    p2 = third / reach**2
    p1 = second / reach - 2 * p2 * middle
    p0 = first - second * middle / reach + p2 * middle**2
    return p0, p1, p2


def _budget(runs: Runs, rows: NDArray[np.intp]) -> IsoFlopBudget:
    log_n = np.log(runs.n)
    p0, p1, p2 = parabola(log_n, runs.loss)
    low, high = float(runs.n.min()), float(runs.n.max())
    c = float(np.exp(np.mean(np.log(runs.c))))
    vertex = float(-p1 / (2 * p2)) if p2 != 0 else np.inf
    reason, outward = _objection(runs, float(p2), vertex)
    usable = not reason
    n_opt = float(np.exp(vertex)) if usable else float("nan")
    return IsoFlopBudget(
        c=c,
        n_opt=n_opt,
        d_opt=tokens_at(runs, n_opt) if usable else float("nan"),
        loss_opt=float(p0 - p1**2 / (4 * p2)) if usable else float("nan"),
        parabola=(float(p0), float(p1), float(p2)),
        runs=len(runs),
        n_low=low,
        n_high=high,
        usable=usable,
        reason=reason,
        mend="" if usable else _mend(runs, c, outward),
        rows=rows,
    )


def _objection(runs: Runs, bend: float, vertex: float) -> tuple[str, int]:
    """Why the minimum is not bracketed, and on which side (-1 small, +1 large) a run is missing."""
    best = runs.n[np.argmin(runs.loss)]
    if best <= runs.n.min() * (1 + SAME):
        return f"the lowest loss is at the smallest size ({format_number(best)})", -1
    if best >= runs.n.max() / (1 + SAME):
        return f"the lowest loss is at the largest size ({format_number(best)})", 1
    if bend <= 0:
        side = -1 if runs.loss[np.argmin(runs.n)] < runs.loss[np.argmax(runs.n)] else 1
        return "the losses bend downwards, so there is a maximum and no minimum", side
    low, high = np.log(runs.n.min()), np.log(runs.n.max())
    if not low < vertex < high:
        return "the vertex of the parabola lies outside the sizes", -1 if vertex <= low else 1
    return "", 0


def _mend(runs: Runs, c: float, side: int) -> str:
    """The run that would bracket the minimum: one step of the budget's own spacing outwards."""
    sizes = np.unique(runs.n)
    step = max(float((sizes[-1] / sizes[0]) ** (1 / (len(sizes) - 1))), 1.5)
    n = float(sizes[0] / step if side < 0 else sizes[-1] * step)
    return (
        f"at {format_number(c)} FLOPs run n = {format_number(n)} "
        f"on d = {format_number(tokens_at(runs, n))} tokens"
    )


def tokens_at(runs: Runs, n: float) -> float:
    """Return the tokens of one budget's runs at size n: log d straight in log n throughout."""
    order = np.argsort(runs.n, kind="stable")
    sizes, where = np.unique(np.log(runs.n[order]), return_inverse=True)
    tokens = np.bincount(where, np.log(runs.d[order])) / np.bincount(where)
    at = float(np.log(n))
    i = int(np.clip(np.searchsorted(sizes, at), 1, len(sizes) - 1))
    slope = (tokens[i] - tokens[i - 1]) / (sizes[i] - sizes[i - 1])
    return float(np.exp(tokens[i] + slope * (at - sizes[i])))
