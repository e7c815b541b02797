"""A hierarchical model of learning curves: what sister runs say about the rest of one run.

With y the loss over the last one seen, x the clock over its value there, z the cooling:

    y(s) = b_0 + b_1 (x ** -alpha - 1) - b_2 z + misfit(s)

for every run, its b drawn from a normal population whose mean is linear in the run's traits
(logarithms of size, peak rate, batch). The misfit is a normal process in log steps, wider where the
curve is steep, since an error of a curve is mostly an error in time. Given alpha everything is
linear and normal: the population is learnt by expectation maximisation and the rest of a curve is
a conditional expectation (Laird & Ware 1982). Without sisters the population is a weak prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isoloss.laws.forms import Array
from isoloss.trust.curve_data import Curve
from isoloss.trust.curve_points import BACK, POINTS, Points, means_of, stacked

_MEAN = np.array([1.0, 0.2, 0.1])
_SPREAD = np.array([0.3, 0.2, 0.06])
"""The prior of b where no sister speaks: its mean and standard deviation, in losses last seen."""
_AMONG = 0.1
"""The variance among sisters before any is seen, as a share of the prior variance."""
_BELIEF = 4.0
"""How many runs that variance, and how many points the prior misfit, are worth."""
_MISFIT = 0.1
"""The prior scale of the misfit, in units of the curve's slope."""
_FLOOR = 0.03
"""The misfit of a flat curve, in the same units, as a share of the loss."""
_MEMORY = 1.0
"""Over how many e-folds of steps a misfit lasts."""
_ROUGH = 0.1
"""The share of the misfit that differs from point to point."""
_SHRINK = 3.0
_BENT = 5.0
"""Prior precisions of the slopes on traits, and how much larger those on their squares."""
_BEYOND = 2.0
"""How many times more of the clock than the horizon a sister's point may have used."""
_NEAR = 0.25
"""Over how many e-folds of its length a sister's hold-out stops counting."""
_ROUNDS = 12
_HELD = 1.0 / 3.0
"""The share of its own evaluations that a run's hold-out hides."""


@dataclass(frozen=True, eq=False)
class Panel:
    """The curves of one forecast, in units of the run's own last seen loss and clock.

    own: its seen points, (1, k). sisters: their points, (r, m). ends: the logarithms of their last
    steps, (r,). names: of the sisters. traits: (r, p), own_traits: (p,), standardised, the first 1.
    precision: (p,) of the prior.
    memory: of the annealing momentum, None for Kaplan's form. loss, clock: the units.
    share: how much of the way to to_step the run has gone.
    """

    own: Points
    sisters: Points
    ends: Array
    names: tuple[str, ...]
    traits: Array
    own_traits: Array
    precision: Array
    memory: float | None
    loss: float
    clock: float
    share: float
    to_step: int

    @property
    def annealing(self) -> bool:
        """Whether the form knows the schedule."""
        return self.memory is not None


@dataclass(frozen=True, eq=False)
class Population:
    """What the sisters say: the run's b before it is seen, (q,) and (q, q), and the misfit.

    means: (r, q) and spreads: (r, q, q) of each sister's b, as the others predict it.
    scale: of the misfit; slope: of the typical curve.
    """

    alpha: float
    mean: Array
    cov: Array
    means: Array
    spreads: Array
    scale: float
    slope: float


@dataclass(frozen=True, eq=False)
class HoldOut:
    """Points that were hidden and predicted: error over its standard deviation, that deviation in
    losses last seen, and how near the test is to what is asked, from 0 to 1; (t,) each."""

    errors: Array
    spreads: Array
    near: Array


@dataclass(frozen=True, eq=False)
class _Learnt:
    """Weights (p, q) of the traits, their covariance factor known (p, p), the covariance among runs
    (q, q), the scale of the misfit, and each sister's b (r, q)."""

    weights: Array
    known: Array
    among: Array
    scale: float
    b: Array


def build_panel(own: Curve, sisters: Sequence[Curve], to_step: int, memory: float | None) -> Panel:
    """Bring a run and its sisters to common units; sisters without a useful point are left out."""
    last = own.step[-1]
    clock = float(own.clock(own.step[-1:], memory)[0][0])
    horizon = float(own.clock(np.array([float(to_step)]), memory)[0][0])
    loss, share, low = float(own.loss[-1]), float(last / to_step), clock / BACK
    means = [means_of(own, low, clock, 2 * POINTS, 1.0, memory)]
    means += [means_of(c, low, _BEYOND * horizon, POINTS, share, memory) for c in sisters]
    kept = [i for i, one in enumerate(means) if one.x.size]
    named = [[own, *sisters][i] for i in kept]
    traits, precision = _traits(np.array([c.traits for c in named]))
    return Panel(
        own=stacked(means[:1], clock, loss),
        sisters=stacked([means[i] for i in kept[1:]], clock, loss),
        ends=np.array([means[i].end for i in kept[1:]]),
        names=tuple(c.name for c in named[1:]),
        traits=traits[1:],
        own_traits=traits[0],
        precision=precision,
        memory=memory,
        loss=loss,
        clock=clock,
        share=share,
        to_step=to_step,
    )


def learn(panel: Panel, alpha: float) -> Population:
    """Learn the population of b from the sisters, and how large their misfits are."""
    slope = float(_MEAN[1])
    found = _maximise(panel, alpha, slope)
    if panel.names:
        slope = max(0.2 * slope, float(np.mean(panel.traits @ found.weights, axis=0)[1]))
        found = _maximise(panel, alpha, slope, found)
    leverage = np.einsum("rp,pq,rq->r", panel.traits, found.known, panel.traits)
    own_leverage = float(panel.own_traits @ found.known @ panel.own_traits)
    spare = np.maximum(1.0 - leverage, 0.05)
    left = found.b - panel.traits @ found.weights
    return Population(
        alpha=alpha,
        mean=panel.own_traits @ found.weights,
        cov=found.among * (1.0 + own_leverage),
        means=found.b - left / spare[:, None],
        spreads=found.among / spare[:, None, None],
        scale=found.scale,
        slope=slope,
    )


def continued(
    panel: Panel, population: Population, curve: Curve, steps: Array
) -> tuple[Array, Array]:
    """Return the run's loss at later steps and its standard deviation, (k,) each, in its unit."""
    x, z = curve.clock(steps, panel.memory)
    new = Points(
        x[None] / panel.clock, z[None], x[None], np.log(steps)[None], np.ones((1, len(x)), bool)
    )
    mean, sd = _of_run(panel, population, panel.own, new)
    return mean[0] * panel.loss, sd[0] * panel.loss


def surprise(panel: Panel, population: Population) -> float:
    """Return how far the run's own points lie from what the sisters say, 1 where they say it right.

    The root mean square of its points in units of their joint standard deviations.
    """
    points, annealing = panel.own, panel.annealing
    phi = _basis(points, population.alpha, annealing)[0]
    noise = _noise(points, population.alpha, population.slope)[0]
    joint = phi @ population.cov @ phi.T + population.scale**2 * noise
    left = points.y[0] - phi @ population.mean
    return float(np.sqrt(left @ np.linalg.solve(joint, left) / left.size))


def run_held_out(panel: Panel, population: Population, alone: bool) -> HoldOut:
    """Hide the last third of the run's own points and predict them from the others.

    alone: without sisters two points must be left to predict from, else one.
    """
    points = panel.own
    count = points.x.size
    kept = count - int(np.ceil(_HELD * count))
    if kept < (2 if alone else 1):
        return HoldOut(np.empty(0), np.empty(0), np.empty(0))
    seen = points.rows((slice(None), slice(0, kept)))
    new = points.rows((slice(None), slice(kept, None)))
    mean, sd = _of_run(panel, population, seen, new)
    return HoldOut(((new.y - mean) / sd)[0], sd[0], np.ones(new.y.size))


def sisters_held_out(panel: Panel, population: Population) -> HoldOut:
    """Hide what the run has not seen from every sister too, and predict where each ends.

    Each is predicted by the others, from its own first points; those with points on both sides
    count.
    """
    points = panel.sisters
    early = points.real & (points.log_step <= panel.ends[:, None] + np.log(panel.share) + 1e-9)
    usable = np.flatnonzero(early.any(axis=1))
    if not usable.size:
        return HoldOut(np.empty(0), np.empty(0), np.empty(0))
    end = np.where(points.real, points.log_step, -np.inf).argmax(axis=1)[:, None]
    new = points.rows((usable[:, None], end[usable]))
    seen = points.only(early).rows(usable)
    mean, sd = _conditional(
        seen, new, population.means[usable], population.spreads[usable], population, panel.annealing
    )
    near = np.exp(-np.abs(panel.ends[usable] - np.log(panel.to_step)) / _NEAR)
    return HoldOut(((new.y - mean) / sd)[:, 0], sd[:, 0], near)


def _traits(logs: Array) -> tuple[Array, Array]:
    """Traits that vary, standardised, with the squares of those with four values or more.

    A trait that some curve lacks is left out.
    """
    columns, precision = [np.ones(len(logs))], [_AMONG / (1.0 - _AMONG)]
    bent: list[Array] = []
    for column in logs.T:
        if not np.all(np.isfinite(column)) or np.ptp(column) < 1e-9:
            continue
        unit = (column - column.mean()) / column.std()
        columns.append(unit)
        if np.unique(np.round(column, 9)).size >= 4:
            bent.append(unit**2 - 1.0)
    precision += [_SHRINK] * (len(columns) - 1) + [_BENT * _SHRINK] * len(bent)
    return np.column_stack(columns + bent), np.array(precision)


def _basis(points: Points, alpha: float, annealing: bool) -> Array:
    parts = [np.ones_like(points.x), points.x**-alpha - 1.0]
    if annealing:
        parts.append(-points.z)
    return np.stack(parts, axis=-1) * points.real[..., None]


def _width(points: Points, alpha: float, slope: float) -> Array:
    return np.asarray(_FLOOR + slope * points.x**-alpha)


def _misfit(a: Points, b: Points, alpha: float, slope: float) -> Array:
    """The covariance of the misfits at points of the same curves, (b, m, k), at scale 1."""
    apart = np.abs(a.log_step[:, :, None] - b.log_step[:, None, :])
    width = _width(a, alpha, slope)[:, :, None] * _width(b, alpha, slope)[:, None, :]
    both = a.real[:, :, None] & b.real[:, None, :]
    return np.where(both, (1.0 - _ROUGH) * np.exp(-apart / _MEMORY) * width, 0.0)


def _noise(points: Points, alpha: float, slope: float) -> Array:
    """The covariance of the misfits of the points themselves; points not real are independent."""
    own = np.where(points.real, _ROUGH * _width(points, alpha, slope) ** 2, 1.0)
    return _misfit(points, points, alpha, slope) + own[:, :, None] * np.eye(own.shape[1])


def _maximise(panel: Panel, alpha: float, slope: float, begun: _Learnt | None = None) -> _Learnt:
    """Learn from the sisters; with none it is the prior, its misfit scaled by the run's points."""
    points = panel.sisters
    q = 3 if panel.annealing else 2
    prior: Array = np.diag(_AMONG * _SPREAD[:q] ** 2)
    weights = np.zeros((len(panel.precision), q))
    weights[0] = _MEAN[:q]
    start = panel.precision[:, None] * weights
    known = np.linalg.inv(panel.traits.T @ panel.traits + np.diag(panel.precision))
    if not len(points.x):
        scale = _own_scale(panel, alpha, slope, prior / _AMONG)
        return _Learnt(weights, np.asarray(known), prior, scale, np.empty((0, q)))
    chol = np.linalg.cholesky(_noise(points, alpha, slope))
    whitened = np.linalg.solve(chol, _basis(points, alpha, panel.annealing))
    y = np.linalg.solve(chol, np.where(points.real, points.y, 0.0)[..., None])[..., 0]
    square = np.einsum("rmi,rmj->rij", whitened, whitened)
    cross = np.einsum("rmi,rm->ri", whitened, y)
    total, count, r = float(np.sum(y**2)), int(points.real.sum()), len(points.x)
    variance, among, b = _MISFIT**2, prior, np.zeros((r, q))
    if begun is not None:
        weights, among, variance = begun.weights, begun.among, begun.scale**2
    for _ in range(_ROUNDS):
        inverse = np.linalg.inv(among)
        spread = np.linalg.inv(square / variance + inverse)
        fitted = panel.traits @ weights
        b = np.einsum("rij,rj->ri", spread, cross / variance + fitted @ inverse)
        weights = known @ (panel.traits.T @ b + start)
        left = b - panel.traits @ weights
        among = np.asarray(spread.sum(axis=0) + left.T @ left + _BELIEF * prior) / (r + _BELIEF)
        rest = total - 2.0 * np.sum(b * cross) + np.einsum("ri,rij,rj->", b, square, b)
        rest += np.einsum("rij,rji->", square, spread)
        variance = (float(rest) + _BELIEF * _MISFIT**2) / (count + _BELIEF)
    return _Learnt(weights, np.asarray(known), among, float(np.sqrt(variance)), b)


def _own_scale(panel: Panel, alpha: float, slope: float, cov: Array) -> float:
    """The misfit scale that the run's own points suggest, with the prior for company."""
    phi = _basis(panel.own, alpha, panel.annealing)[0]
    left = panel.own.y[0] - phi @ _MEAN[: phi.shape[1]]
    full = _noise(panel.own, alpha, slope)[0] + phi @ cov @ phi.T / _MISFIT**2
    squares = float(left @ np.linalg.solve(full, left))
    return float(np.sqrt((squares + _BELIEF * _MISFIT**2) / (left.size + _BELIEF)))


def _of_run(panel: Panel, population: Population, seen: Points, new: Points) -> tuple[Array, Array]:
    mean, cov = population.mean[None], population.cov[None]
    return _conditional(seen, new, mean, cov, population, panel.annealing)


def _conditional(
    seen: Points, new: Points, mean: Array, cov: Array, population: Population, annealing: bool
) -> tuple[Array, Array]:
    """The expectation and standard deviation of y at new points of b curves, given those seen."""
    alpha, slope, variance = population.alpha, population.slope, population.scale**2
    before, after = _basis(seen, alpha, annealing), _basis(new, alpha, annealing)
    reach = np.einsum("bki,bij->bkj", after, cov)
    inner = np.einsum("bmi,bij,bnj->bmn", before, cov, before)
    inner = inner + variance * _noise(seen, alpha, slope)
    across = np.einsum("bkj,bmj->bkm", reach, before)
    across = across + variance * _misfit(new, seen, alpha, slope)
    left = np.where(seen.real, seen.y, 0.0) - np.einsum("bmi,bi->bm", before, mean)
    gain = np.swapaxes(np.linalg.solve(inner, np.swapaxes(across, 1, 2)), 1, 2)
    expected = np.einsum("bki,bi->bk", after, mean) + np.einsum("bkm,bm->bk", gain, left)
    spread = np.einsum("bkj,bkj->bk", reach, after) + variance * _width(new, alpha, slope) ** 2
    spread = spread - np.einsum("bkm,bkm->bk", gain, across)
    return expected, np.sqrt(np.maximum(spread, np.finfo(float).tiny))
