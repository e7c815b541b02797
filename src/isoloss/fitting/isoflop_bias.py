"""How far the vertices of IsoFLOP parabolas lie from the optimum, and the answer without that.

A profile is no parabola: with alpha different from beta it is lopsided, and sizes centred off the
optimum see more of one side. So the vertex is displaced, by a factor that depends on the exponents,
the width of the sizes and their centre, and not on the noise (Czech et al. 2026). The factor is
found by doing the same to a law whose optimum is known: the law fitted to all runs, at the very
sizes, tokens and budgets of the runs. Dividing it out leaves what the profiles themselves say
about the best size, without the distortion of the method. The correction is as good as the law:
through runs of another form, at sizes far off centre, it can do harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoloss.errors import InputError, Status
from isoloss.fitting.isoflop import IsoFlop, IsoFlopBudget, parabola, tokens_at
from isoloss.fitting.parametric import fit
from isoloss.fitting.trend import PowerTrend, power_trend
from isoloss.laws.allocation import HoldsLaw, as_law
from isoloss.laws.forms import Array, Chinchilla, Law
from isoloss.runs import Runs

_GRID = 801
_BEYOND = 0.5  # how far beyond the sizes the law's optimum is looked for, in widths of the sizes


@dataclass(frozen=True)
class VertexShift:
    """By what the parabola of one budget multiplies the best size and its tokens.

    c: FLOPs. n, d: factors, 1 where there is no bias; NaN where the law's profile at these sizes
    has no vertex among them.
    """

    c: float
    n: float
    d: float


@dataclass(frozen=True)
class CorrectedIsoFlop:
    """IsoFLOP minima with the bias of their parabolas divided out.

    isoflop: as found. law: whose profiles showed the bias. shifts: one for each usable budget.
    n_opt, d_opt: (budgets,) the corrected best sizes and their tokens. n_trend, d_trend: through
    these, None if fewer than two. status: codes whose value is advice.
    """

    isoflop: IsoFlop
    law: Law
    shifts: tuple[VertexShift, ...]
    n_opt: Array
    d_opt: Array
    n_trend: PowerTrend | None
    d_trend: PowerTrend | None
    status: tuple[Status, ...]

    def bias(self, c: float) -> tuple[float, float]:
        """Return how far the uncorrected trends of n and d are off at c FLOPs, as fractions."""
        raw = self.isoflop
        if self.n_trend is None or self.d_trend is None or raw.n_trend is None:
            return float("nan"), float("nan")
        assert raw.d_trend is not None
        n = raw.n_trend(c) / self.n_trend(c) - 1
        d = raw.d_trend(c) / self.d_trend(c) - 1
        return float(n), float(d)


def correct_isoflop(
    found: IsoFlop, runs: Runs, *, law: Law | HoldsLaw | None = None
) -> CorrectedIsoFlop:
    """Divide the bias of the parabolas out of IsoFLOP minima.

    n = n_opt / (n_vertex / n_law) at each usable budget, where n_vertex is the vertex of the same
    parabola through the law's losses at the same runs, and n_law the law's own optimum along them.
    found: from `isoflop`. runs: those it was found in. law: of (n, d); by default Chinchilla's
    form fitted to the runs.
    Raises UnidentifiedError if that fit is not identified; InputError if `found` is of other runs.
    Source: Czech et al. 2026, section 3 (the bias); the correction is ours. Left out: the doubt of
    the law's coefficients, which `approaches` carries along.
    """
    shape = as_law(fit(Chinchilla, runs).check() if law is None else law)
    if not isinstance(shape, Law):
        raise InputError("the correction needs a law such as Chinchilla, not a function")
    usable = found.usable
    factors = [vertex_shift(shape, budget, runs) for budget in usable]
    shifts = tuple(
        VertexShift(budget.c, float(n[0]), float(d[0]))
        for budget, (n, d) in zip(usable, factors, strict=True)
    )
    n_opt = np.array([b.n_opt / s.n for b, s in zip(usable, shifts, strict=True)])
    d_opt = np.array([b.d_opt / s.d for b, s in zip(usable, shifts, strict=True)])
    c = np.array([budget.c for budget in usable])
    good = np.isfinite(n_opt) & np.isfinite(d_opt)
    n_trend = d_trend = None
    if good.sum() >= 2:
        n_trend, d_trend = power_trend(c[good], n_opt[good]), power_trend(c[good], d_opt[good])
    status = list(found.status)
    if good.sum() < 3 and Status.FEW_BUDGETS not in status:
        status.append(Status.FEW_BUDGETS)
    return CorrectedIsoFlop(found, shape, shifts, n_opt, d_opt, n_trend, d_trend, tuple(status))


def vertex_shift(law: Law, budget: IsoFlopBudget, runs: Runs) -> tuple[Array, Array]:
    """Return the factors (k,) by which the parabola at one budget shifts n and d, for k laws.

    law: of (n, d), its coefficients numbers or (k,). runs: the table that `budget.rows` is of.
    Raises InputError if the runs at those rows are not the budget's.
    """
    rows = _rows_of(budget, runs)
    laws, log_n = law.column(), np.log(rows.n)
    _, p1, p2 = parabola(log_n, laws(rows.n, rows.d))
    low, high = float(log_n.min()), float(log_n.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(p2 > 0, -p1 / (2 * p2), np.nan)
    vertex = np.where((vertex > low) & (vertex < high), vertex, np.nan)
    # The tokens that a size buys, smooth in the size although runs scatter about their budget.
    price = np.polynomial.Polynomial.fit(log_n, np.log(rows.d), 2)
    reach = _BEYOND * (high - low)
    best = _lowest(laws, np.linspace(low - reach, high + reach, _GRID), price)
    log_d = np.array([np.log(tokens_at(rows, float(np.exp(v)))) for v in vertex])
    return np.exp(vertex - best), np.exp(log_d - price(best))


def _rows_of(budget: IsoFlopBudget, runs: Runs) -> Runs:
    """The runs of a budget, in the table it was found in."""
    if not len(budget.rows) or budget.rows.max() < len(runs):
        rows = runs[budget.rows]
        there = [float(np.exp(np.mean(np.log(rows.c)))), float(rows.n.min()), float(rows.n.max())]
        if np.allclose(there, [budget.c, budget.n_low, budget.n_high], rtol=1e-9, atol=0):
            return rows
    raise InputError("these IsoFLOP minima were found in other runs; give the same table")


def _lowest(laws: Law, log_n: Array, price: np.polynomial.Polynomial) -> Array:
    """The log n of least loss along log d = price(log n), for each law; NaN at the grid's ends."""
    losses = laws(np.exp(log_n), np.exp(price(log_n)))
    at = losses.argmin(axis=1)
    inside = (at > 0) & (at < len(log_n) - 1)
    at = np.clip(at, 2, len(log_n) - 3)
    step = float(log_n[1] - log_n[0])
    # A slope and a bend from five points: the zero of the slope is exact to fourth order.
    near = np.take_along_axis(losses, at[:, None] + np.arange(-2, 3), axis=1)
    slope = near @ np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12
    bend = near @ np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12
    third = near @ np.array([-1.0, 2.0, 0.0, -2.0, 1.0]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        move = -slope / bend
        move = -slope / (bend + 0.5 * third * move)
    best: Array = np.where(inside & (bend > 0), log_n[at] + np.clip(move, -1, 1) * step, np.nan)
    return best
